"""What the generators of inputs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz.harness import Arguments

RUN = "results/tiny"
INDEX: Arguments = ("index", "--config", "config.yaml")
LOOKS: tuple[Arguments, ...] = (
    ("status", RUN),
    ("status", RUN, "--time"),
    ("verify", RUN),
    ("verify", RUN, "--repair"),
)


def some(rng: Random, spoil: Callable[[], str]) -> str:
    """Spoil once, or a few times."""
    return "; ".join(spoil() for _ in range(rng.choice((1, 1, 1, 2, 4))))


def be_lenient(folder: Path, rng: Random) -> None:
    """Let half of the runs skip bad images instead of refusing them."""
    if rng.random() < 0.5:
        with (folder / "config.yaml").open("a") as file:
            file.write("on_bad_image: skip\n")
