"""The built-in dataset: creatures whose head alone tells their class for sure.

Every class has its own head (shape, ears, pattern and colours): the *discriminative* part. Torso,
legs and tail, the *shared* part, have the same build in all classes. Their coat is a hint: most
creatures wear the usual one of their class, as most cows look like cows from behind, but any may
wear any other's. So it is known by construction which pixels a classifier can rely on, and which
ones belong to the object though a classifier can do without them.

A picture is described first (`describe`: what is where, by seeded random numbers alone) and drawn
later (`drawing`), so that a listing needs no drawing. Image k of a split is the same whatever the
number of images.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ws3.config.dataset import Synthetic
from ws3.datasets.index import CLASSES_FILE, ImageRow, Listing
from ws3.datasets.listing_files import names_in
from ws3.datasets.synthetic.scene import CLASSES, SPLITS, describe
from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.labels import voc_palette
from ws3.removal import is_there, remove_file, temporary_for

if TYPE_CHECKING:
    import numpy.typing as npt


_VERSION = 2
_PARAMETERS = "dataset.json"
_FOLDERS = ("images", "masks", "parts")
_DRAWING = re.compile(r"(train|val)_\d{4,}\.png")
_LONGEST = 10_000


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
    parameters is kept, what is from others is drawn again. Nothing is touched in a folder that
    holds anything which was not drawn here.

    Args:
        config: How many images, of which size, of how many classes, from which seed.
        root: Folder to draw into: one that isn't there, is empty, or was drawn into before.
        progress: Called with the images done and the images in all.

    Raises:
        Ws3Error: If a file can't be written, or the folder holds what was not drawn here.
    """
    # Imported here: listing needs no OpenCV.
    from ws3.datasets.synthetic.drawing import draw

    folders = [root / name for name in _FOLDERS]
    _prepare(config, root, folders)
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
    for name, text in _lists(config).items():
        write_bytes(root / name, text.encode())


def _lists(config: Synthetic) -> dict[str, str]:
    """Return the text of each list of a drawn dataset, by the file's name."""
    listing = list_synthetic(config, Path())
    labels = "".join(f"{row.image},{';'.join(row.labels)}\n" for row in listing.rows)
    splits = {
        f"{split}.txt": "".join(f"{row.image}\n" for row in listing.rows if row.split == split)
        for split in SPLITS
    }
    classes = "".join(f"{name}\n" for name in listing.classes)
    return {"labels.csv": f"image,labels\n{labels}", CLASSES_FILE: classes, **splits}


def _prepare(config: Synthetic, root: Path, folders: list[Path]) -> None:
    """Take away drawings from other parameters and note those of the present ones.

    Raises:
        Ws3Error: If the folder holds what was not drawn here.
    """
    path = root / _PARAMETERS
    drawn = _drawn_before(root)
    if drawn is not None:
        _check_all_drawn(drawn, root)
        if _parameters(drawn) == _parameters(config):
            return
    # By their names, images of any number; see `_check_all_drawn`.
    for folder in folders if drawn is not None else ():
        for file in list(folder.iterdir()) if folder.is_dir() else ():
            remove_file(file)
    write_bytes(path, f"{json.dumps(_parameters(config), indent=2)}\n".encode())


def _drawn_before(root: Path) -> Synthetic | None:
    """Return the parameters of the drawing in a folder; None if the folder is free.

    Raises:
        Ws3Error: If the folder is not empty, and no `dataset.json` of exactly ours says of what
            the drawing is.
    """
    path = root / _PARAMETERS
    try:
        names = {entry.name for entry in root.iterdir()}
    except FileNotFoundError:
        names = set()
    except NotADirectoryError:
        raise Ws3Error(f"{root}: this is a file; choose an empty folder to draw into") from None
    if not {name for name in names if temporary_for(name) != _PARAMETERS}:
        return None
    if path.is_file() and not path.is_symlink():
        with suppress(ValueError, TypeError, KeyError, RecursionError, ValidationError):
            text = path.read_bytes()[:_LONGEST].decode()
            said = json.loads(text)
            keys = {"size": said["size"], "seed": said["seed"], "classes": len(said["classes"])}
            drawn = Synthetic.model_validate({"kind": "synthetic", **keys}, strict=True)
            # Of another version, perhaps: what it drew has the same names.
            ours = {**_parameters(drawn), "version": int(said["version"])}
            if text == json.dumps(ours, indent=2) + "\n":
                return drawn
    held = next((name for name in _FOLDERS if name in names), None)
    what = "holds images, but no" if held else "this folder is not empty and has no"
    raise Ws3Error(
        f"{root}: {what} {_PARAMETERS} that says they were drawn here; choose an empty folder"
    )


def _check_all_drawn(drawn: Synthetic, root: Path) -> None:
    """Refuse a folder in which something that would be replaced was not drawn here.

    Raises:
        Ws3Error: Naming one such file.
    """
    for name in _FOLDERS:
        folder = root / name
        if folder.is_symlink() or (is_there(folder) and not folder.is_dir()):
            raise _foreign(folder)
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            drawing = _DRAWING.fullmatch(temporary_for(entry.name) or entry.name)
            is_file = entry.is_file() and not entry.is_symlink()
            # A temporary one of another process may be gone by now.
            if is_there(entry) and not (drawing and is_file):
                raise _foreign(entry)
    for name in (*_lists(_counted(drawn, 1, 1)), _PARAMETERS):
        path = root / name
        if path.is_symlink() or (is_there(path) and not path.is_file()):
            raise _foreign(path)
        if path.is_file() and name != _PARAMETERS and not _is_drawn_list(drawn, path):
            raise _foreign(path)


def _is_drawn_list(drawn: Synthetic, path: Path) -> bool:
    """Return whether a list is to the byte one that a drawing of these parameters has."""
    text = path.read_text(encoding="utf-8", errors="replace")
    counts = [len(re.findall(rf"^{split}_\d", text, re.MULTILINE)) for split in SPLITS]
    return _lists(_counted(drawn, *counts))[path.name] == text


def _counted(drawn: Synthetic, train: int, val: int) -> Synthetic:
    return drawn.model_copy(update={"train_images": train, "val_images": val})


def _foreign(path: Path) -> Ws3Error:
    return Ws3Error(
        f"{path}: this was not drawn by ws3, and would be lost; move it away, or choose an empty "
        "folder"
    )


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if pixels.ndim == 2:
        picture.putpalette(voc_palette())
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
