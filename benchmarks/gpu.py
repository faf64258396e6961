"""One command for whoever has a GPU: `python benchmarks/gpu.py`, or `make gpu`; at most 8 minutes.

It wants Python 3.12, torch 2.11, torchvision and numpy; what else is missing it installs, without
a network, from a folder of wheels that this command fills on another machine:

    pip download --only-binary :all: --dest wheels --no-deps -r benchmarks/gpu_wheels.txt

Each part runs in its own time and writes what it has into `results/gpu.json` at once, so that one
that fails costs no other. Figures: the GPU's tests; crops per second of `contrast_crops`, and their
share of the limit, which is a forward pass and an input-backward pass of the same network at its
best batch, timed by device events; the share of the time in which the GPU waited; the old way, crop
by crop on the host, in the same call; maps against the CPU's. `--dry` does all of it in tiny sizes
on the CPU, which shows that it runs, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = {"resnet50": (224, 448), "mobilenet_v2": (224,)}
PRECISIONS = ("fp32", "tf32", "bf16")
SECONDS = 450
"""For all parts; what would begin later is left out, and says so."""


def main() -> None:
    """Run all parts, and write what each found."""
    parser = argparse.ArgumentParser(description="Measure ws3 on a GPU.")
    parser.add_argument("--dry", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--wheels", type=Path, default=ROOT / "wheels", help="folder of wheels")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/gpu.json")
    arguments = parser.parse_args()
    began = time.monotonic()
    results: dict[str, Any] = {"dry": arguments.dry, "python": platform.python_version()}
    for name, part in _parts(arguments.dry, arguments.wheels):
        if time.monotonic() - began > SECONDS and not arguments.dry:
            results[name] = {"left out": f"{SECONDS} seconds were over"}
        else:
            try:
                results[name] = part()
            except Exception:  # whatever it is, the other parts go on
                results[name] = {"failed": traceback.format_exc().strip().splitlines()[-6:]}
        results["seconds"] = round(time.monotonic() - began, 1)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(results[name]), flush=True)


def _parts(dry: bool, wheels: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "wheels", lambda: _install(wheels)
    sys.path.insert(0, str(ROOT))
    yield "machine", _machine
    if dry:
        yield "resnet18 at 64 in fp32", lambda: rate("resnet18", 64, "fp32", dry=True)
        yield "maps", lambda: agreement("resnet18", 64, dry=True)
        return
    yield "tests", _tests
    # What matters most comes first.
    yield "resnet50 at 224 in bf16", lambda: rate("resnet50", 224, "bf16")
    yield "maps", lambda: agreement("resnet50", 224)
    for name, sides in NETWORKS.items():
        for side in sides:
            for precision in PRECISIONS:
                if (name, side, precision) != ("resnet50", 224, "bf16"):
                    yield (
                        f"{name} at {side} in {precision}",
                        lambda args=(name, side, precision): rate(*args),  # type: ignore[misc]
                    )


def _install(wheels: Path) -> dict[str, Any]:
    """Install what is missing from the folder of wheels, if it is there."""
    if not wheels.is_dir():
        return {"installed": False, "why": f"there is no folder {wheels}"}
    files = sorted(str(path) for path in wheels.glob("*.whl"))
    line = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", *files]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    return {"installed": done.returncode == 0, "said": done.stderr[-500:]}


def _machine() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "memory": torch.cuda.get_device_properties(0).total_memory if cuda else None,
    }


def _tests() -> dict[str, Any]:
    """Run the tests that want a GPU."""
    line = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/attribution"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return {"passed": done.returncode == 0, "said": done.stdout[-1500:]}


def _setting(name: str, side: int, precision: str, device: str, count: int) -> tuple[Any, ...]:
    """Return an attributor of an untrained network, images, and the samples of each."""
    import numpy as np
    import torch

    from ws3.attribution.engine import Attributor
    from ws3.classifier.build import build_classifier
    from ws3.config.load import resolve_recipe
    from ws3.config.presets import PRESETS
    from ws3.datasets.synthetic.scene import CLASSES
    from ws3.sampling.plan import SamplePlan

    torch.manual_seed(0)
    classifier = build_classifier(name, tuple(CLASSES[:5]), side)
    preset = dict(PRESETS["contrast_crops"].recipe)
    samples = {**preset["samples"], "count": count, "input_size": side}
    recipe = resolve_recipe({**preset, "samples": samples, "precision": precision}, "the recipe")
    shape = (375, 500) if device == "cuda" else (60, 80)
    drawn = [
        np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8) for seed in range(4)
    ]
    plan = SamplePlan(
        recipe.samples,
        image="i",
        height=shape[0],
        width=shape[1],
        seed=0,
        recipe="r",
        input_size=side,
    )
    return Attributor(classifier, recipe, device), drawn, plan


def rate(name: str, side: int, precision: str, *, dry: bool = False) -> dict[str, Any]:
    """Return crops per second of the new way, the old way and the limit."""
    import torch

    from ws3.aggregation.chunks import chunk_layout
    from ws3.attribution.device_engine import DeviceAttributor
    from ws3.attribution.engine import image_maps

    place, count, budget = ("cpu", 4, 0.2) if dry else ("cuda", 40, 5.0)
    attributor, images, plan = _setting(name, side, precision, place, count)
    layout = chunk_layout(plan.total, attributor.recipe.samples.per_chunk, plan.cover)
    crops = sum(map(len, layout.values()))
    device = DeviceAttributor(attributor)
    prepared = [device.prepare(image, plan, layout) for image in images]
    for image in prepared:  # warms up, and makes the graph
        device.begin(image, plan, [1], layout).chunks()
    waiting: list[Any] = []
    busy, done, began = 0.0, 0, time.monotonic()
    while time.monotonic() - began < budget or done < 2:
        waiting.append(device.begin(prepared[done % len(prepared)], plan, [1], layout))
        done += 1
        if len(waiting) > 2:
            waiting[0].chunks()
            busy += waiting.pop(0).seconds
    for pending in waiting:
        pending.chunks()
        busy += pending.seconds
    passed = time.monotonic() - began
    new = done * crops / passed

    began, old_done = time.monotonic(), 0
    while time.monotonic() - began < budget or old_done < 1:
        image_maps(attributor, images[old_done % len(images)], plan, [1])
        old_done += 1
    old = old_done * crops / (time.monotonic() - began)
    limit, batch = _limit(attributor, side, budget, dry)
    found = {
        "crops per second": new,
        "limit": limit,
        "share of the limit": new / limit,
        "best batch": batch,
        "old way": old,
        "against the old way": new / old,
        "share of time in which the GPU computed": min(1.0, busy / passed),
        "batch in pixels": device.most_pixels,
    }
    if not dry:
        torch.cuda.empty_cache()
    return found


def _limit(attributor: Any, side: int, budget: float, dry: bool) -> tuple[float, int]:
    """Return crops per second of passes forward and back to the input alone, and the batch."""
    import torch

    from ws3.torch_setup import arithmetic

    network, best = attributor.network, (0.0, 0)
    device = network.device
    sizes = (2,) if dry else (32, 64, 128, 256)
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        for size in sizes:
            inputs = torch.randn(size, 3, side, side, device=device)
            leaf = inputs.to(memory_format=torch.channels_last).requires_grad_()

            def passes(leaf: Any = leaf) -> None:
                with arithmetic(attributor.precision, device):
                    torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)

            try:
                for _ in range(3):
                    passes()
                times = [_timed(passes, device) for _ in range(3 if dry else 10)]
            except torch.OutOfMemoryError:
                break
            best = max(best, (size / statistics.median(times), size))
    finally:
        torch.backends.cudnn.benchmark = before
    return best


def _timed(run: Callable[[], None], device: Any) -> float:
    import torch

    if device.type != "cuda":
        began = time.monotonic()
        run()
        return time.monotonic() - began
    new_event: Any = torch.cuda.Event
    first, last = new_event(enable_timing=True), new_event(enable_timing=True)
    first.record()
    run()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000


def _ranks(values: Any) -> Any:
    """Return the ranks of an array's values, equal ones having the mean of theirs."""
    import numpy as np

    _, place, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def agreement(name: str, side: int, *, dry: bool = False) -> dict[str, Any]:
    """Return how maps of the GPU agree with the CPU's: rank correlation, largest difference."""
    import numpy as np

    from ws3.attribution.device_engine import DeviceAttributor
    from ws3.attribution.engine import image_maps

    place = "cpu" if dry else "cuda"
    found: dict[str, Any] = {}
    cpu, images, plan = _setting(name, side, "fp32", "cpu", 4 if dry else 8)
    if not dry:
        _, images, plan = _setting(name, side, "fp32", "cuda", 8)
    expected = image_maps(cpu, images[0], plan, [1])[0].astype(np.float32)
    for precision in ("fp32",) if dry else PRECISIONS:
        attributor, _, _ = _setting(name, side, precision, place, 4 if dry else 8)
        made = DeviceAttributor(attributor).maps(images[0], plan, [1])[0].astype(np.float32)
        found[precision] = {
            "Spearman": float(np.corrcoef(_ranks(made), _ranks(expected))[0, 1]),
            "largest difference": float(np.abs(made - expected).max()),
        }
    return found


if __name__ == "__main__":
    main()
