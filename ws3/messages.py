"""What messages repeat of users' values and libraries' errors: short, and the same each time."""

from __future__ import annotations

import re
import reprlib

LONGEST = 200
"""Most characters of a user's value, or of a library's error, that a message repeats."""
LONGEST_LINE = 1000
"""Most characters of a line of a message: paths, values, and the words around them."""
_ADDRESS = re.compile(r"\s+at 0x[0-9a-fA-F]+")

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = LONGEST
_brief.maxlist = _brief.maxtuple = _brief.maxdict = _brief.maxset = 20


def printable(text: str) -> str:
    r"""Return a text whose control characters, which a terminal would obey, are written out.

    Lines are cut at `LONGEST_LINE` characters.

    Example:
        >>> print(printable("\x1b[31mred\nnext line"))
        \x1b[31mred
        next line
    """
    lines = [line[:LONGEST_LINE] for line in text.split("\n")]
    return "\n".join(
        line
        if line.isprintable()
        else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)[:LONGEST_LINE]
        for line in lines
    )


def shortened(text: str, limit: int = LONGEST) -> str:
    """Return a text as one line of at most `limit` characters, all of them printable.

    Example:
        >>> shortened("line   one")
        'line one'
        >>> len(shortened("x" * 100_000))
        200
    """
    # Cut before the blanks are looked at, too: a text may have millions of characters.
    text = printable(" ".join(text[: 4 * LONGEST].split()))
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def shown(value: object, limit: int = LONGEST) -> str:
    """Return what stands for a user's value in a message, at most `limit` characters of it.

    Example:
        >>> shown("cat")
        "'cat'"
        >>> len(shown("x" * 100_000))
        200
    """
    if isinstance(value, str):
        return shortened(repr(value[: 2 * LONGEST]), limit)
    try:
        return shortened(_brief.repr(value), limit)
    except ValueError:  # Python writes no number of more than 4300 digits
        return f"a very long {type(value).__name__}"


def reason(error: BaseException) -> str:
    """Return what an error says in one line, without memory addresses, which differ each time.

    Example:
        >>> reason(OSError("cannot identify <_io.BytesIO object at 0x7f00>"))
        'cannot identify <_io.BytesIO object>'
        >>> reason(KeyError())
        'KeyError'
    """
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return shortened(_ADDRESS.sub("", text[: 8 * LONGEST]))
