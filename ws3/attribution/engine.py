"""One image's samples through the network, and from them to its score maps.

The stages and `ws3.score_maps` both run this code, so a notebook gets the bytes that a run stores.
It knows arrays only: no run, no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, groupby, islice

import numpy as np
import torch
from numpy.typing import NDArray

from ws3.aggregation.accumulate import AttributedSample, collect_chunk
from ws3.aggregation.chunks import chunk_layout
from ws3.aggregation.combine import combine
from ws3.aggregation.random_walk import Seen
from ws3.aggregation.settling import Settling, steps
from ws3.attribution.interface import load_method
from ws3.attribution.network import AttributionNetwork
from ws3.attribution.precision import automatic_precision
from ws3.classifier.model import Classifier
from ws3.config.recipes import Precision, Recipe
from ws3.sampling.plan import SamplePlan
from ws3.sampling.views import Pixels, render_sample
from ws3.torch_setup import arithmetic, one_thread

SMALLEST_PROBABILITY = np.float32(1e-6)
"""A weight must not vanish: a pixel's score is divided by the sum of its samples' weights."""


class Attributor:
    """A classifier and a recipe, ready to attribute samples of any image.

    Args:
        classifier: The trained classifier, which is copied.
        recipe: Its method, options, target and precision are used, and its `samples.batch`.
        device: Where to compute.

    Raises:
        Ws3Error: If the method doesn't go with the recipe or the network.
    """

    def __init__(
        self, classifier: Classifier, recipe: Recipe, device: torch.device | str = "cpu"
    ) -> None:
        self.recipe = recipe
        self.mean, self.std = classifier.mean, classifier.std
        self.method, self.options = load_method(recipe)
        with one_thread():
            self.network = AttributionNetwork(
                classifier,
                device,
                log_odds=recipe.target == "log_odds",
                smooth_relu=recipe.smooth_relu,
                output_stride=recipe.output_stride,
                named_layers=bool(recipe.options.get("layer")),
            )

    @property
    def precision(self) -> Precision:
        """The arithmetic of the network, which `auto` leaves to the network and this machine."""
        given = self.recipe.precision
        if given != "auto":
            return given
        return self._automatic

    @cached_property
    def _automatic(self) -> Precision:
        return automatic_precision(self.recipe, self.network.backbone, self.network.device)

    def __call__(
        self, inputs: NDArray[np.float32], classes: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Attribute one network batch.

        Args:
            inputs: float32 (samples, 3, h, w), normalised.
            classes: Logit indices of the classes to explain.

        Returns:
            scores: float32 (classes, samples, h', w'), not negative.
            probabilities: float32 (samples, classes).
        """
        device = self.network.device
        # One thread: the rounding must not depend on how many cores there are.
        with one_thread(), arithmetic(self.precision, device):
            batch = torch.from_numpy(inputs).to(device)
            attribution = self.method(self.network, batch, classes, self.options)
            scores = attribution.scores.float().cpu().numpy()
            return scores, attribution.probabilities.float().cpu().numpy()

    def attribute(
        self, image: Pixels, plan: SamplePlan, classes: Sequence[int], numbers: Iterable[int]
    ) -> Iterator[AttributedSample]:
        """Draw samples of an image and attribute each, a network batch at a time.

        Args:
            image: uint8 RGB (H, W, 3).
            plan: The image's samples.
            classes: Logit indices of the classes to explain.
            numbers: Which of the samples: in ascending order, those of `plan.cover` after or
                before the others.

        Yields:
            The samples in that order.
        """
        for size, slots in network_batches(plan, numbers):
            samples = {slot: plan.sample(number) for slot, number in slots.items()}
            first = next(iter(samples.values()))
            # Always the full batch, since its shape decides the rounding; the rest stays 0.
            inputs = np.zeros((size, 3, first.height, first.width), np.float32)
            for slot, sample in samples.items():
                inputs[slot] = render_sample(image, sample, plan, self.mean, self.std)
            scores, probabilities = self(inputs, classes)
            for slot, sample in samples.items():
                weights = np.maximum(probabilities[slot], SMALLEST_PROBABILITY)
                yield AttributedSample(sample, scores[:, slot], weights)


def network_batches(
    plan: SamplePlan, numbers: Iterable[int]
) -> Iterator[tuple[int, dict[int, int]]]:
    """Divide sample numbers into network batches.

    A sample's place in its batch (`SamplePlan.place`) does not depend on which samples are still
    missing.

    Yields:
        The batch's size, and the sample number of each slot that is in use.
    """
    for (_, _, size), group in groupby(
        ((plan.place(number), number) for number in numbers),
        key=lambda placed: (placed[0].regular, placed[0].batch, placed[0].size),
    ):
        yield size, {place.slot: number for place, number in group}


def image_maps(
    attributor: Attributor,
    image: Pixels,
    plan: SamplePlan,
    classes: Sequence[int],
    seen: Seen | None = None,
) -> NDArray[np.float16]:
    """Return one image's final maps, from its samples to the scaling.

    Args:
        attributor: The classifier and the recipe.
        image: uint8 RGB (H, W, 3).
        plan: The image's samples.
        classes: Logit indices, at least one.
        seen: What a network sees in the image; only a random walk that asks one needs it.

    Returns:
        float16 (classes, H, W) in [0, 1].

    Raises:
        Ws3Error: If a score is not a finite number, or a pixel lies in no sample.
    """
    recipe = attributor.recipe
    layout = chunk_layout(plan.total, recipe.samples.per_chunk, plan.cover)
    settling = None if recipe.samples.adaptive is None else Settling(recipe, plan)
    order = list(layout) if settling is None else list(chain(*steps(layout)))
    numbers = [number for name in order for number in layout[name]]
    attributed = attributor.attribute(image, plan, classes, numbers)
    shape = (len(classes), *image.shape[:2])
    keep = recipe.samples.keep_samples
    made = {}
    for name in order:
        some = islice(attributed, len(layout[name]))
        made[name] = collect_chunk(some, recipe.aggregation, shape, keep_samples=keep)
        if settling is not None:
            settling.add(name, made[name])
            if settling.settled:
                break
    chunks = (made[name] for name in layout if name in made)
    return combine(chunks, recipe.aggregation, plan, image, seen)
