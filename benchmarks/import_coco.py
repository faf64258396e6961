"""ws3 import and ws3 index on a tree of COCO's size: 82,081 pictures, 600,000 objects.

`python benchmarks/import_coco.py` takes half an hour and 1 GB of disk; with a number, it makes so
many pictures, and objects in proportion. The pictures are links to a few drawn ones of 640 x 480,
so they are read from memory, not from a disk. Seconds are the processor's, of all threads of a
command; megabytes the most that it held.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import entry, report
from PIL import Image
from pycocotools import mask as rle

REPOSITORY = Path(__file__).parents[1]
PICTURES, OBJECTS, CLASSES = 82_081, 600_000, 80
WIDTH, HEIGHT = 640, 480
DRAWN = 8
CROWDS = 0.01
_PROBE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def main() -> None:
    """Measure and report."""
    pictures = int(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    with tempfile.TemporaryDirectory() as folder:
        report("import_coco", measure(Path(folder), pictures, OBJECTS * pictures // PICTURES))


def measure(folder: Path, pictures: int, objects: int) -> list[dict[str, Any]]:
    """Return the figures of a tree that is made in an empty folder."""
    make_tree(folder / "coco", pictures, objects)
    config = str(folder / "coco_ws3/config.yaml")
    commands = {
        "ws3 import --dry-run": ("import", "coco", "--dry-run"),
        "ws3 import": ("import", "coco"),
        "ws3 index --check": ("index", "--config", config, "--check"),
        "ws3 index": ("index", "--config", config),
    }
    entries = []
    for title, words in commands.items():
        seconds, megabytes = _run(folder, words)
        title = f"{title}, COCO, {pictures} pictures, {objects} objects"
        entries.append(entry(title, seconds, None, 1, None, "s"))
        entries.append(entry(title, megabytes, None, 1, None, "MB"))
    return entries


def make_tree(root: Path, pictures: int, objects: int) -> None:
    """Write a tree of COCO's form: polygons of thirty points, and one object in 100 a crowd."""
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    drawn = [root / f"train/{number:012}.jpg" for number in range(1, DRAWN + 1)]
    for number, path in enumerate(drawn):
        _draw(path, number)
    for number in range(DRAWN + 1, pictures + 1):
        os.link(drawn[number % DRAWN], root / f"train/{number:012}.jpg")
    dice = random.Random(0)
    with (root / "annotations/instances_train.json").open("w") as file:
        images = (
            {"id": number, "file_name": f"{number:012}.jpg", "height": HEIGHT, "width": WIDTH}
            for number in range(1, pictures + 1)
        )
        file.write('{"info": {}, "images": [')
        file.write(", ".join(map(json.dumps, images)))
        file.write('], "annotations": [')
        for number in range(1, objects + 1):
            file.write(", " if number > 1 else "")
            file.write(json.dumps(_object(dice, number, 1 + number * pictures // (objects + 1))))
        categories = [{"id": 1 + number, "name": f"thing {number}"} for number in range(CLASSES)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def _draw(path: Path, seed: int) -> None:
    dice = np.random.default_rng(seed)
    coarse = Image.fromarray(dice.integers(0, 256, (60, 80, 3), np.uint8))
    pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
    noisy = pixels + dice.integers(-12, 13, pixels.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def _object(dice: random.Random, number: int, picture: int) -> dict[str, Any]:
    radius = min(10 * dice.paretovariate(1), 200)
    x, y = dice.uniform(0, WIDTH), dice.uniform(0, HEIGHT)
    crowd = dice.random() < CROWDS
    region: Any
    if crowd:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        mask[int(y) : int(y + radius) + 1, int(x) : int(x + radius) + 1] = 1
        found = rle.encode(mask)
        region = {"size": found["size"], "counts": found["counts"].decode()}
    else:
        angles = sorted(dice.uniform(0, 2 * np.pi) for _ in range(dice.randint(10, 50)))
        region = [
            [
                round(float(value), 2)
                for angle in angles
                for value in (
                    min(max(x + radius * np.cos(angle), 0), WIDTH),
                    min(max(y + radius * np.sin(angle), 0), HEIGHT),
                )
            ]
        ]
    return {
        "segmentation": region,
        "area": round(radius * radius * 3, 2),
        "iscrowd": int(crowd),
        "image_id": picture,
        "bbox": [round(x, 2), round(y, 2), round(radius, 2), round(radius, 2)],
        "category_id": dice.randint(1, CLASSES),
        "id": number,
    }


def _run(folder: Path, words: tuple[str, ...]) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, sys.executable, "-m", "ws3", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    returned, seconds, megabytes = json.loads(done.stdout)
    assert returned == 0, words
    return seconds, megabytes


if __name__ == "__main__":
    main()
