"""Where the time went, worked out by hand from the journal."""

from __future__ import annotations

import pytest
from fake_stage import FingerprintedStage, all_batches

from ws3.cli.inspect import status
from ws3.config.load import resolve
from ws3.jobs.runner import run_batches, run_images
from ws3.run import journal, phases
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.timing import run_times


def crops(run):
    return next(
        entry
        for entry in run_times(run)
        if (entry.status.stage, entry.status.recipe) == ("saliency", "crops")
    )


def figures(run):
    entry = crops(run)
    return entry.jobs, entry.images, entry.samples, entry.bytes, entry.seconds


def note(run, image, event="computed", *, start=0.0, load=0.0, compute=0.0, write=0.0, **changes):
    row = next(row for row in run.index.rows if row.image == image)
    entry = {
        "recipe": "crops",
        "fingerprint": Fingerprints(run, "crops").of("saliency", row),
        "samples": 30,
        "bytes": 500,
        **changes,
    }
    seconds = {"start": start, "load": load, "compute": compute, "write": write}
    journal.note(run, "saliency", journal.Entry(image=image, event=event, seconds=seconds, **entry))


@pytest.fixture
def timed(classified_run):
    """Return a run of eight images of which five are done; four of them took known times."""
    run = classified_run()
    batches = all_batches(run)[:3]
    run_batches(run, FingerprintedStage(run), batches)
    assert [len(batch.rows) for batch in batches] == [2, 2, 1]
    run.journal_file("saliency").unlink()
    note(run, "t0", start=1.0, load=1.0, compute=6.0, write=0.5)
    note(run, "t1", load=1.0, compute=4.0, write=0.5)
    note(run, "t2", start=1.0, compute=3.0, bytes=250)
    note(run, "t3", compute=2.0, bytes=250)
    return run


def test_what_the_images_took_is_summed_up(timed):
    entry = crops(timed)
    assert (entry.jobs, entry.images, entry.samples, entry.bytes) == (2, 4, 120, 1500)
    assert entry.seconds == {"start": 2.0, "load": 2.0, "compute": 15.0, "write": 1.0}
    assert entry.overhead == pytest.approx(5 / 20)
    assert entry.rate == pytest.approx(4 / 20)
    assert entry.seconds_left == pytest.approx(3 * 5)  # three of eight images are missing


def test_a_rerun_that_reuses_everything_keeps_it(timed):
    before = figures(timed)
    run_batches(timed, FingerprintedStage(timed), all_batches(timed)[:3])
    assert figures(timed) == before


def test_an_image_that_was_computed_again_counts_with_its_latest_time(timed):
    note(timed, "t1", start=1.0, compute=10.0)
    jobs, images, samples, size, seconds = figures(timed)
    assert (jobs, images, samples, size) == (3, 4, 120, 1500)
    assert seconds == {"start": 3.0, "load": 1.0, "compute": 21.0, "write": 0.5}


def test_what_failed_or_was_made_from_something_else_is_left_out(timed):
    before = figures(timed)
    note(timed, "t0", "failed", compute=100.0)
    note(timed, "t0", compute=100.0, fingerprint="another")
    note(timed, "t0", compute=100.0, recipe="cam")
    assert figures(timed) == before


def test_a_changed_seed_begins_anew(timed, config_of):
    assert crops(Run(timed.folder, resolve(config_of(seed=1)))).images == 0


def test_without_a_classifier_nothing_is_current(timed):
    timed.receipt("train_classifier").unlink()
    assert crops(Run.open(timed.folder)).images == 0


def test_single_images_count_too(classified_run):
    run = classified_run()
    run_images(run, FingerprintedStage(run), run.index.rows[:1])
    jobs, images, samples, size, seconds = figures(run)
    assert (jobs, images, samples, size) == (1, 1, 3, 10)
    assert seconds["start"] > 0


def test_before_anything_is_computed_nothing_is_known(bare_run):
    entry = crops(bare_run())
    assert (entry.overhead, entry.rate, entry.seconds_left) == (None, None, None)


def test_nothing_is_left_when_all_is_done(classified_run):
    run = classified_run()
    run_batches(run, FingerprintedStage(run), all_batches(run))
    assert crops(run).seconds_left == 0


def test_the_command_shows_them_in_eighty_columns(timed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status([timed], time=True)
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("saliency") and "crops" in line)
    assert row.split()[2:] == ["4", "2", "2", "15", "1", "25%", "0.20", "0:00:15"]
    # The title is the run's folder, however long.
    assert all(len(line.rstrip()) <= 80 for line in lines[1:])


def test_a_phase_inside_another_counts_once(monkeypatch):
    now = iter([0.0, 10.0, 13.0, 20.0, 21.0, 26.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    timer = phases.PhaseTimer()
    with timer.phase("compute"), timer.phase("load"):
        pass
    with timer.phase("write"):
        pass
    assert timer.seconds == {"start": 0, "load": 3, "compute": 17, "write": 5}
