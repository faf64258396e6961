"""Words that the documentation, comments and messages of ws3 avoid, and what says it plainly.

`python tests/doc_words.py` names each place; a test does the same.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CHECKED = (
    "ws3",
    "docs",
    "rules",
    "profiles",
    "config",
    "findings",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Snakefile",
    "Makefile",
)
SUFFIXES = {"", ".md", ".py", ".smk", ".yaml", ".yml", ".j2", ".sh"}

# What is meant by "X a Y" is "X per Y".
_COUNTED = (
    "bars?|batch|batches|bits|bytes|calls|channels|chunk|class|columns?|crops|evaluation|files?|GPUs?|"
    "group|id|images?|jobs?|lines?|map|masks?|memory|MB|ms|name|network|numbers?|once|one|path|pixels|"
    "processes|rows?|samples?|score|seconds|steps?|tables?|threads?|times|twice|values?"
)
_UNITS = (
    "batch|channel|chunk|class|crop|epoch|file|group|image|item|job|line|map|method|network|node|"
    "picture|pixel|process|recipe|row|run|sample|second|seed|side|split|stage|step|test|training"
)
AVOIDED = {
    r"\banew\b": "again",
    r"\blest\b": "so that ... not",
    r"\bvouch(es|ed|ing)?\b": "says, lists, confirms",
    r"(?<=[:.;,] )likewise(?=[.,;]|$)|\bof likewise\b|\blikewise\.": "the sentence itself",
    r"\bgivers?\b": "source recipe",
    r"\b(the first|only|among|by|of) so many\b": "that many, this many",
    rf"\b({_COUNTED}) an? ({_UNITS})\b(?! (of|was|that|which|is|in)\b)": "X per Y",
}
# Said in another sense: the rest of the line, as it stands.
ALLOWED: tuple[str, ...] = ("Give an image", "one a person")
# Not yet plain; whoever mends one takes it out.
NOT_YET: frozenset[str] = frozenset()

Place = tuple[str, int, str, str]


def places() -> Iterator[Place]:
    """Yield file, line number, what is avoided and what to say, of all files that git knows."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *CHECKED]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        path = REPOSITORY / name
        if path.suffix in SUFFIXES and path.is_file():
            yield from ((name, *found) for found in avoided(path.read_text(encoding="utf-8")))


def avoided(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, the words that are avoided, and what to say, of a text.

    Example:
        >>> list(avoided("It is made anew,\\none line an image."))
        [(1, 'anew', 'again'), (2, 'line an image', 'X per Y')]
        >>> list(avoided("Give a job a name. Rows a\\nmethod sees."))
        []
    """
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, better in AVOIDED.items():
            for found in re.finditer(pattern, line, re.IGNORECASE):
                if not any(words in line for words in ALLOWED):
                    yield number, found[0], better


def main() -> int:
    """Print each place, with `--all` also those in NOT_YET; return how a command ends."""
    excepted = frozenset() if "--all" in sys.argv else NOT_YET
    found = [place for place in places() if place[0] not in excepted]
    for name, number, words, better in found:
        print(f"{name}:{number}: {words!r}; say: {better}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
