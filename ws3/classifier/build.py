"""An untrained classifier by the name of its network."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torchvision import models

from ws3.classifier.model import Classifier
from ws3.classifier.networks import CLASSIFIERS, backbone, build, classifier_head, normalisation
from ws3.classifier.output_stride import reduce_output_stride
from ws3.classifier.timm_networks import build_timm
from ws3.config.classifier import OWN_STRIDE, TIMM
from ws3.errors import Ws3Error
from ws3.messages import reason
from ws3.registry import load_object

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def at_output_stride(classifier: Classifier, output_stride: int) -> Classifier:
    """Return a classifier whose network's output stride was reduced in place; 32 leaves it alone.

    Raises:
        Ws3Error: If the network can't have that output stride.
    """
    if output_stride == OWN_STRIDE:
        return classifier
    reduce_output_stride(classifier.backbone, classifier.network, output_stride, classifier.name)
    return replace(classifier, output_stride=output_stride)


def build_classifier(
    architecture: str, classes: Sequence[str], input_size: int, output_stride: int = OWN_STRIDE
) -> Classifier:
    """Return an untrained classifier by the name of its network.

    Args:
        architecture: Torchvision's name of a classification network, `timm:` and timm's, the name
            of one that an installed package adds, or `module:function`. The latter is imported: a
            name that comes from a file must be checked by `names_code` before.
        classes: Class names.
        input_size: Side in pixels of the network's input.
        output_stride: Pixels of the input per pixel of the last features, per side: 8, 16 or 32,
            which leaves the network as it is.

    Raises:
        Ws3Error: If there is no such network, it isn't supported or can't have the output stride,
            or the package that adds it can't be imported or adds something else.

    Example:
        >>> build_classifier("resnet18", ("cat", "dog"), 224).head
        Sequential(
          (pool): AdaptiveAvgPool2d(output_size=1)
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (fc): Linear(in_features=512, out_features=2, bias=True)
        )
    """
    if architecture.startswith(TIMM):
        return at_output_stride(build_timm(architecture, classes, input_size), output_stride)
    if names_code(architecture):
        made, origin = _imported(architecture)(tuple(classes)), architecture
    elif architecture in models.list_models(module=models) or architecture not in CLASSIFIERS:
        network = build(architecture, len(classes))
        mean, std = normalisation(architecture)
        made = Classifier(
            backbone(network),
            classifier_head(network),
            tuple(classes),
            mean,
            std,
            input_size,
            architecture,
            network,
        )
        return at_output_stride(made, output_stride)
    else:
        made, origin = CLASSIFIERS[architecture](tuple(classes)), f"what {architecture} adds"
    if not isinstance(made, Classifier) or tuple(made.classes) != tuple(classes):
        raise Ws3Error(
            f"classifier.architecture: {origin} must return a ws3.Classifier for "
            "the classes that it is given; mend it, or remove the package that adds it"
        )
    named = replace(made, input_size=input_size, architecture=architecture)
    return at_output_stride(named, output_stride)


def names_code(architecture: str) -> bool:
    """Return whether an architecture is a function to be imported, as `module:function`.

    Example:
        >>> names_code("my_package.networks:preact10"), names_code("timm:resnet18")
        (True, False)
    """
    return not architecture.startswith(TIMM) and _FUNCTION.fullmatch(architecture) is not None


def _imported(architecture: str) -> Callable[[Sequence[str]], Any]:
    try:
        function: Callable[[Sequence[str]], Any] = load_object(architecture)
    except Exception as error:
        # Any kind, as the module's own code runs.
        raise Ws3Error(
            f"classifier.architecture: {architecture} can't be imported ({reason(error)}); install "
            "the module, or put its folder into PYTHONPATH"
        ) from error
    if not callable(function):
        raise Ws3Error(f"classifier.architecture: {architecture} is no function of class names")
    return function
