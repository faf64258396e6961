"""How time, memory, files and bytes grow with the number of images: 100, 1,000 and 10,000.

`python benchmarks/growth.py` takes half an hour and more, nearly all of it for the 10,000; `python
benchmarks/growth.py 100 1000` some minutes. Images of 64 x 64 are drawn, the classifier is small
and untrained, and the recipe takes four crops of each image, so that what is not computing weighs
most. Each stage is one `ws3` command on all images. Seconds are those of the processor, without
what the same command takes for a single image (Python's start, imports, the network); the exponent
is the slope of their logarithm over that of the number of images: 1 is linear.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from measuring import entry, report

SIZES = (100, 1_000, 10_000)
CLASSES = 3
COMMANDS = {
    "index": ["index"],
    "saliency": ["saliency", "--recipe", "crops"],
    "maps": ["maps", "--recipe", "crops"],
    "threshold": ["threshold", "--recipe", "crops"],
    "masks": ["masks", "--recipe", "crops"],
    "evaluate": ["evaluate"],
    "report": ["report"],
    "status": ["status"],
}
STORED = {
    "saliency": "saliency/crops.zarr",
    "maps": "maps/crops.zarr",
    "masks": "masks/crops",
    "all": ".",
}


@dataclass(frozen=True)
class Spent:
    """What one command took.

    Attributes:
        seconds: Of the processor.
        megabytes: Of memory, at most.
    """

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Grown:
    """A run of some images.

    Attributes:
        spent: By stage.
        files: By what is stored.
        bytes: Likewise.
    """

    spent: dict[str, Spent]
    files: dict[str, int]
    bytes: dict[str, int]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="IMAGES")
    sizes = sorted(parser.parse_args().sizes)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "classifier.pt"
        # This process must stay small: a child's peak is at least its parent's at the start.
        process = multiprocessing.get_context("spawn").Process(
            target=_save_classifier, args=(checkpoint,)
        )
        process.start()
        process.join()
        runs = {size: _run(Path(folder), checkpoint, size) for size in (1, *sizes)}
    report("growth", [*_growth(runs, sizes), *_per_image(runs, sizes)])


def _growth(runs: dict[int, Grown], sizes: Sequence[int]) -> list[dict[str, object]]:
    """Return each stage's exponent of time, and its memory at the last size against the first."""
    entries = []
    first, last = sizes[0], sizes[-1]
    for stage in COMMANDS:
        start = runs[1].spent[stage].seconds
        seconds = {size: runs[size].spent[stage].seconds for size in sizes}
        peaks = {size: runs[size].spent[stage].megabytes for size in sizes}
        net = {size: seconds[size] - start for size in sizes}
        if len(sizes) > 1 and min(net.values()) > 0:
            exponent = _slope([math.log(size) for size in sizes], [*map(math.log, net.values())])
            title = f"{stage}: exponent of time, {first} to {last} images"
            entries.append(entry(title, exponent, 1, exponent, None, "1"))
        for size in sizes:
            title = f"{stage}: CPU time per image, {size} images"
            ratio = net[size] / size / (net[last] / last)
            entries.append(entry(title, 1e3 * net[size] / size, None, ratio, None, "ms"))
        title = f"{stage}: peak memory, {last} images against {first}"
        entries.append(
            entry(title, peaks[last], peaks[first], peaks[last] / peaks[first], None, "MB")
        )
    return entries


def _per_image(runs: dict[int, Grown], sizes: Sequence[int]) -> list[dict[str, object]]:
    """Return the files and bytes of an image at the last size, against the first."""
    entries = []
    first, last = sizes[0], sizes[-1]
    for name in STORED:
        for unit in ("files", "bytes"):
            found = {size: getattr(runs[size], unit)[name] / size for size in (first, last)}
            title = f"{name}: {unit} per image, {last} images against {first}"
            ratio = found[last] / found[first]
            entries.append(entry(title, found[last], found[first], ratio, None, unit))
    return entries


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of the straight line that fits best."""
    middle, height = sum(x) / len(x), sum(y) / len(y)
    rise = sum((one - middle) * (other - height) for one, other in zip(x, y, strict=True))
    return rise / sum((one - middle) ** 2 for one in x)


def _save_classifier(path: Path) -> None:
    import torch

    from ws3.classifier import checkpoints
    from ws3.datasets.synthetic.scene import CLASSES as NAMES

    torch.manual_seed(0)
    network = checkpoints.new_classifier("shufflenet_v2_x0_5", NAMES[:CLASSES], 32, None)
    checkpoints.save_classifier(path, network)


def _run(folder: Path, checkpoint: Path, size: int) -> Grown:
    """Take a run of so many images through all stages."""
    config = {
        "run": f"images_{size}",
        "results": str(folder),
        "device": "cpu",
        "dataset": {
            "kind": "synthetic",
            "train_images": size,
            "val_images": 1,
            "size": 64,
            "classes": CLASSES,
        },
        "classifier": {
            "architecture": "shufflenet_v2_x0_5",
            "checkpoint": str(checkpoint),
            "input_size": 32,
        },
        "recipes": {"crops": {"preset": "gradient_crops", "samples": {"count": 4, "batch": 4}}},
        "reference_recipe": "crops",
        "masks": {"background": {"kind": "tuned", "split": "train"}},
        "evaluation": {"splits": ["train"]},
    }
    path = folder / f"{size}.yaml"
    path.write_text(yaml.safe_dump(config))
    run = folder / f"images_{size}"
    spent = {}
    for stage, (command, *options) in COMMANDS.items():
        where = ["--config", str(path)] if command == "index" else [str(run)]
        spent[stage] = _command(command, *where, *options)
        print(f"{size} images, {stage}: {spent[stage]}", flush=True)
        if stage == "index":
            _command("train-classifier", str(run))
    stored = {name: _stored(run / place) for name, place in STORED.items()}
    return Grown(
        spent,
        {name: files for name, (files, _) in stored.items()},
        {name: size for name, (_, size) in stored.items()},
    )


def _command(*arguments: str) -> Spent:
    line = [sys.executable, "-m", "ws3", *arguments]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(line, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(line)}: {said.read()[-2000:].decode(errors='replace')}")
    return Spent(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _stored(folder: Path) -> tuple[int, int]:
    """Return the number of files in and below a folder, without the drawn data, and their bytes."""
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "data"
    ]
    return len(files), sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
