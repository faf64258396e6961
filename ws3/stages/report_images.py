"""The page of all images: their pictures, made once each, and what they are sorted by."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import no_space_is_an_error, write_bytes
from ws3.jobs.progress import ProgressReport
from ws3.labels import CONFIDENCE_STEPS
from ws3.outside import TEXT_BYTES, open_regular
from ws3.removal import (
    link_below,
    put_file,
    remove_file,
    remove_leftovers,
    remove_temporary,
    temporary_beside,
)
from ws3.report.image_index import ImageFacts, Layer, image_figures, write_image_index
from ws3.report.image_pictures import DRAWING, ImagePictures, draw_pictures
from ws3.run.fingerprints import fingerprint
from ws3.run.folder import Run
from ws3.run.image_counts import read_image_counts
from ws3.run.records import Evaluation, read_record
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth
from ws3.run.skips import skip_reason
from ws3.stages.evaluate import EVALUATED_FROM

FOLDER = "images"
_MADE = "made.jsonl"
_ENDINGS = {"photo": "jpg", "maps": "jpg", "masks": "png", "regions": "png"}
# Kept as it is in a file's name; the endings need some room.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")

Made = dict[str, dict[str, Any]]
"""By image: the `fingerprint` of its pictures, the `bytes` of each, and what is known of it."""


def write_images(run: Run) -> int:
    """Draw every image of the reported splits that all recipes have, and write their index.

    Pictures of an earlier report stay if they would be drawn from the same results, so a report
    that was killed goes on where it was.

    Args:
        run: The run; it is evaluated.

    Returns:
        How many images there are.

    Raises:
        StaleResultError: If a result is missing or made from other inputs.
        Ws3Error: If the pictures' folder is a link.
    """
    folder = run.report_file.parent / FOLDER
    link = link_below(run.folder, folder)
    if link is not None:
        raise Ws3Error(f"{link}: this is a symbolic link; remove it, and run ws3 report again")
    folder.mkdir(parents=True, exist_ok=True)
    evaluated = run.config.evaluated
    rows = [
        row
        for row in run.mapped_rows(run.config.evaluation.splits)
        if not any(skip_reason(run, name, row, EVALUATED_FROM) for name in evaluated)
    ]
    files = [_file_name(row.image) for row in rows]
    remove_leftovers([_picture(folder, file, name) for file in files for name in _ENDINGS])
    made = _made(folder)
    facts = list(_draw_all(run, folder, rows, made))
    _remove_others(folder, made, set(files))
    write_image_index(
        folder,
        facts,
        list(_layers(run, rows, made)),
        recipes=list(run.config.recipes),
        classes=run.index.classes,
        reference=run.config.reference_recipe,
    )
    return len(facts)


def _draw_all(run: Run, folder: Path, rows: list[ImageRow], made: Made) -> Iterator[ImageFacts]:
    """Draw the images that are not drawn yet; note each when its pictures are there."""
    readers = {name: RecipeResults(run, name) for name in run.config.evaluated}
    places = {name: place for place, name in enumerate(run.index.classes)}
    path = folder / _MADE
    kept = "".join(json.dumps(entry) + "\n" for entry in made.values())
    write_bytes(path, kept.encode())  # without what a kill cut off
    with (
        ProgressReport("report: images", len(rows)) as progress,
        no_space_is_an_error(path),
        open(path, "a", encoding="utf-8", opener=_no_link) as notes,
    ):
        for row in rows:
            of = _made_of(run, readers, row)
            entry = made.get(row.image)
            if entry is None or entry["fingerprint"] != of or not _is_there(folder, entry):
                entry = {"image": row.image, "fingerprint": of, **_draw(run, folder, readers, row)}
                made[row.image] = entry
                notes.write(json.dumps(entry) + "\n")
                notes.flush()
            progress.advance()
            yield ImageFacts(
                image=row.title,
                file=entry["file"],
                split=row.split,
                labels=tuple(places[name] for name in row.labels),
                size=(row.width, row.height),
                truth=bool(row.mask),
                shares=tuple(tuple(share) for share in entry["shares"]),
                disagreement=entry["disagreement"],
            )


def _made_of(run: Run, readers: Mapping[str, RecipeResults], row: ImageRow) -> str:
    """Return the fingerprint of an image's pictures."""
    config = run.config
    found = {
        f"{stage} {name}": readers[name].fingerprints.of(stage, row)
        for stage, names in (("masks", config.recipes), ("predictions", config.segmentation_names))
        for name in names
    }
    truth = [row.mask_sha256, str(row.coding)]
    kept = _confident(run)
    if kept:
        found["confidence"] = f"{run.config.masks.confidence}: {', '.join(kept)}"
    return fingerprint(
        drawing=DRAWING, truth=truth, reference=config.reference_recipe, image=row.sha256, **found
    )


def _draw(
    run: Run, folder: Path, readers: Mapping[str, RecipeResults], row: ImageRow
) -> dict[str, Any]:
    """Draw an image and write its pictures; return what is noted of them."""
    pictures = draw_pictures(
        load_image(row),
        [readers[name].stored_maps(row) for name in run.config.recipes],
        {name: readers[name].mask(row) for name in run.config.recipes},
        {name: readers[name].prediction(row) for name in run.config.segmentation_names},
        load_truth(run, row) if row.mask else None,
        run.config.reference_recipe,
    )
    file = _file_name(row.image)
    return {
        "file": file,
        "bytes": _write(folder, file, pictures),
        "shares": pictures.shares,
        "disagreement": pictures.disagreement,
        "confidence": {
            name: float(readers[name].confidence(row).mean()) / CONFIDENCE_STEPS
            for name in _confident(run)
        },
    }


def _confident(run: Run) -> list[str]:
    """Return the recipes whose masks have a confidence."""
    return [name for name in run.config.recipes if run.config.keeps_confidence(name)]


def _write(folder: Path, file: str, pictures: ImagePictures) -> dict[str, int]:
    """Write an image's pictures; return their sizes.

    They are not forced to the disk one by one, which would take longer than all the rest. What a
    power failure cuts off has another size than is noted, and is drawn again.
    """
    found = {}
    drawn = {name: getattr(pictures, name) for name in _ENDINGS}
    for name, data in drawn.items():
        path = _picture(folder, file, name)
        if data is None:
            remove_file(path)
            continue
        temporary = temporary_beside(path)
        try:
            temporary.write_bytes(data)
            put_file(temporary, path)
        finally:
            remove_temporary(temporary)
        found[name] = len(data)
    return found


def _picture(folder: Path, file: str, name: str) -> Path:
    return folder / f"{file}.{name}.{_ENDINGS[name]}"


def _is_there(folder: Path, entry: Mapping[str, Any]) -> bool:
    try:
        return all(
            _picture(folder, entry["file"], name).lstat().st_size == size
            for name, size in entry["bytes"].items()
        )
    except OSError:
        return False


def _made(folder: Path) -> Made:
    """Return what is noted of pictures that were made before; damaged lines are left out."""
    found: Made = {}
    try:
        with open_regular(folder / _MADE, TEXT_BYTES) as file:
            for line in file:
                entry = _entry(line)
                if entry is not None:
                    found[entry["image"]] = entry
    except OSError:
        return {}
    return found


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        is_ours = (
            isinstance(entry["fingerprint"], str)
            and entry["file"] == _file_name(entry["image"])
            and entry["bytes"].keys() <= _ENDINGS.keys()
            and isinstance(entry["disagreement"], float)
            and all(isinstance(mean, float) for mean in entry.get("confidence", {}).values())
            and all(isinstance(share, float) for shares in entry["shares"] for share in shares)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return entry if is_ours else None


def _remove_others(folder: Path, made: Made, files: set[str]) -> None:
    """Remove the pictures of images that the report no longer shows."""
    for entry in made.values():
        if entry["file"] not in files:
            for name in _ENDINGS:
                remove_file(_picture(folder, entry["file"], name))


def _layers(run: Run, rows: list[ImageRow], made: Made) -> Iterator[Layer]:
    """Yield the figures of each image, of the recipes' masks and then of the predictions."""
    labels = {row.image: frozenset(run.class_values(row)) for row in rows}
    figures: dict[tuple[str, str], dict[str, tuple[int | None, int]]] = {}
    for recipe in run.config.evaluated:
        for stage, found in _figures(run, recipe, labels):
            figures.setdefault((recipe, stage), {}).update(found)
    names = [(recipe, "masks") for recipe in run.config.recipes]
    names += [(recipe, "segmentation") for recipe in run.config.segmentation_names]
    nothing = (None, None)
    for recipe, stage in names:
        known = figures.get((recipe, stage), {})
        pairs = [known.get(row.image, nothing) for row in rows]
        confidence: list[int | None] = []
        if stage == "masks" and run.config.keeps_confidence(recipe):
            means = [made[row.image].get("confidence", {}).get(recipe) for row in rows]
            confidence = [None if mean is None else round(1000 * mean) for mean in means]
        ious, counts = [iou for iou, _ in pairs], [count for _, count in pairs]
        yield Layer(recipe, stage, ious, counts, confidence)


def _figures(
    run: Run, recipe: str, labels: Mapping[str, frozenset[int]]
) -> Iterator[tuple[str, dict[str, tuple[int | None, int]]]]:
    """Yield stage and figures of each split; nothing where an older ws3 kept no counts."""
    try:
        evaluation = read_record(run.evaluation_file(recipe), Evaluation)
        by_split = read_image_counts(run, evaluation)
    except StaleResultError:
        return
    for (split, stage), counts in by_split.items():
        if stage != "maps" and split in run.config.evaluation.splits:
            known = [image for image in counts.images if image in labels]
            yield stage, image_figures(counts.only(known), labels)


def _file_name(image: str) -> str:
    """Return the beginning of the names of an image's pictures, the same for the same image."""
    if _PLAIN.fullmatch(image):
        return image
    return hashlib.sha256(image.encode()).hexdigest()[:32]


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
