"""The figures of a training's epochs, as a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ws3.files import write_bytes


def write_history(path: Path, epochs: Sequence[Mapping[str, float | None]]) -> None:
    """Write one row per epoch, with the columns of the first epoch; undefined values are empty.

    Args:
        path: The CSV file, replaced in one step.
        epochs: Figures by column name, at least one epoch's.

    Raises:
        Ws3Error: If the file can't be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(epochs[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(epochs)
    write_bytes(path, text.getvalue().encode())
