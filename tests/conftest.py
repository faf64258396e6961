"""A small run that tests of the stages share: drawn pictures and an untrained classifier."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from dataset_trees import coco_tree, folder_tree, voc_tree
from hypothesis import settings
from made_records import classifier_facts

__all__ = ["coco_tree", "folder_tree", "small_run", "untrained_classifier", "voc_tree"]

# One thread a process, as in the jobs themselves; read when numpy and torch are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a shell starts in the background ignores Ctrl-C, and so would the commands under test.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
settings.register_profile("ws3", deadline=None)
settings.load_profile("ws3")

SMALL: dict[str, Any] = {
    "run": "small",
    "device": "cpu",
    "threads": 1,
    "dataset": {
        "kind": "synthetic",
        "train_images": 5,
        "val_images": 3,
        "size": 64,
        "classes": 3,
    },
    "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1, "batch_size": 4},
    "recipes": {
        "cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0, 1.5], "flip": True}},
        "saliency": {"preset": "gradient"},
        "saliency_crops": {
            "preset": "gradient_crops",
            "samples": {"count": 12, "samples_per_chunk": 5, "batch": 4},
        },
    },
    "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
    "segmentation": {
        "recipes": ["saliency_crops"],
        "architecture": "lraspp_mobilenet_v3_large",
        "epochs": 1,
        "batch_size": 2,
        "crop_size": 64,
    },
    "images_per_job": 2,
}


def small_config(results: Path, **changes: Any) -> dict[str, Any]:
    """Return the small run's configuration; `a__b=value` changes the key a.b."""
    data = copy.deepcopy(SMALL)
    data["results"] = str(results)
    for path, value in changes.items():
        *sections, key = path.split("__")
        node = data
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    return data


@pytest.fixture(scope="session")
def untrained_classifier(tmp_path_factory):
    """Return a checkpoint of a classifier with random weights, and its digest."""
    import torch

    from ws3.classifier import checkpoints
    from ws3.datasets.synthetic.scene import CLASSES

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("classifier") / "classifier.pt"
    classifier = checkpoints.new_classifier("resnet18", CLASSES[:3], 64, None)
    checkpoints.save_classifier(path, classifier)
    return path


@pytest.fixture
def small_run(tmp_path, untrained_classifier):
    """Return a function that begins the small run: indexed, with a classifier.

    Its name is that of a folder in the test's own, or the whole path of another.
    """
    from ws3.config.load import resolve
    from ws3.files import file_sha256
    from ws3.run.folder import Run
    from ws3.run.records import write_record
    from ws3.stages.index import index, write_config

    def begin(name: str = "results", **changes: Any) -> Run:
        run = Run.of(resolve(small_config(tmp_path / name, **changes)))
        write_config(run)
        index(run)
        run.classifier_file.write_bytes(untrained_classifier.read_bytes())
        facts = classifier_facts(file_sha256(run.classifier_file), classes=run.index.classes)
        write_record(run.receipt("train_classifier"), facts)
        return run

    return begin


@pytest.fixture(scope="session")
def small():
    """Return the small run's configuration, for tests that run Snakemake on it."""
    return copy.deepcopy(SMALL)
