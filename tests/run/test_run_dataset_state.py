"""What is known of a dataset without opening an image, and which edits are noticed."""

from __future__ import annotations

import os
import shutil

import pytest

import ws3.run.dataset_state as sources
from ws3.config.load import resolve
from ws3.datasets import list_dataset
from ws3.datasets.index import rows_fingerprint
from ws3.run.dataset_state import dataset_state, known_listing
from ws3.run.folder import Run
from ws3.stages.index import index


@pytest.fixture
def listed(monkeypatch):
    """Return a list that grows by one whenever the dataset is listed anew."""
    calls = []

    def note(*arguments):
        calls.append(arguments)
        return list_dataset(*arguments)

    monkeypatch.setattr(sources, "list_dataset", note)
    return calls


def test_the_index_is_taken_while_nothing_changed(bare_run, listed):
    run = bare_run()
    listing = known_listing(run, look=True)
    assert listed == []
    assert [row.image for row in listing.rows] == [row.image for row in run.index.rows]
    assert rows_fingerprint(listing.rows) == rows_fingerprint(run.index.rows)


def test_before_indexing_the_dataset_is_listed(config_of, listed):
    run = Run.of(resolve(config_of()))
    listing = known_listing(run, look=False)
    assert len(listed) == 1
    index(run)
    assert rows_fingerprint(listing.rows) == rows_fingerprint(run.index.rows)


def test_edited_labels_are_noticed(bare_run, dataset, listed):
    run = bare_run()
    table = dataset / "labels.csv"
    table.write_text(table.read_text().replace("t2,cat", "t2,cat;dog"))
    listing = known_listing(run, look=True)
    assert len(listed) == 1
    changed = [row.image for row in set(listing.rows) if row.labels == ("cat", "dog")]
    assert sorted(changed) == ["t2", "t3"]


@pytest.mark.parametrize("file", ["images/t2.png", "masks/t2.png"])
def test_a_touched_file_is_noticed_in_its_own_row(bare_run, dataset, listed, file):
    run = bare_run()
    os.utime(dataset / file, (1, 1))
    listing = known_listing(run, look=True)
    assert listed == []
    pairs = zip(listing.rows, run.index.rows, strict=True)
    assert [new.image for new, old in pairs if new.stat_key != old.stat_key] == ["t2"]


def test_an_added_image_is_noticed(bare_run, dataset, listed):
    run = bare_run()
    shutil.copy(dataset / "images" / "t0.png", dataset / "images" / "t9.png")
    with (dataset / "labels.csv").open("a") as file:
        file.write("t9,dog\n")
    listing = known_listing(run, look=True)
    assert len(listed) == 1
    assert "t9" in [row.image for row in listing.rows]


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_removed_file_is_noticed(bare_run, dataset, folder):
    run = bare_run()
    before = rows_fingerprint(known_listing(run, look=True).rows)
    (dataset / folder / "t1.png").unlink()
    assert rows_fingerprint(known_listing(run, look=True).rows) != before


def test_a_changed_split_file_is_noticed(bare_run, dataset, listed):
    run = bare_run()
    (dataset / "val.txt").write_text("v0\nv1\n")
    listing = known_listing(run, look=True)
    assert len(listed) == 1
    assert {row.image for row in listing.rows if row.split == "train"} >= {"v2"}


def test_another_dataset_section_is_noticed(bare_run, config_of, listed):
    bare_run()
    other = Run.of(resolve(config_of(dataset__val=None)))
    assert {row.split for row in known_listing(other, look=True).rows} == {"train"}
    assert len(listed) == 1


def test_a_job_trusts_the_index_as_it_is(bare_run, dataset, listed):
    run = bare_run()
    (dataset / "labels.csv").write_text("image,labels\nt0,dog\n")
    os.utime(dataset / "images/t1.png", (1, 1))
    listing = known_listing(run, look=False)
    assert listed == []
    assert listing.rows == run.index.rows


def test_a_signature_is_plain_and_stable(bare_run, dataset):
    run = bare_run()
    first = dataset_state(run.config.dataset, run.folder)
    assert first == dataset_state(run.config.dataset, run.folder)
    assert set(first["files"]) == {"labels.csv", "val.txt", "images", "masks"}
    (dataset / "val.txt").unlink()
    assert dataset_state(run.config.dataset, run.folder)["files"]["val.txt"] == ""


def test_drawing_tells_how_far_it_is(config_of, monkeypatch, capsys):
    monkeypatch.setattr("ws3.jobs.progress._LINE_EVERY", 0.0)
    drawn = {"kind": "synthetic", "train_images": 2, "val_images": 1, "size": 48, "classes": 2}
    index(Run.of(resolve(config_of(dataset=drawn))))
    said = [line.split(" images,")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == [f"{what}: {done}/3" for what in ("draw", "index") for done in (1, 2, 3)]


def test_the_drawn_dataset_is_known_before_it_is_drawn(config_of):
    drawn = {"kind": "synthetic", "train_images": 3, "val_images": 2, "size": 48, "classes": 2}
    run = Run.of(resolve(config_of(dataset=drawn)))
    before = known_listing(run, look=True)
    index(run)
    assert rows_fingerprint(known_listing(run, look=True).rows) == rows_fingerprint(before.rows)
    other = Run.of(resolve(config_of(dataset={**drawn, "seed": 1})))
    assert dataset_state(other.config.dataset, run.folder) != dataset_state(
        run.config.dataset, run.folder
    )
