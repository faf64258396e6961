"""What is generated is in step with its source, and the pages at the root with the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import ws3
from ws3.config.reference import reference
from ws3.config.schema import schema

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
# Keys that have no description yet; whoever describes one takes it out.


def _script(path: str) -> str:
    done = subprocess.run(
        [sys.executable, REPOSITORY / path], capture_output=True, text=True, check=True
    )
    return done.stdout


def _keys() -> Iterator[tuple[str, dict[str, Any]]]:
    root = schema()
    for name, section in [("RunConfig", root), *root["$defs"].items()]:
        for key, node in section.get("properties", {}).items():
            yield f"{name}.{key}", node


def test_the_configuration_page_is_that_of_the_models():
    assert (REPOSITORY / "docs/config.md").read_text(encoding="utf-8") == reference()


def test_the_configuration_page_has_a_row_for_each_key():
    page = reference()
    for path, _ in _keys():
        assert f"\n| `{path.rsplit('.', 1)[1]}` | " in page, path


def test_the_configuration_page_states_type_default_bounds_and_meaning():
    rows = reference().splitlines()
    (count,) = (row for row in rows if row.startswith("| `count` |"))
    assert count.startswith("| `count` | integer ≥ 1, ≤ 65534 or [AdaptiveCount](#")
    assert ") | `1` | Samples per image" in count
    (run,) = (row for row in rows if row.startswith("| `run` |"))
    assert run.startswith("| `run` | text | required | ")
    assert "results go to &lt;results>" in run


def test_every_link_within_the_configuration_page_leads_to_a_heading():
    page = reference()
    headings = re.findall(r"^## `(.*)`$", page, re.MULTILINE)
    anchors = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-").strip() for heading in headings
    }
    assert len(anchors) == len(headings)
    assert set(re.findall(r"\]\(#(.*?)\)", page)) <= anchors


def test_every_key_says_what_it_means():
    # A section has its own description, and a kind's name says enough.
    missing = {
        path
        for path, node in _keys()
        if not {"description", "$ref", "const"} & node.keys() or node.get("description") == ""
    }
    assert missing == set()


def test_the_picture_of_the_floors_is_that_of_the_contract():
    assert (REPOSITORY / "docs/floors.svg").read_text() == _script("docs/hooks/floors.py")


def test_the_architecture_page_says_where_each_room_is():
    page = (REPOSITORY / "docs/architecture.md").read_text()
    table = "\n".join(line.split("|")[2] for line in page.splitlines() if line.startswith("| "))
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (floors,) = (one for one in contracts if one["id"] == "floors")
    rooms = {room.strip(" ()") for layer in floors["layers"] for room in layer.split("|")}
    assert rooms - set(re.findall(r"`(\w+)`", table)) == {"__main__"}


def test_the_overview_of_extensions_links_each_page_of_them():
    page = (REPOSITORY / "docs/extending.md").read_text()
    for path in (REPOSITORY / "docs/extending").glob("*.md"):
        assert f"](extending/{path.name})" in page, path.name


def test_the_contracts_name_every_room_of_the_science():
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (science,) = (one for one in contracts if one["id"] == "science")
    for name in science["source_modules"]:
        assert (REPOSITORY / name.replace(".", "/")).is_dir(), name


def test_citation_and_changelog_know_the_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == ws3.__version__
    assert f"\n## [{ws3.__version__}] - " in (REPOSITORY / "CHANGELOG.md").read_text()


def test_every_python_that_is_claimed_is_tested_by_the_workflow():
    claimed = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["check"]["strategy"]["matrix"]["python"] == claimed
    steps = workflow["jobs"]["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]


@pytest.mark.parametrize("name", [".pre-commit-config.yaml", "mkdocs.yml"])
def test_the_commands_of_hooks_and_site_exist(name):
    text = (REPOSITORY / name).read_text()
    for tool in re.findall(r"\.venv/bin/([\w-]+)", text):
        assert (Path(sys.executable).parent / tool).exists(), tool
    for page in re.findall(r": ([\w/]+\.py)$|- ([\w/]+\.py)$", text, re.MULTILINE):
        assert (REPOSITORY / "".join(page)).exists(), page


@pytest.mark.slow
def test_the_site_builds_strictly_and_fetches_nothing(tmp_path):
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert {"index.html", "config.html", "cli.html", "contributing.html"} <= {
        page.name for page in pages
    }
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert str(REPOSITORY) not in text, page
        fetched = re.findall(
            r"<(?:script|link|img|source|iframe)\b[^>]*?(?:src|href|srcset)=[\"']?(http[^\"' >]*)",
            text,
        )
        assert not fetched, (page, fetched)
    assert 'id="ws3.metrics.confusion.' in (tmp_path / "api/ws3.metrics.html").read_text()
    assert 'href="source/config/voc12.yaml.html"' in (tmp_path / "index.html").read_text()
