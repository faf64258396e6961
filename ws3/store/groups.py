"""One Zarr group per item, committed by a rename."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from ws3.errors import StaleResultError, Ws3Error
from ws3.files import TEMPORARY, atomic_folder, file_sha256, write_bytes
from ws3.stage_table import FORMAT

_CHECKSUM = '"checksum": "{}"'
_MISSING_COUNT = np.iinfo(np.uint16).max


class Store:
    """A folder that is a Zarr group; its children are written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, attributes: Mapping[str, Any]) -> None:
        """Make the store unless it is there; safe when several jobs do it at once.

        Raises:
            Ws3Error: If a store of a newer format is there.
        """
        metadata = self.path / "zarr.json"
        if not metadata.exists():
            group = zarr.create_group(
                zarr.storage.MemoryStore(), attributes={"ws3_format": FORMAT, **attributes}
            )
            # Several jobs may be here at once; each writes the same bytes.
            write_bytes(metadata, _sealed(group.metadata.to_dict()))
        self.check_format()

    def check_format(self) -> dict[str, Any]:
        """Refuse a store that is none of ours, damaged, or of a newer format.

        Returns:
            The store's attributes.

        Raises:
            StaleResultError: If there is none, or its own metadata is damaged.
            Ws3Error: Naming the store and what to do.
        """
        metadata = self.path / "zarr.json"
        damaged = StaleResultError(
            f"{metadata}: this file is damaged; remove it and run snakemake again."
        )
        try:
            data = metadata.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise StaleResultError(f"{self.path}: there is no store here.") from None
        try:
            attributes = dict(json.loads(data).get("attributes", {}))
        except (ValueError, AttributeError, TypeError):
            raise damaged from None
        version = attributes.get("ws3_format")
        if isinstance(version, int) and version != FORMAT:
            advice = "install a newer ws3" if version > FORMAT else "remove it, and run again"
            raise Ws3Error(
                f"{self.path}: this store has format {version}, and this ws3 reads format "
                f"{FORMAT}; {advice}."
            )
        if not attributes.keys() & {"ws3_format", "checksum"}:
            raise Ws3Error(f"{self.path}: this is not a store of ws3 (no ws3_format attribute).")
        if _unsealed(data) is None:
            raise damaged
        return attributes

    def names(self) -> list[str]:
        """Return the ids of the committed groups, sorted; reads the folder and nothing else."""
        return group_names(self.path)

    def attributes(self, name: str) -> dict[str, Any] | None:
        """Return a group's attributes, or None if it isn't there or can't be read."""
        try:
            return open_group(self.path / name).attributes
        except StaleResultError:
            return None

    def fault(self, name: str, fingerprint: str) -> str:
        """Return why a group is not the one of this fingerprint, or an empty string if it is."""
        attributes = self.attributes(name)
        if attributes is None:
            return "missing"
        return "" if attributes.get("fingerprint") == fingerprint else "made from other inputs"


def group_names(folder: Path) -> list[str]:
    """Return the names of the committed groups in a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(TEMPORARY) and entry.is_dir()
            )
    except FileNotFoundError:
        return []


@contextmanager
def new_group(path: Path, attributes: Mapping[str, Any]) -> Iterator[zarr.Group]:
    """Yield a group under a temporary name; leaving the block commits it as `path`."""
    with atomic_folder(path) as temporary:
        group = zarr.open_group(temporary, mode="w", attributes=dict(attributes))
        yield group
        arrays = {name: file_sha256(temporary / name / "zarr.json") for name in group.array_keys()}
        metadata = group.metadata.to_dict()
        metadata["attributes"] = {**attributes, "arrays": arrays}
        (temporary / "zarr.json").write_bytes(_sealed(metadata))


def write_array(
    group: zarr.Group,
    name: str,
    values: NDArray[Any],
    *,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None = None,
) -> None:
    """Write one array: compressed, with a checksum on every chunk, loud where one is missing."""
    missing = _MISSING_COUNT if values.dtype == np.uint16 else np.nan
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        fill_value=missing,
        # Over the compressed bytes: zstd's own checksum, over the content, misses a flipped bit
        # that happens to decode to the same content.
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        # A chunk that equals the fill value must be written too, or it would read as missing.
        config={"write_empty_chunks": True},
    )
    array[...] = values


@dataclass(frozen=True)
class StoredGroup:
    """A committed group whose metadata is intact."""

    path: Path
    attributes: dict[str, Any]

    def read(self, name: str) -> NDArray[Any]:
        """Read a whole array and prove that it is intact.

        Raises:
            StaleResultError: If its metadata or a chunk is missing, truncated or changed.
        """
        path = self.path / name
        if file_sha256(path / "zarr.json") != self.attributes["arrays"].get(name):
            raise StaleResultError(f"{path}: the stored array's metadata is damaged.")
        try:
            values = np.asarray(zarr.open_array(path, mode="r")[...])
        except Exception as error:  # codecs raise errors of many kinds for damaged bytes
            raise StaleResultError(f"{path}: the stored array is damaged ({error}).") from None
        missing = values == _MISSING_COUNT if values.dtype == np.uint16 else np.isnan(values)
        if missing.any():
            raise StaleResultError(f"{path}: a chunk of the stored array is missing.")
        return values


def open_group(path: Path) -> StoredGroup:
    """Open a committed group for reading.

    Raises:
        StaleResultError: If it isn't there, or its metadata is damaged.
    """
    try:
        attributes = _unsealed((path / "zarr.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise StaleResultError(f"{path}: there is no stored result.") from None
    if attributes is None:
        raise StaleResultError(f"{path}: the stored result is damaged (its attributes).")
    return StoredGroup(path, attributes)


def _sealed(metadata: Mapping[str, Any]) -> bytes:
    """Return a group's metadata file with a checksum of itself among the attributes."""
    attributes = {**metadata["attributes"], "checksum": ""}
    text = json.dumps({**metadata, "attributes": attributes}, indent=1, sort_keys=True) + "\n"
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return text.replace(_CHECKSUM.format(""), _CHECKSUM.format(checksum)).encode()


def _unsealed(data: bytes) -> dict[str, Any] | None:
    """Return the attributes in a group's metadata file, or None if any byte of it changed."""
    try:
        attributes = json.loads(data)["attributes"]
        checksum = attributes["checksum"]
        text = data.decode().replace(_CHECKSUM.format(checksum), _CHECKSUM.format(""))
    except (ValueError, KeyError, TypeError):
        return None
    return attributes if hashlib.sha256(text.encode()).hexdigest() == checksum else None
