"""`ws3 status --watch`: a run that another terminal, or a cluster, is working on."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ws3.cli.tables import stage_table
from ws3.errors import StaleResultError
from ws3.messages import printable
from ws3.run.folder import Run
from ws3.run.progress import StageProgress, run_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

_WATCHED_EVERY = 2.0
_LOGGED_EVERY = 30.0
_SHARE = 4
"""A look that takes a second is followed by this many seconds of rest."""


def watch_runs(folders: Sequence[Path]) -> None:
    """Show how far runs are, until all of each is done or the user presses Ctrl-C.

    Where standard output is no terminal, the tables are printed again every 30 s.

    Args:
        folders: The runs' folders.
    """
    console = Console(soft_wrap=True)
    watched = sys.stdout.isatty()
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            began = time.monotonic()
            looks = [_look(folder) for folder in folders]
            shown = Group(*(table for table, _ in looks))
            if watched:
                live.update(shown, refresh=True)
            else:
                console.print(shown)
            if all(is_over for _, is_over in looks):
                return
            every = _WATCHED_EVERY if watched else _LOGGED_EVERY
            time.sleep(max(every, _SHARE * (time.monotonic() - began)))


def _look(folder: Path) -> tuple[RenderableType, bool]:
    """Return what there is to see now, and whether all is done."""
    try:
        run = Run.open(folder)
        found = list(run_progress(run))
    except StaleResultError as error:
        return Text(f"waiting: {printable(str(error))}"), False
    return _table(run, found), all(not one.missing and not one.status.failed for one in found)


def _table(run: Run, found: Sequence[StageProgress]) -> RenderableType:
    table = stage_table(run, ("done", "of", "failed", "images/s", "left"), least=6)
    for one in found:
        left = one.seconds_left
        busy = one.rate is not None and one.missing > 0
        table.add_row(
            Text(one.status.stage),
            Text(printable(one.status.recipe)),
            str(one.done),
            str(one.status.expected - one.status.skipped),
            str(len(one.status.failed)),
            f"{one.rate:.2f}" if busy else "",
            "" if not busy or left is None else str(timedelta(seconds=round(left))),
            style="bold" if busy else ("" if one.missing else "dim"),
        )
    return table
