"""COCO files with parts missing, how regions are stacked, and what is refused by its form."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from import_trees import CLASSES, LABELS, SIZE, labels_of, true_mask, write_pictures
from PIL import Image

from ws3.datasets.importing.look import look
from ws3.datasets.importing.outlines import Region, paint
from ws3.errors import Ws3Error
from ws3.labels import IGNORED


def panoptic(root: Path) -> Path:
    """Write a panoptic file, and the PNGs of its segments: ids 1000 for class 1, and so on."""
    write_pictures(root / "train")
    folder = root / "annotations" / "panoptic_train"
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number, (name, labels) in enumerate(LABELS.items(), start=1):
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        ids = true_mask(name).astype(int) * 1000
        pixels = np.stack([ids % 256, ids // 256, ids * 0], axis=2).astype(np.uint8)
        file = f"{name.rpartition('.')[0]}.png"
        Image.fromarray(pixels).save(folder / file)
        values = [CLASSES.index(label) + 1 for label in labels]
        segments = [{"id": 1000 * value, "category_id": value} for value in values]
        annotations.append({"image_id": number, "file_name": file, "segments_info": segments})
    categories = [{"id": i, "name": n} for i, n in enumerate(CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = root / "annotations" / "panoptic_train.json"
    path.write_text(json.dumps(content))
    return folder


def test_a_missing_png_of_segments_is_told_and_leaves_the_labels(tmp_path: Path) -> None:
    folder = panoptic(tmp_path)
    (folder / "a01.png").unlink()
    found = look(tmp_path)
    (picture,) = (one for one in found.pictures if one.path.name == "a01.jpg")
    assert picture.draw is None
    assert labels_of(found)["a01.jpg"] == ("Red Fox",)
    assert any("1 picture gets no mask, as the PNG of its segments" in x for x in found.notes)


def test_utf_16_is_refused_also_where_another_split_can_be_read(tmp_path: Path) -> None:
    panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_train.json"
    (tmp_path / "annotations" / "panoptic_val.json").write_bytes(path.read_text().encode("utf-16"))
    with pytest.raises(Ws3Error, match=r"panoptic_val\.json: not UTF-8 text"):
        look(tmp_path)


def square(left: int, top: int, side: int) -> list[list[float]]:
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_the_smaller_region_is_on_top_and_ignored_ones_are_below() -> None:
    pixels = np.zeros((10, 12), np.bool_)
    pixels[0:8, 0:8] = True
    regions = [
        Region(2, square(2, 2, 2)),
        Region(1, pixels),
        Region(IGNORED, square(3, 3, 6)),
        Region(3, square(6, 6, 3), layer=1),
    ]
    wanted = np.zeros((10, 12), np.uint8)
    wanted[3:9, 3:9] = IGNORED
    wanted[0:8, 0:8] = 1
    wanted[2:4, 2:4] = 2
    wanted[6:9, 6:9] = 3
    mask = paint(regions, 10, 12)
    assert mask.flags.c_contiguous
    assert (mask == wanted).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="its mask has 4 x 3 pixels, but the picture has 5 x 3"):
        paint([Region(1, np.ones((3, 4), np.bool_))], 3, 5)


def test_many_regions_of_a_large_picture_need_the_memory_of_few() -> None:
    regions = [Region(1 + number % 3, square(number, number, 50)) for number in range(60)]
    paint(regions[:1], 100, 100)
    tracemalloc.start()
    paint(regions, 1000, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 1000 * 1000  # all decoded at once take 60 MB


def test_folders_that_tell_no_labels_are_refused_by_what_they_are(tmp_path: Path) -> None:
    one = tmp_path / "labelme"
    write_pictures(one, ["a01.jpg"])
    (one / "label.png").write_bytes((one / "a01.jpg").read_bytes())
    (one / "label_names.txt").write_text("_background_\nRed Fox\n")
    with pytest.raises(Ws3Error, match="one number has several meanings"):
        look(one)
    two = tmp_path / "voc"
    write_pictures(two / "JPEGImages")
    (two / "ImageSets" / "Main").mkdir(parents=True)
    (two / "ImageSets" / "Main" / "train.txt").write_text("a01\n")
    with pytest.raises(Ws3Error, match="lists of pictures, but neither annotations"):
        look(two)


@pytest.mark.parametrize("key", ["id", "file_name"])
def test_an_image_that_lacks_a_key_is_one_sentence(tmp_path: Path, key: str) -> None:
    panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_train.json"
    content = json.loads(path.read_text())
    del content["images"][1][key]
    path.write_text(json.dumps(content))
    with pytest.raises(Ws3Error, match=rf"panoptic_train\.json: .*KeyError: '{key}'"):
        look(tmp_path)


def test_a_size_that_isnt_the_pictures_is_refused_when_drawn(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a01.jpg"])
    image = {"id": 1, "file_name": "a01.jpg", "width": SIZE[1], "height": SIZE[0]}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square(1, 1, 5)}
    categories = [{"id": 1, "name": "Red Fox"}]
    content = {"images": [image], "annotations": [annotation], "categories": categories}
    (tmp_path / "x.json").write_text(json.dumps(content))
    (picture,) = look(tmp_path).pictures
    assert picture.draw is not None
    with pytest.raises(Ws3Error, match="says 16 x 24 pixels, but the picture has 24 x 16"):
        picture.draw(SIZE[1], SIZE[0])
