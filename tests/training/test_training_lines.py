"""What a long epoch logs while nobody watches."""

from __future__ import annotations

import logging
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest

from ws3.training import processes


@pytest.mark.parametrize("is_first", [True, False])
def test_a_long_epoch_says_how_far_it_is_and_a_short_one_nothing(monkeypatch, caplog, is_first):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    module: Any = None
    trainer: Any = SimpleNamespace(
        is_global_zero=is_first, num_training_batches=200, current_epoch=2, max_epochs=9
    )
    lines = processes._BatchLines()
    with caplog.at_level(logging.INFO):
        lines.on_train_epoch_start(trainer, module)
        for batch in range(200):
            now[0] += 0.5
            lines.on_train_batch_end(trainer, module, None, None, batch)
    found = [re.sub(r"\.\d+", "", record.getMessage()) for record in caplog.records]
    assert found == [
        f"epoch 3 of 9: {done}/200 batches, 2 batches/s, about {left} s of it left"
        for done, left in ((60, 70), (120, 40), (180, 10))
        if is_first
    ]
