"""The page own_data.md: a newcomer's commands, and what they see."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from dataset_files import HEIGHT, WIDTH, write_image
from pages import documented
from PIL import Image
from snake import REPOSITORY, environment

PAGE = "own_data.md"


@pytest.fixture
def follow(tmp_path) -> Callable[[str], str]:
    """Return what runs a block of the page beside its photographs, and tells what is said."""
    names = ("Red Fox/a01.jpg", "Red Fox/a04.jpg", "traffic light/a02.jpg", "no_label/b09.jpg")
    photos = tmp_path / "photos"
    for number, name in enumerate(names):
        write_image(photos / name, number)
    shutil.copy(photos / "Red Fox" / "a04.jpg", photos / "traffic light" / "a04.jpg")
    for name in ("Snakefile", "workflow", "rules", "config", "envs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)

    def run(block: str) -> str:
        words = shlex.split(documented(PAGE, block))
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def plain(text: str) -> str:
    """Return a text without its numbers, and without the blanks of its columns."""
    lines = (" ".join(re.sub(r"\d+", "#", line).split()) for line in text.splitlines())
    return "\n".join(lines)


@pytest.mark.slow
def test_the_page_is_followed_from_photographs_to_a_trained_network(follow, tmp_path):
    said, expected = follow("import"), documented(PAGE, "said")
    assert sorted(said.splitlines()) == sorted(expected.splitlines())

    (tmp_path / "trial.yaml").write_text(documented(PAGE, "trial.yaml"))
    assert plain(documented(PAGE, "trial said")) in plain(follow("trial"))
    run = tmp_path / "results" / "photos_trial"
    for recipe in ("cam", "contrast_crops"):
        masks = {path.stem: path for path in (run / "masks" / recipe).glob("*.png")}
        assert set(masks) == {"a01", "a02", "a04", "b09"}
        # The page's classes have the values 1 and 2; b09 shows neither.
        allowed = {"a01": {0, 1}, "a02": {0, 2}, "a04": {0, 1, 2}, "b09": {0}}
        for name, path in masks.items():
            mask = np.array(Image.open(path))
            assert mask.shape == (HEIGHT, WIDTH)
            assert set(np.unique(mask)) <= allowed[name] | {255}
    assert (run / "segmentation" / "contrast_crops" / "model.pt").stat().st_size > 0
    report = (run / "report" / "index.html").read_text()
    assert "Red Fox" in report
    assert plain(follow("status")) == plain(documented(PAGE, "status said"))

    write_image(tmp_path / "new" / "walk.jpg", 9, (40, 30))
    assert plain(follow("predict")) == plain(documented(PAGE, "predict said"))
    mask = np.array(Image.open(tmp_path / "new_masks" / "walk.png"))
    assert mask.shape == (30, 40)
    assert set(np.unique(mask)) <= {0, 1, 2, 255}

    assert "train_segmentation" in follow("plan")
