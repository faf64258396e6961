"""Torture: the real workflow is killed, and its files harmed, at random moments.

`python tests/torture/torture.py --count 200` (or `make torture`). After some disturbances the flow
that docs/resume.md describes follows: `snakemake --unlock` if Snakemake was killed, `ws3 verify
--repair` if files were damaged, and the same command again. Then every result must have the bytes
of an undisturbed run, and no result that was there and intact may have been computed again: that is
counted from the journal against what lay on the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from torture_disturbances import (
    CHANGE,
    DAMAGES,
    FULL_DISK,
    KILLS,
    REMOVALS,
    TOUCH,
    damage,
    fill_disk,
    jobs_of,
    kill,
    small_disk,
)
from torture_inventory import Key, computed, intact, leftovers, results
from torture_workflow import CHANGED, CONFIG, REPOSITORY, SEGMENTER, Workflow


@dataclass
class Summary:
    """The closing figures.

    Attributes:
        seeds: of the slices that they cover.
        disturbances: how often each kind was done.
        reruns: undisturbed runs to the end, each followed by a comparison.
        in_flight: jobs that were running when they, or all, were killed.
        computed: results computed in all.
        recomputed: results computed again although they were there and intact.
        lost: results that a kill or a full disk took away after they were committed.
        unfinished: reruns that did not end well.
        different: files that are not the undisturbed run's.
        leftovers: what killed writers left behind for good.
        foreign: files of the user's that a repair or a rerun changed.
        seconds: of it all.
    """

    seeds: list[int] = field(default_factory=list)
    disturbances: dict[str, int] = field(default_factory=dict)
    reruns: int = 0
    in_flight: int = 0
    computed: int = 0
    recomputed: int = 0
    lost: int = 0
    unfinished: int = 0
    different: int = 0
    leftovers: int = 0
    foreign: int = 0
    seconds: float = 0.0

    @property
    def faults(self) -> int:
        """What must be none."""
        ours = self.recomputed + self.lost + self.unfinished + self.different + self.leftovers
        return ours + self.foreign

    def count(self, kind: str) -> None:
        """Count a disturbance."""
        self.disturbances[kind] = self.disturbances.get(kind, 0) + 1

    def text(self) -> str:
        """Return the figures, a line each."""
        kills = sum(self.disturbances.get(kind, 0) for kind in KILLS)
        count = sum(self.disturbances.values())
        lines = [f"{count} disturbances, seeds {self.seeds}:"]
        lines += [f"  {times:4} {kind}" for kind, times in sorted(self.disturbances.items())]
        lines += [
            f"kills survived: {kills}, with {self.in_flight} jobs in flight",
            f"reruns to the end: {self.reruns}, not ended well: {self.unfinished}",
            f"results computed: {self.computed}",
            f"recomputed though intact: {self.recomputed}",
            f"lost though committed: {self.lost}",
            f"files that differ from an undisturbed run: {self.different}",
            f"left behind by killed writers: {self.leftovers}",
            f"foreign files changed: {self.foreign}",
            f"minutes: {self.seconds / 60:.1f}, {self.seconds / max(1, count):.1f} s a disturbance",
        ]
        return "\n".join(lines)


class Torture:
    """A finished run, what it must be, and what is done to it."""

    def __init__(self, folder: Path, seed: int, config: dict[str, Any], states: list[str]) -> None:
        """Make the undisturbed runs, one for each state of the dataset, unless they are there."""
        check_version(folder)
        self.rng = random.Random(seed)
        self.summary = Summary(seeds=[seed])
        self.disk = folder / "disk"
        self.references: dict[str, dict[str, bytes]] = {}
        self.origin = folder / "undisturbed_0"
        for number, state in enumerate(states):
            workflow = Workflow(folder / f"undisturbed_{number}")
            if not (workflow.run / "report/index.html").exists():
                say(f"an undisturbed run, {state}")
                self._reference(workflow, state, config)
            self.references[state] = workflow.contents()
        self.state = states[0]

    def _reference(self, workflow: Workflow, state: str, config: dict[str, Any]) -> None:
        changed = CHANGED[state]
        if changed is None:
            workflow.prepare(config)
        else:
            # Made from nothing, too.
            parts = shutil.ignore_patterns("results", ".snakemake")
            shutil.copytree(self.origin, workflow.folder, ignore=parts)
            workflow.change(changed, self.origin)
        if workflow.finish() != 0:
            sys.exit(f"the undisturbed run failed: {workflow.log}")

    def begin(self) -> None:
        """Copy the undisturbed run onto the disk that will be tortured."""
        self.workflow = Workflow(self.disk / "run")
        shutil.rmtree(self.workflow.folder, ignore_errors=True)
        shutil.copytree(self.origin, self.workflow.folder)
        # Its own records name other paths and times: let it settle.
        if self.workflow.finish() != 0:
            sys.exit(f"the copied run failed: {self.workflow.log}")

    @property
    def wanted(self) -> Mapping[Key, Mapping[str, bytes]]:
        """The results as they must be in the present state of the dataset."""
        return results(self.references[self.state])

    def intact(self) -> set[Key]:
        """Return the results that are there as they must be."""
        return intact(self.workflow.run, self.wanted)

    def cycle(self, disturbances: int, *, full_disk: bool) -> None:
        """Disturb the run some times, run it again to the end, and compare."""
        rng, summary = self.rng, self.summary
        before = computed(self.workflow.run)
        self.unlock = self.verify = self.touched = False
        self.allowed: Counter[Key] = Counter()
        self._harm(rng.choice((*REMOVALS, "removed results", "removed results")))
        done = 1
        while done < disturbances:
            kinds = [*KILLS, *KILLS, *REMOVALS, *DAMAGES, CHANGE, TOUCH]
            if full_disk:
                kinds += [FULL_DISK, FULL_DISK]
            kind = rng.choice(kinds)
            if self.finished:
                kind = "removed results"
            if kind in KILLS or kind == FULL_DISK:
                done += self._interrupt(kind)
            else:
                done += self._harm(kind)
        self._wait_for_orphans()
        self._run_again()
        again = computed(self.workflow.run) - before
        summary.computed += again.total()
        needless = {key: count - self.allowed[key] for key, count in again.items()}
        self._fault("recomputed", [f"{key} {n} times" for key, n in needless.items() if n > 0])

    def _harm(self, kind: str) -> int:
        """Harm files or change an image while nothing runs."""
        self._wait_for_orphans()
        before = self.intact()
        if kind in (CHANGE, TOUCH):
            if len(self.references) == 1:
                return 0
            if self.state == "as drawn":
                self.state = self.rng.choice([s for s in self.references if s != "as drawn"])
                self.workflow.change(str(CHANGED[self.state]), self.origin)
            else:
                self.workflow.change(str(CHANGED[self.state]), self.origin)
                self.state = "as drawn"
        elif not damage(kind, self.workflow, self.rng):
            return 0
        if kind == TOUCH:
            self._unlock()
            self.workflow.finish("--touch")
            self.touched = True
        self.verify |= kind in DAMAGES
        self.finished = False
        # What is gone may be computed once more; what stayed may not.
        self.allowed.update(before - self.intact())
        self.summary.count(kind)
        say(f"{kind}{f' ({self.state})' if kind in (CHANGE, TOUCH) else ''}")
        return 1

    def _interrupt(self, kind: str) -> int:
        """Start the run, and disturb it at a random moment."""
        rng = self.rng
        self._unlock()
        before, lines = self.intact(), computed(self.workflow.run)
        process = self.workflow.start()
        snakemake = psutil.Process(process.pid)
        done = 0
        while self._moment(process):
            if kind == FULL_DISK:
                fill_disk(self.disk, rng.uniform(0.2, 4), rng)
            else:
                flying = len(jobs_of(snakemake))
                if not kill(kind, snakemake, rng):
                    continue
                self.summary.in_flight += min(flying, 1) if kind.endswith("job") else flying
            self.summary.count(kind)
            say(kind)
            done += 1
            if not kind.endswith("job"):
                break
        self.finished = process.wait() == 0
        self.unlock |= process.returncode < 0 or kind == FULL_DISK
        if kind != "kill -9 of Snakemake" or rng.random() < 0.5:
            self._wait_for_orphans()
        committed = set(computed(self.workflow.run) - lines) | before
        self._fault("lost", [str(key) for key in committed - self.intact() if key in self.wanted])
        return done

    def _moment(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for a random moment; return whether Snakemake still runs."""
        rng = self.rng
        began = time.monotonic()
        lines = computed(self.workflow.run).total() + rng.randrange(1, 9)
        by_time = rng.random() < 0.4
        seconds = rng.uniform(0.2, 14) if by_time else 40
        while time.monotonic() - began < seconds:
            if process.poll() is not None:
                return False
            if not by_time and computed(self.workflow.run).total() >= lines:
                time.sleep(rng.uniform(0, 0.3))
                break
            time.sleep(0.01)
        return process.poll() is None

    def _wait_for_orphans(self) -> None:
        """Wait for jobs whose Snakemake was killed; they go on to their end."""
        mine = str(self.workflow.folder)
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            if not any(_works_in(process, mine) for process in psutil.process_iter()):
                return
            time.sleep(0.1)
        self._fault("unfinished", ["orphaned jobs that don't end"])

    def _unlock(self) -> None:
        if self.unlock:
            self.workflow.finish("--unlock")
            self.unlock = False

    def _run_again(self) -> None:
        """Do what the documentation says, and compare."""
        self._unlock()
        self.workflow.plant()
        if self.verify:
            done = self.workflow.verify()
            if done.returncode != 0:
                self._fault("unfinished", [f"ws3 verify: {done.stdout}{done.stderr}"])
        if self.workflow.finish(*(["--forceall"] if self.touched else [])) != 0:
            self._fault("unfinished", [f"the rerun failed: {self.workflow.log}"])
            self.workflow.finish()
        self.summary.reruns += 1
        good, ours = self.references[self.state], self.workflow.contents()
        names = sorted(good.keys() | ours.keys())
        self._fault("foreign", self.workflow.foreign_changed())
        left = leftovers(self.workflow.run)
        self._fault("leftovers", left)
        differing = [name for name in names if good.get(name) != ours.get(name)]
        self._fault("different", [name for name in differing if name not in left])

    def _fault(self, kind: str, found: list[str]) -> None:
        for what in found:
            say(f"FAULT: {kind}: {what}")
        setattr(self.summary, kind, getattr(self.summary, kind) + len(found))


def _works_in(process: psutil.Process, folder: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == folder
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
        return False


def check_version(folder: Path) -> None:
    """Refuse undisturbed runs that other code made: their fingerprints would be others."""
    sources = sorted((REPOSITORY / "ws3").rglob("*.py"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    mark = folder / "version"
    if mark.exists() and mark.read_text() != version:
        sys.exit(f"{folder}: its undisturbed runs were made by other code; give another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(version)


def say(text: str) -> None:
    """Print a line at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def torture(
    folder: Path,
    config: dict[str, Any],
    *,
    count: int,
    seed: int,
    states: list[str],
    seconds: float = float("inf"),
) -> Summary:
    """Disturb a run `count` times, or until the time is over, and return the figures."""
    began = time.monotonic()
    torture = Torture(folder, seed, config, states)
    with small_disk(torture.disk) as limited:
        if not limited:
            say("full disks are left out: a file system of limited size can't be mounted here")
        torture.begin()
        while (left := count - sum(torture.summary.disturbances.values())) > 0:
            torture.cycle(min(left, torture.rng.choice((2, 4, 6, 8))), full_disk=limited)
            torture.summary.seconds = time.monotonic() - began
            if torture.summary.seconds > seconds:
                break
    return torture.summary


def main() -> None:
    """Parse the command line, torture, add up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="disturbances")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="end after the cycle in which"
    )
    parser.add_argument("--folder", type=Path, help="keeps the undisturbed runs and the sums")
    parser.add_argument("--no-segmenter", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ws3-torture-"))
    summary = torture(
        folder.absolute(),
        CONFIG if arguments.no_segmenter else {**CONFIG, **SEGMENTER},
        count=arguments.count,
        seed=arguments.seed,
        states=list(CHANGED),
        seconds=arguments.seconds,
    )
    sums = folder / "summary.json"
    if sums.exists():
        summary = added(Summary(**json.loads(sums.read_text())), summary)
    sums.write_text(json.dumps(asdict(summary), indent=1))
    print(summary.text())
    if arguments.folder is None and not summary.faults:
        shutil.rmtree(folder)
    sys.exit(1 if summary.faults else 0)


def added(before: Summary, now: Summary) -> Summary:
    """Return the figures of two slices together."""
    kinds = Counter(before.disturbances) + Counter(now.disturbances)
    sums = {
        name: value + getattr(now, name)
        for name, value in asdict(before).items()
        if name != "disturbances"
    }
    return Summary(**sums, disturbances=dict(kinds))


if __name__ == "__main__":
    main()
