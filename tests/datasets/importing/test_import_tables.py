"""Tables of labels in the forms that people and tools write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from import_trees import CLASSES, LABELS, drawn, expected, labels_of, true_mask, write_gray
from import_trees import write_pictures as pictures

from ws3.datasets.importing.look import look
from ws3.errors import Ws3Error


def table(root: Path, text: str, name: str = "data.csv") -> Path:
    pictures(root / "pictures")
    (root / name).write_text(text, encoding="utf-8")
    return root


def rows(join: str, header: str = "image,labels") -> str:
    lines = [f'{name},"{join.join(labels)}"' for name, labels in LABELS.items()]
    return "\n".join([header, *lines]) + "\n"


def one_hot(yes: str = "1", no: str = "0", separator: str = ",") -> str:
    cells = [[yes if one in labels else no for one in CLASSES] for labels in LABELS.values()]
    lines = [separator.join([n, *c]) for n, c in zip(LABELS, cells, strict=True)]
    return "\n".join([separator.join(["filename", *CLASSES]), *lines])


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def lists(write: object) -> str:
    assert callable(write)
    lines = [f"{name},{quoted(write(list(labels)))}" for name, labels in LABELS.items()]
    return "\n".join(["file,tags", *lines])


TABLES = {
    "semicolons": rows(";"),
    "commas in quotes": rows(","),
    "commas and blanks": rows(", "),
    "bars": rows("|"),
    "line breaks in cells": rows("\n"),
    "blanks": rows(" ", "image_name,tags"),
    "capitals": rows(";", "Image,Labels"),
    "other names": rows(";", "path,category"),
    "a column more": "id,annotator,image,labels\n"
    + "".join(f"{i},me,{n},{';'.join(x)}\n" for i, (n, x) in enumerate(LABELS.items())),
    "an index of pandas": ",image,labels\n"
    + "".join(f"{i},{n},{';'.join(x)}\n" for i, (n, x) in enumerate(LABELS.items())),
    "semicolons between columns": "image;labels\n"
    + "".join(f"{n};{','.join(x)}\n" for n, x in LABELS.items()),
    "tabs": "image\tlabels\n" + "".join(f"{n}\t{','.join(x)}\n" for n, x in LABELS.items()),
    "a byte order mark": "\ufeff" + rows(";").replace("\n", "\r\n"),
    "lists of Python": lists(repr),
    "lists of JSON": lists(json.dumps),
    "lists of numpy": lists(lambda labels: str(np.array(labels, dtype=str))),
    "choices": lists(lambda labels: json.dumps({"choices": labels})),
    "a hospital's": "Image Index,Finding Labels,Follow-up #,Patient Age\n"
    + "".join(
        f"{n},{'|'.join(x) or 'No Finding'},{i},5\n" for i, (n, x) in enumerate(LABELS.items())
    ),
    "nan": rows(";").replace('b05.png,""', "b05.png,nan"),
    "one-hot": one_hot(),
    "one-hot in words": one_hot("True", "False"),
    "one-hot in floats": one_hot("1.0", "0.0", ";"),
    "one-hot with blanks": one_hot(" 1", " 0"),
    "ids without endings": rows(";").replace(".jpg", "").replace(".JPG", "").replace(".png", ""),
    "paths of another machine": "".join(
        f"C:\\data\\pictures\\{line}\n" if i else f"{line}\n"
        for i, line in enumerate(rows(";").splitlines())
    ),
    "no header": "".join(f"{n},{';'.join(x)}\n" for n, x in LABELS.items()),
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES.keys())
def test_a_table_is_read(tmp_path: Path, text: str) -> None:
    found = look(table(tmp_path, text))
    assert labels_of(found) == expected()
    assert set(found.classes) == set(CLASSES)
    assert "table" in found.kind
    assert "data.csv" in found.reason


def test_a_row_per_label_is_joined_and_unnamed_pictures_are_counted(tmp_path: Path) -> None:
    lines = [f"{name},{label}" for name, labels in LABELS.items() for label in labels]
    found = look(table(tmp_path, "\n".join(["image,label", *lines])))
    named = [name for name, labels in LABELS.items() if labels]
    assert labels_of(found) == expected(named)
    assert "1 picture there, but not named, left out: pictures/b05.png" in found.notes


def test_class_names_with_blanks_stay_whole(tmp_path: Path) -> None:
    text = "image,labels\na01.jpg,Red Fox\na02.jpg,traffic light\nb06.JPG,old oak tree\n"
    assert set(look(table(tmp_path, text)).classes) == {"Red Fox", "traffic light", "old oak tree"}


def test_words_that_come_together_in_many_ways_are_labels(tmp_path: Path) -> None:
    cells = ["haze primary", "clear primary", "clear primary water", "haze water", "clear road",
             "haze road water"]  # fmt: skip
    lines = [f"{name},{cell}" for name, cell in zip(LABELS, cells, strict=True)]
    found = look(table(tmp_path, "\n".join(["image_name,tags", *lines])))
    assert set(found.classes) == {"haze", "primary", "clear", "water", "road"}
    assert any("taken for several labels" in note for note in found.notes)


def test_names_in_two_spellings_are_joined_and_named(tmp_path: Path) -> None:
    found = look(table(tmp_path, "image,labels\na01.jpg,Tree\na02.jpg,tree\nb06.JPG,TREE;fox\n"))
    assert labels_of(found)["b06.JPG"] == ("Tree", "fox")
    assert any("'tree' for 'Tree'" in note and "'TREE'" in note for note in found.notes)


def test_numbers_are_named_by_a_class_file(tmp_path: Path) -> None:
    text = rows(";")
    for number, name in enumerate(CLASSES):
        text = text.replace(name, str(number))
    root = table(tmp_path, text)
    assert any("numbers (0 to 2) that nothing names" in note for note in look(root).notes)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    assert labels_of(look(root)) == expected()


@pytest.mark.parametrize("column", ["split", "set", "Subset"])
def test_a_column_tells_the_splits(tmp_path: Path, column: str) -> None:
    text = f"image,labels,{column}\na01.jpg,Tree,train\na02.jpg,Tree,valid\nb06.JPG,fox,test\n"
    found = look(table(tmp_path, text))
    assert {p.path.name: p.split for p in found.pictures} == {
        "a01.jpg": "train",
        "a02.jpg": "val",
        "b06.JPG": "test",
    }


def test_a_table_per_split_as_roboflow_writes_them(tmp_path: Path) -> None:
    for split, names in (("train", list(LABELS)[:4]), ("valid", list(LABELS)[4:])):
        pictures(tmp_path / split, names)
        lines = [
            ", ".join([name, *("1" if one in LABELS[name] else "0" for one in CLASSES)])
            for name in names
        ]
        head = ", ".join(["filename", *CLASSES])
        (tmp_path / split / "_classes.csv").write_text("\n".join([head, *lines]))
    found = look(tmp_path)
    assert labels_of(found) == expected()
    assert [p.split for p in found.pictures] == ["train"] * 4 + ["val"] * 2


def test_lists_beside_the_table_tell_the_splits(tmp_path: Path) -> None:
    root = table(tmp_path, rows(";"))
    (root / "train.txt").write_text("./images/train/a01.jpg\na02.jpg\n")
    (root / "val.txt").write_text("b.v2\nb06.JPG\n")
    splits = {p.path.name: p.split for p in look(root).pictures}
    assert (splits["a01.jpg"], splits["b.v2.jpg"], splits["b06.JPG"]) == ("train", "val", "val")


def test_of_several_tables_one_must_be_named(tmp_path: Path) -> None:
    root = table(tmp_path, rows(";"))
    table(tmp_path, one_hot(), "other.csv")
    with pytest.raises(Ws3Error, match=r"2 tables could hold the labels \(data.csv, other.csv\)"):
        look(root)
    assert labels_of(look(root / "other.csv")) == expected()


def test_pictures_elsewhere_are_asked_for_and_found(tmp_path: Path) -> None:
    pictures(tmp_path / "elsewhere")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "data.csv").write_text(rows(";"))
    with pytest.raises(Ws3Error, match=r"none of the 6 pictures .*--images"):
        look(tmp_path / "t")
    assert labels_of(look(tmp_path / "t", tmp_path / "elsewhere")) == expected()


def test_a_table_of_scores_is_refused(tmp_path: Path) -> None:
    root = table(tmp_path, "image,fox,tree\na01.jpg,0.7,0.1\na02.jpg,0.2,0.9\n")
    with pytest.raises(Ws3Error, match="none is called labels"):
        look(root)


def test_masks_beside_a_table_get_their_classes_from_the_labels(tmp_path: Path) -> None:
    root = table(tmp_path, rows(";"))
    for name in LABELS:
        write_gray(root / "masks" / f"{name.rpartition('.')[0]}.png", true_mask(name))
    found = look(root)
    assert labels_of(found) == expected()
    for name in LABELS:
        assert (drawn(found, name) == true_mask(name)).all()
    assert any("1 Red Fox" in note or "told by the labels" in note for note in found.notes)


def test_masks_that_contradict_the_labels_are_not_taken(tmp_path: Path) -> None:
    root = table(tmp_path, rows(";"))
    for name in LABELS:
        # As labelme numbers them: from 1 in each picture.
        write_gray(root / "masks" / f"{name.rpartition('.')[0]}.png", true_mask(name).clip(0, 1))
    found = look(root)
    assert all(picture.draw is None for picture in found.pictures)
    assert any("contradict the labels" in note for note in found.notes)


def test_a_pickled_array_is_not_loaded(tmp_path: Path) -> None:
    pictures(tmp_path)
    # Only the name matters: the file isn't opened.
    (tmp_path / "cls_labels.npy").write_bytes(b"no array")
    with pytest.raises(Ws3Error, match=r"cls_labels.npy may hold labels, but as Python objects"):
        look(tmp_path)


@pytest.mark.parametrize("content", ["{", '{"shapes": [', "\xff"])
def test_a_broken_json_file_beside_a_table_is_named_and_left_out(
    tmp_path: Path, content: str
) -> None:
    root = table(tmp_path, rows(";"))
    (root / "notes.json").write_bytes(content.encode("latin-1"))
    found = look(root)
    assert found.kind == "a table of labels"
    assert labels_of(found) == expected()
    (note,) = (note for note in found.notes if "notes.json" in note)
    assert note.startswith("left out: ")


@pytest.mark.parametrize("name", ["a01.json", "z99.json"])
def test_a_broken_json_file_among_those_of_labelme_is_an_error(tmp_path: Path, name: str) -> None:
    root = table(tmp_path, rows(";"))
    page = {"imagePath": "m.jpg", "flags": {"cat": True}, "shapes": []}
    (root / "m.json").write_text(json.dumps(page))
    (root / name).write_text("{")
    with pytest.raises(Ws3Error, match=rf"{name}: no valid JSON"):
        look(root)


def test_folders_beside_a_broken_json_file_are_not_taken_for_classes(tmp_path: Path) -> None:
    pictures(tmp_path / "cat")
    pictures(tmp_path / "dog")
    assert look(tmp_path).kind == "a folder per class"
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(Ws3Error, match=r"labels.json: no valid JSON"):
        look(tmp_path)
