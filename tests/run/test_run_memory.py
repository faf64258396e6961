"""The memory that jobs ask for follows from the sizes in the index."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from bare_runs import bare_run, config_of, dataset

from ws3.aggregation.chunks import SampleChunk
from ws3.aggregation.settling import Settling
from ws3.config.load import resolve
from ws3.config.recipes import AdaptiveCount, Aggregation, Recipe, Samples
from ws3.datasets.index import Index, write_index
from ws3.run.memory import crf_mb, memory_mb, picture_mb, sizes_of
from ws3.sampling.plan import SamplePlan
from ws3.stage_table import JOBS
from ws3.workflow.plan import Plan

__all__ = ["bare_run", "config_of", "dataset"]

LARGE = (3648 * 5472, 4)


def test_the_crf_by_hand():
    assert crf_mb(2.0, 3) == 2 * (200 + 3 * 60)
    assert crf_mb(2.0, 1) == 0  # the background alone


@pytest.mark.parametrize(
    ("crf", "refining"),
    [
        ("irn", 4 * 500),
        ("none", 0),
        ({"max_pixels": 1_000_000}, 500),
        ({"max_pixels": None}, 10 * 500),
    ],
)
def test_the_crf_takes_what_the_bound_lets_it_see(config_of, crf, refining):
    config = resolve(config_of(masks__crf=crf))
    # 15 and 14 for each label, per megapixel, beside the CRF of five labels.
    assert picture_mb(config, "masks", 10_000_000, 4) == pytest.approx(10 * 71 + refining)


def test_small_pictures_ask_for_what_the_table_says(config_of):
    config = resolve(config_of())
    for job, spec in JOBS.items():
        assert memory_mb(config, job, []) == spec.memory_mb
        assert memory_mb(config, job, [(0, 3), (640 * 640, 10), (500 * 375, 1)]) == spec.memory_mb


def test_twenty_megapixels_ask_for_at_most_four_gigabytes(config_of):
    config = resolve(config_of())
    assert memory_mb(config, "masks", [(640 * 480, 2), LARGE]) > JOBS["masks"].memory_mb
    for job in ("maps", "masks", "threshold", "evaluate", "report"):
        assert memory_mb(config, job, [LARGE]) <= 4000
    # The sizes of the pictures don't change what a training takes.
    for job in ("index", "train_classifier", "train_segmentation", "summary"):
        assert memory_mb(config, job, [LARGE]) == JOBS[job].memory_mb


def test_the_plan_takes_the_sizes_from_the_index_and_opens_no_image(bare_run, dataset):
    run = bare_run()
    rows = list(run.index.rows)
    data = run.config.model_dump(mode="json")
    assert Plan(data, check_files=False).memory_mb("masks") == JOBS["masks"].memory_mb
    rows[2] = rows[2]._replace(width=5472, height=3648, labels=("cat", "dog"))
    write_index(run.index_file, Index(run.index.classes, tuple(rows)))
    for path in (dataset / "images").iterdir():
        path.unlink()
    expected = memory_mb(run.config, "masks", [(5472 * 3648, 2)])
    assert Plan(data, check_files=False).memory_mb("masks") == expected > JOBS["masks"].memory_mb
    assert sizes_of(rows) == {(16 * 24, 1), (5472 * 3648, 2)}


def test_an_adaptive_count_needs_three_sums_more(config_of):
    adaptive = {"count": {"max": 40, "tolerance": 0.1}, "samples_per_chunk": 10}
    plain, more = resolve(config_of()), resolve(config_of(recipes__crops__samples=adaptive))
    assert picture_mb(plain, "saliency", 10_000_000, 2) == 10 * (30 + 2 * 20)
    assert picture_mb(more, "saliency", 10_000_000, 2) == 10 * (30 + 2 * 20 + 50 + 2 * 24)


def test_deciding_takes_no_more_memory_than_is_asked_for():
    height, width, classes = 1000, 1500, 3
    samples = Samples(kind="noise", count=AdaptiveCount(max=99, tolerance=0.1))
    recipe = Recipe(method="gradient", samples=samples, aggregation=Aggregation(smoothing=0.001))
    plan = SamplePlan(
        samples, image="i", height=height, width=width, seed=0, recipe="r", input_size=32
    )
    settling, sums = Settling(recipe, plan), np.ones((classes, height, width), np.float32)
    counts = np.ones((height, width), np.uint16)
    tracemalloc.start()
    try:
        for number, name in enumerate(("cover", "0", "1")):
            settling.add(name, SampleChunk((number,), sums * (1 + number), counts))
        assert not settling.settled
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e6 * (height * width / 1e6) * (50 + 24 * classes)
