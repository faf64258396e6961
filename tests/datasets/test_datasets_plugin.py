"""The documented kind of dataset, installed and used as its reader would."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dataset_files import write_image, write_mask
from documented_package import install, ws3_with
from pages import documented

from ws3.config.load import dump, load, resolve
from ws3.datasets.index import read_index
from ws3.errors import Ws3Error
from ws3.run.dataset_state import known_listing
from ws3.run.folder import Run

PAGE = "extending/dataset.md"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(PAGE, ("my_datasets.py", "pyproject.toml"), tmp_path_factory.mktemp("jsonl"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write the page's dataset and configuration, and return the latter."""
    root = tmp_path / "mydata"
    for seed, name in enumerate(("a.jpg", "b.png", "c.jpg")):
        write_image(root / "images" / name, seed)
    write_mask(root / "masks" / "b.png", 2, 255)
    write_mask(root / "masks" / "c.png", 3)
    (root / "images.jsonl").write_text(documented(PAGE, "images.jsonl"))
    data = yaml.safe_load(documented(PAGE, "config.yaml"))
    data["dataset"]["root"], data["results"] = str(root), str(tmp_path / "results")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "config.yaml"


def test_the_command_indexes_it(installed: Path, config: Path) -> None:
    ws3 = ws3_with(installed)
    done = ws3("index", "--config", config)
    assert done.returncode == 0, done.stderr
    index = read_index(config.parent / "results/mine/index.csv")
    assert index.classes == ("bicycle", "cat", "dog")
    assert [(row.image, row.split, row.labels) for row in index.rows] == [
        ("a", "train", ("bicycle", "dog")),
        ("b", "train", ("cat",)),
        ("c", "val", ("dog",)),
    ]
    assert [Path(row.mask).name for row in index.rows] == ["", "b.png", "c.png"]
    # The run's own config.yaml is read back.
    assert ws3("index", config.parent / "results/mine").returncode == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tabel": "x"}, "dataset.tabel: this key is unknown; the keys here are: kind, root, tab"),
        ({"root": None}, "dataset.root: Input should be a valid string, not None"),
        (
            {"kind": "json"},
            "dataset: kind 'json' is unknown; did you mean jsonl? "
            "allowed: synthetic, voc, coco, folder, jsonl",
        ),
    ],
)
def test_a_wrong_section_is_one_line(
    installed: Path, config: Path, change: dict[str, object], sentence: str
) -> None:
    data = yaml.safe_load(config.read_text())
    data["dataset"] |= change
    config.write_text(yaml.safe_dump(data))
    done = ws3_with(installed)("index", "--config", config)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ws3: {config}: {sentence}")


def test_problems_of_the_dataset_are_told_as_of_any_other(installed: Path, config: Path) -> None:
    table = config.parent / "mydata/images.jsonl"
    ws3 = ws3_with(installed)
    table.write_text(table.read_text().replace('"split": "val"', '"split": "test"'))
    done = ws3("index", "--config", config)
    assert done.returncode == 2
    assert "c: the split 'test' is neither train nor val" in done.stderr
    table.write_text('{"file": "images/a.jpg"}\n')
    done = ws3("index", "--config", config)
    assert done.returncode == 2
    assert f"{table}: each line should be an object with file, split and labels" in done.stderr


def test_its_changes_are_noticed_and_its_section_round_trips(
    installed: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ws3_with(installed)("index", "--config", config).returncode == 0
    with pytest.raises(Ws3Error, match="kind 'jsonl' is unknown; allowed: synthetic, voc, coco"):
        load(config)
    monkeypatch.syspath_prepend(str(installed))
    run = Run.of(load(config))
    assert resolve(yaml.safe_load(dump(run.config))) == run.config
    assert run.config.dataset.model_dump()["table"] == "images.jsonl"
    assert known_listing(run, look=True).rows == run.index.rows
    table = config.parent / "mydata/images.jsonl"
    table.write_text(table.read_text().replace('["cat"]', '["cat", "dog"]'))
    assert known_listing(run, look=True).rows[1].labels == ("cat", "dog")
