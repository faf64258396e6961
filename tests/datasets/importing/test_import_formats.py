"""The same pictures as other tools write them: labels and masks come out as they went in.

Each tree is written by hand after what the tool's own export looks like.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from import_trees import (
    CLASSES,
    LABELS,
    SIZE,
    drawn,
    expected,
    labels_of,
    true_mask,
    write_pictures,
)
from PIL import Image
from pycocotools import mask as rle

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.look import look
from ws3.errors import Ws3Error
from ws3.labels import voc_palette

WIDTH, HEIGHT = SIZE
Build = Callable[[Path], None]


def box(name: str, label: str) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of an object, the latter two outside."""
    rows, columns = np.nonzero(true_mask(name) == CLASSES.index(label) + 1)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def corners(name: str, label: str) -> list[list[float]]:
    left, top, right, bottom = box(name, label)
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def number_of(name: str) -> int:
    return list(LABELS).index(name) + 1


def runs(name: str, label: str) -> dict[str, Any]:
    mask = np.asfortranarray((true_mask(name) == CLASSES.index(label) + 1).astype(np.uint8))
    encoded = rle.encode(mask)
    return {"size": [HEIGHT, WIDTH], "counts": encoded["counts"].decode()}


def coco_file(path: Path, segmentation: Callable[[str, str], Any], **changes: Any) -> None:
    annotations = [
        {
            "id": 10 * number_of(name) + CLASSES.index(label),
            "image_id": number_of(name),
            "category_id": CLASSES.index(label) + 1,
            "bbox": [0, 0, 5, 5],
            **segmentation(name, label),
        }
        for name, labels in LABELS.items()
        for label in labels
    ]
    content = {
        "images": [
            {"id": number_of(n), "file_name": n, "height": HEIGHT, "width": WIDTH} for n in LABELS
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": n} for i, n in enumerate(CLASSES, start=1)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **changes}))


def polygons(name: str, label: str) -> dict[str, Any]:
    flat = [number for point in corners(name, label) for number in point]
    return {"segmentation": [flat], "area": 35, "iscrowd": 0}


def coco(root: Path) -> None:
    write_pictures(root / "images" / "train")
    coco_file(root / "annotations" / "instances_train.json", polygons)


def coco_brushed(root: Path) -> None:
    write_pictures(root / "images")
    coco_file(root / "annotations.json", lambda n, x: {"segmentation": runs(n, x), "iscrowd": 1})


def coco_without_sizes(root: Path) -> None:
    write_pictures(root / "data")
    images = [{"id": number_of(n), "file_name": f"/up/0a1b2c3d-{n}", "width": None} for n in LABELS]
    coco_file(root / "labels.json", polygons, images=images)


def panoptic(root: Path) -> None:
    write_pictures(root / "images")
    folder = root / "annotations" / "panoptic_train"
    folder.mkdir(parents=True)
    annotations = []
    for name, labels in LABELS.items():
        mask = true_mask(name)
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        pixels[..., 0], pixels[..., 1] = mask * 7, mask  # id = 7 v + 256 v
        file = f"{name.rpartition('.')[0]}.png"
        Image.fromarray(pixels).save(folder / file)
        values = [CLASSES.index(label) + 1 for label in labels]
        segments = [{"id": 263 * value, "category_id": value, "iscrowd": 0} for value in values]
        annotations.append(
            {"image_id": number_of(name), "file_name": file, "segments_info": segments}
        )
    target = root / "annotations" / "panoptic_train.json"
    coco_file(target, lambda n, x: {}, annotations=annotations)


def voc_xml(name: str, labels: tuple[str, ...]) -> str:
    objects = "".join(f"<object><name>{label}</name></object>" for label in labels)
    return f"<annotation><filename>{name}</filename>{objects}</annotation>"


def voc(root: Path) -> None:
    write_pictures(root / "JPEGImages")
    for folder in ("Annotations", "ImageSets/Main", "SegmentationClass"):
        (root / folder).mkdir(parents=True)
    stems = []
    for name, labels in LABELS.items():
        stem = name.rpartition(".")[0]
        stems.append(stem)
        # Datumaro writes nothing for a picture without objects.
        if labels:
            (root / "Annotations" / f"{stem}.xml").write_text(voc_xml(name, labels))
            colours = np.array(list(voc_palette()), np.uint8).reshape(256, 3)[true_mask(name)]
            Image.fromarray(colours).save(root / "SegmentationClass" / f"{stem}.png")
    (root / "ImageSets/Main/train.txt").write_text("\n".join(stems))
    lines = ["# label:color_rgb:parts:actions", "background:::", *(f"{c}:::" for c in CLASSES)]
    (root / "labelmap.txt").write_text("\n".join(lines))


def voc_masks_alone(root: Path) -> None:
    voc(root)
    (root / "ImageSets" / "Main").rename(root / "ImageSets" / "Segmentation")
    for file in (root / "Annotations").iterdir():
        file.unlink()


def voc_class_lists(root: Path) -> None:
    write_pictures(root / "JPEGImages")
    (root / "ImageSets/Main").mkdir(parents=True)
    for label in (*CLASSES, "background"):
        lines = [
            f"{name.rpartition('.')[0]} {' 1' if label in labels else '-1'}"
            for name, labels in LABELS.items()
        ]
        (root / f"ImageSets/Main/{label}_train.txt").write_text("\n".join(lines))
    (root / "labelmap.txt").write_text("\n".join(f"{c}:::" for c in ("background", *CLASSES)))


def voc_xml_beside_data(root: Path) -> None:
    write_pictures(root / "data")
    (root / "labels").mkdir()
    for name, labels in LABELS.items():
        stem = name.rpartition(".")[0]
        (root / "labels" / f"{stem}.xml").write_text(voc_xml(f"/home/me/{name}", labels))


def yolo_lines(name: str, polygon: bool) -> str:
    lines = []
    for label in LABELS[name]:
        left, top, right, bottom = box(name, label)
        numbers: list[float] = [(left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT, 0.1, 0.1]
        if polygon:
            numbers = [n for x, y in corners(name, label) for n in (x / WIDTH, y / HEIGHT)]
        lines.append(" ".join(map(str, [CLASSES.index(label), *numbers])))
    return "\n".join(lines)


def yolo(root: Path, polygon: bool = False) -> None:
    write_pictures(root / "images" / "train")
    (root / "labels" / "train").mkdir(parents=True)
    for name in LABELS:
        file = root / "labels" / "train" / f"{name.rpartition('.')[0]}.txt"
        file.write_text(yolo_lines(name, polygon))
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES))
    (root / "data.yaml").write_text(f"path: /home/me/x\ntrain: ./images/train\nnames:\n{names}")


def yolo_outlined(root: Path) -> None:
    yolo(root, polygon=True)


def darknet(root: Path) -> None:
    write_pictures(root / "obj_train_data")
    for name in LABELS:
        file = root / "obj_train_data" / f"{name.rpartition('.')[0]}.txt"
        file.write_text(yolo_lines(name, polygon=False))
    (root / "obj.names").write_text("\n".join(CLASSES))
    (root / "train.txt").write_text("\n".join(f"data/obj_train_data/{n}" for n in LABELS))


def labelme(root: Path) -> None:
    write_pictures(root)
    for name, labels in LABELS.items():
        content = {
            "flags": {label: label in labels for label in CLASSES},
            "shapes": [
                {"label": label, "points": corners(name, label), "shape_type": "polygon"}
                for label in labels
            ],
            "imagePath": name,
            "imageData": None,
        }
        (root / f"{name.rpartition('.')[0]}.json").write_text(json.dumps(content))


def labelme_masks(root: Path) -> None:
    labelme(root)
    for name, labels in LABELS.items():
        file = root / f"{name.rpartition('.')[0]}.json"
        content = json.loads(file.read_text())
        for shape, label in zip(content["shapes"], labels, strict=True):
            left, top, right, bottom = box(name, label)
            data = io.BytesIO()
            Image.new("L", (right - left, bottom - top), 255).save(data, "PNG")
            shape |= {
                "shape_type": "mask",
                "points": [[left, top], [right, bottom]],
                "mask": base64.b64encode(data.getvalue()).decode(),
            }
        file.write_text(json.dumps(content))


def percent(name: str, label: str) -> list[list[float]]:
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners(name, label)]


def label_studio(root: Path) -> None:
    write_pictures(root / "pictures")
    tasks = [
        {
            "id": number_of(name),
            "data": {"image": f"/data/upload/1/0a1b2c3d-{name}"},
            "annotations": [
                {
                    "was_cancelled": False,
                    "result": [
                        {"value": {"polygonlabels": [x], "points": percent(name, x)}}
                        for x in labels
                    ],
                }
            ],
        }
        for name, labels in LABELS.items()
    ]
    (root / "result.json").write_text(json.dumps(tasks))


def label_studio_min(root: Path) -> None:
    write_pictures(root / "pictures")
    tasks = []
    for name, labels in LABELS.items():
        task = {"image": f"/data/upload/1/{name}", "annotation_id": 1, "annotator": 1}
        if labels:
            task["choice"] = labels[0] if len(labels) == 1 else {"choices": labels}
        tasks.append(task)
    (root / "result.json").write_text(json.dumps(tasks))


def label_studio_table(root: Path, separator: str = ",") -> None:
    write_pictures(root / "pictures")
    lines = [separator.join(("annotation_id", "annotator", "choice", "image", "lead_time"))]
    for name, labels in LABELS.items():
        cell = json.dumps({"choices": labels}) if len(labels) > 1 else "".join(labels)
        cell = '"' + cell.replace('"', '""') + '"'
        lines.append(separator.join(("1", '"me"', cell, f'"/data/upload/{name}"', "3.2")))
    (root / "result.csv").write_text("\n".join(lines))


def label_studio_tabs(root: Path) -> None:
    label_studio_table(root, "\t")


def cvat(root: Path, masks: bool = False) -> None:
    write_pictures(root / "images")
    names = "".join(f"<label><name>{name}</name></label>" for name in CLASSES)
    images = ""
    for name, labels in LABELS.items():
        shapes = "".join(f'<tag label="{label}"/>' for label in labels)
        for label in labels:
            if masks:
                left, top, right, bottom = box(name, label)
                size = f'width="{right - left}" height="{bottom - top}"'
                count = (right - left) * (bottom - top)
                shapes += (
                    f'<mask label="{label}" rle="0, {count}" left="{left}" top="{top}" {size}/>'
                )
            else:
                points = ";".join(f"{x},{y}" for x, y in corners(name, label))
                shapes += f'<polygon label="{label}" points="{points}"/>'
        images += f'<image name="{name}" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    meta = f"<meta><task><labels>{names}</labels></task></meta>"
    (root / "annotations.xml").write_text(f"<annotations>{meta}{images}</annotations>")


def cvat_masks(root: Path) -> None:
    cvat(root, masks=True)


def datumaro(root: Path) -> None:
    write_pictures(root / "images" / "train")
    items = [
        {
            "id": name.rpartition(".")[0],
            "image": {"path": name},
            "annotations": [
                annotation
                for label in labels
                for annotation in (
                    {"type": "label", "label_id": CLASSES.index(label)},
                    {
                        "type": "mask",
                        "label_id": CLASSES.index(label),
                        "group": CLASSES.index(label) + 1,
                        "rle": runs(name, label),
                    },
                    {
                        "type": "bbox",
                        "label_id": CLASSES.index(label),
                        "group": CLASSES.index(label) + 1,
                        "bbox": [0, 0, 1, 1],
                    },
                )
            ],
        }
        for name, labels in LABELS.items()
    ]
    categories = {"label": {"labels": [{"name": name} for name in CLASSES]}}
    (root / "annotations").mkdir()
    (root / "annotations" / "train.json").write_text(
        json.dumps({"categories": categories, "items": items})
    )


def label_me_xml(root: Path) -> None:
    write_pictures(root / "Images" / "train")
    (root / "Annotations" / "train").mkdir(parents=True)
    (root / "Masks" / "train").mkdir(parents=True)
    for name, labels in LABELS.items():
        stem, objects = name.rpartition(".")[0], ""
        for number, label in enumerate(labels):
            mask = true_mask(name) == CLASSES.index(label) + 1
            file = f"{stem}_mask_{number}.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / "Masks" / "train" / file)
            objects += (
                f"<object><name>{label}</name><deleted>0</deleted><segm><mask>{file}</mask></segm>"
                "</object>"
            )
        xml = (
            f"<annotation><filename>{name}</filename><source><sourceAnnotation/></source>"
            f"{objects}</annotation>"
        )
        (root / "Annotations" / "train" / f"{stem}.xml").write_text(xml)


def fiftyone(root: Path) -> None:
    write_pictures(root / "data")
    labels = {
        name.rpartition(".")[0]: [CLASSES.index(x) for x in some] or None
        for name, some in LABELS.items()
    }
    (root / "labels.json").write_text(json.dumps({"classes": CLASSES, "labels": labels}))


def via(root: Path) -> None:
    write_pictures(root)
    content = {}
    for name, labels in LABELS.items():
        regions = []
        for label in labels:
            xs, ys = zip(*corners(name, label), strict=True)
            shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
            regions.append({"shape_attributes": shape, "region_attributes": {"class": label}})
        content[f"{name}123"] = {"filename": name, "size": 123, "regions": regions}
    (root / "via_region_data.json").write_text(json.dumps(content))


OUTLINED: list[Build] = [
    *(coco, coco_brushed, coco_without_sizes, panoptic, voc, yolo_outlined, labelme),
    *(labelme_masks, label_studio, cvat, cvat_masks, datumaro, label_me_xml, via),
]
LABELLED: list[Build] = [
    *(voc_class_lists, voc_xml_beside_data, yolo, darknet, label_studio_min),
    *(label_studio_table, label_studio_tabs, fiftyone),
]


@pytest.mark.parametrize("build", [*OUTLINED, *LABELLED], ids=lambda build: build.__name__)
def test_labels_are_read(tmp_path: Path, build: Build) -> None:
    build(tmp_path)
    found = look(tmp_path)
    assert labels_of(found) == expected()
    assert set(found.classes) == set(CLASSES)


@pytest.mark.parametrize("build", OUTLINED, ids=lambda build: build.__name__)
def test_masks_are_drawn_to_the_pixel(tmp_path: Path, build: Build) -> None:
    build(tmp_path)
    found = look(tmp_path)
    for name, labels in LABELS.items():
        if labels or build is not voc:
            assert (drawn(found, name) == true_mask(name)).all()


@pytest.mark.parametrize("build", LABELLED, ids=lambda build: build.__name__)
def test_without_outlines_there_are_no_masks(tmp_path: Path, build: Build) -> None:
    build(tmp_path)
    assert all(picture.draw is None for picture in look(tmp_path).pictures)


def test_masks_of_voc_tell_labels_and_silent_pictures_are_left_out(tmp_path: Path) -> None:
    voc_masks_alone(tmp_path)
    found = look(tmp_path)
    assert labels_of(found) == expected(name for name, labels in LABELS.items() if labels)
    assert any("1 picture in the lists without mask and annotation" in n for n in found.notes)


def test_a_group_of_categories_is_no_class(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    categories = [{"id": 0, "name": "things", "supercategory": "none"}]
    categories += [
        {"id": i, "name": n, "supercategory": "things"} for i, n in enumerate(CLASSES, start=1)
    ]
    path = tmp_path / "train" / "_annotations.coco.json"
    coco_file(path, polygons, categories=categories)
    found = look(tmp_path)
    assert found.classes == CLASSES
    assert any("things" in note for note in found.notes)
    assert {picture.split for picture in found.pictures} == {"train"}


def test_crowds_give_labels_and_are_ignored_beside_objects(tmp_path: Path) -> None:
    write_pictures(tmp_path)

    def some(name: str, label: str) -> dict[str, Any]:
        if label == "Tree":
            return {"segmentation": runs(name, label), "iscrowd": 1}
        return {"segmentation": runs(name, label), "iscrowd": 0}

    coco_file(tmp_path / "x.json", some)
    found = look(tmp_path)
    assert labels_of(found) == expected()
    assert set(np.unique(drawn(found, "b.v2.jpg"))) == {0, 1, 255}


def test_an_object_without_outline_leaves_its_picture_without_a_mask(tmp_path: Path) -> None:
    write_pictures(tmp_path)

    def some(name: str, label: str) -> dict[str, Any]:
        return {"segmentation": []} if label == "Tree" else polygons(name, label)

    coco_file(tmp_path / "x.json", some)
    found = look(tmp_path)
    without = {picture.path.name for picture in found.pictures if picture.draw is None}
    assert without == {name for name, labels in LABELS.items() if "Tree" in labels}
    assert any("with a box alone" in note for note in found.notes)


def test_splits_with_other_categories_are_matched_by_name(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images")
    coco_file(tmp_path / "instances_train.json", polygons)
    other = [{"id": 3, "name": "Red Fox"}]
    images = [{"id": 1, "file_name": "a01.jpg"}]
    annotations = [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}]
    coco_file(
        tmp_path / "instances_val.json",
        polygons,
        categories=other,
        images=images,
        annotations=annotations,
    )
    found = look(tmp_path)
    assert found.classes == CLASSES
    assert labels_of(found)["a01.jpg"] == ("Red Fox",)
    assert any("matched by name" in note for note in found.notes)


@pytest.mark.parametrize(
    ("build", "file", "old", "new", "sentence"),
    [
        (coco, "annotations/instances_train.json", '"category_id": 1', '"category_id": 9', "9 isn"),
        (coco, "annotations/instances_train.json", '"id": 2, "name"', '"id": 1, "name"', "twice"),
        (
            coco,
            "annotations/instances_train.json",
            '"categories": [',
            '"categories": [4, ',
            "number",
        ),
        (voc, "Annotations/a01.xml", "<object>", "<object", "no valid XML"),
        (yolo, "labels/train/a01.txt", "0 0.", "7 0.", "line 1: .*3 classes"),
        (yolo, "labels/train/a01.txt", "0 0.", "x 0.", "line 1: "),
        (labelme, "a01.json", '"label": "Red Fox"', '"label": 4', "not as LabelMe writes it"),
        (label_studio, "result.json", '"result": [', '"result": [4, ', "not as Label Studio"),
        (cvat, "annotations.xml", 'points="', 'points="a,b;', "not as CVAT writes it"),
        (datumaro, "annotations/train.json", '"label_id": 0', '"label_id": 30', "30 isn't among"),
        (fiftyone, "labels.json", "[0]", "[12]", "12 isn't among"),
        (via, "via_region_data.json", '"all_points_x": [', '"all_points_x": [1, ', "not as VIA"),
    ],
)
def test_damage_is_one_sentence_that_names_the_file(
    tmp_path: Path, build: Build, file: str, old: str, new: str, sentence: str
) -> None:
    build(tmp_path)
    path = tmp_path / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(Ws3Error, match=sentence) as error:
        look(tmp_path)
    assert Path(file).name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("build", "file", "before"),
    [
        (labelme, "a01.json", r'"points": \[\['),
        (cvat, "annotations.xml", 'points="'),
        (label_studio, "result.json", r'"points": \[\['),
        (yolo_outlined, "labels/train/a01.txt", "^0 "),
    ],
)
def test_an_outline_far_outside_is_refused_when_drawn(
    tmp_path: Path, build: Build, file: str, before: str
) -> None:
    build(tmp_path)
    path = tmp_path / file
    text, count = re.subn(rf"({before})[0-9.]+", r"\g<1>99999", path.read_text(), count=1)
    assert count
    path.write_text(text)
    with pytest.raises(Ws3Error, match=r"coordinate [29]"):
        drawn(look(tmp_path), "a01.jpg")


def test_masks_that_name_no_picture_are_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a01.jpg"])
    (tmp_path / "a01.jpg").rename(tmp_path / "task-1-annotation-1-by-1-label-Red Fox-0.png")
    with pytest.raises(Ws3Error, match="name no picture"):
        look(tmp_path)


def test_a_dataset_whose_labels_were_lost_is_refused(tmp_path: Path) -> None:
    coco(tmp_path)
    coco_file(tmp_path / "annotations" / "instances_train.json", polygons, annotations=[])
    with pytest.raises(Ws3Error, match="none of its 6 pictures has a label"):
        look(tmp_path)


def test_open_images_rows_of_confidence_0_are_absent(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    lines = ["ImageID,Source,LabelName,Confidence"]
    for name, labels in LABELS.items():
        for label in CLASSES:
            code, stem = f"/m/{CLASSES.index(label)}", name.rpartition(".")[0]
            lines.append(f"{stem},verification,{code},{int(label in labels)}")
    (tmp_path / "train-annotations-human-imagelabels.csv").write_text("\n".join(lines))
    names = "\n".join(f"/m/{number},{name}" for number, name in enumerate(CLASSES))
    (tmp_path / "class-descriptions.csv").write_text(names)
    found = look(tmp_path)
    assert labels_of(found) == expected()
    assert set(found.classes) == set(CLASSES)
    assert any("of confidence 0: the label is absent" in note for note in found.notes)


def test_lists_with_numbers_are_named_by_synsets(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images")
    (tmp_path / "synsets.txt").write_text("\n".join(CLASSES))
    lines = [
        " ".join([name, *(str(CLASSES.index(label)) for label in labels)])
        for name, labels in LABELS.items()
    ]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    found = look(tmp_path)
    assert labels_of(found) == expected()
    assert found.classes == CLASSES
    assert {picture.split for picture in found.pictures} == {"train"}


def test_crowds_of_ms_coco_stay_crowds(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    categories = [{"id": i, "name": n} for i, n in enumerate(CLASSES, start=1)]
    categories.append({"id": 90, "name": "toothbrush"})
    coco_file(
        tmp_path / "x.json",
        lambda n, x: {"segmentation": runs(n, x), "iscrowd": 1},
        categories=categories,
    )
    assert set(np.unique(drawn_raw(look(tmp_path), "a01.jpg"))) == {0, 255}


def drawn_raw(found: Found, name: str) -> npt.NDArray[np.uint8]:
    """Return a picture's mask in the values of `found.classes`."""
    (picture,) = (one for one in found.pictures if one.path.name == name)
    assert picture.draw is not None
    return picture.draw(HEIGHT, WIDTH)


def test_regions_without_a_class_are_counted(tmp_path: Path) -> None:
    via(tmp_path)
    path = tmp_path / "via_region_data.json"
    path.write_text(path.read_text().replace('"class"', '"colour"', 1))
    found = look(tmp_path)
    assert labels_of(found)["a01.jpg"] == ()
    assert "1 region without a class: left out" in found.notes
    path.write_text(path.read_text().replace('"class"', '"size"'))
    with pytest.raises(Ws3Error, match="the attributes 'colour, size'; call the one that is"):
        look(tmp_path)
