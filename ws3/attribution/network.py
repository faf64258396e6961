"""The classifier as attribution methods see it: frozen, folded, and split in two."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ws3.attribution.layers import UntraceableError, cut_at
from ws3.attribution.smooth_relu import with_smooth_relu
from ws3.attribution.taps import Taps, chain_layers, transformer_layers
from ws3.classifier.log_odds import LogOdds
from ws3.classifier.model import Classifier, cam_weight, folded
from ws3.classifier.output_stride import reduce_output_stride
from ws3.classifier.tokens import TokenBackbone, TokenMap, attends
from ws3.errors import Ws3Error


class AttributionNetwork:
    """A frozen copy of a classifier, made fast for input gradients.

    Batch norms are folded into the convolutions before them, parameters need no gradient, and the
    memory layout is channels-last. Folding changes the logits by rounding only, but gradients of a
    ReLU network by up to 3e-2 (relative L2), since a rounding can open or close a ReLU.

    Attributes:
        backbone: From the input to the last spatial features.
        classifier_head: From those features to the logits, or to the log-odds.
        cam_weight: Weight of the linear head (classes, F), or None where CAM isn't exact.
        architecture: What messages call the network.
        classes: Class names, in the order of the logits.
        attends: Whether the backbone has attention.
        input_size: Side in pixels of the input that the classifier was made for.
        device: Where the parameters are.
        mean: RGB mean (1, 3, 1, 1).
        std: RGB standard deviation (1, 3, 1, 1).
    """

    def __init__(
        self,
        classifier: Classifier,
        device: torch.device | str = "cpu",
        *,
        log_odds: bool = False,
        smooth_relu: float | None = None,
        output_stride: int | None = None,
        named_layers: bool = False,
    ) -> None:
        """Copy a classifier; the original isn't touched.

        Args:
            classifier: The trained classifier.
            device: Where to compute.
            log_odds: Whether the outputs are log-odds instead of logits; their sigmoid is the
                softmax over the classes. Those of a classifier of texts are log-odds in any case.
            smooth_relu: Sharpness of the softplus whose derivative every ReLU has; None: its own.
            output_stride: Pixels of the input per pixel of the last features, per side; None: the
                classifier's own. Weights are kept, and layers dilated.
            named_layers: Whether layers are looked at by their names, which folding would take
                away: nothing is folded then.

        Raises:
            Ws3Error: If log-odds are asked of a classifier with a single class, smooth ReLUs of a
                network that has neither ReLUs nor smooth activations, or an output stride that the
                network can't have.
        """
        backbone, head = copy.deepcopy((classifier.backbone, classifier.head))
        if output_stride is not None:
            reduce_output_stride(backbone, classifier.network, output_stride, classifier.name)
        backbone = backbone.eval() if named_layers else folded(backbone.eval())
        if smooth_relu is not None:
            backbone = with_smooth_relu(backbone, smooth_relu, classifier.name)
        weight = cam_weight(head)
        if log_odds and classifier.texts is None:
            if len(classifier.classes) < 2:
                raise Ws3Error(
                    "target: log_odds compares classes, but the classifier has only one; use "
                    "target: logit"
                )
            head = nn.Sequential(head, LogOdds(len(classifier.classes)))
        self.device = torch.device(device)
        self.backbone = self._frozen(backbone)
        self.classifier_head = self._frozen(head)
        self.cam_weight = None if weight is None else weight.detach().to(self.device)
        self.architecture = classifier.name
        self.classes = tuple(classifier.classes)
        self.input_size = classifier.input_size
        parameters = [*self.classifier_head.parameters(), *self.backbone.parameters()]
        reference = parameters[0] if parameters else torch.zeros(1, device=self.device)
        self.attends = attends(classifier.backbone)
        self._parts: dict[tuple[int, ...], list[nn.Module]] = {}
        self._names: dict[tuple[int, ...], tuple[str, ...]] = {}
        self.mean = reference.new_tensor(classifier.mean).view(1, 3, 1, 1)
        self.std = reference.new_tensor(classifier.std).view(1, 3, 1, 1)

    def _frozen(self, part: nn.Module) -> nn.Module:
        frozen = part.eval().requires_grad_(False).to(self.device)
        return frozen.to(memory_format=torch.channels_last)

    def normalise(self, images: Tensor) -> Tensor:
        """Return the network's input for RGB images (B, 3, H, W) in [0, 1] on its device."""
        return (images - self.mean) / self.std

    def through_layers(
        self, inputs: Tensor, strides: Sequence[int] | None = None, names: Sequence[str] = ()
    ) -> tuple[list[Tensor], Tensor]:
        """Return the outputs of some layers on the way, and the logits that they lead to.

        The first to be reached is a leaf: what lies before it takes no part in a backward pass.

        Args:
            inputs: Normalised, (B, 3, H, W).
            strides: Of the layers, ascending; see `ws3.attribution.layers.cut_at`, for a
                transformer `ws3.attribution.taps.transformer_layers`.
            names: Of the layers, as in the network, in place of strides. Without either, it is the
                last layer whose map the logits follow from.

        Returns:
            layers: Per layer (B, F, h, w), the tokens of a transformer as a map of their patches.
            logits: (B, classes).

        Raises:
            Ws3Error: If the network has no such layer, or it has no map.
        """
        if strides is None and not names and not self._by_prefix:
            with torch.no_grad():
                features = self._last(inputs)
            leaf = features.map if isinstance(features, TokenMap) else features
            leaf.requires_grad_()
            return [leaf], self.logits_from_features(features)
        tapped = tuple(names) or self._tapped(tuple(strides or ()))
        if tapped:
            with Taps(self.backbone, tapped, self.architecture) as taps:
                logits = self(inputs)
            return [taps.maps[name] for name in tapped], logits
        before, *parts = self._parts[tuple(strides or ())]
        with torch.no_grad():
            reached = before(inputs.contiguous(memory_format=torch.channels_last))
        layers = [reached.detach().requires_grad_()]
        for part in parts[:-1]:
            layers.append(part(layers[-1]))
        return layers, self.logits_from_features(parts[-1](layers[-1]))

    @property
    def _by_prefix(self) -> bool:
        """Whether tokens classify that stand for no place."""
        return isinstance(self.backbone, TokenBackbone) and bool(self.backbone.readers)

    def _tapped(self, strides: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of layers where a network is tapped; none where it has been cut."""
        if isinstance(self.backbone, TokenBackbone):
            return transformer_layers(self.backbone, strides)
        if strides not in self._parts and strides not in self._names:
            try:
                self._parts[strides] = cut_at(self.backbone, strides, self.architecture)
            except UntraceableError:
                self._names[strides] = chain_layers(self.backbone, strides, self.architecture)
        return self._names.get(strides, ())

    def features(self, inputs: Tensor) -> Tensor:
        """Return the last spatial features (B, F, h, w) of normalised inputs (B, 3, H, W).

        Raises:
            Ws3Error: If the backbone returns anything else.
        """
        result = self._last(inputs)
        return result.map if isinstance(result, TokenMap) else result

    def _last(self, inputs: Tensor) -> Tensor | TokenMap:
        result = self.backbone(inputs.contiguous(memory_format=torch.channels_last))
        if isinstance(result, TokenMap):
            return result
        if not isinstance(result, Tensor) or result.ndim != 4 or len(result) != len(inputs):
            raise Ws3Error(
                f"the backbone of {self.architecture} must return spatial features (B, F, h, w) "
                f"for {len(inputs)} images, but returned {_described(result)}; give the part of "
                "the network that comes before pooling"
            )
        return result

    def logits_from_features(self, features: Tensor | TokenMap) -> Tensor:
        """Return the logits (B, classes) of features (B, F, h, w).

        Raises:
            Ws3Error: If the head returns anything else, or needs more than the map.
        """
        logits = self.classifier_head(features)
        images = features.map if isinstance(features, TokenMap) else features
        expected = (len(images), len(self.classes))
        if not isinstance(logits, Tensor) or logits.shape != expected:
            raise Ws3Error(
                f"the head of {self.architecture} must return logits {expected}, one per image and "
                f"class, but returned {_described(logits)}; check the head and the class names"
            )
        return logits

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, classes) of normalised inputs (B, 3, H, W)."""
        return self.logits_from_features(self._last(inputs))


def _described(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"
