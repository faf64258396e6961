"""What attribution methods there are, in words and options; imports no torch.

The command line and the check of a configuration read this module; `ws3.attribution.registry` holds
the methods themselves.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error

GROUP = "ws3.methods"
"""Entry-point group through which an installed package adds methods."""


@dataclass(frozen=True, slots=True)
class Option:
    """One argument of a method: a number within bounds.

    Attributes:
        default: Its value if the recipe says nothing; its type is the option's type.
        least: Smallest value allowed.
        most: Largest value allowed.
        meaning: One line.
    """

    default: int | float
    least: int | float
    most: int | float
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One method of ws3's own.

    Attributes:
        summary: One line that says what the map is.
        source: Where it was published.
        reduces: Whether the recipe's `reduce_channels` and `sign` apply: the method gives one value
            per channel of the input. The others give one per pixel, negative ones set to 0.
        options: What the recipe's `options` may hold.
        contrasts: Whether the recipe's `target` may be `contrast`.
        smooths: Whether the recipe may set `smooth_relu`: the method is a gradient of the input.
    """

    summary: str
    source: str
    reduces: bool
    options: Mapping[str, Option]
    contrasts: bool = True
    smooths: bool = False


METHODS: Mapping[str, Entry] = {
    "cam": Entry(
        "features weighted by the head; exact, all classes at once, needs a pooled-linear network",
        "Zhou et al. 2016, arXiv 1512.04150",
        False,
        {},
        contrasts=False,
    ),
    "gradcam": Entry(
        "features weighted by their mean gradient",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        False,
        {},
    ),
    "gradcam++": Entry(
        "features weighted by their positive gradients, each pixel's share corrected",
        "Chattopadhyay et al. 2018, arXiv 1710.11063",
        False,
        {},
    ),
    "layercam": Entry(
        "features weighted pixel by pixel by their positive gradients",
        "Jiang et al. 2021, doi 10.1109/TIP.2021.3089943",
        False,
        {},
    ),
    "gradient": Entry(
        "gradient of the logit with respect to the input",
        "Simonyan et al. 2013, arXiv 1312.6034",
        True,
        {},
        smooths=True,
    ),
    "input_x_gradient": Entry(
        "gradient times the normalised input",
        "Shrikumar et al. 2016, arXiv 1605.01713",
        True,
        {},
        smooths=True,
    ),
    "guided_backprop": Entry(
        "gradient with negative gradients stopped at every ReLU; ReLU networks only",
        "Springenberg et al. 2014, arXiv 1412.6806",
        True,
        {},
    ),
    "integrated_gradients": Entry(
        "input times its mean gradient on the way from the mean colour",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        True,
        {"steps": Option(32, 1, 1000, "points of the integral, one forward and backward each")},
        smooths=True,
    ),
    "deeplift": Entry(
        "contributions against the mean colour, by the rescale rule; ReLU networks only",
        "Shrikumar et al. 2017, arXiv 1704.02685",
        True,
        {},
        contrasts=False,
    ),
    "occlusion": Entry(
        "fall of the logit when a window is painted in the mean colour",
        "Zeiler and Fergus 2014, arXiv 1311.2901",
        True,
        {
            "window": Option(0.125, 0.01, 1.0, "side of the window, as a share of the input's"),
            "stride": Option(0.0625, 0.005, 1.0, "its step, as a share of the input's side"),
        },
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all methods: ws3's own, then those that installed packages add."""
    return (*METHODS, *plugins())


def plugins() -> dict[str, EntryPoint]:
    """Return the methods that installed packages add; a name of ws3's own can't be taken."""
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point for point in found if point.name not in METHODS}


def check(recipe: Recipe) -> None:
    """Check that a recipe's method and what it asks of it go together, without loading the method.

    The options of a method that another package adds are its own to check.

    Raises:
        Ws3Error: If there is no such method, an option is unknown or out of bounds, or the method
            doesn't go with the recipe's target or smooth_relu.
    """
    method = recipe.method
    if method not in METHODS:
        if method not in plugins():
            raise unknown(method)
        return
    resolve(method, recipe.options)
    for asked, key, fits in (
        (
            recipe.target == "log_odds",
            "target: log_odds",
            {name: entry.contrasts for name, entry in METHODS.items()},
        ),
        (
            recipe.smooth_relu is not None,
            "smooth_relu",
            {name: entry.smooths for name, entry in METHODS.items()},
        ),
    ):
        if asked and not fits[method]:
            able = ", ".join(name for name, can in fits.items() if can)
            raise Ws3Error(f"the method {method} has no {key}; these have it: {able}")


def unknown(method: str) -> Ws3Error:
    """Return the error for a method that there isn't."""
    close = difflib.get_close_matches(method, names(), n=2)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return Ws3Error(f"there is no method {method!r}; {hint}choose from: {', '.join(names())}")


def resolve(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of one of ws3's own methods, checked and completed with the defaults.

    Raises:
        Ws3Error: If an option is unknown, or its value is of another type or out of bounds.
    """
    allowed = METHODS[method].options
    for name, value in options.items():
        if name not in allowed:
            choice = f"it has: {', '.join(allowed)}" if allowed else "it has none"
            raise Ws3Error(f"the method {method} has no option {name!r}; {choice}")
        option = allowed[name]
        kind = "a whole number" if isinstance(option.default, int) else "a number"
        types = (int,) if isinstance(option.default, int) else (int, float)
        if (
            isinstance(value, bool)
            or not isinstance(value, types)
            or not option.least <= value <= option.most
        ):
            raise Ws3Error(
                f"the option {name} of the method {method} is {value!r}, but must be {kind} from "
                f"{option.least} to {option.most}"
            )
    return {**{name: option.default for name, option in allowed.items()}, **options}
