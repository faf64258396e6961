"""The predictions' way over a GPU, threads included, on torch's CPU device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from predicted import give_network
from stage_work import work

from ws3.masks.png import read_mask
from ws3.stages.predictions import PredictionsStage

CROPS = "saliency_crops"


def test_masks_are_those_of_the_cpu_and_each_says_what_made_it(small_run, monkeypatch):
    runs = []
    for name, pretend in (("plain", False), ("device", True)):
        monkeypatch.setattr(PredictionsStage, "pretend_device", pretend)
        run = small_run(name)
        give_network(run, CROPS)
        work(run, "predictions", CROPS)
        runs.append(run)
    kinds = set()
    predicted = {line.stem for line in runs[0].results("predictions", CROPS).glob("*.png")}
    assert predicted == {row.image for row in runs[0].index.rows if row.split == "val"}
    for image in predicted:
        plain, device = (run.result("predictions", CROPS, image) for run in runs)
        np.testing.assert_array_equal(read_mask(device), read_mask(plain))
        kinds |= set(np.unique(read_mask(plain)))
        texts = [Image.open(path).info for path in (plain, device)]
        facts = json.loads(texts[1].pop("computed_on"))
        assert facts.keys() == {"device", "precision", "torch", "cuda"}
        assert texts[0] == texts[1]
    assert len(kinds) > 1


def test_a_picture_that_cannot_be_read_costs_no_other(small_run, monkeypatch):
    monkeypatch.setattr(PredictionsStage, "pretend_device", True)
    run = small_run(on_bad_image="skip")
    give_network(run, CROPS)
    rows = [row for row in run.index.rows if row.split == "val"]
    Path(rows[0].path).write_bytes(b"no picture")
    work(run, "predictions", CROPS)
    there = [run.result("predictions", CROPS, row.image).exists() for row in rows]
    assert there == [False, *(True for _ in rows[1:])]
