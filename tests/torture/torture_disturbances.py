"""What is done to a run: its processes are killed, its disk is filled, its files are damaged."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from torture_inventory import STAGES
from torture_workflow import Workflow

KILLS = (
    *("kill -9 of a job", "kill -9 of Snakemake", "kill -9 of everything"),
    *("SIGTERM to a job", "SIGTERM to Snakemake", "SIGTERM to everything"),
)
FULL_DISK = "full disk"
DAMAGES = (
    *("truncated chunk", "flipped byte in a map", "flipped byte in the sums", "half-written PNG"),
    *("removed chunk", "flipped byte in a network", "flipped byte in a store's metadata"),
    *("swapped groups", "swapped chunks", "link in place of a group"),
    *("record of the wrong shape", "something in place of a record"),
)
"""What `ws3 verify --repair` is for."""
REMOVALS = ("removed receipt", "removed results")
CHANGE = "changed input image"
TOUCH = "changed input image, then snakemake --touch"
RECORDS = (
    *("receipts/*/*/*.json", "receipts/train_*.json", "receipts/train_segmentation/*.json"),
    *("thresholds/*.json", "evaluation/*.json", "segmentation/*/model.json", "index.json"),
)


def jobs_of(snakemake: psutil.Process) -> list[psutil.Process]:
    """Return the running `ws3` processes below a Snakemake."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in snakemake.children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = process.cmdline()
                if len(command) > 1 and Path(command[1]).name == "ws3":
                    found.append(process)
    return found


def kill(kind: str, snakemake: psutil.Process, rng: random.Random) -> bool:
    """Send a signal; return whether there was somebody to hear it."""
    number = signal.SIGKILL if kind.startswith("kill") else signal.SIGTERM
    try:
        if kind.endswith("of a job") or kind.endswith("to a job"):
            jobs = jobs_of(snakemake)
            if not jobs:
                return False
            rng.choice(jobs).send_signal(number)
        elif kind.endswith("Snakemake"):
            snakemake.send_signal(number)
        else:
            os.killpg(snakemake.pid, number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return True


@contextmanager
def small_disk(folder: Path, size: str = "256m") -> Iterator[bool]:
    """Mount a file system of limited size, and say whether that could be done (it takes root)."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and os.geteuid() == 0
    mounted = mounted and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(folder: Path, seconds: float, rng: random.Random) -> None:
    """Leave next to nothing of the disk for a while."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        left = rng.choice((0, 4096, 20_000, 60_000))
        while (free := shutil.disk_usage(folder).free - left) > 0:
            file.write(b"\0" * min(free, 1 << 22))
    time.sleep(seconds)
    filler.unlink()


def damage(kind: str, workflow: Workflow, rng: random.Random) -> bool:
    """Harm one file or remove some; return whether there was anything to harm."""
    run = workflow.run
    match kind:
        case "truncated chunk":
            return _harm(run, "*/*.zarr/*/**/c/**/*", rng, truncate=True)
        case "flipped byte in a map":
            return _harm(run, "maps/*.zarr/*/**/*", rng)
        case "flipped byte in the sums":
            return _harm(run, "saliency/*.zarr/*/**/*", rng)
        case "half-written PNG":
            return _harm(run, rng.choice(("masks/*/*.png", "predictions/*/*.png")), rng, True)
        case "flipped byte in a network":
            return _harm(run, rng.choice(("classifier.pt", "segmentation/*/model.pt")), rng)
        case "flipped byte in a store's metadata":
            return _harm(run, "*/*.zarr/zarr.json", rng)
        case "removed chunk":
            return _remove(run, "*/*.zarr/*/**/c/**/*", rng)
        case "swapped groups":
            return _swap(run, "*/*.zarr/*/zarr.json", rng)
        case "swapped chunks":
            return _swap(run, "saliency/*.zarr/*/*/zarr.json", rng)
        case "link in place of a group":
            return _link(run, workflow.elsewhere, rng)
        case "record of the wrong shape":
            return _misshape(run, rng.choice(RECORDS), rng)
        case "something in place of a record":
            return _displace(run, RECORDS[0], rng)
        case "removed receipt":
            return _remove(run, "receipts/*/*/*.json", rng)
        case _:
            return _start_over(run, rng)


def _files(run: Path, pattern: str) -> list[Path]:
    """Return the files of the run itself: what a link leads to is not to be harmed."""
    top = run.resolve()
    return sorted(
        path
        for path in run.glob(pattern)
        if path.is_file() and ".tmp-" not in str(path) and top in path.resolve().parents
    )


def _harm(run: Path, pattern: str, rng: random.Random, truncate: bool = False) -> bool:
    files = _files(run, pattern)
    if not files:
        return False
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    if not data:
        return False
    place = rng.randrange(len(data))
    if truncate:
        del data[place:]
    else:
        data[place] ^= rng.randrange(1, 256)
    path.write_bytes(bytes(data))
    return True


def _remove(run: Path, pattern: str, rng: random.Random) -> bool:
    files = _files(run, pattern)
    for path in rng.sample(files, min(len(files), rng.choice((1, 1, 2, 4)))):
        path.unlink()
    return bool(files)


def _swap(run: Path, pattern: str, rng: random.Random) -> bool:
    """Swap two groups of one store."""
    groups = [path.parent for path in _files(run, pattern)]
    if not groups:
        return False
    one = rng.choice(groups)
    store = next(folder for folder in one.parents if folder.suffix == ".zarr")
    others = [group for group in groups if store in group.parents and group != one]
    if not others:
        return False
    other, aside = rng.choice(others), store.parent / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return True


def _link(run: Path, elsewhere: Path, rng: random.Random) -> bool:
    """Put a link to a folder that isn't ws3's in place of a group."""
    groups = [path.parent for path in _files(run, "*/*.zarr/*/zarr.json")]
    groups = [group for group in groups if not group.is_symlink()]
    if not groups:
        return False
    group = rng.choice(groups)
    shutil.rmtree(group)
    group.symlink_to(elsewhere)
    return True


def _misshape(run: Path, pattern: str, rng: random.Random) -> bool:
    """Take a key from a record, add one, give one another type, or make it no object at all."""
    files = _files(run, pattern)
    if not files:
        return False
    path = rng.choice(files)
    try:
        data = json.loads(path.read_bytes())
    except ValueError:
        return False
    kind = rng.choice(("removed", "added", "type", "list"))
    if kind == "list" or not isinstance(data, dict) or not data:
        data = [data]
    elif kind == "added":
        data["mine"] = 1
    else:
        key = rng.choice(sorted(data))
        data[key] = {"odd": [data[key]]}
        if kind == "removed":
            del data[key]
    path.write_text(json.dumps(data))
    return True


def _displace(run: Path, pattern: str, rng: random.Random) -> bool:
    """Put a folder or a link to nowhere in place of a record.

    No pipe: Snakemake itself would wait for it, before any repair.
    """
    files = _files(run, pattern)
    if not files:
        return False
    path = rng.choice(files)
    path.unlink()
    if rng.random() < 0.5:
        path.mkdir()
    else:
        path.symlink_to(path.with_name("nowhere"))
    return True


def _start_over(run: Path, rng: random.Random) -> bool:
    """Remove all results of some stages and recipes, and the receipts that vouch for them."""
    receipts = sorted(run.glob("receipts/*/*/")) if rng.random() < 0.9 else []
    chosen = rng.sample(receipts, min(len(receipts), rng.choice((1, 2, 3))))
    for folder in chosen:
        stage, recipe = folder.parts[-2:]
        if stage not in STAGES:
            continue
        shutil.rmtree(folder)
        name = recipe if stage in ("masks", "predictions") else f"{recipe}.zarr"
        shutil.rmtree(run / stage / name, ignore_errors=True)
    if not receipts:
        for name in ("receipts", *STAGES, "thresholds", "evaluation", "segmentation", "report"):
            shutil.rmtree(run / name, ignore_errors=True)
        (run / "classifier.pt").unlink(missing_ok=True)
    return True
