"""Draws the creatures of the built-in dataset; see `ws3.datasets.synthetic.dataset`.

Shapes are functions of the place, evaluated on a grid finer than the pixels and averaged: no
outline is ever rasterised, and masks come from the same functions as the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ws3.datasets.synthetic.scene import DISCRIMINATIVE, HEAD, REACH, SHARED, Creature, Scene

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Colour = tuple[float, float, float]

# Light ground, undergrowth, light and dark: colours of places.
_PLACES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((0.33, 0.43, 0.20), (0.52, 0.60, 0.29), (0.20, 0.29, 0.15)),  # meadow
    ((0.76, 0.66, 0.48), (0.88, 0.80, 0.63), (0.60, 0.48, 0.33)),  # dunes
    ((0.36, 0.44, 0.49), (0.57, 0.64, 0.67), (0.23, 0.29, 0.35)),  # slate
    ((0.47, 0.37, 0.27), (0.63, 0.52, 0.37), (0.29, 0.22, 0.17)),  # forest floor
    ((0.72, 0.76, 0.80), (0.90, 0.92, 0.94), (0.54, 0.60, 0.68)),  # snow
    ((0.55, 0.45, 0.50), (0.74, 0.62, 0.62), (0.36, 0.29, 0.38)),  # heather
)

# The usual coat of each class: base and patches.
_COATS: tuple[tuple[Colour, Colour], ...] = (
    ((0.27, 0.26, 0.28), (0.66, 0.64, 0.62)),  # charcoal and grey
    ((0.66, 0.34, 0.22), (0.90, 0.80, 0.68)),  # russet and cream
    ((0.40, 0.52, 0.70), (0.20, 0.26, 0.40)),  # blue-grey and slate
    ((0.30, 0.54, 0.48), (0.72, 0.80, 0.70)),  # lichen and pale green
    ((0.84, 0.61, 0.24), (0.47, 0.29, 0.13)),  # golden and brown
    ((0.61, 0.44, 0.66), (0.32, 0.22, 0.38)),  # mauve and plum
    ((0.58, 0.61, 0.28), (0.30, 0.34, 0.16)),  # olive and moss
    ((0.76, 0.46, 0.50), (0.93, 0.80, 0.78)),  # rose and pale rose
)


# How much of a head's two colours runs into each other. Unfaded, heads outshine everything, and a
# classifier hardly looks at the rest.
_FADED = np.float32(0.18)


@dataclass(frozen=True, slots=True)
class _Head:
    """A class's own head: half axes, exponent of the outline, ears, pattern and two colours."""

    width: float
    height: float
    exponent: float
    turn: float
    ears: str
    pattern: str
    light: Colour
    dark: Colour


_HEADS: tuple[_Head, ...] = (
    _Head(0.46, 0.40, 2.0, 0, "pointed", "stripes", (0.96, 0.93, 0.86), (0.13, 0.12, 0.14)),
    _Head(0.47, 0.41, 2.4, 0, "round", "dots", (0.97, 0.90, 0.76), (0.80, 0.16, 0.13)),
    _Head(0.44, 0.44, 2.0, 0, "feelers", "rings", (0.93, 0.96, 0.98), (0.10, 0.33, 0.72)),
    _Head(0.40, 0.40, 5.0, 0, "long", "checker", (0.92, 0.96, 0.88), (0.02, 0.48, 0.46)),
    _Head(0.41, 0.41, 2.0, 0, "mane", "rays", (1.00, 0.82, 0.20), (0.86, 0.40, 0.05)),
    _Head(0.50, 0.36, 2.0, 0, "fins", "waves", (0.95, 0.76, 0.90), (0.48, 0.18, 0.62)),
    _Head(0.43, 0.43, 5.0, 45, "pointed", "lozenges", (0.90, 0.93, 0.36), (0.16, 0.50, 0.16)),
    _Head(0.50, 0.40, 1.4, 0, "horn", "chevrons", (0.99, 0.62, 0.66), (0.42, 0.05, 0.22)),
)


def draw(
    scene: Scene, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw a scene.

    Args:
        scene: What it shows.
        size: Pixels per side.

    Returns:
        The picture, uint8 (size, size, 3) RGB; the class mask, uint8 (size, size), class index + 1
        or 0; and the part mask, uint8 (size, size), 1 discriminative, 2 shared or 0.
    """
    fine = 3 if size <= 256 else 2
    rng = np.random.default_rng(scene.ground)
    light = rng.uniform(-0.8, 0.8)
    picture = _ground(rng, size, fine)
    owner = np.zeros(picture.shape[:2], np.int8)
    head = np.zeros(picture.shape[:2], np.bool_)
    for number, creature in enumerate(scene.creatures, start=1):
        _draw_creature(creature, number, light, picture, owner, head, fine)
    tint = 1 + rng.uniform(-0.06, 0.06, 3).astype(np.float32)
    picture *= rng.uniform(0.82, 1.12) * tint
    grain = rng.normal(0, 0.012, (size, size, 3))
    pixels = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) + grain
    mask, parts = _masks(scene, owner, head, size, fine)
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8), mask, parts


def _masks(
    scene: Scene, owner: npt.NDArray[np.int8], head: Bools, size: int, fine: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Give every pixel to what takes most of it."""

    def coverage(where: Bools) -> Floats:
        blocks = where.reshape(size, fine, size, fine)
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))

    numbers = range(len(scene.creatures) + 1)
    winner = np.stack([coverage(owner == number) for number in numbers]).argmax(axis=0)
    values = np.array([0, *(creature.index + 1 for creature in scene.creatures)], np.uint8)
    mask = values[winner]
    parts = np.zeros((size, size), np.uint8)
    for number in numbers[1:]:
        own = owner == number
        mostly_head = coverage(own & head) >= coverage(own & ~head)
        parts[winner == number] = SHARED
        parts[(winner == number) & mostly_head] = DISCRIMINATIVE
    return mask, parts


def _noise(
    rng: np.random.Generator, height: int, width: int, power: float, stretch: float = 1.0
) -> Floats:
    """Return 1/f^power noise of mean 0 and deviation 1; stretch > 1 draws it out upwards."""
    fy = np.fft.fftfreq(height)[:, None] * stretch
    fx = np.fft.rfftfreq(width)[None, :]
    radius = np.hypot(fx * width, fy * height)
    radius[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / radius**power
    field = np.fft.irfft2(spectrum, s=(height, width))
    return np.asarray(field / field.std(), dtype=np.float32)


def _step(values: Floats, at: float, soft: float) -> Floats:
    """Return a smooth step from 0 to 1 around `at`."""
    t = np.clip((values - at) / (2 * soft) + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _ground(rng: np.random.Generator, size: int, fine: int) -> Floats:
    middle, bright, dark = (
        np.array(colour, np.float32) for colour in _PLACES[rng.integers(len(_PLACES))]
    )
    large = _noise(rng, size, size, rng.uniform(1.3, 1.7))[..., None]
    stretch = rng.uniform(1.0, 2.5)
    small = _noise(rng, size, size, rng.uniform(0.7, 1.0), 1 / stretch)[..., None]
    picture = middle + (bright - middle) * _step(large, 0.7, 1.0)
    picture = picture + (dark - picture) * _step(-large, 0.7, 1.0)
    height = np.linspace(-1, 1, size, dtype=np.float32)[:, None, None]
    picture = picture * (1 + 0.09 * small + rng.uniform(-0.10, 0.10) * height)
    side = size * fine
    return np.asarray(
        cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """Places in a creature's own frame (it looks right, y down, its unit of length)."""

    u: Floats
    v: Floats

    def ball(self, x: float, y: float, a: float, b: float, turn: float = 0.0) -> Floats:
        """Height of an ellipsoid over the plane; 0 outside."""
        cos, sin = math.cos(turn), math.sin(turn)
        p = ((self.u - x) * cos + (self.v - y) * sin) / a
        q = ((self.v - y) * cos - (self.u - x) * sin) / b
        height = np.sqrt(np.maximum(1 - p * p - q * q, 0)) * min(a, b)
        return np.asarray(height, dtype=np.float32)

    def limb(
        self, x: float, y: float, to_x: float, to_y: float, thick: float, thin: float
    ) -> Floats:
        """Height of a tapered, round-ended limb over the plane; 0 outside."""
        dx, dy = to_x - x, to_y - y
        along = ((self.u - x) * dx + (self.v - y) * dy) / (dx * dx + dy * dy)
        along = np.clip(along, 0, 1)
        radius = thick + (thin - thick) * along
        square = (self.u - x - along * dx) ** 2 + (self.v - y - along * dy) ** 2
        return np.asarray(np.sqrt(np.maximum(radius**2 - square, 0)), dtype=np.float32)


def _draw_creature(
    creature: Creature,
    number: int,
    light: float,
    picture: Floats,
    owner: npt.NDArray[np.int8],
    head: Bools,
    fine: int,
) -> None:
    """Paint a creature over the picture and note which places it takes."""
    side = picture.shape[0]
    reach = 1.15 * REACH * creature.unit
    left, right = (round(side * (creature.x + sign * reach)) for sign in (-1, 1))
    top, bottom = (round(side * (creature.y + sign * reach)) for sign in (-1, 1))
    window = (
        slice(max(top, 0), min(bottom, side)),
        slice(max(left, 0), min(right, side)),
    )
    y, x = np.mgrid[window].astype(np.float32)
    x = ((x + 0.5) / side - np.float32(creature.x)) / np.float32(creature.unit)
    y = ((y + 0.5) / side - np.float32(creature.y)) / np.float32(creature.unit)
    cos, sin = np.float32(math.cos(creature.angle)), np.float32(math.sin(creature.angle))
    u, v = x * cos + y * sin, y * cos - x * sin
    grid = _Grid(-u if creature.mirror else u, v)
    rng = np.random.default_rng(creature.coat)
    canvas = picture[window]

    shadow = np.exp(-(((grid.u - 0.1) / 1.0) ** 2) - ((grid.v - 1.06) / 0.16) ** 2)
    canvas *= 1 - 0.5 * shadow[..., None]

    coat = _coat(rng, creature.worn_coat(), grid.u.shape[0], grid.u.shape[1], fine)
    for height, shade in _body(rng, grid):
        _paint(canvas, height, coat * np.float32(shade), light, creature, side)
        owner[window][height > 0] = number
        head[window][height > 0] = False
    kind = _HEADS[creature.index]
    centre = (
        HEAD[0] + rng.uniform(-0.04, 0.04),
        HEAD[1] + rng.uniform(-0.05, 0.05),
    )
    local = _Grid(grid.u - np.float32(centre[0]), grid.v - np.float32(centre[1]))
    for height, colour in _head(rng, local, kind):
        _paint(canvas, height, colour, light, creature, side)
        owner[window][height > 0] = number
        head[window][height > 0] = True
    _face(canvas, local, kind)


def _paint(
    canvas: Floats, height: Floats, colour: Floats, light: float, creature: Creature, side: int
) -> None:
    """Paint where the height is over 0, lit as a body of that height."""
    rows, columns = (np.flatnonzero((height > 0).any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return
    # One place more on each side: slopes at the outline need it.
    box = (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
    )
    height = height[box]
    where = height > 0
    dy, dx = np.gradient(height * np.float32(side * creature.unit))
    lit = (0.8 + 0.45 * light * dx + 0.5 * dy) / np.sqrt(1 + dx * dx + dy * dy)
    lit = np.clip(0.35 + 0.75 * lit, 0.3, 1.25)
    canvas[box][where] = colour[box][where] * lit[where][:, None]


def _coat(rng: np.random.Generator, kind: int, height: int, width: int, fine: int) -> Floats:
    """Return the colours of a coat of a kind, blotches and fur its wearer's own."""
    base, marking = (np.array(colour, np.float32) for colour in _COATS[kind])
    coarse = (math.ceil(height / fine), math.ceil(width / fine))
    blotches, fur = (
        np.asarray(cv2.resize(_noise(rng, *coarse, power), (width, height)), np.float32)[..., None]
        for power in (1.6, 0.75)
    )
    share = _step(blotches, rng.uniform(0.2, 1.0), 0.25) * rng.uniform(0.6, 1.0)
    coat = (base + (marking - base) * share) * (1 + 0.13 * fur) * rng.uniform(0.85, 1.15)
    return np.asarray(coat, dtype=np.float32)


def _body(rng: np.random.Generator, grid: _Grid) -> list[tuple[Floats, float]]:
    """Return height and brightness of the shared parts, the furthest first."""
    long, deep = rng.uniform(0.78, 0.88), rng.uniform(0.42, 0.50)
    swing = rng.uniform(-0.16, 0.16, 4)
    hips = (-0.62, -0.38, 0.36, 0.58)
    legs = [
        grid.limb(hip, 0.15, hip + float(shift), 1.0, 0.155, 0.105)
        for hip, shift in zip(hips, swing, strict=True)
    ]
    lift, curl = rng.uniform(-0.75, -0.1), rng.uniform(-0.35, 0.25)
    tip = (-1.28, lift)
    tail = np.maximum(
        grid.limb(-0.75, -0.12, tip[0], tip[1], 0.12, 0.085),
        grid.limb(tip[0], tip[1], tip[0] + 0.06, tip[1] + curl, 0.085, 0.06),
    )
    torso = grid.ball(-0.1, 0.02, long, deep)
    neck = grid.limb(0.42, -0.08, HEAD[0] - 0.12, HEAD[1] + 0.12, 0.30, 0.22)
    trunk = np.maximum(torso, neck)
    return [
        (tail, 0.9),
        (np.maximum(legs[0], legs[2]), 0.68),
        (np.maximum(legs[1], legs[3]), 0.92),
        (trunk, 1.0),
    ]


def _outline(grid: _Grid, kind: _Head) -> Floats:
    """Height of a head with a superellipse as its outline; 0 outside."""
    turn = math.radians(kind.turn)
    cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    p = np.abs(grid.u * cos + grid.v * sin) / np.float32(kind.width)
    q = np.abs(grid.v * cos - grid.u * sin) / np.float32(kind.height)
    inside = 1 - (p**kind.exponent + q**kind.exponent)
    return np.asarray(np.sqrt(np.maximum(inside, 0)) * 0.3, dtype=np.float32)


def _head(rng: np.random.Generator, grid: _Grid, kind: _Head) -> list[tuple[Floats, Floats]]:
    """Return height and colour of the discriminative parts, the furthest first."""
    fade = np.float32(rng.uniform(0.92, 1.08))
    light = np.array(kind.light, np.float32) * fade
    dark = np.array(kind.dark, np.float32) * fade
    faded = _FADED * (dark - light)
    light, dark = light + faded, dark - faded
    share = _pattern(grid, kind.pattern)[..., None]
    plain = np.broadcast_to(dark, (*grid.u.shape, 3))
    return [
        (_ears(grid, kind.ears), plain),
        (_outline(grid, kind), light + (dark - light) * share),
    ]


def _ears(grid: _Grid, kind: str) -> Floats:
    if kind == "pointed":
        limbs = [grid.limb(x, -0.25, 1.5 * x - 0.06, -0.60, 0.14, 0.02) for x in (-0.22, 0.18)]
    elif kind == "round":
        limbs = [grid.ball(x, -0.36, 0.17, 0.17) for x in (-0.29, 0.25)]
    elif kind == "feelers":
        limbs = [grid.limb(x, -0.3, 2.1 * x, -0.62, 0.04, 0.03) for x in (-0.13, 0.13)]
        limbs += [grid.ball(2.1 * x, -0.64, 0.085, 0.085) for x in (-0.13, 0.13)]
    elif kind == "long":
        limbs = [grid.limb(x, -0.3, 1.2 * x - 0.14, -0.68, 0.10, 0.085) for x in (-0.24, 0.06)]
    elif kind == "mane":
        angles = np.arange(12) * (math.tau / 12)
        limbs = [grid.ball(0.41 * math.cos(a), 0.41 * math.sin(a), 0.105, 0.105) for a in angles]
    elif kind == "fins":
        limbs = [grid.ball(-0.30, -0.30, 0.30, 0.13, 0.7), grid.ball(-0.42, 0.05, 0.24, 0.11, -0.3)]
    else:
        limbs = [grid.limb(0.16, -0.2, 0.44, -0.66, 0.12, 0.012)]
        limbs += [grid.limb(-0.24, -0.2, -0.36, -0.46, 0.13, 0.03)]
    return np.asarray(np.maximum.reduce(limbs), dtype=np.float32)


def _pattern(grid: _Grid, kind: str) -> Floats:
    """Return how dark the pattern is at each place, 0 to 1."""
    u, v = grid.u, grid.v
    if kind == "stripes":
        wave = np.sin(u * (math.tau / 0.23))
    elif kind == "dots":
        row = np.round(v / 0.2)
        across = u / 0.23 + 0.5 * (row % 2)
        near = ((across - np.round(across)) * 0.23) ** 2 + (v - row * 0.2) ** 2
        wave = (0.075**2 - near) / 0.075**2
    elif kind == "rings":
        wave = np.sin(np.hypot(u, v) * (math.tau / 0.215) - 1.0)
    elif kind == "checker":
        wave = 1.6 * np.sin(u * (math.tau / 0.40)) * np.sin(v * (math.tau / 0.40))
    elif kind == "rays":
        wave = np.sin(np.arctan2(v, u) * 9)
    elif kind == "waves":
        wave = np.sin((v + 0.06 * np.sin(u * (math.tau / 0.36))) * (math.tau / 0.21))
    elif kind == "lozenges":
        wave = 1.6 * np.sin((u + v) * (math.tau / 0.5)) * np.sin((u - v) * (math.tau / 0.5))
    else:
        wave = np.sin((v + 0.7 * np.abs(u)) * (math.tau / 0.22))
    return _step(np.asarray(wave, dtype=np.float32), 0.0, 0.12)


def _face(canvas: Floats, grid: _Grid, kind: _Head) -> None:
    """Paint an eye and a nose onto the head."""
    nose = grid.ball(kind.width - 0.09, 0.10, 0.075, 0.06)
    white = grid.ball(0.14, -0.10, 0.105, 0.105)
    pupil = grid.ball(0.165, -0.095, 0.062, 0.062)
    glint = grid.ball(0.185, -0.12, 0.02, 0.02)
    for height, colour in (
        (nose, (0.10, 0.08, 0.08)),
        (white, (0.97, 0.97, 0.95)),
        (pupil, (0.05, 0.05, 0.06)),
        (glint, (1.0, 1.0, 1.0)),
    ):
        canvas[height > 0] = colour
