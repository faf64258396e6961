"""Proof that a store is intact: every byte of every array is read, and its checksum checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ws3 import files
from ws3.errors import Ws3Error
from ws3.store.groups import Store, group_names, open_group
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore


@dataclass(frozen=True)
class Damage:
    """A part of the results that can't be trusted: the group or file to remove, and why."""

    image: str
    path: Path
    reason: str


def verify(path: Path) -> Iterator[tuple[str, list[Damage]]]:
    """Read a store through, and yield each image with what is damaged of it.

    Raises:
        Ws3Error: If there is no store of ours at this path.
    """
    store = Store(path)
    kind = store.check_format().get("kind")
    check = {"saliency": _check_saliency, "maps": _check_maps}.get(str(kind))
    if check is None:
        raise Ws3Error(f"{path}: this store is of an unknown kind ({kind!r}).")
    for image in store.names():
        yield image, list(check(path, image))


def unreadable(image: str, path: Path, read: Callable[[], object]) -> Iterator[Damage]:
    """Yield what is at `path` as damaged if reading it fails."""
    try:
        read()
    except Ws3Error as error:
        yield Damage(image, path, str(error))


def remove(damages: list[Damage]) -> None:
    """Remove what is damaged, so that the next run makes it again."""
    for damage in damages:
        files.remove(damage.path)


def _check_saliency(path: Path, image: str) -> Iterator[Damage]:
    group, store = path / image, SaliencyStore(path)
    whole = list(unreadable(image, group, partial(open_group, group)))
    yield from whole
    for name in () if whole else group_names(group):
        yield from unreadable(image, group / name, partial(store.read, image, name))


def _check_maps(path: Path, image: str) -> Iterator[Damage]:
    return unreadable(image, path / image, partial(MapStore(path).read, image))
