"""A run that has been begun, and all jobs of one of its stages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from made_records import classifier_facts

from ws3.config.load import dump, resolve
from ws3.files import file_sha256
from ws3.jobs.runner import open_stage, run_batches
from ws3.run.batches import stage_batches, stage_splits
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import write_record
from ws3.stages.index import index, write_config
from ws3.stages.threshold import threshold
from ws3.store.maps import MapStore

TWO_RECIPES: dict[str, Any] = {
    "run": "made",
    "device": "cpu",
    "dataset": {
        "kind": "synthetic",
        "train_images": 2,
        "val_images": 3,
        "size": 64,
        "classes": 3,
    },
    "recipes": {
        name: {"preset": "cam_multiscale", "samples": {"scales": [1.0], "flip": flip}}
        for name, flip in (("cam", False), ("flipped", True))
    },
    "masks": {"background": {"kind": "constant", "score": 0.25}, "crf": "irn"},
    "segmentation": {"recipes": []},
}
"""A configuration whose figures differ between its recipes, and which lacks `results`."""


def begun(config: dict[str, Any], classifier: Path) -> Run:
    """Return a new run: indexed, with a copy of a classifier."""
    run = Run.of(resolve(config))
    write_config(run)
    index(run)
    shutil.copy(classifier, run.classifier_file)
    facts = classifier_facts(file_sha256(run.classifier_file), classes=run.index.classes)
    write_record(run.receipt("train_classifier"), facts)
    return run


def map_at_random(run: Run, recipe: str) -> None:
    """Give all images maps of 64 x 64 random scores, and choose the threshold."""
    store = MapStore(run.results("maps", recipe))
    store.create({"kind": "maps", "recipe": recipe})
    for number, row in enumerate(run.index.rows):
        maps = np.random.default_rng(number).random((len(row.labels), 64, 64))
        made_from = Fingerprints(run, recipe).of("maps", row)
        store.write(row.image, maps.astype(np.float16), {"fingerprint": made_from})
    threshold(run, recipe)


def with_masks(run: Run, **masks: Any) -> Run:
    """Give a run other settings of its masks, and open it again."""
    data = run.config.model_dump(mode="json")
    data["masks"].update(masks)
    (run.folder / "config.yaml").write_text(dump(resolve(data)))
    return Run.open(run.folder)


def work(run: Run, stage: str, recipe: str) -> None:
    """Do all of a per-image stage."""
    batches = stage_batches(run.config, run.index, stage)
    names = batches.names(stage_splits(run.config, stage))
    run_batches(run, open_stage(run, stage, recipe), [batches[name] for name in names])
