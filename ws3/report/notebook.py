"""What Jupyter shows of a run, a recipe and an image: `_repr_html_`, nothing loaded from outside.

A notebook's own colours are kept, as it may be light or dark. Everything that comes from data is
escaped. What is missing is said, and never raised: to look at an object must not fail.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup
from PIL import Image

from ws3.config.methods import OWN_METHODS
from ws3.config.recipes import Recipe
from ws3.config.run import GROUND_TRUTH
from ws3.errors import Ws3Error
from ws3.report.html import environment
from ws3.report.model import title_of
from ws3.report.pictures import UInt8, class_hex, fit, heat_overlay, mask_overlay
from ws3.run.reader import ImageReader, RecipeReader, RunReader
from ws3.run.records import EVALUATED_STAGES

_SIDE = 160
_THUMBNAILS, _EXAMPLES = 6, 3
_STAGES = {"maps": "score maps", "masks": "pseudo-masks", "segmentation": "network"}

Shown = TypeVar("Shown")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, as the address of its own bytes.

    Attributes:
        source: `data:` and the JPEG.
        title: What it shows.
    """

    source: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A row of pictures.

    Attributes:
        title: Of the row.
        note: A few words more, such as a figure, or why there are no pictures.
        pictures: From the left.
    """

    title: str
    note: str
    pictures: Sequence[Picture]


def _told(show: Callable[[Shown], str]) -> Callable[[Shown], str]:
    """Make a sentence of what is missing or damaged."""

    @wraps(show)
    def shown(of: Shown) -> str:
        try:
            return show(of)
        except (Ws3Error, OSError) as error:
            return str(Markup("<p>{}<br>{}</p>").format(repr(of), str(error)))

    return shown


@_told
def run_html(run: RunReader) -> str:
    """Return what a notebook shows of a run: its data, the figures of its recipes, some images."""
    images = list(run.images)
    counts: dict[str, int] = {}
    for image in images:
        split = run.split(image)
        counts[split] = counts.get(split, 0) + 1
    chosen = [images[place] for place in _spread(len(images), _THUMBNAILS)]
    pictures = []
    for image in chosen:
        with suppress(Ws3Error, OSError):
            title = f"{image}: {', '.join(run.labels(image)) or 'no class'}"
            pictures.append(_picture(_small(run.image(image)), title))
    return _render(
        "run",
        name=run.name,
        folder=str(run.folder),
        seed=run.seed,
        counts=counts,
        classes=_chips(run, range(len(run.classes))),
        recipes=list(run.recipes),
        figures=_figures(run),
        lines=[Line("", "", pictures)],
    )


@_told
def recipe_reader_html(reader: RecipeReader) -> str:
    """Return what a notebook shows of a recipe of a run: its settings, figures and some images."""
    run, name = reader.run, reader.name
    # Those that are reported on: networks predict no others.
    reported = [image for image in run.images if run.split(image) in run.reported_splits]
    lines = []
    for place in _spread(len(reported), _EXAMPLES):
        image = reported[place]
        with suppress(Ws3Error, OSError):
            photo = _small(run.image(image))
            made = _of_recipe(run.show(image), name, photo)
            if made:
                lines.append(Line(image, "", [_picture(photo, "photograph"), *made]))
    return _render(
        "recipe",
        name=title_of(name),
        about="" if name == GROUND_TRUTH else _about(reader.recipe),
        settings={} if name == GROUND_TRUTH else _settings(reader.recipe),
        figures=[row for row in _figures(run) if row["recipe"] == title_of(name)],
        lines=lines,
    )


@_told
def recipe_html(recipe: Recipe) -> str:
    """Return what a notebook shows of a recipe: what it does, and what it sets."""
    about, settings = _about(recipe), _settings(recipe)
    return _render("recipe", name="", about=about, settings=settings, figures=[], lines=[])


@_told
def image_html(shown: ImageReader) -> str:
    """Return what a notebook shows of an image: maps and masks of every recipe, and the truth."""
    run, photo = shown.run, _small(shown.photo)
    truth = shown.truth
    first = [_picture(photo, "photograph")]
    if truth is not None:
        first.append(_picture(_over(photo, truth), "ground truth"))
    lines = [Line("", "", first)]
    for name in run.recipes_and_networks:
        pictures = _of_recipe(shown, name, photo)
        note = "" if pictures else "nothing is stored yet"
        with suppress(Ws3Error):
            if truth is not None and name != GROUND_TRUTH:
                agreement = image_iou(shown.mask(name), truth)
                note = note or ("" if agreement is None else f"IoU {100 * agreement:.1f} %")
        lines.append(Line(title_of(name), note, pictures))
    return _render(
        "image",
        name=shown.name,
        split=shown.split,
        size=f"{shown.photo.shape[1]} \N{MULTIPLICATION SIGN} {shown.photo.shape[0]}",
        classes=_chips(run, [value - 1 for value in shown.class_values]),
        lines=lines,
    )


def image_iou(mask: UInt8, truth: UInt8) -> float | None:
    """Return the mean IoU of one image over the classes in ground truth or mask, and background.

    Args:
        mask: uint8 (H, W); 255 is ignored.
        truth: uint8 (H, W), with the same values.

    Returns:
        In [0, 1]; None where every pixel is ignored.

    Example:
        >>> truth = np.array([[0, 0, 1, 255]], np.uint8)
        >>> image_iou(np.array([[0, 1, 1, 1]], np.uint8), truth)
        0.5
    """
    counted = (mask != 255) & (truth != 255)
    found, expected = mask[counted], truth[counted]
    values = np.union1d(found, expected)
    shares = [
        np.count_nonzero((found == value) & (expected == value))
        / np.count_nonzero((found == value) | (expected == value))
        for value in values
    ]
    return float(np.mean(shares)) if shares else None


def _of_recipe(shown: ImageReader, name: str, photo: UInt8) -> list[Picture]:
    """Return the pictures that a recipe, or the fully supervised network, has of an image."""
    pictures = []
    with suppress(Ws3Error):
        if name != GROUND_TRUTH:
            for label, scores in zip(shown.labels, shown.maps(name), strict=True):
                small = fit(scores.astype(np.float32), _SIDE, smooth=True)
                pictures.append(_picture(heat_overlay(photo, small), f"map: {label}"))
            pictures.append(_picture(_over(photo, shown.mask(name)), "pseudo-mask"))
    with suppress(Ws3Error):
        pictures.append(_picture(_over(photo, shown.prediction(name)), "prediction"))
    return pictures


def _figures(run: RunReader) -> list[dict[str, Any]]:
    """Return mIoU with its interval by recipe and split, in percent, stage by stage."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with suppress(Ws3Error):
        for found in run.summary():
            recipe, split = str(found["recipe"]), str(found["split"])
            row = rows.setdefault(
                (recipe, split), {"recipe": title_of(recipe), "split": split, "stages": {}}
            )
            value = found.get("miou")
            if isinstance(value, float):
                low, high = found.get("miou_low"), found.get("miou_high")
                ends = ""
                if isinstance(low, float) and isinstance(high, float):
                    ends = f" [{100 * low:.1f}, {100 * high:.1f}]"
                row["stages"][str(found["stage"])] = (f"{100 * value:.1f}", ends)
    return list(rows.values())


def _about(recipe: Recipe) -> str:
    entry = OWN_METHODS.get(recipe.method)
    if recipe.imported is not None:
        return "of another program, imported"
    if recipe.network is not None:
        return f"by the segmentation network that the masks of {recipe.network} trained"
    return recipe.method if entry is None else f"{entry.summary} ({entry.source})"


def _settings(recipe: Recipe) -> dict[str, str]:
    """Return what a recipe sets apart from the defaults, by key."""
    given = recipe.model_dump(mode="json", exclude_defaults=True)
    return {key: str(value) for key, value in _flat(given) if key != "precision"} | {
        "precision": recipe.precision
    }


def _flat(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, data


def _chips(run: RunReader, places: Sequence[int]) -> list[tuple[str, str]]:
    """Return names and colours of classes."""
    return [(run.classes[place], class_hex(place)) for place in places]


def _spread(count: int, most: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _small(image: UInt8) -> UInt8:
    small: UInt8 = fit(image, _SIDE, smooth=True)
    return small


def _over(photo: UInt8, mask: UInt8) -> UInt8:
    return mask_overlay(photo, fit(mask, _SIDE, smooth=False))


def _picture(pixels: UInt8, title: str) -> Picture:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=85)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}", title)


def _render(what: str, **values: Any) -> str:
    template = environment().get_template("notebook.html.j2")
    stages = [(stage, _STAGES[stage]) for stage in EVALUATED_STAGES]
    return template.render(what=what, stages=stages, **values)


__all__ = ["image_html", "image_iou", "recipe_html", "recipe_reader_html", "run_html"]
