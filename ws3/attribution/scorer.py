"""A classifier and a recipe, ready for any image: what `ws3.score_maps` runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ws3 import torch_setup
from ws3.aggregation.accumulate import AttributedSample
from ws3.attribution.device_engine import DeviceAttributor
from ws3.attribution.engine import Attributor, image_maps
from ws3.attribution.seeing import reader
from ws3.classifier.model import Classifier
from ws3.config.load import resolve_recipe
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error
from ws3.sampling.plan import SamplePlan
from ws3.sampling.views import Pixels
from ws3.sampling.windows import Window


class Scorer:
    """Scores many images with one classifier and one recipe.

    The network is copied and prepared once. With the recipe, its name, the seed and the image's
    name of a run, it returns the bytes that the run stores (on a CPU; set OMP_NUM_THREADS=1 for a
    random walk with features, whose singular values numpy computes on several threads).

    Args:
        classifier: The trained classifier; it is not changed.
        recipe: The name of a preset (`ws3.recipes()`), what a configuration holds under a recipe's
            name, or a `ws3.Recipe`.
        seed: With the names of recipe and image, it chooses the random samples.
        device: `cpu`, `cuda`, `auto` (a GPU if there is one), or a device of torch's.
        recipe_name: Name of the recipe for its random samples; by default the recipe whose samples
            it takes (`samples_from`), or else the preset's name, or `recipe`.

    Raises:
        Ws3Error: If the recipe is wrong, or its method doesn't go with the network.
    """

    def __init__(
        self,
        classifier: Classifier,
        recipe: Recipe | Mapping[str, Any] | str,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        recipe_name: str | None = None,
    ) -> None:
        self.classifier = classifier
        self.recipe = resolve_recipe(recipe, "the recipe")
        named = recipe if isinstance(recipe, str) else "recipe"
        self.recipe_name = recipe_name or self.recipe.samples_from or named
        self.seed = seed
        place = torch_setup.device(device)
        self._attributor = Attributor(classifier, self.recipe, place)
        self._on_device = DeviceAttributor(self._attributor) if place.type == "cuda" else None
        if self.recipe.samples_from is not None and self.recipe.samples.adaptive is not None:
            raise Ws3Error(
                f"the recipe takes the samples of {self.recipe.samples_from}, which decides how "
                "many; read its maps with ws3.open_run, or give samples.count as a number"
            )
        self._reader = reader(self.recipe.aggregation.random_walk, lambda: classifier)

    def maps(
        self,
        image: Pixels,
        classes: Sequence[str | int],
        *,
        name: str = "image",
        windows: Sequence[Window | tuple[int, int, int, int]] | None = None,
    ) -> NDArray[np.float16]:
        """Return one score map per class.

        Args:
            image: uint8 RGB (H, W, 3).
            classes: Names or logit indices, possibly none.
            name: The image's id, which chooses its random samples.
            windows: (top, left, height, width) in pixels of each crop, in place of random ones;
                only for recipes with samples of kind `crops`. Where they leave pixels out, the
                whole image is one more sample.

        Returns:
            float16 (classes, H, W) in [0, 1].

        Raises:
            Ws3Error: If the image or a class is not as described, or a score is not finite.
        """
        plan, indices = self._prepared(image, classes, name, windows)
        if not indices:
            return np.zeros((0, *image.shape[:2]), np.float16)
        seen = None if self._reader is None else self._reader(image)
        if self._on_device is not None:
            return self._on_device.maps(image, plan, indices, seen)
        return image_maps(self._attributor, image, plan, indices, seen)

    def samples(
        self,
        image: Pixels,
        classes: Sequence[str | int],
        *,
        name: str = "image",
        windows: Sequence[Window | tuple[int, int, int, int]] | None = None,
    ) -> Iterator[AttributedSample]:
        """Yield each sample of an image with its score maps, before they are aggregated.

        Where `samples.count` is adaptive, these are its `max`: whoever takes them decides.

        Args:
            image: As for `maps`.
            classes: As for `maps`.
            name: As for `maps`.
            windows: As for `maps`.

        Raises:
            Ws3Error: If the image or a class is not as described.
        """
        plan, indices = self._prepared(image, classes, name, windows)
        numbers = [*range(plan.total), *plan.cover] if indices else []
        return self._attributor.attribute(image, plan, indices, numbers)

    def _prepared(
        self,
        image: Pixels,
        classes: Sequence[str | int],
        name: str,
        windows: Sequence[Window | tuple[int, int, int, int]] | None,
    ) -> tuple[SamplePlan, list[int]]:
        check_image(image)
        height, width = image.shape[:2]
        wanted = (classes,) if isinstance(classes, str) else classes
        plan = SamplePlan(
            self.recipe.samples,
            image=name,
            height=height,
            width=width,
            seed=self.seed,
            recipe=self.recipe_name,
            input_size=self.classifier.input_size,
            windows=None if windows is None else self._checked(windows, height, width),
        )
        return plan, self.classifier.indices(wanted)

    def _checked(
        self,
        windows: Sequence[Window | tuple[int, int, int, int]],
        height: int,
        width: int,
    ) -> list[Window]:
        kind = self.recipe.samples.kind
        if kind != "crops":
            raise Ws3Error(
                f"windows are for recipes with samples of kind crops, not {kind}; choose such a "
                "recipe, for example gradient_crops"
            )
        checked = [one if isinstance(one, Window) else Window(*map(int, one)) for one in windows]
        for window in checked:
            rows, columns = window.slices
            if not (
                0 <= rows.start < rows.stop <= height and 0 <= columns.start < columns.stop <= width
            ):
                raise Ws3Error(
                    f"{window} does not lie within the image of {height} x {width} pixels; give "
                    "(top, left, height, width) of each crop"
                )
        if not checked:
            raise Ws3Error("windows is empty; give at least one crop, or leave it out")
        return checked


def check_image(image: Pixels) -> None:
    """Check that an image is uint8 RGB (H, W, 3).

    Raises:
        Ws3Error: If it is something else.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        described = getattr(image, "dtype", type(image).__name__)
        raise Ws3Error(
            f"an image must be a uint8 array (height, width, 3), not {described} "
            f"{getattr(image, 'shape', '')}; read it with ws3.read_image"
        )
    if image.shape[2] != 3 or 0 in image.shape:
        raise Ws3Error(
            f"an image must have the shape (height, width, 3), not {image.shape}; read it with "
            "ws3.read_image"
        )
