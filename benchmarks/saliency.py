"""The saliency hot path: ResNet-50 at 224, one thread, against Captum one crop at a time.

`python benchmarks/saliency.py` takes about three minutes. Captum runs in a process of its own, set
up as its documentation does it. Efficiency is (1 + classes) x forward time / saliency time: an
input gradient costs at least what the forward pass costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from measuring import entry, fastest_apart, report

BATCH, ONE_BY_ONE = 16, 4


def captum() -> Mapping[str, Callable[[], Any]]:
    """Set up torchvision's network and Captum, called one crop at a time."""
    import torch
    from captum.attr import Saliency
    from torchvision.models import resnet50

    torch.set_num_threads(1)
    torch.manual_seed(0)
    saliency = Saliency(resnet50(num_classes=20).eval())
    crops = torch.randn(ONE_BY_ONE, 3, 224, 224)

    def run() -> None:
        for crop in crops:
            saliency.attribute(crop[None], target=3)

    return {"captum": run}


def ws3() -> Mapping[str, Callable[[], Any]]:
    """Set up the process as `ws3 saliency` does."""
    from ws3.jobs.memory import keep_freed_memory

    keep_freed_memory()
    import torch

    from ws3.attribution.gradients import gradient
    from ws3.attribution.interface import Options
    from ws3.attribution.network import AttributionNetwork
    from ws3.classifier import checkpoints

    torch.set_num_threads(1)
    torch.manual_seed(0)
    classifier = checkpoints.start("resnet50", [f"class {i}" for i in range(20)], 224, None)
    network = AttributionNetwork(classifier)
    crops = torch.randn(BATCH, 3, 224, 224)
    layout = crops.contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            network(layout)

    return {
        "forward": forward,
        "one class": lambda: gradient(network, crops, [3], Options()),
        "three classes": lambda: gradient(network, crops, [3, 7, 9], Options()),
    }


def main() -> None:
    """Measure and report."""
    times = fastest_apart({"captum": captum, "ws3": ws3})
    rate = {"ws3": BATCH / times["one class"], "captum": ONE_BY_ONE / times["captum"]}
    limit = BATCH / (2 * times["forward"])
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
        ],
    )


if __name__ == "__main__":
    main()
