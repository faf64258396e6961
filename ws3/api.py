"""The functions that `import ws3` offers: one image's maps and masks, and the results of a run.

Each imports what it needs when it is called, so that a run can be read, and recipes be listed,
without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ws3.aggregation.accumulate import AttributedSample
    from ws3.classifier.model import Classifier
    from ws3.config.masks import ConstantBackground, CrfParameters, PowerBackground
    from ws3.config.methods import MethodEntry
    from ws3.config.presets import Preset
    from ws3.config.recipes import Recipe
    from ws3.run.reader import RunReader
    from ws3.sampling.windows import Window
    from ws3.segmentation.model import SegmentationModel


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a photograph.

    Args:
        path: A JPEG, PNG or other file that Pillow decodes. An EXIF orientation is not applied.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        Ws3Error: If it can't be read, or has more than 8 bits per channel.
    """
    from ws3.datasets.images import decode_rgb, read_bytes

    return decode_rgb(read_bytes(Path(path)), str(path))


def score_maps(
    classifier: Classifier,
    image: NDArray[np.uint8],
    classes: Sequence[str | int],
    recipe: Recipe | Mapping[str, Any] | str,
    *,
    name: str = "image",
    seed: int = 0,
    device: torch.device | str = "cpu",
    recipe_name: str | None = None,
    windows: Sequence[Window | tuple[int, int, int, int]] | None = None,
) -> NDArray[np.float16]:
    """Return one score map per class of one image.

    `ws3 saliency` and `ws3 maps` run the same code: with a run's classifier, recipe, names and
    seed, the maps are the bytes that the run stores. For many images, `ws3.Scorer` prepares the
    network once.

    Args:
        classifier: A trained classifier; it is not changed.
        image: uint8 RGB (H, W, 3).
        classes: Names or logit indices of the classes to explain, possibly none.
        recipe: The name of a preset (`ws3.recipes()`), what a configuration holds under a recipe's
            name, or a `ws3.Recipe`.
        name: The image's id. With the recipe's name and the seed, it chooses the random samples.
        seed: Another seed draws other samples.
        device: `cpu`, `cuda`, `auto` (a GPU if there is one), or a device of torch's.
        recipe_name: The recipe's name; by default the preset's name, or `recipe`.
        windows: (top, left, height, width) in pixels of each crop, in place of random ones; only
            for recipes with samples of kind `crops`.

    Returns:
        float16 (classes, H, W) in [0, 1].

    Raises:
        Ws3Error: If the recipe is wrong or doesn't go with the network, the image or a class is not
            as described, or a score is not finite.

    Example:
        >>> import numpy as np
        >>> from torch import nn
        >>> import ws3
        >>> backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.ReLU())
        >>> classifier = ws3.Classifier(backbone, nn.Linear(8, 2), ("cat", "dog"), input_size=64)
        >>> image = np.zeros((48, 64, 3), np.uint8)
        >>> ws3.score_maps(classifier, image, ["dog"], "cam").shape
        (1, 48, 64)
    """
    from ws3.attribution.scorer import Scorer

    scorer = Scorer(classifier, recipe, seed=seed, device=device, recipe_name=recipe_name)
    return scorer.maps(image, classes, name=name, windows=windows)


def score_samples(
    classifier: Classifier,
    image: NDArray[np.uint8],
    classes: Sequence[str | int],
    recipe: Recipe | Mapping[str, Any] | str,
    *,
    name: str = "image",
    seed: int = 0,
    device: torch.device | str = "cpu",
    recipe_name: str | None = None,
    windows: Sequence[Window | tuple[int, int, int, int]] | None = None,
) -> Iterator[AttributedSample]:
    """Yield each sample of an image with its score maps, before they are aggregated.

    Args:
        classifier: As for `score_maps`.
        image: As for `score_maps`.
        classes: As for `score_maps`.
        recipe: As for `score_maps`; its aggregation has no meaning here.
        name: As for `score_maps`.
        seed: As for `score_maps`.
        device: As for `score_maps`.
        recipe_name: As for `score_maps`.
        windows: As for `score_maps`.

    Yields:
        `sample` (its window in the image, mirrored or not), `scores` float32 (classes, h, w) in the
        sample's geometry, and `weights` float32 (classes,), the classifier's probabilities.

    Raises:
        Ws3Error: As for `score_maps`.
    """
    from ws3.attribution.scorer import Scorer

    scorer = Scorer(classifier, recipe, seed=seed, device=device, recipe_name=recipe_name)
    return scorer.samples(image, classes, name=name, windows=windows)


def pseudo_mask(
    image: NDArray[np.uint8],
    maps: NDArray[np.floating],
    class_values: Sequence[int],
    background: ConstantBackground | PowerBackground | float = 0.3,
    crf: CrfParameters | str | None = "irn",
    ignore_below: float = 0.0,
) -> NDArray[np.uint8]:
    """Return the pseudo-mask of one image; its labels are background and the given classes only.

    Args:
        image: uint8 RGB (H, W, 3).
        maps: Score maps (C, H, W) in [0, 1]; C may be 0.
        class_values: The C mask values of the maps, each from 1 to 254; in a run, class index + 1.
        background: Background score: a constant in [0, 1], or a background section of the
            configuration.
        crf: Name of a preset of the dense CRF (`deeplab`, `psa`, `irn`), its numbers, or None (or
            "none") for no CRF.
        ignore_below: Pixels whose confidence is under this become 255, ignored.

    Returns:
        uint8 (H, W): 0, one of `class_values`, or 255.

    Raises:
        Ws3Error: If there is no such CRF preset, the maps are not (C, H, W) in [0, 1] of the
            image's size, or the class values are not C different ones from 1 to 254.

    Example:
        >>> import numpy as np
        >>> image, maps = np.zeros((2, 2, 3), np.uint8), np.array([[[0.1, 0.9], [0.2, 0.3]]])
        >>> pseudo_mask(image, maps, [7], background=0.3, crf=None).tolist()
        [[0, 7], [0, 7]]
    """
    from ws3.errors import Ws3Error
    from ws3.labels import checked_maps
    from ws3.masks import pseudo
    from ws3.masks.crf import parameters

    numbers = None if crf is None else parameters(crf)
    try:
        maps = checked_maps(maps, class_values)
    except ValueError as error:
        raise Ws3Error(f"{error}; see ws3.pseudo_mask for what they must be") from None
    return pseudo.pseudo_mask(image, maps, class_values, background, numbers, ignore_below)


def open_run(folder: str | PathLike[str]) -> RunReader:
    """Open a run's folder, `results/<run>`, to read its results.

    `run["cam"].maps(image)`, `.mask(image)`, `.samples(image)` and `.prediction(image)` read what
    is stored for an image, checked against the fingerprint that the run expects; `run.images`,
    `run.classes` and `run.summary()` tell what there is.

    Raises:
        Ws3Error: If there is no run, or its configuration is not valid.
    """
    from ws3.run.reader import RunReader

    return RunReader(Path(folder))


def load_segmentation(path: str | PathLike[str]) -> SegmentationModel:
    """Read a trained segmentation network, for `predict_mask`; nothing but its file is needed.

    Args:
        path: A run's `segmentation/<recipe>/model.pt`.

    Returns:
        The network, its `classes`, and how its masks are made (`prediction`).

    Raises:
        Ws3Error: If the file is missing, damaged, or no segmentation network of ws3.
    """
    from ws3.segmentation.model import load_model

    return load_model(Path(path))


def predict_mask(
    model: SegmentationModel, image: NDArray[np.uint8], *, device: torch.device | str = "cpu"
) -> NDArray[np.uint8]:
    """Return the mask that a segmentation network predicts for a photograph.

    On a CPU it has the pixels that `ws3 predict` and the run's own stage write.

    Args:
        model: From `load_segmentation`; its network is moved to the device.
        image: uint8 RGB (H, W, 3).
        device: `cpu`, `cuda`, `auto` (a GPU if there is one), or a device of torch's.

    Returns:
        uint8 (H, W): 0 is background, class i of `model.classes` is i + 1.

    Raises:
        Ws3Error: If the network's output is not finite, or the image is too large for the CRF.

    Example:
        >>> import numpy as np
        >>> from ws3.segmentation.model import SegmentationModel
        >>> from ws3.segmentation.networks import build
        >>> from ws3.segmentation.prediction import PredictionSettings
        >>> name = "lraspp_mobilenet_v2"
        >>> model = SegmentationModel(build(name, 3, None), name, ("a", "b"), PredictionSettings())
        >>> predict_mask(model, np.zeros((48, 64, 3), np.uint8)).shape
        (48, 64)
    """
    import numpy as np

    from ws3.segmentation.prediction import predict_refined
    from ws3.torch_setup import device as chosen
    from ws3.torch_setup import one_thread

    with one_thread():
        place = str(chosen(device))
        probabilities = predict_refined(model.network, image, model.prediction, place)
    return np.asarray(probabilities.argmax(axis=0), np.uint8)


def recipes() -> dict[str, Preset]:
    """Return the named recipes: each with `summary`, `source` and its configuration `recipe`.

    Example:
        >>> recipes()["smoothgrad"].source
        'Smilkov et al. 2017'
    """
    from ws3.config.presets import PRESETS

    return dict(PRESETS)


def methods() -> dict[str, MethodEntry]:
    """Return the attribution methods by name, those of installed packages included.

    Raises:
        Ws3Error: If a package that adds one can't be imported.

    Example:
        >>> methods()["occlusion"].summary
        'fall of the logit when a window is painted in the mean colour'
    """
    from ws3.config.methods import METHODS, method_entry

    return {name: method_entry(name) for name in METHODS}
