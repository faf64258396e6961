"""A classifier that needs no training: CLIP's image tower, and a last layer made of texts.

CLIP's two towers map images and sentences to one space. The text tower reads the names of the
classes within prompts, once: what it says of them becomes the weight of a linear layer behind the
image tower, which nothing else needs any more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ws3.classifier import checkpoints
from ws3.classifier.model import Classifier
from ws3.classifier.open_clip_networks import (
    VISUAL,
    build_open_clip,
    has_quick_gelu,
    mismatch,
    set_texts,
    tokenised,
    with_text_tower,
)
from ws3.config.classifier import PLACE, ClassifierConfig, Texts
from ws3.errors import Ws3Error
from ws3.messages import shortened, shown
from ws3.tensors import misfits

_OF_OPENAI = ("input_resolution", "context_length", "vocab_size")
"""What OpenAI's state dicts hold beside weights."""

_CODE = re.compile(r"[A-Za-z]?[\d_\-]+")

_log = logging.getLogger(__name__)


def classifier_of_texts(config: ClassifierConfig, classes: Sequence[str]) -> Classifier:
    """Return a classifier whose last layer is made of the classes' names.

    Args:
        config: The architecture (`open_clip:NAME`), the file of its weights, both towers', the
            prompts, and what goes into them.
        classes: Class names, in the order of the logits.

    Raises:
        Ws3Error: If the weights can't be read or don't fit, two classes have the same text, or a
            text is too long.
    """
    if config.weights is None:
        raise Ws3Error("classifier.weights: train: text needs the file of CLIP's weights")
    state = checkpoints.read_state(config.weights)
    _check_activation(config, state)
    texts = texts_for(config, classes, checkpoints.sha256(config.weights))
    state = {name: value for name, value in state.items() if name not in _OF_OPENAI}
    with torch.random.fork_rng(devices=[]):  # all that is drawn is replaced
        clip: Any = with_text_tower(config.architecture)
        classifier = build_open_clip(config.architecture, classes, config.input_size, texts)
    _load(clip, state, config)
    visual = {name: value for name, value in state.items() if name.startswith(VISUAL)}
    classifier.network.load_state_dict(visual, strict=False)
    names = [*texts.names, *texts.background]
    embeddings = embedded(clip.eval(), config.architecture, names, texts.prompts)
    with torch.no_grad():
        set_texts(classifier, embeddings, clip.logit_scale.exp())
    _log.info(
        "a last layer of %d texts: %d classes, %d kinds of background",
        *(len(names), len(classes), len(texts.background)),
    )
    classifier.network.eval()
    return classifier


def texts_for(config: ClassifierConfig, classes: Sequence[str], weights: str) -> Texts:
    """Return what goes into the prompts for classes and background.

    A name's underscores become blanks. What is a class is no background.

    Args:
        config: Gives prompts, names and background.
        classes: Class names.
        weights: SHA-256 of the file of weights.

    Raises:
        Ws3Error: If a name is given for a class that there isn't, two classes have the same, or
            there is nothing to tell the only class from.

    Example:
        >>> config = ClassifierConfig(
        ...     architecture="open_clip:ViT-B-16", weights="clip.pt", train="text",
        ...     class_prompts={"bird": "bird avian"}, background=["sky", "tree"],
        ... )
        >>> texts = texts_for(config, ["bird", "palm_tree", "tree"], "")
        >>> texts.names, texts.background
        (('bird avian', 'palm tree', 'tree'), ('sky',))
    """
    for name in config.class_prompts:
        if name not in classes:
            raise Ws3Error(
                f"classifier.class_prompts: the dataset has no class {shown(name)}; it has: "
                f"{shortened(', '.join(classes))}"
            )
    names = [config.class_prompts.get(name, name.replace("_", " ")) for name in classes]
    for number, name in enumerate(names):
        before = names.index(name)
        if before < number:
            raise Ws3Error(
                f"classifier.class_prompts: {classes[before]} and {classes[number]} both read "
                f"{shown(name)}; give each a text of its own"
            )
        if _CODE.fullmatch(name):
            _log.warning(
                "the class %s reads like a code, of which CLIP knows nothing; say what it is in "
                "classifier.class_prompts",
                classes[number],
            )
    taken = {name.casefold() for name in (*classes, *names)}
    background = [one for one in config.background if one.casefold() not in taken]
    if len(background) < len(config.background):
        left = ", ".join(one for one in config.background if one not in background)
        _log.warning("classifier.background: left out, as it is a class: %s", left)
    if len(names) + len(background) < 2:
        raise Ws3Error(
            "classifier.background: there is nothing to tell the only class from; name what else "
            "its images show"
        )
    return Texts(
        prompts=config.prompts,
        names=tuple(names),
        background=tuple(background),
        pooling=config.pooling,
        weights=weights,
    )


@torch.no_grad()
def embedded(
    clip: nn.Module, architecture: str, names: Sequence[str], prompts: Sequence[str]
) -> Tensor:
    """Return what CLIP's text tower makes of names (names, F), each of length 1.

    The prompts of a name are scaled to length 1 and averaged, as CLIP's authors do.

    Args:
        clip: A CLIP of open_clip's, in evaluation mode.
        architecture: Its name.
        names: What goes into the prompts.
        prompts: Each with one `{}`.

    Raises:
        Ws3Error: If a text is too long.
    """
    sentences = [one.replace(PLACE, name) for name in names for one in prompts]
    found = list[Tensor]()
    for tokens in torch.split(tokenised(architecture, sentences), len(prompts)):
        each = cast(Tensor, clip.encode_text(tokens, normalize=True))  # type: ignore[operator]
        found.append(nn.functional.normalize(each.mean(dim=0), dim=0))
    return torch.stack(found)


def _check_activation(config: ClassifierConfig, state: dict[str, Tensor]) -> None:
    """Tell weights that were trained with another activation than the network has.

    Nothing in the weights themselves says so, and the maps would only be a little worse.

    Raises:
        Ws3Error: If they are OpenAI's, and the network's activation is not QuickGELU.
    """
    weights = str(config.weights)
    if any(name in state for name in _OF_OPENAI) and not has_quick_gelu(config.architecture):
        raise Ws3Error(
            f"{weights} holds OpenAI's weights, which were trained with QuickGELU; use "
            f"classifier.architecture: {config.architecture}-quickgelu"
        )
    wrong = mismatch(config.architecture, Path(weights).name)
    if wrong:
        _log.warning("%s looks like the weights %s", weights, wrong)


def _load(clip: nn.Module, state: dict[str, Tensor], config: ClassifierConfig) -> None:
    scale = state.get("logit_scale")
    if scale is not None and scale.numel() == 1:  # some files have a list of one
        state["logit_scale"] = scale.reshape(())
    problems = misfits(clip, state)
    if problems:
        raise Ws3Error(
            f"{config.weights} doesn't fit {config.architecture}: {problems[0]} "
            f"({len(problems)} of {len(clip.state_dict())} tensors misfit); give weights of both "
            "towers, and check classifier.architecture"
        )
    clip.load_state_dict(state, strict=False)
