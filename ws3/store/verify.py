"""Proof that a store is intact: every byte of every array is read, and its checksum checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ws3.aggregation.chunks import COVER_CHUNK
from ws3.errors import StaleResultError, Ws3Error
from ws3.messages import shown
from ws3.removal import clear, foreign_files, remove_file, set_aside
from ws3.store.groups import Store, entry_names, is_own
from ws3.store.maps import MapStore
from ws3.store.regions import RegionStore
from ws3.store.saliency import SaliencyStore

Remedy = Literal["remove group", "remove file", "set aside", "make again", "look"]
"""What a repair does: it removes a result, moves what is not ws3's out of its place, or takes back
the receipt alone, so that the next run replaces the result; or somebody has to look at it."""


@dataclass(frozen=True)
class Damage:
    """A part of the results that can't be trusted.

    Attributes:
        image: The image, or "store" or "network".
        path: The group or file.
        reason: What is wrong with it.
        remedy: What a repair does.
    """

    image: str
    path: Path
    reason: str
    remedy: Remedy = "remove group"


def verify(path: Path) -> Iterator[tuple[str, list[Damage]]]:
    """Read a store through, and yield each image with what is damaged of it.

    Folders that are not of ws3 are left out; see `foreign_entries`.

    Raises:
        Ws3Error: If there is no store of ours at this path.
    """
    store = open_store(path)
    for image in store.names():
        if _is_group(path / image):
            yield image, list(damages_of(store, image))


AnyStore = MapStore | RegionStore | SaliencyStore


def open_store(path: Path) -> AnyStore:
    """Return a store by what its metadata say that it is.

    Raises:
        Ws3Error: If there is no store of ours at this path.
    """
    kind = Store(path).check_format().get("kind")
    if kind == "saliency":
        return SaliencyStore(path)
    if kind == "maps":
        return MapStore(path)
    if kind == "regions":
        return RegionStore(path)
    raise Ws3Error(f"{path}: this store is of an unknown kind ({shown(kind)}).")


def damages_of(store: AnyStore, image: str) -> Iterator[Damage]:
    """Read all of an image through, and yield what is damaged of it."""
    path = store.path / image
    try:
        store.open(image)
        if isinstance(store, MapStore | RegionStore):
            store.read(image)
    except StaleResultError as error:
        yield Damage(image, path, str(error))
        return
    if isinstance(store, SaliencyStore):
        for name in _chunk_names(path):
            try:
                store.read(image, name)
            except StaleResultError as error:
                yield Damage(image, path / name, str(error))


def foreign_entries(path: Path, known: Collection[str] | None = None) -> Iterator[Path]:
    """Yield what lies in a store and is not of ws3.

    Args:
        path: The store.
        known: Ids of the images that may have groups, damaged ones too; None trusts the form of a
            group's files instead.
    """
    store = Store(path)
    for name in entry_names(path):
        group = path / name
        is_known = _is_group(group) if known is None else name in known
        if not is_known and store.attributes(name) is None:
            yield group
        elif group.is_dir() and not group.is_symlink():
            yield from foreign_files(group, is_own)


def remove(damages: Iterable[Damage]) -> None:
    """Remove what is damaged, so that the next run makes it again."""
    for damage in damages:
        if damage.remedy == "remove group":
            clear(damage.path, is_own)
        elif damage.remedy == "remove file":
            remove_file(damage.path)
        elif damage.remedy == "set aside":
            set_aside(damage.path)


def _chunk_names(path: Path) -> list[str]:
    """Return the names of an image's sample chunks, and of what stands in the place of one."""
    return [name for name in entry_names(path) if name == COVER_CHUNK or name.isdecimal()]


def _is_group(path: Path) -> bool:
    """Return whether a folder is a group by the files in it, be they damaged."""
    if path.is_symlink() or not path.is_dir():
        return False
    is_ours = Store(path.parent).attributes(path.name) is not None
    return is_ours or not any(foreign_files(path, is_own))
