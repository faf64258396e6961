"""`ws3 init`: a project folder, and the workflow inside the installed package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from snake import REPOSITORY, environment, job_counts, planned
from verified_run import ws3

from ws3.config.load import load

# What a wheel is built from.
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "Snakefile")
FOLDERS = ("ws3", "snakemake_logger_plugin_ws3", "config", "envs", "profiles", "rules", "workflow")


def test_a_project_begins_with_a_configuration_that_is_valid(tmp_path):
    for name in ("folder", "voc12", "coco14", "demo"):
        folder = tmp_path / name
        status, said = ws3("init", folder, "--like", name)
        assert status == 0, said
        assert f"{folder}/config/config.yaml" in said
        ours = load(folder / "config/config.yaml")
        theirs = "config" if name == "demo" else name
        assert ours == load(REPOSITORY / "config" / f"{theirs}.yaml")
        text = (folder / "config/config.yaml").read_text()
        # The comments came along, but no path of a clone.
        assert text.count("#") > 3
        assert "--configfile config/voc12" not in text
        assert "--configfile config/coco14" not in text
        assert len((folder / "README.md").read_text().splitlines()) <= 5
        for profile in ("default", "slurm", "lsf", "sge"):
            path = Path("profiles", profile, "config.yaml")
            assert (folder / path).read_bytes() == (REPOSITORY / path).read_bytes()
        assert os.access(folder / "profiles/slurm/without-accounting/sacct", os.X_OK)
        assert "/results/" in (folder / ".gitignore").read_text().split()


def test_an_empty_folder_is_taken_as_it_is(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    inode = folder.stat().st_ino
    assert ws3("init", folder)[0] == 0
    assert folder.stat().st_ino == inode
    assert (folder / "Snakefile").is_file()


def test_what_is_there_is_left_alone_in_one_sentence(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    status, said = ws3("init", folder)
    assert (status, said.count("\n")) == (2, 1)
    assert "is not empty; choose" in said
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    status, said = ws3("init", folder / "notes.txt")
    assert (status, "something is there already" in said) == (2, True)
    status, said = ws3("init", tmp_path / "new", "--like", "imagenet")
    assert status == 2
    assert "choose from: folder, voc12, coco14, demo" in said
    assert not (tmp_path / "new").exists()


def without_repository():
    """Return an environment that names nothing of the repository."""
    return {name: value for name, value in environment().items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the Python of an environment that has ws3 from a wheel, and all else from here."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, source)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    # With the repository on its path, pip takes the package for installed.
    env = without_repository()
    subprocess.run([*pip, *wheel], check=True, env=env)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    (made,) = folder.glob("*.whl")
    into = ["--python", str(python), "install", "--no-deps", "--no-index", str(made)]
    subprocess.run([*pip, *into], check=True, env=env)
    # Named in a .pth file, a folder's own .pth files are not read: the ws3 that is there, in a
    # clone, stays unseen.
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.rmtree(source)
    return python


def run(python, folder, *words):
    """Run a module in the environment, without a thing of the repository."""
    paths = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(python), "-m", *words],
        cwd=folder,
        env=without_repository() | {"PATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_wheel_holds_the_workflow(installed):
    (wheel,) = installed.parents[2].glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        inside = "ws3/workflow/files/"
        held = {
            name.removeprefix(inside): file.read(name)
            for name in file.namelist()
            if name.startswith(inside)
        }
    folders = ("workflow", "rules", "profiles")
    wanted = [path for name in folders for path in (REPOSITORY / name).rglob("*")]
    wanted += [*(REPOSITORY / "config").glob("*.yaml"), REPOSITORY / "envs/ws3.yaml"]
    wanted += [REPOSITORY / "Snakefile"]
    assert held == {
        str(path.relative_to(REPOSITORY)): path.read_bytes() for path in wanted if path.is_file()
    }


@pytest.mark.slow
def test_a_project_runs_the_installed_package_and_needs_no_clone(installed, tmp_path):
    folder = tmp_path / "project"
    done = run(installed, tmp_path, "ws3", "init", str(folder), "--like", "demo")
    assert done.returncode == 0, done.stderr
    # Snakemake finds Snakefile, configuration and profile by itself.
    done = run(installed, folder, "snakemake", "--dry-run", "--quiet", "host")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert job_counts(said) == planned(tmp_path, None)
    assert "profiles/default" in said
    assert str(REPOSITORY) not in said
    assert not (folder / "results").exists()
    # One's own keys on top, as with any configuration.
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    config["images_per_job"] = 200
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    done = run(installed, folder, "snakemake", "--dry-run", "--quiet", "host")
    assert job_counts(done.stdout + done.stderr)["saliency"] == 6


def test_the_project_knows_its_package_by_the_name_that_pip_knows():
    named = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["name"]
    for path in ("ws3/workflow/shipped.py", "ws3/workflow/project.py"):
        assert named in (REPOSITORY / path).read_text()
