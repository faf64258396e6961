"""A lease: one holder at a time, and a dead one holds nobody up. Real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from pipes import pipe
from typing import Any

import pytest

from ws3.jobs.lease import Lease

HOLD = """
import logging, sys
from pathlib import Path
from typing import Any
from ws3.jobs.lease import Lease
logging.basicConfig(format="%(message)s")
with Lease(Path(sys.argv[1]), heartbeat=0.05, stale=1000):
    print("held", flush=True)
    sys.stdin.read()
"""

COUNT = """
import sys, time
from pathlib import Path
from typing import Any
from ws3.jobs.lease import Lease
path, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(5):
    with Lease(path, heartbeat=0.02, stale=1000):
        number = int(counter.read_text())
        time.sleep(0.005)
        counter.write_text(str(number + 1))
"""


class StillWaitingError(Exception):
    pass


def give_up():
    raise StillWaitingError


def never():
    pytest.fail("the lease should have been taken at once")


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def owner(path):
    return json.loads(path.read_text())


def written(path, name="other"):
    """Write the lease of a process on another host, as that process would."""
    data = {"host": "elsewhere", "pid": os.getpid(), "job": "", "token": name}
    path.write_text(json.dumps(data))


def holder(path):
    return owner(path)["token"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batch.lease"


def test_a_second_process_waits_for_the_first(path):
    with start(HOLD, path) as first:
        assert pipe(first.stdout).readline() == "held\n"
        with start(HOLD, path) as second:
            said = pipe(second.stderr).readline()
            assert said.startswith(f"waiting: process {first.pid} on ")
            assert owner(path)["pid"] == first.pid
            pipe(first.stdin).close()
            assert pipe(second.stdout).readline() == "held\n"
            assert owner(path)["pid"] == second.pid
            pipe(second.stdin).close()
    assert list(path.parent.iterdir()) == []


def test_the_lease_of_a_killed_process_of_this_host_is_taken_at_once(path):
    with start(HOLD, path) as first:
        assert pipe(first.stdout).readline() == "held\n"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert path.exists()
    with Lease(path, stale=1000, give_up=never):
        assert owner(path)["pid"] == os.getpid()
    assert not path.exists()


def test_a_living_owner_is_not_robbed(path):
    with start(HOLD, path) as first:
        assert pipe(first.stdout).readline() == "held\n"
        with pytest.raises(StillWaitingError), Lease(path, heartbeat=0.01, give_up=give_up):
            pass
        assert owner(path)["pid"] == first.pid
        pipe(first.stdin).close()


def test_an_owner_on_another_host_counts_as_dead_once_it_is_silent(path):
    written(path)
    with pytest.raises(StillWaitingError), Lease(path, heartbeat=0.01, give_up=give_up):
        pass
    long_ago = time.time() - 130
    os.utime(path, (long_ago, long_ago))
    with Lease(path, give_up=never):
        assert holder(path) != "other"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"host": "x"}', "[" * 100_000, "1e999"])
def test_a_damaged_lease_is_waited_for_until_it_is_stale(path, content):
    path.write_text(content)
    with pytest.raises(StillWaitingError), Lease(path, heartbeat=0.01, give_up=give_up):
        pass
    os.utime(path, (0, 0))
    with Lease(path, give_up=never):
        pass


def test_a_process_of_another_container_with_the_same_host_name_is_not_judged_by_its_pid(path):
    with Lease(path):
        ours = owner(path)
    path.write_text(json.dumps({**ours, "pid": 2**22 + 1, "token": "other"}))
    with Lease(path, give_up=never):
        pass  # of this container: dead at once
    elsewhere = {**ours, "processes": "another", "pid": 2**22 + 1, "token": "other"}
    path.write_text(json.dumps(elsewhere))
    with pytest.raises(StillWaitingError), Lease(path, heartbeat=0.01, give_up=give_up):
        pass
    assert holder(path) == "other"


@pytest.mark.parametrize("pid", ["abc", None, [1], 1.5, {}, "12"])
def test_an_owner_of_this_host_with_a_senseless_pid_is_waited_for_until_it_is_stale(path, pid):
    with Lease(path):
        ours = owner(path)
    path.write_text(json.dumps({**ours, "pid": pid, "token": "other"}))
    with pytest.raises(StillWaitingError), Lease(path, heartbeat=0.01, give_up=give_up):
        pass
    assert holder(path) == "other"
    os.utime(path, (0, 0))
    with Lease(path, give_up=never):
        pass


@pytest.mark.parametrize("pid", [2**31, 2**63, 10**30, -1, 0])
def test_an_owner_of_this_host_with_a_pid_that_no_process_has_is_dead(path, pid):
    with Lease(path):
        ours = owner(path)
    path.write_text(json.dumps({**ours, "pid": pid, "token": "other"}))
    with Lease(path, give_up=never):
        pass


def test_a_lease_dated_in_the_future_is_waited_for_no_longer_than_any_other(path, caplog):
    written(path)
    next_year = time.time() + 3e7
    os.utime(path, (next_year, next_year))
    with pytest.raises(StillWaitingError), Lease(path, heartbeat=0.01, give_up=give_up):
        pass
    waits = []
    with Lease(path, heartbeat=0.05, stale=0.5, give_up=lambda: waits.append(time.monotonic())):
        assert holder(path) != "other"
    assert waits[-1] - waits[0] < 5
    assert len(waits) > 2
    assert caplog.text.count("in the future") == 2  # once for each that waited


def test_an_owner_whose_clock_is_ahead_lives_as_long_as_its_heartbeats_come(path):
    written(path)
    beats: list[Any] = []

    def beat() -> None:
        beats.append(time.time() + 1000 + len(beats))
        os.utime(path, (beats[-1], beats[-1]))
        if len(beats) == 40:
            raise StillWaitingError

    beat()
    with pytest.raises(StillWaitingError), Lease(path, heartbeat=0.02, stale=0.3, give_up=beat):
        pass
    assert holder(path) == "other"


def test_a_heartbeat_is_a_sign_of_life(path):
    with Lease(path, heartbeat=0.02):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 20
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0


def test_a_lease_that_was_taken_over_is_left_to_its_new_owner(path):
    with Lease(path, heartbeat=0.02):
        written(path)
        os.utime(path, (0, 0))
        time.sleep(0.2)
        assert path.stat().st_mtime == 0
    assert holder(path) == "other"


def test_who_finds_an_owner_dead_too_late_does_not_rob_the_one_who_was_quicker(path):
    class Slow(Lease):
        """Finds the owner dead, and only then another takes the lease over."""

        def _is_dead(self, found):
            dead = super()._is_dead(found)
            if found.get("token") == "dead":
                path.unlink()
                written(path, "quicker")
            return dead

    written(path, "dead")
    os.utime(path, (0, 0))
    with pytest.raises(StillWaitingError), Slow(path, heartbeat=0.01, give_up=give_up):
        pass
    assert holder(path) == "quicker"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_inside_gives_the_lease_back(path):
    with pytest.raises(RuntimeError), Lease(path):
        raise RuntimeError
    assert not path.exists()


def test_of_many_processes_one_works_at_a_time(path, tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    written(path, "dead")
    os.utime(path, (0, 0))
    workers = [start(COUNT, path, counter) for _ in range(4)]
    for worker in workers:
        _, errors = worker.communicate()
        assert worker.returncode == 0, errors
    assert counter.read_text() == "20"
