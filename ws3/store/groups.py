"""One Zarr group per item, committed by a rename."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from ws3.errors import StaleResultError, Ws3Error
from ws3.files import atomic_folder, file_sha256, write_bytes
from ws3.messages import shown
from ws3.outside import TEXT_BYTES, NotRegularError, read_regular
from ws3.removal import clear, temporary_for
from ws3.stage_table import FORMAT

METADATA = "zarr.json"
"""Name of the metadata file of a store, a group or an array."""

ARRAYS = ("map", "sum", "count", "weight", "maps", "scales", "weights", "segments")
"""The arrays of all groups: what bears another name in a group's folder is not ours to remove."""

_GROUP_FILE = re.compile(
    r"(\.tmp-[^/]+/)?"  # what a killed writer left half-written
    r"((\d+|cover)/)?"  # a sample chunk
    rf"(({'|'.join(ARRAYS)})/)?"
    r"(zarr(\.json|\.[0-9a-f]{32}\.partial)|c(/\d+)*(\.[0-9a-f]{32}\.partial)?)"
)
_CHECKSUM = '"checksum": "{}"'
LEVEL, FAST_LEVEL = 1, -1
"""Of zstd: what is written by default, and where a GPU leaves the program less time."""

_MISSING_COUNT = np.iinfo(np.uint16).max


class OtherFormatError(Ws3Error):
    """A store of ws3's that this version can't read."""


class Store:
    """A folder that is a Zarr group; its children are written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, attributes: Mapping[str, Any], known: Collection[str] = ()) -> None:
        """Make the store unless it is there; safe when several jobs do it at once.

        Args:
            attributes: What its own metadata says, such as its kind and recipe.
            known: Ids of images whose groups may lie there already, damaged ones too.

        Raises:
            Ws3Error: If a store of a newer format or of another recipe is there, or a folder that
                holds what is not of ws3.
        """
        metadata = self.path / METADATA
        if not metadata.exists():
            if self.path.is_symlink() and not self.path.exists():
                raise Ws3Error(f"{self.path}: this symbolic link leads nowhere; mend or remove it")
            others = self.others(known)
            if others:
                raise Ws3Error(
                    f"{self.path}: this folder has no {METADATA} of ws3's, and holds what is not "
                    f"of ws3 ({', '.join(others[:3])}{', ...' if others[3:] else ''}); move it away"
                )
            group = zarr.create_group(
                zarr.storage.MemoryStore(), attributes={"ws3_format": FORMAT, **attributes}
            )
            # Several jobs may be here at once; each writes the same bytes.
            write_bytes(metadata, _sealed(group.metadata.to_dict()))
        self.check_is(attributes)

    def others(self, known: Collection[str]) -> list[str]:
        """Return what stands in a folder without metadata that makes it no store of ws3's.

        A single group that is provably ws3's shows that the store is.
        """
        others = []
        for name in entry_names(self.path):
            # Another job may have made the store at this moment.
            if self.attributes(name) is not None or (self.path / METADATA).exists():
                return []
            if name not in known:
                others.append(name)
        return others

    def check_is(self, attributes: Mapping[str, Any]) -> None:
        """Refuse a store that says that it is another one than this.

        Raises:
            StaleResultError: As for `check_format`.
            Ws3Error: Naming the store and what to do.
        """
        found = self.check_format()
        for key, value in attributes.items():
            if found.get(key) != value:
                raise Ws3Error(
                    f"{self.path}: this is the store of {key} {shown(found.get(key))}, not of "
                    f"{shown(value)}; move it where it belongs"
                )

    def check_format(self) -> dict[str, Any]:
        """Refuse a store that is none of ours, damaged, or of a newer format.

        Returns:
            The store's attributes.

        Raises:
            StaleResultError: If there is none, or its own metadata is damaged.
            Ws3Error: Naming the store and what to do.
        """
        metadata = self.path / METADATA
        damaged = StaleResultError(
            f"{metadata}: this file is damaged; remove it and run snakemake again."
        )
        try:
            data = read_regular(metadata, TEXT_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise StaleResultError(f"{self.path}: there is no store here.") from None
        except NotRegularError:
            raise damaged from None
        try:
            attributes = dict(json.loads(data).get("attributes", {}))
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise damaged from None
        version = attributes.get("ws3_format")
        if isinstance(version, int) and version != FORMAT:
            advice = "install a newer ws3" if version > FORMAT else "remove it, and run again"
            raise OtherFormatError(
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

    def open(self, image: str) -> StoredGroup:
        """Open an image's group.

        Raises:
            StaleResultError: If it isn't there, is damaged, or is another image's.
        """
        return open_group(self.path / image, image=image, chunk=None)

    def attributes(self, image: str) -> dict[str, Any] | None:
        """Return the attributes of an image's group, or None if it can't be opened."""
        try:
            return self.open(image).attributes
        except StaleResultError:
            return None

    def fault(self, image: str, fingerprint: str) -> str:
        """Return why a group is not the one of this fingerprint, or an empty string if it is."""
        try:
            found = open_group(self.path / image).attributes
        except StaleResultError:
            return "missing"
        expected = {"image": image, "chunk": None, "fingerprint": fingerprint}
        is_it = all(found.get(key) == value for key, value in expected.items())
        return "" if is_it else "made from other inputs"

    def remove(self, image: str) -> None:
        """Remove a group if it is there; what is not of ws3 is set aside (`ws3.removal.clear`)."""
        clear(self.path / image, is_own)


class ArrayStore(Store):
    """A store of one array per image."""

    array: str
    """The array's name, of `ARRAYS`."""

    def read(self, image: str) -> NDArray[Any]:
        """Return an image's array.

        Raises:
            StaleResultError: If it is missing, damaged or another image's.
        """
        return self.open(image).read(self.array)

    def holds(self, image: str, fingerprint: str) -> bool:
        """Return whether an image's array is there, intact and with this fingerprint."""
        try:
            self.read(image)
        except StaleResultError:
            return False
        return not self.fault(image, fingerprint)


def is_own(name: str) -> bool:
    """Return whether ws3 writes a file of this path in a group's folder.

    Example:
        >>> is_own("0/sum/c/0/0/0"), is_own("map/zarr.json"), is_own("notes.txt")
        (True, True, False)
    """
    # A killed writer of attributes leaves metadata under a temporary name.
    return _GROUP_FILE.fullmatch(name) is not None or temporary_for(name) == METADATA


def group_names(folder: Path) -> list[str]:
    """Return the names of the committed groups in a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if temporary_for(entry.name) is None and entry.is_dir(follow_symlinks=False)
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def entry_names(folder: Path) -> list[str]:
    """Return the names of all in a store's folder but its metadata and temporary names, sorted."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name != METADATA and temporary_for(name) is None)


@dataclass
class NewGroup:
    """A group that is being written, under a temporary name."""

    _folder: Path
    _values: dict[str, str] = field(default_factory=dict)
    _metadata: dict[str, str] = field(default_factory=dict)

    def write(
        self,
        name: str,
        values: NDArray[Any],
        *,
        chunks: tuple[int, ...],
        shards: tuple[int, ...] | None = None,
        level: int = LEVEL,
    ) -> None:
        """Write one array: compressed, with a checksum on every chunk, loud where one is missing.

        Args:
            name: Of the array.
            values: Its values.
            chunks: Shape of its chunks.
            shards: Shape of its shards, if it has any.
            level: Of zstd; one below 0 takes a fifth of the time, and keeps more bytes.

        Raises:
            ValueError: If the name is none of `ARRAYS`.
        """
        if name not in ARRAYS:
            raise ValueError(f"an array of a group is one of {', '.join(ARRAYS)}, not {name}")
        values = np.ascontiguousarray(values)
        if shards is None and not any(
            side % part for side, part in zip(values.shape, chunks, strict=True)
        ):
            self._write_chunks(name, values, chunks, level)
        else:
            store = zarr.storage.LocalStore(self._folder / name)
            _new_array(store, values.shape, values.dtype, chunks, level, shards)[...] = values
            self._metadata[name] = file_sha256(self._folder / name / METADATA)
        self._values[name] = _digest(values)

    def _write_chunks(
        self, name: str, values: NDArray[Any], chunks: tuple[int, ...], level: int
    ) -> None:
        """Write what zarr would, without its scheduling, which takes longer than the rest."""
        folder = self._folder / name
        folder.mkdir()
        metadata = _array_metadata(values.shape, values.dtype, chunks, level)
        (folder / METADATA).write_bytes(metadata)
        self._metadata[name] = hashlib.sha256(metadata).hexdigest()
        zstd = Zstd(level=level)
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        for place in np.ndindex(
            *(side // part for side, part in zip(values.shape, chunks, strict=True))
        ):
            part = tuple(
                slice(at * size, (at + 1) * size) for at, size in zip(place, chunks, strict=True)
            )
            data = zstd.encode(np.ascontiguousarray(little[part]))
            path = folder.joinpath("c", *map(str, place))
            os.makedirs(path.parent, exist_ok=True)  # noqa: PTH103  # in fewer steps than pathlib's
            path.write_bytes(data + google_crc32c.value(data).to_bytes(4, "little"))

    def arrays(self) -> dict[str, dict[str, str]]:
        """Return the digests of what was written, by array."""
        return {
            name: {"metadata": self._metadata[name], "values": values}
            for name, values in sorted(self._values.items())
        }


@contextmanager
def new_group(path: Path, attributes: Mapping[str, Any]) -> Iterator[NewGroup]:
    """Yield a group under a temporary name; leaving the block commits it as `path`."""
    with atomic_folder(path, is_own) as temporary:
        temporary.mkdir()
        new = NewGroup(temporary)
        yield new
        metadata = {**_group_metadata(), "attributes": {**attributes, "arrays": new.arrays()}}
        (temporary / METADATA).write_bytes(_sealed(metadata))


def add_attributes(group: StoredGroup, also: Mapping[str, Any]) -> None:
    """Say more of a committed group, in place of what it said under the same names."""
    attributes = {key: value for key, value in group.attributes.items() if key != "checksum"}
    metadata = {**_group_metadata(), "attributes": {**attributes, **also}}
    write_bytes(group.path / METADATA, _sealed(metadata))


def _new_array(
    store: zarr.storage.LocalStore | zarr.storage.MemoryStore,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunks: tuple[int, ...],
    level: int,
    shards: tuple[int, ...] | None = None,
) -> zarr.Array[Any]:
    return zarr.create_array(
        store,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        fill_value=_MISSING_COUNT if dtype == np.uint16 else np.nan,
        # Over the compressed bytes: zstd's own checksum, over the content, misses a flipped
        # bit that happens to decode to the same content.
        compressors=[ZstdCodec(level=level), Crc32cCodec()],
        # A chunk that equals the fill value must be written too, or it would read as missing.
        config={"write_empty_chunks": True},
    )


@lru_cache(maxsize=1024)
def _array_metadata(
    shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...], level: int
) -> bytes:
    """Return the metadata file that zarr makes of an array."""
    files: dict[str, zarr.core.buffer.Buffer] = {}
    _new_array(zarr.storage.MemoryStore(files), shape, dtype, chunks, level)
    return files[METADATA].to_bytes()


@cache
def _group_metadata() -> dict[str, Any]:
    """Return what zarr's metadata say of any group."""
    return zarr.create_group(zarr.storage.MemoryStore()).metadata.to_dict()


def _digest(values: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's values, in C order."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


@dataclass(frozen=True)
class StoredGroup:
    """A committed group whose metadata is intact."""

    path: Path
    attributes: dict[str, Any]

    def read(self, name: str) -> NDArray[Any]:
        """Read a whole array and prove that it is intact and this group's.

        Raises:
            StaleResultError: If its metadata or a chunk is missing, truncated, changed or another
                array's.
        """
        path = self.path / name
        written = self.attributes["arrays"].get(name, {})
        try:
            metadata = file_sha256(path / METADATA)
        except (NotADirectoryError, NotRegularError):
            metadata = ""
        if metadata != written.get("metadata"):
            raise StaleResultError(f"{path}: the stored array's metadata is damaged.")
        special = _special_file(path)
        if special is not None:
            # A named pipe would be waited for without an end.
            raise StaleResultError(f"{special}: this is no file; the stored array is damaged.")
        try:
            values = np.asarray(zarr.open_array(path, mode="r")[...])
        except Exception as error:  # codecs raise errors of many kinds for damaged bytes
            raise StaleResultError(f"{path}: the stored array is damaged ({error}).") from None
        if _digest(values) != written["values"]:
            missing = values == _MISSING_COUNT if values.dtype == np.uint16 else np.isnan(values)
            what = "a chunk of it is missing" if missing.any() else "its values are another array's"
            raise StaleResultError(f"{path}: the stored array is damaged ({what}).")
        return values


def _special_file(folder: Path) -> Path | None:
    """Return what lies anywhere in a folder and is neither a file nor a folder, or None."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                found = _special_file(path)
                if found is not None:
                    return found
            elif not entry.is_file():
                return path
    return None


def open_group(path: Path, **identity: str | None) -> StoredGroup:
    """Open a committed group for reading.

    Args:
        path: Its folder.
        **identity: What its attributes must say of it, such as `image="train_0001"`.

    Raises:
        StaleResultError: If it isn't there, its metadata is damaged, or it is another's.
    """
    if path.is_symlink():
        raise StaleResultError(f"{path}: a symbolic link is in place of a result.")
    try:
        attributes = _unsealed(read_regular(path / METADATA, TEXT_BYTES))
    except NotADirectoryError:
        raise StaleResultError(f"{path}: a file is in place of a result.") from None
    except FileNotFoundError:
        raise StaleResultError(f"{path}: there is no stored result.") from None
    except NotRegularError:
        attributes = None
    if attributes is None:
        raise StaleResultError(f"{path}: the stored result is damaged (its attributes).")
    for key, expected in identity.items():
        if attributes.get(key) != expected:
            raise StaleResultError(
                f"{path}: the stored result is that of {key} {shown(attributes.get(key))}, not "
                f"of {shown(expected)}."
            )
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
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return attributes if hashlib.sha256(text.encode()).hexdigest() == checksum else None
