"""One image's maps or mask from a file of another program, checked and in ws3's own form."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ws3.config.imports import Import
from ws3.datasets.images import read_bytes
from ws3.datasets.masks import decode_label_mask
from ws3.datasets.names import is_background
from ws3.errors import Ws3Error
from ws3.imports.files import files_below
from ws3.imports.pickles import read_pickled_dict
from ws3.labels import IGNORED
from ws3.messages import reason, shortened, shown
from ws3.outside import PICTURE_BYTES, check_regular, open_regular
from ws3.pixels import resize

Key = int | str
"""A class, by its place in the other program's order, or by its name."""

Maps = NDArray[np.float16]

_IN_DICTS = ("high_res", "cam")


@dataclass(frozen=True)
class Imported:
    """What was read of one image.

    Attributes:
        maps: float16 (classes of the image, H, W) in [0, 1].
        mask: The mask as it is, uint8 (H, W), if masks are imported.
        notes: Words for what is unusual and yet no fault; see `NOTES`.
    """

    maps: Maps
    mask: NDArray[np.uint8] | None
    notes: tuple[str, ...]


NOTES: Mapping[str, str] = {
    "resized": "have another size than their images, and are resized",
    "others": "hold other classes than their images are labelled with",
    "strongest": "are strongest for a class that their images aren't labelled with; is the order "
    "of the classes right (import.classes)?",
    "empty": "hold no value above 0",
    "lacking": "lack a class that their images are labelled with",
}
"""What the words in `Imported.notes` mean, after a number of files."""


def read_imported(
    settings: Import, path: Path, classes: Sequence[str], labels: Sequence[str], size: Sequence[int]
) -> Imported:
    """Read one image's file.

    Maps of another size than the image's are resized, each by itself: enlarged bilinearly, or
    reduced by averaging areas (`ws3.pixels.resize`); then `normalise` is applied.

    Args:
        settings: The import.
        path: The file, or the folder that holds the image's files.
        classes: Names of the run's classes, in the order of their values.
        labels: Names of the classes that the image shows.
        size: Of the image: height and width in pixels.

    Raises:
        Ws3Error: If it can't be read, lacks a class that the image shows, has another aspect, or
            holds values that can't be scores; the message says what to do.
    """
    order = tuple(classes) if settings.classes is None else settings.classes
    if settings.masks is not None:
        return _mask(path, order, classes, labels, size)
    named, whole = _named_maps(settings, path, order, labels)
    missing = [label for label in labels if label not in named]
    if missing:
        there = ", ".join(shown(name) for name in named) or "none"
        raise Ws3Error(
            f"{path}: it holds no map of {shown(missing[0])}, which the image shows; it holds: "
            f"{shortened(there)}. Is the order of the classes right (import.classes)?"
        )
    notes = set()
    if whole and labels and _strongest(named) not in labels:
        notes.add("strongest")
    elif not whole and named.keys() - set(labels):
        notes.add("others")
    maps = np.empty((len(labels), *size), np.float16)
    for place, label in zip(maps, labels, strict=True):
        given = named[label]
        if given.shape != tuple(size):
            notes.add("resized")
        place[...] = _scores(settings, path, given, size)
    if len(maps) and not maps.any():
        notes.add("empty")
    return Imported(maps, None, tuple(sorted(notes)))


def _scores(
    settings: Import, path: Path, given: NDArray[Any], size: Sequence[int]
) -> NDArray[np.floating]:
    """Return one map at the image's size, in [0, 1]."""
    if given.ndim != 2 or 0 in given.shape:
        raise Ws3Error(f"{path}: a map has the shape {given.shape}, not (height, width)")
    (high, wide), (height, width) = given.shape, size
    if not settings.stretch and abs(high * width - wide * height) > max(height, width, high, wide):
        raise Ws3Error(
            f"{path}: its maps are {high} x {wide} pixels (height x width), another aspect than "
            f"that of the image, {height} x {width}; are they another image's? Maps of images that "
            "were squeezed need import.stretch: true"
        )
    if given.dtype in (np.uint8, np.uint16):
        values = given.astype(np.float32) / np.float32(np.iinfo(given.dtype).max)
    elif given.dtype == bool or given.dtype.kind == "f":
        # float32 as it is: what float16 can't hold must be seen.
        values = given.astype(np.float32, copy=False)
    else:
        raise Ws3Error(
            f"{path}: its maps hold {given.dtype}; scores are floating-point numbers, uint8, "
            "uint16 or truth values"
        )
    low, top = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(top)):
        raise Ws3Error(f"{path}: its maps hold NaN or infinite numbers")
    if settings.normalise == "none" and not (low >= 0 and top <= 1):
        raise Ws3Error(
            f"{path}: its maps hold values from {low:.4g} to {top:.4g}, outside [0, 1]; set "
            "import.normalise to max or range"
        )
    if values.shape != (height, width):
        values = resize(np.ascontiguousarray(values), height, width)
    if settings.normalise == "none":
        return np.clip(values, 0, 1) if values.shape != given.shape else values
    start = values.min() if settings.normalise == "range" else np.float32(0)
    values = np.maximum(values - start, 0)
    most = values.max()
    return np.minimum(values / most, 1) if most > 0 else values


def _mask(
    path: Path,
    order: Sequence[str],
    classes: Sequence[str],
    labels: Sequence[str],
    size: Sequence[int],
) -> Imported:
    given = decode_label_mask(read_bytes(path), path)
    if given.shape != tuple(size):
        raise Ws3Error(
            f"{path}: the mask is {given.shape[0]} x {given.shape[1]} pixels (height x width), and "
            f"the image {size[0]} x {size[1]}; it is another image's, or must be resized first"
        )
    own = {name: value for value, name in enumerate(classes, start=1)}
    first = 0 if is_background(order[0]) else 1
    table = np.full(256, IGNORED, np.uint8)
    known = np.zeros(256, bool)
    known[[0, IGNORED]] = True
    table[0] = 0
    for value, name in enumerate(order, start=first):
        if name in own and 0 < value < IGNORED:
            table[value], known[value] = own[name], True
    odd = np.flatnonzero(~known & (np.bincount(given.ravel(), minlength=256) > 0))
    if len(odd):
        raise Ws3Error(
            f"{path}: it holds the value {odd[0]}, which is no class; is the order of the classes "
            "right (import.classes)?"
        )
    mask = table[given]
    values = [own[label] for label in labels]
    maps = (mask == np.array(values, np.uint8)[:, None, None]).astype(np.float16)
    drawn = set(np.unique(mask).tolist()) - {0, IGNORED}
    notes = {
        "others": bool(drawn - set(values)),
        "lacking": bool(drawn and set(values) - drawn),
        "empty": bool(values and not drawn),
    }
    return Imported(maps, mask, tuple(sorted(word for word, found in notes.items() if found)))


def _named_maps(
    settings: Import, path: Path, order: Sequence[str], labels: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], bool]:
    """Return the maps by class without the background's, and whether all classes have one."""
    keys, arrays = _READERS[settings.format](path)
    if keys is None:
        maps = arrays if isinstance(arrays, np.ndarray) else np.stack(list(arrays))
        if maps.ndim == 2:
            maps = maps[None]
        names, whole = _places(path, maps, order, labels)
        found = dict(zip(names, maps, strict=True))
    else:
        if len(keys) != len(arrays):
            raise Ws3Error(f"{path}: it holds {len(keys)} keys and {len(arrays)} maps")
        found, whole = {}, len(keys) >= len(order) > 1
        for key, one in zip(keys, arrays, strict=True):
            if isinstance(key, int) and not 0 <= key < len(order):
                raise Ws3Error(
                    f"{path}: it holds a map of the class {key}, but the classes are 0 to "
                    f"{len(order) - 1}; give their order (import.classes)"
                )
            found[order[key] if isinstance(key, int) else key] = one
    return {name: one for name, one in found.items() if not is_background(name)}, whole


def _places(
    path: Path, maps: NDArray[Any], order: Sequence[str], labels: Sequence[str]
) -> tuple[list[str], bool]:
    """Return the class of each of an array's maps, and whether they are all classes."""
    count = len(maps)
    if count == len(order):
        return list(order), count > 1
    if count == len(order) + 1 and not is_background(order[0]):
        return ["background", *order], True
    if count == len(labels):
        return list(labels), False
    raise Ws3Error(
        f"{path}: it holds {count} maps; for this image there must be {len(labels)} (its classes, "
        f"in the order of the class list) or {len(order)} (all classes)"
    )


def _strongest(named: Mapping[str, NDArray[Any]]) -> str:
    return max(named, key=lambda name: float(np.nanmean(named[name], dtype=np.float64)))


_Read = tuple[Sequence[Key] | None, Sequence[NDArray[Any]] | NDArray[Any]]


def _read_dict(path: Path) -> _Read:
    return _from_dict(read_pickled_dict(path), path)


def _from_dict(found: Mapping[Any, Any], path: Path) -> _Read:
    if "keys" in found:
        name = next((name for name in _IN_DICTS if found.get(name) is not None), None)
        if name is None:
            raise Ws3Error(
                f"{path}: its keys are {shortened(', '.join(map(str, found)))}; there must be one "
                f"of: {', '.join(_IN_DICTS)}"
            )
        keys = np.asarray(found["keys"]).reshape(-1)
        if keys.dtype.kind not in "iu" and len(keys):
            raise Ws3Error(f"{path}: its keys are {keys.dtype}, not classes' numbers")
        maps = np.asarray(found[name])
        return [int(key) for key in keys], maps if maps.ndim == 3 else list(maps)
    classes: list[Key] = []
    for key in found:
        if isinstance(key, int | np.integer):
            classes.append(int(key))
        elif isinstance(key, str):
            classes.append(int(key) if key.isascii() and key.isdigit() else key)
        else:
            raise Ws3Error(f"{path}: it holds the key {shown(key)}, which is no class")
    return classes, [np.asarray(one) for one in found.values()]


def _read_array(path: Path) -> _Read:
    with opened(path) as file, sentences(path):
        return None, np.load(file, allow_pickle=False)


def _read_arrays(path: Path) -> _Read:
    with opened(path) as file, sentences(path):
        with zipfile.ZipFile(file) as members:
            if sum(one.file_size for one in members.infolist()) > PICTURE_BYTES:
                raise ValueError("its arrays are too large")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return _from_dict(dict(arrays), path)


def _read_pngs(path: Path) -> _Read:
    if path.is_file():
        return None, gray(path)[None]
    names = [name for name in files_below(path) if name.endswith(".png")]
    return [name.removesuffix(".png") for name in names], [gray(path / name) for name in names]


def gray(path: Path, *, palette: bool = False) -> NDArray[Any]:
    """Read a gray PNG of 8 or 16 bits, uint8, uint16 or bool (H, W).

    Args:
        path: The file.
        palette: Whether a palette's indices are taken, too.

    Raises:
        Ws3Error: If it can't be read, or is another picture.
    """
    data = read_bytes(path)
    with sentences(path), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.mode not in ("1", "L", "I;16", "I") and not (palette and image.mode == "P"):
            raise ValueError(f"it is {image.mode}, but must be gray, of 8 or 16 bits")
        values = np.array(image)
    return values.astype(np.uint16) if values.dtype.itemsize > 1 else values


def _read_zarr(path: Path) -> _Read:
    import zarr

    for name in files_below(path):
        # A named pipe would be waited for without an end.
        _check(path / name)
    with sentences(path):
        found = zarr.open(path, mode="r")
        names = dict(found.attrs).get("classes")
        array: Any = found["map"] if isinstance(found, zarr.Group) else found
        maps = np.asarray(array[...])
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names, maps
        return None, maps


_READERS: Mapping[str, Callable[[Path], _Read]] = {
    "npy-dict": _read_dict,
    "npy": _read_array,
    "npz": _read_arrays,
    "png": _read_pngs,
    "zarr": _read_zarr,
    "tensorstore": _read_zarr,
}


def opened(path: Path) -> io.BufferedReader:
    """Open a file for reading.

    Raises:
        Ws3Error: If it can't be read, is no regular file, or too large.
    """
    try:
        return open_regular(path, PICTURE_BYTES)
    except OSError as error:
        raise Ws3Error(f"{path}: can't be read ({reason(error)})") from None


def _check(path: Path) -> None:
    try:
        check_regular(path, PICTURE_BYTES)
    except OSError as error:
        raise Ws3Error(f"{path}: can't be read ({reason(error)})") from None


@contextmanager
def sentences(path: Path, what: str = "maps") -> Iterator[None]:
    """Turn what a library raises about a damaged file, in many types, into one sentence."""
    try:
        yield
    except Ws3Error:
        raise
    except Exception as error:
        raise Ws3Error(f"{path}: this can't be read as {what} ({reason(error)})") from None


__all__ = ["NOTES", "Imported", "gray", "opened", "read_imported", "sentences"]
