"""An untrained classifier by the name of its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torchvision import models

from ws3.classifier.functions import imported, names_code
from ws3.classifier.model import Classifier
from ws3.classifier.networks import CLASSIFIERS, build, normalisation, taken_apart
from ws3.classifier.open_clip_networks import build_open_clip
from ws3.classifier.output_stride import reduce_output_stride
from ws3.classifier.timm_networks import build_timm
from ws3.config.classifier import OPEN_CLIP, OWN_STRIDE, TIMM, Texts
from ws3.errors import Ws3Error


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
    architecture: str,
    classes: Sequence[str],
    input_size: int,
    output_stride: int = OWN_STRIDE,
    texts: Texts | None = None,
) -> Classifier:
    """Return an untrained classifier by the name of its network.

    Args:
        architecture: Torchvision's name of a classification network, `timm:` and timm's,
            `open_clip:` and open_clip's, the name of one that an installed package adds, or
            `module:function`. The latter is imported: a name that comes from a file must be
            checked by `functions.names_code` before.
        classes: Class names.
        input_size: Side in pixels of the network's input.
        output_stride: Pixels of the input per pixel of the last features, per side: 8, 16 or 32,
            which leaves the network as it is.
        texts: What the head is to be made of, with an architecture of open_clip's; None: its logits
            are to be trained.

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
    if architecture.startswith(OPEN_CLIP):
        made = build_open_clip(architecture, classes, input_size, texts)
        return at_output_stride(made, output_stride)
    own_function = names_code(architecture)
    unknown = architecture not in CLASSIFIERS and not own_function
    if architecture in models.list_models(module=models) or unknown:
        backbone, head, network = taken_apart(build(architecture, len(classes), input_size))
        mean, std = normalisation(architecture)
        made = Classifier(
            backbone,
            head,
            tuple(classes),
            mean,
            std,
            input_size,
            architecture,
            network,
        )
        return at_output_stride(made, output_stride)
    make = imported(architecture) if own_function else CLASSIFIERS[architecture]
    made = make(tuple(classes))
    if not isinstance(made, Classifier) or tuple(made.classes) != tuple(classes):
        raise Ws3Error(
            f"classifier.architecture: what {architecture} adds must return a ws3.Classifier for "
            "the classes that it is given; mend or remove the package that adds it"
        )
    named = replace(made, input_size=input_size, architecture=architecture)
    return at_output_stride(named, output_stride)
