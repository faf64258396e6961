"""The page of all images at the size of VOC's augmented training split: time, memory, first view.

    python benchmarks/report_images.py --images 10582 --recipes 5

Photographs, maps and masks are drawn and stored as a run stores them. The pictures of some images
(`--drawn`) are made as the report makes them, and timed; the others are hard links to these, with
figures of their own. The page is then opened from the disk in headless Chromium, without a server.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring import entry, report

from ws3.datasets.images import decode_rgb
from ws3.masks.png import read_mask, write_mask
from ws3.report.html import IMAGES_PAGE, write_report
from ws3.report.image_index import ImageFacts, Layer, write_image_index
from ws3.report.image_pictures import draw_pictures
from ws3.report.model import DatasetFacts, Report
from ws3.report.pictures import UInt8
from ws3.store.maps import MapStore

SIZE = (375, 500)
CLASSES = tuple(f"class {number}" for number in range(20))
ENDINGS = {"photo": "jpg", "maps": "jpg", "masks": "png", "regions": "png"}
PROBE = """
<script>
window.addEventListener("load", () => {
  const result = document.createElement("output");
  result.id = "probe";
  const shown = [...document.images].filter((i) => i.complete && i.naturalWidth);
  Object.assign(result.dataset, {
    first: Math.round(performance.now()), cards: document.querySelectorAll(".thumb").length,
    heap: performance.memory.usedJSHeapSize,
    pictures: [...new Set(shown.map((i) => i.getAttribute("src")))].join(" "),
  });
  const began = performance.now();
  document.getElementById("sort").value = "gain";
  document.getElementById("layer").value = "1";
  document.getElementById("layer").dispatchEvent(new Event("change"));
  result.dataset.sort = Math.round(performance.now() - began);
  document.body.append(result);
});
</script>
"""


def scene(seed: int) -> tuple[UInt8, UInt8, list[int]]:
    """Return a drawn photograph, its ground truth, and the classes in it."""
    random = np.random.default_rng(seed)
    height, width = SIZE
    image = cv2.resize(
        random.integers(30, 220, (12, 16, 3), dtype=np.uint8),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    truth = np.zeros(SIZE, np.uint8)
    labels = sorted(random.choice(len(CLASSES), int(random.integers(1, 4)), replace=False).tolist())
    for label in labels:
        centre = (int(random.integers(80, width - 80)), int(random.integers(80, height - 80)))
        axes = (int(random.integers(40, 110)), int(random.integers(40, 110)))
        colour = tuple(int(v) for v in random.integers(0, 255, 3))
        cv2.ellipse(truth, centre, axes, 0, 0, 360, int(label) + 1, -1)
        cv2.ellipse(image, centre, axes, 0, 0, 360, colour, -1)
    noise = random.normal(0, 12, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), truth, labels


@dataclass(frozen=True)
class Stored:
    """Results of a run as they lie on the disk."""

    folder: Path
    recipes: list[str]

    def store(self, number: int) -> list[int]:
        """Write an image, its ground truth, and each recipe's maps and mask; return its classes."""
        image, truth, labels = scene(number)
        random, name = np.random.default_rng(number), name_of(number)
        for folder in ("images", "truth", *self.recipes):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(self.folder / "images" / f"{name}.jpg"), image)
        write_mask(self.folder / "truth" / f"{name}.png", truth, {})
        values = np.array([0, *(label + 1 for label in labels)], np.uint8)
        for place, recipe in enumerate(self.recipes):
            blurred = [
                cv2.GaussianBlur((truth == value).astype(np.float32), (0, 0), 12 + 8 * place)
                for value in values[1:]
            ]
            scores = np.stack([score / max(1e-6, float(score.max())) for score in blurred])
            MapStore(self.folder / f"{recipe}.zarr").write(name, scores.astype(np.float16), {})
            cut = np.full((1, *SIZE), random.uniform(0.2, 0.6), np.float32)
            mask = values[np.concatenate([cut, scores]).argmax(axis=0)]
            write_mask(self.folder / recipe / f"{name}.png", mask, {})
        return labels

    def draw(self, number: int, labels: list[int], pictures: Path) -> ImageFacts:
        """Read an image's results, draw it and write its pictures, as the report stage does."""
        name = name_of(number)
        data = (self.folder / "images" / f"{name}.jpg").read_bytes()
        maps = [MapStore(self.folder / f"{recipe}.zarr").read(name) for recipe in self.recipes]
        masks = {recipe: read_mask(self.folder / recipe / f"{name}.png") for recipe in self.recipes}
        truth = read_mask(self.folder / "truth" / f"{name}.png")
        drawn = draw_pictures(decode_rgb(data, name), maps, masks, {}, truth, self.recipes[0])
        for kind, ending in (
            ("photo", "jpg"),
            ("maps", "jpg"),
            ("masks", "png"),
            ("regions", "png"),
        ):
            (pictures / f"{name}.{kind}.{ending}").write_bytes(getattr(drawn, kind))
        return ImageFacts(
            *(name, name, "train", tuple(labels), (SIZE[1], SIZE[0]), True),
            *(drawn.shares, drawn.disagreement),
        )


def name_of(number: int) -> str:
    """Return an image's name."""
    return f"img_{number:06d}"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_582)
    parser.add_argument("--recipes", type=int, default=5)
    parser.add_argument("--drawn", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="keep the report in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ws3-report-") as temporary:
        folder = options.keep or Path(temporary, "report")
        stored = Stored(Path(temporary, "run"), [f"recipe {n}" for n in range(options.recipes)])
        entries = measure(stored, folder, options.images, min(options.drawn, options.images))
    report("report_images", entries)


def measure(stored: Stored, folder: Path, images: int, drawn: int) -> list[dict[str, Any]]:
    """Return the figures of a report of so many images, of which some are drawn."""
    pictures = folder / "images"
    pictures.mkdir(parents=True)
    labels = [stored.store(number) for number in range(drawn)]
    facts, seconds, memory = list[ImageFacts](), list[float](), list[int]()
    for number in range(drawn):
        began = time.process_time()
        facts.append(stored.draw(number, labels[number], pictures))
        seconds.append(time.process_time() - began)
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    size = sum(path.stat().st_size for path in pictures.iterdir()) / drawn
    for number in range(drawn, images):
        source, name = facts[number % drawn], name_of(number)
        for kind, ending in ENDINGS.items():
            os.link(
                pictures / f"{source.file}.{kind}.{ending}", pictures / f"{name}.{kind}.{ending}"
            )
        facts.append(replace(source, image=name, file=name))
    random = np.random.default_rng(0)
    layers = [
        Layer(
            *(recipe, "masks", random.integers(0, 1000, images).tolist()),
            random.integers(0, 3, images).tolist(),
        )
        for recipe in stored.recipes
    ]
    began = time.process_time()
    write_image_index(
        pictures,
        facts,
        layers,
        recipes=stored.recipes,
        classes=CLASSES,
        reference=stored.recipes[0],
    )
    indexed = time.process_time() - began
    dataset = DatasetFacts("drawn", CLASSES, {"train": images}, {})
    write_report(folder, Report("drawn", {}, [], dataset, images=images))
    each, warm = statistics.median(seconds), memory[min(9, drawn - 1)]
    return [
        entry("drawing, CPU per image of five recipes", each, None, each, None, "s"),
        entry(
            "memory, at the last image against the tenth part",
            memory[-1],
            warm,
            memory[-1] / warm,
            None,
            "kB",
        ),
        entry("pictures of an image", size, None, size, None, "bytes"),
        entry("writing the index, CPU", indexed, None, indexed, None, "s"),
        *first_view(folder),
    ]


def first_view(folder: Path) -> list[dict[str, Any]]:
    """Open the page, and return what its first view took."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no browser: the first view is not measured", file=sys.stderr)
        return []
    page, probed = folder / IMAGES_PAGE, folder / "probed.html"
    # Pictures below the window's edge load later; here all of the first page's are waited for.
    text = page.read_text("utf-8").replace('if (lazy) element.loading = "lazy";', "")
    probed.write_text(text.replace("</body>", f"{PROBE}</body>"), "utf-8")
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-background-networking", "--window-size=1280,900"),
                *(f"--user-data-dir={profile}", "--dump-dom", probed.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    probed.unlink()
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', done.stdout.split('id="probe"')[1]))
    loaded = [
        page,
        folder / "images/index.js",
        *(folder / name for name in found["pictures"].split()),
    ]
    size = sum(path.stat().st_size for path in loaded)
    first, sort = int(found["first"]) / 1000, int(found["sort"]) / 1000
    return [
        entry("first view, from the start of loading", first, None, first, None, "s"),
        entry("first view, loaded", size, None, size, None, "bytes"),
        entry("memory of scripts", int(found["heap"]), None, int(found["heap"]), None, "bytes"),
        entry("sorting and showing again", sort, None, sort, None, "s"),
    ]


if __name__ == "__main__":
    main()
