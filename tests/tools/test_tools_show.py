"""`ws3 show` in a terminal: half blocks in 24-bit colour."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from verified_run import CROPS, ws3

from ws3.cli.blocks import half_blocks, print_pictures
from ws3.tools.show import panels

CELL = re.compile(
    r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m\N{UPPER HALF BLOCK}\x1b\[0m"
)


def terminal(width: int) -> Console:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, color_system="truecolor", width=width)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def pixels(lines: list[str]) -> np.ndarray:
    """Return what a terminal shows: each letter an upper and a lower pixel."""
    rows = []
    for line in lines:
        cells = [list(map(int, cell)) for cell in CELL.findall(line)]
        assert CELL.sub("", line).strip() == ""
        rows += [[cell[:3] for cell in cells], [cell[3:] for cell in cells]]
    return np.array(rows, np.uint8)


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_picture_that_fits_is_shown_pixel_by_pixel(height, width, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (2 * height, width, 3), np.uint8)
    console = terminal(80)
    for line in half_blocks(picture, width):
        console.print(line)
    np.testing.assert_array_equal(pixels(printed(console)), picture)


def test_a_large_picture_keeps_its_shape_and_its_halves():
    picture = np.zeros((300, 600, 3), np.uint8)
    picture[:, 300:] = 200
    console = terminal(80)
    for line in half_blocks(picture, 40):
        console.print(line)
    shown = pixels(printed(console))
    assert shown.shape == (20, 40, 3)
    assert (shown[:, :20] == 0).all()
    assert (shown[:, 20:] == 200).all()


@pytest.mark.parametrize("width", [20, 60, 200])
def test_no_line_is_wider_than_the_terminal(width):
    colours = {f"class {value}": np.full((8, 8, 3), value, np.uint8) for value in range(5)}
    console = terminal(width)
    print_pictures(console, colours)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed(console)]
    assert max(map(len, plain)) <= width
    # All are there, in order, side by side where there is room.
    assert re.findall(r"class (\d)", " ".join(plain)) == list("01234")
    assert sum("class" in line for line in plain) == {20: 5, 60: 2, 200: 1}[width]


def test_a_recipes_maps_and_mask_are_shown(finished_run):
    row = finished_run.index.rows[0]
    shown = panels(finished_run, row.image, CROPS)
    assert list(shown) == ["photograph", *row.labels, "mask"]
    assert {picture.shape for picture in shown.values()} == {(64, 64, 3)}
    # Heat lets the photograph through where there is none, and covers it where there is much.
    heat = shown[row.labels[0]].astype(int)
    assert np.abs(heat - shown["photograph"]).mean() > 5


def test_where_no_colours_are_shown_a_sentence_says_what_to_do(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = finished_run.index.rows[0].image
    status, said = ws3("show", finished_run.folder, image, "--recipe", CROPS)
    assert (status, said.count("\n")) == (2, 1)
    assert "--output FILE" in said
    status, said = ws3("show", finished_run.folder, image, "--recipe", "nothing")
    assert (status, "is not a recipe of this run" in said) == (2, True)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".png"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    status, said = ws3("show", finished_run.folder, image, "--recipe", CROPS)
    assert (status, "\N{UPPER HALF BLOCK}" in said) == (0, True)
    assert ws3("show", finished_run.folder, image, "-r", CROPS, "-o", "one.png")[0] == 0
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
