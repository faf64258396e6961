"""Where a job sees several GPUs, each takes one of its own."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pipes import pipe
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ws3.jobs import gpus

GPUS = ("GPU-a", "GPU-b")
CLAIM = f"""
import sys
from pathlib import Path
from typing import Any
from ws3.jobs import gpus
gpus.LOCKS = Path(sys.argv[1])
print(gpus.claim({GPUS!r}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process(tmp_path) -> Iterator[Callable[..., tuple[Any, ...]]]:
    started = []

    def start(**variables: str) -> tuple[subprocess.Popen[str], int]:
        child = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(tmp_path)],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child, int(pipe(child.stdout).readline())

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_processes_take_different_gpus_and_the_dead_give_theirs_back(process) -> None:
    first, first_gpu = process()
    _, second_gpu = process()
    assert (first_gpu, second_gpu) == (0, 1)
    first.kill()
    first.wait()
    _, third_gpu = process()
    assert third_gpu == 0


def test_jobs_with_a_tmpdir_of_their_own_take_different_gpus(process, tmp_path) -> None:
    # Grid Engine and many sites' Slurm make one for each job.
    taken = []
    for name in ("job-1", "job-2"):
        (tmp_path / name).mkdir()
        taken.append(process(TMPDIR=str(tmp_path / name))[1])
    assert taken == [0, 1]


def test_where_all_are_taken_one_is_shared_and_it_is_said(
    process, tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process()
    process()
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    gpus.claim.cache_clear()
    assert gpus.claim(GPUS) in (0, 1)
    assert "all 2 GPUs are in use" in caplog.text


def test_a_process_keeps_its_gpu(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "LOCKS", tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda number: SimpleNamespace(uuid=f"test-{number}")
    )
    gpus.claim.cache_clear()
    assert gpus.own_device("auto") == gpus.own_device("cuda") == torch.device("cuda:0")
    assert gpus.own_device("cpu") == torch.device("cpu")


def test_a_single_gpu_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    # A scheduler has given it to this job already.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(gpus, "claim", lambda gpus: pytest.fail("claimed"))
    assert gpus.own_device("auto") == torch.device("cuda")


def test_a_folder_that_cannot_be_used_stops_nothing(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpus, "LOCKS", tmp_path / "absent")
    gpus.claim.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert gpus.claim(GPUS) in (0, 1)
    assert "can't tell which GPUs are in use" in caplog.text
