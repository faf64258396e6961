"""A damaged journal costs figures, never a command."""

from __future__ import annotations

import json
import os

import pytest

from ws3.run import journal
from ws3.run.journal import Entry
from ws3.run.status import run_status, seconds_of

GOOD = Entry("cam", "t0", "computed", "f0", {"compute": 1.5}, samples=3, bytes=10)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": {"compute": "1"}},
        {"seconds": [1.0]},
        {"seconds": None},
        {"seconds": {"compute": float("nan")}},
        {"seconds": {"compute": 10**400}},
        {"seconds": {"compute": -1.0}},
        {"seconds": {"compute": True}},
        {"recipe": ["cam"]},
        {"image": {}},
        {"fingerprint": 1},
        {"event": None},
        {"samples": "3"},
        {"samples": 1.5},
        {"bytes": 10**30},
        {"bytes": None},
    ],
    ids=str,
)
def test_a_line_with_other_values_is_left_out(bare_run, change):
    run = bare_run()
    journal.note(run, "maps", GOOD)
    path = run.journal_file("maps")
    damaged = {**json.loads(path.read_text()), **change}
    path.write_text(f"{json.dumps(damaged)}\n{path.read_text()}")
    assert list(journal.entries(run, "maps")) == [GOOD]
    assert seconds_of(run, "maps") == {"cam": 1.5}
    assert [entry.seconds for entry in run_status(run) if entry.stage == "maps"] == [1.5, 0.0]


@pytest.mark.parametrize("line", [b"", b"\xff\xfe", b"[]", b"1", b"{}", b"[" * 100_000, b"{\x00"])
def test_a_line_that_is_no_entry_is_left_out(bare_run, line):
    run = bare_run()
    journal.note(run, "maps", GOOD)
    path = run.journal_file("maps")
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert list(journal.entries(run, "maps")) == [GOOD]


def test_a_pipe_in_its_place_is_an_error(bare_run):
    run = bare_run()
    path = run.journal_file("maps")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(OSError, match="named pipe"):
        list(journal.entries(run, "maps"))
