"""Pseudo-masks: the CRF against pydensecrf called plainly, two jobs side by side, and sweeps.

`python benchmarks/masks.py` takes about four minutes. The photograph is drawn at 375 x 500 (the
run for two jobs at 432 x 432, which are as many pixels).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring import entry, fastest, fastest_apart, fastest_on_all_cores, report

from ws3.config.dataset import Synthetic
from ws3.datasets.synthetic.drawing import draw
from ws3.datasets.synthetic.scene import describe
from ws3.masks.background import add_background, hard_labels
from ws3.masks.crf import PRESETS, DenseCrf

HEIGHT, WIDTH, LABELS = 375, 500, 3
THRESHOLDS = np.linspace(0.2, 0.6, 8)
IMAGES, ROUNDS = 96, 2


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Return an image of the built-in data with two classes, and rough score maps of them."""
    config = Synthetic(kind="synthetic")
    scenes = (describe(config, "train", number) for number in range(100))
    scene = next(one for one in scenes if len({made.index for made in one.creatures}) == 2)
    image, mask, _ = (drawn[:HEIGHT] for drawn in draw(scene, WIDTH))
    objects = np.stack([mask == value for value in np.unique(mask) if value]).astype(np.float32)
    maps = [cv2.GaussianBlur(one, (0, 0), 25) for one in objects]
    return np.ascontiguousarray(image), np.stack([one / one.max() for one in maps])


def ours() -> Mapping[str, Callable[[], Any]]:
    """Return what is timed of ws3, in a process set up as its jobs are."""
    from ws3.cli.memory import keep_freed_memory
    from ws3.masks.pseudo import pseudo_mask

    keep_freed_memory()
    image, maps = picture()

    def once(name: str) -> Callable[[], Any]:
        return lambda: pseudo_mask(image, maps, [1, 2], 0.3, PRESETS[name])

    return {f"ws3 {name}": once(name) for name in PRESETS}


def theirs() -> Mapping[str, Callable[[], Any]]:
    """Return pydensecrf as its README calls it, on the same labels."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_labels, unary_from_softmax

    image, maps = picture()
    scores = add_background(maps, 0.3)
    labels = hard_labels(scores)

    def plainly(name: str) -> Callable[[], Any]:
        numbers = PRESETS[name]

        def run() -> Any:
            crf = DenseCRF2D(WIDTH, HEIGHT, LABELS)
            if numbers.unary == "softmax":
                crf.setUnaryEnergy(unary_from_softmax(scores / scores.sum(axis=0)))
            else:
                crf.setUnaryEnergy(
                    unary_from_labels(labels, LABELS, numbers.gt_prob, zero_unsure=False)
                )
            crf.addPairwiseGaussian(sxy=numbers.gaussian_sxy, compat=numbers.gaussian_compat)
            crf.addPairwiseBilateral(
                sxy=numbers.bilateral_sxy,
                srgb=numbers.bilateral_srgb,
                rgbim=image,
                compat=numbers.bilateral_compat,
            )
            probabilities = np.array(crf.inference(numbers.iterations))
            return probabilities.argmax(axis=0).reshape(HEIGHT, WIDTH)

        return run

    return {f"plain {name}": plainly(name) for name in PRESETS}


def sweep() -> dict[str, float]:
    """Return the seconds of a sweep with one lattice, and with a new one for each threshold."""
    image, maps = picture()
    scores = [add_background(maps, float(threshold)) for threshold in THRESHOLDS]

    def reused() -> None:
        crf = DenseCrf(image, LABELS, PRESETS["irn"])
        for one in scores:
            crf.refine(one)

    def anew() -> None:
        for one in scores:
            DenseCrf(image, LABELS, PRESETS["irn"]).refine(one)

    return fastest({"reused": reused, "anew": anew}, rounds=ROUNDS)


def jobs(folder: Path) -> dict[int, float]:
    """Return the wall-clock seconds of all masks by one `ws3 masks`, and by two with half each."""
    from ws3.config.load import resolve
    from ws3.run.batches import stage_batches, stage_splits
    from ws3.run.fingerprints import Fingerprints
    from ws3.run.folder import Run
    from ws3.run.records import ClassifierFacts, ClassifierMetrics, write_record
    from ws3.stages.index import index, write_config
    from ws3.stages.threshold import threshold
    from ws3.store.maps import MapStore

    config = {
        "run": "masks",
        "results": str(folder),
        "dataset": {
            "kind": "synthetic",
            "train_images": IMAGES,
            "val_images": 1,
            "size": 432,
        },
        "recipes": {"cam": {"preset": "cam"}},
        "evaluation": {"splits": ["train"]},
        "images_per_job": 8,
    }
    run = Run.of(resolve(config))
    write_config(run)
    index(run)
    facts = ClassifierFacts(
        architecture="none",
        classes=run.index.classes,
        input_size=224,
        epochs=None,
        fingerprint="",
        sha256="none",
        metrics=ClassifierMetrics(split="val", mean_ap=None, per_class_ap={}),
    )
    write_record(run.receipt("train_classifier"), facts)
    store = MapStore(run.results("maps", "cam"))
    store.create({"kind": "maps", "recipe": "cam"})
    expected = Fingerprints(run, "cam")
    y, x = np.mgrid[:432, :432] / 432
    for number, row in enumerate(run.rows(["train"])):
        middles = np.random.default_rng(number).random((len(row.labels), 2, 1, 1))
        maps = np.exp(-10 * ((y - middles[:, 0]) ** 2 + (x - middles[:, 1]) ** 2))
        made_from = expected.of("maps", row)
        store.write(row.image, maps.astype(np.float16), {"fingerprint": made_from})
    threshold(run, "cam")
    batches = stage_batches(run.config, run.index, "masks")
    names = batches.names(stage_splits(run.config, "masks"))
    best = {1: float("inf"), 2: float("inf")}
    for _ in range(ROUNDS):
        for count in best:
            shutil.rmtree(run.folder / "masks", ignore_errors=True)
            began = time.monotonic()
            command = [sys.executable, "-m", "ws3", "masks", str(run.folder), "-r", "cam"]
            started = [
                subprocess.Popen(
                    [*command, *(f"--batch={name}" for name in names[first::count])],
                    stderr=subprocess.DEVNULL,
                )
                for first in range(count)
            ]
            for job in started:
                if job.wait() != 0:
                    raise RuntimeError(f"{job.args!r} ended with {job.returncode}")
            best[count] = min(best[count], time.monotonic() - began)
    return best


def main() -> None:
    """Measure and report."""
    times = fastest_apart({"ws3": ours, "plain": theirs}, rounds=6)
    # What two processes that share nothing gain: two cores share memory and heat.
    alike = fastest_on_all_cores({"one": (ours, 1), "two": (ours, 2)}, rounds=ROUNDS)
    entries = [
        entry(
            f"{name}, {LABELS} labels, 375 x 500: a mask, against pydensecrf called plainly",
            1e3 * times[f"ws3 {name}"],
            1e3 * times[f"plain {name}"],
            times[f"ws3 {name}"] / times[f"plain {name}"],
            None,
            "CPU-milliseconds",
        )
        for name in PRESETS
    ]
    swept = sweep()
    entries.append(
        entry(
            f"sweep over {len(THRESHOLDS)} thresholds, irn: lattice reused, against a new one each",
            swept["reused"],
            swept["anew"],
            swept["anew"] / swept["reused"],
            None,
            "CPU-seconds",
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        spent = jobs(Path(folder))
    entries.append(
        entry(
            f"ws3 masks on {IMAGES} images of 432 x 432, irn: two jobs side by side, against one "
            "(floor: what two processes gain that share nothing)",
            spent[2],
            spent[1],
            spent[1] / spent[2],
            2 * alike["one"] / alike["two"],
            "seconds",
        )
    )
    report("masks", entries)


if __name__ == "__main__":
    main()
