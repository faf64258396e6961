"""The arithmetic that a recipe asks for, said to torch explicitly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ws3.config.recipes import Precision


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute within the block with one precision; outside, all is as before.

    `fp32` switches TF32 off, which cuDNN otherwise uses for convolutions unasked; `tf32` switches
    it on for convolutions and matrix products, and is fp32 on a device without it, such as a CPU;
    `bf16` is autocast. Maps of input gradients differ between them: see the README.

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
