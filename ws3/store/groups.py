"""One Zarr group an item, committed by a rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from ws3.errors import StaleResultError, Ws3Error
from ws3.files import TEMPORARY, atomic_folder, write_json

FORMAT = 1
"""Version of the format that this program writes; it reads no newer one."""

_MISSING_COUNT = np.iinfo(np.uint16).max


class Store:
    """A folder that is a Zarr group; its children are written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, attributes: Mapping[str, Any]) -> None:
        """Make the store unless it is there; safe when several jobs do it at once.

        Raises:
            Ws3Error: if a store of a newer format is there.
        """
        metadata = self.path / "zarr.json"
        if not metadata.exists():
            group = zarr.create_group(
                zarr.storage.MemoryStore(), attributes={"ws3_format": FORMAT, **attributes}
            )
            # Several jobs may be here at once; each writes the same bytes.
            write_json(metadata, group.metadata.to_dict())
        self.check_format()

    def check_format(self) -> None:
        """Refuse a store that is none of ours, or of a newer format.

        Raises:
            Ws3Error: naming the store and what to do.
        """
        attributes = read_attributes(self.path)
        if attributes is None and (self.path / "zarr.json").exists():
            raise Ws3Error(
                f"{self.path}/zarr.json: this file is damaged; remove it and run snakemake again."
            )
        if attributes is None:
            raise Ws3Error(f"{self.path}: there is no store here.")
        version = attributes.get("ws3_format")
        if not isinstance(version, int):
            raise Ws3Error(f"{self.path}: this is not a store of ws3 (no ws3_format attribute).")
        if version > FORMAT:
            raise Ws3Error(
                f"{self.path}: this store has format {version}, and this ws3 reads up to "
                f"{FORMAT}; install a newer ws3."
            )

    def names(self) -> list[str]:
        """Return the ids of the committed groups, sorted; reads the folder and nothing else."""
        return group_names(self.path)

    def attributes(self, name: str) -> dict[str, Any] | None:
        """Return a group's attributes, or None if it isn't there or can't be read."""
        return read_attributes(self.path / name)

    def remove(self, name: str) -> None:
        """Remove a group if it is there."""
        shutil.rmtree(self.path / name, ignore_errors=True)


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


def read_attributes(path: Path) -> dict[str, Any] | None:
    """Return the attributes of the group at `path`, or None if it can't be read."""
    try:
        return dict(open_group(path).attrs)
    except StaleResultError:
        return None


@contextmanager
def new_group(path: Path, attributes: Mapping[str, Any]) -> Iterator[zarr.Group]:
    """Yield a group under a temporary name; leaving the block commits it as `path`."""
    with atomic_folder(path) as temporary:
        yield zarr.open_group(temporary, mode="w", attributes=dict(attributes))


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


def read_array(group: zarr.Group, name: str, path: Path) -> NDArray[Any]:
    """Read a whole array and prove that it is intact.

    Raises:
        StaleResultError: if a chunk is missing, truncated or changed.
    """
    try:
        values = np.asarray(group[name][...])  # type: ignore[index]
    except Exception as error:  # codecs raise errors of many kinds for damaged bytes
        raise StaleResultError(f"{path}/{name}: the stored array is damaged ({error}).") from None
    missing = values == _MISSING_COUNT if values.dtype == np.uint16 else np.isnan(values)
    if missing.any():
        raise StaleResultError(f"{path}/{name}: a chunk of the stored array is missing.")
    return values


def open_group(path: Path) -> zarr.Group:
    """Open a committed group for reading.

    Raises:
        StaleResultError: if it isn't there, or its metadata is damaged.
    """
    try:
        return zarr.open_group(path, mode="r")
    except FileNotFoundError:
        raise StaleResultError(f"{path}: there is no stored result.") from None
    except Exception as error:  # zarr raises errors of many kinds for damaged metadata
        raise StaleResultError(f"{path}: the stored result is damaged ({error}).") from None
