"""The classifier as attribution methods see it: frozen, folded, and split in two."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ws3.attribution.smooth_relu import with_smooth_relu
from ws3.classifier import networks
from ws3.classifier.checkpoints import Classifier
from ws3.errors import Ws3Error


class LogOdds(nn.Module):
    """From logits (B, classes) to log-odds: each logit minus the log-sum-exp of all others.

    Explained instead of the logit, it leaves out what speaks for every class alike; the gradient
    is that of "why this class and not another" (Wang and Wang 2022, "Why not other classes?",
    NeurIPS 35).
    """

    own: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("own", torch.eye(classes, dtype=torch.bool), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the contrasts (B, classes)."""
        others = logits.unsqueeze(1).masked_fill(self.own, -torch.inf)
        return logits - others.logsumexp(dim=2)


class AttributionNetwork:
    """A frozen copy of a classifier, made fast for input gradients.

    Batch norms are folded into the convolutions before them, parameters need no gradient, and the
    memory layout is channels-last. Folding changes the logits by rounding only, but gradients of a
    ReLU network by up to 3e-2 (relative L2), since a rounding can open or close a ReLU.

    Attributes:
        trunk: From the input to the last spatial features.
        tail: From those features to the logits, or to the contrasts.
        head: Weight of the linear head (classes, F), or None where CAM isn't exact.
        architecture: Torchvision's name of the network.
        classes: Class names, in the order of the logits.
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
        fold: bool = True,
        log_odds: bool = False,
        smooth_relu: float | None = None,
    ) -> None:
        """Copy a classifier; the original isn't touched.

        Args:
            classifier: The trained classifier.
            device: Where to compute.
            fold: Whether to fold batch norms; off, the arithmetic is exactly the network's own.
            log_odds: Whether the outputs are contrasts instead of logits; their sigmoid is the
                softmax over the classes.
            smooth_relu: Sharpness of the softplus whose derivative every ReLU has; None: its own.

        Raises:
            Ws3Error: If contrasts are asked of a classifier with a single class, or smooth ReLUs
                of a network that has no ReLU.
        """
        network = copy.deepcopy(classifier.network).eval()
        linear = networks.linear_head(network)
        trunk: nn.Module = networks.trunk(network)
        if fold:
            trunk = networks.folded(trunk)
        if smooth_relu is not None:
            trunk = with_smooth_relu(trunk, smooth_relu, classifier.architecture)
        self.trunk = self._frozen(trunk, device)
        tail = networks.tail(network)
        if log_odds:
            if len(classifier.classes) < 2:
                raise Ws3Error(
                    "target: log_odds compares classes, but the classifier has only one; use "
                    "target: logit"
                )
            tail = nn.Sequential(tail, LogOdds(len(classifier.classes)))
        self.tail = self._frozen(tail, device)
        self.head = None if linear is None else linear.weight.detach()
        self.architecture = classifier.architecture
        self.classes = classifier.classes
        self.input_size = classifier.input_size
        self.device = torch.device(device)
        reference = next(self.tail.parameters())
        self.mean = reference.new_tensor(classifier.mean).view(1, 3, 1, 1)
        self.std = reference.new_tensor(classifier.std).view(1, 3, 1, 1)

    @staticmethod
    def _frozen(part: nn.Module, device: torch.device | str) -> nn.Module:
        frozen = part.eval().requires_grad_(False).to(device)
        return frozen.to(memory_format=torch.channels_last)

    def normalise(self, images: Tensor) -> Tensor:
        """Return the network's input for RGB images (B, 3, H, W) in [0, 1] on its device."""
        return (images - self.mean) / self.std

    def features(self, inputs: Tensor) -> Tensor:
        """Return the last spatial features (B, F, h, w) of normalised inputs (B, 3, H, W)."""
        result: Tensor = self.trunk(inputs.contiguous(memory_format=torch.channels_last))
        return result

    def logits_from_features(self, features: Tensor) -> Tensor:
        """Return the logits (B, classes) of features (B, F, h, w)."""
        logits: Tensor = self.tail(features)
        return logits

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, classes) of normalised inputs (B, 3, H, W)."""
        return self.logits_from_features(self.features(inputs))
