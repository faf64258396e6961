"""The fenced code blocks of the README and of the documentation, with the marks before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES = tuple(
    sorted(
        path.relative_to(REPOSITORY).as_posix()
        for path in (
            REPOSITORY / "README.md",
            REPOSITORY / "CONTRIBUTING.md",
            REPOSITORY / "findings" / "README.md",
            *(REPOSITORY / "docs").rglob("*.md"),
        )
    )
)
_FENCE = re.compile(r"^( *)```(\w*)\s*$")
# A page whose Python is one program, which a test of its own runs.
_ONE_PROGRAM = re.compile(r"^<!-- tested as one program: (\S+) -->$", re.MULTILINE)
_MARK = re.compile(r"^ *<!-- (tested|not run): (.+?) -->\s*$")


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: The file, from the repository's root.
        line: Number of the line of its fence.
        language: What the fence says, such as `python`; empty if nothing.
        text: The lines between the fences, without their common indentation.
        mark: `tested` or `not run`, if the line before says so.
        reason: What the mark says: the name of a file, or of the test that runs the page's Python
            as one program, or why it isn't run.
        before: The last line of text before the block and its mark.
    """

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    reason: str = ""
    before: str = ""

    @property
    def name(self) -> str:
        """Where the block is, for messages and as a test's name."""
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    yield from parse(page, (REPOSITORY / page).read_text(encoding="utf-8"))


def parse(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page's text in order.

    Raises:
        ValueError: If a block does not end.
    """
    program = _ONE_PROGRAM.search(text)
    lines = iter(enumerate(text.splitlines(), 1))
    mark, before = None, ""
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            mark = _MARK.match(line) or (mark if not line.strip() else None)
            before = line if line.strip() and not _MARK.match(line) else before
            continue
        indent, language = fence.groups()
        inner: list[str] = []
        for _, content in lines:
            if content.strip() == "```":
                break
            inner.append(content.removeprefix(indent))
        else:
            raise ValueError(f"{page}:{number}: this block does not end")
        kind, reason = mark.groups() if mark else ("", "")
        if program and language == "python" and not mark:
            kind, reason = "tested", program[1]
        yield Block(page, number, language, "\n".join(inner) + "\n", kind, reason, before)
        mark = None
