"""As many samples as an image needs: decided from its own samples, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from stage_work import work
from typer.testing import CliRunner

from ws3.aggregation.settling import Settling
from ws3.api import score_maps
from ws3.classifier.checkpoints import load_classifier
from ws3.cli.app import app
from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import open_stage, run_images
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, sample_counts
from ws3.run.status import run_status
from ws3.run.verify import check_run, foreign_entries
from ws3.stages.index import write_config
from ws3.stages.saliency import SaliencyStage
from ws3.store.saliency import SaliencyStore
from ws3.workflow.plan import Plan

CROPS = "saliency_crops"
MOST, CHUNK = 20, 4
TOLERANCE = 0.17
"""Some of the images stop before they have all samples, others don't; a test sees to that."""


def recipe(count: Any, **samples: Any) -> dict[str, Any]:
    crops = {"kind": "crops", "count": count, "samples_per_chunk": CHUNK, "batch": CHUNK}
    aggregation = {"smoothing": 0.02, "percentile": 99.0}
    return {"method": "gradient", "samples": {**crops, **samples}, "aggregation": aggregation}


def adaptive(tolerance: float = TOLERANCE, most: int = MOST, **samples: Any) -> dict[str, Any]:
    return recipe({"max": most, "tolerance": tolerance}, **samples)


@pytest.fixture
def begun(small_run):
    """Return a function that begins a run of few images with one recipe of crops."""

    def begin(name: str, given: dict[str, Any], **changes: Any) -> Run:
        few = {"dataset__train_images": 3, "dataset__val_images": 1, "segmentation__recipes": []}
        recipes = {"cam": {"preset": "cam"}, CROPS: given}
        return small_run(name, recipes=recipes, **few, **changes)

    return begin


def again(run, given):
    """Return the run with another recipe of crops."""
    data = run.config.model_dump(mode="json")
    data["recipes"][CROPS] = given
    changed = Run(run.folder, resolve(data))
    write_config(changed)
    return changed


def run_stage(run, stage="saliency"):
    work(run, stage, CROPS)


def contents(run, stage="saliency"):
    folder = run.results(stage, CROPS)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def counts(run):
    return sample_counts(run, CROPS, run.index.rows)


def computed(run):
    lines = run.journal_file("saliency").read_text().splitlines()
    return [entry["samples"] for entry in map(json.loads, lines) if entry["event"] == "computed"]


_made: dict[str, Path] = {}


@pytest.fixture
def undisturbed(begun, tmp_path, tmp_path_factory):
    """A run whose samples are all there; computed once, and copied for each test."""
    if "run" not in _made:
        # Not in the folder of the test that comes first, which is removed after it.
        run = begun(str(tmp_path_factory.mktemp("computed")), adaptive())
        run_stage(run)
        _made["run"] = run.folder
    shutil.copytree(_made["run"], tmp_path / "undisturbed")
    return Run.open(tmp_path / "undisturbed")


def error_by_the_formula(run, image, chunks):
    """Return |smooth(A - B)| / 2 / |smooth(M)|, for halves of equal weight, in float64."""
    store = SaliencyStore(run.results("saliency", CROPS))
    read: list[Any] = [store.read(image, str(number)) for number in range(chunks)]
    sums = np.array([chunk.sums for chunk in read], np.float64)
    weights = np.array([chunk.weights for chunk in read], np.float64)[:, None]
    halves = [
        (sums[part].sum(0), weights[part].sum(0)) for part in (slice(0, None, 2), slice(1, None, 2))
    ]
    (first, one), (second, other) = halves
    total = one + other
    both = (one > 0) & (other > 0)
    with np.errstate(all="ignore"):
        mean = np.where(total > 0, (first + second) / total, 0)
        part = (first / one - second / other) * np.sqrt(one * other) / total
    part = np.where(both, part, mean)
    sigma = 0.02 * np.sqrt(mean.shape[1] * mean.shape[2])
    norms = [
        [
            np.linalg.norm(gaussian_filter(c, sigma, mode="mirror", radius=round(4 * sigma)))
            for c in m
        ]
        for m in (part, mean)
    ]
    covered = bool((total > 0).all())
    return max(a / b for a, b in zip(*norms, strict=True)), covered


def test_each_image_stops_where_the_formula_says(undisturbed, begun):
    full = begun("full", adaptive(0.0))
    run_stage(full)
    stopped = counts(undisturbed)
    assert set(counts(full).values()) == {MOST}
    assert len(set(stopped.values())) > 1, "choose another tolerance"
    for row in undisturbed.index.rows:
        told = {n: error_by_the_formula(full, row.image, n) for n in range(2, MOST // CHUNK + 1)}
        small = [n for n, (error, covered) in told.items() if error < TOLERANCE and covered]
        assert stopped[row.image] == CHUNK * min([*small, MOST // CHUNK])
        group = SaliencyStore(undisturbed.results("saliency", CROPS)).open(row.image).attributes
        expected = told[stopped[row.image] // CHUNK][0]
        assert group["error"] == pytest.approx(expected, rel=0.02)
        assert group["samples"] == stopped[row.image]
        assert group["stopping"] == {"max": MOST, "tolerance": TOLERANCE, "smoothing": 0.02}


def test_what_is_stored_is_what_was_counted(undisturbed):
    store = SaliencyStore(undisturbed.results("saliency", CROPS))
    for image, count in counts(undisturbed).items():
        chunks = store.chunk_samples(image)
        assert sorted(number for some in chunks.values() for number in some) == list(range(count))
        assert len(chunks) == count // CHUNK
    assert sorted(computed(undisturbed)) == sorted(counts(undisturbed).values())


def test_a_tolerance_of_zero_is_the_plain_count(begun):
    plain, zero = begun("plain", recipe(MOST)), begun("zero", adaptive(0.0))
    for run in (plain, zero):
        run_stage(run)
        run_stage(run, "maps")
    of_plain, of_zero = contents(plain), contents(zero)
    assert of_plain.keys() == of_zero.keys()
    # Only what a group says of itself differs, of each image once.
    differing = {name for name in of_plain if of_plain[name] != of_zero[name]}
    assert differing == {f"{row.image}/zarr.json" for row in plain.index.rows}
    for row in plain.index.rows:
        maps = [RecipeResults(run, CROPS).maps(row) for run in (plain, zero)]
        np.testing.assert_array_equal(maps[0], maps[1])


def test_a_tolerance_above_one_stops_at_the_first_step(begun):
    # Nine windows cover a square image: two chunks of four leave pixels out that three don't.
    run = begun("generous", adaptive(1.01))
    run_stage(run)
    assert set(counts(run).values()) <= {8, 12}
    large = begun("large", adaptive(1.01, samples_per_chunk=9, batch=3))
    run_stage(large)
    assert set(counts(large).values()) == {18}


def test_samples_without_noise_stop_at_once(begun):
    run = begun("still", adaptive(1e-6, kind="noise", noise=0.0))
    run_stage(run)
    assert set(counts(run).values()) == {2 * CHUNK}


def test_batches_of_images_leave_no_trace(undisturbed, begun):
    other = begun("other", adaptive(), images_per_job=8)
    run_images(other, open_stage(other, "saliency", CROPS), list(other.index.rows)[::-1])
    assert contents(other) == contents(undisturbed)


@pytest.mark.parametrize("keep", [False, True])
def test_chunks_that_divide_network_batches_change_no_decision(begun, keep):
    # A network batch of 8 holds samples of two or three chunks of 3.
    given = adaptive(0.2, samples_per_chunk=3, batch=8, keep_samples=keep)
    whole, cut = begun("whole", given), begun("cut", given)
    run_stage(whole)
    row = cut.index.rows[0]
    work = open_stage(cut, "saliency", CROPS)
    original, left = SaliencyStore.write, 2

    def write(store, image, name, chunk, *rest):
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        original(store, image, name, chunk, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SaliencyStore, "write", write)
        with pytest.raises(KeyboardInterrupt):
            run_images(cut, work, [row])
    run_stage(cut)
    assert contents(cut) == contents(whole)


@pytest.mark.parametrize("last", ["chunk", "count"])
def test_an_interruption_anywhere_leaves_no_trace(undisturbed, begun, monkeypatch, last):
    run = begun("interrupted", adaptive())
    write, settle, calls = SaliencyStore.write, SaliencyStore.settle, 0

    def interrupted(original, kind):
        def call(*arguments):
            nonlocal calls
            calls += kind == last
            if kind == last and calls % 3 == 0:
                raise KeyboardInterrupt
            original(*arguments)

        return call

    monkeypatch.setattr(SaliencyStore, "write", interrupted(write, "chunk"))
    monkeypatch.setattr(SaliencyStore, "settle", interrupted(settle, "count"))
    for _ in range(30):
        try:
            run_stage(run)
            break
        except KeyboardInterrupt:
            continue
    assert calls > 4
    assert contents(run) == contents(undisturbed)


def test_what_a_killed_writer_left_of_a_decision_is_removed(undisturbed, monkeypatch):
    good, row = contents(undisturbed), undisturbed.index.rows[0]
    folder = undisturbed.results("saliency", CROPS) / row.image
    other = again(undisturbed, adaptive(0.3))

    def killed(temporary, path):
        if path.name == "zarr.json":
            raise KeyboardInterrupt
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr("ws3.files.put_file", killed)
        patch.setattr("ws3.files.remove_temporary", lambda path: None)
        with pytest.raises(KeyboardInterrupt):
            run_images(other, open_stage(other, "saliency", CROPS), [row])
    assert len(list(folder.glob(".tmp-zarr.json-*"))) == 1
    assert not foreign_entries(other.folder)
    run_images(other, open_stage(other, "saliency", CROPS), [row])
    assert not list(folder.glob(".tmp-*"))
    back = again(other, adaptive())
    run_images(back, open_stage(back, "saliency", CROPS), [row])
    assert contents(back) == good


@pytest.mark.slow
def test_a_killed_job_goes_on_to_the_same_bytes(undisturbed, begun):
    run = begun("killed", adaptive())
    command = [sys.executable, "-m", "ws3", "saliency", str(run.folder), "--recipe", CROPS]
    command += ["--image", undisturbed.index.rows[0].image]
    store = run.results("saliency", CROPS)
    for chunk in ("0", "1"):
        with subprocess.Popen(command) as job:
            while not (store / run.index.rows[0].image / chunk).exists() and job.poll() is None:
                time.sleep(0.002)
            job.send_signal(signal.SIGKILL)
    run_stage(run)
    assert contents(run) == contents(undisturbed)


def test_a_larger_max_computes_on_where_samples_ran_out(begun):
    few, many = begun("few", adaptive(most=12)), begun("many", adaptive())
    run_stage(few)
    run_stage(many)
    before = sum(counts(few).values())
    assert 12 in counts(few).values()
    more = again(few, adaptive())
    assert not counts(more)
    run_stage(more)
    assert contents(more) == contents(many)
    drawn = computed(more)[len(more.index.rows) :]
    assert sum(drawn) == sum(counts(many).values()) - before > 0


def test_another_tolerance_uses_the_samples_that_are_there(undisturbed):
    before, chunks = counts(undisturbed), contents(undisturbed)
    lenient = again(undisturbed, adaptive(0.3))
    run_stage(lenient)
    assert computed(lenient)[-4:] == [0] * 4
    assert all(count <= before[image] for image, count in counts(lenient).items())
    assert sum(counts(lenient).values()) < sum(before.values())
    back = again(lenient, adaptive())
    run_stage(back)
    assert contents(back) == chunks


def test_maps_are_made_of_the_samples_that_count(undisturbed):
    run_stage(undisturbed, "maps")
    row = min(undisturbed.index.rows, key=lambda row: counts(undisturbed)[row.image])
    plain = again(undisturbed, recipe(counts(undisturbed)[row.image]))
    run_images(plain, open_stage(plain, "saliency", CROPS), [row])
    settled = RecipeResults(undisturbed, CROPS).maps(row)
    store = undisturbed.results("maps", CROPS)
    assert (
        json.loads((store / row.image / "zarr.json").read_text())["attributes"]["samples"]
        == (counts(undisturbed)[row.image])
    )
    run_images(plain, open_stage(plain, "maps", CROPS), [row])
    np.testing.assert_array_equal(RecipeResults(plain, CROPS).maps(row), settled)


def test_the_notebook_decides_as_the_run_does(undisturbed):
    run_stage(undisturbed, "maps")
    row = undisturbed.index.rows[1]
    classifier = load_classifier(undisturbed.classifier_file)
    maps = score_maps(
        classifier,
        load_image(row),
        row.labels,
        undisturbed.recipe(CROPS),
        name=row.image,
        recipe_name=CROPS,
    )
    np.testing.assert_array_equal(maps, RecipeResults(undisturbed, CROPS).maps(row))


@pytest.mark.parametrize("damage", ["chunk", "group"])
def test_what_is_damaged_is_made_again(undisturbed, damage):
    good = contents(undisturbed)
    image = undisturbed.index.rows[2].image
    folder = undisturbed.results("saliency", CROPS) / image
    if damage == "chunk":
        path = folder / "1" / "sum" / "c" / "0" / "0" / "0"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(bytes(data))
    else:
        path = folder / "zarr.json"
        path.write_text(path.read_text().replace('"samples": ', '"samples": 1'))
    _, damages = check_run(undisturbed, repair=True)
    assert [found.image for found in damages if found.image != "network"] == [image]
    run_stage(undisturbed)
    assert contents(undisturbed) == good
    assert not [found for found in check_run(undisturbed, repair=False)[1] if found.image == image]


def test_a_missing_chunk_is_noticed_and_those_beyond_the_stop_are_not_missed(undisturbed):
    image = min(counts(undisturbed), key=lambda image: counts(undisturbed)[image])
    assert counts(undisturbed)[image] < MOST
    assert not [found for found in check_run(undisturbed, repair=False)[1] if found.image == image]
    store = SaliencyStore(undisturbed.results("saliency", CROPS))
    for path in sorted((store.path / image / "1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (store.path / image / "1").rmdir()
    found = [damage for damage in check_run(undisturbed, repair=False)[1] if damage.image == image]
    assert len(found) == 1
    assert "missing" in found[0].reason


def test_verify_names_what_another_tolerance_decided(undisturbed):
    other = again(undisturbed, adaptive(0.5))
    damages = [found for found in check_run(other, repair=False)[1] if found.image != "network"]
    assert {found.image for found in damages} == {row.image for row in other.index.rows}
    assert all("it isn't decided how many samples it needs" in found.reason for found in damages)
    assert {found.remedy for found in damages} == {"make again"}
    with pytest.raises(Ws3Error, match=r"samples are missing; make them with: ws3 saliency"):
        run_images(other, open_stage(other, "maps", CROPS), [other.index.rows[0]])


def test_a_device_decides_from_its_own_sums(undisturbed, begun, monkeypatch):
    monkeypatch.setattr(SaliencyStage, "pretend_device", True)
    run = begun("device", adaptive())
    run_stage(run)
    assert counts(run) == counts(undisturbed)
    row = run.index.rows[0]
    stores = [SaliencyStore(one.results("saliency", CROPS)) for one in (run, undisturbed)]
    assert stores[0].chunk_samples(row.image) == stores[1].chunk_samples(row.image)
    # Enlarged bytes are rounded otherwise, and gradients of a deep network enlarge that.
    for name in stores[0].chunk_samples(row.image):
        ours, theirs = (store.read(row.image, name) for store in stores)
        assert ours.samples == theirs.samples
    before = contents(run)
    run_stage(run)
    assert contents(run) == before
    more = again(run, adaptive(0.0))
    run_stage(more)
    assert set(counts(more).values()) == {MOST}
    kept = {name: data for name, data in contents(more).items() if name.count("/") > 1}
    assert {name: kept[name] for name in before if name.count("/") > 1}.items() <= kept.items()


def test_shared_samples_are_as_many_as_their_owner_decided(undisturbed):
    data = undisturbed.config.model_dump(mode="json")
    sharp = {"samples_from": CROPS, "aggregation": {**adaptive()["aggregation"], "smoothing": 0.0}}
    data["recipes"]["sharp"] = sharp
    shared = Run(undisturbed.folder, resolve(data))
    write_config(shared)
    row = min(shared.index.rows, key=lambda row: counts(undisturbed)[row.image])
    run_images(shared, open_stage(shared, "maps", "sharp"), [row])
    store = shared.results("maps", "sharp")
    said = json.loads((store / row.image / "zarr.json").read_text())["attributes"]
    assert said["samples"] == counts(undisturbed)[row.image] < MOST
    with pytest.raises(Ws3Error, match=r"read its maps with ws3\.open_run"):
        score_maps(
            load_classifier(shared.classifier_file),
            load_image(row),
            row.labels,
            shared.recipe("sharp"),
        )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (adaptive(-0.1), "greater than or equal to 0"),
        (adaptive(most=0), "greater than or equal to 1"),
        (recipe({"max": 10}), r"count\.tolerance: this key is required"),
        (recipe({"max": 10, "tolerance": 0.1, "min": 3}), "the keys here are: max, tolerance"),
        (adaptive(samples_per_chunk="count"), "samples_per_chunk must be a number"),
        (adaptive(kind="full"), "count has no meaning for kind full"),
        (
            {**adaptive(), "aggregation": {"combine_samples": "max"}},
            "with combine_samples: max give a number",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(given, sentence):
    data = {"run": "a", "dataset": {"kind": "synthetic"}, "recipes": {"cam": given}}
    with pytest.raises(Ws3Error, match=sentence):
        resolve(data)


def test_a_recipe_takes_an_adaptive_count_as_it_is():
    recipes = {"cam": adaptive(), "b": {"samples_from": "cam", "samples": {"count": 8}}}
    data = {"run": "a", "dataset": {"kind": "synthetic"}, "recipes": recipes}
    with pytest.raises(Ws3Error, match=r"samples.count, where it is adaptive, must be that of"):
        resolve(data)


def test_a_changed_tolerance_reruns_saliency_and_what_follows_but_keeps_its_samples(undisturbed):
    other = again(undisturbed, adaptive(0.5))
    one, two = (
        Plan(run.config.model_dump(mode="json"), check_files=False) for run in (undisturbed, other)
    )
    assert one.settings("saliency", CROPS) != two.settings("saliency", CROPS)
    assert one.settings("maps", CROPS) != two.settings("maps", CROPS)
    row = other.index.rows[0]
    prints = [RecipeResults(run, CROPS).fingerprints for run in (undisturbed, other)]
    assert prints[0].of("saliency", row) == prints[1].of("saliency", row)
    with pytest.raises(StaleResultError):
        RecipeResults(other, CROPS).maps(row)


def test_status_tells_mean_least_and_most(undisturbed):
    entry = next(one for one in run_status(undisturbed) if one.recipe == CROPS)
    taken = sorted(counts(undisturbed).values())
    assert list(entry.samples) == taken
    result = CliRunner().invoke(app, ["status", str(undisturbed.folder)])
    assert result.exit_code == 0, result.output
    line = f"saliency {CROPS}: {sum(taken) / len(taken):.1f} samples per image"
    assert f"{line} ({taken[0]} to {taken[-1]})" in result.output


def test_a_decision_from_stored_chunks_is_that_of_the_run(undisturbed):
    settings, row = undisturbed.recipe(CROPS), undisturbed.index.rows[3]
    store, work = (
        SaliencyStore(undisturbed.results("saliency", CROPS)),
        SaliencyStage(undisturbed, CROPS),
    )
    settling = Settling(settings, work.open_work(row).plan)
    for name in sorted(store.chunk_samples(row.image), key=int):
        assert not settling.settled
        settling.add(name, store.read(row.image, name))
    assert settling.samples == counts(undisturbed)[row.image]
