"""Draws the pictures of docs/metrics.md, each for a light and a dark page.

`python docs/hooks/drawings.py [FOLDER]` writes them into docs/, or another folder; a test keeps
them in step with what draws them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from ws3.report.drawings import confusion_drawing, distance_drawing
from ws3.report.figures import THEMES, Theme, region_drawing, save

# The example that docs/metrics.md computes.
NAMES = ("background", "cat", "dog")
MATRIX = ((900, 80, 20), (10, 40, 0), (30, 12, 58))


def drawings(theme: Theme) -> dict[str, Figure]:
    """Return the drawings by name."""
    return {
        "regions": region_drawing(theme),
        "distance": distance_drawing(theme),
        "confusion": confusion_drawing(NAMES, MATRIX, theme),
    }


def main(folder: Path) -> None:
    """Write all drawings into a folder."""
    for theme in THEMES:
        for name, figure in drawings(theme).items():
            save(figure, folder / f"{name}.{theme.name}.svg", theme)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
