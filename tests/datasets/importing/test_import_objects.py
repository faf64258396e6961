"""Objects that one picture shows in several forms: no mask lacks one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import write_image

from ws3.datasets.importing.found import Found, Picture
from ws3.datasets.importing.look import look
from ws3.errors import Ws3Error

WIDTH, HEIGHT = 24, 16
NO_MASK = "1 picture without a mask, as not every object has an outline"
YOLO_POLYGON = "0 0.1 0.1 0.5 0.1 0.5 0.5"
YOLO_BOX = "0 0.8 0.8 0.1 0.1"


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, seed=seed, size=(WIDTH, HEIGHT))


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def yolo(root: Path) -> None:
    put(root / "data.yaml", "names: [fox]")
    put(root / "labels" / "a.txt", f"{YOLO_POLYGON}\n{YOLO_BOX}")


def labelme(root: Path) -> None:
    shapes = [
        {"label": "fox", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"},
        {"label": "fox", "points": [[15, 15]], "shape_type": "point"},
    ]
    put(root / "a.json", {"imagePath": "a.jpg", "shapes": shapes})


def label_studio(root: Path) -> None:
    result = [
        {"value": {"points": [[10, 10], [60, 10], [60, 60]], "polygonlabels": ["fox"]}},
        {"value": {"x": 80, "y": 80, "width": 5, "height": 5, "rectanglelabels": ["fox"]}},
    ]
    put(root / "x.json", [{"data": {"image": "a.jpg"}, "annotations": [{"result": result}]}])


def cvat(root: Path, group: str = "", big: str = "") -> None:
    put(
        root / "annotations.xml",
        f'<annotations><image name="a.jpg"><polygon label="fox" {group} points="2,2;6,2;6,6;2,6"/>'
        f'<box label="fox" {group} xtl="2" ytl="2" xbr="6" ybr="6"/>{big}</image></annotations>',
    )


def datumaro(root: Path, groups: tuple[int, int] = (1, 2), **big: Any) -> None:
    annotations = [
        {"type": "polygon", "label_id": 0, "group": groups[0], "points": [2, 2, 6, 2, 6, 6, 2, 6]},
        {"type": "bbox", "label_id": 0, "group": groups[1], "bbox": [2, 2, 4, 4]},
    ]
    if big:
        annotations.append({"type": "polygon", "label_id": 1, **big})
    labels = [{"name": "fox"}, {"name": "field"}]
    items = [{"id": "a", "image": {"path": "a.jpg"}, "annotations": annotations}]
    put(root / "x.json", {"categories": {"label": {"labels": labels}}, "items": items})


def label_me_xml(root: Path, parent: str = "") -> None:
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((2, 2), (6, 2), (6, 6), (2, 6)))
    shape = f"<name>fox</name><deleted>0</deleted><polygon>{corners}</polygon>"
    put(
        root / "Annotations" / "a.xml",
        f"<annotation><filename>a.jpg</filename><object><id>0</id>{shape}</object><object><id>1"
        f"</id><type>bounding_box</type><parts><ispartof>{parent}</ispartof></parts>{shape}"
        "</object></annotation>",
    )


def only(found: Found) -> Picture:
    (one,) = found.pictures
    return one


@pytest.mark.parametrize("build", [yolo, labelme, label_studio, cvat, datumaro, label_me_xml])
def test_a_second_object_of_a_class_without_outline_takes_the_mask(
    tmp_path: Path, build: Any
) -> None:
    picture(tmp_path / "images" / "a.jpg")
    build(tmp_path)
    found = look(tmp_path)
    assert only(found).labels == ("fox",)
    assert only(found).draw is None
    assert NO_MASK in found.notes


def test_the_box_of_an_outlined_object_is_no_second_one(tmp_path: Path) -> None:
    builds = {
        "cvat": lambda root: cvat(root, 'group_id="3"'),
        "datumaro": lambda root: datumaro(root, (3, 3)),
        "label_me_xml": lambda root: label_me_xml(root, "0"),
    }
    for name, build in builds.items():
        picture(tmp_path / name / "images" / "a.jpg")
        build(tmp_path / name)
        draw = only(look(tmp_path / name)).draw
        assert draw is not None
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        expected[2:6, 2:6] = 1
        assert (draw(HEIGHT, WIDTH) == expected).all()


@pytest.mark.parametrize("order", [-1, 1])
def test_the_order_of_layers_goes_before_size(tmp_path: Path, order: int) -> None:
    big = f'<polygon label="field" z_order="{order}" points="1,1;20,1;20,12;1,12"/>'
    corners = [1, 1, 20, 1, 20, 12, 1, 12]
    picture(tmp_path / "c" / "a.jpg")
    cvat(tmp_path / "c", 'group_id="3"', big)
    picture(tmp_path / "d" / "a.jpg")
    datumaro(tmp_path / "d", (3, 3), points=corners, z_order=order)
    for name in "cd":
        found = look(tmp_path / name)
        draw = only(found).draw
        assert draw is not None
        top = draw(HEIGHT, WIDTH)[3, 3]
        assert found.classes[top - 1] == ("field" if order > 0 else "fox")


def test_two_rows_for_a_picture_are_drawn_together(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    rows = [
        {"image": "a.jpg", "annotator": 1, "label": [{"points": points, "polygonlabels": [label]}]}
        for label, points in (
            ("fox", [[0, 0], [25, 0], [25, 50], [0, 50]]),
            ("tree", [[50, 50], [100, 50], [100, 100], [50, 100]]),
        )
    ]
    put(tmp_path / "x.json", rows)
    draw = only(look(tmp_path)).draw
    assert draw is not None
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:8, :6] = 1
    expected[8:, 12:] = 2
    assert (draw(HEIGHT, WIDTH) == expected).all()


@pytest.mark.parametrize("inside", [True, False])
def test_pictures_may_be_given_once_more(tmp_path: Path, inside: bool) -> None:
    picture(tmp_path / "x" / "images" / "a.jpg")
    picture(tmp_path / "other" / "a.jpg", seed=1)
    yolo(tmp_path / "x")
    images = tmp_path / "x" / "images" if inside else tmp_path / "other"
    assert only(look(tmp_path / "x", images)).path == tmp_path / "x" / "images" / "a.jpg"


def test_boxes_of_fiftyone_are_labels_by_number_or_name(tmp_path: Path) -> None:
    picture(tmp_path / "data" / "a.jpg")
    boxes = [{"label": 1, "bounding_box": [0, 0, 1, 1]}, {"label": "fox"}]
    content = {"classes": ["fox", "tree"], "labels": {"a": boxes}}
    put(tmp_path / "labels.json", content)
    found = look(tmp_path)
    assert only(found).labels == ("tree", "fox")
    assert found.classes == ("fox", "tree")
    put(tmp_path / "labels.json", {**content, "labels": {"a": [{"bounding_box": [0, 0, 1, 1]}]}})
    with pytest.raises(Ws3Error, match="is no label"):
        look(tmp_path)


def test_same_names_in_two_subsets_of_datumaro(tmp_path: Path) -> None:
    labels = [{"name": "fox"}, {"name": "tree"}]
    for number, subset in enumerate(("train", "val")):
        picture(tmp_path / "images" / subset / "1.jpg", seed=number)
        annotations = [{"type": "label", "label_id": number}]
        items = [{"id": "1", "image": {"path": "1.jpg"}, "annotations": annotations}]
        content = {"categories": {"label": {"labels": labels}}, "items": items}
        put(tmp_path / "annotations" / f"{subset}.json", content)
    shown = {(one.path.parent.name, one.split, one.labels) for one in look(tmp_path).pictures}
    assert shown == {("train", "train", ("fox",)), ("val", "val", ("tree",))}


def test_regions_without_classes_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    put(tmp_path / "a.json", {"image": {"file_name": "a.jpg"}, "annotations": [{"id": 1}]})
    with pytest.raises(Ws3Error, match=r"a\.json: regions without classes"):
        look(tmp_path)


def test_labelme_among_other_json_and_with_renamed_pictures(tmp_path: Path) -> None:
    put(tmp_path / "a_settings.json", {"x": 1})
    for number, name in enumerate("xy"):
        picture(tmp_path / name / "1.jpg", seed=number)
        shapes = [{"label": name, "points": [[1, 1], [9, 1], [9, 9]]}]
        put(tmp_path / name / "1.json", {"imagePath": "C:\\old\\z.jpg", "shapes": shapes})
    shown = {(one.path.parent.name, one.labels) for one in look(tmp_path).pictures}
    assert shown == {("x", ("x",)), ("y", ("y",))}


def test_the_file_at_fault_is_named_when_drawn(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        picture(tmp_path / f"{name}.jpg", seed=number)
        shape = {"label": "fox", "shape_type": "mask", "mask": "AAAA", "points": [[1, 1], [3, 3]]}
        content = {"imagePath": f"{name}.jpg", "shapes": [shape] if name == "b" else []}
        put(tmp_path / f"{name}.json", content)
    draw = look(tmp_path).pictures[1].draw
    assert draw is not None
    with pytest.raises(Ws3Error, match=r"/b\.json: b\.jpg: a mask is truncated or not an image"):
        draw(HEIGHT, WIDTH)
