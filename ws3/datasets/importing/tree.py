"""A folder from outside, scanned once, in which readers look for lists and for pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ws3.datasets.names import is_picture, without_suffix
from ws3.errors import Ws3Error
from ws3.messages import reason, shortened

MAX_FILES = 5_000_000
"""Most files of a folder that is looked through."""
# Masks are class values; those of single objects, and coloured ones beside them, are others.
MASK_FOLDER = re.compile(
    r"(.*_)?masks?|segmentationclass(aug)?|annotations?|labels?|gt|gtfine|semantic|"
    r"segmentations?|ground[_ -]?truth|\w*annot|"
    r"(train|training|val|valid|validation|test)[_-](labels?|annotations?)",
    re.IGNORECASE,
)
OTHER_MASK_FOLDER = re.compile(
    r"instances?|segmentationobject|semantic_rgb|panoptic.*|.*_(rgb|color)", re.IGNORECASE
)
# Label Studio puts eight digits and a dash before the name of an uploaded file.
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")


class Tree:
    """The files of a folder, and where a picture lies that a tool's file names.

    Args:
        path: A folder, or one file (a table, say): then its folder is looked through, and only
            this file is taken for one that tells labels.
        images: Another folder that holds the pictures, or None.

    Attributes:
        root: The folder.
        named: Name of the file that `path` is, relative to `root`, or None.
        files: Names of all files below the folder, relative to it with '/', sorted; hidden folders
            and files are left out, links to folders aren't followed.
        broken: What is wrong with each file that was looked at and can't be read, by its name.

    Raises:
        Ws3Error: If there is no such folder or file, or more than `MAX_FILES` files.
    """

    def __init__(self, path: str | Path, images: str | Path | None = None) -> None:
        path = Path(path)
        self.named = None if path.is_dir() else path.name
        self.root = path if self.named is None else path.parent
        if self.named is not None and not path.exists():
            raise Ws3Error(f"{shortened(str(path))}: no such file or folder")
        self.files = _scan(self.root)
        self.broken: dict[str, Ws3Error] = {}
        self._images = None if images is None else Path(images)

    def texts(self, *suffixes: str) -> list[str]:
        """Return the names of files with one of these endings (small letters, with the dot).

        If one file was named, it is the only one.
        """
        names = self.files if self.named is None else (self.named,)
        return [name for name in names if PurePosixPath(name).suffix.lower() in suffixes]

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """The names of all files whose ending is that of an image file, relative to `root`."""
        return tuple(name for name in self.files if is_picture(name))

    def path(self, name: str) -> Path:
        """Return where a file lies."""
        return self.root / name

    def find(self, reference: str, beside: str = "") -> Path | None:
        """Return the picture that a tool's file refers to, or None if it can't be told.

        Looked for, in this order: the path as written (relative to the file that names it, to the
        tree and to `images`); the file whose path ends in most of the reference's own; one that
        bears its name without an ending. Absolute paths of another machine, addresses, back
        slashes, percent signs and Label Studio's prefixes are seen through.

        Args:
            reference: A path, a name or an id.
            beside: Name of the file that holds the reference, relative to `root`.
        """
        wanted = _plain(reference)
        if not wanted:
            return None
        near = PurePosixPath(beside).parent
        for name in (str(near / wanted), wanted):
            name = os.path.normpath(name)
            if name in self._known and is_picture(name):
                return self.root / name
        for stem in (wanted, _UPLOADED.sub("", PurePosixPath(wanted).name, count=1)):
            found = self._by_tail(stem)
            if found is not None:
                return found
        return None

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """Picture files by their names and by their names without ending, in small letters."""
        found: dict[str, list[Path]] = {}
        files = [self.root / name for name in self.pictures]
        if self._images is not None:
            files += [self._images / name for name in _scan(self._images) if is_picture(name)]
        for file in dict.fromkeys(files):  # `images` may lie below `root`
            for key in {file.name.casefold(), without_suffix(file.name).casefold()}:
                found.setdefault(key, []).append(file)
        return found

    def _is_mask(self, file: Path) -> bool:
        inside = file.parts[len(self.root.parts) : -1] if self._images is None else file.parts[:-1]
        return any(map(is_mask_folder, inside))

    def _by_tail(self, wanted: str) -> Path | None:
        parts = PurePosixPath(wanted).parts
        for key in (parts[-1], without_suffix(parts[-1])):
            candidates = self._by_name.get(key.casefold(), [])
            # A mask may bear the picture's name.
            pictures = [file for file in candidates if not self._is_mask(file)]
            best = _longest_tail(pictures or candidates, parts, self.root)
            if best is not None:
                return best
        return None


def is_mask_folder(name: str) -> bool:
    """Return whether a folder's name says that it holds masks, of classes or of objects.

    Example:
        >>> is_mask_folder("SegmentationClass"), is_mask_folder("trainannot"), is_mask_folder("cat")
        (True, True, False)
    """
    return bool(MASK_FOLDER.fullmatch(name) or OTHER_MASK_FOLDER.fullmatch(name))


def _longest_tail(candidates: Iterable[Path], parts: tuple[str, ...], own: Path) -> Path | None:
    """Return the only file that shares most of its last folders with a path, or None.

    Of two that share as many, the one below the folder `own` is taken.
    """
    scored = []
    for file in candidates:
        shared = 0
        for mine, theirs in zip(reversed(file.parts[:-1]), reversed(parts[:-1]), strict=False):
            if mine != theirs:
                break
            shared += 1
        scored.append((file.name == parts[-1], shared, file.is_relative_to(own), file))
    scored.sort(key=lambda entry: entry[:3], reverse=True)
    if not scored or (len(scored) > 1 and scored[0][:3] == scored[1][:3]):
        return None
    return scored[0][3]


def _plain(reference: str) -> str:
    text = reference.strip().replace("\\", "/")
    if "://" in text:
        text = unquote(urlsplit(text).path)
    return text.lstrip("/").removeprefix("./")


def _scan(root: Path) -> tuple[str, ...]:
    names: list[str] = []
    try:
        root = root.resolve(strict=True)
        for folder, folders, files in os.walk(root, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = os.path.relpath(folder, root).replace(os.sep, "/")
            prefix = "" if inside == "." else f"{inside}/"
            names += (f"{prefix}{name}" for name in files if not name.startswith("."))
            if len(names) > MAX_FILES:
                raise Ws3Error(f"{root}: more than {MAX_FILES} files; name a smaller folder")
    except OSError as error:
        raise Ws3Error(f"{shortened(str(root))}: {reason(error)}") from error
    return tuple(sorted(names))


def _raise(error: OSError) -> None:
    raise error
