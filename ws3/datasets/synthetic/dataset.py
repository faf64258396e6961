"""The built-in dataset: creatures whose class shows in the head alone.

Every class has its own head (shape, ears, pattern and colours): the *discriminative* part. Torso,
legs and tail come from one family of colours and coats for all classes: the *shared* part. So it
is known by construction which pixels a classifier can go by and which only belong to the object.

A picture is described first (`describe`: what is where, by seeded random numbers alone) and drawn
later (`drawing`), so that a listing needs no drawing. Image k of a split is the same whatever the
number of images.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ws3.config.dataset import Synthetic
from ws3.datasets.index import CLASSES_FILE, ImageRow, Listing
from ws3.datasets.listing_files import names_in
from ws3.datasets.synthetic.scene import CLASSES, SPLITS, describe
from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.labels import voc_palette

if TYPE_CHECKING:
    import numpy.typing as npt


_VERSION = 1
_PARAMETERS = "dataset.json"


def list_synthetic(config: Synthetic, root: Path) -> Listing:
    """List the dataset that `draw_synthetic` draws, without drawing.

    Args:
        config: How many images, of which size, of how many classes, from which seed.
        root: Where it is, or will be drawn.

    Returns:
        Rows whose stat key is `drawing_key`, the files drawn or not.
    """
    classes = CLASSES[: config.classes]
    key = drawing_key(config)
    rows = []
    for split, image, number in _images(config):
        present = {creature.index for creature in describe(config, split, number).creatures}
        rows.append(
            ImageRow(
                image=image,
                split=split,
                labels=tuple(classes[index] for index in sorted(present)),
                path=str(root / "images" / f"{image}.png"),
                mask=str(root / "masks" / f"{image}.png"),
                stat_key=key,
                parts=str(root / "parts" / f"{image}.png"),
            )
        )
    return Listing(classes, tuple(rows))


def _images(config: Synthetic) -> list[tuple[str, str, int]]:
    """Return (split, id, number) of every image."""
    counts = (config.train_images, config.val_images)
    return [
        (split, f"{split}_{number:04d}", number)
        for split, count in zip(SPLITS, counts, strict=True)
        for number in range(count)
    ]


def _parameters(config: Synthetic) -> dict[str, Any]:
    """Return all that a drawing depends on."""
    return {
        "version": _VERSION,
        "size": config.size,
        "classes": list(CLASSES[: config.classes]),
        "seed": config.seed,
    }


def drawing_key(config: Synthetic) -> str:
    """Return a digest of what the drawings depend on: their version, size, classes and seed."""
    text = json.dumps(_parameters(config), sort_keys=True)
    return f"drawn-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def draw_synthetic(
    config: Synthetic, root: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Draw the dataset, in the layout of a folder dataset.

    Written are `images/`, `masks/` (class values, VOC palette), `parts/` (1 discriminative, 2
    shared), `labels.csv`, `classes.txt`, `train.txt`, `val.txt` and `dataset.json` with the
    parameters. Each file is written whole or not at all; what is already there from the same
    parameters is kept, what is from others is drawn again.

    Args:
        config: How many images, of which size, of how many classes, from which seed.
        root: Folder to draw into.
        progress: Called with the images done and the images in all.

    Raises:
        Ws3Error: If a file can't be written, or the folder holds images that aren't from here.
    """
    # Imported here: listing needs no OpenCV.
    from ws3.datasets.synthetic.drawing import draw

    folders = [root / "images", root / "masks", root / "parts"]
    _prepare(config, root, folders)
    listing = list_synthetic(config, root)
    there = [
        names_in(folder, "drawn images") if folder.is_dir() else set[str]() for folder in folders
    ]
    images = _images(config)
    for count, (split, image, number) in enumerate(images, start=1):
        name = f"{image}.png"
        if not all(name in names for names in there):
            scene = describe(config, split, number)
            for folder, pixels in zip(folders, draw(scene, config.size), strict=True):
                write_bytes(folder / name, _png(pixels))
        if progress is not None:
            progress(count, len(images))
    labels = "".join(f"{row.image},{';'.join(row.labels)}\n" for row in listing.rows)
    write_bytes(root / "labels.csv", f"image,labels\n{labels}".encode())
    write_bytes(root / CLASSES_FILE, "".join(f"{c}\n" for c in listing.classes).encode())
    for split in SPLITS:
        ids = "".join(f"{row.image}\n" for row in listing.rows if row.split == split)
        write_bytes(root / f"{split}.txt", ids.encode())


def _prepare(config: Synthetic, root: Path, folders: list[Path]) -> None:
    """Take away drawings from other parameters and note those of the present ones."""
    path = root / _PARAMETERS
    present = json.dumps(_parameters(config), indent=2) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == present:
        return
    files = [file for folder in folders for file in folder.glob("*.png")]
    if files and not path.is_file():
        raise Ws3Error(
            f"{root}: holds images, but no {_PARAMETERS} that says they were drawn here; choose "
            "an empty folder as dataset.root"
        )
    for file in files:
        file.unlink()
    write_bytes(path, present.encode())


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if pixels.ndim == 2:
        picture.putpalette(voc_palette())
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
