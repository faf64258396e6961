"""The run that is tortured: a small folder of drawn pictures, all stages, tiny networks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageOps
from torture_inventory import STAGES

from ws3.config.dataset import Synthetic
from ws3.datasets.synthetic.dataset import draw_synthetic
from ws3.datasets.synthetic.scene import CLASSES

REPOSITORY = Path(__file__).parents[2]
CHANGED = {
    "as drawn": None,
    "a val image changed": "val_0001",
    "a train image changed": "train_0002",
}
"""The states of the dataset: which image is another than the drawn one."""

CONFIG: dict[str, Any] = {
    "run": "tortured",
    "device": "cpu",
    "threads": 1,
    "dataset": {
        "kind": "folder",
        "root": "data",
        "masks": "masks",
        "classes": "classes.txt",
        "train": "train.txt",
        "val": "val.txt",
    },
    "classifier": {
        "architecture": "shufflenet_v2_x0_5",
        "checkpoint": "mine.pt",
        "input_size": 64,
    },
    "recipes": {
        "cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0, 1.5], "flip": True}},
        # Four sample chunks, the last of them partial.
        "crops": {
            "preset": "gradient_crops",
            "samples": {"count": 22, "samples_per_chunk": 6, "batch": 4},
        },
    },
    "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
    "images_per_job": 4,
}
SEGMENTER: dict[str, Any] = {
    "segmentation": {
        "recipes": ["crops"],
        "architecture": "lraspp_mobilenet_v2",
        "epochs": 2,
        "batch_size": 2,
        "crop_size": 64,
    }
}


@dataclass(frozen=True)
class Workflow:
    """A folder in which Snakemake runs; the results are in `run`."""

    folder: Path

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "results/tortured"

    def image(self, name: str) -> Path:
        """The file of a photograph."""
        return self.folder / "data/images" / f"{name}.png"

    def prepare(self, config: dict[str, Any]) -> None:
        """Draw the dataset, save a classifier with random weights, write the configuration."""
        # torch is needed here alone.
        import torch

        from ws3.classifier import checkpoints

        self.folder.mkdir(parents=True, exist_ok=True)
        drawn = Synthetic(kind="synthetic", train_images=6, val_images=2, size=64, classes=3)
        draw_synthetic(drawn, self.folder / "data")
        torch.manual_seed(0)
        network = checkpoints.new_classifier(
            CONFIG["classifier"]["architecture"], CLASSES[:3], 64, None
        )
        checkpoints.save_classifier(self.folder / "mine.pt", network)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def change(self, name: str, original: Path) -> None:
        """Make a photograph another one, or, if it is that already, the original again."""
        path, drawn = self.image(name), original / f"data/images/{name}.png"
        if path.read_bytes() == drawn.read_bytes():
            with Image.open(drawn) as image:
                ImageOps.mirror(image).save(path)
        else:
            shutil.copyfile(drawn, path)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Snakemake as the leader of a process group; what it says is appended to a log."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--directory", str(self.folder), "--cores", "2"]
        command += ["--configfile", str(self.folder / "config.yaml"), *arguments]
        # The log lies outside: a full disk is to hit Snakemake and its jobs, not the harness.
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self, *arguments: str) -> int:
        """Run Snakemake to its end, and return its status."""
        return self.start(*arguments).wait()

    @property
    def log(self) -> Path:
        """Everything that Snakemake said."""
        return self.folder.parent / f"{self.folder.name}.log"

    def verify(self) -> subprocess.CompletedProcess[str]:
        """Run `ws3 verify --repair` on the results."""
        command = [sys.executable, "-m", "ws3", "verify", str(self.run), "--repair"]
        return subprocess.run(
            command, env=environment(), cwd=self.folder, capture_output=True, text=True, check=False
        )

    @property
    def elsewhere(self) -> Path:
        """A folder of the user's outside the results, to which links lead."""
        return self.folder / "photographs"

    @property
    def _foreign(self) -> list[Path]:
        names = ("maps/mine.zarr/.zgroup", "saliency/mine/a.jpg", "masks/by_hand/train_0001.png")
        outside = ("zarr.json", "train_0001/zarr.json", "holiday/a.jpg")
        return [self.run / name for name in names] + [self.elsewhere / name for name in outside]

    def _is_foreign(self, path: Path) -> bool:
        return path in self._foreign

    def plant(self) -> None:
        """Make files of the user's own among the results and outside, where they aren't there."""
        for path in self._foreign:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"mine")
                os.utime(path, ns=(1, 1))

    def foreign_changed(self) -> list[str]:
        """Return the user's files that are gone or changed."""
        return [
            str(path)
            for path in self._foreign
            if not path.is_file() or path.read_bytes() != b"mine" or path.stat().st_mtime_ns != 1
        ]

    def contents(self) -> dict[str, bytes]:
        """Return every file that must end the same, by its path in the run."""
        folders = (*STAGES, "thresholds", "evaluation", "segmentation")
        found = {
            str(path.relative_to(self.run)): path.read_bytes()
            for folder in folders
            for path in (self.run / folder).rglob("*")
            # How a training went on says when it was interrupted; the network does not.
            if path.is_file() and path.suffix != ".ckpt" and not self._is_foreign(path)
        }
        return {**found, "classifier.pt": (self.run / "classifier.pt").read_bytes()}


def environment() -> dict[str, str]:
    """Return the environment in which `ws3` is the one that is being tested."""
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    modules = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PATH": paths, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1"}
