"""An indexed image, and the samples that a recipe of the run draws from it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ws3.aggregation.chunks import chunk_layout
from ws3.datasets.colors import check_coding
from ws3.datasets.images import decode_rgb, photograph_coding, read_bytes
from ws3.datasets.images import digest as digest_of
from ws3.datasets.index import ImageRow
from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.sampling.plan import SamplePlan
from ws3.sampling.views import Pixels
from ws3.store.saliency import SaliencyStore


def load_image(row: ImageRow) -> Pixels:
    """Return an indexed image, uint8 RGB (H, W, 3).

    Raises:
        Ws3Error: If it can't be read, or is not the one that was indexed.
    """
    data = read_bytes(row.path)
    if digest_of(data, photograph_coding(row.coding)) != row.sha256:
        raise Ws3Error(
            f"{row.path}: this image changed after it was indexed; run snakemake (or ws3 index) "
            "again"
        )
    return decode_rgb(data, row.path, row.coding)


def load_truth(run: Run, row: ImageRow) -> NDArray[np.uint8]:
    """Return the ground-truth mask of an image that has one, uint8 (H, W).

    Raises:
        Ws3Error: If it can't be read, or the table of its colours changed.
    """
    check_coding(row.coding, run.colors)
    return read_label_mask(row.mask, row.coding, run.colors)


def sample_plan(run: Run, recipe: str, row: ImageRow) -> SamplePlan:
    """Return the samples of an image for a recipe."""
    return SamplePlan(
        run.recipe(recipe).samples,
        image=row.image,
        height=row.height,
        width=row.width,
        seed=run.config.seed,
        recipe=run.config.sample_source(recipe),
        input_size=run.classifier.input_size,
    )


def expected_chunks(
    row: ImageRow, plan: SamplePlan, per_chunk: int, samples: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the chunks that an image's group must hold, and the samples in each.

    An image without labels has none: there is no class to attribute.

    Args:
        row: The image.
        plan: Its samples.
        per_chunk: Samples per chunk.
        samples: After how many of the plan's samples the image stopped; None: all.
    """
    total = plan.total if samples is None else samples
    return chunk_layout(total, per_chunk, plan.cover) if row.labels else {}


def sample_counts(run: Run, recipe: str, rows: Iterable[ImageRow]) -> dict[str, int]:
    """Return after how many samples each image stopped, where that is decided.

    Images without labels have none. It is empty for a recipe whose count is a number.
    """
    source = run.config.sample_source(recipe)
    stopping = run.recipe(source).stopping
    if stopping is None:
        return {}
    store = SaliencyStore(run.results("saliency", source))
    found = {row.image: store.settled(row.image, stopping) for row in rows if row.labels}
    return {image: samples for image, samples in found.items() if samples is not None}
