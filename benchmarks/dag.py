"""Snakemake's own cost at the size of VOC and COCO: five recipes and the per-image stages.

Three situations: a dry run from nothing, the dry run after all is done, and the dry run after one
in a hundred receipts vanished. `python benchmarks/dag.py` takes an hour and more, most of it to let
Snakemake write its records; `python benchmarks/dag.py VOC COCO` only the cases of these names.
`--from-nothing` leaves out the other two situations. `--against FOLDER` runs another checkout's
dry run from nothing in turn with this one's. The indices are of empty files: a dry run opens no
image. The finished state has files in place of all results, and Snakemake's own records of them.
Seconds are those of the process, as a dry run waits for nothing, and of the fastest of three.

Two programs that share a core's execution units slow each other, in processor time too. So a fixed
loop is timed before and after each dry run; its seconds say how fast the machine was just then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from measuring import entry, report

from ws3.config.load import load
from ws3.datasets.index import Index, write_index
from ws3.files import write_json
from ws3.run.dataset_state import dataset_state
from ws3.stage_table import FORMAT, STAGES
from ws3.workflow.plan import Plan

REPOSITORY = Path(__file__).parents[1]
ROUNDS = 3
SIZES = {"VOC": 10_582, "COCO": 82_081}
RECIPES = [f"recipe_{number}" for number in range(5)]
_PROBE = """
import json, resource, subprocess, sys
with open(sys.argv[1], "wb") as said:
    done = subprocess.run(sys.argv[2:], stdout=said, stderr=subprocess.STDOUT)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
_TOTAL = re.compile(r"^total +(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One graph.

    Attributes:
        name: Of the case.
        dataset: Whose size the index has.
        batch: Images a job; None: the program's own numbers, which differ from stage to stage.
        predictions: Whether every recipe also trains a network that predicts every image; without
            it there are three per-image stages.
        seconds: Not to pass, for the dry run from nothing.
        megabytes: Likewise.
    """

    name: str
    dataset: str
    batch: int | None
    predictions: bool
    seconds: float
    megabytes: float


CASES = [
    Case("VOC", "VOC", None, False, 6, 250),
    Case("VOC", "VOC", None, True, 6, 250),
    Case("COCO", "COCO", None, False, 25, 600),
    Case("COCO", "COCO", None, True, 25, 600),
    Case("COCO-256", "COCO", 256, False, 8, 600),
    Case("COCO-256", "COCO", 256, True, 8, 600),
    Case("VOC-64", "VOC", 64, False, 6, 250),
    Case("COCO-64", "COCO", 64, False, 25, 600),
]


@dataclass(frozen=True)
class DryRun:
    """What one dry run took.

    Attributes:
        jobs: That it planned.
        seconds: Of the processor.
        megabytes: At most.
        loop: Seconds of the processor that the fixed loop took beside it.
        other: Seconds of the processor that another checkout took; None without one.
    """

    jobs: int
    seconds: float
    megabytes: float
    loop: float
    other: float | None = None


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CASE", help="Only the cases of these names.")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="Another checkout.")
    parser.add_argument("--from-nothing", action="store_true", help="Only that situation: minutes.")
    options = parser.parse_args()
    entries = []
    for case in CASES:
        if options.names and case.name not in options.names:
            continue
        folder = Path(tempfile.mkdtemp())
        try:
            for situation, found in _measure(
                folder, case, options.against, from_nothing=options.from_nothing
            ).items():
                stages = "four" if case.predictions else "three"
                batches = "default batches" if case.batch is None else f"batches of {case.batch}"
                title = (
                    f"{situation}, {case.dataset}, {SIZES[case.dataset]} images, 5 recipes, "
                    f"{stages} stages, {batches}, {found.jobs} jobs"
                )
                print(title, found, flush=True)
                for value, limit, unit in (
                    (found.seconds, case.seconds, "s"),
                    (found.megabytes, case.megabytes, "MB"),
                ):
                    entries.append(entry(title, value, limit, value / limit, None, unit))
                entries.append(entry(f"fixed loop, {title}", found.loop, None, 1, None, "s"))
                if found.other is not None:
                    ratio, peer = found.seconds / found.other, found.other
                    name = f"{title}, against another checkout"
                    entries.append(entry(name, found.seconds, peer, ratio, None, "s"))
        finally:
            shutil.rmtree(folder)
    report("dag", entries)


def _measure(
    folder: Path, case: Case, against: Path | None, *, from_nothing: bool
) -> dict[str, DryRun]:
    config = _begin(folder, case)
    measured = {"dry run": _dry_run(folder, against)}
    if from_nothing:
        return measured
    # Results lie relative to the folder.
    with contextlib.chdir(folder):
        receipts = _pretend_to_finish(folder, config)
        measured["nothing to do"] = _dry_run(folder)
        for path in receipts[::100]:
            path.unlink()
    measured["1 % of receipts missing"] = _dry_run(folder)
    return measured


def _begin(folder: Path, case: Case) -> Path:
    images = folder / "data/images"
    images.mkdir(parents=True)
    ids = [f"image_{number:06}" for number in range(SIZES[case.dataset])]
    for image in ids:
        (images / f"{image}.jpg").touch()
    lines = "".join(f"{image},cat;dog\n" for image in ids)
    (folder / "data/labels.csv").write_text(f"image,labels\n{lines}")
    config = {
        "run": "scale",
        "dataset": {"kind": "folder", "root": str(folder / "data")},
        "recipes": {name: {"preset": "gradient_crops"} for name in RECIPES},
        "reference_recipe": RECIPES[0],
        "segmentation": {"recipes": RECIPES if case.predictions else []},
        "evaluation": {"splits": ["train"]},
        **({} if case.batch is None else {"images_per_job": case.batch}),
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _pretend_to_finish(folder: Path, config: Path) -> list[Path]:
    """Put a file in place of every output, and return the receipts of all batches."""
    plan = Plan(load(config).model_dump(mode="json"), check_files=True)
    run = plan.run
    run.folder.mkdir(parents=True)
    write_index(run.index_file, Index(plan.listing.classes, plan.listing.rows))
    write_json(
        run.index_facts,
        {"format": FORMAT, "sources": dataset_state(run.config.dataset, run.folder)},
    )
    predicts = bool(run.config.segmentation.recipes)
    stages = [stage for stage in STAGES if predicts or stage != "predictions"]
    receipts = [
        Path(file)
        for stage in stages
        for recipe in RECIPES
        for file in plan.receipts(stage, recipe, ["train"])
    ]
    others = [
        run.receipt("index"),
        run.receipt("train_classifier"),
        run.summary_file,
        run.report_file,
    ]
    for recipe in RECIPES:
        others += [run.threshold_file(recipe), run.evaluation_file(recipe)]
        others.append(run.image_counts_file(recipe))
        others.append(run.receipt("train_segmentation", recipe))
    for path in (*others, *receipts):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))
    _snakemake(folder, "--touch", "--quiet", "all")
    return receipts


def _dry_run(folder: Path, against: Path | None = None) -> DryRun:
    """Return the fastest of some dry runs, as all benchmarks do."""
    rounds, others = [], []
    for _ in range(ROUNDS):
        before = _loop()
        seconds, megabytes, said = _snakemake(folder, "--dry-run")
        total = _TOTAL.search(said)
        jobs = int(total.group(1)) if total else 0
        rounds.append(DryRun(jobs, seconds, megabytes, (before + _loop()) / 2))
        if against is not None:
            others.append(_snakemake(folder, "--dry-run", repository=against)[0])
    print("rounds:", *(f"{run.seconds:.2f} s" for run in rounds), flush=True)
    fastest = min(rounds, key=lambda run: run.seconds)
    return replace(fastest, other=min(others)) if others else fastest


def _loop() -> float:
    """Return the processor seconds of a fixed loop, the median of some."""
    times = []
    for _ in range(5):
        began = time.process_time()
        texts = {}
        for number in range(1_000_000):
            texts[number % 1000] = str(number)
        times.append(time.process_time() - began)
    return statistics.median(times)


def _snakemake(
    folder: Path, *arguments: str, repository: Path = REPOSITORY
) -> tuple[float, float, str]:
    """Return processor seconds, peak megabytes, and all that Snakemake says."""
    line = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
    line += ["--snakefile", str(repository / "Snakefile"), "--directory", str(folder)]
    line += ["--configfile", str(folder / "config.yaml")]
    said = folder / "said.txt"
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(said), *line],
        # `python -m` looks into the current folder first: not this checkout for the other's run.
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=True,
    )
    returned, seconds, megabytes = json.loads(done.stdout)
    text = said.read_text()
    assert returned == 0, text[-2000:]
    return seconds, megabytes, text


if __name__ == "__main__":
    main()
