"""Reads the stored results of a recipe: made from what the run expects, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import file_sha256
from ws3.labels import IGNORED
from ws3.masks.png import read_mask, read_text
from ws3.removal import is_there
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import ClassifierFacts, SegmentationFacts
from ws3.run.skips import skip_reason
from ws3.stage_table import STAGES, stages_before
from ws3.store.groups import ArrayStore
from ws3.store.maps import MapStore
from ws3.store.regions import RegionStore

FINGERPRINT = "ws3:fingerprint"
"""Name of the text entry of a mask that holds its fingerprint."""

_PNG = b"\x89PNG\r\n\x1a\n"


class RecipeResults:
    """Reads one recipe's results; each must bear the fingerprint that the run now expects.

    What all images share is looked up once, when the first image is read: make a new reader after
    the run's configuration, classifier or threshold changed.
    """

    def __init__(self, run: Run, recipe: str) -> None:
        """Prepare to read the results of a recipe, or of `ground_truth`; nothing is read yet."""
        self.run, self.recipe = run, recipe
        self.fingerprints = Fingerprints(run, recipe)

    def maps(self, row: ImageRow) -> NDArray[np.float32]:
        """Return an image's final maps, float32 (classes, H, W) in [0, 1].

        Raises:
            StaleResultError: If they are missing, damaged or made from other inputs; the message
                names the image and the command that makes them.
        """
        return self.stored_maps(row).astype(np.float32)

    def stored_maps(self, row: ImageRow) -> NDArray[np.float16]:
        """Return an image's final maps as they are stored, float16 (classes, H, W).

        Raises:
            StaleResultError: As for `maps`.
        """
        return self._array(MapStore, "maps", row)

    def segments(self, row: ImageRow) -> NDArray[np.uint16]:
        """Return an image's segments, uint16 (H, W), 0 where there is none.

        Raises:
            StaleResultError: As for `maps`.
        """
        return self._array(RegionStore, "regions", row)

    def _array(self, kind: type[ArrayStore], stage: str, row: ImageRow) -> NDArray[Any]:
        store = kind(self.run.results(stage, self.recipe))
        fault = store.fault(row.image, self.fingerprints.of(stage, row))
        repair = self.command(stage, row)
        if fault:
            raise StaleResultError(
                f"{store.path}: the {stage} of image {row.image} are {fault}; make them with: "
                f"{repair}"
            )
        try:
            return store.read(row.image)
        except StaleResultError as error:
            raise StaleResultError(f"{error} Make them again with: {repair}") from None

    def mask(self, row: ImageRow) -> NDArray[np.uint8]:
        """Return an image's pseudo-mask, uint8 (H, W).

        Raises:
            StaleResultError: As for `maps`.
        """
        return self._png("masks", row)

    def confidence(self, row: ImageRow) -> NDArray[np.uint8]:
        """Return how sure each pixel of an image's pseudo-mask is, uint8 (H, W).

        See `ws3.masks.confidence` for what the values mean.

        Raises:
            Ws3Error: If the run stores no confidence of this recipe.
            StaleResultError: As for `maps`.
        """
        if not self.run.config.keeps_confidence(self.recipe):
            raise Ws3Error(
                f"{self.run.folder}: the confidence of {self.recipe}'s masks isn't stored; set "
                "masks.confidence: true, and run snakemake again"
            )
        path = self.run.confidence_file(self.recipe, row.image)
        made_from = confidence_fingerprint(self.run, self.fingerprints.of("masks", row))
        return self._png_at(path, made_from, "masks", row, "confidence")

    def prediction(self, row: ImageRow) -> NDArray[np.uint8]:
        """Return the mask that the segmentation network predicts for an image, uint8 (H, W).

        Raises:
            StaleResultError: As for `maps`.
        """
        return self._png("predictions", row)

    def command(self, stage: str, row: ImageRow) -> str:
        """Return the command that makes an image's result of a stage again."""
        owner = STAGES[stage].owner(self.run.config, self.recipe)
        return f"ws3 {stage} {self.run.folder} --recipe {owner} --image {row.image}"

    def _png(self, stage: str, row: ImageRow) -> NDArray[np.uint8]:
        path = self.run.result(stage, self.recipe, row.image)
        return self._png_at(path, self.fingerprints.of(stage, row), stage, row, "mask")

    def _png_at(
        self, path: Path, made_from: str, stage: str, row: ImageRow, what: str
    ) -> NDArray[np.uint8]:
        mask = current_mask(path, made_from)
        if mask is None:
            raise StaleResultError(
                f"{path}: this {what} is missing, damaged or made from other inputs; make it with: "
                f"{self.command(stage, row)}"
            )
        return mask


def confidence_fingerprint(run: Run, fingerprint: str) -> str:
    """Return what the confidence of a mask is made from, by the fingerprint of the mask."""
    kind = run.config.masks.confidence
    return fingerprint if kind is True else f"{fingerprint}-{kind}"


def classifier_file(run: Run) -> Path:
    """Return the file of a run's classifier, which is there and intact.

    Raises:
        StaleResultError: Naming the command that makes it.
    """
    check_model(run.classifier_file, run.classifier, f"ws3 train-classifier {run.folder}")
    return run.classifier_file


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
    """Return the images of some splits that have a pseudo-mask: no stage before it skipped them."""
    stages = (*stages_before("masks"), "masks")
    return [row for row in run.mapped_rows(splits) if not skip_reason(run, recipe, row, stages)]


def shows_class(mask: NDArray[np.uint8]) -> bool:
    """Return whether any pixel of a mask, uint8 (H, W), is of a class."""
    return bool(((mask != 0) & (mask != IGNORED)).any())


def is_foreign_mask(path: Path) -> bool:
    """Return whether a picture in the place of a mask is somebody else's: ours bear fingerprints.

    A damaged one is taken for ours, unless it is another kind of file from its first bytes on.
    """
    try:
        if path.is_symlink() or not path.is_file():
            return is_there(path) and not path.is_symlink()
        with path.open("rb") as file:
            head = file.read(len(_PNG))
        if sum(one != other for one, other in zip(head, _PNG, strict=False)) > 1:
            return True
        return FINGERPRINT not in read_text(path)
    except Ws3Error:
        return False


def current_mask(path: Path, fingerprint: str) -> NDArray[np.uint8] | None:
    """Return a mask that is there, intact, and bears this fingerprint; else None."""
    try:
        return read_mask(path) if read_text(path).get(FINGERPRINT) == fingerprint else None
    except Ws3Error:
        return None
