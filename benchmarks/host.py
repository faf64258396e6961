"""What the host does for a crop outside the network: one by one on the CPU, and beside a GPU.

`python benchmarks/host.py` takes about two minutes, one thread, no GPU and no network: 40 crops of
one class of a photograph of 375 x 500 pixels, in four chunks. The old way is that of the CPU:
decode, cut and resize, paste back and add, store. The new way is that of a GPU job: decode and
prepare, hand over, fetch, store; its geometry is the device's. The critical path of the new way is
what the thread does that feeds the GPU; all else is done by other threads beside it. What that
thread takes is timed on samples of 8 x 8 pixels: the same Python and the same calls of torch,
whose kernels take about as long there as it takes to start them on a GPU. The old way stores by
zarr's own calls, as it did before there was a new one.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

from ws3.cli.memory import keep_freed_memory

keep_freed_memory()

import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
import zarr
from measuring import entry, fastest, report
from PIL import Image

from ws3.aggregation.accumulate import AttributedSample, collect_chunk
from ws3.aggregation.chunks import SampleChunk, chunk_layout
from ws3.attribution.device_engine import DeviceAttributor, DevicePending
from ws3.attribution.engine import Attributor
from ws3.attribution.interface import Attribution
from ws3.classifier.build import build_classifier
from ws3.config.load import resolve_recipe
from ws3.config.presets import PRESETS
from ws3.config.recipes import Recipe
from ws3.datasets.images import decode_rgb
from ws3.files import file_sha256
from ws3.sampling.plan import SamplePlan
from ws3.sampling.views import render_sample
from ws3.store import groups
from ws3.store.groups import FAST_LEVEL, LEVEL
from ws3.store.saliency import SaliencyStore

HEIGHT, WIDTH, CROPS, CLASSES = 375, 500, 40, 1
TINY = (12, 16, 8)
"""Height, width and input of the pictures on which only calls take time."""


def main(rounds: int = 5) -> None:
    """Measure and report."""
    folder = Path(tempfile.mkdtemp())
    try:
        sides: list[tuple[int, int | str]] = [(224, 10), (224, "count"), (448, 10)]
        report("host", [one for side in sides for one in measure(folder, *side, rounds)])
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, size: int, per_chunk: int | str, rounds: int) -> list[dict[str, object]]:
    """Return the figures of crops of one size, and of some number of samples in a chunk."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    picture = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    data = file.getvalue()

    preset = PRESETS["contrast_crops"].recipe
    samples = {**preset["samples"], "count": CROPS, "input_size": size}
    samples |= {"samples_per_chunk": per_chunk}
    recipe = resolve_recipe({**preset, "samples": samples}, "the recipe")
    plan = _plan(recipe, HEIGHT, WIDTH, size)
    layout = chunk_layout(plan.total, recipe.samples.per_chunk, plan.cover)
    attributor = Attributor(build_classifier("resnet18", ("a", "b", "c"), size), recipe)
    signs = rng.standard_normal((CLASSES, CROPS, size, size)).astype(np.float32)
    scores = np.abs(signs) * cv2.GaussianBlur(rng.random((size, size)), (0, 0), 20).astype(
        np.float32
    )
    certain = rng.uniform(0.1, 1, (CROPS, CLASSES)).astype(np.float32)
    made = Attribution(torch.from_numpy(scores), torch.from_numpy(certain))
    attributor.method = lambda network, inputs, classes, options: made
    device = DeviceAttributor(attributor)
    store = SaliencyStore(folder / f"{size}_{per_chunk}.zarr")
    store.create({"kind": "saliency"})
    images = (f"i{number}" for number in range(10**6))

    def load() -> Any:
        hashlib.sha256(data).hexdigest()
        return decode_rgb(data, "it")

    def write(chunks: dict[str, Any], level: int = LEVEL) -> None:
        image = next(images)
        store.begin(image, {"fingerprint": "x"})
        for name, chunk in chunks.items():
            store.write(image, name, chunk, {}, level)

    def render() -> None:
        for number in range(CROPS):
            render_sample(picture, plan.sample(number), plan, attributor.mean, attributor.std)

    def paste() -> dict[str, Any]:
        return {
            name: collect_chunk(
                [AttributedSample(plan.sample(k), scores[:, k], certain[k]) for k in numbers],
                recipe.aggregation,
                (CLASSES, HEIGHT, WIDTH),
            )
            for name, numbers in layout.items()
        }

    chunks = paste()
    pending = device.begin(picture, plan, [0], layout)

    steps = {"load": load, "render": render, "paste": paste, "write": lambda: write(chunks)}
    with _storing_by_zarr():
        old = fastest(steps, rounds)
    new = fastest(
        {
            "load": lambda: device.prepare(load(), plan, layout),
            "write": lambda: write(_fetched(pending), FAST_LEVEL),
        },
        rounds,
    )
    feeding = _feeding(per_chunk, rounds)
    before, beside = sum(old.values()), sum(new.values())
    after = beside + feeding
    title = f"host per crop at {size} outside the network, {len(layout)} chunks"
    parts = {**{f"old, {k}": v for k, v in old.items()}, **{f"new, {k}": v for k, v in new.items()}}
    return [
        entry(
            f"{title}, one by one against beside a GPU",
            1e3 * after / CROPS,
            1e3 * before / CROPS,
            before / after,
            None,
            "CPU-ms a crop",
        ),
        entry(
            f"{title}: share off the critical path",
            1e3 * beside / CROPS,
            1e3 * feeding / CROPS,
            beside / after,
            None,
            "CPU-ms a crop",
        ),
        *(
            entry(
                f"{title}: {name}", 1e3 * spent / CROPS, None, spent / before, None, "CPU-ms a crop"
            )
            for name, spent in {**parts, "new, feeding the GPU": feeding}.items()
        ),
    ]


def _plan(recipe: Recipe, height: int, width: int, size: int) -> SamplePlan:
    samples = recipe.samples.model_copy(update={"input_size": size})
    return SamplePlan(
        samples, image="i", height=height, width=width, seed=0, recipe="r", input_size=size
    )


def _feeding(per_chunk: int | str, rounds: int) -> float:
    """Return the seconds that handing an image over takes, kernels next to nothing."""
    height, width, size = TINY
    preset = PRESETS["contrast_crops"].recipe
    samples = {**preset["samples"], "samples_per_chunk": per_chunk}
    recipe = resolve_recipe({**preset, "samples": samples}, "the recipe")
    plan = _plan(recipe, height, width, size)
    layout = chunk_layout(plan.total, recipe.samples.per_chunk, ())
    attributor = Attributor(build_classifier("resnet18", ("a", "b", "c"), 64), recipe)
    made = Attribution(torch.rand(CLASSES, CROPS, size, size), torch.ones(CROPS, CLASSES))
    attributor.method = lambda network, inputs, classes, options: made
    device = DeviceAttributor(attributor)
    image = device.prepare(np.zeros((height, width, 3), np.uint8), plan, layout)
    begin = {"begin": lambda: [device.begin(image, plan, [0], layout) for _ in range(20)]}
    return fastest(begin, rounds)["begin"] / 20


def _fetched(pending: DevicePending) -> dict[str, SampleChunk]:
    return {name: one for name, one in pending.chunks().items() if isinstance(one, SampleChunk)}


def _by_zarr(
    self: groups.NewGroup, name: str, values: Any, chunks: tuple[int, ...], level: int
) -> None:
    """Write an array as `NewGroup` did before: all by zarr."""
    store = zarr.storage.LocalStore(self._folder / name)
    groups._new_array(store, values.shape, values.dtype, chunks, level)[...] = values
    self._metadata[name] = file_sha256(self._folder / name / groups.METADATA)


@contextmanager
def _storing_by_zarr() -> Iterator[None]:
    with mock.patch.object(groups.NewGroup, "_write_chunks", _by_zarr):
        yield


if __name__ == "__main__":
    main()
