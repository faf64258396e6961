"""Where results come from: fingerprints that follow what was computed, and the commit of ws3."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from verified_run import CROPS, made, original, run_stage  # noqa: F401

import ws3
from ws3.run import provenance as module
from ws3.run.folder import Run
from ws3.run.provenance import provenance, ws3_commit


def fingerprints(run: Run) -> dict[str, str]:
    return {one.stage: one.fingerprint for one in provenance(run, ()).stages}


def test_it_says_what_made_the_results(made: Run) -> None:  # noqa: F811
    found = provenance(made, ("numpy", "no-such-package"))
    assert [one.stage for one in found.stages] == ["train_classifier", "saliency", "maps", "masks"]
    maps = found.stages[2]
    assert (maps.recipe, maps.jobs, maps.images) == (CROPS, 5, 8)
    assert maps.hosts == (socket.gethostname(),)
    assert found.precisions == {CROPS: "fp32"}
    assert (found.seed, found.device) == (0, "cpu")
    assert set(found.versions) == {"ws3", "numpy"}
    assert {"python", "torch", "zarr"} <= found.computed_with.keys()
    assert found.as_plain()["config"]["recipes"][CROPS]["method"] == "gradient"
    assert found == provenance(Run.open(made.folder), ("numpy",))


def test_fingerprints_follow_what_is_computed_and_not_the_batches(made: Run) -> None:  # noqa: F811
    before = fingerprints(made)
    path = made.folder / "config.yaml"
    text = path.read_text()
    assert "images_per_job: 2" in text
    for receipt in made.folder.glob("receipts/maps/*/*.json"):
        receipt.unlink()
    path.write_text(text.replace("images_per_job: 2", "images_per_job: 8"))
    run = Run.open(made.folder)
    run_stage(run, "maps")
    assert fingerprints(run) == before
    assert "crf: irn" in text
    path.write_text(text.replace("crf: irn", "crf: psa"))
    run = Run.open(made.folder)
    run_stage(run, "masks")
    after = fingerprints(run)
    assert after["masks"] != before["masks"]
    assert {**after, "masks": ""} == {**before, "masks": ""}


def git(folder: Path, *words: str) -> str:
    user = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *user, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout_that_ws3_is_part_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ws3"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(ws3, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(module, "_PACKAGE", "no-such-package")
    git(tmp_path, "init", "--quiet")
    (tmp_path / "README").write_text("")
    git(tmp_path, "add", "README")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    assert ws3_commit() == ""  # the repository has another thing in it
    git(tmp_path, "add", "ws3")
    git(tmp_path, "commit", "--quiet", "-m", "second")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert ws3_commit() == head
    (package / "__init__.py").write_text("changed = 1\n")
    assert ws3_commit() == f"{head}+"
