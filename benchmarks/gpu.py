"""One command for whoever has a GPU: `python benchmarks/gpu.py`, or `make gpu`; at most 8 minutes.

It wants Python 3.12, torch 2.11, torchvision and numpy; what else is missing it installs, without
a network, from a folder of wheels that this command fills on another machine:

    pip download --only-binary :all: --dest wheels --no-deps -r benchmarks/gpu_wheels.txt

Each part runs in its own time and writes what it has into `results/gpu.json` at once, so that one
that fails costs no other. Figures: the GPU's tests; crops per second of `contrast_input`, whose
gradient ends at the input, and their share of the limit, which is a forward pass and an
input-backward pass of the same network at its best batch, timed by device events; the share of the
time in which the GPU computed; the old way, crop by crop on the host, in the same call; images per
second of `contrast_crops`; maps of a network that is trained for it on drawn pictures against the
CPU's, with the mIoU of both; images per second of the classifier's training, with its loader, and
of predictions. Training wants lightning and torchmetrics, and is left out without them. `--dry`
does all of it in tiny sizes on the CPU, which shows that it runs, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
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
        yield "contrast_crops", lambda: recommended("resnet18", "fp32", dry=True)
        yield "maps", lambda: agreement(dry=True)
        yield "training", lambda: training("resnet18", dry=True)
        yield "prediction", lambda: prediction("lraspp_mobilenet_v2", dry=True)
        return
    yield "tests", _tests
    # What matters most comes first.
    yield "resnet50 at 224 in bf16", lambda: rate("resnet50", 224, "bf16")
    yield "maps", agreement
    yield "contrast_crops, resnet50", lambda: recommended("resnet50", "bf16")
    yield "contrast_crops, mobilenet_v2", lambda: recommended("mobilenet_v2", "bf16")
    yield "training", lambda: training("resnet50")
    yield "prediction", lambda: prediction("deeplabv3_resnet50")
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
    # By themselves: what tests share needs more packages than a bare machine has.
    test = "tests/attribution/test_attribution_gpu.py"
    line = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", test]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return {"passed": done.returncode == 0, "said": done.stdout[-1500:]}


def _setting(
    name: str, side: int, precision: str, device: str, samples: dict[str, Any], preset: str
) -> tuple[Any, ...]:
    """Return an attributor of an untrained network, noisy images, and the samples of each."""
    import numpy as np
    import torch

    from ws3.attribution.engine import Attributor
    from ws3.classifier.build import build_classifier
    from ws3.datasets.synthetic.scene import CLASSES

    torch.manual_seed(0)
    classifier = build_classifier(name, tuple(CLASSES[:5]), side)
    recipe = _recipe(preset, precision, {**samples, "input_size": side})
    shape = (375, 500) if device == "cuda" else (60, 80)
    drawn = [
        np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8) for seed in range(4)
    ]
    return Attributor(classifier, recipe, device), drawn, _plan(recipe, shape, side)


def _recipe(preset: str, precision: str, samples: dict[str, Any]) -> Any:
    from ws3.config.load import resolve_recipe
    from ws3.config.presets import PRESETS

    recipe = dict(PRESETS[preset].recipe)
    samples = {**recipe["samples"], **samples}
    return resolve_recipe({**recipe, "samples": samples, "precision": precision}, "the recipe")


def _plan(recipe: Any, shape: tuple[int, int], side: int) -> Any:
    from ws3.sampling.plan import SamplePlan

    place: dict[str, Any] = {"image": "i", "height": shape[0], "width": shape[1], "seed": 0}
    return SamplePlan(recipe.samples, **place, recipe="r", input_size=side)


def rate(name: str, side: int, precision: str, *, dry: bool = False) -> dict[str, Any]:
    """Return crops per second of the new way, the old way and the limit."""
    import torch

    place, count, budget = ("cpu", 4, 0.2) if dry else ("cuda", 40, 5.0)
    samples = {"count": count}
    attributor, images, plan = _setting(name, side, precision, place, samples, "contrast_input")
    found = _both_ways(attributor, images, plan, budget)
    limit, batch = _limit(attributor, side, budget, dry)
    crops = found["new"] * plan.total
    if not dry:
        torch.cuda.empty_cache()
    return {
        "crops per second": crops,
        "limit": limit,
        "share of the limit": crops / limit,
        "best batch": batch,
        "old way": found["old"] * plan.total,
        "against the old way": found["new"] / found["old"],
        "share of time in which the GPU computed": found["busy"],
        "batch in pixels": found["pixels"],
    }


def recommended(name: str, precision: str, *, dry: bool = False) -> dict[str, Any]:
    """Return images per second of `contrast_crops`, in the new way and in the old one."""
    place, side, budget = ("cpu", 64, 0.2) if dry else ("cuda", 224, 5.0)
    samples = {"count": 4} if dry else {}
    attributor, images, plan = _setting(name, side, precision, place, samples, "contrast_crops")
    found = _both_ways(attributor, images, plan, budget)
    return {
        "images per second": found["new"],
        "old way": found["old"],
        "against the old way": found["new"] / found["old"],
        "share of time in which the GPU computed": found["busy"],
    }


def _both_ways(attributor: Any, images: Any, plan: Any, budget: float) -> dict[str, float]:
    """Return images per second, and the share of the time in which the device computed."""
    from ws3.aggregation.chunks import chunk_layout
    from ws3.attribution.device_engine import DeviceAttributor
    from ws3.attribution.engine import image_maps

    layout = chunk_layout(plan.total, attributor.recipe.samples.per_chunk, plan.cover)
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

    began, old_done = time.monotonic(), 0
    while time.monotonic() - began < budget or old_done < 1:
        image_maps(attributor, images[old_done % len(images)], plan, [1])
        old_done += 1
    return {
        "new": done / passed,
        "old": old_done / (time.monotonic() - began),
        "busy": min(1.0, busy / passed),
        "pixels": device.most_pixels,
    }


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


def agreement(*, dry: bool = False) -> dict[str, Any]:
    """Return how the GPU's maps of drawn pictures agree with the CPU's: ranks, and the mIoU."""
    import numpy as np

    from ws3.attribution.device_engine import DeviceAttributor
    from ws3.attribution.engine import Attributor, image_maps
    from ws3.config.dataset import Synthetic
    from ws3.datasets.synthetic.drawing import draw
    from ws3.datasets.synthetic.scene import CLASSES, describe
    from ws3.metrics.sweep import ThresholdSweep

    place, side, pictures = ("cpu", 64, 4) if dry else ("cuda", 224, 24)
    config = Synthetic(kind="synthetic", size=side, classes=4)
    scenes = [describe(config, "train", number) for number in range(8 if dry else 192)]
    classifier = _trained(scenes, CLASSES[:4], side, place, steps=3 if dry else 150)
    shown = [describe(config, "val", number) for number in range(pictures)]
    drawn = [(scene, *draw(scene, side)[:2]) for scene in shown]
    maps: dict[str, list[Any]] = {}
    for precision in ("CPU", *(("fp32",) if dry else PRECISIONS)):
        on_cpu = precision == "CPU"
        recipe = _recipe(
            "contrast_crops", "fp32" if on_cpu else precision, {"input_size": side, "count": 4}
        )
        attributor = Attributor(classifier, recipe, "cpu" if on_cpu else place)
        device = None if on_cpu else DeviceAttributor(attributor)
        plan = _plan(recipe, (side, side), side)
        maps[precision] = []
        for scene, image, _ in drawn:
            classes = sorted({creature.index for creature in scene.creatures})
            if device is None:
                made = image_maps(attributor, image, plan, classes)
            else:
                made = device.maps(image, plan, classes)
            maps[precision].append((made.astype(np.float32), [index + 1 for index in classes]))
    found: dict[str, Any] = {}
    for precision, some in maps.items():
        sweep = ThresholdSweep(4)
        for (made, values), (_, _, truth) in zip(some, drawn, strict=True):
            sweep.update(truth, made, values)
        found[precision] = {"mIoU at its best threshold": sweep.best()[1]}
        pairs = [(one[0], other[0]) for one, other in zip(some, maps["CPU"], strict=True)]
        if precision != "CPU":
            ranks = [np.corrcoef(_ranks(a), _ranks(b))[0, 1] for a, b in pairs if a.size]
            found[precision]["lowest Spearman"] = float(min(ranks))
            found[precision]["largest difference"] = max(
                float(np.abs(a - b).max(initial=0)) for a, b in pairs
            )
    return found


def _trained(scenes: Any, classes: Any, side: int, place: str, steps: int) -> Any:
    """Return a ResNet-18 that was trained for a few steps on drawn pictures."""
    import numpy as np
    import torch

    from ws3.classifier.build import build_classifier
    from ws3.datasets.synthetic.drawing import draw

    torch.manual_seed(0)
    classifier = build_classifier("resnet18", tuple(classes), side)
    pictures = torch.from_numpy(np.stack([draw(scene, side)[0] for scene in scenes])).to(place)
    labels = torch.zeros(len(scenes), len(classes), device=place)
    for row, scene in enumerate(scenes):
        labels[row, sorted({creature.index for creature in scene.creatures})] = 1
    network = classifier.network.to(place).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(scenes), (min(32, len(scenes)),), generator=generator).to(place)
        inputs = pictures[chosen].permute(0, 3, 1, 2).float() / 255
        mean = torch.tensor(classifier.mean, device=place).view(1, 3, 1, 1)
        std = torch.tensor(classifier.std, device=place).view(1, 3, 1, 1)
        logits = network((inputs - mean) / std)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    network.cpu().eval()
    return classifier


def training(name: str, *, dry: bool = False) -> dict[str, Any]:
    """Return images per second of an epoch of the classifier's training, from JPEGs on disk."""
    import cv2
    import numpy as np
    import torch

    from ws3.classifier.training import train
    from ws3.config.classifier import ClassifierConfig
    from ws3.datasets.index import ImageRow

    count, side, epochs = (8, 64, 2) if dry else (2048, 224, 3)
    config = ClassifierConfig(
        architecture=name, input_size=side, epochs=epochs, batch_size=4 if dry else 64
    )
    with tempfile.TemporaryDirectory() as place:
        folder, rows = Path(place), []
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        shape = (80, 60) if dry else (500, 375)
        for number in range(count):
            rolled = np.roll(noise, number, axis=(0, 1))
            path = folder / f"{number}.jpg"
            cv2.imwrite(str(path), cv2.resize(rolled, shape, interpolation=cv2.INTER_CUBIC))
            row = ImageRow(str(number), "train", (("a", "b")[number % 2],), str(path), "", "")
            rows.append(row._replace(width=shape[0], height=shape[1]))
        seconds: list[float] = []
        before = time.monotonic()
        for more in (1, epochs):
            began = time.monotonic()
            train(
                rows,
                [],
                ("a", "b"),
                config.model_copy(update={"epochs": more}),
                seed=0,
                folder=folder / str(more),
                device=torch.device("cpu" if dry else "cuda"),
            )
            seconds.append(time.monotonic() - began)
    # The start and the decoding of all images are the same in both.
    rate = count * (epochs - 1) / max(seconds[1] - seconds[0], 1e-9)
    return {"images per second": rate, "seconds": time.monotonic() - before}


def prediction(name: str, *, dry: bool = False) -> dict[str, Any]:
    """Return predictions per second, mirrored image included, without a CRF."""
    import numpy as np

    from ws3.segmentation.networks import build
    from ws3.segmentation.prediction import predict

    network = build(name, 5, None)
    shape, budget = ((60, 80), 0.2) if dry else ((375, 500), 5.0)
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    device = "cpu" if dry else "cuda"
    for _ in range(2):
        predict(network, image, (1.0,), True, device)
    done, began = 0, time.monotonic()
    while time.monotonic() - began < budget:
        predict(network, image, (1.0,), True, device)
        done += 1
    return {"images per second": done / (time.monotonic() - began)}


if __name__ == "__main__":
    main()
