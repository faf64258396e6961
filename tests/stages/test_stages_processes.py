"""Several processes make the bytes of one, and stop as one does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ws3.errors import Ws3Error
from ws3.masks.png import read_mask
from ws3.run.batches import stage_batches, stage_splits
from ws3.run.fingerprints import Fingerprints
from ws3.stages.processes import run_in_processes
from ws3.stages.threshold import threshold
from ws3.store.maps import MapStore

RECIPE = "cam"


@pytest.fixture
def mapped(small_run):
    """Return a function that begins a run whose maps are there, drawn at random."""

    def begin(name="results", **changes):
        run = small_run(
            name,
            recipes={RECIPE: {"preset": "cam"}},
            segmentation__recipes=[],
            masks__background={"kind": "constant", "score": 0.5},
            **changes,
        )
        store = MapStore(run.map_store(RECIPE))
        store.create({"kind": "maps", "recipe": RECIPE})
        for number, row in enumerate(run.index.rows):
            maps = np.random.default_rng(number).random((len(row.labels), 64, 64))
            made_from = Fingerprints(run, RECIPE).maps(row)
            store.write(row.image, maps.astype(np.float16), {"fingerprint": made_from})
        threshold(run, RECIPE)
        return run

    return begin


def batches_of(run):
    return stage_batches(run.config, run.index, "masks").names(stage_splits(run.config, "masks"))


def made(run):
    folder = run.mask_file(RECIPE, "any").parent
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def receipts(run):
    found = {}
    for path in sorted(run.receipt("masks", RECIPE, "any").parent.iterdir()):
        found[path.name] = json.loads(path.read_text())
        del found[path.name]["seconds"]
    return found


def command(run, processes):
    return [sys.executable, "-m", "ws3", "masks", run.folder, "-r", RECIPE, "-p", str(processes)]


@pytest.mark.slow
def test_two_processes_make_the_bytes_of_one(mapped):
    one, two = mapped("one", images_per_job=3), mapped("two", images_per_job=3)
    for run, processes in ((one, 1), (two, 2)):
        done = subprocess.run(command(run, processes), capture_output=True, text=True, check=True)
        assert done.stderr.count("computed") == 3  # a line a batch, from whichever process
    assert made(two) == made(one)
    assert len(made(one)) == 8
    assert receipts(two) == receipts(one)
    assert receipts(one).keys() == {f"{name}.json" for name in batches_of(one)}


@pytest.mark.slow
def test_a_failure_is_told_and_the_others_finish(mapped):
    run = mapped(images_per_job=2)
    bad = run.index.rows[1].image
    MapStore(run.map_store(RECIPE)).remove(bad)
    done = subprocess.run(command(run, 2), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"image {bad} has no maps; make them with: ws3 maps" in done.stderr
    assert "ws3: masks cam: 1 of 2 processes failed, for the reasons above" in done.stderr
    assert len(made(run)) == 7
    assert len(receipts(run)) == len(batches_of(run)) - 1


@pytest.mark.slow
def test_a_signal_stops_all_after_their_images_in_flight(mapped):
    # Long enough for the signal to come before the end.
    run = mapped(images_per_job=1, masks__crf={"iterations": 1000, "gaussian_sxy": 1})
    process = subprocess.Popen(command(run, 2), stderr=subprocess.PIPE, text=True)
    while not made(run):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 143, said
    first = made(run)
    assert 0 < len(first) < 8
    for name in first:
        assert read_mask(run.mask_file(RECIPE, name.removesuffix(".png"))).shape == (64, 64)
    assert not list(run.folder.rglob("*.lease"))
    subprocess.run(command(run, 2), capture_output=True, check=True)
    assert len(made(run)) == 8
    assert {name: made(run)[name] for name in first} == first


def test_an_unknown_recipe_starts_nothing(mapped):
    run = mapped()
    with pytest.raises(Ws3Error, match="'sam' is not a recipe of this run"):
        run_in_processes(run, "masks", "sam", batches_of(run), 2)
