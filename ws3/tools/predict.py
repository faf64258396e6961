"""A trained network + any photographs -> masks; no run is needed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from ws3.datasets.images import decode_rgb, read_bytes
from ws3.datasets.names import SUFFIXES
from ws3.errors import Ws3Error
from ws3.files import NoSpaceError, atomic_file, sha256, write_new
from ws3.jobs.progress import ProgressReport
from ws3.masks.crf import parameters
from ws3.masks.png import read_mask, read_text, write_mask
from ws3.messages import reason, shown
from ws3.removal import is_there, remove_leftovers, set_aside
from ws3.segmentation.model import SegmentationModel, load_model
from ws3.segmentation.prediction import PredictionSettings, predict_refined

MADE_BY = "ws3:prediction"
"""Name of the text entry of a mask that says which network and settings made it."""


@dataclass
class Predicted:
    """What became of the photographs.

    Attributes:
        made: How many masks were written.
        kept: How many were there already, made by the same network in the same way.
        problems: One sentence for each photograph that has no mask now, or another one.
        other_files: How many files were no photographs by their suffix.
        classes: Names of the network's classes, without background.
        settings: How the masks were made.
    """

    made: int = 0
    kept: int = 0
    problems: list[str] = field(default_factory=list)
    other_files: int = 0
    classes: tuple[str, ...] = ()
    settings: PredictionSettings = field(default_factory=PredictionSettings)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How masks are made and written.

    Attributes:
        scales: Sizes relative to the image; None: as the network's file says, for these three.
        flip: Whether to average over the mirrored image too.
        crf: A preset of the CRF, or "none".
        device: Where to compute.
        mask_mode: P has VOC's palette; L is gray, the class values as they are.
        probabilities: Also write `<name>.npy`, float16 (classes with background, H, W).
        overwrite: Make masks again that are there, and replace what others made; a picture that is
            not of `ws3 predict` is kept as `<name>.not-ws3`.
    """

    scales: Sequence[str | float] | None = None
    flip: bool | None = None
    crf: str | None = None
    device: str = "cpu"
    mask_mode: Literal["P", "L"] = "P"
    probabilities: bool = False
    overwrite: bool = False


def predict_images(
    model_file: Path,
    images: Path,
    output: Path,
    options: Options,
    tell: Callable[[str], None] = lambda problem: None,
) -> Predicted:
    """Write the mask of each photograph as `<output>/<its path below images>.png`.

    `<output>/classes.txt` has the classes in the order of their mask values, from 1.

    Subfolders are looked into; hidden files and folders, and the output's own, are not. A mask
    appears whole or not at all, so that what is interrupted goes on where it stopped.

    Args:
        model_file: A network that `ws3 train-segmentation` wrote.
        images: A folder of photographs, or one photograph.
        output: The folder of the masks.
        options: How masks are made.
        tell: Called with each problem as it is found.

    Returns:
        What became of them. Pixels are those of the run's own predictions, if the settings are.

    Raises:
        Ws3Error: If the network can't be used, there is no photograph, or two of them would have
            one mask.
        NoSpaceError: If the disk is full.
    """
    found = Predicted()
    targets = _targets(images, output, found)
    model = load_model(model_file)
    # One thread, as in the stage: the rounding must not depend on how many cores there are.
    torch.set_num_threads(1)
    settings = _settings(model.prediction, options)
    found.classes, found.settings = model.classes, settings
    made_by = _made_by(model_file, settings, options.mask_mode)
    _write_classes(output / "classes.txt", model.classes, options.overwrite)
    remove_leftovers(path for mask in targets for path in (mask, mask.with_suffix(".npy")))
    with ProgressReport("predict", len(targets)) as progress:
        for mask, photograph in targets.items():
            problem = _one(model, photograph, mask, settings, made_by, options, found)
            if problem:
                found.problems.append(problem)
                tell(problem)
            progress.advance()
    return found


def _write_classes(path: Path, classes: Sequence[str], overwrite: bool) -> None:
    lines = "".join(f"{name}\n" for name in classes).encode()
    if overwrite and path.is_file() and path.read_bytes() != lines:
        set_aside(path)
    write_new(path, lines)


def _settings(stored: PredictionSettings, options: Options) -> PredictionSettings:
    """Return the settings of a network's file, changed by what is asked for.

    Raises:
        Ws3Error: If a scale is no number, or out of bounds.
    """
    changes = {"scales": options.scales, "flip": options.flip}
    asked: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    if options.crf is not None:
        asked["crf"] = parameters(options.crf)
    try:
        return PredictionSettings.model_validate({**dict(stored), **asked})
    except ValidationError as error:
        first = error.errors()[0]
        raise Ws3Error(f"--scales: {first['msg']}, not {shown(first['input'])}") from None


def _one(
    model: SegmentationModel,
    photograph: Path,
    mask: Path,
    settings: PredictionSettings,
    made_by: str,
    options: Options,
    found: Predicted,
) -> str:
    """Make one mask; return what is wrong, or an empty string."""
    state, array = _state(mask, made_by), mask.with_suffix(".npy")
    has_all = not options.probabilities or array.exists()
    if state == "made" and has_all and not options.overwrite:
        found.kept += 1
        return ""
    # An array is written after its mask: without one, it is somebody else's.
    is_foreign = options.probabilities and state == "missing" and is_there(array)
    if (state == "other" or is_foreign) and not options.overwrite:
        return (
            f"{array if is_foreign else mask}: something is there already, of another network, "
            "other settings or not of ws3; choose another --output, or give --overwrite"
        )
    try:
        image = decode_rgb(read_bytes(photograph), photograph)
        probabilities = predict_refined(model.network, image, settings, options.device)
        if state == "other" and MADE_BY not in _text(mask):
            set_aside(mask)
        if is_foreign:
            set_aside(array)
        values = probabilities.argmax(axis=0).astype(np.uint8)
        write_mask(mask, values, {MADE_BY: made_by}, palette=options.mask_mode == "P")
        if options.probabilities:
            _write_array(array, probabilities.astype(np.float16))
    except NoSpaceError:
        raise
    except Ws3Error as error:
        return str(error).removesuffix(", or set on_bad_image: skip")
    except (MemoryError, RuntimeError) as error:
        return f"{photograph}: {reason(error)}"
    found.made += 1
    return ""


def _state(mask: Path, made_by: str) -> Literal["missing", "made", "other"]:
    """Say what is in the place of a mask."""
    if not is_there(mask):
        return "missing"
    try:
        if read_text(mask).get(MADE_BY) == made_by:
            read_mask(mask)
            return "made"
    except (Ws3Error, OSError):
        return "other"
    return "other"


def _text(mask: Path) -> dict[str, str]:
    try:
        return read_text(mask)
    except (Ws3Error, OSError):
        return {}


def _made_by(model_file: Path, settings: PredictionSettings, mask_mode: str) -> str:
    """Return a digest of the network's file and of how its masks are made."""
    facts = [sha256(model_file), settings.model_dump(mode="json"), mask_mode]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _write_array(path: Path, array: NDArray[np.float16]) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _targets(images: Path, output: Path, found: Predicted) -> dict[Path, Path]:
    """Return the photograph of each mask, in the order of their paths.

    Raises:
        Ws3Error: If there is none, or two would have one mask.
    """
    if images.is_dir():
        if output.resolve() == images.resolve():
            raise Ws3Error(f"--output {output}: masks don't go into the folder of the photographs")
        base = images
        photographs = _photographs(images, output.resolve(), found)
    elif images.exists():
        base, photographs = images.parent, iter([images])
    else:
        raise Ws3Error(f"--images {images}: there is no such folder or photograph")
    targets: dict[Path, Path] = {}
    for photograph in photographs:
        name = photograph.relative_to(base)
        mask = output / name.with_name(f"{name.stem}.png")
        if mask in targets:
            raise Ws3Error(
                f"{targets[mask]} and {photograph} would have one mask, {mask}; rename one of them"
            )
        if is_there(mask) and mask.resolve() == photograph.resolve():
            raise Ws3Error(f"--output {output}: the mask would replace the photograph {photograph}")
        targets[mask] = photograph
    if not targets:
        raise Ws3Error(
            f"--images {images}: there is no photograph ({', '.join(SUFFIXES)}) in this folder"
        )
    return targets


def _photographs(folder: Path, output: Path, found: Predicted) -> Iterator[Path]:
    seen: set[Path] = set()  # a link may lead to a folder that holds it
    for base, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        here = Path(base).resolve()
        if here in seen or here == output:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in SUFFIXES:
                yield Path(base, name)
            else:
                found.other_files += 1


def _raise(error: OSError) -> None:
    raise error
