"""Classifiers in files: ws3's own format, torchvision's ImageNet weights, a user's state dict.

ws3's format is a `torch.save` of one plain dict: `format`, `architecture`, `classes` (names in
logit order), `input_size` (pixels), `mean` and `std` (of RGB in [0, 1]) and `state_dict`. Format 2
has an `output_stride` too, and is written where that is not the network's own; format 1 is what a
ws3 without output strides reads, which would take such a network for another. Format 3 has the
`texts` (`ws3.config.classifier.Texts`) that its last layer was made of, too. Files are always read
with `weights_only=True`: nothing in them is ever executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn
from torchvision import models

from ws3 import files
from ws3.classifier.build import at_output_stride, build_classifier
from ws3.classifier.functions import names_code
from ws3.classifier.model import Classifier
from ws3.classifier.open_clip_networks import VISUAL
from ws3.classifier.timm_networks import of_efficientnet_lite, timm_weights
from ws3.classifier.tokens import TokenBackbone, fitting_positions
from ws3.config.classifier import (
    INPUT_SIZES,
    OPEN_CLIP,
    OUTPUT_STRIDES,
    OWN_STRIDE,
    TIMM,
    Texts,
)
from ws3.errors import Ws3Error
from ws3.messages import reason, shown
from ws3.pixels import RGB
from ws3.tensors import (
    SAFETENSORS,
    UnusableError,
    in_a_word,
    load_tensors,
    misfits,
    unusable_tensor,
    write_tensors,
)

FORMATS = (1, 2, 3)
StateDict = Mapping[str, Tensor]

# Torchvision's DenseNet files still use the names of a time when modules could bear dots.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.[a-z_]+)$")


def new_classifier(
    architecture: str,
    classes: Sequence[str],
    input_size: int,
    weights: str | None,
    output_stride: int = OWN_STRIDE,
) -> Classifier:
    """Return a classifier to train: a new head on a random or pretrained backbone.

    Args:
        architecture: The network's name, as `build_classifier` takes it.
        classes: Class names.
        input_size: Side in pixels of the network's input.
        weights: `imagenet` (torchvision or timm downloads its default weights), the path of a state
            dict of the same network, or None: the weights that it is built with, which
            torchvision's and timm's networks draw from torch's global generator.
        output_stride: Pixels of the input per pixel of the last features, per side.

    Raises:
        Ws3Error: If the weights can't be had or don't fit, or the network can't have that stride.
    """
    classifier = build_classifier(architecture, classes, input_size, output_stride)
    if weights == "imagenet":
        load_imagenet(classifier)
    elif weights is not None:
        load_backbone(classifier, weights)
    return classifier


def save_classifier(path: str | Path, classifier: Classifier) -> None:
    """Write a classifier; the file appears whole or not at all.

    Raises:
        Ws3Error: If the classifier's architecture has no name, since no file could then be read
            back, or the file can't be written.
    """
    if classifier.architecture is None:
        raise Ws3Error(
            f"{path}: a network of {classifier.name} can't be saved, since ws3 could not build it "
            "again; register it (docs/extending/classifier.md) and give its architecture"
        )
    stride, texts = classifier.output_stride, classifier.texts
    content = {
        "format": 3 if texts is not None else 1 if stride == OWN_STRIDE else 2,
        "architecture": classifier.architecture,
        "classes": list(classifier.classes),
        "input_size": classifier.input_size,
        "mean": list(classifier.mean),
        "std": list(classifier.std),
        **({} if stride == OWN_STRIDE else {"output_stride": stride}),
        **({} if texts is None else {"texts": texts.model_dump(mode="json")}),
        "state_dict": {
            name: value.detach().cpu().contiguous()
            for name, value in classifier.network.state_dict().items()
        },
    }
    write_tensors(Path(path), content)


def load_classifier(path: str | Path, architecture: str | None = None) -> Classifier:
    """Read a classifier that `save_classifier` wrote.

    Args:
        path: The file.
        architecture: The function `module:function` that may be imported to build the network, as
            a file alone never makes ws3 import what it names; not needed for other networks.

    Raises:
        Ws3Error: If the file is missing, damaged, of another format, doesn't fit its own
            architecture, or names a function other than `architecture`.
    """
    content = _read_dict(path)
    if "format" not in content:
        raise Ws3Error(
            f"{path} is no classifier of ws3's but perhaps a state dict; name it in "
            "classifier.checkpoint, with classifier.architecture"
        )
    return _from_content(path, content, architecture)


def load_external(
    path: str | Path,
    architecture: str,
    classes: Sequence[str],
    input_size: int,
    output_stride: int = OWN_STRIDE,
) -> Classifier:
    """Read a trained multi-label classifier that the user brings.

    Args:
        path: A classifier of ws3's, or a state dict (also within `{"state_dict": ...}`, also with
            the prefixes `module.` or `model.`) with torchvision's parameter names.
        architecture: The network's name, as `build_classifier` takes it; ignored for a classifier
            of ws3's, unless that names a function to import, which must be this.
        classes: Class names of the dataset, in the order of the logits.
        input_size: Side in pixels of the network's input; ignored for a classifier of ws3's.
        output_stride: Pixels of the input per pixel of the last features, per side; 32 stands for
            what the network, or the classifier of ws3's, has.

    Raises:
        Ws3Error: If the file can't be read, doesn't fit, is for other classes, or its network can't
            have that output stride.
    """
    content = _read_dict(path)
    if "format" in content:
        classifier = _from_content(path, content, architecture)
        if classifier.classes != tuple(classes):
            raise Ws3Error(
                f"{path} was trained for the classes {', '.join(classifier.classes)}, but the "
                f"dataset has {', '.join(classes)}; use a checkpoint for the dataset's classes"
            )
        return at_output_stride(classifier, output_stride)
    classifier = build_classifier(architecture, classes, input_size, output_stride)
    _fit(classifier.network, _named_as_in(classifier, _state_dict(path, content)), path)
    return classifier


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in a file, also one within `{"state_dict": ...}` or with prefixes.

    Raises:
        Ws3Error: If the file can't be read, or holds anything else.
    """
    return _state_dict(path, _read_dict(path))


def load_backbone(classifier: Classifier, path: str | Path) -> None:
    """Load a state dict of the same network, such as torchvision's, that has another head.

    Tensors of the head that have no place or another shape are left out; all others must fit.

    Raises:
        Ws3Error: If the file can't be read, or the backbone doesn't fit.
    """
    _fit_backbone(classifier, _named_as_in(classifier, read_state(path)), path)


def load_imagenet(classifier: Classifier) -> None:
    """Load torchvision's or timm's default ImageNet weights, downloaded through it if need be.

    Raises:
        Ws3Error: If they can't be downloaded, or the network is neither torchvision's nor timm's.
    """
    architecture = classifier.name
    if architecture.startswith(TIMM):
        origin = f"timm's ImageNet weights of {architecture}"
        _fit_backbone(classifier, _named_as_in(classifier, timm_weights(architecture)), origin)
        return
    if architecture not in models.list_models(module=models):
        raise Ws3Error(
            f"classifier.weights: imagenet stands for torchvision's weights, and {architecture} is "
            "another package's network; give the path of a state-dict file, or null"
        )
    try:
        weights = models.get_model_weights(architecture)["DEFAULT"]
        state = weights.get_state_dict(check_hash=True, progress=False, weights_only=True)
    except (KeyError, OSError, RuntimeError) as error:
        raise Ws3Error(
            f"classifier.weights: torchvision's ImageNet weights of {architecture} can't be "
            f"downloaded ({reason(error)}); give the path of a state-dict file instead"
        ) from error
    origin = f"torchvision's ImageNet weights of {architecture}"
    _fit_backbone(classifier, _named_as_in(classifier, state), origin)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        Ws3Error: If it can't be read.
    """
    try:
        return files.sha256(Path(path))
    except OSError as error:
        raise Ws3Error(f"{path} can't be read: {reason(error)}") from error


def _read_dict(path: str | Path) -> dict[str, Any]:
    """Return the dict of tensors and plain values in a file of torch's, executing nothing.

    Raises:
        Ws3Error: If the file is missing, damaged, or holds anything else.
    """
    kind = "safetensors file" if Path(path).suffix == SAFETENSORS else "file of torch's"
    strange = "holds no dict of named tensors; save it with torch.save(network.state_dict(), file)"
    try:
        content = load_tensors(path)
    except UnusableError as error:
        wrong = {
            "unreadable": f"can't be read: {error.detail}",
            "code": "is damaged or holds Python objects, which ws3 never loads; save only the "
            "weights, with torch.save(network.state_dict(), file)",
            "damaged": f"is damaged or no {kind}; copy or save it again",
            "no dict": strange,
        }[error.fault]
        raise Ws3Error(f"{path} {wrong}") from error
    if not all(isinstance(key, str) for key in content):
        raise Ws3Error(f"{path} {strange}")
    return content


def _from_content(path: str | Path, content: Mapping[str, Any], trusted: str | None) -> Classifier:
    if not isinstance(content["format"], int) or content["format"] not in FORMATS:
        raise Ws3Error(
            f"{path} has classifier format {in_a_word(content['format'])}, but this ws3 reads "
            f"formats {FORMATS[0]} to {FORMATS[-1]}; use the ws3 that wrote it"
        )
    try:
        classes = tuple(str(name) for name in content["classes"])
        architecture = str(content["architecture"])
        mean_r, mean_g, mean_b = map(float, content["mean"])
        std_r, std_g, std_b = map(float, content["std"])
        input_size = int(content["input_size"])
        output_stride = int(content.get("output_stride", OWN_STRIDE))
        state = content["state_dict"]
        texts = Texts.model_validate(content["texts"]) if content["format"] == 3 else None
    except ValidationError as error:
        raise Ws3Error(f"{path} has damaged texts; make it again") from error
    except (ArithmeticError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise Ws3Error(
            f"{path} is an incomplete classifier ({reason(error)}); train it again"
        ) from error
    _check_numbers(path, (mean_r, mean_g, mean_b), (std_r, std_g, std_b), input_size)
    if output_stride not in OUTPUT_STRIDES:
        raise Ws3Error(
            f"{path} has an output_stride of {shown(output_stride)}, not "
            f"{', '.join(map(str, OUTPUT_STRIDES))}; train it again"
        )
    if names_code(architecture) and architecture != trusted:
        raise Ws3Error(
            f"{path} was built by the function {shown(architecture)}, which is imported only where "
            "you name it: as classifier.architecture, or in ws3.load_classifier(path, architecture)"
        )
    if texts is not None and not architecture.startswith(OPEN_CLIP):
        raise Ws3Error(f"{path} has texts, but {shown(architecture)} reads none; make it again")
    if texts is not None and len(texts.names) != len(classes):
        raise Ws3Error(
            f"{path} has {len(texts.names)} texts for {len(classes)} classes; make it again"
        )
    classifier = build_classifier(architecture, classes, input_size, output_stride, texts)
    _fit(classifier.network, _state_dict(path, {"state_dict": state}), path)
    return replace(classifier, mean=(mean_r, mean_g, mean_b), std=(std_r, std_g, std_b))


def _check_numbers(path: str | Path, mean: RGB, std: RGB, input_size: int) -> None:
    lowest, highest = INPUT_SIZES
    wrong = [
        *(f"a mean of {value}" for value in mean if not math.isfinite(value)),
        *(f"a std of {value}" for value in std if not (0 < value < math.inf)),
        *(
            [f"an input_size of {shown(input_size)}, not from {lowest} to {highest}"]
            if not lowest <= input_size <= highest
            else []
        ),
    ]
    if wrong:
        raise Ws3Error(f"{path} has {wrong[0]}; such a classifier says nothing, train it again")


def _state_dict(path: str | Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise Ws3Error(f"{path}: its state_dict is no dict of named tensors")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise Ws3Error(
                f"{path} holds no state dict: {shown(name)} is no tensor; save it with "
                "torch.save(network.state_dict(), file)"
            )
    if not all(isinstance(name, str) for name in state):
        raise Ws3Error(f"{path}: its state_dict has names that are no texts")
    unusable = unusable_tensor(state)
    if unusable:
        raise Ws3Error(
            f"{path}: {unusable}; save dense, finite weights, with "
            "torch.save(network.state_dict(), file)"
        )
    result = dict(state)
    for prefix in ("module.", "model.", "module."):  # also model.module. and module.model.
        if result and all(name.startswith(prefix) for name in result):
            result = {name.removeprefix(prefix): value for name, value in result.items()}
    return {_OLD_DENSENET.sub(r"\1\2", name): value for name, value in result.items()}


def _named_as_in(classifier: Classifier, state: StateDict) -> StateDict:
    """Return a user's state dict with the names of the classifier's network.

    Heads that only ImageNet's training has are left out. Position embeddings for another size of
    image are interpolated.
    """
    own = classifier.network.state_dict()
    if classifier.name.startswith(TIMM):
        state = of_efficientnet_lite(state, own)
    if classifier.name.startswith(OPEN_CLIP):
        state = {name: one for name, one in state.items() if name.startswith((VISUAL, "fc."))}
    unused = classifier.auxiliary
    named = {name: value for name, value in state.items() if not name.startswith(unused)}
    if isinstance(classifier.backbone, TokenBackbone):
        named = fitting_positions(named, own, classifier.backbone.prefix)
    return named


def _fit_backbone(classifier: Classifier, state: StateDict, origin: str | Path) -> None:
    """Load all but the head's misfits; the head keeps its own values for them."""
    of_head = _head_prefixes(classifier)
    own = classifier.network.state_dict()
    kept = {
        name: value
        for name, value in state.items()
        if not name.startswith(of_head) or (name in own and own[name].shape == value.shape)
    }
    head = {name: value for name, value in own.items() if name.startswith(of_head)}
    _fit(classifier.network, {**head, **kept}, origin)


def _head_prefixes(classifier: Classifier) -> tuple[str, ...]:
    """Return what the names of the head's tensors in the whole network begin with."""
    parts = set(classifier.head.modules())
    return tuple(f"{name}." for name, part in classifier.network.named_modules() if part in parts)


def _fit(network: nn.Module, state: StateDict, origin: str | Path) -> None:
    problems = misfits(network, state)
    if problems:
        raise Ws3Error(
            f"{origin} doesn't fit {type(network).__name__}: {problems[0]} "
            f"({len(problems)} of {len(network.state_dict())} tensors misfit); check "
            "classifier.architecture and the number of classes"
        )
    network.load_state_dict(state, strict=False)
