"""A small run with chunks, maps and masks of one recipe, in batches of two, to be damaged."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
from made_records import classifier_facts
from stage_work import work

from ws3.cli import main
from ws3.config.load import resolve
from ws3.files import file_sha256
from ws3.run.folder import Run
from ws3.run.records import write_record
from ws3.stages.index import index, write_config
from ws3.stages.threshold import threshold

CROPS = "saliency_crops"


def run_stage(run: Run, stage: str) -> None:
    work(run, stage, CROPS)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, untrained_classifier: Path) -> Run:
    """Return a run with maps and masks of one recipe, in batches of two."""
    config = {
        "run": "made",
        "results": str(tmp_path_factory.mktemp("results")),
        "device": "cpu",
        "dataset": {
            "kind": "synthetic",
            "train_images": 5,
            "val_images": 3,
            "size": 64,
            "classes": 3,
        },
        "recipes": {
            CROPS: {
                "method": "gradient",
                "samples": {"kind": "crops", "count": 12, "samples_per_chunk": 6, "batch": 4},
            }
        },
        "reference_recipe": CROPS,
        "images_per_job": 2,
    }
    run = Run.of(resolve(config))
    write_config(run)
    index(run)
    shutil.copy(untrained_classifier, run.classifier_file)
    facts = classifier_facts(file_sha256(run.classifier_file))
    for path in (run.receipt("train_classifier"), run.classifier_file.with_suffix(".json")):
        write_record(path, facts)
    for stage in ("saliency", "maps"):
        run_stage(run, stage)
    threshold(run, CROPS)
    run_stage(run, "masks")
    return run


@pytest.fixture
def made(original: Run, tmp_path: Path) -> Run:
    """Return a copy of that run, to be damaged."""
    return Run.open(Path(shutil.copytree(original.folder, tmp_path / "made")))


def contents(run: Run) -> dict[str, bytes]:
    folders = [run.results(stage, CROPS) for stage in ("saliency", "maps", "masks")]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def ws3(*arguments: object) -> tuple[int, str]:
    """Run the command in this process; return its status and all that it says."""
    said, status = io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["ws3", *map(str, arguments)]),
        mock.patch("ws3.cli.memory.keep_freed_memory"),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    assert "Traceback" not in said.getvalue()
    return status, said.getvalue()
