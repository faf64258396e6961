"""Methods that weigh the last spatial features: CAM and its relatives that use gradients.

None of them goes back further than those features, so the backbone needs no gradient. For all but
CAM, the option `stride` puts the network's last layer of that stride (`ws3.attribution.layers`) in
the features' place, the option `layer` a layer by its name. Of several layers, the maps become one:
their sum at the resolution of the first, each scaled to that one's mean, or with `fusion: product`
their product, each scaled to its maximum, as in RefineCAM (arXiv 2605.14641), or with `fusion:
geometric` their geometric mean. Maps have the layer's resolution. `Method` says what the methods
get; reduction and sign have no meaning for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ws3.attribution.channels import of_classes
from ws3.attribution.interface import Attribution, Options, chosen_layers
from ws3.attribution.network import AttributionNetwork
from ws3.errors import Ws3Error

LEAST = 0.01
"""Least score of a layer in a geometric mean, as a share of the layer's largest."""


def cam(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Class activation maps (Zhou et al. 2016, arXiv 1512.04150).

    The features are weighted by the class's row of the linear head, without its bias; negative
    evidence is set to 0. All classes come from one forward pass.

    Raises:
        Ws3Error: If the network doesn't end in global average pooling and one linear layer.
    """
    if network.cam_weight is None:
        raise Ws3Error(
            f"CAM needs global average pooling and one linear layer, but "
            f"{network.architecture} ends otherwise; use the method gradcam"
        )
    with torch.no_grad():
        features = network.features(inputs)
        logits = network.logits_from_features(features)
        # All classes, as the shape of the product decides its rounding: a class's map then is the
        # same whatever others the image has.
        maps = nn.functional.conv2d(features, network.cam_weight[:, :, None, None])
        scores = torch.stack([maps[:, index] for index in classes]).relu().float()
        return Attribution(scores, of_classes(logits, classes).float().sigmoid())


def gradcam(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

    The features are weighted by the mean of their gradient over the map. On a network with a
    pooled-linear head this is CAM, divided by the number of the map's pixels.

    Raises:
        Ws3Error: If the network has no layer of a stride that is asked for.
    """
    return _weighted(network, inputs, classes, options, _mean_gradient)


def gradcam_plus_plus(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Grad-CAM++ (Chattopadhyay et al. 2018, arXiv 1710.11063).

    The class score is the exponential of the logit, as in the paper, which makes the higher
    derivatives powers of the first; the common factor exp(logit) of a map is left out.

    Raises:
        Ws3Error: If the network has no layer of a stride that is asked for.
    """
    return _weighted(network, inputs, classes, options, _corrected_gradient)


def layercam(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """LayerCAM (Jiang et al. 2021, doi 10.1109/TIP.2021.3089943).

    Each pixel of each feature map is weighted by its own gradient where that is positive. In an
    earlier layer, which the option `stride` chooses, the method differs from Grad-CAM most. (For
    several layers the paper takes the maximum of their maps after scaling them by a tanh.)

    Raises:
        Ws3Error: If the network has no layer of a stride that is asked for.
    """
    return _weighted(network, inputs, classes, options, lambda features, gradient: gradient.relu())


def multiplied(maps: Sequence[Tensor]) -> Tensor:
    """Return the product (B, h, w) of maps (B, 1, ., .), at the first one's size.

    All but the first are scaled to a maximum of 1, so that the product is of the first one's order.
    """
    total, *others = _at_one_size(maps)
    for resized in others:
        total = total * _to_one(resized)
    return total[:, 0]


def geometric_mean(maps: Sequence[Tensor]) -> Tensor:
    """Return the geometric mean (B, h, w) of maps (B, 1, ., .), at the first one's size.

    Each is scaled to a maximum of 1 and raised to at least `LEAST`, so that a layer that finds
    nothing has no veto, as it has in a product. The mean is then multiplied by the root of the
    first one's maximum; it is 0 where that is.
    """
    first, *_ = resized = _at_one_size(maps)
    total = first.amax(dim=(2, 3), keepdim=True)
    for scores in resized:
        total = total * _to_one(scores).clamp_min(LEAST)
    return total.pow(1 / len(maps))[:, 0]


def _added(maps: Sequence[Tensor]) -> Tensor:
    """Return the sum (B, h, w) of maps (B, 1, ., .), at the first one's size and mean."""
    total, *others = _at_one_size(maps)
    mean = total.mean(dim=(2, 3), keepdim=True)
    for resized in others:
        own = resized.mean(dim=(2, 3), keepdim=True)
        # A map that is 0 everywhere adds nothing.
        total = total + resized * torch.where(own > 0, mean / own, 0.0)
    return total[:, 0]


_FUSIONS: Mapping[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "sum": _added,
    "product": multiplied,
    "geometric": geometric_mean,
}


def _to_one(scores: Tensor) -> Tensor:
    """Return maps (B, 1, h, w) divided by their maxima; where there is none, 0."""
    largest = scores.amax(dim=(2, 3), keepdim=True)
    return torch.where(largest > 0, scores / largest, 0.0)


def _at_one_size(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return maps (B, 1, ., .) at the first one's size."""
    first, *others = maps
    size = first.shape[2:]
    return [
        first,
        *(
            nn.functional.interpolate(scores, size, mode="bilinear", align_corners=False)
            for scores in others
        ),
    ]


def _mean_gradient(features: Tensor, gradient: Tensor) -> Tensor:
    return gradient.mean(dim=(2, 3), keepdim=True)


def _corrected_gradient(features: Tensor, gradient: Tensor) -> Tensor:
    # g^2 / (2 g^2 + sum(A) g^3) without its common factor. Only positive gradients count, so the
    # denominator is at least 2 if the features are: the paper takes them after a ReLU. Where a
    # network has none there, a negative sum is taken as 0.
    total = features.sum(dim=(2, 3), keepdim=True).relu()
    positive = gradient.relu()
    return (positive / (2 + total * positive)).sum(dim=(2, 3), keepdim=True)


def _weighted(
    network: AttributionNetwork,
    inputs: Tensor,
    classes: Sequence[int],
    options: Options,
    weights: Callable[[Tensor, Tensor], Tensor],
) -> Attribution:
    """Sum the features times `weights(features, gradient)`; negative sums are set to 0.

    The features are the last ones, or those of the layers that the options name.
    """
    fused = _FUSIONS[options.values.get("fusion", "sum")]
    layers, logits = network.through_layers(inputs, *chosen_layers(options))
    scores = []
    for position, index in enumerate(classes):
        gradients = torch.autograd.grad(
            logits[:, index].sum(), layers, retain_graph=position + 1 < len(classes)
        )
        with torch.no_grad():
            maps = [
                (weights(features, gradient) * features).sum(dim=1, keepdim=True).relu().float()
                for features, gradient in zip(layers, gradients, strict=True)
            ]
            scores.append(fused(maps))
    probabilities = of_classes(logits.detach(), classes).float().sigmoid()
    return Attribution(torch.stack(scores), probabilities)
