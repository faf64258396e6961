"""MS COCO: annotations as a stream, and masks drawn from them."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import listing_of
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle
from pydantic import ValidationError

from ws3.cli.inspect import coco_masks
from ws3.config.dataset import Coco
from ws3.datasets import coco_files, coco_regions, list_dataset
from ws3.datasets.coco import draw_coco_masks
from ws3.datasets.index import check_files
from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error

# pycocotools itself, with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Tree = Callable[..., Path]
CATEGORIES = [
    {"id": 18, "name": "dog"},
    {"id": 1, "name": "person"},
    {"id": 90, "name": "toothbrush"},
]


def picture(number: int, width: int = 20, height: int = 12) -> dict[str, Any]:
    name = f"COCO_x_{number:012d}.jpg"
    return {"id": number, "file_name": name, "width": width, "height": height}


def instance(image: int | str, category: int, box: tuple[int, int, int, int] = (0, 0, 2, 2)) -> Any:
    x, y, w, h = box
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {
        "segmentation": [outline],
        "area": w * h,
        "iscrowd": 0,
        "image_id": image,
        "category_id": category,
    }


def crowd(image: int, category: int, mask: np.ndarray, compressed: bool = False) -> Any:
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=0)) if flat.any() else np.array([], int)
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    region: dict[str, Any] = {"counts": counts, "size": list(mask.shape)}
    if compressed:
        region["counts"] = rle.encode(np.asfortranarray(mask))["counts"].decode()
    return {
        "segmentation": region,
        "area": int(mask.sum()),
        "iscrowd": 1,
        "image_id": image,
        "category_id": category,
    }


def content(*annotations: Any, images: int = 3) -> dict[str, Any]:
    return {
        "info": {"year": 2014},
        "licenses": [],
        "images": [picture(number) for number in range(1, images + 1)],
        "annotations": list(annotations),
        "categories": CATEGORIES,
    }


def config(root: Path, val: str | None = None) -> Coco:
    return Coco(kind="coco", root=str(root), train="train2014", val=val)


@pytest.mark.parametrize("indent", [None, 2])
def test_listing_and_index(coco_tree: Tree, tmp_path: Path, indent: int | None) -> None:
    everything = np.ones((12, 20), np.uint8)
    train = content(
        instance(2, 90), instance(1, 18), instance(2, 1), instance(2, 90), crowd(1, 1, everything)
    )
    root = coco_tree("train2014", train, indent)
    val = content(instance(9, 1)) | {"images": [picture(9)]}
    coco_tree("val2014", val, indent)
    listing = list_dataset(config(root, "val2014"), tmp_path)
    assert listing.classes == ("person", "dog", "toothbrush")
    assert [(r.image, r.split, r.labels, r.mask) for r in listing.rows] == [
        ("COCO_x_000000000001", "train", ("person", "dog"), ""),
        ("COCO_x_000000000002", "train", ("person", "toothbrush"), ""),
        ("COCO_x_000000000009", "val", ("person",), ""),
    ]
    assert listing.rows[0].path == str(root / "train2014" / "COCO_x_000000000001.jpg")
    assert [(r.width, r.height) for r in check_files(listing).rows] == [(20, 12)] * 3


def test_files_may_lie_where_keys_say(coco_tree: Tree) -> None:
    root = coco_tree("train2014", content(instance(1, 18)))
    (root / "images").mkdir()
    (root / "train2014").rename(root / "images" / "train2014")
    (root / "annotations" / "instances_train2014.json").rename(root / "labels-train2014.json")
    keys = {"annotations": "labels-{split}.json", "images": "images/{split}"}
    listing = listing_of(config(root).model_copy(update=keys))
    assert [row.labels for row in listing.rows] == [("dog",)]
    assert all(not row.problem for row in check_files(listing).rows)
    with pytest.raises(ValidationError, match=r"can be \{split\}"):
        Coco.model_validate({"kind": "coco", "root": "x", "images": "{0}"})


def test_drawn_masks_are_used(coco_tree: Tree) -> None:
    root = coco_tree("train2014", content(instance(1, 18), instance(2, 1)))
    file = root / "annotations" / "instances_train2014.json"
    seen: list[tuple[int, int]] = []
    folder = root / "masks" / "train2014"
    count = draw_coco_masks(file, folder, progress=lambda done, total: seen.append((done, total)))
    assert count == 2
    assert seen == [(1, 2), (2, 2)]
    rows = check_files(listing_of(config(root))).rows
    assert [r.mask for r in rows] == [str(folder / f"{r.image}.png") for r in rows]


@pytest.mark.parametrize("compressed", [False, True])
def test_masks_by_hand(coco_tree: Tree, tmp_path: Path, compressed: bool) -> None:
    crowded = np.zeros((12, 20), np.uint8)
    crowded[:, 10:] = 1
    annotations = (
        instance(1, 1, (2, 2, 4, 4)),  # small, first in the file, yet on top
        instance(1, 18, (0, 0, 12, 8)),
        crowd(1, 90, crowded, compressed),
    )
    root = coco_tree("train2014", content(*annotations))
    draw_coco_masks(root / "annotations" / "instances_train2014.json", tmp_path / "m")
    expected = np.zeros((12, 20), np.uint8)
    expected[:, 10:] = 255
    expected[0:8, 0:12] = 2
    expected[2:6, 2:6] = 1
    found = read_label_mask(tmp_path / "m" / "COCO_x_000000000001.png")
    np.testing.assert_array_equal(found, expected)
    assert len(list((tmp_path / "m").iterdir())) == 1


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LISTS = ("images", "annotations", "categories")


@given(
    st.dictionaries(st.sampled_from(LISTS) | st.text(), json_values, max_size=4),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_stream_gives_what_json_gives(
    tmp_path_factory: pytest.TempPathFactory,
    value: dict[str, Any],
    indent: int | None,
    ascii_only: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "stream.json"
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=ascii_only), "utf-8")
    for name in LISTS:
        items = value.get(name)
        expected = items if isinstance(items, list) else []
        assert list(coco_files.items_of(path, name)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"images": [{"id": 1',
        '{"images": [1 2]}',
        '{"images": [12',
        '{"images": [{}], "annotations": [], "categories": []}',
        '{"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}',
        '{"images": [], "annotations": [], "categories": []}',
        '{"images": 3, "annotations": [7], "categories": []}',
        '{"categories": [{"id": 1, "name": "a"}], "annotations": [{"image_id": 1}]}',
        '{"images": [], "annotations": [{"image_id": 1, "category_id": 2}]}',
    ],
)
def test_malformed_files_are_refused(coco_tree: Tree, text: str) -> None:
    root = coco_tree("train2014", content())
    (root / "annotations" / "instances_train2014.json").write_text(text)
    with pytest.raises(Ws3Error, match=r"instances_train2014\.json: not a COCO instances file"):
        listing_of(config(root))


def test_absent_parts_are_named(coco_tree: Tree) -> None:
    root = coco_tree("train2014", content(instance(1, 1)))
    with pytest.raises(Ws3Error, match="val2014: no such folder"):
        listing_of(config(root, "val2014"))
    (root / "val2014").mkdir()
    with pytest.raises(Ws3Error, match=r"instances_val2014\.json: No such file"):
        listing_of(config(root, "val2014"))
    other = content() | {"categories": CATEGORIES[:2]}
    (root / "annotations" / "instances_val2014.json").write_text(json.dumps(other))
    with pytest.raises(Ws3Error, match=r"instances_val2014\.json: its categories"):
        listing_of(config(root, "val2014"))


def test_a_missing_image_is_reported(coco_tree: Tree) -> None:
    root = coco_tree("train2014", content(instance(1, 1), instance(2, 1)))
    (root / "train2014" / "COCO_x_000000000002.jpg").unlink()
    with pytest.raises(Ws3Error, match=r"1 problem in(.|\n)*000000000002\.jpg: no such file"):
        check_files(listing_of(config(root)))


def test_the_command_tells_how_far_it_is(
    coco_tree: Tree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ws3.jobs.progress._LINE_EVERY", 0.0)
    root = coco_tree("train2014", content(instance(1, 18), instance(2, 1)))
    coco_masks(root, "train2014")
    out, err = capsys.readouterr()
    assert [line.split(" images,")[0] for line in err.splitlines()] == [
        "masks of train2014: 1/2",
        "masks of train2014: 2/2",
    ]
    assert out.strip() == f"2 masks: {root / 'masks' / 'train2014'}"


# What reaches pycocotools is checked before: it does not check.

OUTLINE = [1, 1, 5, 1, 5, 5]
CODE = rle.encode(np.asfortranarray(np.eye(12, 20, dtype=np.uint8)))["counts"].decode()


def written(coco_tree: Tree, data: dict[str, Any]) -> Path:
    """Write a file of annotations whose images need not be as it says."""
    file = coco_tree("train2014", content()) / "annotations" / "instances_train2014.json"
    file.write_text(json.dumps(data))
    return file


def lengths(counts: Any, size: Any = (12, 20)) -> dict[str, Any]:
    return {"counts": counts, "size": list(size) if isinstance(size, tuple) else size}


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ([[*OUTLINE, 3]], r"polygon 1 has an odd number of coordinates \(7\)"),
        ([OUTLINE, [1, 1, 5, 1]], "polygon 2 has 2 points, and three are the least"),
        ([[]], "polygon 1 has 0 points"),
        ([[*OUTLINE[:5], "5"]], "has the coordinate '5', not a number from -12 to 24"),
        ([[*OUTLINE[:5], None]], "has the coordinate None"),
        ([[*OUTLINE[:5], True]], "has the coordinate True"),
        ([[*OUTLINE[:5], 25]], "has the coordinate 25, not a number from -12 to 24"),
        ([[*OUTLINE[:4], -21, 5]], "has the coordinate -21, not a number from -20 to 40"),
        ([OUTLINE, 5], "polygon 2 is 5, not a list of coordinates"),
        ("text", "its segmentation is 'text', not a list of polygons or run lengths"),
        (lengths([200, 39]), "its run lengths sum to 239, but the picture has 240 pixels"),
        (lengths([200, 41]), "its run lengths sum to 241"),
        (lengths([]), "its run lengths sum to 0"),
        (lengths([250, -10]), "the run length -10, not a whole number from 0"),
        (lengths([200, 39.5]), r"the run length 39\.5"),
        (lengths([200, "40"]), "the run length '40'"),
        (lengths([239, True]), "the run length True"),
        (lengths([240], (20, 12)), r"have the size \[20, 12\], but .* are \[12, 20\]"),
        (lengths([240], None), "have the size None"),
        (lengths([240], "12"), "have the size '12'"),
        ({"counts": [240]}, "have the size None"),
        (lengths(None), "its run lengths are None, not a list or a text"),
        (lengths(CODE[:-2]), "sum to"),
        (lengths(CODE + "1"), "sum to"),
        (lengths(CODE + "P"), "end in the midst of a number"),
        (lengths("~" + CODE), "its compressed run lengths hold '~'"),
        (lengths("oooooooooo"), "a number that is too long"),
        (lengths("nonsense"), "its compressed run lengths"),
    ],
)
def test_a_malformed_region_is_refused_before_the_library_is_called(
    coco_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: Any, words: str
) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("pycocotools was called")

    for name in ("frPyObjects", "merge", "decode", "area"):
        monkeypatch.setattr(rle, name, fail)
    file = written(coco_tree, content(instance(1, 1) | {"id": 77, "segmentation": region}))
    with pytest.raises(Ws3Error, match=rf"annotation 77: .*{words}.*; correct this entry") as error:
        draw_coco_masks(file, tmp_path / "m")
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("entry", "change", "words"),
    [
        ("annotations", {"area": "many"}, "annotation 5: its area is 'many'"),
        ("annotations", {"area": -1}, "annotation 5: its area is -1"),
        ("annotations", {"iscrowd": "no"}, "annotation 5: iscrowd is 'no', not 0 or 1"),
        ("images", {"height": 0}, "image 1: its height is 0"),
        ("images", {"width": -20}, "image 1: its width is -20"),
        ("images", {"width": "20"}, "image 1: its width is '20'"),
        ("images", {"width": 20.0}, r"image 1: its width is 20\.0"),
        ("images", {"width": None}, "image 1: its width is None"),
        ("images", {"width": 10**8}, "image 1: it has 12 x 100000000 pixels"),
        ("images", {"file_name": 3}, "image 1: its file_name is 3, which no file can have"),
        ("images", {"file_name": "a\0.jpg"}, "image 1: its file_name is "),
        ("images", {"file_name": ["a"]}, "image 1: its file_name is "),
        ("images", {"id": 2}, "image 2: this id is there twice"),
        ("images", {"id": None}, "image None: an id is a number or a text"),
        ("categories", {"name": 4}, "category 18: its name is 4, not a text"),
        ("categories", {"id": 1}, "category 1: this id is there twice"),
        ("categories", {"name": "d\0g"}, "can't be a class name"),
    ],
)
def test_malformed_entries_are_named(
    coco_tree: Tree, tmp_path: Path, entry: str, change: dict[str, Any], words: str
) -> None:
    data = content(instance(1, 1) | {"id": 5})
    data[entry] = [data[entry][0] | change, *data[entry][1:]]
    file = written(coco_tree, data)
    with pytest.raises(Ws3Error, match=words) as error:
        draw_coco_masks(file, tmp_path / "m")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 10**400, True, "3"])
@pytest.mark.parametrize("place", range(6))
def test_a_coordinate_is_a_finite_number_wherever_it_stands(value: object, place: int) -> None:
    polygon = [*OUTLINE[:place], value, *OUTLINE[place + 1 : 6]]
    with pytest.raises(ValueError, match="polygon 1 has the coordinate"):
        coco_regions.encode_region([polygon], 12, 20)
    # Two that cancel each other out, or hide one another from a comparison.
    polygon[place - 1] = float("inf")
    with pytest.raises(ValueError, match="polygon 1 has the coordinate"):
        coco_regions.encode_region([polygon], 12, 20)


@given(st.data())
def test_compressed_run_lengths_are_read_as_the_library_reads_them(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits, np.uint8).reshape(height, width)
    text = rle.encode(np.asfortranarray(mask))["counts"].decode()
    counts = coco_regions._from_text(text, height * width)
    values = np.arange(len(counts)) % 2
    np.testing.assert_array_equal(np.repeat(values, counts), mask.ravel(order="F"))
    region = {"counts": text, "size": [height, width]}
    decoded = rle.decode(coco_regions.encode_region(region, height, width))
    np.testing.assert_array_equal(decoded, mask)


def test_what_other_tools_leave_out_is_no_fault(
    coco_tree: Tree, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = instance(1, 1)
    del plain["area"], plain["iscrowd"]
    large = instance(1, 18, (0, 0, 12, 8)) | {"area": None, "iscrowd": None}
    data = content(plain, large, instance(99, 1), instance(1, 1) | {"image_id": "1"})
    data["images"][2] |= {"width": None, "height": None}  # it has no annotation
    file = written(coco_tree, data)
    assert draw_coco_masks(file, tmp_path / "m") == 1
    found = read_label_mask(tmp_path / "m" / "COCO_x_000000000001.png")
    assert (found[0, 0], found[7, 11], found[8, 12]) == (1, 2, 0)
    assert "2 annotations are left out, as their images aren't in the file" in caplog.text
    caplog.clear()
    assert [row.labels for row in listing_of(config(file.parents[1])).rows] == [("person", "dog")]
    assert "2 annotations are left out" in caplog.text


def test_deep_nesting_is_one_sentence(coco_tree: Tree) -> None:
    root = coco_tree("train2014", content())
    file = root / "annotations" / "instances_train2014.json"
    file.write_text('{"categories": [{"id": 1, "name": ' + "[" * 5000 + "]" * 5000 + "}]}")
    with pytest.raises(Ws3Error) as error:
        listing_of(config(root))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_crowd_regions_give_labels_and_are_counted(coco_tree: Tree) -> None:
    everything = np.ones((12, 20), np.uint8)
    root = coco_tree(
        "train2014",
        content(instance(1, 18), crowd(1, 18, everything), crowd(2, 1, everything)),
    )
    listing = listing_of(config(root))
    assert [row.labels for row in listing.rows] == [("dog",), ("person",)]
    assert listing.facts == (
        "1 images without annotations are left out; dataset.negatives: true has them take part",
        "1 images have a label from crowd regions alone, which ws3 coco-masks draws as ignored",
    )


def test_images_without_annotations_take_part_on_request(coco_tree: Tree) -> None:
    root = coco_tree("train2014", content(instance(2, 18)))
    asked = Coco(kind="coco", root=str(root), train="train2014", val=None, negatives=True)
    listing = listing_of(asked)
    assert [(row.image[-1], row.labels) for row in listing.rows] == [
        ("1", ()),
        ("2", ("dog",)),
        ("3", ()),
    ]
    assert listing.facts == ()
    assert all(row.problem == "" for row in check_files(listing).rows)


def test_one_name_in_two_subfolders_is_two_images(coco_tree: Tree) -> None:
    both = content(instance(1, 18), instance(2, 1), images=2)
    both["images"][0]["file_name"], both["images"][1]["file_name"] = "x/1.jpg", "y/1 (2).jpg"
    both["images"].append(picture(3) | {"file_name": "z/1.jpg"})
    both["annotations"].append(instance(3, 1))
    root = coco_tree("train2014", both)
    file, folder = root / "annotations" / "instances_train2014.json", root / "masks" / "train2014"
    assert draw_coco_masks(file, folder) == 3
    rows = check_files(listing_of(config(root))).rows
    assert [row.name for row in rows] == ["x/1.jpg", "y/1 (2).jpg", "z/1.jpg"]
    assert len({row.image for row in rows}) == 3
    assert [Path(row.mask).stem for row in rows] == [row.image for row in rows]
    assert [row.mask_values for row in rows] == [(0, 2), (0, 1), (0, 1)]


def test_regions_that_are_boxes_are_counted_and_left_out(
    coco_tree: Tree, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    absent = instance(2, 18)
    del absent["segmentation"]
    nothing: list[Any] = [[], None]
    boxes = [instance(1, 18) | {"segmentation": region} for region in nothing]
    file = written(coco_tree, content(instance(1, 1), absent, *boxes))
    # No mask of an image that has boxes alone: it would say that nothing is there.
    assert draw_coco_masks(file, tmp_path / "m") == 1
    mask = read_label_mask(tmp_path / "m" / "COCO_x_000000000001.png")
    assert mask.max() == 1
    assert "3 regions are boxes without outline; no pixels drawn" in caplog.text


def test_a_file_of_boxes_alone_is_refused(coco_tree: Tree, tmp_path: Path) -> None:
    file = written(coco_tree, content(instance(1, 1) | {"segmentation": []}))
    with pytest.raises(Ws3Error, match="all its 1 regions are boxes without outline"):
        draw_coco_masks(file, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_endless_nesting_takes_no_memory(coco_tree: Tree) -> None:
    file = written(coco_tree, content())
    file.write_text("[" * 100_000)
    tracemalloc.start()
    with pytest.raises(Ws3Error, match="nested too deeply"):
        draw_coco_masks(file, file.parent)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_masks_go_into_the_folder_that_a_link_leads_to_but_not_into_its_files(
    coco_tree: Tree, tmp_path: Path
) -> None:
    file = written(coco_tree, content(instance(1, 1), instance(2, 1)))
    real, mine = tmp_path / "real", tmp_path / "mine.png"
    real.mkdir()
    (tmp_path / "m").symlink_to(real)
    mine.write_bytes(b"mine")
    (real / "COCO_x_000000000002.png").symlink_to(mine)
    with pytest.raises(Ws3Error, match=r"000002\.png: something else is there already"):
        draw_coco_masks(file, tmp_path / "m")
    assert mine.read_bytes() == b"mine"
    assert (real / "COCO_x_000000000002.png").is_symlink()
    assert read_label_mask(real / "COCO_x_000000000001.png").max() == 1
