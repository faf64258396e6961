"""A run whose dataset is a small folder of the user's own, and which needs no network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from made_records import classifier_facts
from PIL import Image

TRAIN = [f"t{number}" for number in range(5)]
VAL = [f"v{number}" for number in range(3)]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with keys changed; `a__b=value` changes the key a.b."""
    data = copy.deepcopy(base)
    for path, value in changes.items():
        *sections, key = path.split("__")
        node = data
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    return data


@pytest.fixture
def dataset(tmp_path):
    """Return a folder of eight photographs with labels and masks, three of them for validation."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    lines = ["image,labels"]
    for number, image in enumerate([*TRAIN, *VAL]):
        pixels = rng.integers(0, 256, (16, 24, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{image}.png")
        mask = np.zeros((16, 24), np.uint8)
        mask[4:8, 4:9] = 1 + number % 2
        Image.fromarray(mask).save(root / "masks" / f"{image}.png")
        lines.append(f"{image},{'cat;dog' if number == 3 else ('cat', 'dog')[number % 2]}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    (root / "val.txt").write_text("\n".join(VAL) + "\n")
    return root


@pytest.fixture
def config_of(tmp_path, dataset):
    """Return a function that gives the run's configuration as a plain dict, with changes."""
    base = {
        "run": "bare",
        "results": str(tmp_path / "results"),
        "device": "cpu",
        "dataset": {"kind": "folder", "root": str(dataset), "masks": "masks", "val": "val.txt"},
        "recipes": {
            "cam": {"preset": "cam"},
            "crops": {"preset": "gradient_crops", "samples": {"count": 12}},
        },
        "masks": {"background": {"kind": "constant", "score": 0.3}, "crf": "irn"},
        "segmentation": {"recipes": ["crops"]},
        "images_per_job": 2,
    }
    return lambda **changes: merged(base, changes)


@pytest.fixture
def bare_run(config_of):
    """Return a function that begins the run: indexed, and nothing more."""
    from ws3.config.load import resolve
    from ws3.run.folder import Run
    from ws3.stages.index import index, write_config

    def begin(**changes):
        run = Run.of(resolve(config_of(**changes)))
        write_config(run)
        index(run)
        return run

    return begin


@pytest.fixture
def classified_run(bare_run):
    """Return a function that begins the run, as if it had a classifier."""

    from ws3.run.records import write_record

    def begin(**changes):
        run = bare_run(**changes)
        write_record(run.receipt("train_classifier"), classifier_facts())
        return run

    return begin
