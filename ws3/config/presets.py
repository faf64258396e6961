"""Named recipes with their sources; a recipe may start from one with `preset: NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ws3.errors import Ws3Error
from ws3.messages import shown


@dataclass(frozen=True)
class Preset:
    """A ready recipe: what it is, where it comes from, and its configuration."""

    summary: str
    source: str
    recipe: Mapping[str, Any]


# A gradient's few strongest pixels are far above the rest: scaled by the maximum, a map would be
# cut at 0.05 to 0.15, each image differently. Scaled by the 99th percentile, 0.2 to 0.45 suits.
_CONTRAST = {
    "method": "layercam",
    "options": {"stride": [4, 16, 32], "fusion": "geometric"},
    "target": "log_odds",
    "smooth_relu": 3.0,
    "aggregation": {"weight": "probability", "smoothing": 0.02, "percentile": 98.0},
}
_SIZES = [0.7, 1.0, 1.4]

PRESETS: Mapping[str, Preset] = {
    "cam": Preset(
        "CAM of the image once",
        "Zhou et al. 2016",
        {"method": "cam", "samples": {"kind": "full"}},
    ),
    "cam_multiscale": Preset(
        "CAM averaged over four scales and their mirror images",
        "Ahn and Kwak 2018",
        {
            "method": "cam",
            "samples": {"kind": "scales", "scales": [0.5, 1.0, 1.5, 2.0], "flip": True},
        },
    ),
    "gradcam": Preset(
        "Grad-CAM of the image once",
        "Selvaraju et al. 2017",
        {"method": "gradcam", "samples": {"kind": "full"}},
    ),
    "attention_walk": Preset(
        "Grad-CAM whose scores take two steps along the attention of the last eight blocks, made "
        "symmetric, from within the boxes around what is strong; vision transformers only",
        "the affinity of CLIP-ES, Lin et al. 2023, arXiv 2212.09506, with an ordinary classifier",
        {
            "method": "gradcam",
            "samples": {"kind": "full"},
            "aggregation": {
                "random_walk": {
                    "affinity": "attention",
                    "steps": 2,
                    "blocks": 8,
                    "sinkhorn": 3,
                    "box": 0.4,
                }
            },
        },
    ),
    "clip_gradcam": Preset(
        "Grad-CAM of the class's log-odds at the last layer of stride 32, of the image once: with "
        "classifier.train: text, the softmax Grad-CAM of CLIP-ES",
        "Lin et al. 2023, arXiv 2212.09506; without its affinity from attention",
        {
            "method": "gradcam",
            "options": {"stride": 32},
            "target": "log_odds",
            "samples": {"kind": "full"},
        },
    ),
    "gradient": Preset(
        "Input gradient, strongest channel",
        "Simonyan et al. 2013",
        {"method": "gradient", "samples": {"kind": "full"}, "aggregation": {"percentile": 99.0}},
    ),
    "gradient_crops": Preset(
        "Input gradient averaged over random crops, smoothed; all numbers are ours",
        "the idea: arXiv 2308.11052",
        {
            "method": "gradient",
            "samples": {"kind": "crops", "count": 32, "samples_per_chunk": 16},
            "aggregation": {"smoothing": 0.02, "percentile": 99.0},
        },
    ),
    "contrast_crops": Preset(
        "LayerCAM of the class's log-odds through smooth ReLUs, geometric mean of strides 4, 16, "
        "32, averaged over random crops and the whole image at three sizes, weighted by "
        "probability, smoothed",
        "ours; chosen in docs/study.md",
        {
            **_CONTRAST,
            "samples": {
                "kind": "crops",
                "count": 12,
                "samples_per_chunk": 12,
                "batch": 12,
                "whole_image": _SIZES,
                "input_size": 224,
            },
        },
    ),
    "contrast_scales": Preset(
        "The same of the whole image at three sizes alone, without crops: less than half the cost",
        "ours; chosen in docs/study.md",
        {
            **_CONTRAST,
            "samples": {"kind": "scales", "scales": _SIZES, "flip": True, "input_size": 224},
        },
    ),
    "contrast_input": Preset(
        "Input gradient of the class's log-odds through smooth ReLUs, averaged over random crops, "
        "weighted by probability, smoothed",
        "ours; chosen in docs/study.md, `contrast_crops` until 0.2",
        {
            **_CONTRAST,
            "method": "gradient",
            "options": {},
            "samples": {"kind": "crops", "count": 40, "samples_per_chunk": 10, "input_size": 224},
        },
    ),
    "smoothgrad": Preset(
        "Input gradient averaged over noisy copies",
        "Smilkov et al. 2017",
        {
            "method": "gradient",
            "samples": {"kind": "noise", "count": 32, "noise": 0.15},
            "aggregation": {"percentile": 99.0},
        },
    ),
    "gradient_noise_crops": Preset(
        "Input gradient averaged over noisy random crops, weighted by probability, smoothed",
        "ours",
        {
            "method": "gradient",
            "samples": {"kind": "crops", "count": 32, "samples_per_chunk": 16, "noise": 0.15},
            "aggregation": {"weight": "probability", "smoothing": 0.02, "percentile": 99.0},
        },
    ),
    "refinecam": Preset(
        "Grad-CAM++ of the last layers of strides 8, 16 and 32, multiplied",
        "RefineCAM, arXiv 2605.14641, as in pytorch-grad-cam; the choice of layers is ours",
        {
            "method": "gradcam++",
            "options": {"stride": [8, 16, 32], "fusion": "product"},
            "samples": {"kind": "full"},
        },
    ),
    "fullgrad": Preset(
        "FullGrad of the image once",
        "Srinivas and Fleuret 2019, arXiv 1905.00780",
        {"method": "fullgrad", "samples": {"kind": "full"}},
    ),
    "lrp": Preset(
        "Layer-wise relevance propagation of the image once, epsilon-plus rule",
        "Bach et al. 2015; Montavon et al. 2017",
        {
            "method": "lrp",
            "samples": {"kind": "full"},
            "reduce_channels": "net",
            "sign": "positive",
            "aggregation": {"percentile": 99.0},
        },
    ),
    "sess": Preset(
        "SESS: Grad-CAM of windows that slide over the image at twelve sizes, each scaled to its "
        "maximum and weighted by the class's probability; the maximum over them, smoothed",
        "Tursun et al. 2022, arXiv 2207.01769; without pre-filtering, a sigmoid for its softmax",
        {
            "method": "gradcam",
            # 224, 288, ... 928 pixels for a network of 224.
            "samples": {
                "kind": "sliding",
                "scales": [(7 + 2 * n) / 7 for n in range(12)],
                "samples_per_chunk": "count",
            },
            "aggregation": {
                "combine_samples": "max",
                "weight": "probability",
                "normalise_samples": "max",
                "smoothing": 0.022,  # 5 pixels of 224
            },
        },
    ),
    "integrated_gradients": Preset(
        "Integrated gradients from the mean colour, 32 steps",
        "Sundararajan et al. 2017",
        {
            "method": "integrated_gradients",
            "samples": {"kind": "full"},
            "options": {"steps": 32},
            "aggregation": {"percentile": 99.0},
        },
    ),
}


def expand_presets(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the configuration with each recipe's `preset` replaced by what it stands for.

    A recipe with `samples_from` starts from the recipe that it names.

    A key that the recipe gives itself wins over the preset's; sections are merged key by key.

    Raises:
        Ws3Error: For a preset that does not exist, or samples from a recipe that has none.
    """
    recipes = data.get("recipes")
    if not isinstance(recipes, Mapping):
        return dict(data)
    expanded = {name: _expand(name, recipe, source) for name, recipe in recipes.items()}
    shared = {name: _inherit(name, recipe, expanded, source) for name, recipe in expanded.items()}
    return {**data, "recipes": shared}


def _inherit(name: Any, recipe: Any, recipes: Mapping[str, Any], source: str) -> Any:
    """Return a recipe with what it has from the one whose samples it takes."""
    if not isinstance(recipe, Mapping) or recipe.get("samples_from") is None:
        return recipe
    wanted = recipe["samples_from"]
    source_recipe = recipes.get(wanted) if isinstance(wanted, str) else None
    if not isinstance(source_recipe, Mapping) or source_recipe.get("samples_from") is not None:
        others = [
            str(key)
            for key, other in recipes.items()
            if isinstance(other, Mapping) and other.get("samples_from") is None
        ]
        raise Ws3Error(
            f"{source}: recipes.{name}.samples_from: {shown(wanted)} is not a recipe "
            f"with samples of its own; choose from: {', '.join(others) or 'none'}"
        )
    return _merge(source_recipe, recipe)


def _expand(name: Any, recipe: Any, source: str) -> Any:
    if not isinstance(recipe, Mapping) or "preset" not in recipe:
        return recipe
    preset = recipe["preset"]
    if not isinstance(preset, str) or preset not in PRESETS:
        close = get_close_matches(str(preset)[:100], PRESETS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise Ws3Error(
            f"{source}: recipes.{name}.preset: {shown(preset)} is not a preset; {hint}"
            f"allowed: {', '.join(PRESETS)}"
        )
    own = {key: value for key, value in recipe.items() if key != "preset"}
    return _merge(PRESETS[preset].recipe, own)


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            # Another kind of samples shares no key with the preset's own.
            other_kind = "kind" in value and value["kind"] != below.get("kind")
            merged[key] = dict(value) if other_kind else _merge(below, value)
        else:
            merged[key] = value
    return merged
