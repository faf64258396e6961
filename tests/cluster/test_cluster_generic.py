"""The LSF and SGE profiles, on stand-ins for their commands."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

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


@pytest.fixture
def start(tmp_path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts Snakemake on a profile, up to a rule.

    It asks for the state of jobs `between` seconds after the last answer.
    """
    jobs, programs = tmp_path / "jobs", tmp_path / "programs"
    jobs.mkdir()
    fake_scheduler.install(programs)
    known = environment()
    known["PATH"] = f"{programs}{os.pathsep}{known['PATH']}"
    known["FAKE_SCHEDULER"] = str(jobs)

    def begin(profile: str, rule: str, between: int = 1) -> subprocess.Popen[str]:
        line = command(
            *(tmp_path, "--workflow-profile", f"profiles/{profile}", "--until", rule),
            *("--seconds-between-status-checks", str(between), "--latency-wait", "10"),
            config=CONFIG,
        )
        return subprocess.Popen(
            line,
            cwd=REPOSITORY,
            env=known,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


@pytest.mark.parametrize(
    ("profile", "queue", "gpu", "memory"),
    [
        ("lsf", ["-q", "normal"], ["-gpu", "num=1"], "{}MB"),
        ("sge", ["-q", "all.q"], ["-l", "gpu=1"], "mem_free={}M"),
    ],
)
def test_a_profile_submits_watches_and_tries_again(tmp_path, start, profile, queue, gpu, memory):
    process = start(profile, "train_classifier")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert Run.open(tmp_path / "results/tiny").classifier.input_size == 64
    index, lost, again = fake_scheduler.submissions(tmp_path / "jobs")
    assert contains(index, queue)
    assert not contains(index, gpu)
    assert contains(lost, gpu)
    assert contains(again, gpu)
    assert memory.format(8000) in lost
    assert memory.format(16000) in again


@pytest.mark.parametrize("profile", ["lsf", "sge"])
def test_a_scheduler_that_does_not_answer_for_a_while_loses_no_job(tmp_path, start, profile):
    (tmp_path / "hold").touch()
    process = start(profile, "index")
    wait_for_jobs(tmp_path, process)
    (tmp_path / "silent").touch()
    time.sleep(8)
    assert process.poll() is None
    (tmp_path / "silent").unlink()
    (tmp_path / "hold").unlink()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert len(fake_scheduler.submissions(tmp_path / "jobs")) == 1


@pytest.mark.parametrize("state", ["UNKWN", "USUSP"])
def test_a_job_that_lsf_suspends_or_loses_sight_of_is_neither_done_nor_failed(
    tmp_path, start, state
):
    (tmp_path / "hold").touch()
    process = start("lsf", "index")
    wait_for_jobs(tmp_path, process)
    (tmp_path / "state").write_text(state)
    time.sleep(5)
    assert process.poll() is None
    (tmp_path / "state").unlink()
    (tmp_path / "hold").unlink()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert len(fake_scheduler.submissions(tmp_path / "jobs")) == 1


@pytest.mark.parametrize("profile", ["lsf", "sge"])
def test_ctrl_c_cancels_the_jobs(tmp_path, start, profile):
    (tmp_path / "hold").touch()
    # Snakemake cancels nothing while it asks for states (findings/).
    process = start(profile, "index", between=15)
    wait_for_jobs(tmp_path, process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0, said
    assert fake_scheduler.cancelled(tmp_path / "jobs") == ["1"]


def wait_for_jobs(folder, process):
    """Wait until Snakemake has been told the number of its first job."""
    while not (folder / "jobs/1/process").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    time.sleep(3)


def contains(options, pair):
    return any(options[place : place + 2] == pair for place in range(len(options)))
