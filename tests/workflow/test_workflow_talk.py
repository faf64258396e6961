"""`snakemake --logger ws3`: what a run says of itself, and when it leaves the word to Snakemake."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
import textwrap

import pytest
from snake import environment, snakemake
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

import snakemake_logger_plugin_ws3 as plugin
from snakemake_logger_plugin_ws3 import talk

DASH = "\N{EN DASH}"


class TestInterface(TestLogHandlerBase):
    """The checks that come with Snakemake's interface."""

    __test__ = True

    def get_log_handler_cls(self):
        return plugin.LogHandler

    def get_log_handler_settings(self):
        return None


def record(event=None, msg="", level=logging.INFO, **fields):
    made = logging.LogRecord("snakemake", level, "here.py", 1, msg, (), None)
    made.__dict__.update(fields, event=event)
    return made


def handler(**changes):
    settings = MockOutputSettings()
    settings.printshellcmds = False
    for name, value in changes.items():
        setattr(settings, name, value)
    return plugin.LogHandler(settings, None)


def started(number, rule, output, log=(), **wildcards):
    return record(
        *(LogEvent.JOB_INFO,),
        **{"jobid": number, "rule_name": rule, "output": [output], "log": list(log)},
        wildcards=wildcards,
    )


@pytest.fixture
def no_wait(monkeypatch):
    """Lines about a stage follow at once, and only a test's own look counts time."""
    monkeypatch.setattr(talk, "LINE_EVERY", 0.0)
    monkeypatch.setattr(talk, "_LOOK_EVERY", 1000.0)


def test_a_stage_tells_images_rate_and_time_left(tmp_path, capsys, no_wait):
    said = talk.Talk()
    said.begin([tmp_path], {"masks": {"a.json": 30, "b.json": 10}})
    said.hear(record(LogEvent.RUN_INFO, stats={"masks": 2, "all": 1, "total": 3}))
    said.hear(started(1, "masks", "a.json", recipe="cam", batch="train-00000"))
    said._look(5.0)
    journal = tmp_path / "journal/masks.jsonl"
    journal.parent.mkdir()
    lines = [{"event": event} for event in ["computed"] * 10 + ["failed"]]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "compu')
    said._look(5.0)
    said.hear(record(LogEvent.JOB_FINISHED, job_id=1))
    said.hear(started(2, "masks", "b.json", recipe="cam", batch="val-00000"))
    said._look(10.0)
    said.hear(record(LogEvent.JOB_FINISHED, job_id=2))
    said.end()
    told = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert told == [
        "masks: 10/40 images, 1.0 images/s, about 30 s left",
        "masks: 30/40 images, 1.5 images/s, about 7 s left",
        "masks: 40 images in 20 s, 2.0 images/s",
    ]


def test_the_time_comes_after_what_took_it(tmp_path, capsys):
    said = talk.Talk()
    said.hear(record(LogEvent.RUN_INFO, stats={"report": 1}))
    said.hear(started(1, "report", "index.html"))
    said.hear(record(LogEvent.JOB_FINISHED, job_id=1))
    said.hear(record(msg="Elapsed time: 0:04:37.315796"))
    said.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("report: 1 of 1 jobs in 0 s")
    assert lines[1:] == ["Elapsed time: 0:04:37"]


def test_what_a_journal_held_before_does_not_count(tmp_path):
    path = tmp_path / "masks.jsonl"
    path.write_text('{"event": "computed"}\n' * 5)
    journal = talk._Journal(path)
    assert journal.count() == 0
    with path.open("a") as file:
        file.write('{"event": "computed"}\n')
    assert journal.count() == 1


def test_a_long_single_job_shows_the_end_of_its_log(tmp_path, capsys, no_wait):
    log = tmp_path / "training.log"
    log.write_text("epoch 1 of 9: loss 2\nepoch 2 of 9: \x1b[31mloss 1\n\n")
    said = talk.Talk()
    said.hear(record(LogEvent.RUN_INFO, stats={"train_classifier": 1}))
    said.hear(started(1, "train_classifier", "classifier.json", [log]))
    said._look(1.0)
    said._look(1.0)
    said.hear(record(LogEvent.JOB_FINISHED, job_id=1))
    said.end()
    told = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert told == [
        r"train classifier: 0 of 1 jobs; epoch 2 of 9: \x1b[31mloss 1",
        "train classifier: 1 of 1 jobs in 2 s",
    ]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("0 of 3\nws3: a.jpg: can't be read; replace it\n", ["a.jpg: can't be read; replace it"]),
        ("ws3: a: x\nb: y\n", ["a: x", "b: y"]),
        (
            "ws3: " + "".join(f"{n}: bad\n" for n in range(8)),
            [*(f"{n}: bad" for n in range(5)), "and 3 more"],
        ),
        ("".join(f"line {n}\n" for n in range(9)), [f"line {n}" for n in range(4, 9)]),
        ("", []),
    ],
)  # fmt: skip
def test_a_failure_is_told_by_the_sentences_of_its_log(tmp_path, capsys, log, told):
    path = tmp_path / "job.log"
    path.write_text(log)
    said = talk.Talk()
    said.begin([tmp_path], {})
    said.hear(record(LogEvent.RUN_INFO, stats={"masks": 1}))
    said.hear(started(4, "masks", "a.json", [path], recipe="[cam]", batch="val-00000"))
    said.hear(
        record(LogEvent.JOB_ERROR, level=logging.ERROR, jobid=4, rule_name="masks", log=[path])
    )
    said.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "masks [cam] val-00000 failed"
    assert lines[1 : 1 + len(told)] == [f"  {line}" for line in told]
    assert lines[1 + len(told)] == f"  log: {path}"
    assert lines[-1].startswith(f"Jobs failed: 1 of masks. `ws3 status {tmp_path}`")


def test_a_job_that_succeeds_when_tried_again_is_no_failure(tmp_path, capsys):
    said = talk.Talk()
    said.begin([tmp_path], {})
    said.hear(record(LogEvent.RUN_INFO, stats={"masks": 1}))
    said.hear(started(1, "masks", "a.json"))
    said.hear(record(LogEvent.JOB_ERROR, level=logging.ERROR, jobid=1, rule_name="masks", log=[]))
    said.hear(started(1, "masks", "a.json"))
    said.hear(record(LogEvent.JOB_FINISHED, job_id=1))
    said.end()
    assert "Jobs failed" not in capsys.readouterr().err


def test_the_end_is_a_table_and_the_page(tmp_path, capsys):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/summary.csv").write_text(
        "recipe,split,stage,miou\ncam,val,maps,0.4124\ncam,val,masks,\n[b]x,val,maps,0.5\n"
    )
    page = tmp_path / "report/index.html"
    page.parent.mkdir()
    page.touch()
    said = talk.Talk()
    said.begin([tmp_path], {})
    said.hear(record(msg="Building DAG of jobs..."))
    said.hear(record(msg="Nothing to be done (all requested files are present and up to date)."))
    said.end()
    said.end()
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "Nothing to be done (all requested files are present and up to date).",
        "mIoU, %",
        "recipe maps masks",
        f"cam 41.2 {DASH}",
        f"[b]x 50.0 {DASH}",
        f"The report: {page}",
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"dryrun": True},
        {"printshellcmds": True},
        {"verbose": True},
        {"debug_dag": True},
        {"quiet": {Quietness.PROGRESS}},
    ],
    ids=str,
)
def test_who_asks_for_less_or_more_gets_snakemakes_own_log(asked, capsys):
    made = handler(nocolor=True, **asked)
    made.emit(record(msg="Building DAG of jobs..."))
    made.close()
    captured = capsys.readouterr()
    assert captured.err + captured.out == "Building DAG of jobs...\n"


def test_quiet_about_the_host_is_still_a_run_that_talks(capsys):
    made = handler(quiet={Quietness.HOST})
    made.emit(record(msg="Building DAG of jobs..."))
    made.emit(record(msg="a warning", level=logging.WARNING))
    made.close()
    assert capsys.readouterr().err == "a warning\n"


SNAKEFILE = """
rule all:
    input: "good.txt", "bad.txt"
rule masks:
    output: "{name}.txt"
    log: "{name}.log"
    shell: "echo 'ws3: it is broken' > {log}; test {wildcards.name} = good; echo > {output}"
"""


@pytest.mark.slow
@pytest.mark.parametrize("watched", [False, True])
def test_snakemake_finds_the_plugin_and_a_person_gets_bars(tmp_path, watched):
    (tmp_path / "Snakefile").write_text(textwrap.dedent(SNAKEFILE))
    words = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "ws3", "--keep-going"]
    # Snakemake is to find the plugin on the path, as if it were installed.
    found = {**environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    found |= {"TERM": "xterm", "COLUMNS": "100"}
    found.pop("CI", None)
    ours, theirs = pty.openpty() if watched else os.pipe()
    with subprocess.Popen(words, cwd=tmp_path, env=found, stderr=theirs) as done:
        os.close(theirs)
        read = b""
        try:
            while chunk := os.read(ours, 65536):
                read += chunk
        except OSError:  # a terminal that is closed at the other end
            pass
    os.close(ours)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", read).decode()
    assert done.returncode == 1
    assert "masks failed\r\n" * watched + "masks failed\n" * (not watched) in text
    assert "  it is broken" in text
    assert ("━" in text) is watched
    assert "CalledProcessError" not in text
    if not watched:
        assert re.search(
            r"^\d\d:\d\d:\d\d masks: 1 of 2 jobs in .*, 1 of 2 jobs failed$", text, re.M
        )


@pytest.mark.slow
def test_a_dry_run_is_as_ever(tmp_path):
    # Snakemake gives reasons in no order.
    words = ("--dry-run", "--quiet", "host", "reason")
    plans = [snakemake(tmp_path, *words, *more) for more in ([], ["--logger", "ws3"])]
    texts = [re.sub(r"\[.*\d\d:\d\d:\d\d.*\]", "", plan.stdout) for plan in plans]
    assert plans[0].returncode == 0
    assert sorted(texts[0].splitlines()) == sorted(texts[1].splitlines())
    assert "Job stats:" in texts[1]
