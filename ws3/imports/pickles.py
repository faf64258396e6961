"""Pickled dicts of arrays, as `numpy.save` writes them, read without running anything in them.

A pickle can name any function of any installed package and have it called. Here a name is looked
up in a short table, whose functions make numpy arrays and numbers, and torch tensors on the CPU;
every other name is refused before anything of it is imported.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ws3.errors import Ws3Error
from ws3.messages import reason, shortened
from ws3.outside import PICTURE_BYTES, open_regular

_NUMBERS = re.compile(r"[biuf][1248]")


class _Name:
    """Stands for a class that a pickle may name as an argument, but not call."""


class _Type:
    """Stands for a dtype: numpy's own would take over any state from the pickle, and crash."""

    def __init__(self, name: Any, *_: Any) -> None:
        is_object = name in ("O", "O8")
        if not is_object and not (isinstance(name, str) and _NUMBERS.fullmatch(name)):
            raise pickle.UnpicklingError(f"it holds values of the type {shortened(str(name), 40)}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """Stands for an array until all is read."""

    value: Any = None

    def __init__(self, *_: Any) -> None:
        """Take nothing over: `__setstate__` brings the values."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if kind.dtype == object:
            if shape != () or not isinstance(data, list) or len(data) != 1:
                raise pickle.UnpicklingError("it holds an array of objects")
            self.value = data[0]
        else:
            self.value = _from_buffer(data, kind, shape, "F" if fortran else "C").value


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    if kind.dtype == object:
        raise pickle.UnpicklingError("it holds an array of objects")
    array = _Array()
    array.value = np.frombuffer(data, kind.dtype).reshape(shape, order=order)
    return array


def _encode(text: Any, coding: Any = "latin1") -> bytes:
    """Return bytes that an old pickle has as a text."""
    if not isinstance(text, str) or coding != "latin1":
        raise pickle.UnpicklingError("it holds a text that stands for no bytes")
    return text.encode(coding)


def _scalar(kind: Any, data: Any) -> Any:
    if kind.dtype == object:
        raise pickle.UnpicklingError("it holds a scalar that is no number")
    return np.frombuffer(data, kind.dtype, count=1)[0]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Array:
    import torch

    if any(not isinstance(number, int) or number < 0 for number in (offset, *size, *stride)):
        raise pickle.UnpicklingError("it holds a tensor of no possible shape")
    tensor = torch.empty(0, dtype=storage.dtype)
    tensor.set_(storage._untyped_storage, offset, torch.Size(size), tuple(stride))
    array = _Array()
    array.value = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _storage(data: Any) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is said in a sentence
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise pickle.UnpicklingError("it holds a tensor with code, which would be run") from None


def _plain(value: Any) -> Any:
    """Return a value with arrays in place of what stood for them."""
    if isinstance(value, _Array):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any] | _Name] = {
    **{
        (f"{package}.multiarray", name): function
        for package in ("numpy.core", "numpy._core")
        for name, function in (("_reconstruct", _Array), ("scalar", _scalar))
    },
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _Name(),
    ("numpy", "dtype"): _Type,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}


class _Unpickler(pickle._Unpickler):
    """Knows dicts, lists, texts, numbers, numpy's arrays and scalars, and torch's tensors.

    It is the one in Python: that in C makes room for as many entries as a damaged file says. Of
    some dozen steps per file, whose arrays are read in one each, it takes no more time.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name in the table.

        Raises:
            UnpicklingError: If it isn't there.
        """
        try:
            return _ALLOWED[module, name]
        except KeyError:
            named = shortened(f"{module}.{name}", 80)
            raise pickle.UnpicklingError(f"it holds {named}, which would have to be run") from None

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what lies outside of the file.

        Raises:
            UnpicklingError: Always.
        """
        raise pickle.UnpicklingError("it points to what lies outside of the file")


def read_pickled_dict(path: str | Path) -> dict[Any, Any]:
    """Return the dict in a file that `numpy.save` wrote; nothing in it is run.

    Args:
        path: The file.

    Returns:
        The dict; torch tensors in it have become numpy arrays.

    Raises:
        Ws3Error: If the file can't be read, is damaged, or holds anything but a dict of texts,
            numbers, arrays and tensors; the message names it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     np.save(Path(name, "cat.npy"), {"keys": np.array([3])}, allow_pickle=True)
        ...     read_pickled_dict(Path(name, "cat.npy"))
        {'keys': array([3])}
    """
    try:
        with open_regular(path, PICTURE_BYTES) as file:
            found = _read(file, path)
    except OSError as error:
        raise Ws3Error(f"{path}: can't be read ({reason(error)})") from None
    if not isinstance(found, dict):
        raise Ws3Error(f"{path}: it holds a {type(found).__name__}, not a dict")
    return found


def _read(file: BinaryIO, path: str | Path) -> Any:
    try:
        start = file.read(len(_HEADER))
        if start != _HEADER:
            file.seek(0)
            _check_header(file, path)
        return _plain(_Unpickler(file).load())
    except (OSError, Ws3Error):
        raise
    except pickle.UnpicklingError as error:
        raise Ws3Error(
            f"{path}: {reason(error)}; only dicts of texts, numbers, arrays and tensors are read"
        ) from None
    # A damaged or hostile pickle raises nearly anything: EOFError, TypeError, MemoryError, ...
    except Exception as error:
        raise Ws3Error(f"{path}: this is no intact pickled dict ({reason(error)})") from None


def _check_header(file: BinaryIO, path: str | Path) -> None:
    """Read a header, which must be that of a single object, as `numpy.load` does."""
    major, _ = np.lib.format.read_magic(file)
    read_header = {
        1: np.lib.format.read_array_header_1_0,
        2: np.lib.format.read_array_header_2_0,
    }[major]
    shape, _, dtype = read_header(file)
    if not dtype.hasobject or shape != ():
        raise Ws3Error(f"{path}: this is an array and no pickled dict; set import.format: npy")


def _usual_header() -> bytes:
    """Return the bytes before the pickle of a single object, as numpy writes them today."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, _SINGLE)
    return buffer.getvalue()


_SINGLE = {"descr": "|O", "fortran_order": False, "shape": ()}
# Taking it to pieces takes as long as unpickling a map's dict.
_HEADER = _usual_header()


__all__ = ["read_pickled_dict"]
