"""Runs one `ws3` command on one spoilt input, within limits, and judges how it ended.

A process that has imported ws3 already is forked for each input, and calls the same `main` as the
command. An input holds its word if the command ends in time with status 0, or with another and a
sentence; if nothing but what it may write was changed; and if no program was started.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from snapshots import snapshot

CPU_SECONDS = 20
SECONDS = 90
"""By the clock; generous, as a busy machine is no fault. CPU seconds bound the work."""
MEMORY = 2 * 2**30
"""Bytes of address space that a command may take beyond what its imports took."""
FILE_BYTES = 64 * 2**20
"""Largest file that a command may write."""
LONGEST_LINE = 1500
"""Most characters of a line of a message: some values of 200, paths, and words around them."""
PROGRAMS = ("gs", "sh", "bash", "convert", "magick", "python", "python3", "cat", "nvidia-smi")
"""Stubs of these stand in PATH, alone; what they are called with is written down."""

_STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.startfile")
_CODE = ("pickle.find_class",)
_REASON = re.compile(r"read, \d+ damaged|^Using workflow specific profile .*\n.+\n")
"""Of `ws3 verify`, and of Snakemake, which says what it does first."""
_STRANGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]| at 0x[0-9a-f]+")

Arguments = tuple[str, ...]


@dataclass(frozen=True)
class Input:
    """What is handed to ws3.

    Attributes:
        arguments: Of `ws3`; behind the word "snakemake", of that.
        what: What was spoilt, in words.
    """

    arguments: Arguments
    what: str


@dataclass(frozen=True)
class Border:
    """A way into ws3.

    Attributes:
        name: Its name.
        world: Makes the folder that inputs are spoilt copies of.
        spoil: Spoils a copy, at random.
        share: How many inputs it gets, relative to the others.
        writes: Folders that the command may write into, relative to the input's.
    """

    name: str
    world: Callable[[Path], None]
    spoil: Callable[[Path, random.Random], Input]
    share: int = 1
    writes: tuple[str, ...] = ("results",)


@dataclass
class Counts:
    """How the inputs of a border ended."""

    ended: int = 0
    refused: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def all(self) -> int:
        """Number of inputs."""
        return self.ended + self.refused + len(self.failed)


class Fuzz:
    """Makes inputs in a folder, and tries them.

    Args:
        folder: Where they lie; those that fail are kept there.
        seed: Another one makes other inputs.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder.absolute(), seed
        self.folder.mkdir(parents=True, exist_ok=True)
        self._programs = self.folder / "programs"
        self._stubs = self.folder / "bin"
        self._stubs.mkdir(exist_ok=True)
        for name in PROGRAMS:
            stub = self._stubs / name
            stub.write_text(f'#!/bin/sh\necho "$0 $*" >> {self._programs}\n')
            stub.chmod(0o755)

    def make(self, border: Border, number: int) -> tuple[Path, Input]:
        """Make an input; the same seed, border and number make the same one."""
        folder = self.folder / f"{border.name}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._world(border.world), folder, symlinks=True)
        rng = random.Random(f"{self.seed} {border.name} {number}")
        return folder, border.spoil(folder, rng)

    def try_one(self, border: Border, number: int, counts: Counts) -> str:
        """Try an input and count it; return what was wrong, or ""."""
        folder, made = self.make(border, number)
        before = _outside(folder, border.writes)
        self._programs.write_text("")
        said_file = self.folder / f"{border.name}-{number}.txt"
        status = _run(lambda: self._command(folder, made.arguments, said_file))
        said = said_file.read_text(encoding="utf-8", errors="replace")
        wrong = complaint(status, said)
        started = self._programs.read_text()
        if started:
            wrong = f"started: {started.splitlines()[0]}"
        changed = sorted(_differing(before, _outside(folder, border.writes)))
        if changed:
            wrong = f"changed: {', '.join(changed)}"
        if wrong:
            counts.failed.append(f"{border.name}:{number}")
            last = said.strip().rpartition("\n")[2][:300]
            return (
                f"{border.name}:{number}: {made.what}: {wrong}\n"
                f"    ws3 {' '.join(made.arguments)}, in {folder}\n    {last}"
            )
        if status == 0:
            counts.ended += 1
        else:
            counts.refused += 1
        said_file.unlink()
        shutil.rmtree(folder)
        return ""

    def _world(self, make: Callable[[Path], None]) -> Path:
        """Return an unspoilt folder; it is made in a process of its own, without limits."""
        world = self.folder / make.__name__
        if not world.exists():
            log = self.folder / f"{make.__name__}.log"

            def call() -> None:
                _redirect(log)
                with contextlib.chdir(world):
                    make(world)

            world.mkdir()
            if _run(call) != 0:
                shutil.rmtree(world)
                sys.exit(f"{make.__name__} can't be made: {log.read_text()[-2000:]}")
        return world

    def _command(self, folder: Path, arguments: Arguments, said: Path) -> None:
        # By number: what ws3 did with names would tell on itself.
        programs = os.open(self._programs, os.O_WRONLY | os.O_APPEND)
        _redirect(said)
        os.chdir(folder)
        os.environ |= {"PATH": str(self._stubs), "HOME": str(folder / "neighbour")}
        _limit()
        main = _program(arguments)

        def note(event: str, values: tuple[Any, ...]) -> None:
            # Python's own module `platform`, which Snakemake asks, tries uname.
            if (event in _STARTS and values[0] != "uname") or event in _CODE:
                os.write(programs, f"{event} {values!r}"[:500].encode() + b"\n")

        sys.addaudithook(note)
        main()


def complaint(status: int, said: str) -> str:
    """Say what is wrong with how a command ended; "" if nothing is.

    Args:
        status: Its exit status, or the negative number of the signal that ended it.
        said: All that it printed.
    """
    lines = said.splitlines()
    strange = _STRANGE.search(said)
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    if "Traceback (most recent call last)" in said:
        return "a traceback"
    if status not in (0, 1, 2):
        return f"status {status}"
    if re.search(r"\wWarning: ", said):  # ws3's own begin with the word itself
        return "a library's warning"
    if strange:
        return f"a message holds {strange[0]!r}"
    if max(map(len, lines), default=0) > LONGEST_LINE:
        return f"a line of {max(map(len, lines))} characters"
    sentences = [line for line in lines if line.startswith("ws3: ")]
    if status == 2 and len(sentences) != 1 and not said.startswith("Usage: "):
        return f"{len(sentences)} sentences"
    if status == 1 and not _REASON.search(said):
        return "status 1 without a reason"
    return ""


def _program(arguments: Arguments) -> Callable[[], None]:
    """Return what is to be called; it ends with SystemExit, or returns."""
    if arguments[:1] == ("snakemake",):
        from snakemake.cli import main as snakemake

        return partial(snakemake, list(arguments[1:]))
    from ws3.cli import main

    sys.argv = ["ws3", *arguments]
    return main


def _run(call: Callable[[], None]) -> int:
    """Call in a forked process; return its status, or minus the number of its signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _end(call)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _end(call: Callable[[], None]) -> NoReturn:
    """Call, and end this process as Python itself would."""
    status = 0
    try:
        call()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        status = 1
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _redirect(path: Path) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(number, stream)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(sum(os.times()[:2]))  # the fork begins with none, but round up
    resource.setrlimit(resource.RLIMIT_CPU, (used + CPU_SECONDS, used + CPU_SECONDS + 5))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)


def _outside(folder: Path, writes: tuple[str, ...]) -> dict[str, object]:
    """Return the state of all in an input's folder but what the command may write."""
    mine = [f"{folder / name}" for name in writes]
    others = [path for path in folder.iterdir() if str(path) not in mine]
    return {
        path: state
        for path, state in snapshot(*others).items()
        if not any(path == name or path.startswith(f"{name}/") for name in mine)
    }


def _differing(before: dict[str, object], after: dict[str, object]) -> Iterator[str]:
    for path in before.keys() | after.keys():
        if before.get(path) != after.get(path):
            yield path
