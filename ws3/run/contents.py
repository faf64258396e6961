"""What a finished run consists of: whether it is finished, and its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ws3.errors import StaleResultError
from ws3.run.folder import Run
from ws3.run.status import run_status

CRATE = "ro-crate-metadata.json"
"""The description of the files, of those that aren't described by it."""

MANIFEST = "manifest-sha256.txt"
"""The digests of all files, in the form that `sha256sum --check` reads."""

_LEFT_OUT = {"benchmarks", "failed", "logs"}
_UNFINISHED = (".ckpt", ".lease")


def check_finished(run: Run) -> None:
    """Check that all results of a run are there, and are what its configuration asks for.

    The bytes are not read; `ws3 verify` does so.

    Raises:
        StaleResultError: Saying what is missing first, and what to run.
    """
    for entry in run_status(run):
        lacking = entry.missing + len(entry.failed)
        if lacking:
            raise StaleResultError(
                f"{run.folder}: {entry.stage} of {entry.recipe}: {lacking} of {entry.expected} "
                "images are not done; run snakemake until it says that nothing is to be done"
            )
    needed = [run.evaluation_file(name) for name in run.config.evaluated]
    for path in (*needed, run.summary_file, run.report_file):
        if not path.exists():
            raise StaleResultError(f"{path}: is missing; run snakemake first")


def files_of(run: Run) -> Iterator[Path]:
    """Yield a run's files, folder by folder and by name, without what only serves to make them.

    Left out are logs, measurements of time, failures, checkpoints of unfinished trainings, leases,
    hidden and temporary files, links, and the descriptions of the files themselves.
    """
    for base, folders, names in os.walk(run.folder):
        at_top = Path(base) == run.folder
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not (at_top and name in _LEFT_OUT)
        )
        for name in sorted(names):
            path = Path(base, name)
            own = at_top and name in (CRATE, MANIFEST)
            if name.startswith(".") or name.endswith(_UNFINISHED) or own:
                continue
            if path.is_file() and not path.is_symlink():
                yield path
