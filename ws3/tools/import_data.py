"""What was found, written as a folder dataset: labels, classes, splits, masks, a configuration."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ws3 import __version__
from ws3.datasets import images
from ws3.datasets.importing.found import Found, Picture
from ws3.datasets.index import check_classes
from ws3.datasets.names import image_ids
from ws3.errors import Ws3Error
from ws3.files import atomic_folder, write_bytes
from ws3.masks.png import write_mask
from ws3.messages import shortened
from ws3.outside import CONFIG_BYTES, read_regular

PROOF = "import.json"
"""The file that says what a folder was imported from, and that it is ws3's own."""

_FILES = {"labels.csv", "classes.txt", "train.txt", "val.txt", "config.yaml", PROOF}
_SLICE = 256
_CONFIG = """\
# Written by ws3 import; change what you like. Run it from the folder of ws3's Snakefile with
#   snakemake --configfile {path}
run: {run}
seed: 0

dataset:
{dataset}

classifier:
  architecture: mobilenet_v2
  # `imagenet` lets torchvision download its weights; the path of a state-dict file works offline.
  weights: imagenet
  input_size: 320
  epochs: 6
  learning_rate: 2.0e-3
  backbone_rate: 0.1

recipes:
  cam: {{preset: cam_multiscale}}
  contrast_crops: {{preset: contrast_crops}}
reference_recipe: cam

masks:
  # A threshold is tuned on ground-truth masks; without them, 0.3 to 0.5 suits most recipes.
  background: {background}
  crf: irn

segmentation:
  recipes: [contrast_crops]
  architecture: deeplabv3_mobilenet_v2
  weights: imagenet
  epochs: 10
  batch_size: 8
  learning_rate: 0.01
  crop_size: 256
  crf: irn

evaluation: {{splits: [{split}]}}
images_per_job: {{saliency: 64, maps: 512, masks: 512, predictions: 512}}
on_bad_image: fail
"""


@dataclass(frozen=True)
class Imported:
    """What an import came to.

    Attributes:
        pictures: Of each split.
        classes: Pictures of each class.
        negatives: Pictures that show none of the classes.
        masks: Masks drawn.
        notes: What users should know.
    """

    pictures: dict[str, int]
    classes: dict[str, int]
    negatives: int
    masks: int
    notes: tuple[str, ...]


def write_import(
    found: Found,
    source: Path,
    output: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Write what was found as a folder dataset, in place of an older import.

    The folder is written whole or not at all. The pictures stay where they are.

    Args:
        found: What a reader found.
        source: The folder or file that it was found in.
        output: The folder to write.
        progress: Called with the masks drawn and the masks in all.

    Raises:
        Ws3Error: If the folder holds what no import wrote, a class has a name that can't be one, or
            a mask can't be drawn.
    """
    check_output(output)
    classes = check_classes(found.classes, str(source))
    train, val, left_out, notes = _splits(found)
    rows = [*train, *val]
    if not rows:
        raise Ws3Error(f"{source}: holds no picture with labels")
    base = Path(os.path.commonpath([str(row.path.parent.resolve()) for row in rows]))
    names = [row.path.resolve().relative_to(base).as_posix() for row in rows]
    ids = image_ids(names)
    counts = Counter(label for row in rows for label in row.labels)
    imported = Imported(
        {"train": len(train), "val": len(val), "left out": left_out},
        {name: counts[name] for name in classes},
        sum(not row.labels for row in rows),
        sum(row.draw is not None for row in rows),
        (*found.notes, *notes, *_surprises(classes, rows, counts)),
    )
    with atomic_folder(output, _is_own) as folder:
        _write_table(folder / "labels.csv", names, rows)
        _write_lines(folder / "classes.txt", classes)
        if val:
            _write_lines(folder / "train.txt", names[: len(train)])
            _write_lines(folder / "val.txt", names[len(train) :])
        if imported.masks:
            _draw_masks(folder / "masks", rows, [ids[name] for name in names], progress)
        write_bytes(folder / "config.yaml", _config(output, base, imported).encode())
        proof = {
            "ws3": __version__,
            "source": str(source),
            "kind": found.kind,
            "reason": found.reason,
            **asdict(imported),
        }
        write_bytes(folder / PROOF, (json.dumps(proof, indent=2) + "\n").encode())
    return imported


def check_output(output: Path) -> None:
    """Check that a folder can be written: it isn't there, is empty, or an import wrote all of it.

    Raises:
        Ws3Error: If it can't.
    """
    if not os.path.lexists(output):
        return
    if output.is_symlink() or not output.is_dir():
        raise Ws3Error(f"{output}: is there and no folder; choose another with --output")
    if not any(output.iterdir()):
        return
    try:
        proof = json.loads(read_regular(output / PROOF, CONFIG_BYTES))
        own = isinstance(proof, dict) and "ws3" in proof and "reason" in proof
    except (OSError, ValueError):
        own = False
    if not own:
        raise Ws3Error(
            f"{output}: holds files that no import wrote; choose an empty folder with --output"
        )


def _is_own(name: str) -> bool:
    return name in _FILES or (name.startswith("masks/") and name.endswith(".png"))


def _splits(found: Found) -> tuple[list[Picture], list[Picture], int, list[str]]:
    """Return the pictures for training and for validation, how many are neither, and notes."""
    by_split: dict[str | None, list[Picture]] = {}
    for picture in found.pictures:
        by_split.setdefault(picture.split, []).append(picture)
    test = by_split.pop("test", [])
    val = by_split.get("val", [])
    notes = []
    left_out = 0
    if test and not val and len(by_split):
        val = test
        notes.append(f"there is no val split: the {len(test)} pictures of test are taken for it")
    elif test and val:
        left_out = len(test)
        notes.append(f"{left_out} pictures of test are left out")
    train = [p for split in ("train", None) for p in by_split.get(split, [])]
    if not train:
        # A set of one split, whatever its name.
        train, val, left_out = val or test, [], 0
        notes = ["there is no train split: all pictures are for training"]
    return train, val, left_out, notes


def _surprises(
    classes: Sequence[str], rows: Sequence[Picture], counts: Counter[str]
) -> Iterable[str]:
    without = [name for name in classes if not counts[name]]
    if without:
        names = ", ".join(shortened(name, 40) for name in without[:5])
        yield f"{len(without)} classes have no picture: {names}"
    if len(classes) == 1 and all(row.labels for row in rows):
        yield (
            "there is one class, and every picture shows it: a classifier learns nothing from "
            "that; add pictures without it"
        )


def _write_table(path: Path, names: Sequence[str], rows: Sequence[Picture]) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "labels"))
    writer.writerows((name, ";".join(row.labels)) for name, row in zip(names, rows, strict=True))
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))


def _draw_masks(
    folder: Path,
    rows: Sequence[Picture],
    ids: Sequence[str],
    progress: Callable[[int, int], None] | None,
) -> None:
    folder.mkdir()
    drawn = [(row, image) for row, image in zip(rows, ids, strict=True) if row.draw is not None]

    def draw(entry: tuple[Picture, str]) -> None:
        row, image = entry
        assert row.draw is not None  # noqa: S101 - chosen so above
        with images.open_image(images.read_bytes(row.path), row.path) as image_file:
            width, height = image_file.size
        try:
            mask = row.draw(height, width)
        except ValueError as error:
            raise Ws3Error(f"{row.path}: its mask can't be drawn: {error}") from error
        write_mask(folder / f"{image}.png", mask, {})

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(drawn), _SLICE):
            for count, _ in enumerate(pool.map(draw, drawn[start : start + _SLICE]), start + 1):
                if progress is not None:
                    progress(count, len(drawn))


def _config(output: Path, base: Path, imported: Imported) -> str:
    dataset: dict[str, Any] = {
        "kind": "folder",
        "root": str(output.resolve()),
        "images": str(base),
        "classes": "classes.txt",
        "masks": "masks" if imported.masks else None,
    }
    has_val = imported.pictures["val"] > 0
    if has_val:
        dataset |= {"train": "train.txt", "val": "val.txt"}
    background = "{kind: tuned, split: train}" if imported.masks else "{kind: auto}"
    lines = [f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in dataset.items()]
    return _CONFIG.format(
        path=output / "config.yaml",
        run=json.dumps(_run_name(output)),
        dataset="\n".join(lines),
        background=background,
        split="val" if has_val else "train",
    )


def _run_name(output: Path) -> str:
    name = output.name.removesuffix("_ws3")
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in name)
    return kept.strip("_.-") or "imported"
