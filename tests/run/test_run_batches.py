"""Batches: every image in exactly one, and what a batch is named, covers and depends on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws3.datasets.index import ImageRow, Listing
from ws3.errors import Ws3Error
from ws3.run.batches import Batches, stage_batches, stage_splits

SPLITS = ("train", "val")


def listing_of(train, val):
    rows = [
        ImageRow(f"{split}{number}", split, ("cat",), f"/x/{split}{number}.jpg", "", "1-2")
        for split, count in (("train", train), ("val", val))
        for number in range(count)
    ]
    return Listing(("cat", "dog"), tuple(rows))


def ids(batch):
    return [row.image for row in batch.rows]


counts = {"train": st.integers(1, 60), "val": st.integers(0, 40), "size": st.integers(1, 70)}


@given(**counts)
def test_batches_divide_the_images_in_the_order_of_the_index(train, val, size):
    listing = listing_of(train, val)
    batches = Batches(listing.rows, SPLITS, size)
    names = batches.names(SPLITS)
    assert len(set(names)) == len(names)
    rows = [row for name in names for row in batches[name].rows]
    assert rows == list(listing.rows)
    for name in names:
        batch = batches[name]
        assert 1 <= len(batch.rows) <= size
        assert len({row.split for row in batch.rows}) == 1


@given(**counts, other=st.integers(1, 70))
def test_a_batch_is_covered_by_exactly_the_batches_that_hold_its_images(train, val, size, other):
    listing = listing_of(train, val)
    ours, theirs = Batches(listing.rows, SPLITS, size), Batches(listing.rows, SPLITS, other)
    for name in ours.names(SPLITS):
        wanted = set(ids(ours[name]))
        covering = theirs.names_holding(ours[name])
        holding = [one for one in theirs.names(SPLITS) if wanted & set(ids(theirs[one]))]
        assert covering == holding
        assert wanted <= {image for one in covering for image in ids(theirs[one])}


def test_a_batch_of_one_bears_the_images_name():
    batches = Batches(listing_of(3, 2).rows, SPLITS, 1)
    assert batches.names(["train"]) == ["train0", "train1", "train2"]
    assert batches.names(["val"]) == ["val0", "val1"]


def test_larger_batches_are_numbered_within_their_split():
    batches = Batches(listing_of(5, 3).rows, SPLITS, 2)
    assert batches.names(SPLITS) == [
        *("train-00000", "train-00001", "train-00002"),
        *("val-00000", "val-00001"),
    ]
    assert ids(batches["val-00000"]) == ["val0", "val1"]


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("dog",)},
        {"stat_key": "1-3"},
        {"path": "/x/other.jpg"},
        {"mask": "/x/mask.png"},
        {"image": "renamed"},
    ],
)
def test_an_edited_row_changes_the_identity_of_its_own_batch_alone(change):
    listing = listing_of(9, 5)
    rows = list(listing.rows)
    rows[4] = rows[4]._replace(**change)
    before, after = (Batches(tuple(some), SPLITS, 2) for some in (listing.rows, rows))
    names = before.names(SPLITS)
    changed = [name for name in names if before[name].fingerprint != after[name].fingerprint]
    assert changed == ["train-00002"]


def test_where_the_dataset_lies_is_no_part_of_an_identity():
    listing = listing_of(4, 0)
    moved = tuple(row._replace(path=f"/elsewhere/{row.image}.jpg") for row in listing.rows)
    before, after = (Batches(rows, ["train"], 4) for rows in (listing.rows, moved))
    assert before["train-00000"].fingerprint == after["train-00000"].fingerprint


def test_an_unknown_batch_is_named():
    with pytest.raises(Ws3Error, match="train-00009: there is no such batch"):
        Batches(listing_of(4, 0).rows, ["train"], 2)["train-00009"]


def test_predictions_are_made_on_the_reported_splits_alone(bare_run):
    run = bare_run(images_per_job={"maps": 3, "predictions": 2})
    assert stage_splits(run.config, "predictions") == ("val",)
    assert stage_splits(run.config, "masks") == SPLITS
    assert stage_batches(run.config, run.index, "predictions").names(["val"]) == [
        *("val-00000", "val-00001")
    ]
    assert len(stage_batches(run.config, run.index, "maps").names(SPLITS)) == 3
