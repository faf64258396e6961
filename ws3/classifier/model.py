"""A classifier: a backbone, a head, and all that is needed to feed them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from ws3.classifier.networks import auxiliary, normalised_as, taken_apart
from ws3.config.classifier import OWN_STRIDE, Texts
from ws3.errors import Ws3Error
from ws3.messages import shortened, shown
from ws3.pixels import IMAGENET_MEAN, IMAGENET_STD, RGB

# What pooled features may pass between the pooling and the linear layer without changing in
# evaluation mode.
_NEUTRAL = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)


@dataclass(frozen=True)
class Classifier:
    """A multi-label classifier with all that is needed to feed it.

    Any pair of modules will do. Where the head is exactly global average pooling and one linear
    layer, the class activation map (CAM) is exact; methods that need more than that say so.

    Attributes:
        backbone: From normalised images (B, 3, H, W) of any size to the last spatial features
            (B, F, h, w), or where a transformer's class token classifies, to these with that token
            (`ws3.classifier.tokens.TokenMap`). Samples of a batch must not influence each other in
            evaluation mode.
        head: From those features to the logits (B, classes). A linear layer, or an `nn.Sequential`
            that begins with one (after dropout), takes pooled features (B, F): global average
            pooling is then put before it.
        classes: Class names, in the order of the logits.
        mean: Mean of RGB in [0, 1] that is subtracted from the input.
        std: Standard deviation of RGB in [0, 1] that the input is divided by.
        input_size: Side in pixels of the input that it is made for.
        architecture: The name under which `classifier.architecture` builds this network, which a
            checkpoint needs; None: a network that has no such name.
        network: The whole network, if `backbone` and `head` are parts of one whose parameter names
            matter; by default one after the other.
        output_stride: Pixels of the input per pixel of the features, per side, where
            `classifier.output_stride` made them finer; 32: the network is as it was built.
        texts: What the head was made of, where that is texts and not training. Its logits are then
            log-odds against all other classes and the background, their sigmoid the softmax.

    Example:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU())
        >>> classifier = Classifier(backbone, nn.Linear(8, 2), ("cat", "dog"), input_size=64)
        >>> import torch
        >>> classifier.network(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 2])
    """

    backbone: nn.Module
    head: nn.Module
    classes: Sequence[str]
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    input_size: int = 224
    architecture: str | None = None
    network: nn.Module = field(default_factory=nn.Identity)
    output_stride: int = OWN_STRIDE
    texts: Texts | None = None

    def __post_init__(self) -> None:
        """Complete the head and the network.

        Raises:
            Ws3Error: If a part is not a module, or the classes are not distinct names.
        """
        for name in ("backbone", "head"):
            part = getattr(self, name)
            if not isinstance(part, nn.Module):
                raise Ws3Error(
                    f"the {name} of a classifier must be a torch.nn.Module, not "
                    f"{type(part).__name__}; wrap a function in a module"
                )
        classes = (self.classes,) if isinstance(self.classes, str) else tuple(self.classes)
        if not classes or len(set(classes)) < len(classes):
            raise Ws3Error(f"a classifier needs one name per class, each different, not {classes}")
        object.__setattr__(self, "classes", classes)
        if _takes_pooled_features(self.head):
            pooling = (nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
            object.__setattr__(self, "head", nn.Sequential(*pooling, self.head))
        if type(self.network) is nn.Identity:
            object.__setattr__(self, "network", nn.Sequential(self.backbone, self.head))

    @classmethod
    def from_torchvision(
        cls, network: nn.Module, classes: Sequence[str], input_size: int = 224
    ) -> Classifier:
        """Wrap a classification network of torchvision's, which is not copied.

        Args:
            network: An instance of one of the families in `ws3.classifier.networks`; ImageNet's
                mean and standard deviation are assumed, for GoogLeNet and Inception 0.5.
            classes: Class names, in the order of its logits.
            input_size: Side in pixels of the input that it is made for.

        Raises:
            Ws3Error: If it is another network.
        """
        backbone, head, whole = taken_apart(network)
        mean, std = normalised_as(type(network))
        return cls(backbone, head, classes, mean, std, input_size=input_size, network=whole)

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """What the names of tensors begin with that only ImageNet's training has."""
        return auxiliary(self.network)

    @property
    def name(self) -> str:
        """What messages call the network: its architecture, or its backbone's type."""
        return self.architecture or type(self.backbone).__name__

    def indices(self, classes: Sequence[str | int]) -> list[int]:
        """Return the logit indices of classes, given by name or by index.

        Raises:
            Ws3Error: If the classifier has no such class.
        """
        names = list(self.classes)
        found = []
        for wanted in classes:
            if isinstance(wanted, str):
                known = wanted in names
                index = names.index(wanted) if known else -1
            else:
                index = int(wanted)
                known = 0 <= index < len(names)
            if not known:
                raise Ws3Error(
                    f"the classifier has no class {shown(wanted)}; it has: "
                    f"{shortened(', '.join(names))}"
                )
            found.append(index)
        return found


def cam_weight(head: nn.Module) -> Tensor | None:
    """Return the weight (classes, F) of a head that is only pooling and one linear layer.

    The layer may also be a 1 x 1 convolution, before or after the pooling; dropout and flattening
    don't count. The logits are then the average of the class activation maps plus a bias.

    Args:
        head: From spatial features (B, F, h, w) to the logits.

    Returns:
        The weight, shared with the head, or None for any other head.
    """
    layers = [layer for layer in _leaves(head) if not isinstance(layer, _NEUTRAL)]
    pools = [layer for layer in layers if isinstance(layer, nn.AdaptiveAvgPool2d)]
    others = [layer for layer in layers if not isinstance(layer, nn.AdaptiveAvgPool2d)]
    if len(pools) != 1 or pools[0].output_size not in (1, (1, 1)) or len(others) != 1:
        return None
    (last,) = others
    if isinstance(last, nn.Linear) and layers[-1] is last:
        return last.weight
    if isinstance(last, nn.Conv2d):
        pointwise = {*last.kernel_size, *last.stride, last.groups} == {1}
        return last.weight.flatten(1) if pointwise and last.padding == (0, 0) else None
    return None


def backbone_and_head_parameters(
    classifier: Classifier,
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of all but the last layer, and those of the last layer."""
    with_weights = [
        module for module in classifier.head.modules() if list(module.parameters(recurse=False))
    ]
    last = list(with_weights[-1].parameters(recurse=False)) if with_weights else []
    ids = {id(parameter) for parameter in last}
    return [p for p in classifier.network.parameters() if id(p) not in ids], last


class LayerTracer(fx.Tracer):
    """Takes a module without parts for one layer, whoever wrote it.

    Of a rectifier that is smooth in the backward pass, a trace would keep the forward pass alone;
    and a convolution that pads by the size of its input can't be traced through.
    """

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        """Return whether the graph calls a module as a whole."""
        return not any(True for _ in module.children()) or super().is_leaf_module(
            module, module_qualified_name
        )


def folded(part: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode with batch norms folded into the convolutions before them.

    A part that torch.fx can't trace is copied as it is; one with a method `folded` does it itself.
    """
    if callable(getattr(part, "folded", None)):
        result: nn.Module = part.folded()  # type: ignore[operator]
        return result
    duplicate = copy.deepcopy(part).eval()
    try:
        traced = fx.GraphModule(duplicate, LayerTracer().trace(duplicate))
        return fuse(traced, no_trace=True)
    except Exception:
        # Any kind, as the tracer runs the network's own code on stand-ins for tensors.
        return duplicate


def _takes_pooled_features(head: nn.Module) -> bool:
    if isinstance(head, nn.Sequential):
        layers = [layer for layer in head if not isinstance(layer, nn.Dropout | nn.Identity)]
        return bool(layers) and _takes_pooled_features(layers[0])
    return isinstance(head, nn.Linear)


def _leaves(module: nn.Module) -> list[nn.Module]:
    """Return the layers of nested `nn.Sequential`s, in order; any other module is one layer."""
    if isinstance(module, nn.Sequential):
        return [leaf for child in module for leaf in _leaves(child)]
    return [module]
