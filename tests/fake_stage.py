"""A stage that costs nothing: it writes each image's fingerprint into a file."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.jobs.runner import ImageResult, TerminatedError, run_batches, run_images
from ws3.run.batches import stage_batches, stage_splits
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run


@dataclass
class FakeStage:
    run: Run
    stage: str = "saliency"
    recipe: str = "crops"
    version: str = "1"
    bad: set[str] = field(default_factory=set)
    tried: list[str] = field(default_factory=list)

    def file(self, image):
        return self.run.folder / "fake" / self.stage / image

    def fingerprint(self, row):
        return f"{row.image}-{self.version}"

    def is_done(self, row, fingerprint):
        path = self.file(row.image)
        return path.exists() and path.read_text() == fingerprint

    def compute(self, row, fingerprint, timer):
        self.tried.append(row.image)
        if row.image in self.bad:
            raise Ws3Error(f"{row.path} is bad")
        with timer.phase("write"):
            write_bytes(self.file(row.image), fingerprint.encode())
        return ImageResult(samples=3, bytes=10)


class FingerprintedStage(FakeStage):
    """Bears the fingerprints that the run expects."""

    def fingerprint(self, row):
        return Fingerprints(self.run, self.recipe).of(self.stage, row)


class WaitingStage(FakeStage):
    """Says that it began an image, and goes on when the file `go` is there."""

    def compute(self, row, fingerprint, timer):
        print(row.image, flush=True)
        while not (self.run.folder / "go").exists():
            time.sleep(0.01)
        return super().compute(row, fingerprint, timer)


def all_batches(run, stage="saliency"):
    batches = stage_batches(run.config, run.index, stage)
    return [batches[name] for name in batches.names(stage_splits(run.config, stage))]


if __name__ == "__main__":
    # A run's folder, and images; without any, all batches.
    logging.basicConfig(format="%(message)s")
    opened = Run.open(Path(sys.argv[1]))
    rows = [row for row in opened.index.rows if row.image in sys.argv[2:]]
    try:
        if rows:
            run_images(opened, WaitingStage(opened), rows)
        else:
            run_batches(opened, WaitingStage(opened), all_batches(opened))
    except TerminatedError:
        sys.exit(143)
