"""Attribution methods by name: what each is, what a recipe may ask of it, where its code is.

Imports no torch: the command line lists this table, and a configuration is checked against it. A
method's code is imported when the method is used (`MethodEntry.load`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationError, ValidationInfo, field_validator

from ws3.config.model import Section
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error
from ws3.messages import shown
from ws3.registry import Registry, load_object


class NoOptions(Section):
    """For a method that has no options."""


_STRIDES = (1, 2, 4, 8, 16, 32)


def _stride(value: object) -> int | None:
    if value is not None and (type(value) is not int or value not in _STRIDES):
        raise ValueError(f"must be one of {', '.join(map(str, _STRIDES))}")
    return value


def _strides(value: object) -> int | list[int] | None:
    if not isinstance(value, list | tuple):
        return _stride(value)
    strides = [stride for stride in map(_stride, value) if stride is not None]
    if not strides or sorted(set(strides)) != list(value):
        raise ValueError("must be ascending, if it is a list")
    return strides


def _names(value: object) -> str | list[str] | None:
    listed = [value] if isinstance(value, str) else value
    if value is None:
        return None
    if not isinstance(listed, list | tuple) or not listed:
        raise ValueError("must be the name of a layer, or a list of names")
    if not all(isinstance(one, str) and one for one in listed) or len({*listed}) < len(listed):
        raise ValueError("must be names of layers, each of them once")
    return value if isinstance(value, str) else list(listed)


def _name(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError("must be the name of a layer")
    return value


def _not_both(value: Any, info: ValidationInfo) -> Any:
    if value is not None and info.data.get("stride") is not None:
        raise ValueError("names what stride chooses, too; give one of the two")
    return value


class LayerOptions(Section):
    """Options of the methods that may look at a layer."""

    stride: Annotated[int | None, PlainValidator(_stride, int | None)] = Field(
        None,
        description="End at the network's last layer of this stride (or of the next smaller one "
        "that it has): a pixel of the map then stands for stride x stride of the input. null: the "
        "method's own end.",
    )
    layer: Annotated[str | None, PlainValidator(_name, str | None)] = Field(
        None,
        description="The layer by its name in the network, as in its state dict, in place of a "
        "stride.",
    )
    _one_way = field_validator("layer")(_not_both)


class LayersOptions(Section):
    """Options of the methods that may look at several layers."""

    stride: Annotated[int | list[int] | None, PlainValidator(_strides, int | list[int] | None)] = (
        Field(
            None,
            description="The network's last layer of this stride (or of the next smaller one that "
            "it has), or of each of several, ascending: a pixel of the map then stands for stride "
            "x stride of the input. null: the last features.",
        )
    )
    layer: Annotated[str | list[str] | None, PlainValidator(_names, str | list[str] | None)] = (
        Field(
            None,
            description="The layer by its name in the network, as in its state dict, in place of a "
            "stride; or several.",
        )
    )
    fusion: Literal["sum", "product", "geometric"] = Field(
        "sum",
        description="How the maps of several layers become one, at the resolution of the first: "
        "sum adds them, each scaled to the same mean; product multiplies them, each scaled to the "
        "same maximum, so that all layers must agree; geometric is the geometric mean, the "
        "product's n-th root of n layers, so that scores don't crowd near 0.",
    )

    _one_way = field_validator("layer")(_not_both)

    @field_validator("fusion")
    @classmethod
    def _product_of_several(cls, value: str, info: ValidationInfo) -> str:
        several = info.data.get("layer") or info.data.get("stride")
        if value != "sum" and (not isinstance(several, list) or len(several) < 2):
            raise ValueError("needs several layers, such as stride: [8, 16, 32]")
        return value


class IntegratedGradientsOptions(Section):
    """Options of `integrated_gradients`."""

    steps: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        32, description="Points of the integral, one forward and one backward pass each."
    )


class FullGradOptions(Section):
    """Options of `fullgrad`."""

    rescale: Literal["layer", "channel"] = Field(
        "layer",
        description="What is scaled to [0, 1] before it is added: layer, all channels of a layer "
        "together, as in the authors' program; channel, each by itself, as in pytorch-grad-cam.",
    )


class LegradOptions(Section):
    """Options of `legrad`."""

    blocks: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = Field(
        None, description="How many blocks are looked at, from the last; null: all."
    )


class LrpOptions(Section):
    """Options of `lrp`."""

    rule: Literal["epsilon_plus", "epsilon"] = Field(
        "epsilon_plus",
        description="By what relevance is shared out: epsilon, all that an input adds to an "
        "output; epsilon_plus, in convolutions only what is positive.",
    )
    epsilon: Annotated[float, Field(strict=True, gt=0.0, le=100.0)] = Field(
        1e-6, description="Added to what relevance is divided by, with its sign."
    )


class OcclusionOptions(Section):
    """Options of `occlusion`."""

    window: Annotated[float, Field(strict=True, ge=0.01, le=1.0)] = Field(
        0.125, description="Side of the window, as a share of the input's side."
    )
    stride: Annotated[float, Field(strict=True, ge=0.005, le=1.0)] = Field(
        0.0625, description="Step of the window, as a share of the input's side."
    )


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """One attribution method.

    Attributes:
        summary: One line that says what the map is.
        source: Where it was published.
        function: The method (`ws3.attribution.interface.Method`), or `module:function`, which is
            imported when the method is used.
        reduces: Whether the recipe's `reduce_channels` and `sign` apply: the method gives one value
            per channel of the input. The others give one per pixel, negative ones set to 0.
        log_odds: Whether the recipe's `target` may be `log_odds`.
        smooths: Whether the recipe may set `smooth_relu`: the method's backward pass goes through
            the network.
        options: The recipe's `options` for this method: names, types, bounds and defaults. None:
            the function checks them itself.
    """

    summary: str
    source: str
    function: str | Callable[..., Any]
    reduces: bool = False
    log_odds: bool = True
    smooths: bool = False
    options: type[Section] | None = NoOptions

    def load(self) -> Callable[..., Any]:
        """Return the method's function, imported if need be."""
        if isinstance(self.function, str):
            loaded: Callable[..., Any] = load_object(self.function)
            return loaded
        return self.function


OWN_METHODS: Mapping[str, MethodEntry] = {
    "cam": MethodEntry(
        "features weighted by the head; exact, all classes at once, needs a pooled-linear network",
        "Zhou et al. 2016, arXiv 1512.04150",
        "ws3.attribution.cam:cam",
        log_odds=False,
    ),
    "gradcam": MethodEntry(
        "features weighted by their mean gradient",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        "ws3.attribution.cam:gradcam",
        options=LayersOptions,
    ),
    "gradcam++": MethodEntry(
        "features weighted by their positive gradients, each pixel's share corrected",
        "Chattopadhyay et al. 2018, arXiv 1710.11063",
        "ws3.attribution.cam:gradcam_plus_plus",
        options=LayersOptions,
    ),
    "layercam": MethodEntry(
        "features weighted pixel by pixel by their positive gradients",
        "Jiang et al. 2021, doi 10.1109/TIP.2021.3089943",
        "ws3.attribution.cam:layercam",
        smooths=True,
        options=LayersOptions,
    ),
    "gradient": MethodEntry(
        "gradient of the logit with respect to the input or a layer",
        "Simonyan et al. 2013, arXiv 1312.6034",
        "ws3.attribution.gradients:gradient",
        reduces=True,
        smooths=True,
        options=LayerOptions,
    ),
    "input_x_gradient": MethodEntry(
        "gradient times the normalised input, or times a layer's output",
        "Shrikumar et al. 2016, arXiv 1605.01713",
        "ws3.attribution.gradients:input_x_gradient",
        reduces=True,
        smooths=True,
        options=LayerOptions,
    ),
    "fullgrad": MethodEntry(
        "input times gradient, and the biases of every layer times theirs, scaled and added",
        "Srinivas and Fleuret 2019, arXiv 1905.00780",
        "ws3.attribution.fullgrad:fullgrad",
        options=FullGradOptions,
    ),
    "guided_backprop": MethodEntry(
        "gradient with negative gradients stopped at every ReLU; ReLU networks only",
        "Springenberg et al. 2014, arXiv 1412.6806",
        "ws3.attribution.captum_methods:guided_backprop",
        reduces=True,
    ),
    "attention_rollout": MethodEntry(
        "product of all blocks' attention, the same for every class; transformers only",
        "Abnar and Zuidema 2020, arXiv 2005.00928",
        "ws3.attribution.attention:attention_rollout",
        log_odds=False,
    ),
    "attention_relevance": MethodEntry(
        "attention of all blocks weighted by its positive gradients; transformers only",
        "Chefer et al. 2021, arXiv 2103.15679",
        "ws3.attribution.attention:attention_relevance",
    ),
    "legrad": MethodEntry(
        "positive gradients of what each block says of the class, to its attention; transformers "
        "only",
        "Bousselham et al. 2024, arXiv 2404.03214",
        "ws3.attribution.attention:legrad",
        options=LegradOptions,
    ),
    "ag_cam": MethodEntry(
        "positive gradients to all blocks' attention, times the sigmoid of what it is made of; "
        "transformers only",
        "Leem and Seo 2024, arXiv 2402.04563",
        "ws3.attribution.attention:ag_cam",
    ),
    "integrated_gradients": MethodEntry(
        "input times its mean gradient on the way from the mean colour",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        "ws3.attribution.captum_methods:integrated_gradients",
        reduces=True,
        smooths=True,
        options=IntegratedGradientsOptions,
    ),
    "deeplift": MethodEntry(
        "contributions against the mean colour, by the rescale rule; ReLU networks only",
        "Shrikumar et al. 2017, arXiv 1704.02685",
        "ws3.attribution.captum_methods:deeplift",
        reduces=True,
        log_odds=False,
    ),
    "lrp": MethodEntry(
        "the logit handed down layer by layer by what each input adds; ReLU networks only",
        "Bach et al. 2015, doi 10.1371/journal.pone.0130140",
        "ws3.attribution.lrp:lrp",
        reduces=True,
        log_odds=False,
        options=LrpOptions,
    ),
    "occlusion": MethodEntry(
        "fall of the logit when a window is painted in the mean colour",
        "Zeiler and Fergus 2014, arXiv 1311.2901",
        "ws3.attribution.captum_methods:occlusion",
        reduces=True,
        options=OcclusionOptions,
    ),
}
"""The methods that come with ws3."""

METHODS: Registry[MethodEntry | Callable[..., Any]] = Registry("method", "ws3.methods", OWN_METHODS)
"""All attribution methods.

An installed package adds one through the entry-point group `ws3.methods`; the entry point is the
function, or a `MethodEntry` that says more about it. See docs/extending/method.md.
"""


_LIBRARIES: Mapping[str, MethodEntry] = {
    "grad_cam": MethodEntry(
        "a method of pytorch-grad-cam's", "", "", reduces=False, smooths=True, options=None
    ),
    "captum": MethodEntry("a method of Captum's", "", "", reduces=True, smooths=True, options=None),
}


@dataclass(frozen=True, slots=True)
class _OfLibrary:
    """A method of another library's, imported when it is called."""

    library: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        adapter: Callable[..., Any] = load_object(f"ws3.attribution.adapters:{self.library}")
        return adapter(self.name, *arguments)


def method_entry(name: str) -> MethodEntry:
    """Return a method by name; one that another package adds is imported.

    `grad_cam:NAME` and `captum:NAME` stand for the methods that these libraries have, and are
    looked for when the method is used.

    Raises:
        Ws3Error: If there is none, or the package that adds it can't be imported.

    Example:
        >>> method_entry("integrated_gradients").source
        'Sundararajan et al. 2017, arXiv 1703.01365'
    """
    library, separator, of_library = name.partition(":")
    if separator and library in _LIBRARIES:
        return replace(_LIBRARIES[library], function=_OfLibrary(library, of_library))
    entry = METHODS[name]
    if isinstance(entry, MethodEntry):
        return entry
    summary = (entry.__doc__ or "").strip().partition("\n")[0]
    return MethodEntry(summary, "", entry, reduces=True, smooths=True, options=None)


def check_method(recipe: Recipe) -> None:
    """Check that a recipe's method and what it asks of it go together, without loading the method.

    What a recipe asks of a method that another package adds is checked when the method is used.

    Raises:
        Ws3Error: If there is no such method, an option is unknown or out of bounds, or the method
            doesn't go with the recipe's target or smooth_relu.

    Example:
        >>> check_method(Recipe(method="occlusion", options={"window": 2}))
        Traceback (most recent call last):
        ws3.errors.Ws3Error: the option window of the method occlusion is 2, but must be a number \
from 0.01 to 1.0
    """
    library, separator, _ = recipe.method.partition(":")
    if separator and library in _LIBRARIES:
        return
    if recipe.method not in METHODS:
        raise METHODS.unknown(recipe.method)
    entry = OWN_METHODS.get(recipe.method)
    if entry is not None:
        check_fit(recipe, entry)
        method_options(recipe.method, entry, recipe.options)


def check_fit(recipe: Recipe, entry: MethodEntry) -> None:
    """Check that a method goes with the recipe's target and smooth_relu.

    Raises:
        Ws3Error: If it doesn't; the message names ws3's own methods that do.
    """
    for asked, key, attribute in (
        (recipe.target == "log_odds", "target: log_odds", "log_odds"),
        (recipe.smooth_relu is not None, "smooth_relu", "smooths"),
    ):
        if asked and not getattr(entry, attribute):
            able = ", ".join(name for name, own in OWN_METHODS.items() if getattr(own, attribute))
            raise Ws3Error(f"the method {recipe.method} has no {key}; these have it: {able}")


def method_options(name: str, entry: MethodEntry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's options, checked and completed with its defaults.

    Args:
        name: The method's name, for messages.
        entry: The method.
        options: The recipe's `options`.

    Raises:
        Ws3Error: If an option is unknown, or its value is of another type or out of bounds.

    Example:
        >>> method_options("occlusion", method_entry("occlusion"), {"window": 0.5})
        {'window': 0.5, 'stride': 0.0625}
    """
    if entry.options is None:
        return dict(options)
    try:
        return entry.options.model_validate(dict(options)).model_dump()
    except ValidationError as error:
        problem = error.errors()[0]
    option, fields = str(problem["loc"][0]) if problem["loc"] else "", entry.options.model_fields
    if problem["type"] == "extra_forbidden":
        choice = f"it has: {', '.join(fields)}" if fields else "it has none"
        raise Ws3Error(f"the method {name} has no option {shown(option)}; {choice}")
    about = entry.options.model_json_schema()["properties"].get(option, {})
    if "minimum" in about and "maximum" in about:
        kind = "a whole number" if about["type"] == "integer" else "a number"
        wanted = f"must be {kind} from {about['minimum']} to {about['maximum']}"
    else:
        said = problem["msg"].removeprefix("Value error, ")
        wanted = said[:1].lower() + said[1:]
    raise Ws3Error(
        f"the option {option} of the method {name} is {shown(options.get(option))}, but {wanted}"
    )
