"""The saliency hot path: ResNet-50 at 224, one thread, against Captum one crop at a time.

`python benchmarks/saliency.py` takes about two minutes. Captum runs in a process of its own, set up
as its documentation does it. The last figure gives each the whole machine as its users have it:
Captum in one process with torch's own number of threads, ws3 with a process of one thread for each
core. Efficiency is (1 + classes) x forward time / saliency time: an input gradient costs at least
what the forward pass costs. A CPU that multiplies in bf16 is also timed with a recipe's `precision:
bf16`; what that does to the maps is for `precision.py` to say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from measuring import entry, fastest_apart, fastest_on_all_cores, report

from ws3.config.recipes import Precision

BATCH, ONE_BY_ONE = 16, 4


def captum(threads: int | None = 1) -> Mapping[str, Callable[[], Any]]:
    """Set up torchvision's network and Captum, called one crop at a time.

    Args:
        threads: Of the process; None: torch's own choice.
    """
    import torch
    from captum.attr import Saliency
    from torchvision.models import resnet50

    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    saliency = Saliency(resnet50(num_classes=20).eval())
    crops = torch.randn(ONE_BY_ONE, 3, 224, 224)

    def run() -> None:
        for crop in crops:
            saliency.attribute(crop[None], target=3)

    return {"captum": run}


def ws3() -> Mapping[str, Callable[[], Any]]:
    """Set up the process as `ws3 saliency` does."""
    from ws3.cli.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    from ws3.attribution.gradients import gradient
    from ws3.attribution.interface import Options
    from ws3.attribution.network import AttributionNetwork
    from ws3.classifier import checkpoints
    from ws3.torch_setup import arithmetic, multiplies_bf16

    torch.set_num_threads(1)
    torch.manual_seed(0)
    classifier = checkpoints.new_classifier(
        "resnet50", [f"class {i}" for i in range(20)], 224, None
    )
    network = AttributionNetwork(classifier)
    crops = torch.randn(BATCH, 3, 224, 224)
    layout = crops.contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            network(layout)

    def saliency(classes: list[int], precision: Precision = "fp32") -> None:
        with arithmetic(precision, network.device):
            gradient(network, crops, classes, Options())

    sides = {
        "forward": forward,
        "one class": lambda: saliency([3]),
        "three classes": lambda: saliency([3, 7, 9]),
    }
    if multiplies_bf16():
        sides["bf16"] = lambda: saliency([3], "bf16")
    return sides


def hot_path() -> Mapping[str, Callable[[], Any]]:
    """Set up the one side of ws3 that is timed on all cores."""
    return {"one class": ws3()["one class"]}


def main() -> None:
    """Measure and report."""
    cores = os.cpu_count() or 1
    together = fastest_on_all_cores(
        {"captum": (partial(captum, threads=None), 1), "ws3": (hot_path, cores)}
    )
    whole = {"ws3": cores * BATCH / together["ws3"], "captum": ONE_BY_ONE / together["captum"]}
    times = fastest_apart({"captum": captum, "ws3": ws3})
    rate = {"ws3": BATCH / times["one class"], "captum": ONE_BY_ONE / times["captum"]}
    limit = BATCH / (2 * times["forward"])
    in_bf16 = []
    if "bf16" in times:
        fast = BATCH / times["bf16"]
        title = "gradient over crops, ResNet-50 at 224, one class, precision: bf16, against Captum"
        in_bf16 = [
            entry(title, fast, rate["captum"], fast / rate["captum"], None, "crops per CPU-second")
        ]
    report(
        "saliency",
        [
            entry(
                "gradient over crops, ResNet-50 at 224, one class, against Captum one by one",
                rate["ws3"],
                rate["captum"],
                rate["ws3"] / rate["captum"],
                limit,
                "crops per CPU-second",
            ),
            *in_bf16,
            *(
                entry(
                    f"efficiency, {name}",
                    times[name] / BATCH,
                    None,
                    (1 + count) * times["forward"] / times[name],
                    (1 + count) * times["forward"] / BATCH,
                    "CPU-seconds a crop",
                )
                for name, count in (("one class", 1), ("three classes", 3))
            ),
            entry(
                f"gradient over crops on {cores} cores, ws3 {cores} processes, Captum 1",
                whole["ws3"],
                whole["captum"],
                whole["ws3"] / whole["captum"],
                None,
                "crops per second",
            ),
        ],
    )


if __name__ == "__main__":
    main()
