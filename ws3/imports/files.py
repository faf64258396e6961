"""Which file of another program belongs to which image, without opening any.

Light to import: a dry run asks.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ws3.config.imports import Import
from ws3.datasets.index import ImageRow
from ws3.datasets.names import without_suffix
from ws3.errors import Ws3Error
from ws3.messages import reason

_ENDINGS = {"npy-dict": ".npy", "npy": ".npy", "npz": ".npz"}
_ZARR = ".zarr"


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


def find_files(settings: Import, rows: Sequence[ImageRow]) -> FoundFiles:
    """Find the file of each image.

    It bears the picture's name as the dataset has it, folders included; or its last part, if no
    other picture's name ends so; or the image's id. Zarr arrays and folders of PNGs lie at the top
    of the import's folder.

    Args:
        settings: The import.
        rows: All images of the run.

    Raises:
        Ws3Error: If the import's folder can't be listed.
    """
    root = Path(settings.folder).expanduser()
    try:
        there = dict(_in_folders(settings, root))
    except OSError as error:
        raise Ws3Error(f"{root}: this folder can't be listed ({reason(error)})") from None
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


def _in_folders(settings: Import, root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and path of all that may be an image's."""
    ending = ".png" if settings.masks is not None else _ENDINGS.get(settings.format)
    if ending is None:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield entry.name.removesuffix(_ZARR), entry.name
                elif settings.format == "png" and entry.name.endswith(".png"):
                    yield entry.name.removesuffix(".png"), entry.name
        return

    def fail(error: OSError) -> None:
        raise error

    for base, _, names in os.walk(root, onerror=fail, followlinks=True):
        below = Path(base).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        for name in names:
            if name.endswith(ending):
                yield f"{prefix}{name.removesuffix(ending)}", f"{prefix}{name}"


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


__all__ = ["FoundFiles", "files_below", "find_files", "stat_key"]
