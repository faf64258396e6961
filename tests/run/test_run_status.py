"""How far a run has come, counted from receipts and failures."""

from __future__ import annotations

import pytest
from fake_stage import FingerprintedStage, all_batches

from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import run_batches
from ws3.run.folder import Run
from ws3.run.status import failures_of, folder_bytes, receipts_of, run_status


@pytest.fixture
def bare_run(classified_run):
    return classified_run


def state(run):
    return {(entry.stage, entry.recipe): entry for entry in run_status(run)}


def counts(entry):
    return entry.done, entry.skipped, len(entry.failed), entry.missing


def test_a_fresh_run_misses_everything(bare_run):
    entries = state(bare_run())
    assert list(entries) == [
        *(("saliency", "cam"), ("saliency", "crops")),
        *(("maps", "cam"), ("maps", "crops")),
        *(("masks", "cam"), ("masks", "crops")),
        ("predictions", "crops"),
    ]
    assert all(counts(entry) == (0, 0, 0, entry.expected) for entry in entries.values())
    assert entries["maps", "cam"].expected == 8
    assert entries["predictions", "crops"].expected == 3


def test_done_failed_and_missing_images_are_counted(bare_run):
    run = bare_run()
    with pytest.raises(Ws3Error):
        run_batches(run, FingerprintedStage(run, bad={"t1"}), all_batches(run)[:3])
    entry = state(run)["saliency", "crops"]
    # t0 is made too, but its batch has no receipt while t1 fails.
    assert counts(entry) == (3, 0, 1, 4)
    assert entry.failed == {"t1": f"{run.index.rows[1].path} is bad"}
    assert entry.seconds > 0
    run_batches(run, FingerprintedStage(run), all_batches(run))
    assert counts(state(run)["saliency", "crops"]) == (8, 0, 0, 0)


def test_results_of_another_configuration_are_missing(bare_run, config_of):
    run = bare_run()
    run_batches(run, FingerprintedStage(run), all_batches(run))
    changed = Run(run.folder, resolve(config_of(seed=1)))
    assert counts(state(changed)["saliency", "crops"]) == (0, 0, 0, 8)
    more = Run(run.folder, resolve(config_of(recipes__crops__samples__count=20)))
    assert counts(state(more)["saliency", "crops"]) == (8, 0, 0, 0)
    run.receipt("train_classifier").unlink()
    assert counts(state(Run.open(run.folder))["saliency", "crops"]) == (0, 0, 0, 8)


def test_a_rerun_that_reuses_all_keeps_the_seconds_that_made_the_results(bare_run):
    run = bare_run()
    run_batches(run, FingerprintedStage(run), all_batches(run))
    before = state(run)["saliency", "crops"].seconds
    assert before > 0
    run_batches(run, FingerprintedStage(run), all_batches(run))
    assert state(run)["saliency", "crops"].seconds == before
    assert state(run)["saliency", "cam"].seconds == 0


def test_skipped_images_are_neither_failed_nor_missing(bare_run):
    run = bare_run(on_bad_image="skip")
    run_batches(run, FingerprintedStage(run, bad={"t1"}), all_batches(run))
    assert counts(state(run)["saliency", "crops"]) == (7, 1, 0, 0)


def test_bytes_are_those_on_disk(bare_run):
    run = bare_run()
    store = run.results("maps", "cam") / "t0"
    store.mkdir(parents=True)
    (store / "a").write_bytes(b"x" * 100)
    (store / "b").write_bytes(b"x" * 11)
    assert state(run)["maps", "cam"].bytes == 111
    assert folder_bytes(run.folder / "nowhere") == 0


def test_a_damaged_receipt_counts_for_nothing(bare_run):
    run = bare_run()
    run_batches(run, FingerprintedStage(run), all_batches(run))
    run.receipt("saliency", "crops", "train-00000").write_text("{")
    assert len(receipts_of(run, "saliency", "crops")) == 4
    assert counts(state(run)["saliency", "crops"]) == (6, 0, 0, 2)


def test_an_id_with_dots_keeps_its_name(bare_run):
    run = bare_run()
    path = run.failure_file("masks", "cam", "a.b.c")
    path.parent.mkdir(parents=True)
    path.write_text('{"reason": "why"}')
    assert failures_of(run, "masks", "cam") == {"a.b.c": "why"}


def test_a_run_without_an_index_says_what_to_do(bare_run):
    run = bare_run()
    run.index_file.unlink()
    with pytest.raises(StaleResultError, match="the images are not indexed; run: ws3 index"):
        list(run_status(Run.open(run.folder)))
