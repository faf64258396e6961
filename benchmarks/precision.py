"""What tf32 and bf16 do to a recipe's maps, on a finished run of photographs with ground truth.

`python benchmarks/precision.py results/pascal10_seed0 contrast_input --images 60` computes the
recipe's maps of training images anew with each arithmetic and compares their mIoU with that of the
run's own fp32 maps, at the run's threshold and at the best one of each. A CPU without bf16
arithmetic takes seconds for a crop, so both are emulated: what enters and leaves a convolution or a
linear layer, forward and backward, is rounded to 8 (bf16) or 11 (tf32) significant bits and added
up in fp32, as tensor cores do. The first lines check the emulation on one crop: the distance of the
emulated bf16 gradient from fp32 beside that of torch's own bf16. Some minutes an arithmetic.
"""

from __future__ import annotations

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"

from ws3.cli.memory import keep_freed_memory

keep_freed_memory()

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import entry, report
from torch import Tensor, nn

from ws3.attribution.engine import Attributor, image_maps
from ws3.classifier.checkpoints import load_classifier
from ws3.datasets.masks import read_label_mask
from ws3.metrics.sweep import ThresholdSweep
from ws3.run.folder import Run
from ws3.run.records import Threshold, read_record
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, sample_plan


def as_bf16(values: Tensor) -> Tensor:
    """Return the nearest values with 8 significant bits."""
    return values.bfloat16().float()


def as_tf32(values: Tensor) -> Tensor:
    """Return the nearest values with 11 significant bits (Veltkamp 1968)."""
    spread = values * (2**13 + 1)
    return spread.sub_(spread - values)


Rounding = Callable[[Tensor], Tensor] | None
ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {"tf32": as_tf32, "bf16": as_bf16}


class Round(torch.autograd.Function):
    """Rounds what passes forward, backward, or both ways."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, forth: Rounding, back: Rounding) -> Tensor:
        """Round; None: not at all."""
        ctx.back = back
        return forth(values) if forth else values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Round the gradient."""
        (gradient,) = gradients
        return (ctx.back(gradient) if ctx.back else gradient), None, None


@contextmanager
def emulated(attributor: Attributor, precision: str) -> Iterator[None]:
    """Let an attributor's network compute with another arithmetic within the block."""
    multiplied = ROUNDINGS[precision]
    # bf16 is also what is kept between the layers; tf32 only what is multiplied.
    kept = multiplied if precision == "bf16" else None
    hooks, weights = [], []
    for part in (attributor.network.backbone, attributor.network.classifier_head):
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                weights.append((layer.weight, layer.weight.detach().clone()))
                layer.weight.data = multiplied(layer.weight.data)
                hooks += [
                    layer.register_forward_pre_hook(
                        lambda _, inputs: (Round.apply(inputs[0], multiplied, kept),)
                    ),
                    layer.register_forward_hook(
                        lambda _, inputs, output: Round.apply(output, kept, multiplied)
                    ),
                ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for weight, before in weights:
            weight.data = before


def check(run: Run, recipe: str, row: Any, attributor: Attributor) -> None:
    """Print how far bf16 and its emulation are from fp32, relative L2 norm, on one crop."""
    classes = [value - 1 for value in run.class_values(row)]
    size = run.recipe(recipe).samples.input_size or run.classifier.input_size
    pixels = torch.nn.functional.interpolate(
        torch.from_numpy(load_image(row)).permute(2, 0, 1)[None].float() / 255, (size, size)
    ).numpy()
    mean, std = (
        np.array(part, np.float32).reshape(3, 1, 1) for part in (attributor.mean, attributor.std)
    )
    inputs = (pixels - mean) / std
    exact, _ = attributor(inputs, classes)
    with emulated(attributor, "bf16"):
        near, _ = attributor(inputs, classes)
    exactly = attributor.recipe
    attributor.recipe = exactly.model_copy(update={"precision": "bf16"})
    real, _ = attributor(inputs, classes)
    attributor.recipe = exactly
    for name, other in (("torch's bf16", real), ("emulated bf16", near)):
        print(f"{name}: {np.linalg.norm(other - exact) / np.linalg.norm(exact):.4f} from fp32")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--precisions", nargs="+", choices=list(ROUNDINGS), default=list(ROUNDINGS))
    arguments = parser.parse_args()
    run, recipe = Run.open(arguments.run), arguments.recipe
    mapped = run.mapped_rows(["train"])
    rows = mapped[:: max(1, len(mapped) // arguments.images)][: arguments.images]
    chosen = read_record(run.threshold_file(recipe), Threshold).score
    if chosen is None:
        parser.error("the run's background must be a constant or tuned")
    attributor = Attributor(load_classifier(run.classifier_file), run.recipe(recipe))
    check(run, recipe, rows[0], attributor)
    sweeps = {
        name: ThresholdSweep(len(run.index.classes)) for name in ("fp32", *arguments.precisions)
    }
    distances: dict[str, list[float]] = {name: [] for name in arguments.precisions}
    for number, row in enumerate(rows):
        image, truth, values = load_image(row), read_label_mask(row.mask), run.class_values(row)
        exact = RecipeResults(run, recipe).maps(row)
        sweeps["fp32"].update(truth, exact, values)
        plan = sample_plan(run, recipe, row)
        for name in arguments.precisions:
            with emulated(attributor, name):
                classes = [value - 1 for value in values]
                maps = image_maps(attributor, image, plan, classes).astype(np.float32)
            sweeps[name].update(truth, maps, values)
            distances[name].append(float(np.linalg.norm(maps - exact) / np.linalg.norm(exact)))
        print(f"{number + 1} of {len(rows)} images", flush=True)
    base = sweeps["fp32"]
    entries = []
    for name in arguments.precisions:
        at, best = sweeps[name].confusion(chosen).miou(), sweeps[name].best()[1]
        print(f"{name}: maps differ by {np.mean(distances[name]):.4f} (relative L2, mean)")
        for what, ours, peer in (
            ("at the run's threshold", at, base.confusion(chosen).miou()),
            ("at the best threshold of each", best, base.best()[1]),
        ):
            title = f"{name} (emulated), {recipe}, {len(rows)} images, {what}, peer fp32"
            entries.append(entry(title, ours, peer, ours / peer, None, "mIoU"))
    report(f"precision_{recipe}", entries)


if __name__ == "__main__":
    main()
