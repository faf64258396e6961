"""Segmentation networks by name, and their pretrained backbones.

Every network maps images (N, 3, H, W) to a dict whose "out" is the logits (N, classes, H, W), and
has the parts `backbone` and `classifier`, as torchvision's do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, mobilenet_v2, resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import LRASPP, DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from ws3.config.segmentation import NETWORKS, SMP, segmentation_network
from ws3.errors import Ws3Error
from ws3.messages import shown
from ws3.tensors import read_tensors, unusable_tensor

PARTS = ("backbone", "classifier")
"""Submodules that every network has: a learning rate of its own is theirs."""

_HEADS = ("fc.", "classifier.")


def build(architecture: str, classes_with_background: int, weights: str | None) -> nn.Module:
    """Build a segmentation network; new parts are drawn from torch's global generator.

    Args:
        architecture: A name that `ws3.config.segmentation.segmentation_network` knows.
        classes_with_background: Number of output channels, 2 to 255.
        weights: What the backbone starts from: "imagenet" (torchvision downloads it), the path of
            a state dict of the same backbone's torchvision classification network (also within
            {"state_dict": ...}, as in ws3's classifier.pt), or None.

    Returns:
        The network, in training mode, on the CPU.

    Raises:
        Ws3Error: If the architecture is unknown or lacks a part, or the weights can't be had or
            don't fit.
    """
    if not architecture.startswith(SMP) and architecture not in NETWORKS:
        raise Ws3Error(
            f"segmentation.architecture: {shown(architecture)} is unknown; "
            f"{NETWORKS.choice(architecture)}"
        )
    if not 2 <= classes_with_background <= 255:
        raise ValueError(f"2 to 255 classes with background, not {classes_with_background}")
    entry = segmentation_network(architecture)
    network = entry.build(classes_with_background)
    parts = dict(network.named_children())
    lacking = [name for name in PARTS if name not in parts]
    if lacking:
        raise Ws3Error(
            f"the segmentation network {architecture} has no part {lacking[0]!r}; the package that "
            f"adds it must name its parts {' and '.join(PARTS)}"
        )
    if weights is not None and entry.load is not None:
        entry.load(parts["backbone"], weights)
    elif weights is not None:
        if entry.backbone is None:
            raise Ws3Error(
                f"segmentation.weights: the network {architecture} can't start from weights; "
                "leave them out"
            )
        _load_backbone(parts["backbone"], entry.backbone, weights)
    return network


def torchvision_network(name: str, classes: int) -> nn.Module:
    """Return one of torchvision's own segmentation networks, with random weights.

    Args:
        name: Torchvision's name, such as `fcn_resnet50`.
        classes: Number of output channels.
    """
    network: nn.Module = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    return network


def deeplabv3_mobilenet_v2(classes: int) -> nn.Module:
    """Return DeepLabV3 on MobileNetV2, which torchvision doesn't have.

    The head reads the 320 channels before the last layer (Sandler et al. 2018, arXiv 1801.04381,
    section 6.3).

    Args:
        classes: Number of output channels.
    """
    head = DeepLabHead(320, classes, atrous_rates=(6, 12, 18))
    network: nn.Module = DeepLabV3(MobileNetV2Stages({17: "out"}), head)
    return network


def lraspp_mobilenet_v2(classes: int) -> nn.Module:
    """Return LR-ASPP on MobileNetV2, which torchvision doesn't have.

    The head reads the outputs at stride 8 (32 channels) and 16 (1280 channels) (Howard et al.
    2019, arXiv 1905.02244).

    Args:
        classes: Number of output channels.
    """
    stages = MobileNetV2Stages({6: "low", 18: "high"})
    network: nn.Module = LRASPP(stages, low_channels=32, high_channels=1280, num_classes=classes)
    return network


def lraspp_resnet18(classes: int) -> nn.Module:
    """Return LR-ASPP on ResNet-18 without its last stage, which torchvision doesn't have.

    The head reads the outputs at stride 8 (128 channels) and 16 (256 channels), the strides that
    LR-ASPP has elsewhere (Howard et al. 2019, arXiv 1905.02244); the stage left out has stride 32.

    Args:
        classes: Number of output channels.
    """
    backbone = IntermediateLayerGetter(resnet18(weights=None), {"layer2": "low", "layer3": "high"})
    network: nn.Module = LRASPP(backbone, low_channels=128, high_channels=256, num_classes=classes)
    return network


class MobileNetV2Stages(nn.Sequential):
    """MobileNetV2's blocks at output stride 16, returning some of their outputs.

    The last strided block keeps its resolution, and the blocks after it are dilated by 2 (Chen et
    al. 2017, arXiv 1706.05587), so every second pixel equals the undilated network's output.

    Args:
        returned: From block number to the name of its output. Blocks after the last are left out.
    """

    def __init__(self, returned: Mapping[int, str]) -> None:
        blocks = list(mobilenet_v2(weights=None).features)
        for number in (14, 15, 16, 17):
            for layer in blocks[number].modules():
                if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                    layer.stride = (1, 1)
                    if number > 14:
                        layer.dilation = layer.padding = (2, 2)
        super().__init__(*blocks[: max(returned) + 1])
        self.returned = dict(returned)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the named outputs for images (N, 3, H, W)."""
        outputs = {}
        features = images
        for number, block in enumerate(self):
            features = block(features)
            if number in self.returned:
                outputs[self.returned[number]] = features
        return outputs


def _load_backbone(backbone: nn.Module, name: str, weights: str) -> None:
    """Copy a classification network's state dict, less its head, into a backbone."""
    if weights == "imagenet":
        state, source = _imagenet(name), f"torchvision's {name}"
    else:
        source = weights
        content = read_tensors(
            Path(weights), f"segmentation.weights wants a state dict of torchvision's {name}"
        )
        # ws3's own classifiers, as others' checkpoints, keep their weights under this key.
        wrapped = content.get("state_dict")
        state = wrapped if isinstance(wrapped, dict) else content
    # On the meta device the network costs no memory: only its names and shapes are wanted.
    with torch.device("meta"):
        expected = get_model(name, weights=None).state_dict()
    problem = _mismatch(state, expected) or unusable_tensor(state)
    if problem:
        raise Ws3Error(
            f"{source} is not a state dict of torchvision's {name} ({problem}); give one, or set "
            "segmentation.architecture to one with the backbone that the file was made for"
        )
    wanted = backbone.state_dict().keys()
    renamed = {key.removeprefix("features."): value for key, value in state.items()}
    backbone.load_state_dict(
        {key: value for key, value in renamed.items() if key in wanted}, strict=False
    )


def _mismatch(state: Mapping[str, Any], expected: Mapping[str, Tensor]) -> str:
    """Say how a state dict differs from the expected one, heads aside; '' if it doesn't."""
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            return f"{shown(str(key))} is not a tensor"
        if key.startswith(_HEADS):
            continue
        if key not in expected:
            return f"unknown {shown(key)}"
        if value.shape != expected[key].shape:
            return f"{shown(key)} is {tuple(value.shape)}, not {tuple(expected[key].shape)}"
    for key in expected:
        # Files from before PyTorch 0.4.1 have no such counters, and nothing here reads them.
        if key not in state and not key.startswith(_HEADS) and "num_batches_tracked" not in key:
            return f"{shown(key)} is missing"
    return ""


def _imagenet(name: str) -> dict[str, Any]:
    try:
        state: dict[str, Any] = get_model_weights(name).IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise Ws3Error(
            f"segmentation.weights: torchvision could not download the ImageNet weights of {name} "
            f"({error}); download them elsewhere and set segmentation.weights to the file"
        ) from error
    return state
