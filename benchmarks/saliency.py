"""The saliency hot path: ResNet-50 at 224, one thread, against Captum one crop at a time.

`python benchmarks/saliency.py` takes about two minutes. Efficiency is (1 + classes) x forward
time / saliency time: an input gradient costs at least what the forward pass costs.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

from ws3.jobs.memory import keep_freed_memory

keep_freed_memory()

import torch
from captum.attr import Saliency
from measuring import entry, fastest, report

from ws3.attribution.gradients import gradient
from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.classifier import checkpoints

BATCH = 16


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    classifier = checkpoints.start("resnet50", [f"class {i}" for i in range(20)], 224, None)
    plain, network = classifier.network.eval(), AttributionNetwork(classifier)
    captum = Saliency(plain)
    inputs = torch.randn(BATCH, 3, 224, 224)
    layout = inputs.contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            network(layout)

    def one_at_a_time() -> None:
        for sample in inputs[:4]:
            captum.attribute(sample[None], target=3)

    times = fastest(
        {
            "captum": one_at_a_time,
            "forward": forward,
            "one class": lambda: gradient(network, inputs, [3], Options()),
            "three classes": lambda: gradient(network, inputs, [3, 7, 9], Options()),
        }
    )
    rate = {"ws3": BATCH / times["one class"], "captum": 4 / times["captum"]}
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
