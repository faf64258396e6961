"""Label Studio's exports: where its pictures lie, and which of its columns hold labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dataset_files import write_image

from ws3.datasets.importing.look import look
from ws3.errors import Ws3Error

FLAT = {"annotation_id": 1, "annotator": 1, "lead_time": 1}


def task(image: str, *result: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(result)}]}


def write(root: Path, tasks: list[dict[str, Any]]) -> None:
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        write_image(root / name, seed=seed, size=(24, 16))
    (root / "x.json").write_text(json.dumps(tasks))


@pytest.mark.parametrize(
    "image",
    [
        "/data/local-files/?d=some/a.jpg",
        "/data/upload/1/0a1b2c3d-a.jpg",
        "s3://bucket/some/a.jpg",
        "https://host/some/a.jpg?token=4",
    ],
)
def test_pictures_are_found_by_any_address(tmp_path: Path, image: str) -> None:
    write(tmp_path, [task(image, {"type": "choices", "value": {"choices": ["fox"]}})])
    shown = {one.path.name: one.labels for one in look(tmp_path).pictures}
    assert shown == {"a.jpg": ("fox",)}


def test_labels_of_any_shape_are_read_and_others_counted(tmp_path: Path) -> None:
    points = [[0, 0], [50, 0], [50, 50]]
    write(
        tmp_path,
        [
            task(
                "a.jpg",
                {"type": "polygon", "value": {"points": points}},
                {"type": "labels", "value": {"points": points, "labels": ["fox"]}},
            ),
            task("b.jpg", {"type": "taxonomy", "value": {"taxonomy": [["animals", "fox"]]}}),
        ],
    )
    found = look(tmp_path)
    (picture,) = found.pictures
    assert picture.labels == ("fox",)
    assert picture.draw is not None
    assert any("1 result of the kind taxonomy" in note for note in found.notes)
    assert any("1 task with nothing but such results" in note for note in found.notes)


def test_columns_that_may_hold_labels_or_not_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [{"image": "a.jpg", "title": "hello", "choice": "fox", **FLAT}])
    with pytest.raises(Ws3Error, match="which of the columns choice, title hold labels"):
        look(tmp_path)
    (tmp_path / "x.json").unlink()
    (tmp_path / "x.csv").write_text(
        "annotation_id,annotator,choice,image,lead_time,width\n1,1,fox,a.jpg,2,640\n"
    )
    with pytest.raises(Ws3Error, match="which of the columns choice, width hold labels"):
        look(tmp_path)


def test_two_columns_of_choices_as_such_are_labels(tmp_path: Path) -> None:
    some = {"sky": {"choices": ["blue", "gray"]}, "animal": {"choices": ["fox", "owl"]}}
    write(tmp_path, [{"image": "a.jpg", **some, **FLAT}])
    (picture,) = look(tmp_path).pictures
    assert set(picture.labels) == {"blue", "gray", "fox", "owl"}


def test_two_exports_in_a_folder_are_refused_and_one_may_be_named(tmp_path: Path) -> None:
    write(tmp_path, [task("a.jpg", {"value": {"choices": ["fox"]}})])
    (tmp_path / "y.json").write_text((tmp_path / "x.json").read_text())
    with pytest.raises(Ws3Error, match="name the file that is meant"):
        look(tmp_path)
    assert look(tmp_path / "y.json").pictures[0].labels == ("fox",)
