"""One small network of each family, with weights drawn: for tests of what works on all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lively_norms import with_lively_norms
from tiny_clip import TINY_CLIP, add_tiny_clip
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier

CLASSES = ("cat", "dog", "owl")


def _vit() -> Any:
    return models.VisionTransformer(
        image_size=64,
        patch_size=16,
        num_layers=4,
        num_heads=2,
        hidden_dim=24,
        mlp_dim=48,
        num_classes=3,
    )


def _swin() -> Any:
    return models.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=12,
        depths=[2, 2, 2, 2],
        num_heads=[2, 2, 2, 2],
        window_size=[4, 4],
        num_classes=3,
    )


def _maxvit() -> Any:
    return models.MaxVit(
        input_size=(64, 64),
        stem_channels=8,
        partition_size=2,
        block_channels=[8, 8, 16, 16],
        block_layers=[1, 1, 1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
        num_classes=3,
    )


def _convnext() -> Any:
    sizes = [(8, 12), (12, 16), (16, 24), (24, None)]
    return models.ConvNeXt([CNBlockConfig(a, b, 1) for a, b in sizes], num_classes=3)


_TORCHVISION: dict[str, Callable[[], nn.Module]] = {
    "vit": _vit,
    "swin": _swin,
    "maxvit": _maxvit,
    "convnext": _convnext,
    "googlenet": partial(
        models.googlenet, num_classes=3, init_weights=False, aux_logits=False, weights=None
    ),
    "inception": partial(
        models.inception_v3, num_classes=3, init_weights=False, aux_logits=False, weights=None
    ),
}

NETWORKS = (
    *_TORCHVISION,
    "resnet18",
    "vgg11_bn",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "timm:test_vit",
    "timm:test_vit4",
    "timm:test_convnext",
    "timm:test_maxvit",
    "timm:test_mambaout",
    TINY_CLIP,
)
"""Names that `small_network` knows."""


def small_network(name: str, input_size: int = 64) -> Classifier:
    """Return an untrained classifier of three classes, the same at each call.

    Args:
        name: Of a family of torchvision's, or of a network.
        input_size: Side in pixels of its input.
    """
    if name == TINY_CLIP:
        add_tiny_clip()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name in _TORCHVISION:
            classifier = Classifier.from_torchvision(_TORCHVISION[name](), CLASSES, input_size)
        else:
            classifier = build_classifier(name, CLASSES, input_size)
        with_lively_norms(classifier.network)
        # New heads are often 0, and new layer scales nearly.
        for parameter in classifier.network.parameters():
            if parameter.std() < 1e-3 or parameter.ndim == 0:
                nn.init.normal_(parameter, std=0.3)
    classifier.network.eval().requires_grad_(False)
    return classifier
