"""A small run that is finished, for tests of what is done with such a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from verified_run import CROPS

from ws3.run.folder import Run
from ws3.stages.evaluate import evaluate, summarise_run


@pytest.fixture(scope="session")
def finished_original(original: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the verified run with its figures, and in place of its report one line."""
    folder = tmp_path_factory.mktemp("finished") / "made"
    run = Run.open(Path(shutil.copytree(original.folder, folder)))
    evaluate(run, CROPS)
    summarise_run(run)
    run.report_file.parent.mkdir()
    run.report_file.write_text("<!doctype html><title>report</title>")
    return run


@pytest.fixture
def finished_run(finished_original: Run, tmp_path: Path) -> Run:
    """Return a copy of that run, to be changed."""
    return Run.open(Path(shutil.copytree(finished_original.folder, tmp_path / "made")))
