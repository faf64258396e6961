"""What a network sees in a whole image, for random walks that ask one.

The network sees the image with the shorter side at the size that it was made for, always on the CPU
and with one thread, whatever computes the samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ws3.aggregation.random_walk import Seen, Steps, attention_transition
from ws3.attribution.attention import mean_attention
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.checkpoints import new_classifier
from ws3.classifier.model import Classifier
from ws3.classifier.tokens import TokenBackbone
from ws3.config.recipes import NetworkAffinity, RandomWalk
from ws3.pixels import resize_short_side, to_unit
from ws3.sampling.views import Pixels
from ws3.torch_setup import one_thread

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_PATCHES = 2048
"""Patches of an image whose attention is computed; memory grows with their square."""

_BLOCK = 1 << 24
"""Similarities that are held at once."""

Reader = Callable[[Pixels], Seen]
"""From an image, uint8 RGB (H, W, 3), to what a network sees in it."""


def reader(walk: RandomWalk | None, classifier: Callable[[], Classifier]) -> Reader | None:
    """Return what reads an image for a random walk; None if it asks no network.

    Args:
        walk: The recipe's.
        classifier: Returns the run's classifier; only called if it is the one that is asked.

    Raises:
        Ws3Error: If a network can't be had, or has no attention where that is asked for.
    """
    if walk is None or not walk.asks_a_network:
        return None
    if isinstance(walk.affinity, NetworkAffinity):
        return SimilarityReader(walk.affinity)
    if walk.affinity == "attention":
        return AttentionReader(classifier(), walk.blocks, walk.sinkhorn)
    return FeatureReader(classifier())


class FeatureReader:
    """Returns the last spatial features of images."""

    def __init__(self, classifier: Classifier) -> None:
        with one_thread():
            self._network = AttributionNetwork(classifier)

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Return float32 (F, h, w) of an image, uint8 RGB (H, W, 3)."""
        batch = _batch(self._network, image, self._network.input_size)
        with one_thread(), torch.inference_mode():
            return self._network.features(batch)[0].numpy()


class AttentionReader:
    """Returns the steps of a walk along a vision transformer's attention.

    An image of more than `MOST_PATCHES` patches is made so much smaller.
    """

    def __init__(self, classifier: Classifier, blocks: int | None, sinkhorn: int) -> None:
        """Prepare; see `mean_attention` and `attention_transition` for the numbers.

        Raises:
            Ws3Error: If the network is no transformer whose every block sees all patches.
        """
        self._blocks, self._sinkhorn = blocks, sinkhorn
        with one_thread():
            self._network = AttributionNetwork(classifier)
            # What can't be asked is told before the first image is.
            mean_attention(self._network, torch.zeros(1, 3, 32, 32), 1)

    def __call__(self, image: Pixels) -> Steps:
        """Return the steps between the patches of an image, uint8 RGB (H, W, 3)."""
        backbone, side = self._network.backbone, self._network.input_size
        assert isinstance(backbone, TokenBackbone)  # noqa: S101 - mean_attention refused others
        while True:
            batch = _batch(self._network, image, side)
            grid = backbone.grid(batch)
            patches = grid[0] * grid[1]
            if patches <= MOST_PATCHES or side <= backbone.patch:
                break
            side = min(side - 1, math.floor(side * math.sqrt(MOST_PATCHES / patches)))
        with one_thread():
            attention = mean_attention(self._network, batch, self._blocks).numpy()
        return Steps(attention_transition(attention, self._sinkhorn), grid)


class SimilarityReader:
    """Returns the steps of a walk between places that are alike to a network of its own."""

    def __init__(self, affinity: NetworkAffinity) -> None:
        """Read the network's weights.

        Raises:
            Ws3Error: If there is no such network, or the file isn't of it.
        """
        self._affinity = affinity
        named = affinity.layer is not None
        # Its head takes no part, and its weights may come from torch's global generator.
        with one_thread(), torch.random.fork_rng(devices=[]):
            classifier = new_classifier(
                affinity.network, ("any",), affinity.input_size, affinity.weights
            )
            self._network = AttributionNetwork(classifier, named_layers=named)

    def __call__(self, image: Pixels) -> Steps:
        """Return the steps between the places of an image, uint8 RGB (H, W, 3).

        Raises:
            Ws3Error: If the network has no such layer, or it has no map.
        """
        layer, batch = self._affinity.layer, _batch(self._network, image, self._affinity.input_size)
        with one_thread(), torch.no_grad():
            if layer is None:
                features = self._network.features(batch)
            else:
                features = self._network.through_layers(batch, names=[layer])[0][0].detach()
            matrix = similar_places(features[0], self._affinity.neighbours, self._affinity.least)
        return Steps(matrix, (features.shape[2], features.shape[3]))


def similar_places(features: Tensor, neighbours: int, least: float = 0.0) -> csr_array:
    """Return the probabilities of a step between places from the features that they have.

    A step from place i to place j has a probability in proportion to the cosine of the angle
    between their features, if j is among the `neighbours` most similar to i and the cosine is
    larger than `least`. A step to itself has the weight 1, always.

    Args:
        features: (F, h, w).
        neighbours: At most so many steps from each place, that to itself included.
        least: At least 0.

    Returns:
        Sparse float32 (h w, h w), each row of which adds up to one.

    Example:
        >>> similar_places(torch.tensor([[[1.0, 0.6, 0.0]], [[0.0, 0.8, 0.0]]]), 2).toarray()
        array([[0.625, 0.375, 0.   ],
               [0.375, 0.625, 0.   ],
               [0.   , 0.   , 1.   ]], dtype=float32)
    """
    from scipy.sparse import csr_array

    unit = functional.normalize(features.flatten(1).float(), dim=0)
    places = unit.shape[1]
    count = min(neighbours, places)
    values, reached = [], []
    rows = max(1, _BLOCK // places)
    for first in range(0, places, rows):
        cosines = unit[:, first : first + rows].T @ unit
        cosines.diagonal(first).fill_(2)  # before all others
        found, where = cosines.topk(count, dim=1)
        found[:, 0] = 1
        found = torch.where(found > least, found.clamp(max=1), 0)
        values.append(found / found.sum(dim=1, keepdim=True))
        reached.append(where.int())
    starts = np.arange(places + 1) * count
    weights, columns = (torch.cat(some).flatten().numpy() for some in (values, reached))
    matrix = csr_array((weights, columns, starts), shape=(places, places))
    matrix.eliminate_zeros()
    return matrix


def _batch(network: AttributionNetwork, image: Pixels, side: int) -> Tensor:
    """Return an image as the network's input (1, 3, H, W), the shorter side at `side` pixels."""
    pixels = to_unit(resize_short_side(image, side))
    return network.normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None])
