"""What a training says when it fails, and how it leaves its isolated_torch_state."""

from __future__ import annotations

import logging
import traceback
import warnings
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException

from ws3.errors import Ws3Error
from ws3.files import NoSpaceError
from ws3.training.processes import fit, isolated_torch_state, keep_statistics


class Failing:
    """A trainer that raises an error, as it is or as that of a process that it began."""

    def __init__(self, error: Exception, spawned: bool) -> None:
        self.error = error
        self.spawned = spawned

    def fit(self, *args: Any, **kwargs: Any) -> None:
        if not self.spawned:
            raise self.error
        text = "".join(traceback.format_exception(self.error))
        message = f"\n\n-- Process 1 terminated with the following error:\n{text}"
        raise ProcessRaisedException(message, 1, 123)


def _fit(error: Exception, spawned: bool) -> None:
    fit(cast(Any, Failing(error, spawned)), cast(Any, None), cast(Any, None), None)


@pytest.mark.parametrize("spawned", [False, True])
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Ws3Error("a.png: can't be read; copy it"), "a.png: can't be read; copy it"),
        (
            Ws3Error(
                "Caught Ws3Error in DataLoader worker process 0.\nOriginal Traceback:\n"
                "  a line\nws3.errors.Ws3Error: a.png: can't be read; copy it\n"
            ),
            "a.png: can't be read; copy it",
        ),
        (NoSpaceError("last.ckpt: there is no space left"), "last.ckpt: there is no space left"),
    ],
)
def test_an_error_is_one_sentence(error: Exception, sentence: str, spawned: bool) -> None:
    with pytest.raises(Ws3Error) as raised:
        _fit(error, spawned)
    assert str(raised.value) == sentence


@pytest.mark.parametrize("spawned", [False, True])
def test_a_gpu_without_memory_is_told_apart(spawned: bool) -> None:
    with pytest.raises(torch.OutOfMemoryError, match="tried to allocate"):
        _fit(torch.OutOfMemoryError("tried to allocate 9 GiB"), spawned)


def test_an_error_of_ours_in_a_process_keeps_its_traceback() -> None:
    with pytest.raises(ProcessRaisedException, match="KeyError: 'missing'"):
        _fit(KeyError("missing"), spawned=True)


def test_surroundings_are_left_as_they_were() -> None:
    torch.manual_seed(7)
    state, level = torch.get_rng_state(), logging.getLogger("lightning.pytorch").level
    filters = list(warnings.filters)
    with isolated_torch_state(3, torch.device("cpu")):
        drawn = torch.rand(3)
        torch.use_deterministic_algorithms(True)
        assert logging.getLogger("lightning.pytorch").level == logging.WARNING
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert logging.getLogger("lightning.pytorch").level == level
    assert list(warnings.filters) == filters
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))


def test_all_kinds_of_batch_normalisation_keep_their_statistics() -> None:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    network = nn.Sequential(*(kind(2) for kind in kinds), nn.Dropout())
    keep_statistics(network)
    assert [layer.training for layer in network] == [False] * 4 + [True]
