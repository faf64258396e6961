"""What all readers share: files of a tree read with clear errors, and pictures gathered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from ws3.datasets.importing.found import SPLIT_NAMES, Draw, Found, Picture, Split
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.messages import reason, shortened
from ws3.outside import ANNOTATION_BYTES, TEXT_BYTES, read_regular

BACKGROUND = {"background", "_background_", "__background__", "bg", "_bg_"}
"""Names, in small letters, that tools give to the mask value 0."""

NO_LABEL = {"", "nan", "none", "null", "no_label", "_unlabeled", "unlabeled", "unlabelled"}
"""Texts, in small letters, that tools write where there is no label."""


def is_background(name: str) -> bool:
    """Return whether a class name means the background.

    Example:
        >>> is_background("_background_"), is_background("Tree")
        (True, False)
    """
    return name.strip().lower() in BACKGROUND


def split_of(name: str) -> Split | None:
    """Return the split that a file's path tells by its folders, or by its own name.

    Example:
        >>> split_of("valid/_annotations.coco.json"), split_of("annotations/instances_train.json")
        ('val', 'train')
    """
    path = PurePosixPath(name)
    for part in reversed(path.parts[:-1]):
        if part.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[part.lower()]
    words = path.stem.lower().replace("-", "_").replace(".", "_").split("_")
    for word in (*reversed(words), path.stem.lower()):
        bare = word.rstrip("0123456789")  # train2017
        if bare in SPLIT_NAMES:
            return SPLIT_NAMES[bare]
    return None


def read_text(tree: Tree, name: str, limit: int = TEXT_BYTES) -> str:
    """Return a UTF-8 file of the tree as text.

    Raises:
        Ws3Error: If it can't be read.
    """
    path = tree.path(name)
    try:
        return read_regular(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Ws3Error(f"{path}: not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise Ws3Error(f"{path}: {reason(error)}") from error


def read_json(tree: Tree, name: str) -> Any:
    """Return a JSON file of the tree.

    Raises:
        Ws3Error: If it can't be read, or is no JSON.
    """
    try:
        return json.loads(read_text(tree, name))
    except (ValueError, RecursionError) as error:
        raise Ws3Error(f"{tree.path(name)}: no valid JSON ({reason(error)})") from error


def read_xml(tree: Tree, name: str, limit: int = ANNOTATION_BYTES) -> Element:
    """Return the root element of an XML file of the tree.

    Raises:
        Ws3Error: If it can't be read, or is no XML.
    """
    from ws3.datasets.xml_files import parse_xml

    return parse_xml(tree.path(name), limit)


@dataclass
class Gathering:
    """Pictures as a reader meets them: looked up, joined and counted.

    A picture that is met again gets the labels of both places.

    Attributes:
        tree: Where they lie.
        source: What names them, for messages: a file or folder.
        notes: What users should know.
    """

    tree: Tree
    source: str
    notes: list[str] = field(default_factory=list)
    _pictures: dict[str, Picture] = field(default_factory=dict)
    _missing: list[str] = field(default_factory=list)

    def add(
        self,
        reference: str,
        labels: Iterable[str],
        split: Split | None = None,
        draw: Draw | None = None,
        beside: str = "",
    ) -> None:
        """Take in a picture; one that isn't found is counted.

        Args:
            reference: A path, a name or an id; see `Tree.find`.
            labels: Names of the classes that it shows.
            split: Where the tool put it.
            draw: Draws its mask.
            beside: Name of the file that holds the reference.
        """
        path = self.tree.find(reference, beside)
        if path is None:
            self._missing.append(reference)
            return
        before = self._pictures.get(str(path))
        joined = dict.fromkeys((*(before.labels if before else ()), *labels))
        self._pictures[str(path)] = Picture(
            path,
            tuple(joined),
            before.split if before and before.split else split,
            before.draw if before and before.draw else draw,
        )

    def found(self, kind: str, reason: str, classes: Iterable[str]) -> Found:
        """Return all that was gathered.

        Raises:
            Ws3Error: If none of the pictures was found.
        """
        names = tuple(dict.fromkeys(classes))
        first = ", ".join(shortened(name, 80) for name in self._missing[:3])
        if not self._pictures and self._missing:
            raise Ws3Error(
                f"{self.source}: none of the {len(self._missing)} pictures that it names is there "
                f"(first: {first}); give their folder with --images"
            )
        notes = list(self.notes)
        if self._missing:
            notes.append(
                f"{len(self._missing)} pictures are named, but not there: {first}"
                f"{' ...' if len(self._missing) > 3 else ''}"
            )
        return Found(kind, reason, names, tuple(self._pictures.values()), tuple(notes))


def class_values(classes: Iterable[str]) -> Mapping[str, int]:
    """Return the mask value of each class.

    Example:
        >>> class_values(["cat", "dog"])
        {'cat': 1, 'dog': 2}
    """
    return {name: value for value, name in enumerate(classes, start=1)}
