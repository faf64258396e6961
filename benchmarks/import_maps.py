"""Importing maps of another program: its reader against `numpy.load`, and the whole stage.

`python benchmarks/import_maps.py` takes about a minute and 500 MB of disk. The files are IRNet's:
pickled dicts of float32 maps of one to three classes at 375 x 500 and at a quarter of it per side.
They lie in the page cache, so that the disk, which slows both sides alike, flatters neither.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import entry, fastest, report
from PIL import Image

from ws3.cli.memory import keep_freed_memory
from ws3.config.load import resolve
from ws3.imports.pickles import read_pickled_dict
from ws3.jobs.runner import open_stage, run_images
from ws3.run.folder import Run
from ws3.stages.index import index, write_config

IMAGES, HEIGHT, WIDTH, ROUNDS = 300, 375, 500, 7
CLASSES = ("cat", "cow", "dog")


def draw(folder: Path) -> None:
    """Write photographs with labels, and the files of another program."""
    (folder / "data" / "images").mkdir(parents=True)
    (folder / "maps").mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,labels"]
    for number in range(IMAGES):
        count = 1 + (number % 2) + (number % 8 == 7)
        Image.new("RGB", (WIDTH, HEIGHT), (number % 256, 100, 100)).save(
            folder / "data" / "images" / f"{number:04d}.png"
        )
        coarse = rng.random((count, 24, 32), np.float32)
        content = {
            "keys": np.arange(count),
            "cam": np.kron(coarse, np.ones((1, 4, 4), np.float32))[:, :94, :125],
            "high_res": np.kron(coarse, np.ones((1, 16, 16), np.float32))[:, :HEIGHT, :WIDTH],
        }
        np.save(folder / "maps" / f"{number:04d}.npy", np.array(content, dtype=object))
        lines.append(f"{number:04d},{';'.join(CLASSES[:count])}")
    (folder / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "data" / "val.txt").write_text("0000\n")


def stages(folder: Path) -> dict[str, float]:
    """Return the images per second of the index, which reads and checks all files, and of maps."""
    data = {
        "run": "run",
        "results": str(folder / "results"),
        "dataset": {"kind": "folder", "root": str(folder / "data"), "val": "val.txt"},
        "recipes": {"theirs": {"import": {"maps": str(folder / "maps")}}},
        "reference_recipe": "theirs",
    }
    run = Run.of(resolve(data))
    write_config(run)
    began = time.perf_counter()
    index(run)
    indexed = time.perf_counter()
    run_images(run, open_stage(run, "maps", "theirs"), run.index.rows)
    done = time.perf_counter()
    return {"index": IMAGES / (indexed - began), "maps": IMAGES / (done - indexed)}


def main() -> None:
    """Measure, and report."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder)
        files = sorted((folder / "maps").iterdir())

        def theirs() -> None:
            for path in files:
                np.load(path, allow_pickle=True).item()

        def ours() -> None:
            for path in files:
                read_pickled_dict(path)

        seconds = fastest({"numpy.load": theirs, "ws3": ours}, rounds=ROUNDS)
        rates = stages(folder)
    per_file = {name: 1e3 * spent / IMAGES for name, spent in seconds.items()}
    entries = [
        entry(
            f"reading {IMAGES} pickled dicts: files per second, against numpy.load's",
            per_file["ws3"],
            per_file["numpy.load"],
            per_file["numpy.load"] / per_file["ws3"],
            None,
            "CPU-milliseconds per file",
        ),
        *(
            entry(f"ws3 {stage}", rate, None, rate, None, "images per second")
            for stage, rate in rates.items()
        ),
    ]
    report("import_maps", entries)


if __name__ == "__main__":
    main()
