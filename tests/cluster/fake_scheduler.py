"""Stand-ins for the commands of LSF and SGE that run jobs on this machine.

They know just the options and answers that the profiles use, as the manuals describe them; what a
real scheduler makes of them is not tested. `FAKE_SCHEDULER` names the folder of the jobs. The first
job named ws3-train_classifier is lost, as on a node that went down.
"""

from __future__ import annotations

import json
import os
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


def _submit(jobs: Path, options: list[str]) -> int:
    before = submissions(jobs)
    number = len(before) + 1
    folder = jobs / str(number)
    folder.mkdir()
    (folder / "options.json").write_text(json.dumps(options))
    if _LOST in options and not any(_LOST in other for other in before):
        (folder / "status").write_text("137")
    else:
        subprocess.Popen(
            ["sh", "-c", '"$0"; echo $? > "$1"', options[-1], str(folder / "status")],
            stdin=subprocess.DEVNULL,
            stdout=(folder / "output").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return number


def main() -> None:
    jobs = Path(os.environ["FAKE_SCHEDULER"])
    name, *options = sys.argv[1:]
    if name == "bsub":
        print(f"Job <{_submit(jobs, options)}> is submitted to queue <normal>.")
        return
    if name == "qsub":
        print(_submit(jobs, options))
        return
    status = jobs / options[-1] / "status"
    ended = status.read_text().strip() if status.exists() else ""
    match name:
        case "bjobs":
            print({"": "RUN", "0": "DONE"}.get(ended, "EXIT"))
        case "qstat":
            sys.exit(1 if ended else 0)
        case "qacct":
            print(f"jobnumber    {options[-1]}\nfailed       0\nexit_status  {ended}")


if __name__ == "__main__":
    main()
