"""The same bytes whatever the batches, the order, or in how many steps samples were added."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_work import work

from ws3.aggregation.accumulate import AttributedSample
from ws3.aggregation.chunks import SampleChunk
from ws3.aggregation.combine import scale, smooth
from ws3.aggregation.random_walk import random_walk
from ws3.attribution.engine import Attributor, network_batches
from ws3.classifier import checkpoints
from ws3.config.load import resolve
from ws3.config.recipes import Samples
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import open_stage, run_batches, run_images
from ws3.run.batches import Batch
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image
from ws3.sampling.plan import SamplePlan
from ws3.stages.index import write_config
from ws3.stages.saliency import SaliencyStage
from ws3.store.saliency import SaliencyStore

CROPS = "saliency_crops"


def run_stage(run, stage, recipe=CROPS):
    work(run, stage, recipe)


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def journal(run, stage):
    return run.journal_file(stage).read_text().count('"computed"')


def reconfigured(run, **changes):
    data = run.config.model_dump(mode="json")
    for path, value in changes.items():
        *sections, key = path.split("__")
        node = data
        for section in sections:
            node = node[section]
        node[key] = value
    changed = Run(run.folder, resolve(data))
    write_config(changed)
    return changed


@pytest.mark.parametrize("recipe", ["cam", CROPS])
def test_batches_and_their_order_leave_no_trace(small_run, recipe):
    stores = []
    for size in (1, 3, 64):
        run = small_run(f"by_{size}", images_per_job=size)
        run_stage(run, "saliency", recipe)
        stores.append(contents(run.results("saliency", recipe)))
    shuffled = small_run("shuffled")
    rows = list(shuffled.rows(["train", "val"]))
    random.Random(1).shuffle(rows)
    run_images(shuffled, open_stage(shuffled, "saliency", recipe), rows)
    stores.append(contents(shuffled.results("saliency", recipe)))
    assert len(stores[0]) > 8
    assert all(store == stores[0] for store in stores)


@pytest.mark.parametrize(
    ("samples", "weight"),
    [
        ({"kind": "crops", "samples_per_chunk": 5, "batch": 4}, "uniform"),
        ({"kind": "crops", "samples_per_chunk": "count", "batch": 4, "noise": 0.1}, "probability"),
        ({"kind": "noise", "samples_per_chunk": 4, "batch": 4}, "uniform"),
        ({"kind": "crops", "samples_per_chunk": 5, "keep_samples": True}, "probability"),
    ],
)
def test_samples_added_later_give_the_bytes_of_all_at_once(small_run, samples, weight):
    aggregation = {"weight": weight}
    recipe = {"method": "gradient", "aggregation": aggregation}
    once = small_run(
        "once", **{f"recipes__{CROPS}": {**recipe, "samples": {**samples, "count": 18}}}
    )
    run_stage(once, "saliency")
    twice = small_run(
        "twice", **{f"recipes__{CROPS}": {**recipe, "samples": {**samples, "count": 12}}}
    )
    run_stage(twice, "saliency")
    more = reconfigured(twice, **{f"recipes__{CROPS}__samples__count": 18})
    run_stage(more, "saliency")
    assert contents(more.results("saliency", CROPS)) == contents(once.results("saliency", CROPS))


def features_of(run, image):
    """The last spatial features, by the network itself, unfolded."""
    classifier = checkpoints.load_classifier(run.classifier_file)
    factor = classifier.input_size / min(image.shape[:2])
    size = round(image.shape[0] * factor), round(image.shape[1] * factor)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    inputs = torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (classifier.mean, classifier.std))
    with torch.no_grad():
        return classifier.backbone.eval()((inputs - mean) / std)[0].numpy()


@pytest.mark.parametrize("walk", [{"steps": 9}, {"steps": 9, "features": 0.2}])
def test_a_random_walk_changes_the_maps_and_no_sample(small_run, walk):
    run = small_run()
    for stage in ("saliency", "maps"):
        run_stage(run, stage)
    samples, plain = contents(run.results("saliency", CROPS)), contents(run.results("maps", CROPS))
    walking = reconfigured(run, **{f"recipes__{CROPS}__aggregation__random_walk": walk})
    row = run.index.rows[0]
    with pytest.raises(StaleResultError, match="made from other inputs"):
        RecipeResults(walking, CROPS).maps(row)
    run_stage(walking, "maps")
    assert contents(walking.results("saliency", CROPS)) == samples
    assert journal(walking, "saliency") == 8
    walked = contents(walking.results("maps", CROPS))
    assert walked.keys() == plain.keys()
    assert journal(walking, "maps") == 16
    settings = walking.recipe(CROPS).aggregation.random_walk
    sums: list[Any] = [
        SaliencyStore(run.results("saliency", CROPS)).read(row.image, name) for name in "012"
    ]
    means: Any = sum(chunk.sums for chunk in sums) / sum(
        chunk.weights.astype(int) for chunk in sums
    )
    smoothed = smooth(means.astype(np.float32), 0.02)
    image = load_image(row)
    features = features_of(run, image) if "features" in walk else None
    expected = scale(random_walk(image, smoothed, settings, features), 99.0)
    np.testing.assert_allclose(RecipeResults(walking, CROPS).maps(row), expected, atol=2e-3)


def test_only_the_missing_samples_are_drawn(small_run, monkeypatch):
    run = small_run()
    run_stage(run, "saliency")
    drawn = []
    original = Attributor.attribute

    def note(self, image, plan, classes, numbers):
        drawn.extend(numbers)
        return original(self, image, plan, classes, numbers)

    monkeypatch.setattr(Attributor, "attribute", note)
    more = reconfigured(run, **{f"recipes__{CROPS}__samples__count": 14})
    batch = Batch("one", 0, (run.index.rows[0],))
    run_batches(more, open_stage(more, "saliency", CROPS), [batch])
    assert drawn == [12, 13]


def test_a_second_run_computes_nothing(small_run):
    run = small_run()
    for stage in ("saliency", "maps"):
        run_stage(run, stage)
        done, before = journal(run, stage), contents(run.folder / "maps")
        run_stage(run, stage)
        assert journal(run, stage) == done == 8
    assert contents(run.folder / "maps") == before


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "attributes"])
def test_what_is_damaged_is_made_again_and_nothing_else(small_run, damage):
    run = small_run()
    run_stage(run, "saliency")
    good, image = contents(run.results("saliency", CROPS)), run.index.rows[1].image
    chunk = run.results("saliency", CROPS) / image / "1" / "sum" / "c" / "0" / "0" / "0"
    if damage == "flip":
        data = bytearray(chunk.read_bytes())
        data[len(data) // 2] ^= 16
        chunk.write_bytes(bytes(data))
    elif damage == "truncate":
        chunk.write_bytes(chunk.read_bytes()[:-5])
    elif damage == "remove":
        chunk.unlink()
    else:
        (run.results("saliency", CROPS) / image / "zarr.json").write_text("{")
    run_stage(run, "saliency")
    assert contents(run.results("saliency", CROPS)) == good
    assert journal(run, "saliency") == 9


def test_a_changed_image_is_refused_until_it_is_indexed(small_run):
    run = small_run()
    row = run.index.rows[0]
    other = run.index.rows[1]
    Path(row.path).write_bytes(Path(other.path).read_bytes())
    with pytest.raises(Ws3Error, match=r"(?s)1 image failed.*changed after it was indexed"):
        run_stage(run, "saliency")
    assert journal(run, "saliency") == 7
    assert run.failure_file("saliency", CROPS, row.image).exists()


def test_a_reader_refuses_what_was_made_from_other_inputs(small_run):
    run = small_run()
    run_stage(run, "saliency")
    changed = reconfigured(run, seed=1)
    with pytest.raises(Ws3Error, match=r"made from other inputs; repair them with: ws3 saliency"):
        run_stage(changed, "maps")


def test_missing_samples_are_named_with_the_command_that_makes_them(small_run):
    run = small_run()
    run_stage(run, "saliency")
    more = reconfigured(run, **{f"recipes__{CROPS}__samples__count": 30})
    with pytest.raises(
        Ws3Error, match=r"samples are missing; make them with: ws3 saliency .*--image"
    ):
        run_stage(more, "maps")
    assert issubclass(StaleResultError, Ws3Error)


def test_a_samples_value_does_not_depend_on_its_neighbours(small_run):
    run = small_run()
    attributor = SaliencyStage(run, CROPS)._attributor
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((16, 3, 64, 64), np.float32)
    scores, probabilities = attributor(batch, [0, 2])
    for keep in (0, 7, 15):
        other = rng.standard_normal((16, 3, 64, 64), np.float32)
        other[keep] = batch[keep]
        alone, certain = attributor(other, [0, 2])
        np.testing.assert_array_equal(alone[:, keep], scores[:, keep])
        np.testing.assert_array_equal(certain[keep], probabilities[keep])


def test_attribution_computes_on_one_thread_whatever_the_process_has(small_run):
    attributor = SaliencyStage(small_run(), CROPS)._attributor
    threads = []
    attributor.network.backbone.register_forward_pre_hook(
        lambda *_: threads.append(torch.get_num_threads())
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        attributor(np.zeros((16, 3, 64, 64), np.float32), [0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


def batches(numbers, **samples):
    plan = SamplePlan(
        Samples(kind="crops", batch=4, **samples),
        image="i",
        height=64,
        width=64,
        seed=0,
        recipe="r",
        input_size=64,
    )
    return list(network_batches(plan, [*numbers, *plan.cover]))


def test_the_place_in_the_network_batch_depends_on_the_number_alone():
    first, second = {0: 0, 1: 1, 2: 2, 3: 3}, {0: 4, 1: 5}
    assert batches(range(6), count=40) == [(4, first), (4, second)]
    assert batches([3, 4, 5], count=40) == [(4, {3: 3}), (4, second)]


def test_whole_images_beside_crops_are_computed_without_empty_slots():
    # One that covers what too few crops leave out is alone; others come with their mirror image.
    assert batches(range(4), count=4)[1:] == [(1, {0: -1})]
    beside = batches(range(4), count=4, whole_image=[0.5, 1.0])[1:]
    assert beside == [(2, {0: -1, 1: -2}), (2, {0: -3, 1: -4})]


def test_too_few_crops_are_completed_by_the_whole_image(small_run):
    few = {"method": "gradient", "samples": {"kind": "crops", "count": 2, "batch": 4}}
    run = small_run(**{f"recipes__{CROPS}": few})
    run_stage(run, "saliency")
    run_stage(run, "maps")
    image = run.index.rows[0].image
    chunks = SaliencyStore(run.results("saliency", CROPS)).chunk_samples(image)
    assert chunks == {"0": (0, 1), "cover": (-1,)}


def test_whole_images_stand_beside_the_crops_in_a_chunk_of_their_own(small_run):
    views = {"method": "layercam", "options": {"stride": 8}} | {
        "samples": {"kind": "crops", "count": 2, "batch": 2, "whole_image": [0.5, 1.0]}
    }
    stores = {}
    for count in (2, 4):
        run = small_run(f"of_{count}", **{f"recipes__{CROPS}": views})
        run = reconfigured(run, **{f"recipes__{CROPS}__samples__count": count})
        run_stage(run, "saliency")
        stores[count] = SaliencyStore(run.results("saliency", CROPS))
    image = run.index.rows[0].image
    assert stores[2].chunk_samples(image) == {"0": (0, 1), "cover": (-1, -2, -3, -4)}
    # They are the same whatever the number of crops.
    few, more = (store.read(image, "cover") for store in stores.values())
    assert isinstance(few, SampleChunk)
    assert isinstance(more, SampleChunk)
    assert np.array_equal(few.sums, more.sums)
    assert (few.weights == 4).all()


def test_a_score_that_is_not_a_number_fails_its_image_alone(small_run, monkeypatch):
    run = small_run()
    work = open_stage(run, "saliency", CROPS)
    bad = run.index.rows[2].image
    original = Attributor.attribute

    def poison(self, image, plan, classes, numbers):
        for sample, scores, weights in original(self, image, plan, classes, numbers):
            factor = np.float32(np.nan if plan.image == bad else 1)
            yield AttributedSample(sample, scores * factor, weights)

    monkeypatch.setattr(Attributor, "attribute", poison)
    rows = run.rows(["train", "val"])
    with pytest.raises(Ws3Error, match=rf"(?s)1 image failed.*{bad}: the attribution is not a"):
        run_images(run, work, rows)
    assert journal(run, "saliency") == len(rows) - 1


def test_work_reports_what_it_took(small_run):
    run = small_run()
    row = run.index.rows[0]
    work, clock = open_stage(run, "saliency", CROPS), PhaseTimer()
    made = work.compute(row, work.fingerprint(row), clock)
    assert made.samples == 12
    assert made.bytes > 0
    assert clock.seconds["compute"] > 0
    other = row._replace(sha256="0" * 64)
    assert work.fingerprint(other) != work.fingerprint(row)
