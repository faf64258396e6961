"""The LSF and SGE profiles, on stand-ins for their commands."""

from __future__ import annotations

import os
import subprocess

import fake_scheduler
import pytest
from snake import REPOSITORY, command, environment

from ws3.run.folder import Run

pytestmark = pytest.mark.slow

CONFIG = {
    "run": "tiny",
    "device": "cpu",
    "dataset": {"kind": "synthetic", "train_images": 2, "val_images": 1, "size": 64, "classes": 2},
    "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1},
    "recipes": {"cam": {"preset": "gradcam"}},
}


@pytest.mark.parametrize(
    ("profile", "queue", "gpu", "memory"),
    [
        ("lsf", ["-q", "normal"], ["-gpu", "num=1"], "{}MB"),
        ("sge", ["-q", "all.q"], ["-l", "gpu=1"], "mem_free={}M"),
    ],
)
def test_a_profile_submits_watches_and_tries_again(tmp_path, profile, queue, gpu, memory):
    jobs, programs = tmp_path / "jobs", tmp_path / "programs"
    jobs.mkdir()
    fake_scheduler.install(programs)
    line = command(
        *(tmp_path, "--workflow-profile", f"profiles/{profile}", "--until", "train_classifier"),
        *("--seconds-between-status-checks", "1", "--latency-wait", "10"),
        config=CONFIG,
    )
    known = environment()
    known["PATH"] = f"{programs}{os.pathsep}{known['PATH']}"
    known["FAKE_SCHEDULER"] = str(jobs)
    done = subprocess.run(
        line, cwd=REPOSITORY, env=known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Run.open(tmp_path / "results/tiny").classifier.input_size == 64
    index, lost, again = fake_scheduler.submissions(jobs)
    assert contains(index, queue)
    assert not contains(index, gpu)
    assert contains(lost, gpu)
    assert contains(again, gpu)
    assert memory.format(8000) in lost
    assert memory.format(16000) in again


def contains(options, pair):
    return any(options[place : place + 2] == pair for place in range(len(options)))
