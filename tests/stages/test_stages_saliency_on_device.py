"""The saliency stage's way over a GPU, threads included, on torch's CPU device."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from stage_work import work

from ws3.errors import Ws3Error
from ws3.files import NoSpaceError
from ws3.jobs.runner import TerminatedError
from ws3.run import verify
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image
from ws3.run.timing import run_times
from ws3.stages.saliency import SaliencyStage
from ws3.store.groups import open_group
from ws3.store.saliency import SaliencyStore

CROPS = "saliency_crops"


@pytest.fixture(autouse=True)
def on_device(monkeypatch):
    monkeypatch.setattr(SaliencyStage, "pretend_device", True)


def run_stage(run, stage="saliency", recipe=CROPS):
    work(run, stage, recipe)


def journal(run):
    lines = run.journal_file("saliency").read_text().splitlines()
    return [(entry["image"], entry["event"]) for entry in map(json.loads, lines)]


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_maps_are_those_of_the_cpu_and_each_result_says_what_made_it(small_run, monkeypatch):
    runs = []
    for name, pretend in (("plain", False), ("device", True)):
        monkeypatch.setattr(SaliencyStage, "pretend_device", pretend)
        run = small_run(name)
        run_stage(run)
        run_stage(run, "maps")
        runs.append(run)
    plain, device = runs
    assert journal(device) == journal(plain)
    for row in device.index.rows:
        found, expected = (RecipeResults(run, CROPS).maps(row) for run in runs)
        for one, other in zip(found, expected, strict=True):
            # An untrained network's gradient; a rounding can open or close a ReLU.
            assert spearmanr(one.ravel(), other.ravel()).statistic > 0.99
        group = device.results("saliency", CROPS) / row.image
        for attributes in (open_group(group).attributes, open_group(group / "0").attributes):
            assert attributes["computed_on"].keys() == {"device", "precision", "torch", "cuda"}
        cpu = open_group(plain.results("saliency", CROPS) / row.image).attributes
        assert "computed_on" not in cpu
        assert open_group(group).attributes["fingerprint"] == cpu["fingerprint"]
    checked, damages = verify.check_run(device, repair=False)
    assert (checked > 0, damages) == (True, [])


def test_receipts_and_times_are_right(small_run):
    run = small_run()
    run_stage(run)
    receipt = json.loads(run.receipt("saliency", CROPS, "train-00000").read_text())
    assert list(receipt["images"]) == [row.image for row in run.index.rows[:2]]
    assert (receipt["computed"], receipt["samples"]) == (2, 24)
    spent = next(entry for entry in run_times(run) if entry.status.recipe == CROPS)
    assert (spent.images, spent.samples) == (8, 96)
    assert spent.seconds["compute"] > 0
    assert spent.overhead is not None
    assert 0 <= spent.overhead < 1


def test_a_second_run_computes_nothing_and_damage_is_made_again(small_run):
    run = small_run()
    run_stage(run)
    good = contents(run.results("saliency", CROPS))
    run_stage(run)
    assert len(journal(run)) == 8
    (run.results("saliency", CROPS) / run.index.rows[3].image / "1" / "zarr.json").write_text("{")
    run_stage(run)
    assert journal(run)[8:] == [(run.index.rows[3].image, "computed")]
    assert contents(run.results("saliency", CROPS)) == good


def test_more_samples_are_added_to_those_that_are_there(small_run):
    samples: dict[str, Any] = {"kind": "crops", "samples_per_chunk": 5, "count": 12}
    few = small_run(**{f"recipes__{CROPS}__samples": samples})
    run_stage(few)
    more = small_run(**{f"recipes__{CROPS}__samples": {**samples, "count": 16}})
    run_stage(more)
    image = more.index.rows[0].image
    store = SaliencyStore(more.results("saliency", CROPS))
    assert store.chunk_samples(image)["2"] == (10, 11, 12, 13, 14)
    whole = small_run("whole", **{f"recipes__{CROPS}__samples": {**samples, "count": 16}})
    run_stage(whole)
    other = SaliencyStore(whole.results("saliency", CROPS))
    found, expected = (some.read(image, "2") for some in (store, other))
    assert found.samples == expected.samples
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_a_bad_image_fails_alone_and_in_its_turn(small_run):
    run = small_run()
    bad = run.index.rows[2]
    Path(bad.path).write_bytes(Path(run.index.rows[1].path).read_bytes())
    with pytest.raises(Ws3Error, match=r"(?s)1 image failed.*changed after it was indexed"):
        run_stage(run)
    events = ["failed" if row is bad else "computed" for row in run.index.rows]
    assert journal(run) == list(zip([row.image for row in run.index.rows], events, strict=True))
    assert run.failure_file("saliency", CROPS, bad.image).exists()
    assert not run.receipt("saliency", CROPS, "train-00001").exists()
    assert run.receipt("saliency", CROPS, "train-00000").exists()


class Stopping:
    """Writes as a store does, until an image at which something happens."""

    def __init__(self, monkeypatch, image, happens):
        write = SaliencyStore.write

        def noted(store, name, *rest):
            if name == image:
                happens()
            return write(store, name, *rest)

        monkeypatch.setattr(SaliencyStore, "write", noted)


def test_a_full_disk_ends_the_job_and_what_was_in_flight_is_noted(small_run, monkeypatch):
    run = small_run(images_per_job=8)
    images = [row.image for row in run.index.rows]

    def full():
        raise NoSpaceError("there is no space left")

    Stopping(monkeypatch, images[2], full)
    with pytest.raises(NoSpaceError):
        run_stage(run)
    done = [image for image, _ in journal(run)]
    assert images[2] not in done
    store = SaliencyStore(run.results("saliency", CROPS))
    assert done == [image for image in images if len(store.chunk_samples(image)) == 3]
    assert not run.receipt("saliency", CROPS, "train-00000").exists()
    assert not run.failure_file("saliency", CROPS, images[2]).exists()
    monkeypatch.undo()
    monkeypatch.setattr(SaliencyStage, "pretend_device", True)
    run_stage(run)
    assert sorted(journal(run)) == sorted((image, "computed") for image in images)


def test_a_job_that_is_asked_to_stop_finishes_what_it_started(small_run, monkeypatch):
    run = small_run(images_per_job=8)
    images = [row.image for row in run.index.rows]
    Stopping(monkeypatch, images[0], lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TerminatedError):
        run_stage(run)
    done = [image for image, _ in journal(run)]
    assert done == images[: len(done)]
    assert 0 < len(done) < 5
    run_stage(run)
    assert sorted(image for image, _ in journal(run)) == sorted(images)


def test_reading_and_writing_are_bounded(small_run, monkeypatch):
    run = small_run(images_per_job=8)
    read: list[str] = []
    written: list[str] = []
    most: list[int] = []
    load, write = load_image, SaliencyStore.write

    def noted_load(row):
        read.append(row.image)
        most.append(len(read) - len(set(written)))
        return load(row)

    def noted_write(store, image, *rest):
        time.sleep(0.05)
        write(store, image, *rest)
        written.append(image)

    monkeypatch.setattr("ws3.stages.saliency.load_image", noted_load)
    monkeypatch.setattr(SaliencyStore, "write", noted_write)
    monkeypatch.setattr("ws3.jobs.pipeline.threads", lambda: (1, 1))
    run_stage(run)
    assert len(read) == 8
    assert max(most) <= 7
