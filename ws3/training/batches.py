"""Batches that several processes share: how many share them, and who gets which images."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from torch import distributed
from torch.utils.data import Sampler


def processes_for(gpus: int, batch_size: int) -> int:
    """Return how many processes train on a number of GPUs: the most that share a batch equally.

    Example:
        >>> processes_for(4, 6)
        3
    """
    return max(number for number in range(1, max(gpus, 1) + 1) if batch_size % number == 0)


def loader_workers(on_gpu: bool, processes: int) -> int:
    """Return how many processes read and augment images for each one that trains.

    On a GPU as many as the job's cores allow, up to eight, so that it does not wait; on a CPU none,
    as they would take the cores of the training. The result doesn't depend on them.

    Example:
        >>> loader_workers(False, 1)
        0
    """
    if not on_gpu:
        return 0
    return min(8, max(1, len(os.sched_getaffinity(0)) // processes))


class SharedBatches(Sampler[tuple[int, int]], ABC):
    """Samples one process's share of every batch of an epoch.

    The batches are the same whatever the number of processes. An incomplete last batch is split as
    evenly as possible. A process left without an image repeats one with weight 0, since every
    process must take part in every optimiser step.

    Args:
        length: Images per epoch.
        batch_size: Images per batch, over all processes.
        processes: How many train together; must divide `batch_size`.
    """

    def __init__(self, length: int, batch_size: int, processes: int = 1) -> None:
        if batch_size % processes:
            raise ValueError(f"{processes} processes can't share batches of {batch_size} equally")
        self.length = length
        self.batch_size = batch_size
        self.processes = processes
        self.epoch = 0

    @abstractmethod
    def draw(self, epoch: int) -> Sequence[tuple[int, int]]:
        """Return an epoch's `length` items, batch after batch."""

    @property
    def share(self) -> int:
        """Images of a complete batch that each process gets."""
        return self.batch_size // self.processes

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch to draw; Lightning calls this before each one, also when it resumes."""
        self.epoch = epoch

    def weight(self, batch: int) -> float:
        """Return the weight of this process's mean over its share of a batch.

        The mean over all processes of these weighted means is the mean over the whole batch.
        """
        images = min(self.batch_size, self.length - batch * self.batch_size)
        first, last = self._bounds(images)
        return (last - first) * self.processes / images

    def __iter__(self) -> Iterator[tuple[int, int]]:
        drawn = self.draw(self.epoch)
        for first in range(0, self.length, self.batch_size):
            batch = drawn[first : first + self.batch_size]
            yield from batch[slice(*self._bounds(len(batch)))] or batch[:1]

    def __len__(self) -> int:
        whole, images = divmod(self.length, self.batch_size)
        first, last = self._bounds(images)
        return whole * self.share + (max(1, last - first) if images else 0)

    def _bounds(self, images: int) -> tuple[int, int]:
        """Return the first of a batch's images that is this process's, and the first that isn't."""
        rank: int = distributed.get_rank() if self.processes > 1 else 0
        return rank * images // self.processes, (rank + 1) * images // self.processes
