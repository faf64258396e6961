"""The tables that commands print."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ws3.run.folder import Run


def stage_table(run: Run, numbers: Sequence[str], least: int = 0) -> Table:
    """Return a table with a row per stage and recipe; columns of numbers have a least width."""
    # Eighty columns hold it: no frame, and names that are cut rather than numbers.
    table = Table(title=str(run.folder), title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name in ("stage", "recipe"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True, min_width=max(least, len(name)))
    return table
