"""Networks of segmentation_models_pytorch, with the parts that ws3's networks have.

The package is optional: `pip install 'ws3-seg[smp]'`. It is imported when a configuration or a
model's file names one of its networks, `smp:NETWORK:ENCODER`, and not before.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn
from torch.nn import functional

from ws3.config.segmentation import smp_parts
from ws3.errors import Ws3Error
from ws3.messages import reason, shown
from ws3.registry import optional_package
from ws3.tensors import misfits, read_tensors, unusable_tensor

_WITH_PREFIX = "dpt"
"""Its decoder wants a transformer's class token too, which few encoders have."""
_TIMM = "tu-"
"""What begins the name of an encoder that is any network of timm's."""


class SmpNetwork(nn.Module):
    """An encoder, decoder and head of segmentation_models_pytorch as `backbone` and `classifier`.

    Args:
        model: A model of the package.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.get_submodule("encoder")
        self.classifier = nn.ModuleDict(
            {name: model.get_submodule(name) for name in ("decoder", "segmentation_head")}
        )
        self._multiple = int(getattr(self.backbone, "output_stride", 32))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"out": logits (N, classes, H, W)} for images (N, 3, H, W) of any size.

        The encoder halves sides that are multiples of its stride alone; others are filled up to
        the next one with their last row and column.
        """
        height, width = images.shape[-2:]
        fill = (0, -width % self._multiple, 0, -height % self._multiple)
        filled = functional.pad(images, fill, mode="replicate") if any(fill) else images
        logits = self.classifier["decoder"](self.backbone(filled))
        logits = self.classifier["segmentation_head"](logits)
        return {"out": logits[..., :height, :width]}


def smp_network(architecture: str, classes: int) -> nn.Module:
    """Return a network of segmentation_models_pytorch, with random weights.

    Args:
        architecture: `smp:NETWORK:ENCODER`.
        classes: Number of output channels.

    Raises:
        Ws3Error: If the package isn't installed, has no such network or encoder, or they don't go
            together.
    """
    package = _package(architecture)
    network, encoder = smp_parts(architecture)
    kinds = sorted(set(package.MODEL_ARCHITECTURES_MAPPING) - {_WITH_PREFIX})
    _check(architecture, "network", network.lower(), kinds)
    _check(architecture, "encoder", encoder, _encoders(package, encoder))
    try:
        # Weights stay out: the package would fetch them.
        model = package.create_model(
            network, encoder_name=encoder, encoder_weights=None, classes=classes
        )
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise Ws3Error(
            f"segmentation.architecture: {architecture}: this network doesn't go with this encoder "
            f"({reason(error)}); choose another encoder"
        ) from error
    return SmpNetwork(model)


def load_encoder(backbone: nn.Module, architecture: str, weights: str) -> None:
    """Copy weights into the encoder of a network.

    Args:
        backbone: The encoder.
        architecture: `smp:NETWORK:ENCODER`.
        weights: The file of a state dict with the encoder's own names; a head's are left out.

    Raises:
        Ws3Error: If it can't be had or doesn't fit.
    """
    _, encoder = smp_parts(architecture)
    if weights == "imagenet":
        raise Ws3Error(
            f"segmentation.weights: ws3 fetches no weights of {encoder}; save the state dict of "
            f"segmentation_models_pytorch.encoders.get_encoder({encoder!r}, weights='imagenet') "
            "where there is a connection, and give the file"
        )
    content = read_tensors(Path(weights), f"segmentation.weights wants a state dict of {encoder}")
    wrapped = content.get("state_dict")
    state = wrapped if isinstance(wrapped, dict) else content
    known = backbone.state_dict().keys()
    # torchvision and timm call a classification network's last layer one of these.
    heads = ("fc.", "_fc.", "classifier.", "head.", "last_linear.")
    kept = {
        key: value for key, value in state.items() if key in known or not str(key).startswith(heads)
    }
    wrong = unusable_tensor(kept) or next(iter(misfits(backbone, kept)), "")
    if wrong:
        raise Ws3Error(
            f"{weights} is not a state dict of segmentation_models_pytorch's encoder {encoder} "
            f"({wrong}); give one, or name the encoder that the file was made for"
        )
    # The encoders' own method knows no `strict`.
    nn.Module.load_state_dict(backbone, kept, strict=False)


def _package(architecture: str) -> ModuleType:
    who = f"segmentation.architecture: {architecture} is a network of segmentation_models_pytorch"
    return optional_package("segmentation_models_pytorch", who, "smp")


def _encoders(package: ModuleType, asked: str) -> Iterable[str]:
    """Return the encoders that there are; those of timm's only if one is asked for.

    Any other name, such as the address of a network elsewhere, is none.
    """
    if not asked.startswith(_TIMM):
        return list(package.encoders.get_encoder_names())
    import timm

    return [f"{_TIMM}{name}" for name in timm.list_models()]


def _check(architecture: str, what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"such as {', '.join(names[:12])}"
    raise Ws3Error(
        f"segmentation.architecture: {architecture}: segmentation_models_pytorch has no {what} "
        f"{shown(name)}; {hint}"
    )


__all__ = ["SmpNetwork", "load_encoder", "smp_network"]
