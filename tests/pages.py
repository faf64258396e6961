"""The marked blocks of a documentation page, and how its diffs are applied."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def documented(page: str, name: str) -> str:
    """Return the block of a page that is marked as this file."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"<!-- tested: {re.escape(name)} -->\n```\w*\n(.*?)```", text, re.DOTALL)
    assert found, f"{page} has no block marked {name}"
    return found[1]


def marked(page: str) -> list[str]:
    """Return the names of all marked blocks of a page."""
    return re.findall(r"<!-- tested: (\S+) -->", (DOCS / page).read_text(encoding="utf-8"))


def apply_diff(diff: str, root: Path) -> Path:
    """Apply a diff as a reader would: each hunk's context is found in the file exactly once.

    The hunks bear no line numbers, which would be wrong with the next change of the file.
    """
    first, second, *lines = diff.splitlines()
    path = root / second.removeprefix("+++ b/")
    assert first == f"--- a/{path.relative_to(root)}"
    text = path.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@.*\n", "\n".join(lines) + "\n", flags=re.MULTILINE)[1:]:
        old = "".join(line[1:] + "\n" for line in hunk.splitlines() if line[:1] != "+")
        new = "".join(line[1:] + "\n" for line in hunk.splitlines() if line[:1] != "-")
        assert text.count(old) == 1, f"found {text.count(old)} times in {path}:\n{old}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path
