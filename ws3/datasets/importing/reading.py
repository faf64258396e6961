"""What all readers share: files of a tree read with clear errors, and pictures gathered."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from ws3.datasets.importing.found import SPLIT_NAMES, Draw, Found, Picture, Split
from ws3.datasets.importing.tree import Tree, is_mask_folder
from ws3.errors import Ws3Error
from ws3.messages import reason, shortened
from ws3.outside import ANNOTATION_BYTES, TEXT_BYTES, read_regular

NO_LABEL = {
    *("", "nan", "none", "null", "no_label", "_unlabeled", "unlabeled", "unlabelled"),
    *("no label", "no finding", "no findings"),
}
"""Texts, in small letters, that tools write where there is no label."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> counted(1, "picture"), counted(3, "picture")
        ('1 picture', '3 pictures')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def split_of(name: str) -> Split | None:
    """Return the split that a file's path tells by its folders, or by its own name.

    Example:
        >>> split_of("valid/_annotations.coco.json"), split_of("annotations/instances_train.json")
        ('val', 'train')
    """
    path = PurePosixPath(name)
    by_folder = split_of_folders(name)
    if by_folder is not None:
        return by_folder
    words = path.stem.lower().replace("-", "_").replace(".", "_").split("_")
    for word in (*reversed(words), path.stem.lower()):
        bare = word.rstrip("0123456789")  # train2017
        if bare in SPLIT_NAMES:
            return SPLIT_NAMES[bare]
    return None


def split_of_folders(name: str) -> Split | None:
    """Return the split that a file's folders tell, the innermost first.

    Example:
        >>> split_of_folders("images/validation/train_0001.jpg")
        'val'
    """
    for part in reversed(PurePosixPath(name).parts[:-1]):
        if part.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[part.lower()]
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
        raise Ws3Error(
            f"{tree.path(name)}: no valid JSON ({reason(error)}); mend it, or take it away"
        ) from error


def look_at_json(tree: Tree, name: str) -> Any:
    """Return a JSON file of the tree that may be anybody's; None if it can't be read.

    What is wrong with it is kept in `Tree.broken`.
    """
    try:
        return read_json(tree, name)
    except Ws3Error as error:
        tree.broken[name] = error
        return None


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
            split: Where the tool put it; None: what its folders tell.
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
            before.split if before and before.split else split or self._split_of(path),
            before.draw if before and before.draw else draw,
        )

    def _joined(self, classes: Iterable[str]) -> tuple[str, ...]:
        """Join classes whose names differ in capitals alone, as the one that comes first."""
        first: dict[str, str] = {}
        for picture in self._pictures.values():
            for label in picture.labels:
                first.setdefault(label.casefold(), label)
        renamed = {name: first.get(name.casefold(), name) for name in classes}
        odd = [f"{name!r} for {one!r}" for name, one in renamed.items() if name != one]
        if odd:
            self.notes.append(f"names that differ in capitals alone are joined: {', '.join(odd)}")
            self._pictures = {
                key: replace(
                    picture, labels=tuple(dict.fromkeys(renamed.get(x, x) for x in picture.labels))
                )
                for key, picture in self._pictures.items()
            }
        return tuple(dict.fromkeys(renamed.values()))

    def _unnamed(self) -> list[str]:
        """Return the pictures of the tree, masks apart, that nothing named."""
        return [
            name
            for name in self.tree.pictures
            if str(self.tree.path(name)) not in self._pictures
            and not any(map(is_mask_folder, PurePosixPath(name).parts[:-1]))
        ]

    def _split_of(self, path: Path) -> Split | None:
        inside = path.is_relative_to(self.tree.root)
        return split_of_folders(path.relative_to(self.tree.root).as_posix()) if inside else None

    def found(self, kind: str, reason: str, classes: Iterable[str]) -> Found:
        """Return all that was gathered.

        Raises:
            Ws3Error: If none of the pictures was found.
        """
        names = self._joined(dict.fromkeys(classes))
        first = ", ".join(shortened(name, 80) for name in self._missing[:3])
        if not self._pictures and self._missing:
            raise Ws3Error(
                f"{self.source}: none of the {len(self._missing)} pictures that it names is there "
                f"(first: {first}); give their folder with --images"
            )
        if not any(picture.labels for picture in self._pictures.values()):
            raise Ws3Error(
                f"{self.source}: none of its {len(self._pictures)} pictures has a label; the tool "
                "that wrote it may have left them out"
            )
        notes = list(self.notes)
        if self._missing:
            more = " ..." if len(self._missing) > 3 else ""
            notes.append(
                f"{counted(len(self._missing), 'picture')} named, but not there: {first}{more}"
            )
        unnamed = self._unnamed()
        if unnamed:
            named = ", ".join(shortened(name, 80) for name in unnamed[:3])
            more = " ..." if len(unnamed) > 3 else ""
            notes.append(
                f"{counted(len(unnamed), 'picture')} there, but not named, left out: {named}{more}"
            )
        return Found(kind, reason, names, tuple(self._pictures.values()), tuple(notes))


def class_values(classes: Iterable[str]) -> dict[str, int]:
    """Return the mask value of each class.

    Example:
        >>> class_values(["cat", "dog"])
        {'cat': 1, 'dog': 2}
    """
    return {name: value for value, name in enumerate(classes, start=1)}
