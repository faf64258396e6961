"""Stand-ins for the commands of LSF and SGE that run jobs on this machine.

They know just the options and answers that the profiles use, as the manuals describe them; what a
real scheduler makes of them is not tested. `FAKE_SCHEDULER` names the folder of the jobs. The first
job named ws3-train_classifier is lost, as on a node that went down. Files beside the folder steer
the rest: while there is one called `hold`, jobs wait before they do anything; while there is one
called `silent`, no question is answered; `state` holds what bjobs says of all jobs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("bsub", "bjobs", "bkill", "qsub", "qstat", "qacct", "qdel")
_LOST = "ws3-train_classifier"


def install(folder: Path) -> None:
    """Put the commands into a folder."""
    folder.mkdir()
    for name in COMMANDS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        script.chmod(0o755)


def submissions(jobs: Path) -> list[list[str]]:
    """Return the options of every job, in their order."""
    folders = sorted(jobs.iterdir(), key=lambda folder: int(folder.name))
    return [json.loads((folder / "options.json").read_text()) for folder in folders]


def cancelled(jobs: Path) -> list[str]:
    """Return the numbers of the jobs that were cancelled."""
    return sorted(mark.parent.name for mark in jobs.glob("*/cancelled"))


def _submit(jobs: Path, options: list[str]) -> int:
    before = submissions(jobs)
    number = len(before) + 1
    folder = jobs / str(number)
    folder.mkdir()
    (folder / "options.json").write_text(json.dumps(options))
    if _LOST in options and not any(_LOST in other for other in before):
        (folder / "status").write_text("137")
    else:
        wait = f"while [ -e '{jobs.parent / 'hold'}' ]; do sleep 0.1; done"
        process = subprocess.Popen(
            ["sh", "-c", f'{wait}; "$0"; echo $? > "$1"', options[-1], str(folder / "status")],
            stdin=subprocess.DEVNULL,
            stdout=(folder / "output").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        (folder / "process").write_text(str(process.pid))
    return number


def _cancel(folder: Path) -> None:
    (folder / "cancelled").touch()
    os.killpg(int((folder / "process").read_text()), signal.SIGKILL)


def main() -> None:
    jobs = Path(os.environ["FAKE_SCHEDULER"])
    name, *options = sys.argv[1:]
    if name == "bsub":
        print(f"Job <{_submit(jobs, options)}> is submitted to queue <normal>.")
        return
    if name == "qsub":
        print(_submit(jobs, options))
        return
    if name in ("bkill", "qdel"):
        for number in options:
            _cancel(jobs / number)
        return
    if (jobs.parent / "silent").exists():
        sys.exit(f"{name}: the scheduler does not answer")
    status = jobs / options[-1] / "status"
    ended = status.read_text().strip() if status.exists() else ""
    match name:
        case "bjobs" if (jobs.parent / "state").exists():
            print((jobs.parent / "state").read_text())
        case "bjobs":
            print({"": "RUN", "0": "DONE"}.get(ended, "EXIT"))
        case "qstat":
            sys.exit(1 if ended else 0)
        case "qacct" if not ended:
            # Its books hold jobs that ended.
            sys.exit(f"error: job id {options[-1]} not found")
        case "qacct":
            print(f"jobnumber    {options[-1]}\nfailed       0\nexit_status  {ended}")


if __name__ == "__main__":
    main()
