"""A training that another job is at already is waited for, and then kept."""

from __future__ import annotations

import subprocess
import sys
from pipes import pipe

import pytest

from ws3.jobs.lease import Lease


@pytest.mark.slow
def test_a_second_training_waits_for_the_first_and_keeps_its_network(
    small_run, untrained_classifier
):
    run = small_run(classifier__checkpoint=str(untrained_classifier))
    receipt = run.receipt("train_classifier")
    receipt.unlink()
    job = [sys.executable, "-m", "ws3", "train-classifier", str(run.folder)]
    with Lease(receipt.with_suffix(".lease")):
        jobs = [subprocess.Popen(job, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for waiting in jobs:
            assert pipe(waiting.stderr).readline().startswith("waiting: process ")
        assert not receipt.exists()
    said = [waiting.communicate()[1] for waiting in jobs]
    assert [waiting.returncode for waiting in jobs] == [0, 0]
    assert sum("trained on these images already" in text for text in said) == 1
