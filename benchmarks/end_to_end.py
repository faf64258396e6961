"""The whole chain of this checkout against another revision's: seconds per image, and mIoU.

`python benchmarks/end_to_end.py --against 732c0c4` checks the revision out beside this one and runs
both revisions' own Snakemake workflows on the same photographs (`WS3_REAL_DATA`), with the same
classifier, one job at a time on one core: index, saliency, maps, threshold, masks, evaluation. The
recipe is a preset of either revision. Seconds are those of the processor: of the saliency jobs, and
of all jobs together with Snakemake itself. mIoU is on val, with the threshold tuned on training
images, as in docs/study.md; with few images it says little, so `--images 133` takes all of val.

A classifier is trained first, which takes some minutes, unless `--classifier` names its state dict
or a `classifier.pt` of a run; with several seeds one for each.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from measuring import entry, report

REPOSITORY = Path(__file__).parents[1]
CLASSIFIER = {"architecture": "mobilenet_v2", "input_size": 320}
TRAINING = {"epochs": 5, "batch_size": 16, "learning_rate": 2.0e-3, "backbone_rate": 0.1}


@dataclass(frozen=True)
class Outcome:
    """What one revision took and reached.

    Attributes:
        saliency: Seconds of the saliency jobs.
        chain: Seconds of everything.
        maps: mIoU of the maps on val.
        masks: mIoU of the pseudo-masks on val.
    """

    saliency: float
    chain: float
    maps: float
    masks: float


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", required=True, metavar="REV", help="A revision of git.")
    parser.add_argument("--recipe", default="contrast_crops", help="Preset of this revision.")
    parser.add_argument("--other-recipe", default="contrast_crops", help="Preset of the other.")
    parser.add_argument("--images", type=int, default=24, help="Of each split.")
    parser.add_argument("--classifier", type=Path, nargs="*", default=[], help="One for each seed.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    data = os.environ.get("WS3_REAL_DATA")
    if not data or not (Path(data) / "pascal10").is_dir():
        sys.exit("WS3_REAL_DATA names no folder with pascal10/ and weights/: nothing is measured")
    if options.classifier and len(options.classifier) != len(options.seeds):
        sys.exit("--classifier takes as many files as there are --seeds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        other = folder / "other"
        _git("worktree", "add", "--detach", str(other), options.against)
        try:
            entries = []
            for number, seed in enumerate(options.seeds):
                place = folder / f"seed_{seed}"
                dataset = _dataset(Path(data), place, options.images)
                given = options.classifier[number] if options.classifier else None
                classifier = _state_dict(Path(data), place, dataset, seed, given)
                ours, theirs = (
                    _run(side, place / label, dataset, classifier, seed, recipe)
                    for side, label, recipe in (
                        (REPOSITORY, "ours", options.recipe),
                        (other, "theirs", options.other_recipe),
                    )
                )
                entries += _entries(ours, theirs, options, seed)
        finally:
            _git("worktree", "remove", "--force", str(other))
    report("end_to_end", entries)


def _entries(
    ours: Outcome, theirs: Outcome, options: argparse.Namespace, seed: int
) -> list[dict[str, Any]]:
    about = f"{options.recipe}, {2 * options.images} images, seed {seed}, against {options.against}"
    return [
        entry(f"seconds: {part}, {about}", own, peer, own / peer, None, "s")
        for part, own, peer in (
            ("saliency", ours.saliency, theirs.saliency),
            ("the whole chain", ours.chain, theirs.chain),
        )
    ] + [
        entry(f"mIoU on val: {part}, {about}", own, peer, own / peer, None, "")
        for part, own, peer in (
            ("maps", ours.maps, theirs.maps),
            ("masks", ours.masks, theirs.masks),
        )
    ]


def _dataset(data: Path, folder: Path, images: int) -> dict[str, Any]:
    """Write lists of evenly spaced images, and return the dataset's section."""
    root = data / "pascal10"
    folder.mkdir(parents=True)
    for split in ("train", "val"):
        lines = (root / f"ImageSets/Segmentation/{split}.txt").read_text().split()
        step = max(1, len(lines) // images)
        (folder / f"{split}.txt").write_text("\n".join(lines[::step][:images]) + "\n")
    return {
        **{"kind": "folder", "root": str(root), "images": "JPEGImages", "labels": "labels.csv"},
        **{"masks": "SegmentationClass", "classes": "classes.txt"},
        **{split: str(folder / f"{split}.txt") for split in ("train", "val")},
    }


def _state_dict(
    data: Path, folder: Path, dataset: dict[str, Any], seed: int, given: Path | None
) -> Path:
    """Return a file with a classifier's plain state dict, which any revision reads."""
    if given is None:
        lists = Path(dataset["root"]) / "ImageSets/Segmentation"
        whole = {**dataset, "train": str(lists / "train.txt"), "val": str(lists / "val.txt")}
        weights = {"weights": str(data / "weights/mobilenet_v2_imagenet1k.pth")}
        config = _config(whole, {**CLASSIFIER, **TRAINING, **weights}, seed, "cam")
        place = folder / "trained"
        receipt = "results/end_to_end/receipts/train_classifier.json"
        _snakemake(REPOSITORY, place, config, [receipt])
        given = place / "results/end_to_end/classifier.pt"
    content = torch.load(given, weights_only=True)
    path = folder / "state_dict.pt"
    torch.save(content.get("state_dict", content), path)
    return path


def _config(
    dataset: dict[str, Any], classifier: dict[str, Any], seed: int, recipe: str
) -> dict[str, Any]:
    preset = "cam_multiscale" if recipe == "cam" else recipe
    return {
        "run": "end_to_end",
        "seed": seed,
        "device": "cpu",
        "dataset": dataset,
        "classifier": classifier,
        "recipes": {recipe: {"preset": preset}},
        "reference_recipe": recipe,
        "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
        "evaluation": {"splits": ["val"], "train_images": 1000},
        "images_per_job": 1000,
    }


def _run(
    side: Path, folder: Path, dataset: dict[str, Any], state: Path, seed: int, recipe: str
) -> Outcome:
    classifier = {**CLASSIFIER, "checkpoint": str(state)}
    config = _config(dataset, classifier, seed, recipe)
    summary = Path("results/end_to_end/evaluation/summary.csv")
    chain = _snakemake(side, folder, config, [str(summary)])
    run = folder / summary.parent.parent
    saliency = 0.0
    for path in (run / "benchmarks/saliency" / recipe).glob("*.tsv"):
        saliency += sum(float(row["cpu_time"]) for row in _rows(path, "\t"))
    found = {row["stage"]: float(row["miou"]) for row in _rows(folder / summary, ",")}
    outcome = Outcome(saliency, chain, found["maps"], found["masks"])
    print(side.name, outcome, flush=True)
    return outcome


def _rows(path: Path, separator: str) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=separator))


def _snakemake(side: Path, folder: Path, config: dict[str, Any], targets: Sequence[str]) -> float:
    """Run a revision's workflow, and return processor seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    line = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", side / "Snakefile"]
    line += ["--configfile", folder / "config.yaml", "--directory", folder, "--", *targets]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": paths, "PYTHONPATH": str(side), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in line],
        # `python -m` looks into the current folder first: not this checkout for the other's run.
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{side}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _git(*arguments: str) -> None:
    git = shutil.which("git") or "git"
    subprocess.run([git, *arguments], cwd=REPOSITORY, check=True, capture_output=True)


if __name__ == "__main__":
    main()
