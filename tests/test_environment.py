"""The files that name versions agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]
# Conda's names of what the package index calls otherwise.
NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def _named(line: str) -> tuple[str, str]:
    found = re.fullmatch(r"([a-z0-9-]+) ?(.*)", line)
    assert found is not None, line
    return found[1], found[2]


def _project() -> dict[str, str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return dict(_named(line) for line in project["dependencies"])


def test_the_conda_environment_agrees_with_the_project():
    dependencies = yaml.safe_load((REPOSITORY / "envs/ws3.yaml").read_text())["dependencies"]
    lines = [line for line in dependencies if isinstance(line, str)]
    lines += [line for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]]
    named = dict(_named(line) for line in lines)
    python = named.pop("python")
    del named["pip"]
    assert {NAMES.get(name, name): bound for name, bound in named.items()} == _project()
    assert python.startswith(">=3.11")


def test_every_dependency_is_pinned_to_a_version_that_the_project_allows():
    pins = dict(
        line.lower().split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    for name, bound in _project().items():
        least = [int(part) for part in re.findall(r"\d+", bound)]
        pinned = [int(part) for part in re.findall(r"\d+", pins[name])]
        assert pinned >= least, name
