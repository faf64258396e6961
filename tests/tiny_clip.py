"""A CLIP so small that tests can draw its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

TINY_CLIP = "open_clip:tiny_clip"
"""Its architecture; its activation is QuickGELU."""


def add_tiny_clip() -> Any:
    """Tell open_clip of it, and return open_clip; without that package the test is skipped."""
    open_clip = pytest.importorskip(
        "open_clip", reason="open_clip isn't installed: pip install 'ws3-seg[clip]'"
    )
    open_clip.add_model_config(Path(__file__).with_name("tiny_clip.json"))
    return open_clip


def tiny_clip(**vision: Any) -> nn.Module:
    """Return the network of open_clip's with drawn weights, the same at each call."""
    open_clip = add_tiny_clip()
    settings = open_clip.get_model_config("tiny_clip")
    settings["vision_cfg"] |= vision
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip: nn.Module = open_clip.CLIP(**settings)
        # Livelier than open_clip draws them, or all texts and all images are alike.
        for name, parameter in clip.named_parameters():
            if parameter.ndim > 1 or name.endswith("bias"):
                nn.init.normal_(parameter, std=0.1 if name.endswith("conv1.weight") else 0.4)
    return clip.eval().requires_grad_(False)
