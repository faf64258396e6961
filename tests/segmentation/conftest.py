from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ws3.masks.png import write_mask

Pairs = list[tuple[Path, Path]]


@pytest.fixture
def draw_discs(tmp_path: Path) -> Callable[..., Pairs]:
    """Draws images of one disc each, red (class 1) or blue (class 2) on grey noise."""

    def draw(count: int, size: int = 40, ignored: bool = False, name: str = "disc") -> Pairs:
        rng = np.random.default_rng(0)
        pairs = []
        for number in range(count):
            image = rng.integers(60, 190, (size, size, 1), np.uint8).repeat(3, axis=2)
            mask = np.zeros((size, size), np.uint8)
            label = number % 2 + 1
            centre = tuple(int(value) for value in rng.integers(size // 3, 2 * size // 3, 2))
            cv2.circle(image, centre, size // 4, (0, 0, 255) if label == 1 else (255, 0, 0), -1)
            cv2.circle(mask, centre, size // 4, label, -1)
            pair = tmp_path / f"{name}{number}.png", tmp_path / f"{name}{number}_mask.png"
            cv2.imwrite(str(pair[0]), image)  # cv2 writes BGR
            write_mask(pair[1], np.full_like(mask, 255) if ignored else mask, {})
            pairs.append(pair)
        return pairs

    return draw
