"""The built-in dataset: creatures whose class shows in the head alone.

Every class has its own head (shape, ears, pattern and colours): the *discriminative* part. Torso,
legs and tail come from one family of colours and coats for all classes: the *shared* part. So it
is known by construction which pixels a classifier can go by and which only belong to the object.

A picture is described first (`describe`: what is where, by seeded random numbers alone) and drawn
later (`ws3.datasets.drawing`), so that a listing needs no drawing. Image k of a split is the same
whatever the number of images.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ws3.config.run import Synthetic
from ws3.datasets.files import names_in
from ws3.datasets.index import CLASSES_FILE, ImageRow, Listing
from ws3.datasets.palette import voc_palette
from ws3.errors import Ws3Error
from ws3.files import write_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

CLASSES = (
    "stripeling",
    "dotterel",
    "ringlet",
    "checkerel",
    "sunmane",
    "wavelet",
    "lozenger",
    "chevrel",
)
"""Names of the creatures; `Synthetic.classes` takes the first so many."""

AREA = 2.7
"""Area of a creature in squares of its own unit of length, about."""
REACH = 1.5
"""Radius of the disc around a creature, in its own unit of length."""
HEAD = (0.98, -0.50)
"""Centre of the head of a creature that looks right, in its own unit of length, y down."""

DISCRIMINATIVE, SHARED = 1, 2
"""Values in the part masks; 0 is background."""

_VERSION = 1
_SPLITS = ("train", "val")
_PARAMETERS = "dataset.json"

# Share of the image that a creature takes, by how many there are. The ratio of radii within an
# image and the distance of 0.65 times their sum keep at least a fifth of the smaller disc's radius
# around its centre, where the torso is, free of every other disc: no creature is ever hidden.
_SHARES = {1: (0.12, 0.34), 2: (0.095, 0.17), 3: (0.088, 0.11)}
_DISTANCE = 0.65
_TRIES = 40


@dataclass(frozen=True, slots=True)
class Creature:
    """One creature: its class and pose; lengths are shares of the image's side.

    Attributes:
        index: Class index.
        x: Centre, from the left.
        y: Centre, from the top.
        unit: Its unit of length.
        angle: Rotation in radians, clockwise.
        mirror: Whether it looks left.
        coat: Seed of its build, coat and gait.
    """

    index: int
    x: float
    y: float
    unit: float
    angle: float
    mirror: bool
    coat: int

    def head(self) -> tuple[float, float]:
        """Return the centre of the head, as shares of the image's side."""
        x, y = (-HEAD[0] if self.mirror else HEAD[0]), HEAD[1]
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.x + self.unit * (x * cos - y * sin), self.y + self.unit * (x * sin + y * cos)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, the furthest creature first.

    Attributes:
        creatures: One to three of them.
        ground: Seed of the background and the light.
    """

    creatures: tuple[Creature, ...]
    ground: int


def describe(config: Synthetic, split: str, number: int) -> Scene:
    """Return what image `number` of a split shows; the number of images has no influence.

    Args:
        config: The dataset; its seed, and how many classes to choose from.
        split: "train" or "val".
        number: From 0.
    """
    entropy = [config.seed % 2**64, _SPLITS.index(split), number]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    wanted = int(rng.choice((1, 2, 3), p=(0.5, 0.33, 0.17)))
    creatures: list[Creature] = []
    # Now and then the first ones leave no room for the rest: begin anew.
    while len(creatures) < wanted:
        creatures = []
        for chances in rng.random((_TRIES, 7)).tolist():
            creature = _place(chances, config.classes, wanted)
            if _head_shows(creature) and all(_apart(other, creature) for other in creatures):
                creatures.append(creature)
                if len(creatures) == wanted:
                    break
    # What stands lower is nearer.
    creatures.sort(key=lambda creature: creature.y)
    return Scene(tuple(creatures), int(rng.integers(2**63)))


def _place(chances: Sequence[float], classes: int, wanted: int) -> Creature:
    """Turn seven uniform random numbers from [0, 1) into a creature, anywhere."""
    kind, share, x, y, angle, mirror, coat = chances
    smallest, largest = _SHARES[wanted]
    unit = math.sqrt(smallest * (largest / smallest) ** share / AREA)
    margin = min(0.8 * REACH * unit, 0.42)
    return Creature(
        index=int(kind * classes),
        x=margin + x * (1 - 2 * margin),
        y=margin + y * (1 - 2 * margin),
        unit=unit,
        angle=math.radians(56 * angle - 28),
        mirror=mirror < 0.5,
        coat=int(coat * 2**53),
    )


def _head_shows(creature: Creature) -> bool:
    """Whether the picture's border leaves nearly the whole head in sight."""
    room = 0.36 * creature.unit
    return all(room < place < 1 - room for place in creature.head())


def _apart(first: Creature, second: Creature) -> bool:
    """Whether two creatures leave each other's torso and head in sight."""
    reach = REACH * (first.unit + second.unit)
    if math.dist((first.x, first.y), (second.x, second.y)) < _DISTANCE * reach:
        return False
    if math.dist(first.head(), second.head()) < 0.6 * (first.unit + second.unit):
        return False
    pairs = ((first, second), (second, first))
    return all(math.dist(a.head(), (b.x, b.y)) > 0.75 * REACH * b.unit for a, b in pairs)


def list_synthetic(config: Synthetic, root: Path) -> Listing:
    """List the dataset that `draw_synthetic` draws, without drawing.

    Args:
        config: How many images, of which size, of how many classes, from which seed.
        root: Where it is, or will be drawn.

    Returns:
        Rows whose stamp is a digest of what the drawings depend on, files drawn or not.
    """
    classes = CLASSES[: config.classes]
    stamp = drawing_stamp(config)
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
                stamp=stamp,
            )
        )
    return Listing(classes, tuple(rows))


def _images(config: Synthetic) -> list[tuple[str, str, int]]:
    """Return (split, id, number) of every image."""
    counts = (config.train_images, config.val_images)
    return [
        (split, f"{split}_{number:04d}", number)
        for split, count in zip(_SPLITS, counts, strict=True)
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


def drawing_stamp(config: Synthetic) -> str:
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
    parameters is kept, what is from others is drawn anew.

    Args:
        config: How many images, of which size, of how many classes, from which seed.
        root: Folder to draw into.
        progress: Called with the images done and the images in all.

    Raises:
        Ws3Error: A file can't be written, or the folder holds images that aren't from here.
    """
    # Imported here: listing needs no OpenCV.
    from ws3.datasets.drawing import draw

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
    for split in _SPLITS:
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
