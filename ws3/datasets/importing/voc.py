"""Trees in the form of Pascal VOC, with classes of one's own, as many tools write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ws3.datasets.importing import tables
from ws3.datasets.importing.found import SPLIT_NAMES, Draw, Found, Picture, Split
from ws3.datasets.importing.mask_files import class_list, explained
from ws3.datasets.importing.reading import Gathering, counted, read_text, read_xml
from ws3.datasets.importing.tree import Tree
from ws3.datasets.masks import Colors, read_label_mask, values_of
from ws3.datasets.names import is_background, without_suffix
from ws3.datasets.voc import CLASSES
from ws3.datasets.xml_files import object_names
from ws3.errors import Ws3Error
from ws3.labels import IGNORED, voc_palette
from ws3.messages import shown

_VOID = (224, 224, 192)
_XML_FOLDERS = ("annotations", "labels")
_IGNORED_NAMES = ("ignored", "ignore", "void", "unlabeled", "unlabelled")


def read(tree: Tree) -> Found | None:
    """Read annotations in VOC's XML, lists of ImageSets, and masks of SegmentationClass.

    Labels are those of the XML files; where there is none, of the lists of each class in
    `ImageSets/Main`, or else of the masks.

    Raises:
        Ws3Error: If a file is malformed, or nothing tells labels.
    """
    files = _Files.of(tree)
    if files is None:
        return None
    if not files.xmls and not files.class_lists and "labels.csv" in tree.files:
        found = tables.read(tree)  # somebody wrote it by hand: it tells more than masks do
        return found and _with_splits(found, files)
    gathered = Gathering(tree, str(tree.root))
    objects = {name: _objects(tree, name) for name in files.xmls}
    if files.xmls and not any(objects.values()):
        raise Ws3Error(
            f"{tree.root}: none of its {len(objects)} annotations (such as {files.xmls[0]}) holds "
            "an object; the tool that wrote them may have left out what isn't a box"
        )
    labels, how = _labels(tree, files, objects)
    classes = _class_order(files, labels, gathered.notes)
    _gather(tree, files, labels, classes, gathered)
    found = gathered.found("Pascal VOC", how, classes)
    if not files.masks or not (objects or files.class_lists):
        return found
    # The labels tell whether masks are numbered, or coloured, as the list of classes says. Without
    # a list nothing else tells it.
    palette = _palette_colors()
    codings = (files.colors[1], None, palette) if files.names else (None, palette)
    ordered = bool(files.names) or found.classes == CLASSES
    stems = (without_suffix(picture.path.name) for picture in found.pictures)
    masks = {number: files.masks[stem] for number, stem in enumerate(stems) if stem in files.masks}
    pictures, notes = explained(
        tree, found.pictures, masks, found.classes, codings, ordered=ordered
    )
    return replace(found, pictures=pictures, notes=(*found.notes, *notes))


@dataclass
class _Files:
    """What of VOC's tree there is.

    Attributes:
        xmls: Annotation files.
        lists: Ids of each split.
        class_lists: For each class, the ids that show it (True) or don't.
        masks: Mask files by picture's stem.
        names: Class names of labelmap.txt, and their colours where it tells them; else those of
            a list of classes such as classes.txt.
    """

    xmls: list[str] = field(default_factory=list)
    lists: dict[Split, list[str]] = field(default_factory=dict)
    class_lists: dict[str, dict[str, bool]] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    names: dict[str, tuple[int, int, int] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Tree) -> _Files | None:
        found = cls()
        for name in tree.texts(".xml"):
            folder = PurePosixPath(name).parent.name.lower()
            if folder in _XML_FOLDERS:
                found.xmls.append(name)
        # One look tells VOC's XML from others'.
        if found.xmls and not _is_voc(tree, found.xmls[0]):
            return None
        if tree.named is not None:
            return found if found.xmls else None
        lists = [name for name in tree.files if "ImageSets/" in name and name.endswith(".txt")]
        for name in sorted(lists, key=lambda one: "/Main/" not in one):
            found._read_list(tree, name)
        for name in tree.files:
            path = PurePosixPath(name)
            if path.parent.name == "SegmentationClass" and path.suffix.lower() == ".png":
                found.masks[path.stem] = tree.path(name)
            elif path.name == "labelmap.txt":
                found._read_labelmap(tree, name)
        if not found.names and (listed := class_list(tree)):
            found.names = dict.fromkeys(listed[1])
        return found if found.xmls or (lists and (found.class_lists or found.masks)) else None

    def _read_list(self, tree: Tree, name: str) -> None:
        path = PurePosixPath(name)
        if path.parent.name not in ("Main", "Segmentation", "SegmentationAug"):
            return
        lines = [line.split() for line in read_text(tree, name).splitlines() if line.strip()]
        label, _, split = path.stem.rpartition("_")
        if path.stem in SPLIT_NAMES:
            ids = self.lists.setdefault(SPLIT_NAMES[path.stem], [])
            known = set(ids)
            # A name may hold blanks, so a line is one id, unless it is two paths.
            entries = (" ".join(line) if "/" not in line[0] else line[0] for line in lines)
            ids += (entry for entry in entries if entry not in known)
        elif label and split in (*SPLIT_NAMES, "trainval") and not is_background(label):
            told = self.class_lists.setdefault(label, {})
            for *words, value in lines:
                told[" ".join(words)] = value == "1"

    def _read_labelmap(self, tree: Tree, name: str) -> None:
        for line in read_text(tree, name).splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            label, _, rest = line.partition(":")
            numbers = rest.split(":")[0].split(",")
            color = None
            if len(numbers) == 3 and all(number.strip().isdecimal() for number in numbers):
                red, green, blue = (int(number) for number in numbers)
                color = (red, green, blue)
            self.names[label.strip()] = color

    @cached_property
    def splits(self) -> dict[str, Split]:
        """The split of each picture that a list names, by its stem."""
        ids = {without_suffix(one): split for split, some in self.lists.items() for one in some}
        return {without_suffix(PurePosixPath(one).name): split for one, split in ids.items()}

    @cached_property
    def colors(self) -> tuple[tuple[str, ...], Colors]:
        """Names in order of the masks' values, from 1, and the value of each colour."""
        palette = voc_palette()
        names = [
            name
            for name in self.names
            if not is_background(name) and name.lower() not in _IGNORED_NAMES
        ]
        values = {name: value for value, name in enumerate(names, start=1)}
        table: dict[tuple[int, int, int], int] = {(0, 0, 0): 0, _VOID: IGNORED}
        for name, color in self.names.items():
            value = values.get(name, 0 if is_background(name) else IGNORED)
            red, green, blue = palette[3 * value : 3 * value + 3]
            table[color or (red, green, blue)] = value
        return tuple(names), table


def _with_splits(found: Found, files: _Files) -> Found:
    def split(picture: Picture) -> Split | None:
        return picture.split or files.splits.get(without_suffix(picture.path.name))

    pictures = tuple(replace(picture, split=split(picture)) for picture in found.pictures)
    return replace(found, pictures=pictures)


def _is_voc(tree: Tree, name: str) -> bool:
    root = read_xml(tree, name)
    # MIT's LabelMe writes <annotation>, too, with an <id> and a <deleted> for each object.
    return root.tag == "annotation" and root.find("object/deleted") is None


def _objects(tree: Tree, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, object_names(read_xml(tree, name)))))


def _picture_of(tree: Tree, name: str) -> str:
    """Return what an annotation calls its picture: beside it, the file of its own stem."""
    stem = PurePosixPath(name).stem
    if tree.find(stem, name) is not None:
        return stem
    return (read_xml(tree, name).findtext("filename") or stem).strip()


def _labels(
    tree: Tree, files: _Files, objects: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return the labels by what a picture is called, and how they were told."""
    if objects:
        named = {_picture_of(tree, name): labels for name, labels in objects.items()}
        return named, f"{files.xmls[0]} and others are VOC's annotations"
    if files.class_lists:
        ids = dict.fromkeys(one for told in files.class_lists.values() for one in told)
        labels = {
            one: tuple(name for name, told in files.class_lists.items() if told.get(one))
            for one in ids
        }
        return labels, f"ImageSets/Main has a list for each of {len(files.class_lists)} classes"
    if not files.names:
        raise Ws3Error(
            f"{tree.root}: has masks in SegmentationClass, but neither annotations nor "
            "labelmap.txt, so nothing names the classes; add a file classes.txt with one class per "
            "line, in the order of the masks' values"
        )
    names, colors = files.colors
    labels = {}
    for stem, path in files.masks.items():
        values = values_of(_decoded(path, colors))
        labels[stem] = tuple(names[value - 1] for value in values if 0 < value <= len(names))
    return labels, "the masks in SegmentationClass hold classes that a list names"


def _decoded(path: Path, colors: Colors) -> npt.NDArray[np.uint8]:
    return read_label_mask(path, "colors", colors)


def _class_order(
    files: _Files, labels: Mapping[str, tuple[str, ...]], notes: list[str]
) -> tuple[str, ...]:
    found = dict.fromkeys(name for some in labels.values() for name in some)
    if files.names:
        order = files.colors[0]
        more = [name for name in found if name not in order]
        if more:
            notes.append(f"the list of classes lacks {', '.join(map(shown, more[:3]))}")
        return (*order, *sorted(more))
    if found.keys() <= set(CLASSES) and len(found) > 1:
        return CLASSES
    return tuple(sorted(found))


def _gather(
    tree: Tree,
    files: _Files,
    labels: Mapping[str, tuple[str, ...]],
    classes: Sequence[str],
    gathered: Gathering,
) -> None:
    listed = files.splits
    beside = files.xmls[0] if files.xmls else ""
    silent = []
    for name, some in labels.items():
        stem = without_suffix(PurePosixPath(name).name)
        draw = None if files.xmls or files.class_lists else _draw(files, stem, classes)
        gathered.add(name, some, listed.get(stem), draw, beside)
    done = {without_suffix(PurePosixPath(name).name) for name in labels}
    for stem, split in listed.items():
        if stem in done:
            continue
        silent.append(stem)
        # A list names it, and the tool wrote no annotation: it has no object.
        if files.xmls or files.class_lists:
            gathered.add(stem, (), split, None, beside)
    if silent and (files.xmls or files.class_lists):
        gathered.notes.append(
            f"{counted(len(silent), 'picture')} in the lists without an annotation: taken to show "
            "none of the classes"
        )
    elif silent:
        gathered.notes.append(
            f"{counted(len(silent), 'picture')} in the lists without mask and annotation: left "
            "out, as nothing tells what they show"
        )


def _draw(files: _Files, stem: str, classes: Sequence[str]) -> Draw | None:
    path = files.masks.get(stem)
    if path is None:
        return None
    names, colors = files.colors

    def draw(height: int, width: int) -> npt.NDArray[np.uint8]:
        mask = _decoded(path, colors)
        if mask.shape != (height, width):
            raise Ws3Error(
                f"{path}: {mask.shape[1]} x {mask.shape[0]} pixels, but the picture has "
                f"{width} x {height}"
            )
        table = np.zeros(256, np.uint8)
        table[IGNORED] = IGNORED
        for value, name in enumerate(names, start=1):
            table[value] = classes.index(name) + 1
        return table[mask]

    return draw


def _palette_colors() -> Colors:
    palette = voc_palette()
    return {
        (palette[3 * value], palette[3 * value + 1], palette[3 * value + 2]): value
        for value in range(256)
    }
