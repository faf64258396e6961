"""Proof that a store is intact: every byte of every array is read, and its checksum checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ws3 import files
from ws3.errors import StaleResultError, Ws3Error
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
    if kind == "saliency":
        check = _check_saliency
    elif kind == "maps":
        check = _check_maps
    else:
        raise Ws3Error(f"{path}: this store is of an unknown kind ({kind!r}).")
    for image in store.names():
        yield image, list(check(path, image))


def remove(damages: list[Damage]) -> None:
    """Remove what is damaged, so that the next run makes it again."""
    for damage in damages:
        files.remove(damage.path)


def _check_saliency(path: Path, image: str) -> Iterator[Damage]:
    store = SaliencyStore(path)
    try:
        open_group(path / image)
    except StaleResultError as error:
        yield Damage(image, path / image, str(error))
        return
    for name in group_names(path / image):
        try:
            store.read(image, name)
        except StaleResultError as error:
            yield Damage(image, path / image / name, str(error))


def _check_maps(path: Path, image: str) -> Iterator[Damage]:
    try:
        MapStore(path).read(image)
    except StaleResultError as error:
        yield Damage(image, path / image, str(error))
