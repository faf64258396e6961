"""The stores: bytes and seconds against `np.save`, listing 10,000 images, and writing's share.

`python benchmarks/store.py` takes about two minutes. For the bytes, the scores are drawn, not real:
smooth noise like a pasted-back gradient's. Writing's share is that of the real saliency stage:
ResNet-50 at 224, one thread, 30 crops of a 448-pixel image in three chunks.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from measuring import entry, fastest, report

from ws3.aggregation.chunks import SampleChunk
from ws3.classifier import checkpoints
from ws3.config.load import resolve
from ws3.files import file_sha256
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.records import ClassifierFacts, ClassifierMetrics, write_record
from ws3.sampling.windows import WindowSequence
from ws3.stages.index import index
from ws3.stages.saliency import SaliencyStage
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore

HEIGHT, WIDTH, CLASSES, SAMPLES, SIDE = 375, 500, 2, 16, 224


def main() -> None:
    """Measure and report."""
    folder = Path(tempfile.mkdtemp())
    try:
        report("store", [*_writing(folder), _listing(folder), _share(folder)])
    finally:
        shutil.rmtree(folder)


def _writing(folder: Path) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    samples = np.abs(rng.standard_normal((SAMPLES, CLASSES, SIDE, SIDE))).astype(np.float32)
    samples *= cv2.GaussianBlur(rng.random((SIDE, SIDE)), (0, 0), 20).astype(np.float32)
    windows = WindowSequence(HEIGHT, WIDTH, (0.4, 0.95), 0, "r", "i")
    sums = np.zeros((CLASSES, HEIGHT, WIDTH), np.float32)
    counts = np.zeros((HEIGHT, WIDTH), np.uint16)
    for number, maps in enumerate(samples):
        window = windows[number]
        for place, scores in enumerate(maps):
            sums[place][window.slices] += cv2.resize(scores, (window.width, window.height))
        counts[window.slices] += 1
    chunk = SampleChunk(tuple(range(SAMPLES)), sums, counts)
    store = SaliencyStore(folder / "saliency.zarr")
    store.create({"kind": "saliency"})
    written = iter(range(10**6))

    def ours() -> None:
        image = f"i{next(written)}"
        store.begin(image, {"fingerprint": "x"})
        store.write(image, "0", chunk)

    def theirs() -> None:
        np.save(folder / f"{next(written)}.npy", samples.astype(np.float16))

    times = fastest({"ws3": ours, "np.save": theirs}, rounds=20)
    image = next(store.path.iterdir())
    ours_bytes = sum(path.stat().st_size for path in image.rglob("*") if path.is_file())
    theirs_bytes = next(folder.glob("*.npy")).stat().st_size
    return [
        entry(
            "bytes of an image, 16 samples, against np.save of float16 samples",
            ours_bytes,
            theirs_bytes,
            ours_bytes / theirs_bytes,
            None,
            "bytes",
        ),
        entry(
            "writing an image, against np.save of float16 samples",
            times["ws3"],
            times["np.save"],
            times["ws3"] / times["np.save"],
            None,
            "CPU-seconds",
        ),
    ]


def _listing(folder: Path) -> dict[str, object]:
    store = MapStore(folder / "maps.zarr")
    store.create({"kind": "maps"})
    store.write("first", np.zeros((1, 8, 8), np.float16), {"fingerprint": "x"})
    for number in range(10_000):
        image = store.path / f"image_{number:05}"
        image.mkdir()
        os.link(store.path / "first" / "zarr.json", image / "zarr.json")
    began = time.perf_counter()
    store.check_format()
    names = store.names()
    seconds = time.perf_counter() - began
    assert len(names) == 10_001
    return entry(
        "opening a store of 10,000 images and listing it", seconds, 0.05, seconds / 0.05, None, "s"
    )


def _share(folder: Path) -> dict[str, object]:
    config = {
        "run": "share",
        "results": str(folder),
        "device": "cpu",
        "dataset": {"kind": "synthetic", "train_images": 4, "val_images": 1, "size": 448},
        "recipes": {
            "crops": {
                "preset": "gradient_crops",
                "samples": {"count": 30, "samples_per_chunk": 10},
            }
        },
        "reference_recipe": "crops",
    }
    run = Run.of(resolve(config))
    index(run)
    network = checkpoints.new_classifier("resnet50", list(run.index.classes), 224, None)
    checkpoints.save_classifier(run.classifier_file, network)
    facts = ClassifierFacts(
        architecture="resnet50",
        classes=run.index.classes,
        input_size=224,
        epochs=None,
        fingerprint="",
        sha256=file_sha256(run.classifier_file),
        metrics=ClassifierMetrics(split="val", mean_ap=None, per_class_ap={}),
    )
    write_record(run.receipt("train_classifier"), facts)
    work = SaliencyStage(run, "crops")
    first, *rows = run.rows(["train"])
    work.compute(first, work.fingerprint(first), PhaseTimer())  # loads the network
    clock = PhaseTimer()
    for row in rows:
        work.compute(row, work.fingerprint(row), clock)
    spent = clock.seconds
    share = spent["write"] / sum(spent.values())
    return entry(
        "writing, share of the saliency stage on CPU",
        spent["write"] / len(rows),
        sum(spent.values()) / len(rows),
        share,
        None,
        "s an image",
    )


if __name__ == "__main__":
    main()
