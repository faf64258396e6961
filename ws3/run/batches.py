"""Batches: runs of consecutive images of one split, the unit of a job.

Nothing that is computed depends on the batch; it only says who computes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ws3.config.run import RunConfig
from ws3.datasets.index import ImageRow, Listing, rows_fingerprint
from ws3.errors import Ws3Error
from ws3.stage_table import STAGES


@dataclass(frozen=True)
class Batch:
    """Some consecutive images of a split."""

    name: str
    start: int
    rows: tuple[ImageRow, ...]

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of its index rows; when it changes, the batch runs again."""
        return rows_fingerprint(self.rows)


class Batches:
    """All batches of one stage, in the order of the index."""

    def __init__(self, images: Sequence[ImageRow], splits: Iterable[str], size: int) -> None:
        self._by_split: dict[str, list[Batch]] = {}
        self._size = size
        for split in splits:
            rows = [row for row in images if row.split == split]
            self._by_split[split] = [
                Batch(
                    rows[start].image if size == 1 else f"{split}-{start // size:05d}",
                    start,
                    tuple(rows[start : start + size]),
                )
                for start in range(0, len(rows), size)
            ]
        self._by_name = {batch.name: batch for some in self._by_split.values() for batch in some}

    def names(self, splits: Iterable[str]) -> list[str]:
        """Return the names of the batches of some splits."""
        return [batch.name for split in splits for batch in self._by_split[split]]

    def __getitem__(self, name: str) -> Batch:
        """Return a batch by name.

        Raises:
            Ws3Error: If there is none.
        """
        if name not in self._by_name:
            raise Ws3Error(
                f"{name}: there is no such batch; batches are called train-00000 and so on, or, "
                "with one image per job, as the image"
            )
        return self._by_name[name]

    def holding(self, rows: Iterable[ImageRow]) -> list[Batch]:
        """Return the batches that hold some images, each with those images alone."""
        named = {row.image: batch for batch in self._by_name.values() for row in batch.rows}
        found: dict[str, list[ImageRow]] = {}
        for row in rows:
            found.setdefault(named[row.image].name, []).append(row)
        return [replace(self[name], rows=tuple(some)) for name, some in found.items()]

    def names_holding(self, batch: Batch) -> list[str]:
        """Return the batches of this stage that hold the images of another stage's batch."""
        own = self._by_split[batch.rows[0].split]
        first, last = batch.start, batch.start + len(batch.rows) - 1
        return [own[number].name for number in range(first // self._size, last // self._size + 1)]


def mapped_rows(
    config: RunConfig, rows: Iterable[ImageRow], splits: Iterable[str]
) -> list[ImageRow]:
    """Return the images of some splits that get maps and masks, in the index's order."""
    wanted = set(splits)
    kept = [row for row in rows if row.split in wanted]
    limit = config.evaluation.train_images
    train = [row for row in kept if row.split == "train"]
    if limit is None or limit >= len(train):
        return kept
    chosen = {train[number * len(train) // limit].image for number in range(limit)}
    return [row for row in kept if row.split != "train" or row.image in chosen]


def stage_splits(config: RunConfig, stage: str) -> tuple[str, ...]:
    """Return the splits that a stage works on."""
    return config.evaluation.splits if STAGES[stage].splits == "reported" else config.map_splits


def stage_batches(config: RunConfig, listing: Listing, stage: str) -> Batches:
    """Return the batches of a stage."""
    splits = stage_splits(config, stage)
    return Batches(mapped_rows(config, listing.rows, splits), splits, config.batch_size(stage))
