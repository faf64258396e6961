"""What a saliency job spends on other things than computing: ResNet-50, 64 images, 30 crops.

`python benchmarks/overhead.py` takes a quarter of an hour. It is one job of the workflow, started
by Snakemake; the seconds are the ones it notes of itself, which `ws3 status --time` shows. The
classifier is untrained, as its weights don't change what it costs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from measuring import entry, report

from ws3.classifier import checkpoints
from ws3.datasets.synthetic.scene import CLASSES
from ws3.run.folder import Run
from ws3.run.timing import StageTime, run_times

REPOSITORY = Path(__file__).parents[1]
IMAGES, CROPS = 64, 30
AT_MOST = 0.1


def main() -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        spent = _job(Path(folder))
    share = spent.overhead
    assert share is not None
    assert spent.samples >= IMAGES * CROPS
    title = f"saliency job, ResNet-50 at 224, {IMAGES} images of 432 x 432, {CROPS} crops each"
    entries = [entry(f"{title}: share of overhead", share, AT_MOST, share / AT_MOST, None, "1")]
    entries += [
        entry(f"{title}: {phase}", seconds, None, seconds / spent.total, None, "s")
        for phase, seconds in spent.seconds.items()
    ]
    report("overhead", entries)


def _job(folder: Path) -> StageTime:
    torch.manual_seed(0)
    checkpoint = folder / "classifier.pt"
    classes = CLASSES[:5]
    checkpoints.save_classifier(
        checkpoint, checkpoints.new_classifier("resnet50", classes, 224, None)
    )
    config = {
        "run": "overhead",
        "dataset": {
            "kind": "synthetic",
            "classes": len(classes),
            "train_images": IMAGES,
            "val_images": 1,
            "size": 432,
        },
        "classifier": {"architecture": "resnet50", "checkpoint": str(checkpoint)},
        "recipes": {"crops": {"preset": "gradient_crops", "samples": {"count": CROPS}}},
        "reference_recipe": "crops",
        "masks": {"background": {"kind": "constant"}},
        "evaluation": {"splits": ["train"]},
        "images_per_job": IMAGES,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    line = [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(folder)]
    line += ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml", "--"]
    target = "results/overhead/receipts/saliency/crops/train-00000.json"
    subprocess.run([*line, target], check=True, cwd=folder)
    run = Run.open(folder / "results/overhead")
    return next(time for time in run_times(run) if time.status.stage == "saliency")


if __name__ == "__main__":
    main()
