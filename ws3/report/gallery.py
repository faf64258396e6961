"""The gallery's pictures, written beside the page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ws3.report.model import GalleryEntry, RecipePictures
from ws3.report.pictures import PICTURE_SIDE, UInt8, fit, heat_overlay, mask_overlay

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def write_gallery_entry(
    folder: Path,
    image_id: str,
    split: str,
    image: UInt8,
    labels: Sequence[str],
    class_ids: Sequence[int],
    maps: Mapping[str, NDArray[np.floating[Any]]],
    masks: Mapping[str, UInt8],
    truth: UInt8 | None = None,
    predictions: Mapping[str, UInt8] | None = None,
    title: str = "",
) -> GalleryEntry:
    """Write small pictures of one image through all recipes under `folder/gallery`.

    Args:
        folder: The report's folder.
        image_id: The image's id.
        split: Its split.
        image: (H, W, 3) uint8 RGB.
        labels: Names of the classes present.
        class_ids: Their positions in the class list, counted from 0.
        maps: For each recipe (classes present, H, W), in [0, 1].
        masks: For each recipe (H, W) uint8; a recipe without a mask is left out.
        truth: (H, W) uint8, None if there is none.
        predictions: For each network, by the recipe that trained it, its prediction (H, W) uint8;
            a network that no recipe trained gets an entry with nothing else.
        title: What to call the image; "" is its id.

    Returns:
        The entry for `Report.gallery`.

    Raises:
        ValueError: Shapes do not fit each other.
    """
    if len(labels) != len(class_ids):
        raise ValueError(f"{len(labels)} labels but {len(class_ids)} class ids")
    place = Path("gallery") / _file_name(image_id)
    (folder / place).mkdir(parents=True, exist_ok=True)
    small = fit(image, PICTURE_SIDE, smooth=True)

    def save(name: str, picture: UInt8) -> str:
        path = place / name
        # JPEG, as photographs under heat are four times as large in PNG.
        Image.fromarray(picture).save(folder / path, quality=88)
        return path.as_posix()

    def save_mask(name: str, mask: UInt8 | None) -> str | None:
        if mask is None:
            return None
        return save(name, mask_overlay(small, fit(mask, PICTURE_SIDE, smooth=False)))

    photo = save("photo.jpg", small)
    truth_path = save_mask("truth.jpg", truth)
    predicted = {
        name: save_mask(f"{_file_name(name)}.prediction.jpg", mask)
        for name, mask in (predictions or {}).items()
    }
    pictures = []
    for recipe, scores in maps.items():
        if scores.shape != (len(labels), *image.shape[:2]):
            raise ValueError(
                f"maps of {recipe!r} have shape {scores.shape}, expected one (H, W) map for each "
                f"of {len(labels)} labels and image size {image.shape[:2]}"
            )
        name = _file_name(recipe)
        heats = tuple(
            save(
                f"{name}.map{class_id}.jpg",
                heat_overlay(small, fit(score.astype(np.float32), PICTURE_SIDE, smooth=True)),
            )
            for class_id, score in zip(class_ids, scores, strict=True)
        )
        pictures.append(
            RecipePictures(
                recipe=recipe,
                maps=heats,
                mask=save_mask(f"{name}.mask.jpg", masks.get(recipe)),
                prediction=predicted.pop(recipe, None),
            )
        )
    pictures += [RecipePictures(name, (), None, path) for name, path in predicted.items()]
    return GalleryEntry(
        image=title or image_id,
        split=split,
        labels=tuple(labels),
        class_ids=tuple(class_ids),
        photo=photo,
        truth=truth_path,
        recipes=tuple(pictures),
    )


def _file_name(name: str) -> str:
    """Return a name that is safe in a path and in a link, the same for the same name."""
    if _PLAIN.fullmatch(name):
        return name
    return hashlib.sha256(name.encode()).hexdigest()[:16]
