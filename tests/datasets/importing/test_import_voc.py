"""Trees in VOC's form whose masks no labelmap.txt explains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from import_trees import CLASSES, LABELS, drawn, expected, labels_of, true_mask, write_pictures
from PIL import Image

from ws3.datasets.importing.look import look
from ws3.datasets.voc import CLASSES as PASCAL
from ws3.errors import Ws3Error
from ws3.labels import voc_palette

OWN = {name: name for name in CLASSES}


def tree(
    root: Path,
    save: Callable[[npt.NDArray[np.uint8], Path], None],
    names: Mapping[str, str] = OWN,
    values: tuple[int, ...] = (1, 2, 3),
) -> None:
    """Write a tree with XML files, and masks of these values in the order of `CLASSES`."""
    write_pictures(root / "JPEGImages")
    for folder in ("Annotations", "SegmentationClass"):
        (root / folder).mkdir()
    table = np.array([0, *values], np.uint8)
    for name, labels in LABELS.items():
        stem = name.rpartition(".")[0]
        objects = "".join(f"<object><name>{names[one]}</name></object>" for one in labels)
        xml = f"<annotation><filename>{name}</filename>{objects}</annotation>"
        (root / "Annotations" / f"{stem}.xml").write_text(xml)
        save(table[true_mask(name)], root / "SegmentationClass" / f"{stem}.png")


def gray(mask: npt.NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(mask).save(path)


def indexed(mask: npt.NDArray[np.uint8], path: Path) -> None:
    image = Image.fromarray(mask)
    image.putpalette(voc_palette())
    image.save(path)


def colored(mask: npt.NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(np.array(list(voc_palette()), np.uint8).reshape(256, 3)[mask]).save(path)


@pytest.mark.parametrize("save", [gray, indexed, colored])
def test_labels_tell_what_the_values_of_masks_mean(
    tmp_path: Path, save: Callable[[npt.NDArray[np.uint8], Path], None]
) -> None:
    tree(tmp_path, save)
    for folder in ("SegmentationClassAug", "SegmentationObject"):  # other masks of these pictures
        (tmp_path / folder).mkdir()
        gray(true_mask("b05.png"), tmp_path / folder / "a01.png")
    found = look(tmp_path)
    # Without a list the classes are sorted, and capitals come first.
    assert found.classes == ("Red Fox", "Tree", "traffic light")
    assert labels_of(found) == expected()
    for name in LABELS:
        assert (drawn(found, name) == true_mask(name)).all()
    assert any("1 Red Fox, 2 traffic light, 3 Tree" in note for note in found.notes)


@pytest.mark.parametrize("first", ["background\n", ""])
def test_a_list_of_classes_tells_what_the_values_mean(tmp_path: Path, first: str) -> None:
    tree(tmp_path, gray)
    (tmp_path / "classes.txt").write_text(first + "\n".join(CLASSES))
    found = look(tmp_path)
    assert found.classes == CLASSES
    for name in LABELS:
        assert (drawn(found, name) == true_mask(name)).all()


@pytest.mark.parametrize("save", [gray, indexed])
def test_a_list_in_another_order_than_the_masks_doesnt_swap_them(
    tmp_path: Path, save: Callable[[npt.NDArray[np.uint8], Path], None]
) -> None:
    tree(tmp_path, save)
    (tmp_path / "classes.txt").write_text("\n".join(sorted(CLASSES)))
    found = look(tmp_path)
    assert found.classes == tuple(sorted(CLASSES))
    for name in LABELS:
        assert (drawn(found, name) == true_mask(name)).all()
    assert any("told by the labels" in note for note in found.notes)


def test_colours_of_labelmap_count_and_not_the_indices_of_a_palette(tmp_path: Path) -> None:
    def own_palette(mask: npt.NDArray[np.uint8], path: Path) -> None:
        image = Image.fromarray(np.array([0, 3, 1, 2], np.uint8)[mask])
        image.putpalette([0, 0, 0, 0, 0, 9, 0, 9, 0, 9, 0, 0])
        image.save(path)

    tree(tmp_path, own_palette)
    colors = zip(CLASSES, ("9,0,0", "0,0,9", "0,9,0"), strict=True)
    lines = ["background:0,0,0::", *(f"{name}:{color}::" for name, color in colors)]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    found = look(tmp_path)
    assert found.classes == CLASSES
    for name in LABELS:
        assert (drawn(found, name) == true_mask(name)).all()


def test_values_that_the_labels_contradict_are_no_masks(tmp_path: Path) -> None:
    tree(tmp_path, gray)
    gray(true_mask("a02.jpg"), tmp_path / "SegmentationClass" / "a01.png")
    found = look(tmp_path)
    assert labels_of(found) == expected()
    assert all(picture.draw is None for picture in found.pictures)
    assert any("contradict the labels" in note for note in found.notes)


PETS = dict(zip(CLASSES, ("cat", "dog", "bird"), strict=True))


@pytest.mark.parametrize("values", [tuple(PASCAL.index(x) + 1 for x in PETS.values()), (1, 2, 3)])
def test_names_of_pascal_have_its_numbers_unless_the_labels_say_others(
    tmp_path: Path, values: tuple[int, ...]
) -> None:
    tree(tmp_path, indexed, PETS, values)
    found = look(tmp_path)
    assert found.classes == PASCAL
    table = np.array([0, *(PASCAL.index(one) + 1 for one in PETS.values())], np.uint8)
    for picture in found.pictures:
        assert picture.draw is not None
        truth = table[true_mask(picture.path.name)]
        assert (picture.draw(*truth.shape) == truth).all()
    how = "told by the labels: 1 cat, 2 dog, 3 bird" if values[0] == 1 else "order of the classes"
    assert any(how in note for note in found.notes)


def test_masks_alone_are_named_by_a_list_or_refused(tmp_path: Path) -> None:
    tree(tmp_path, colored)
    for file in (tmp_path / "Annotations").iterdir():
        file.unlink()
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    lines = [name.rpartition(".")[0] for name in LABELS]
    (tmp_path / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(lines))
    with pytest.raises(Ws3Error, match=r"nothing names the classes; add a file classes\.txt"):
        look(tmp_path)
    (tmp_path / "classes.txt").write_text("\n".join(("background", *CLASSES)))
    found = look(tmp_path)
    assert labels_of(found) == expected()
    for name in LABELS:
        assert (drawn(found, name) == true_mask(name)).all()


def test_a_table_beside_masks_tells_the_labels_and_lists_the_splits(tmp_path: Path) -> None:
    tree(tmp_path, gray)
    for file in (tmp_path / "Annotations").iterdir():
        file.unlink()
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, names in (("train", list(LABELS)[:4]), ("val", list(LABELS)[4:])):
        lines = "\n".join(name.rpartition(".")[0] for name in names)
        (tmp_path / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(lines)
    rows = [f"{name},{';'.join(labels)}" for name, labels in LABELS.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    found = look(tmp_path)
    assert labels_of(found) == expected()
    for name in LABELS:
        assert (drawn(found, name) == true_mask(name)).all()
    splits = {picture.path.name: picture.split for picture in found.pictures}
    assert splits == {name: "train" if n < 4 else "val" for n, name in enumerate(LABELS)}
