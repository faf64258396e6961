"""Which file of another program belongs to which image, without opening any.

Light to import: a dry run asks.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ws3.config.imports import Import
from ws3.datasets.index import ImageRow
from ws3.datasets.names import without_suffix
from ws3.errors import Ws3Error
from ws3.messages import reason

_ENDINGS = {"npy-dict": (".npy",), "npy": (".npy",), "npz": (".npz",), "png": (".png",)}
_ZARR = ".zarr"


@dataclass(frozen=True)
class Place:
    """Where the files of another program lie.

    Attributes:
        folder: As the configuration names it.
        endings: Of the files' names, those that are preferred first.
        folders: Whether an image may have a folder, which then lies at the top.
    """

    folder: str
    endings: tuple[str, ...]
    folders: bool = False

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self.folder).expanduser()


def import_place(settings: Import) -> Place:
    """Return where the files of an imported recipe lie."""
    if settings.masks is not None:
        return Place(settings.masks, (".png",))
    folders = settings.format in ("png", "zarr", "tensorstore")
    return Place(settings.folder, _ENDINGS.get(settings.format, ()), folders)


@dataclass(frozen=True)
class FoundFiles:
    """The files of an import.

    Attributes:
        files: Path of each image's file or folder in the import's folder, '/' between folders, by
            the image's id; images without one are left out.
        unused: How many files belong to no image.
    """

    files: Mapping[str, str]
    unused: int


def find_files(place: Place, rows: Sequence[ImageRow]) -> FoundFiles:
    """Find the file of each image.

    It bears the picture's name as the dataset has it, folders included; or its last part, if no
    other picture's name ends so; or the image's id.

    Args:
        place: Where the files lie.
        rows: All images of the run.

    Raises:
        Ws3Error: If the folder can't be listed.
    """
    try:
        there = _names(place)
    except OSError as error:
        raise Ws3Error(f"{place.root}: this folder can't be listed ({reason(error)})") from None
    names = {row.image: without_suffix(row.name or Path(row.path).name) for row in rows}
    last = {image: name.rpartition("/")[2] for image, name in names.items()}
    bearers = Counter(last.values())
    files = {}
    for image, name in names.items():
        asked = [name, *([last[image]] if bearers[last[image]] == 1 else []), image]
        found = next((there[one] for one in asked if one in there), None)
        if found is not None:
            files[image] = found
    return FoundFiles(files, len(there.keys()) - len(set(files.values())))


def _names(place: Place) -> dict[str, str]:
    """Return the path of all that may be an image's, by its name without the ending."""
    found: dict[str, str] = {}
    if place.folders:
        with os.scandir(place.root) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_dir():
                    found[entry.name.removesuffix(_ZARR)] = entry.name
                else:
                    _note(found, place, entry.name)
        return found

    def fail(error: OSError) -> None:
        raise error

    for base, _, names in os.walk(place.root, onerror=fail, followlinks=True):
        below = Path(base).relative_to(place.root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in sorted(names):
            _note(found, place, f"{prefix}{name}")
    return found


def _note(found: dict[str, str], place: Place, path: str) -> None:
    for rank, ending in enumerate(place.endings):
        if path.endswith(ending):
            name = path.removesuffix(ending)
            other = found.get(name)
            if other is None or not other.endswith(place.endings[: rank + 1]):
                found[name] = path
            return


def stat_key(path: Path) -> str:
    """Return what shows that a file, or any in a folder, changed, without reading it."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every image
        if not path.is_dir():
            return f"{found.st_size}-{found.st_mtime_ns}"
        digest = hashlib.sha256()
        for name in files_below(path):
            part = os.stat(path / name)  # noqa: PTH116
            digest.update(f"{name}\0{part.st_size}-{part.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:32]
    except OSError:
        return ""


def files_below(folder: Path) -> list[str]:
    """Return the paths of all files in and below a folder, sorted."""
    return sorted(
        (Path(base) / name).relative_to(folder).as_posix()
        for base, _, names in os.walk(folder)
        for name in names
    )


__all__ = ["FoundFiles", "Place", "files_below", "find_files", "import_place", "stat_key"]
