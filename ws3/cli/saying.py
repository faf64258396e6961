"""What commands print: any text, with control characters written out."""

from __future__ import annotations

import typer

from ws3.messages import printable


def say(text: object, *, err: bool = False) -> None:
    """Print a line or more; a name from outside must not steer the terminal.

    Args:
        text: What to print, such as a path.
        err: Whether it goes to standard error.
    """
    typer.echo(printable(str(text)), err=err)
