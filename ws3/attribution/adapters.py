"""Methods of pytorch-grad-cam and Captum under the names that they have there.

`grad_cam:ScoreCAM` and `captum:GradientShap` are what a plain call of the library returns, class by
class and with all samples of a batch at once. The options of a recipe go to the library: those of
grad_cam to the constructor, those of captum to `attribute`. pytorch-grad-cam is optional. What is
random begins with the same seed at every batch.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ws3.attribution.channels import of_classes, reduce_channels
from ws3.attribution.interface import Attribution, Options, chosen_layers
from ws3.attribution.network import AttributionNetwork
from ws3.attribution.taps import as_map, channel_axis, layer_of, transformer_layers
from ws3.classifier.tokens import TokenBackbone
from ws3.errors import Ws3Error
from ws3.messages import reason, shown


def grad_cam(
    name: str,
    network: AttributionNetwork,
    inputs: Tensor,
    classes: Sequence[int],
    options: Options,
) -> Attribution:
    """Return the maps of a method of pytorch-grad-cam, each scaled to [0, 1] as it does.

    Args:
        name: Of the class in `pytorch_grad_cam`.
        network: The frozen classifier.
        inputs: Normalised, (B, 3, H, W).
        classes: Logit indices to explain.
        options: `layer`, a name or several, is the target layer (by default the last features, or
            what goes into a transformer's last block); all others are the constructor's.

    Raises:
        Ws3Error: If the library isn't installed or has no such method, an option is unknown, or the
            method can't explain the network.
    """
    method = f"grad_cam:{name}"
    try:
        import pytorch_grad_cam
        from pytorch_grad_cam.base_cam import BaseCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise Ws3Error(
            f"the method {method} is pytorch-grad-cam's, which can't be imported "
            f"({reason(error)}); install it with: pip install grad-cam"
        ) from error
    kind = _class_of(pytorch_grad_cam, name, BaseCAM, method)
    more = {key: value for key, value in options.values.items() if key != "layer"}
    _check(more, kind.__init__, method, {"model", "target_layers", "reshape_transform", "self"})
    whole = _Whole(network)
    names = chosen_layers(options)[1]
    backbone = network.backbone
    if isinstance(backbone, TokenBackbone):
        names = names or list(transformer_layers(backbone, ()))
    layers = [layer_of(backbone, one, network.architecture) for one in names] or [backbone]
    if not isinstance(backbone, TokenBackbone):
        # Found out by a trial, which must not be within the library's own hooks.
        for layer, own in zip(layers, names, strict=False):
            channel_axis(backbone, layer, own, network.architecture)
    reshape = partial(as_map, backbone, layers[0], (names or [""])[0], network.architecture, inputs)

    def explain() -> list[Any]:
        with kind(whole, layers, reshape_transform=reshape if names else None, **more) as cam:
            # The parameters are frozen: without it, nothing would need a gradient.
            cam.compute_input_gradient = True
            return [
                cam(input_tensor=inputs, targets=[ClassifierOutputTarget(index)] * len(inputs))
                for index in classes
            ]

    maps = _called(explain, method, network)
    scores = torch.from_numpy(np.stack(maps)).to(inputs.device).float().relu()
    return Attribution(scores, _probabilities(network, inputs, classes))


def captum(
    name: str,
    network: AttributionNetwork,
    inputs: Tensor,
    classes: Sequence[int],
    options: Options,
) -> Attribution:
    """Return the maps of a method of Captum's that explains the input.

    Args:
        name: Of the class in `captum.attr`.
        network: The frozen classifier.
        inputs: Normalised, (B, 3, H, W).
        classes: Logit indices to explain.
        options: Arguments of `attribute`. Lists become tuples. `baselines` are 0, the mean colour,
            unless a number is given.

    Raises:
        Ws3Error: If Captum has no such method, an option is unknown, or the method can't explain
            the network.
    """
    import captum.attr as library

    method = f"captum:{name}"
    kind = _class_of(library, name, library.Attribution, method)
    if {"layer", "attribution_method"} & set(inspect.signature(kind).parameters):
        raise Ws3Error(
            f"the method {method} explains a layer or wraps another method, and only those that "
            "explain the input by themselves are called; use gradcam or grad_cam:..., or "
            "samples: {kind: noise}"
        )
    arguments = {key: _tuples(value) for key, value in options.values.items()}
    takes = _check(arguments, kind.attribute, method, {"self", "inputs", "target"})
    if "baselines" in takes:
        arguments["baselines"] = torch.full_like(inputs, float(arguments.get("baselines", 0)))
    explainer = kind(_Whole(network))

    def explain() -> list[Tensor]:
        return [
            explainer.attribute(inputs.clone().requires_grad_(), target=index, **arguments)
            for index in classes
        ]

    scores = [
        reduce_channels(values.detach(), options.reduction, options.sign)
        for values in _called(explain, method, network)
    ]
    return Attribution(torch.stack(scores), _probabilities(network, inputs, classes))


class _Whole(nn.Module):
    """A frozen classifier as one module."""

    def __init__(self, network: AttributionNetwork) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.classifier_head
        self.__dict__["network"] = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        network: AttributionNetwork = self.__dict__["network"]
        return network(inputs)


def _probabilities(network: AttributionNetwork, inputs: Tensor, classes: Sequence[int]) -> Tensor:
    with torch.no_grad():
        return of_classes(network(inputs), classes).float().sigmoid()


def _class_of(library: Any, name: str, base: type, method: str) -> Any:
    """Return a method's class.

    Raises:
        Ws3Error: If the library has none of that name.
    """
    found = getattr(library, name, None)
    if isinstance(found, type) and issubclass(found, base) and found is not base:
        return found
    known = sorted(
        key
        for key, value in vars(library).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    )
    raise Ws3Error(f"there is no method {method}; {library.__name__} has: {', '.join(known)}")


def _check(
    given: Mapping[str, Any], function: Callable[..., Any], method: str, own: set[str]
) -> set[str]:
    """Return the names of a function's arguments that are left to options.

    Raises:
        Ws3Error: If an option is none of them.
    """
    takes = set(inspect.signature(function).parameters) - own
    for key in given:
        if key not in takes:
            raise Ws3Error(
                f"the method {method} has no option {shown(key)}; it has: "
                f"{', '.join(sorted(takes)) or 'none'}"
            )
    return takes


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _called(explain: Callable[[], Any], method: str, network: AttributionNetwork) -> Any:
    """Call a library, with the same random numbers each time.

    Raises:
        Ws3Error: If it fails.
    """
    try:
        with _same_numbers():
            return explain()
    except Ws3Error:
        raise
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # Any kind, as the library's own code runs.
        raise Ws3Error(
            f"the method {method} can't explain {network.architecture} ({reason(error)}); check "
            "the recipe's options, or use another method"
        ) from error


@contextmanager
def _same_numbers() -> Iterator[None]:
    legacy, own = np.random.get_state(), random.getstate()  # noqa: NPY002, as libraries draw so
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(legacy)  # noqa: NPY002
            random.setstate(own)
