"""How far a run is while jobs work on it, worked out by hand."""

from __future__ import annotations

import json
import time

import pytest
from fake_stage import FingerprintedStage, all_batches
from typer.testing import CliRunner

from ws3.cli import watching
from ws3.cli.app import app
from ws3.jobs.runner import run_batches, run_images
from ws3.run import journal
from ws3.run.folder import Run
from ws3.run.progress import run_progress


def crops(run, now=None):
    found = run_progress(Run.open(run.folder), now)
    return next(p for p in found if (p.status.stage, p.status.recipe) == ("saliency", "crops"))


@pytest.fixture
def begun(classified_run):
    """Return a run of eight images: a batch of two is done, one image of the next is committed."""
    run = classified_run()
    work = FingerprintedStage(run)
    run_batches(run, work, all_batches(run)[:1])
    second = all_batches(run)[1].rows
    run_images(run, work, second[:1])
    # The store's group that a real stage makes.
    for row in (*all_batches(run)[0].rows, second[0]):
        run.result("saliency", "crops", row.image).mkdir(parents=True, exist_ok=True)
    return run


def entries(run):
    return list(journal.entries(run, "saliency"))


def test_what_is_committed_counts_before_its_batch_is_done(begun):
    found = crops(begun)
    assert (found.status.done, found.under_way, found.done, found.missing) == (2, 1, 3, 5)


def test_a_result_that_was_removed_or_is_of_other_settings_does_not_count(begun):
    image = entries(begun)[-1].image
    begun.result("saliency", "crops", image).rmdir()
    assert crops(begun).done == 2
    begun.result("saliency", "crops", image).mkdir()
    text = begun.journal_file("saliency").read_text()
    fingerprint = entries(begun)[-1].fingerprint
    begun.journal_file("saliency").write_text(text.replace(fingerprint, "f" * 32))
    assert crops(begun).done == 2


def test_the_rate_is_of_all_jobs_in_the_last_minute(begun):
    lines = begun.journal_file("saliency").read_text().splitlines()
    times = [1000.0, 1050.0, 1070.0]
    moved = [{**json.loads(line), "time": t} for line, t in zip(lines, times, strict=True)]
    begun.journal_file("saliency").write_text("".join(json.dumps(m) + "\n" for m in moved))
    found = crops(begun, now=1075.0)
    # Two since 1015; the first of them 25 s ago.
    assert found.rate == pytest.approx(2 / 25)
    assert found.seconds_left == pytest.approx(5 * 25 / 2)
    assert crops(begun, now=2000.0).rate is None
    assert crops(begun, now=2000.0).seconds_left is None


def test_watching_ends_when_all_is_done(begun, monkeypatch):
    naps = []

    def finish(seconds):
        naps.append(seconds)
        # The others' stages have not begun; only this table is of interest.
        monkeypatch.setattr(watching, "run_progress", lambda run: iter([crops(run)]))
        run_batches(begun, FingerprintedStage(begun), all_batches(begun))

    monkeypatch.setattr(time, "sleep", finish)
    done = CliRunner().invoke(app, ["status", str(begun.folder), "--watch"])
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines() if line.startswith("saliency")]
    assert [row[:4] for row in rows if row[1] == "crops"] == [
        ["saliency", "crops", "3", "8"],
        ["saliency", "crops", "8", "8"],
    ]
    assert len(naps) == 1
    assert naps[0] >= 30


def test_watching_waits_for_the_index(begun, monkeypatch):
    def stop(seconds):
        raise KeyboardInterrupt

    begun.index_file.unlink()
    monkeypatch.setattr(time, "sleep", stop)
    done = CliRunner().invoke(app, ["status", str(begun.folder), "--watch"])
    assert "waiting: " in done.output
