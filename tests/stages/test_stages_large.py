"""A photograph of 20 megapixels goes through maps and masks in 4 GB."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial

import cv2
import numpy as np
import pytest
from made_records import classifier_facts
from PIL import Image

from ws3.aggregation.chunks import SampleChunk
from ws3.config.load import resolve
from ws3.masks.png import read_mask
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import write_record
from ws3.run.samples import expected_chunks, sample_plan
from ws3.stages.index import index, write_config
from ws3.stages.threshold import threshold
from ws3.store.saliency import SaliencyStore

HEIGHT, WIDTH, LIMIT = 3648, 5472, 4 * 10**9
CLASSES = ["red", "green", "yellow", "blue"]
COLOURS = [(200, 60, 40), (40, 180, 60), (230, 200, 60), (60, 60, 200)]


def drawn():
    """Return a picture with four ellipses, and its mask."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = np.linspace(60, 160, HEIGHT).astype(np.uint8)[:, None, None]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, colour in enumerate(COLOURS):
        row, column = divmod(number, 2)
        middle = (WIDTH * (2 * column + 1) // 4, HEIGHT * (2 * row + 1) // 4)
        ellipse = (middle, (900, 600), 20 * number, 0, 360)
        cv2.ellipse(image, *ellipse, colour, -1)
        cv2.ellipse(mask, *ellipse, number + 1, -1)
    return image, mask


@pytest.fixture
def large_run(tmp_path):
    """Return a run of one large picture, whose sample chunks are there, and the picture's mask."""
    image, mask = drawn()
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    Image.fromarray(image).save(data / "images" / "large.jpg", quality=92)
    (data / "labels.csv").write_text(f"image,labels\nlarge,{';'.join(CLASSES)}\n")
    (data / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    config = {
        "run": "large",
        "results": str(tmp_path / "results"),
        "device": "cpu",
        "dataset": {"kind": "folder", "root": str(data), "classes": "classes.txt"},
        "recipes": {
            "crops": {
                "preset": "contrast_input",
                # Without smoothing: with sigmas of a hundred pixels it takes minutes.
                "aggregation": {"smoothing": 0.0},
            }
        },
        "reference_recipe": "crops",
        "masks": {"background": {"kind": "constant", "score": 0.5}},
        "evaluation": {"splits": ["train"]},
    }
    run = Run.of(resolve(config))
    write_config(run)
    index(run)
    write_record(run.receipt("train_classifier"), classifier_facts(classes=run.index.classes))
    store = SaliencyStore(run.results("saliency", "crops"))
    store.create({"kind": "saliency", "recipe": "crops"})
    (row,) = run.index.rows
    made_from = Fingerprints(run, "crops").of("saliency", row)
    store.begin(row.image, {"fingerprint": made_from})
    rough = [
        cv2.resize(
            cv2.blur(cv2.resize((mask == value) * np.float32(1), (456, 304)), (25, 25)),
            (WIDTH, HEIGHT),
        )
        for value in range(1, 5)
    ]
    sums, weights = np.stack(rough), np.ones((len(CLASSES), HEIGHT, WIDTH), np.float32)
    for name, numbers in expected_chunks(row, sample_plan(run, "crops", row), 10).items():
        store.write(row.image, name, SampleChunk(numbers, sums, weights))
    return run, mask


@pytest.mark.slow
def test_twenty_megapixels_go_through_in_four_gigabytes(large_run):
    run, truth = large_run
    limited = partial(resource.setrlimit, resource.RLIMIT_AS, (LIMIT, LIMIT))
    threshold(run, "crops")
    for stage in ("maps", "masks"):
        line = [sys.executable, "-m", "ws3", stage, str(run.folder), "--recipe", "crops"]
        done = subprocess.run(line, capture_output=True, text=True, preexec_fn=limited, check=False)
        assert done.returncode == 0, done.stderr
    mask = read_mask(run.result("masks", "crops", "large"))
    for value in range(1, 5):
        both, either = (mask == value) & (truth == value), (mask == value) | (truth == value)
        assert both.sum() / either.sum() > 0.98
