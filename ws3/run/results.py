"""What a stage reads of an earlier one: made from what the run expects, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ws3.config.run import Stage
from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import file_sha256
from ws3.masks.png import read_mask, read_text
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import ClassifierFacts, SegmentationFacts
from ws3.run.skips import DEPENDS_ON, skip_reason
from ws3.store.maps import MapStore

FINGERPRINT = "ws3:fingerprint"
"""Name of the text entry of a mask that holds its fingerprint."""


def check_model(path: Path, made: ClassifierFacts | SegmentationFacts, command: str) -> None:
    """Refuse a network whose file is not the one that was written down.

    Args:
        path: Its file.
        made: What was written down when it was made.
        command: What makes it.

    Raises:
        StaleResultError: Naming the command.
    """
    if file_sha256(path) != made.sha256:
        raise StaleResultError(
            f"{path}: this file is missing, damaged or not the one that the run made; make it "
            f"with: {command}"
        )


def rows_with_masks(run: Run, recipe: str, splits: Iterable[str]) -> list[ImageRow]:
    """Return the images of some splits that have a pseudo-mask, none of its stages passed over."""
    stages: tuple[Stage, ...] = (*DEPENDS_ON["masks"], "masks")
    return [row for row in run.mapped_rows(splits) if not skip_reason(run, recipe, row, stages)]


def read_maps(run: Run, recipe: str, row: ImageRow) -> NDArray[np.float32]:
    """Return an image's final maps, float32 (classes, H, W).

    Raises:
        StaleResultError: naming the image and the command that makes the maps.
    """
    store = MapStore(run.map_store(recipe))
    attributes = store.attributes(row.image)
    repair = f"ws3 maps {run.folder} --recipe {recipe} --image {row.image}"
    if attributes is None:
        raise StaleResultError(
            f"{store.path}: image {row.image} has no maps; make them with: {repair}"
        )
    if attributes.get("fingerprint") != Fingerprints(run, recipe).maps(row):
        raise StaleResultError(
            f"{store.path}: the maps of image {row.image} were made from other inputs; make them "
            f"anew with: {repair}"
        )
    try:
        return store.read(row.image).astype(np.float32)
    except StaleResultError as error:
        raise StaleResultError(f"{error} Make them anew with: {repair}") from None


def read_pseudo_mask(run: Run, recipe: str, row: ImageRow) -> NDArray[np.uint8]:
    """Return an image's pseudo-mask, uint8 (H, W).

    Raises:
        StaleResultError: naming the image and the command that makes the mask.
    """
    path, expected = run.mask_file(recipe, row.image), Fingerprints(run, recipe).masks(row)
    return _read_current(path, expected, f"ws3 masks {run.folder}", recipe, row)


def read_prediction(run: Run, recipe: str, row: ImageRow) -> NDArray[np.uint8]:
    """Return an image's predicted mask, uint8 (H, W).

    Raises:
        StaleResultError: naming the image and the command that makes the prediction.
    """
    path = run.prediction_file(recipe, row.image)
    expected = Fingerprints(run, recipe).predictions(row)
    return _read_current(path, expected, f"ws3 predictions {run.folder}", recipe, row)


def current_mask(path: Path, fingerprint: str) -> NDArray[np.uint8] | None:
    """Return a mask that is there, intact, and bears this fingerprint; else None."""
    try:
        return read_mask(path) if read_text(path).get(FINGERPRINT) == fingerprint else None
    except Ws3Error:
        return None


def _read_current(
    path: Path, fingerprint: str, command: str, recipe: str, row: ImageRow
) -> NDArray[np.uint8]:
    mask = current_mask(path, fingerprint)
    if mask is None:
        raise StaleResultError(
            f"{path}: this mask is missing, damaged or made from other inputs; make it with: "
            f"{command} --recipe {recipe} --image {row.image}"
        )
    return mask
