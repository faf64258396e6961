"""The page own_data.md: a newcomer's commands, and what they see."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys

import pytest
from dataset_files import write_image
from pages import documented
from snake import REPOSITORY, environment


@pytest.mark.slow
def test_the_page_is_followed_from_photographs_to_the_plan(tmp_path):
    names = ("Red Fox/a01.jpg", "Red Fox/a04.jpg", "traffic light/a02.jpg", "no_label/b09.jpg")
    for number, name in enumerate(names):
        write_image(tmp_path / "photos" / name, number)
    photos = tmp_path / "photos"
    shutil.copy(photos / "Red Fox" / "a04.jpg", photos / "traffic light" / "a04.jpg")
    for name in ("Snakefile", "rules", "config", "envs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)

    def run(block: str) -> str:
        words = shlex.split(documented("own_data.md", block))
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

    said, expected = run("import"), documented("own_data.md", "said")
    assert sorted(said.splitlines()) == sorted(expected.splitlines())
    assert "train_segmentation" in run("plan")
