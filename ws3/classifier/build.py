"""An untrained classifier by the name of its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torchvision import models

from ws3.classifier.functions import imported, names_code
from ws3.classifier.model import Classifier
from ws3.classifier.networks import CLASSIFIERS, backbone, build, classifier_head, normalisation
from ws3.classifier.timm_networks import build_timm
from ws3.config.classifier import TIMM
from ws3.errors import Ws3Error


def build_classifier(architecture: str, classes: Sequence[str], input_size: int) -> Classifier:
    """Return an untrained classifier by the name of its network.

    Args:
        architecture: Torchvision's name of a classification network, `timm:` and timm's, the name
            of one that an installed package adds, or `module:function`. The latter is imported: a
            name that comes from a file must be checked by `functions.names_code` before.
        classes: Class names.
        input_size: Side in pixels of the network's input.

    Raises:
        Ws3Error: If there is no such network, it isn't supported, or the package that adds it
            can't be imported or adds something else.

    Example:
        >>> build_classifier("resnet18", ("cat", "dog"), 224).head
        Sequential(
          (pool): AdaptiveAvgPool2d(output_size=1)
          (flatten): Flatten(start_dim=1, end_dim=-1)
          (fc): Linear(in_features=512, out_features=2, bias=True)
        )
    """
    if architecture.startswith(TIMM):
        return build_timm(architecture, classes, input_size)
    own_function = names_code(architecture)
    unknown = architecture not in CLASSIFIERS and not own_function
    if architecture in models.list_models(module=models) or unknown:
        network = build(architecture, len(classes))
        mean, std = normalisation(architecture)
        return Classifier(
            backbone(network),
            classifier_head(network),
            tuple(classes),
            mean,
            std,
            input_size,
            architecture,
            network,
        )
    make = imported(architecture) if own_function else CLASSIFIERS[architecture]
    made = make(tuple(classes))
    if not isinstance(made, Classifier) or tuple(made.classes) != tuple(classes):
        raise Ws3Error(
            f"classifier.architecture: what {architecture} adds must return a ws3.Classifier for "
            "the classes that it is given; mend or remove the package that adds it"
        )
    return replace(made, input_size=input_size, architecture=architecture)
