"""Where the time went, worked out by hand from receipts."""

from __future__ import annotations

import pytest
from fake_work import FingerprintedWork, all_batches

from ws3.cli.inspect import status
from ws3.files import write_json
from ws3.jobs.run import read_json
from ws3.jobs.runner import run_batches
from ws3.jobs.timing import run_times


def crops(run):
    return next(
        entry
        for entry in run_times(run)
        if (entry.status.stage, entry.status.recipe) == ("saliency", "crops")
    )


def rewrite(run, batch, **changes):
    path = run.receipt("saliency", "crops", batch)
    write_json(path, {**read_json(path), **changes})


@pytest.fixture
def timed(classified_run):
    """Return a run of eight images of which five are done, by three jobs of known times."""
    run = classified_run()
    batches = all_batches(run)[:3]
    run_batches(run, FingerprintedWork(run), batches)
    assert [len(batch.rows) for batch in batches] == [2, 2, 1]
    first = {"start": 1.0, "load": 2.0, "compute": 10.0, "write": 1.0}
    second = {"start": 1.0, "load": 0.0, "compute": 5.0, "write": 0.0}
    found_done = {"start": 100.0, "load": 0.0, "compute": 0.0, "write": 0.0}
    rewrite(run, batches[0].name, seconds=first, computed=2, samples=60, bytes=1000)
    rewrite(run, batches[1].name, seconds=second, computed=2, samples=60, bytes=500)
    rewrite(run, batches[2].name, seconds=found_done, computed=0, samples=0, bytes=0)
    return run


def test_jobs_are_summed_up_and_those_that_computed_nothing_left_out(timed):
    entry = crops(timed)
    assert (entry.jobs, entry.images, entry.samples, entry.bytes) == (2, 4, 120, 1500)
    assert entry.seconds == {"start": 2.0, "load": 2.0, "compute": 15.0, "write": 1.0}
    assert entry.overhead == pytest.approx(5 / 20)
    assert entry.rate == pytest.approx(4 / 20)
    assert entry.seconds_left == pytest.approx(3 * 5)  # three of eight images are missing


def test_before_anything_is_computed_nothing_is_known(bare_run):
    entry = crops(bare_run())
    assert (entry.overhead, entry.rate, entry.seconds_left) == (None, None, None)


def test_nothing_is_left_when_all_is_done(classified_run):
    run = classified_run()
    run_batches(run, FingerprintedWork(run), all_batches(run))
    assert crops(run).seconds_left == 0


def test_the_command_shows_them_in_eighty_columns(timed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status(timed.folder, time=True)
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("saliency") and "crops" in line)
    assert row.split()[2:] == ["4", "2", "2", "15", "1", "25%", "0.20", "0:00:15"]
    # The title is the run's folder, however long.
    assert all(len(line.rstrip()) <= 80 for line in lines[1:])
