"""What goes into an attribution method, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from torch import Tensor

from ws3.attribution.network import AttributionNetwork
from ws3.config.methods import check_fit, method_entry, method_options
from ws3.config.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Options:
    """The part of a recipe that a method sees.

    Attributes:
        reduction: How a pixel's channels become one number; see `ws3.attribution.channels`.
        sign: What happens to negative values before that.
        values: The method's own options, checked and completed with its defaults.

    Example:
        >>> load_method(Recipe(method="integrated_gradients", sign="positive"))[1]
        Options(reduction='max', sign='positive', values={'steps': 32})
    """

    reduction: Literal["max", "mean", "l2", "sum", "net"] = "max"
    sign: Literal["abs", "positive"] = "abs"
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Score maps of several samples of one image.

    Attributes:
        scores: float32 (classes, B, h, w), at least 0; h and w are those of the input, or of the
            last spatial features, which the caller enlarges.
        probabilities: float32 (B, classes), sigmoid of the same classes' logits (of
            their log-odds, hence the softmax, where those are explained).
    """

    scores: Tensor
    probabilities: Tensor


class Method(Protocol):
    """An attribution method: a function from samples of one image to their score maps.

    Samples of a batch must not influence each other, scores are finite and at least 0, and on a CPU
    the same input gives the same bytes.

    Args:
        network: The frozen classifier.
        inputs: float32 (B, 3, H, W), normalised (`AttributionNetwork.normalise`), on its device.
        classes: Logit indices to explain.
        options: The part of the recipe that concerns the method.

    Raises:
        Ws3Error: If the method can't explain this network.
    """

    def __call__(
        self,
        network: AttributionNetwork,
        inputs: Tensor,
        classes: Sequence[int],
        options: Options,
    ) -> Attribution:
        """Return the score maps; see the class."""
        ...


def chosen_layers(options: Options) -> tuple[list[int] | None, list[str]]:
    """Return the strides of the layers that a method is to look at, or their names.

    Returns:
        strides: None where the method's own end is meant, or names are given.
        names: Possibly none.

    Example:
        >>> chosen_layers(Options(values={"stride": 4})), chosen_layers(Options())
        (([4], []), (None, []))
    """
    stride, layer = options.values.get("stride"), options.values.get("layer")
    names = [layer] if isinstance(layer, str) else list(layer or ())
    return [stride] if isinstance(stride, int) else stride, names


def load_method(recipe: Recipe) -> tuple[Method, Options]:
    """Return a recipe's method and what it gets of the recipe.

    Raises:
        Ws3Error: If there is no such method, it can't be imported, or it doesn't go with what the
            recipe asks of it.
    """
    entry = method_entry(recipe.method)
    check_fit(recipe, entry)
    values = method_options(recipe.method, entry, recipe.options)
    function = cast(Method, entry.load())
    return function, Options(recipe.reduce_channels, recipe.sign, values)
