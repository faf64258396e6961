"""A short torture; `make torture` is the long one. And that the harness would notice."""

from __future__ import annotations

import json
import os
import random

import pytest
from torture import Summary, added, check_version, torture
from torture_disturbances import damage
from torture_inventory import computed, intact, leftovers, results
from torture_workflow import CONFIG, Workflow


@pytest.mark.slow
def test_a_tortured_run_ends_with_the_bytes_of_an_undisturbed_one(tmp_path):
    config = {**CONFIG, "images_per_job": 8}
    summary = torture(tmp_path, config, count=5, seed=4, states=["as drawn"])
    assert sum(summary.disturbances.values()) >= 5
    assert summary.reruns >= 1
    assert summary.computed >= 1
    assert summary.faults == 0, summary.text()


def test_undisturbed_runs_of_other_code_are_refused(tmp_path):
    check_version(tmp_path)
    check_version(tmp_path)
    (tmp_path / "version").write_text("another")
    with pytest.raises(SystemExit, match="made by other code"):
        check_version(tmp_path)


def test_results_are_divided_by_image():
    files = {
        "saliency/cam.zarr/zarr.json": b"",
        "saliency/cam.zarr/a/0/sum/c/0": b"1",
        "saliency/cam.zarr/a/zarr.json": b"2",
        "maps/cam.zarr/a/zarr.json": b"3",
        "masks/cam/a.b.png": b"4",
        "predictions/cam/a.png": b"5",
        "segmentation/cam/model.pt": b"",
        "evaluation/cam.json": b"",
    }
    assert results(files) == {
        ("saliency", "cam", "a"): {
            "saliency/cam.zarr/a/0/sum/c/0": b"1",
            "saliency/cam.zarr/a/zarr.json": b"2",
        },
        ("maps", "cam", "a"): {"maps/cam.zarr/a/zarr.json": b"3"},
        ("masks", "cam", "a.b"): {"masks/cam/a.b.png": b"4"},
        ("predictions", "cam", "a"): {"predictions/cam/a.png": b"5"},
    }


def test_a_result_is_intact_only_with_all_of_its_bytes(tmp_path):
    key = ("masks", "cam", "a")
    wanted = {key: {"masks/cam/a.png": b"good"}}
    assert intact(tmp_path, wanted) == set()
    (tmp_path / "masks/cam").mkdir(parents=True)
    path = tmp_path / "masks/cam/a.png"
    for content, found in ((b"good", {key}), (b"gone", set()), (b"goo", set())):
        path.write_bytes(content)
        assert intact(tmp_path, wanted) == found


def test_the_journal_is_counted_and_leftovers_are_seen(tmp_path):
    (tmp_path / "journal").mkdir()
    lines = [{"event": event, "recipe": "cam", "image": "a"} for event in ("computed", "failed")]
    text = "".join(json.dumps(line) + "\n" for line in (*lines, lines[0]))
    (tmp_path / "journal/masks.jsonl").write_text(text + '{"event": "comp')
    assert computed(tmp_path) == {("masks", "cam", "a"): 2}
    (tmp_path / "maps/cam.zarr/.tmp-a-1-ff").mkdir(parents=True)
    assert leftovers(tmp_path) == ["maps/cam.zarr/.tmp-a-1-ff"]


def test_slices_add_up_and_every_fault_counts():
    one = Summary([1], {"full disk": 2}, reruns=1, computed=5)
    two = Summary([2], {"full disk": 1, "changed input image": 1}, computed=7, different=1)
    both = added(one, two)
    assert both.seeds == [1, 2]
    assert both.disturbances == {"full disk": 3, "changed input image": 1}
    assert (both.computed, both.faults) == (12, 1)
    assert one.faults == 0
    for name in ("recomputed", "lost", "unfinished", "different", "leftovers", "foreign"):
        assert Summary(**{name: 1}).faults == 1


@pytest.mark.parametrize("kind", ["record of the wrong shape", "something in place of a record"])
def test_records_are_harmed_one_at_a_time(tmp_path, kind):
    workflow, rng, good = Workflow(tmp_path), random.Random(0), b'{"images": {}, "stage": "maps"}'
    names = ["receipts/maps/cam/a.json", "thresholds/cam.json", "index.json"]
    changed, seen = set(), 0
    for _ in range(60):
        for name in names:
            path = workflow.run / name
            if path.is_dir():
                path.rmdir()
            elif path.is_symlink():
                path.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(good)
        if damage(kind, workflow, rng):
            paths = [workflow.run / name for name in names]
            harmed = [path for path in paths if not path.is_file() or path.read_bytes() != good]
            assert len(harmed) == 1
            assert os.path.lexists(harmed[0])
            changed.add(harmed[0])
            seen += 1
    assert seen > 10
    assert len(changed) == (3 if kind.startswith("record") else 1)
    assert not damage(kind, Workflow(tmp_path / "empty"), rng)
