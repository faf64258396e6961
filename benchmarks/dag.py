"""Snakemake's own cost at the size of VOC and COCO: dry runs over 5 recipes and four stages.

`python benchmarks/dag.py` takes a few minutes. It writes indices of images that don't exist; a dry
run looks at no image. Peak memory is that of the whole process tree's largest process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from measuring import entry, report

REPOSITORY = Path(__file__).parents[1]
SIZES = {"VOC": 10_582, "COCO": 82_081}
FIGURES = {("VOC", 64): (6, 250), ("COCO", 64): (25, 600), ("COCO", 256): (8, 600)}


def main() -> None:
    """Measure and report."""
    entries = []
    for (name, batch), (seconds_limit, memory_limit) in FIGURES.items():
        folder = Path(tempfile.mkdtemp())
        try:
            seconds, megabytes = _dry_run(folder, SIZES[name], batch)
        finally:
            shutil.rmtree(folder)
        title = f"dry run, {name}, {SIZES[name]} images, 5 recipes, batches of {batch}"
        entries.append(entry(title, seconds, seconds_limit, seconds / seconds_limit, None, "s"))
        entries.append(entry(title, megabytes, memory_limit, megabytes / memory_limit, None, "MB"))
    report("dag", entries)


def _dry_run(folder: Path, images: int, batch: int) -> tuple[float, float]:
    root = folder / "data"
    (root / "images").mkdir(parents=True)
    ids = [f"image_{number:06}" for number in range(images)]
    for image in ids:
        (root / "images" / f"{image}.jpg").touch()
    lines = "".join(f"{image},cat;dog\n" for image in ids)
    (root / "labels.csv").write_text(f"image,labels\n{lines}")
    recipes = {f"recipe_{number}": {"preset": "gradient_crops"} for number in range(5)}
    config = {
        "run": "scale",
        "dataset": {"kind": "folder", "root": str(root)},
        "recipes": recipes,
        "reference_recipe": "recipe_0",
        "evaluation": {"splits": ["train"]},
        "images_per_job": batch,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    code = (
        "import json, resource, subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE);"
        "sys.stderr.buffer.write(done.stderr if done.returncode else b'');"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss;"
        "print(json.dumps([done.returncode, peak]))"
    )
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--cores", "2"]
    command += ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(path)]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    returned, kilobytes = json.loads(done.stdout)
    assert returned == 0, done.stderr
    return seconds, kilobytes / 1024


if __name__ == "__main__":
    main()
