"""`ws3 masks`: commands side by side make the bytes of one, and stop as one does."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ws3.errors import Ws3Error
from ws3.jobs.runner import open_stage, run_batches
from ws3.masks.png import read_mask
from ws3.run.batches import stage_batches, stage_splits
from ws3.run.fingerprints import Fingerprints
from ws3.run.status import receipts_of, run_status
from ws3.stages.train_segmentation import train_segmentation
from ws3.store.maps import MapStore

RECIPE = "cam"


def batches_of(run):
    return stage_batches(run.config, run.index, "masks").names(stage_splits(run.config, "masks"))


def rows_of(run, name):
    return stage_batches(run.config, run.index, "masks")[name].rows


def made(run):
    folder = run.results("masks", RECIPE)
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def receipts(run):
    found = {}
    for path in sorted(run.receipt("masks", RECIPE, "any").parent.iterdir()):
        found[path.name] = json.loads(path.read_text())
        del found[path.name]["seconds"]
    return found


def command(run, batches):
    named = [f"--batch={name}" for name in batches]
    return [sys.executable, "-m", "ws3", "masks", run.folder, "-r", RECIPE, *named]


def start(run, batches):
    return subprocess.Popen(command(run, batches), stderr=subprocess.PIPE, text=True)


def side_by_side(run):
    """Start two commands, each on every second batch."""
    names = batches_of(run)
    return [start(run, names[first::2]) for first in range(2)]


@pytest.mark.slow
def test_two_commands_side_by_side_make_the_bytes_of_one(mapped):
    one, two = mapped("one", images_per_job=3), mapped("two", images_per_job=3)
    alone = subprocess.run(command(one, []), capture_output=True, text=True, check=True)
    both = side_by_side(two)
    said = [command.communicate()[1] for command in both]
    assert [command.returncode for command in both] == [0, 0]
    # One line per batch.
    assert alone.stderr.count("computed") == 3
    assert "".join(said).count("computed") == 3
    assert made(two) == made(one)
    assert len(made(one)) == 8
    assert receipts(two) == receipts(one)
    assert receipts(one).keys() == {f"{name}.json" for name in batches_of(one)}


@pytest.mark.slow
def test_two_commands_on_the_same_batches_make_the_bytes_of_one(mapped):
    one, two = mapped("one", images_per_job=3), mapped("two", images_per_job=3)
    subprocess.run(command(one, []), capture_output=True, check=True)
    both = [start(two, []) for _ in range(2)]
    said = "".join(command.communicate()[1] for command in both)
    assert [command.returncode for command in both] == [0, 0], said
    assert made(two) == made(one)
    # No image was computed twice: of each batch, the second command found all done.
    assert said.count(" already done") == 3
    assert receipts(two).keys() == receipts(one).keys()


@pytest.mark.slow
def test_a_failure_is_told_and_the_others_finish(mapped):
    run = mapped(images_per_job=2)
    bad = run.index.rows[1].image
    shutil.rmtree(run.result("maps", RECIPE, bad))
    bad_batch = next(
        name for name in batches_of(run) if bad in {row.image for row in rows_of(run, name)}
    )
    both = side_by_side(run)
    said = [command.communicate()[1] for command in both]
    assert sorted(command.returncode for command in both) == [0, 2]
    failed = said[0 if both[0].returncode else 1]
    assert "ws3: masks cam: 1 image failed, the others are done" in failed
    assert f"the maps of image {bad} are missing; make them with: ws3 maps" in failed
    assert len(made(run)) == 7
    names = {f"{name}.json" for name in batches_of(run)}
    assert receipts(run).keys() == names - {f"{bad_batch}.json"}


@pytest.mark.slow
def test_a_signal_stops_after_the_images_in_flight(mapped):
    # Long enough for the signal to come before the end.
    run = mapped(images_per_job=1, masks__crf={"iterations": 1000, "gaussian_sxy": 1})
    both = side_by_side(run)
    while len(made(run)) < 2:
        assert all(command.poll() is None for command in both)
        time.sleep(0.01)
    for process in both:
        process.send_signal(signal.SIGTERM)
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [143, 143], said
    first = made(run)
    assert 0 < len(first) < 8
    for name in first:
        assert read_mask(run.result("masks", RECIPE, name.removesuffix(".png"))).shape == (64, 64)
    assert not list(run.folder.rglob("*.lease"))
    for process in side_by_side(run):
        process.communicate()
        assert process.returncode == 0
    assert len(made(run)) == 8
    assert {name: made(run)[name] for name in first} == first


def test_masks_without_any_class_are_counted_and_nothing_is_trained_on_them(mapped, caplog):
    run = mapped()
    store = MapStore(run.results("maps", RECIPE))
    blank = [row for row in run.index.rows if row.split == "train"]
    for row in blank:
        made_from = Fingerprints(run, RECIPE).of("maps", row)
        nothing = np.zeros((len(row.labels), 64, 64), np.float16)
        store.write(row.image, nothing, {"fingerprint": made_from})
    batches = stage_batches(run.config, run.index, "masks")
    for attempt in ("computed", "already done"):  # what is found done is counted alike
        for receipt in run.receipt("masks", RECIPE, "any").parent.glob("*.json"):
            receipt.unlink()
        caplog.clear()
        with caplog.at_level("INFO"):
            work = open_stage(run, "masks", RECIPE)
            run_batches(run, work, [batches[name] for name in batches_of(run)])
        assert attempt in caplog.text
        assert (
            "2 of 2 results show none of their images' classes, such as train_0000" in caplog.text
        )
        found = [receipt.empty for receipt in receipts_of(run, "masks", RECIPE)]
        assert sorted(sum(found, ())) == sorted(row.image for row in blank)
    entry = next(entry for entry in run_status(run) if entry.stage == "masks")
    assert (entry.empty, entry.done) == (5, 8)
    with pytest.raises(Ws3Error, match=r"masks/cam: all 5 pseudo-masks of the train split are"):
        train_segmentation(run, RECIPE)
