"""Every code block of the documentation is run or checked, or says why it can't be.

- `sh`: each command runs in a folder like a clone after `make demo`. Snakemake and make run with
  `--dry-run`, since what they would do takes hours.
- `yaml`: a configuration, or a part of one, that validates; or a part of a Snakemake profile.
- `python`: runs in the same folder; what it prints is compared if a block below it says so.
- `<!-- tested: NAME -->` before a block: another test takes the block from the page by this name.
- `<!-- tested as one program: TEST -->` in a page: that test runs all of its Python in order.
- `<!-- not run: REASON -->` before a block: why nothing does.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_blocks import PAGES, REPOSITORY, Block, blocks, parse
from snake import environment

from ws3.config.load import resolve
from ws3.config.run import RunConfig

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUNNERS = ("make", "snakemake", "ws3", "bash")


def _of(*languages: str) -> list[Any]:
    found = [block for block in BLOCKS if not block.mark and block.language in languages]
    return [pytest.param(block, id=block.name) for block in found]


def _printed(block: Block) -> str | None:
    """Return what the documentation says that a block prints: the block after it, if it says so."""
    following = [other for other in BLOCKS if other.page == block.page and other.line > block.line]
    if following and not following[0].language and following[0].before.strip() == "prints":
        return following[0].text
    return None


def _is_output(block: Block) -> bool:
    before = [other for other in BLOCKS if other.page == block.page and other.line < block.line]
    return bool(before) and _printed(before[-1]) == block.text


def test_every_block_is_run_or_says_why_not():
    checked = ("sh", "yaml", "python")
    for block in BLOCKS:
        assert block.mark or block.language in checked or _is_output(block), (
            f"{block.name}: nothing runs this block; write a mark before it, such as "
            "<!-- not run: REASON -->"
        )
        assert block.mark != "not run" or len(block.reason.split()) >= 3, (
            f"{block.name}: say why this block is not run"
        )


def test_every_block_that_is_marked_as_tested_is_taken_by_a_test():
    tests = [path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py")]
    for block in BLOCKS:
        if block.mark == "tested":
            # A test names the page, and either the block or all that are marked.
            page = Path(block.page).name
            taken = [text for text in tests if page in text]
            if block.reason.startswith("tests/"):
                assert page in (REPOSITORY / block.reason).read_text(), block.name
                continue
            assert any(block.reason in text or "marked(" in text for text in taken), block.name


def test_blocks_are_found_with_their_marks():
    text = (
        "Words\n\n```sh\nls\n```\n\n<!-- not run: it is slow -->\n\n```sh\nmake\n```\n"
        "- item:\n\n  ```yaml\n  a:\n    b: 1\n  ```\n<!-- tested: x.py -->\nText\n```\nout\n```\n"
    )
    found = list(parse("page.md", text))
    assert [(one.line, one.language, one.mark) for one in found] == [
        (3, "sh", ""),
        (9, "sh", "not run"),
        (14, "yaml", ""),
        (20, "", ""),
    ]
    assert found[1].reason == "it is slow"
    assert found[2].text == "a:\n  b: 1\n"
    assert [one.before for one in found] == ["Words", "Words", "- item:", "Text"]
    program = "<!-- tested as one program: tests/x.py -->\n\n```python\n1\n```\n\n```sh\nls\n```\n"
    assert [(one.mark, one.reason) for one in parse("page.md", program)] == [
        ("tested", "tests/x.py"),
        ("", ""),
    ]
    with pytest.raises(ValueError, match=r"page.md:1: this block does not end"):
        list(parse("page.md", "```sh\nls\n"))


# Commands ----------------------------------------------------------------------------------------


def commands(text: str) -> list[list[str]]:
    """Return the words of each command of a block, without comments.

    Example:
        >>> commands("make demo  # all\\n\\nws3 show \\\\\\n  'a b'\\n")
        [['make', 'demo'], ['ws3', 'show', 'a b']]
    """
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def looked_at(words: list[str]) -> list[str]:
    """Return a command that shows what another one would do, where that takes long."""
    match words[0]:
        case "make":
            return ["make", "--dry-run", "--directory", str(REPOSITORY), *words[1:]]
        case "bash":
            return ["bash", "-n", str(REPOSITORY / words[1])]
        case "snakemake":
            return [sys.executable, "-m", *words, "--dry-run", "--quiet", "host"]
        case _:
            return [sys.executable, "-m", *words]


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with this repository's ws3."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**environment(), "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.xdist_group("docs")
@pytest.mark.slow
@pytest.mark.parametrize("block", _of("sh"))
def test_the_commands_run(block, workplace):
    assert commands(block.text), block.name
    for words in commands(block.text):
        assert words[0] in RUNNERS, f"{block.name}: nothing can run {words[0]} here; mark the block"
        done = run(looked_at(words), workplace)
        assert done.returncode == 0, f"{block.name}: {words}\n{done.stdout}{done.stderr}"


@pytest.mark.xdist_group("docs")
@pytest.mark.slow
def test_after_the_demo_there_is_nothing_to_be_done(workplace):
    done = run(looked_at(["snakemake"]), workplace)
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_drawing_of_the_stages_names_rules_and_commands():
    (drawing,) = (block for block in BLOCKS if "──►" in block.text)
    rules = "\n".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    known = set(re.findall(r"^rule (\w+):", rules, re.MULTILINE))
    named = set(re.findall(r"──([\w-]+)──►", drawing.text))
    assert {name.replace("-", "_") for name in named} == known - {"summary", "evaluate_summary"}


# Configurations ----------------------------------------------------------------------------------


def completed(part: dict[str, Any]) -> dict[str, Any]:
    """Return a whole configuration that a part of one belongs to."""
    named = [*part.get("segmentation", {}).get("recipes", ())]
    recipes = {name: {"preset": "cam"} for name in (*named, "cam")}
    whole = {"run": "docs", "dataset": {"kind": "synthetic"}, "recipes": recipes, **part}
    whole.setdefault(
        "reference_recipe", "cam" if "cam" in whole["recipes"] else next(iter(whole["recipes"]))
    )
    return whole


def check_profile(part: dict[str, Any]) -> None:
    """Check that a part of a profile has keys and rules that the profiles of ws3 have."""
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    assert set(part) <= set(profile)
    rules = "\n".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    for rule in part.get("set-resources", {}):
        assert re.search(rf"^rule {rule}:", rules, re.MULTILINE), rule


@pytest.mark.parametrize("block", _of("yaml"))
def test_the_configurations_are_valid(block):
    part = yaml.safe_load(block.text)
    if set(part) <= set(RunConfig.model_fields):
        resolve(completed(part), block.name)
    else:
        check_profile(part)


def test_a_part_with_a_wrong_key_is_not_valid():
    with pytest.raises(Exception, match="crff"):
        resolve(completed({"masks": {"crff": "irn"}}))
    with pytest.raises(AssertionError):
        check_profile({"set-resources": {"saliencyy": {"gpu": 1}}})


# Python ------------------------------------------------------------------------------------------


@pytest.mark.xdist_group("docs")
@pytest.mark.slow
@pytest.mark.parametrize("block", _of("python"))
def test_the_python_runs_and_prints_what_stands_below_it(block, workplace):
    done = run([sys.executable, "-c", block.text], workplace)
    assert done.returncode == 0, f"{block.name}\n{done.stdout}{done.stderr}"
    printed = _printed(block)
    assert printed is None or done.stdout == printed
