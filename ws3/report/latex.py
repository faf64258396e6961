"""Tables for LaTeX, with the commands of the package booktabs; names from data show as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_MARKS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{mark: f"\\{mark}" for mark in "#$%&_{}"},
}
_SPECIAL = re.compile("|".join(map(re.escape, _MARKS)))
# TeX reads what follows a row's end, or a cell that is empty so far, as an argument.
_ARGUMENT = re.compile(r"^\s*[\[*]")


def escaped(text: str) -> str:
    r"""Return a text as LaTeX shows it letter by letter; a line's end becomes a blank.

    Quotes need `\usepackage[T1]{fontenc}`.

    Example:
        >>> print(escaped("crops_20"))
        crops\_20
    """
    plain = " ".join(text.split())
    return _SPECIAL.sub(lambda found: _MARKS[found[0]], plain)


def ends_of(ends: tuple[float, float] | None, digits: str) -> str:
    """Return the ends of an interval in percent, in brackets; nothing without any.

    Example:
        >>> ends_of((0.25, 0.5), ".1f")
        ' [$25.0$, $50.0$]'
    """
    # In math mode a minus is one, and not a hyphen.
    return "" if ends is None else " [{}]".format(", ".join(f"${100 * e:{digits}}$" for e in ends))


def tabular(
    heads: Sequence[str], table: Sequence[Sequence[str]], words: int = 1, title: str = ""
) -> Iterator[str]:
    """Yield the lines of a `tabular`.

    Args:
        heads: Of the columns.
        table: Cells, row by row; everything in them is LaTeX already.
        words: How many of the first columns hold words, which are set left; the others are set
            right.
        title: Stands above the heads, if there is one; LaTeX already.
    """
    yield f"\\begin{{tabular}}{{{'l' * words}{'r' * (len(heads) - words)}}}"
    yield "\\toprule"
    if title:
        yield f"\\multicolumn{{{len(heads)}}}{{l}}{{\\emph{{{title}}}}} \\\\"
        yield "\\midrule"
    yield _line(heads)
    yield "\\midrule"
    for cells in table:
        yield _line(cells)
    yield "\\bottomrule"
    yield "\\end{tabular}"


def _line(cells: Sequence[str]) -> str:
    first = f"{{{cells[0]}}}" if cells and _ARGUMENT.match(cells[0]) else "".join(cells[:1])
    return f"{' & '.join([first, *cells[1:]])} \\\\"
