"""`ws3 import` from the folder of a tool to a dataset that ws3 indexes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from import_trees import CLASSES, LABELS, true_mask, write_gray, write_pictures
from PIL import Image

from ws3.config.load import load
from ws3.datasets import list_dataset
from ws3.datasets.index import check_files


def ws3(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ws3", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def source(root: Path) -> Path:
    tables = {"train": "filename,labels\n", "val": "filename,labels\n"}
    for name, labels in LABELS.items():
        split = "val" if name in ("b.v2.jpg", "b05.png") else "train"
        write_pictures(root / "images" / split, [name])
        write_gray(root / "masks" / split / f"{name.rpartition('.')[0]}.png", true_mask(name))
        tables[split] += f'{name},"{",".join(labels)}"\n'
    for split, text in tables.items():
        (root / f"{split}.csv").write_text(text)
    return root


def test_what_is_imported_is_indexed_as_it_was(tmp_path: Path) -> None:
    done = ws3(tmp_path, "import", str(source(tmp_path / "mine")))
    assert done.returncode == 0, done.stderr
    assert "taken for tables of labels" in done.stdout
    assert "pictures: 4 train, 2 val" in done.stdout
    assert "Red Fox 2" in done.stdout
    output = tmp_path / "mine_ws3"
    config = load(output / "config.yaml")
    index = check_files(list_dataset(config.dataset, tmp_path / "run"))
    assert {row.name.rpartition("/")[2]: set(row.labels) for row in index.rows} == {
        name: set(labels) for name, labels in LABELS.items()
    }
    order = [CLASSES.index(name) + 1 for name in index.classes]
    for row in index.rows:
        mask = np.array(Image.open(row.mask))
        table = np.array([0, *order], np.uint8)
        assert (table[mask] == true_mask(row.name.rpartition("/")[2])).all()
    assert {row.split for row in index.rows if row.name.startswith("val/")} == {"val"}


def test_an_import_replaces_an_import_and_nothing_else(tmp_path: Path) -> None:
    mine = source(tmp_path / "mine")
    assert ws3(tmp_path, "import", str(mine), "-o", "out").returncode == 0
    assert ws3(tmp_path, "import", str(mine), "-o", "out").returncode == 0
    assert json.loads((tmp_path / "out" / "import.json").read_text())["kind"] == "tables of labels"
    other = tmp_path / "other"
    other.mkdir()
    (other / "labels.csv").write_text("mine")
    done = ws3(tmp_path, "import", str(mine), "-o", "other")
    assert done.returncode == 2
    assert "holds files that no import wrote" in done.stderr
    assert (other / "labels.csv").read_text() == "mine"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    done = ws3(tmp_path, "import", str(source(tmp_path / "mine")), "--dry-run")
    assert done.returncode == 0
    assert "6 pictures, 3 classes" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "no such file or folder"),
        (["empty"], "neither pictures nor labels"),
        (["mine", "--format", "excel"], "--format excel: unknown; known are"),
    ],
)
def test_what_cannot_be_imported_gets_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    source(tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    done = ws3(tmp_path, "import", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_test_pictures_stand_in_for_val(tmp_path: Path) -> None:
    write_pictures(tmp_path / "t")
    lines = [f"{name},Tree,{'test' if name > 'b' else 'train'}" for name in LABELS]
    (tmp_path / "t" / "x.csv").write_text("\n".join(["image,label,split", *lines]))
    done = ws3(tmp_path, "import", "t")
    assert "note: there is no val split" in done.stdout
    assert yaml.safe_load((tmp_path / "t_ws3" / "config.yaml").read_text())["dataset"]["val"]
