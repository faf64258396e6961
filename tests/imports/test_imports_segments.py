"""Ready segments of other programs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ws3.errors import Ws3Error
from ws3.imports.segments import read_segments

SIZE = (20, 30)


def boxes():
    """Return three masks: a large one, a small one inside of it, and one beside them."""
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 8:10, 8:12] = True
    masks[1, 2:18, 2:20] = True
    masks[2, :, 25:] = True
    return masks


def wanted():
    labels = np.zeros(SIZE, np.uint16)
    labels[2:18, 2:20] = 2
    labels[8:10, 8:12] = 1
    labels[:, 25:] = 3
    return labels


def as_text(mask):
    found = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(SIZE), "counts": found["counts"].decode()}


def as_numbers(mask):
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(np.diff(flat.astype(int)))
    return {"size": list(SIZE), "counts": np.diff([0, *changes, mask.size]).tolist()}


def as_polygon(mask):
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    return [[int(x) for x in (left, top, right, top, right, bottom, left, bottom)]]


@pytest.mark.parametrize("form", [as_text, as_numbers, as_polygon])
@pytest.mark.parametrize("whole", [lambda one: one, lambda one: {"annotations": one}])
def test_what_segment_anything_writes_is_read_with_small_segments_on_top(tmp_path, form, whole):
    # With the further keys of SamAutomaticMaskGenerator.generate.
    found = [
        {"segmentation": form(one), "area": int(one.sum()), "bbox": [0, 0, 1, 1], "crop_box": []}
        for one in boxes()
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(whole(found)))
    assert np.array_equal(read_segments(path, SIZE), wanted())


def test_labels_as_png_and_npz_and_masks_as_npz(tmp_path):
    labels = wanted().astype(np.uint16) * 1000
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.savez(tmp_path / "b.npz", segments=labels.astype(np.int64))
    np.savez(tmp_path / "c.npz", masks=boxes())
    palette = Image.fromarray(wanted().astype(np.uint8)).convert("P")
    palette.putdata(wanted().ravel().tolist())
    palette.save(tmp_path / "d.png")
    for name in ("a.png", "b.npz", "c.npz", "d.png"):
        assert np.array_equal(read_segments(tmp_path / name, SIZE), wanted()), name


def write_json(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", "{", "can't be read as segments"),
        ("a.json", [1], "a list of objects with a segmentation"),
        ("a.json", [{"segmentation": {"size": [3, 3], "counts": [9]}}], "the size"),
        ("a.json", [{"segmentation": {"size": [20, 30], "counts": [9]}}], "run lengths"),
        ("a.npz", {"a": np.zeros((3, 3), int)}, "the segments are 3 x 3 pixels"),
        ("a.npz", {"a": np.zeros(SIZE)}, "it holds 'float64'"),
        ("a.npz", {"a": np.zeros(SIZE, int), "b": np.zeros(SIZE, int)}, "2 arrays, not one"),
    ],
)
def test_other_files_end_in_a_sentence(tmp_path, name, content, sentence):
    path = tmp_path / name
    if name.endswith(".json"):
        write_json(path, content)
    else:
        np.savez(path, **content)
    with pytest.raises(Ws3Error, match=sentence):
        read_segments(path, SIZE)


def test_a_png_of_colours_is_refused(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(Ws3Error, match="it is RGB, but must be gray"):
        read_segments(tmp_path / "a.png", SIZE)
