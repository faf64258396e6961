"""What a drawn picture shows: creatures and their poses, from seeded random numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ws3.config.dataset import Synthetic

DISCRIMINATIVE, SHARED = 1, 2
"""Values in the part masks; 0 is background."""

SPLITS = ("train", "val")
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
"""Names of the creatures; `Synthetic.classes` says how many are taken, from the first."""


AREA = 2.7
"""Area of a creature in squares of its own unit of length, about."""


REACH = 1.5
"""Radius of the disc around a creature, in its own unit of length."""


HEAD = (0.98, -0.50)
"""Centre of the head of a creature that looks right, in its own unit of length, y down."""


# Share of the image that a creature takes, by how many there are. The ratio of radii within an
# image and the distance of 0.65 times their sum keep at least a fifth of the smaller disc's radius
# around its centre, where the torso is, free of every other disc: no creature is ever hidden.
_SHARES = {1: (0.12, 0.34), 2: (0.095, 0.17), 3: (0.088, 0.11)}


_DISTANCE = 0.65


_TRIES = 40


OWN_COAT = 0.85
"""Share of creatures that wear their class's usual coat for sure; the rest draw one of all."""


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

    def worn_coat(self) -> int:
        """Return the index in `CLASSES` of the class whose usual coat it wears."""
        own, other = np.random.default_rng([self.coat, 1]).random(2)
        return self.index if own < OWN_COAT else int(other * len(CLASSES))

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
    entropy = [config.seed % 2**64, SPLITS.index(split), number]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    wanted = int(rng.choice((1, 2, 3), p=(0.5, 0.33, 0.17)))
    creatures: list[Creature] = []
    # Now and then the first ones leave no room for the rest: start over.
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
