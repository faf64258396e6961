"""The loop of a per-image stage: what it skips, writes, survives and says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from pipes import pipe

import pytest
from fake_stage import FakeStage, all_batches

from ws3.errors import Ws3Error
from ws3.files import NoSpaceError
from ws3.jobs.runner import run_batches, run_images
from ws3.removal import temporary_beside
from ws3.run.journal import entries

IMAGES = ["t0", "t1", "t2", "t3", "t4", "v0", "v1", "v2"]


def run_all(run, work):
    run_batches(run, work, all_batches(run, work.stage))


def journal(run, stage="saliency"):
    lines = run.journal_file(stage).read_text().splitlines()
    return [(entry["image"], entry["event"]) for entry in map(json.loads, lines)]


def receipts(run, stage="saliency"):
    folder = run.receipt(stage, "crops", "any").parent
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def test_a_receipt_says_what_was_made_from_what(bare_run):
    run = bare_run()
    run_all(run, FakeStage(run))
    found = receipts(run)
    assert list(found) == ["train-00000", "train-00001", "train-00002", "val-00000", "val-00001"]
    first = found["train-00000"]
    assert first["images"] == {"t0": "t0-1", "t1": "t1-1"}
    assert (first["stage"], first["recipe"]) == ("saliency", "crops")
    assert (first["computed"], first["reused"], first["skipped"]) == (2, 0, {})
    assert (first["samples"], first["bytes"]) == (6, 20)
    assert first["versions"].keys() == {
        *("ws3", "python", "zarr", "numpy", "torch", "torchvision", "pydensecrf2")
    }
    assert list(run.folder.glob("receipts/saliency/crops/*.lease")) == []


def test_only_the_first_batch_of_a_process_bears_its_start(bare_run):
    run = bare_run()
    run_all(run, FakeStage(run))
    starts = [receipt["seconds"]["start"] for receipt in receipts(run).values()]
    assert starts[0] > 0
    assert starts[1:] == [0, 0, 0, 0]
    assert all(receipt["seconds"]["write"] >= 0 for receipt in receipts(run).values())


def test_a_second_run_makes_nothing_and_says_so(bare_run, caplog):
    run = bare_run()
    run_all(run, FakeStage(run))
    again = FakeStage(run)
    with caplog.at_level("INFO"):
        run_all(run, again)
    assert again.tried == []
    assert "saliency crops train-00000: 2 already done" in caplog.messages
    assert [receipt["reused"] for receipt in receipts(run).values()] == [2, 2, 1, 2, 1]
    assert journal(run) == [(image, "computed") for image in IMAGES]


def test_another_fingerprint_is_made_anew(bare_run):
    run = bare_run()
    run_all(run, FakeStage(run))
    run_all(run, FakeStage(run, version="2"))
    assert receipts(run)["val-00001"]["images"] == {"v2": "v2-2"}


def test_a_failing_image_fails_alone_and_only_it_is_retried(bare_run):
    run = bare_run()
    work = FakeStage(run, bad={"t1", "v0"})
    with pytest.raises(Ws3Error) as caught:
        run_all(run, work)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("saliency crops: 2 images failed, the others are done")
    paths = {row.image: row.path for row in run.index.rows}
    assert lines == [f"{image}: {paths[image]} is bad" for image in ("t1", "v0")]
    assert work.tried == IMAGES
    assert list(receipts(run)) == ["train-00001", "train-00002", "val-00001"]
    failure = run.failure_file("saliency", "crops", "t1")
    assert json.loads(failure.read_text()) == {"reason": f"{paths['t1']} is bad"}
    assert ("t1", "failed") in journal(run)

    mended = FakeStage(run)
    run_all(run, mended)
    assert mended.tried == ["t1", "v0"]
    assert not failure.exists()
    assert len(receipts(run)) == 5
    assert receipts(run)["train-00000"]["computed"] == 1


def test_a_skipped_image_is_listed_and_passed_over_by_later_stages(bare_run):
    run = bare_run(on_bad_image="skip")
    run_all(run, FakeStage(run, bad={"t1"}))
    found = receipts(run)["train-00000"]
    reason = run.index.rows[1].path + " is bad"
    assert found["images"] == {"t0": "t0-1"}
    assert found["skipped"] == {"t1": reason}
    maps = FakeStage(run, stage="maps")
    run_all(run, maps)
    assert maps.tried == [image for image in IMAGES if image != "t1"]
    assert receipts(run, "maps")["train-00000"]["skipped"] == {"t1": f"saliency: {reason}"}
    # Predictions are built on the network, not on this image's maps.
    run_images(run, predictions := FakeStage(run, stage="predictions"), run.rows(["train"]))
    assert "t1" in predictions.tried


def test_an_image_that_indexing_found_bad_is_passed_over(bare_run, dataset):
    (dataset / "images" / "t1.png").write_bytes(b"no image")
    run = bare_run(on_bad_image="skip")
    work = FakeStage(run)
    run_all(run, work)
    assert "t1" not in work.tried
    assert "truncated or not an image" in receipts(run)["train-00000"]["skipped"]["t1"]


def test_a_full_disk_ends_the_job_and_blames_no_image(bare_run):
    class Full(FakeStage):
        def compute(self, row, fingerprint, timer):
            if row.image == "t2":
                raise NoSpaceError("there is no space left")
            return super().compute(row, fingerprint, timer)

    run = bare_run()
    work = Full(run)
    with pytest.raises(NoSpaceError):
        run_all(run, work)
    assert work.tried == ["t0", "t1"]
    assert list(receipts(run)) == ["train-00000"]
    assert not run.failure_file("saliency", "crops", "t2").exists()
    assert list(run.folder.glob("receipts/saliency/crops/*.lease")) == []


def test_single_images_make_no_receipt(bare_run):
    run = bare_run()
    rows = [row for row in run.index.rows if row.image in ("t3", "v1")]
    run_images(run, work := FakeStage(run), rows)
    assert work.tried == ["t3", "v1"]
    assert receipts(run) == {}
    with pytest.raises(Ws3Error, match="1 image failed"):
        run_images(run, FakeStage(run, bad={"t0"}), run.index.rows[:1])


def command(run):
    return [sys.executable, str(Path(__file__).parents[1] / "fake_stage.py"), str(run.folder)]


def started(run):
    """Start the work of `fake_stage` in a process of its own; it waits inside the first image."""
    process = subprocess.Popen(
        command(run),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert pipe(process.stdout).readline() == "t0\n"
    return process


def test_a_job_that_is_asked_to_stop_finishes_its_image(bare_run):
    run = bare_run()
    with started(run) as process:
        process.send_signal(signal.SIGTERM)
        (run.folder / "go").touch()
        assert process.wait(60) == 143
    assert journal(run) == [("t0", "computed")]
    assert receipts(run) == {}
    assert list(run.folder.glob("receipts/saliency/crops/*")) == []
    rest = FakeStage(run)
    run_all(run, rest)
    assert rest.tried == IMAGES[1:]
    assert len(receipts(run)) == 5


def test_a_killed_job_loses_its_image_alone_and_holds_nobody_up(bare_run):
    run = bare_run()
    with started(run) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert (run.folder / "receipts/saliency/crops/train-00000.lease").exists()
    run_all(run, work := FakeStage(run))
    assert work.tried == IMAGES
    assert list(run.folder.glob("receipts/saliency/crops/*.lease")) == []


def test_a_single_image_waits_for_the_job_that_holds_its_batch(bare_run):
    run = bare_run()
    with started(run) as batch:
        single = subprocess.Popen(
            [*command(run), "t1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert pipe(single.stderr).readline().startswith(f"waiting: process {batch.pid} on ")
        (run.folder / "go").touch()
        assert (batch.wait(60), single.wait(60)) == (0, 0)
    assert journal(run) == [(image, "computed") for image in IMAGES]
    assert len(receipts(run)) == 5


def test_what_a_killed_job_left_half_written_is_removed(bare_run):
    run = bare_run()
    half = temporary_beside(run.result("saliency", "crops", "t1"))
    half.mkdir(parents=True)
    (half / "zarr.json").touch()
    receipt = temporary_beside(run.receipt("saliency", "crops", "train-00000"))
    receipt.parent.mkdir(parents=True)
    receipt.touch()
    other = temporary_beside(run.result("saliency", "crops", "t4"))
    other.mkdir()
    first, *_ = all_batches(run)
    run_batches(run, FakeStage(run), [first])
    assert not half.exists()
    assert not receipt.exists()
    assert other.exists()  # of a batch that another job may be at work on


def test_a_journal_line_that_was_cut_off_costs_no_other(bare_run):
    run = bare_run()
    run_all(run, FakeStage(run))
    path = run.journal_file("saliency")
    path.write_text('{"recipe": "crops", "ima\n[]\n' + path.read_text() + '{"recipe"')
    assert [entry.image for entry in entries(run, "saliency")] == IMAGES
    assert list(entries(run, "maps")) == []


def test_the_handler_of_sigterm_is_put_back(bare_run):
    run = bare_run()
    before = signal.getsignal(signal.SIGTERM)
    run_images(run, FakeStage(run), run.index.rows)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_journal_names_the_process(bare_run):
    run = bare_run()
    run_images(run, FakeStage(run), run.index.rows[:1])
    (entry,) = map(json.loads, run.journal_file("saliency").read_text().splitlines())
    assert entry.keys() == {
        *("time", "pid", "recipe", "image", "event", "fingerprint", "seconds", "samples", "bytes")
    }
    assert (entry["samples"], entry["bytes"]) == (3, 10)
    assert entry["fingerprint"] == "t0-1"
    assert entry["seconds"].keys() == {"start", "load", "compute", "write"}
    assert entry["pid"] == os.getpid()
