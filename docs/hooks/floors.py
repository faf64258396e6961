"""Draws the floors of ws3 from the import contract in pyproject.toml.

`python docs/hooks/floors.py > docs/floors.svg` writes the picture; a test keeps the two in step.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# What the rooms are about, each with its colour; white text is readable on all of them, and all of
# them on a light and on a dark page.
AREAS = {
    "entry": ("#5b4b8a", "How it is entered", ("__main__", "cli", "workflow", "api")),
    "running": ("#2f6690", "A run: folder, jobs, stages", ("stages", "jobs", "run")),
    "output": ("#8a5a2b", "Made from a finished run", ("report", "exports", "tools")),
    "science": (
        "#2b7a4b",
        "The science",
        [
            "segmentation",
            "attribution",
            "aggregation",
            "masks",
            "metrics",
            "sampling",
            "classifier",
            "training",
        ],
    ),
    "data": ("#9a3b4f", "Images and results", ("datasets", "store", "imports")),
    "ground": (
        "#5c6670",
        "Ground",
        [
            "torch_setup",
            "tensors",
            "pixels",
            "config",
            "stage_table",
            "registry",
            "labels",
            "files",
            "errors",
            "messages",
            "outside",
            "removal",
        ],
    ),
}
WIDTH, ROW, GAP, LEGEND = 760, 34, 8, 190


def floors() -> list[list[str]]:
    """Return the rooms of each floor, from the top down, as the contract has them."""
    tool = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = (one for one in tool["importlinter"]["contracts"] if one["id"] == "floors")
    layers = [[room.strip(" ()") for room in layer.split("|")] for layer in contract["layers"]]
    return [[room for room in layer if _exists(room)] for layer in layers]


def drawing() -> str:
    """Return the picture as SVG."""
    rows = [layer for layer in floors() if layer]
    height = len(rows) * (ROW + GAP) + GAP
    boxes = [
        box
        for number, rooms in enumerate(rows)
        for box in _floor(rooms, GAP + number * (ROW + GAP))
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEGEND} {height}" '
            'font-family="sans-serif" font-size="14" text-anchor="middle" role="img">',
            "<title>The rooms of ws3 by floor: a room imports only from floors below</title>",
            *boxes,
            *_legend(),
            "</svg>\n",
        ]
    )


def _exists(room: str) -> bool:
    folder = REPOSITORY / "ws3"
    return (folder / room).is_dir() or (folder / f"{room}.py").exists()


def _colour(room: str) -> str:
    (colour,) = (colour for colour, _, rooms in AREAS.values() if room in rooms)
    return colour


def _floor(rooms: list[str], top: int) -> list[str]:
    width = (WIDTH - GAP * (len(rooms) + 1)) / len(rooms)
    return [
        _box(GAP + number * (width + GAP), top, width, room, _colour(room))
        for number, room in enumerate(rooms)
    ]


def _legend() -> list[str]:
    return [
        _box(WIDTH + GAP, GAP + number * (ROW + GAP), LEGEND - 2 * GAP, title, colour, size=10)
        for number, (colour, title, _) in enumerate(AREAS.values())
    ]


def _box(left: float, top: float, width: float, text: str, colour: str, size: int = 14) -> str:
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{ROW}" rx="4" fill="{colour}"/>'
        f'<text x="{left + width / 2:g}" y="{top + ROW / 2 + size / 3:.0f}" fill="#fff" '
        f'font-size="{size}">{text}</text>'
    )


if __name__ == "__main__":
    print(drawing(), end="")
