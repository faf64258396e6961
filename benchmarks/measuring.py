"""What all benchmarks share: alternating timing, and where results go.

A figure is a ratio of two times taken in one run, in turn, so that a busy machine slows both. Each
side's time is its fastest round of process time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Program = Callable[[], Mapping[str, Callable[[], Any]]]
"""Sets a process up, and returns what to time in it, by name."""


def fastest(sides: Mapping[str, Callable[[], Any]], rounds: int = 5) -> dict[str, float]:
    """Return each side's fastest process time in seconds; the sides take turns.

    Args:
        sides: What to time, by name; each is run once before, to warm up.
        rounds: How often each is timed.
    """
    for run in sides.values():
        run()
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, run in sides.items():
            began = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - began)
    return best


def fastest_apart(programs: Mapping[str, Program], rounds: int = 5) -> dict[str, float]:
    """Return the fastest process times of sides that live in processes of their own.

    So each program sets its process up as its users do: the allocator, threads, imports.

    Args:
        programs: By name, a module's function that sets up and returns what to time, by name.
        rounds: How often each is timed; the programs take turns.
    """
    pipes = [_start(program) for program in programs.values()]
    best: dict[str, float] = {}
    for _ in range(rounds + 1):  # the first round warms up
        for pipe in pipes:
            pipe.send("go")
            for name, seconds in pipe.recv().items():
                best[name] = min(best.get(name, float("inf")), seconds)
    for pipe in pipes:
        pipe.send("stop")
    return best


def fastest_on_all_cores(
    programs: Mapping[str, tuple[Program, int]], rounds: int = 5
) -> dict[str, float]:
    """Return the fastest wall-clock times of programs that get the whole machine in turn.

    Args:
        programs: By name, as for `fastest_apart`, and how many copies of it run at once.
        rounds: How often each is timed, after one round to warm up.
    """
    pipes = {
        name: [_start(program) for _ in range(copies)]
        for name, (program, copies) in programs.items()
    }
    best = dict.fromkeys(programs, float("inf"))
    for number in range(rounds + 1):
        for name, copies in pipes.items():
            began = time.monotonic()
            for pipe in copies:
                pipe.send("go")
            for pipe in copies:
                pipe.recv()
            if number:
                best[name] = min(best[name], time.monotonic() - began)
    for copies in pipes.values():
        for pipe in copies:
            pipe.send("stop")
    return best


def _start(program: Program) -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=_serve, args=(program, theirs), daemon=True).start()
    return ours


def _serve(program: Program, pipe: Connection) -> None:
    sides = program()
    while pipe.recv() == "go":
        seconds = {}
        for name, run in sides.items():
            began = time.process_time()
            run()
            seconds[name] = time.process_time() - began
        pipe.send(seconds)


def entry(
    name: str, ws3: float, peer: float | None, ratio: float, floor: float | None, unit: str
) -> dict[str, Any]:
    """Return one figure.

    Args:
        name: What was measured.
        ws3: Ours, in the unit.
        peer: The other side's, in the unit.
        ratio: The figure that counts.
        floor: The limit that no implementation passes, in the unit.
        unit: Of the three.
    """
    return {
        "name": name,
        "ws3": ws3,
        "peer": peer,
        "ratio": ratio,
        "floor": floor,
        "unit": unit,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def report(name: str, entries: list[dict[str, Any]]) -> None:
    """Print the figures and write `results/<name>.json`."""
    for figure in entries:
        peer = "-" if figure["peer"] is None else f"{figure['peer']:.4g}"
        print(
            f"{figure['name']}: ratio {figure['ratio']:.3f} (ws3 {figure['ws3']:.4g}, peer {peer}, "
            f"{figure['unit']})"
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(entries, indent=1) + "\n")
