"""Batches shared by processes: the same images a step, whatever the number of processes."""

from __future__ import annotations

import pytest

from ws3.training.batches import SharedBatches, processes_for


class Counted(SharedBatches):
    def draw(self, epoch: int) -> list[tuple[int, int]]:
        return [(epoch, index) for index in range(self.length)]


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
@pytest.mark.parametrize("images", [3, 12, 13, 17])
def test_the_shares_weighted_are_the_batch(
    images: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    summed: dict[tuple[int, int], float] = {}
    for rank in range(processes):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        batches = Counted(images, 6, processes)
        batches.set_epoch(4)
        items = list(batches)
        assert len(items) == len(batches)
        shares = [items[at : at + batches.share] for at in range(0, len(items), batches.share)]
        assert len(shares) == -(-images // 6)  # all take part in every step
        for step, share in enumerate(shares):
            for epoch, index in share:
                assert epoch == 4
                part = batches.weight(step) / len(share) / processes
                summed[step, index] = summed.get((step, index), 0) + part
    for step in range(-(-images // 6)):
        batch = range(6 * step, min(images, 6 * step + 6))
        counted = {index for at, index in summed if at == step}
        assert counted == set(batch)
        for index in batch:
            assert summed[step, index] == pytest.approx(1 / len(batch))


def test_one_process_weighs_nothing() -> None:
    batches = Counted(13, 6)
    assert [batches.weight(step) for step in range(3)] == [1.0, 1.0, 1.0]
    assert list(batches) == batches.draw(0)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="3 processes can't share batches of 8"):
        Counted(20, 8, 3)


@pytest.mark.parametrize(
    ("gpus", "batch_size", "expected"), [(0, 8, 1), (1, 8, 1), (4, 8, 4), (3, 8, 2), (8, 7, 7)]
)
def test_a_batch_is_shared_equally_by_as_many_gpus_as_can(
    gpus: int, batch_size: int, expected: int
) -> None:
    assert processes_for(gpus, batch_size) == expected
