"""The stores: bytes and seconds against `np.save`, and listing 10,000 images.

`python benchmarks/store.py` takes about a minute. The scores are drawn, not real: smooth noise like
a pasted-back gradient's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from measuring import entry, fastest, report

from ws3.sampling.windows import WindowSequence
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore, SampleChunk

HEIGHT, WIDTH, CLASSES, SAMPLES, SIDE = 375, 500, 2, 16, 224


def main() -> None:
    """Measure and report."""
    folder = Path(tempfile.mkdtemp())
    try:
        report("store", [*_writing(folder), _listing(folder)])
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
        for index, scores in enumerate(maps):
            sums[index][window.slices] += cv2.resize(scores, (window.width, window.height))
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


if __name__ == "__main__":
    main()
