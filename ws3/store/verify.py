"""Proof that a store is intact: every byte of every array is read, and its checksum checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ws3.errors import StaleResultError, Ws3Error
from ws3.store.groups import Store, group_names, open_group, read_array
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
        Ws3Error: if there is no store of ours at this path.
    """
    store = Store(path)
    store.check_format()
    kind = open_group(path).attrs.get("kind")
    if kind == "saliency":
        check = _check_saliency
    elif kind == "maps":
        check = _check_maps
    else:
        raise Ws3Error(f"{path}: this store is of an unknown kind ({kind!r}).")
    for image in store.names():
        yield image, list(check(path, image))


def remove(damages: list[Damage]) -> None:
    """Remove what is damaged, so that the next run makes it anew."""
    for damage in damages:
        if damage.path.is_dir():
            shutil.rmtree(damage.path, ignore_errors=True)
        else:
            damage.path.unlink(missing_ok=True)


def _check_saliency(path: Path, image: str) -> Iterator[Damage]:
    store = SaliencyStore(path)
    attributes = store.attributes(image)
    if attributes is None or "fingerprint" not in attributes:
        yield Damage(image, path / image, "its attributes can't be read")
        return
    for name in group_names(path / image):
        try:
            store.read(image, name)
        except StaleResultError as error:
            yield Damage(image, path / image / name, str(error))


def _check_maps(path: Path, image: str) -> Iterator[Damage]:
    attributes = MapStore(path).attributes(image)
    if attributes is None or "fingerprint" not in attributes:
        yield Damage(image, path / image, "its attributes can't be read")
        return
    try:
        read_array(open_group(path / image), "map", path / image)
    except StaleResultError as error:
        yield Damage(image, path / image, str(error))
