"""`PYTHONPATH=tests python -m fuzz --count 5000` (or `make fuzz`): spoilt inputs at all borders.

Each ends with status 0, or with a sentence; nothing outside the results is changed, no program is
started, and time, memory and files have limits (see `fuzz.harness`). The same seed makes the same
inputs. Whatever fails is kept, and `--only BORDER:NUMBER` tries it again.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from fuzz.borders import BORDERS
from fuzz.harness import Counts, Fuzz

_IMPORTED = (
    *("ws3.cli.app", "ws3.cli.memory", "ws3.jobs.runner", "ws3.stages.index", "ws3.stages.report"),
    *("ws3.stages.saliency", "ws3.stages.maps", "ws3.stages.masks", "ws3.stages.predictions"),
    *("ws3.stages.threshold", "ws3.stages.evaluate", "ws3.stages.train_classifier"),
    *("ws3.stages.train_segmentation", "ws3.run.verify", "ws3.tools.show", "ws3.tools.compare"),
    *("ws3.tools.export", "ws3.datasets.coco", "ws3.datasets.folder", "ws3.datasets.voc"),
    *("pycocotools.mask", "pydensecrf.densecrf", "ijson", "defusedxml.ElementTree"),
    *("PIL.JpegImagePlugin", "PIL.TiffImagePlugin", "torchvision.models", "matplotlib.pyplot"),
    *("snakemake.cli", "ws3.workflow.rules"),
)
"""Imported once, before the commands are forked: each of them would take seconds else."""


def main() -> None:
    """Parse the command line, try the inputs, give the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="BORDER[:NUMBER]", help="one border, or one input")
    parser.add_argument("--folder", type=Path, help="keeps the unspoilt folders, too")
    given = parser.parse_args()
    for name in _IMPORTED:
        importlib.import_module(name)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="ws3-fuzz-"))
    fuzz, began = Fuzz(folder, given.seed), time.monotonic()
    counts = {border.name: Counts() for border in BORDERS}
    for name, numbers in chosen(given.count, given.only).items():
        border = next(border for border in BORDERS if border.name == name)
        for number in numbers:
            wrong = fuzz.try_one(border, number, counts[name])
            if wrong:
                again = f"--seed {given.seed} --only {name}:{number} --folder {folder}"
                print(f"FAILED {wrong}\n    again: python -m fuzz {again}", flush=True)
    print(f"{'border':20} {'ended 0':>8} {'refused':>8} {'failed':>8}")
    total = Counts()
    for name, found in counts.items():
        print(f"{name:20} {found.ended:8} {found.refused:8} {len(found.failed):8}")
        total.ended, total.refused = total.ended + found.ended, total.refused + found.refused
        total.failed += found.failed
    print(f"{'all':20} {total.ended:8} {total.refused:8} {len(total.failed):8}")
    print(f"{total.all} inputs, seed {given.seed}, {time.monotonic() - began:.0f} s")
    if given.folder is None and not total.failed:
        shutil.rmtree(folder)
    sys.exit(1 if total.failed else 0)


def chosen(count: int, only: str | None) -> dict[str, range]:
    """Return the numbers of the inputs of each border.

    Args:
        count: Inputs in all; each border gets its share, and one at least.
        only: `BORDER`, which then gets them all, or `BORDER:NUMBER`, which is the only one.
    """
    if only is None:
        shares = sum(border.share for border in BORDERS)
        return {
            border.name: range(max(1, round(count * border.share / shares))) for border in BORDERS
        }
    name, _, number = only.partition(":")
    if name not in [border.name for border in BORDERS]:
        sys.exit(f"{name}: no such border; there are {', '.join(b.name for b in BORDERS)}")
    return {name: range(int(number), int(number) + 1) if number else range(count)}


if __name__ == "__main__":
    main()
