"""What torch computes on, with which arithmetic, and how results come back: in one place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ws3.config.recipes import Precision
from ws3.errors import Ws3Error


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute within the block with one precision; outside, all is as before.

    `fp32` switches TF32 off, which cuDNN otherwise uses for convolutions unasked; `tf32` switches
    it on for convolutions and matrix products, and is fp32 on a device without it, such as a CPU;
    `bf16` is autocast. Maps of input gradients differ between them: see docs/study.md, Precision.

    Args:
        precision: `fp32`, `tf32` or `bf16`.
        device: Where the network is.
    """
    cudnn: Any = torch.backends.cudnn  # its parts are unknown to type checkers
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


def multiplies_bf16() -> bool:
    """Return whether this CPU has instructions for products in bf16; without them it is slow."""
    try:
        return "_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one CPU thread within the block, so that rounding is the same on any machine."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device(name: torch.device | str) -> torch.device:
    """Return the device of that name; `auto` is a GPU if there is one.

    Args:
        name: `auto`, `cpu`, `cuda`, or a device of torch's, which is returned as it is.

    Raises:
        Ws3Error: If `cuda` is asked for and torch finds no GPU.
    """
    if isinstance(name, torch.device) or name not in ("auto", "cpu", "cuda"):
        return torch.device(name)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise Ws3Error(
            "device: cuda is asked for, but torch finds no GPU here; use 'auto' or 'cpu', or "
            "install a torch built for CUDA"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def fetched(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, which is there once the device has come to this point.

    The caller doesn't wait: a `Moment` after it tells when. On a CPU the copy is there at once.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)


class Moment:
    """A point in a device's order of work, which is now on a CPU.

    Example:
        >>> first = Moment(torch.device("cpu"))
        >>> second = Moment(torch.device("cpu"))
        >>> second.wait()
        >>> second.since(first) >= 0
        True
    """

    def __init__(self, device: torch.device) -> None:
        self._clock, self._event = time.monotonic(), None
        if device.type == "cuda":
            new_event: Any = torch.cuda.Event
            self._event = new_event(enable_timing=True)
            self._event.record(torch.cuda.current_stream(device))

    def wait(self) -> None:
        """Wait until the device has come to this point."""
        if self._event is not None:
            self._event.synchronize()

    def since(self, earlier: Moment) -> float:
        """Return the seconds from another point; both must have passed."""
        if self._event is not None and earlier._event is not None:
            return float(earlier._event.elapsed_time(self._event)) / 1000
        return self._clock - earlier._clock


def device_facts(device: torch.device, precision: Precision) -> dict[str, str]:
    """Return what a result depends on beside its fingerprint: device, precision, versions.

    Example:
        >>> device_facts(torch.device("cpu"), "fp32")["device"]
        'cpu'
    """
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "precision": precision,
        "torch": torch.__version__,
        "cuda": (torch.version.cuda or "") if cuda else "",
    }
