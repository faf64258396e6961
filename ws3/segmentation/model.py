"""A trained segmentation network as a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ws3.config.segmentation import names_a_network
from ws3.errors import Ws3Error
from ws3.pixels import IMAGENET_MEAN, IMAGENET_STD
from ws3.segmentation.networks import build
from ws3.segmentation.prediction import PredictionSettings
from ws3.tensors import in_a_word, misfits, read_tensors, unusable_tensor, write_tensors

MODEL_FORMAT = 1
"""Version of the file's layout."""


@dataclass(frozen=True)
class SegmentationModel:
    """A trained network and what its channels mean.

    Attributes:
        network: The network, in evaluation mode, on the CPU.
        architecture: Its name in `ws3.segmentation.networks`.
        classes: Class names without background; channel i + 1 is class i.
        prediction: How masks were made when it was trained; the defaults
            for a file that doesn't say.
    """

    network: nn.Module
    architecture: str
    classes: tuple[str, ...]
    prediction: PredictionSettings


def save_model(
    path: Path,
    network: nn.Module,
    architecture: str,
    classes: Sequence[str],
    prediction: PredictionSettings | None = None,
) -> None:
    """Write a trained network: a plain dict, readable with `torch.load(weights_only=True)`.

    Args:
        path: The file; it is replaced in one step.
        network: A network from `build`.
        architecture: The name it was built by.
        classes: Class names without background.
        prediction: How masks are to be made by default; None: `PredictionSettings()`.
    """
    state = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    write_tensors(
        path,
        {
            "format": MODEL_FORMAT,
            "architecture": architecture,
            "classes": list(classes),
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "prediction": (prediction or PredictionSettings()).model_dump(mode="json"),
            "state_dict": state,
        },
    )


def load_model(path: Path) -> SegmentationModel:
    """Read a trained network.

    Args:
        path: A file that `save_model` wrote.

    Returns:
        The model, in evaluation mode, on the CPU.

    Raises:
        Ws3Error: If the file is missing, damaged, or not such a file, or its network is one of a
            package that isn't installed.
    """
    advice = "train the network again with `ws3 train-segmentation`"
    content = read_tensors(path, advice)
    problem = _problem(content)
    if problem:
        raise Ws3Error(f"{path} is not a segmentation model of ws3 ({problem}); {advice}")
    classes = tuple(content["classes"])
    # The drawn weights are overwritten: leave the caller's random numbers as they were.
    with torch.random.fork_rng(devices=[]):
        network = build(content["architecture"], len(classes) + 1, None)
    state = content["state_dict"]
    wrong = unusable_tensor(state) or next(iter(misfits(network, state)), "")
    if wrong:
        raise Ws3Error(
            f"{path} holds weights that don't fit its {content['architecture']} with "
            f"{len(classes)} classes ({wrong}); {advice}"
        )
    network.load_state_dict(state, strict=False)
    return SegmentationModel(
        network.eval(),
        content["architecture"],
        classes,
        PredictionSettings.model_validate(content.get("prediction", {})),
    )


def _problem(content: dict[str, object]) -> str:
    """Say why a file's content is no model; '' if it is one."""
    version, architecture = content.get("format"), content.get("architecture")
    if not isinstance(version, int) or version != MODEL_FORMAT:
        return f"its format is {in_a_word(version)}, not {MODEL_FORMAT}"
    if not isinstance(architecture, str) or not names_a_network(architecture):
        return f"its architecture {in_a_word(architecture)} is unknown"
    classes = content.get("classes")
    if not (
        isinstance(classes, list)
        and 1 <= len(classes) <= 254
        and all(isinstance(name, str) for name in classes)
    ):
        return "it has no list of 1 to 254 class names"
    usual = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    # As texts: whether a tensor equals a number is no yes or no.
    if any(str(content.get(key)) != str(list(values)) for key, values in usual.items()):
        return "it wants images normalised in another way"
    try:
        PredictionSettings.model_validate(content.get("prediction", {}))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        return f"its prediction settings are wrong: {where}"
    state = content.get("state_dict")
    if not (
        isinstance(state, dict)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items())
    ):
        return "its state_dict is not made of tensors"
    return ""
