"""One small finished run, and a place where the documentation's commands find what they name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from snake import REPOSITORY, snakemake

# What the documentation calls them; all are the one run.
RUNS = ("voc12", "a", "b")


@pytest.fixture(scope="session")
def demo_config(small):
    """Return the configuration that stands in for the demo's: enough images for every example."""
    config = copy.deepcopy(small)
    config["run"] = "demo"
    config["dataset"]["val_images"] = 15
    config["images_per_job"] = 100
    return config


@pytest.fixture(scope="session")
def finished(tmp_path_factory, demo_config):
    """Return the folder that holds `results/demo`, made by Snakemake."""
    folder = tmp_path_factory.mktemp("docs")
    done = snakemake(folder, config=demo_config)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in RUNS:
        (folder / "results" / name).symlink_to("demo")
    return folder


@pytest.fixture
def workplace(finished, demo_config, tmp_path, voc_tree, folder_tree) -> Path:
    """Return a folder like a clone of the repository, after `make demo` and with data."""
    (tmp_path / "results").symlink_to(finished / "results")
    for name in ("Snakefile", "rules", "profiles", "envs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    # A folder of links, not a link to a folder: `..` of it is to be this place.
    (tmp_path / "workflow").mkdir()
    for path in (REPOSITORY / "workflow").iterdir():
        (tmp_path / "workflow" / path.name).symlink_to(path)
    (tmp_path / "config").mkdir()
    for path in (REPOSITORY / "config").iterdir():
        (tmp_path / "config" / path.name).symlink_to(path)
    (tmp_path / "config" / "config.yaml").unlink()
    (tmp_path / "config" / "config.yaml").write_text(yaml.safe_dump(demo_config))
    voc_tree(
        {
            "trainaug": {"2007_000001": ["dog"], "2007_000002": ["cat", "person"]},
            "train": {"2007_000001": ["dog"]},
            "val": {"2007_000003": ["bicycle"]},
        }
    )
    folder_tree({"a": "dog;bicycle", "b": "cat"}).rename(tmp_path / "mydata")
    return tmp_path
