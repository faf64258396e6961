"""A training takes all GPUs that its job got, as far as they share a batch equally."""

from __future__ import annotations

import logging

import pytest
import torch

from ws3.stages.training_common import processes_on


@pytest.mark.parametrize(
    ("place", "gpus", "processes", "said"),
    [
        ("cpu", 4, 1, []),
        ("cuda", 1, 1, []),
        ("cuda", 4, 4, ["training on 4 of 4 GPUs"]),
        ("cuda", 3, 2, ["training on 2 of 3 GPUs"]),
    ],
)
def test_processes_are_as_many_as_gpus(
    place: str,
    gpus: int,
    processes: int,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    with caplog.at_level(logging.INFO, logger="ws3"):
        assert processes_on(torch.device(place), 8) == processes
    assert caplog.messages == said


def test_the_classifier_is_trained_on_all(small_run, monkeypatch: pytest.MonkeyPatch) -> None:
    from ws3.errors import Ws3Error
    from ws3.stages import train_classifier, training_common

    def train(*args: object, processes: int, **kwargs: object) -> None:
        raise Ws3Error(f"{processes} processes")

    monkeypatch.setattr(training_common, "device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(train_classifier, "train", train)
    with pytest.raises(Ws3Error, match="2 processes"):
        train_classifier.train_classifier(small_run())
