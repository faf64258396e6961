"""Files of tensors: written atomically, read without unpickling code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from ws3.errors import Ws3Error
from ws3.files import write_bytes


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write a dict of tensors and plain values so that `path` is never half written.

    Args:
        path: The file; its folder is created if needed.
        content: What `torch.load(..., weights_only=True)` can read back.

    Raises:
        Ws3Error: The file can't be written.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def read_tensors(path: Path, advice: str) -> dict[str, Any]:
    """Read a file of tensors onto the CPU; nothing in it is executed.

    Args:
        path: The file.
        advice: What the user should do if it can't be used; ends the error's sentence.

    Returns:
        The dict that the file holds.

    Raises:
        Ws3Error: The file is missing, damaged, holds anything but tensors and plain values, or is
            no dict.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Ws3Error(f"{path} can't be read ({error.strerror or error}); {advice}") from error
    # torch reports a damaged or foreign file through many exception types (UnpicklingError,
    # RuntimeError, EOFError, KeyError, ...); all of them mean the same to the user.
    except Exception as error:
        raise Ws3Error(f"{path} is damaged or not a file of tensors alone; {advice}") from error
    if not isinstance(content, dict):
        raise Ws3Error(f"{path} holds a {type(content).__name__}, not a dict; {advice}")
    return content
