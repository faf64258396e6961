"""Files of tensors: written atomically, read without unpickling code."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.messages import reason, shortened, shown
from ws3.outside import TENSORS_BYTES, check_regular

SAFETENSORS = ".safetensors"
"""What the name of a file in that format ends in."""

Fault = Literal["unreadable", "code", "damaged", "no dict"]


class UnusableError(Exception):
    """A file of tensors can't be used.

    Attributes:
        fault: `unreadable`: the system can't read it. `code`: it is damaged, or holds Python
            objects or a program that would have to be executed. `damaged`: torch can't read it for
            another reason. `no dict`: it holds something else.
        detail: The system's reason, or the type of what the file holds; else empty.
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault, detail)
        self.fault, self.detail = fault, detail


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


def load_tensors(path: str | Path) -> dict[Any, Any]:
    """Return the dict in a file of tensors, on the CPU; nothing in it is executed.

    The file is torch's, or where its name ends in `.safetensors` one of that format.

    Raises:
        UnusableError: The file is missing, no regular file, too large, damaged, holds anything
            but tensors and plain values, or is no dict.
    """
    try:
        check_regular(path, TENSORS_BYTES)
        if Path(path).suffix == SAFETENSORS:
            return _load_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is said in a sentence
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ImportError) as error:
        raise UnusableError("unreadable", reason(error)) from error
    except pickle.UnpicklingError as error:
        raise UnusableError("code") from error
    # torch reports a damaged or foreign file through many more exception types (RuntimeError,
    # EOFError, KeyError, ...); all of them mean the same to the user.
    except Exception as error:
        of_script = "TorchScript" in str(error)  # a program, as OpenAI's CLIPs are published
        raise UnusableError("code" if of_script else "damaged") from error
    if not isinstance(content, dict):
        raise UnusableError("no dict", type(content).__name__)
    return content


def _load_safetensors(path: str | Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            "the package safetensors isn't installed; pip install 'ws3-seg[timm]' adds it"
        ) from error
    state: dict[str, Tensor] = load_file(path, device="cpu")
    return state


def read_tensors(path: Path, advice: str) -> dict[str, Any]:
    """Read a file of tensors that ws3 wrote, or that is named in the config.

    Args:
        path: The file.
        advice: What the user should do if it can't be used; ends the error's sentence.

    Returns:
        The dict that the file holds, on the CPU.

    Raises:
        Ws3Error: See `load_tensors`.
    """
    try:
        return load_tensors(path)
    except UnusableError as error:
        known = {
            "unreadable": f"can't be read ({error.detail})",
            "no dict": f"holds a {error.detail}, not a dict",
        }
        wrong = known.get(error.fault, "is damaged or not a file of tensors alone")
        raise Ws3Error(f"{path} {wrong}; {advice}") from error


def unusable_tensor(state: Mapping[str, Tensor]) -> str:
    """Say which of a network's tensors can't be weights; "" if all can.

    Torch would take many of them over changed, or every score would be NaN.

    Args:
        state: Tensors by name.

    Example:
        >>> unusable_tensor({"a": torch.ones(2), "b": torch.tensor([0.0, float("nan")])})
        "its tensor 'b' holds NaN or infinite numbers"
    """
    for name, value in state.items():
        wrong = ""
        if value.is_meta:
            wrong = "has no values"
        elif value.layout != torch.strided:
            wrong = "is sparse"
        elif value.is_quantized:
            wrong = "is quantised"
        elif value.is_complex():
            wrong = "is complex"
        elif value.is_floating_point() and not value.float().isfinite().all():
            wrong = "holds NaN or infinite numbers"
        elif name.endswith("running_var") and bool((value < 0).any()):
            wrong = "holds a negative variance"
        if wrong:
            return f"its tensor {shown(name)} {wrong}"
    return ""


def misfits(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Say which tensors can't be a network's weights; an empty list if all fit.

    Args:
        network: The network.
        state: Tensors by name; each has passed `unusable_tensor`. BatchNorm's counters, which old
            files lack and evaluation doesn't need, may be absent.
    """
    own = network.state_dict()
    known = [(name, value, own[name]) for name, value in state.items() if name in own]
    return [
        *(
            f"{name} holds {value.dtype}, not floating-point numbers"
            for name, value, place in known
            if place.is_floating_point() and not value.is_floating_point()
        ),
        *(
            f"{name} has shape {shortened(str(tuple(value.shape)))}, not {tuple(place.shape)}"
            for name, value, place in known
            if place.shape != value.shape
        ),
        *(
            f"it has no {name}"
            for name in own
            if name not in state and not name.endswith("num_batches_tracked")
        ),
        *(f"{shortened(name)} has no place in the network" for name in state if name not in own),
    ]


def in_a_word(value: object) -> str:
    """Return what stands for a value of a file of tensors in a message."""
    return "a tensor" if isinstance(value, Tensor) else shown(value)
