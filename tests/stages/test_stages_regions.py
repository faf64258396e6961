"""Regions as a stage: once for all recipes, resumed, and made again with what changed."""

from __future__ import annotations

import numpy as np
import pytest
from bare_runs import bare_run, classified_run, config_of, dataset
from stage_work import work

from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import open_stage, run_images
from ws3.masks.pseudo import Voters, pseudo_mask
from ws3.metrics.sweep import ThresholdSweep
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import IndexFacts, read_record
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth
from ws3.run.status import run_status
from ws3.run.verify import check_run
from ws3.stage_table import ALL_RECIPES
from ws3.stages.index import index
from ws3.stages.threshold import threshold
from ws3.store.maps import MapStore

__all__ = ["bare_run", "classified_run", "config_of", "dataset"]
from ws3.store.verify import foreign_entries

RECIPES = {"cam": {"preset": "cam"}, "other": {"preset": "gradient"}}


SLIC = {"kind": "slic", "number": 6, "compactness": 1000}


def segments_of(name):
    return np.random.default_rng(len(name)).integers(0, 5, (16, 24))


@pytest.fixture
def changes(tmp_path):
    folder = tmp_path / "segments"
    folder.mkdir()
    for name in ("t0", "t1", "t2", "t3", "t4", "v0", "v1", "v2"):
        np.savez(folder / f"{name}.npz", labels=segments_of(name))
    return {
        "recipes": RECIPES,
        "segmentation__recipes": [],
        "masks__regions": {"kind": "files", "folder": str(folder), "place": "instead"},
    }


@pytest.fixture
def begun(classified_run, changes):
    """Return a run whose maps are there, drawn at random."""
    run = classified_run(**changes)
    for recipe in RECIPES:
        store = MapStore(run.results("maps", recipe))
        store.create({"kind": "maps", "recipe": recipe})
        for number, row in enumerate(run.index.rows):
            rng = np.random.default_rng(number + len(recipe))
            maps = rng.random((len(row.labels), row.height, row.width)).astype(np.float16)
            made_from = Fingerprints(run, recipe).of("maps", row)
            store.write(row.image, maps, {"fingerprint": made_from})
        threshold(run, recipe)
    return run


def damaged(run, repair=False):
    """Return the images with damaged results; of the classifier there is no file here."""
    return [one.image for one in check_run(run, repair=repair)[1] if one.image != "network"]


def only_ours(run):
    """Return whether the store has its groups alone, and nothing that was set aside."""
    store = run.results("regions", ALL_RECIPES)
    names = {path.name for path in store.iterdir()}
    images = {row.image for row in run.index.rows}
    return names == {"zarr.json", *images} and not list(foreign_entries(store, images))


def test_all_recipes_vote_with_the_same_segments(begun):
    work(begun, "regions", ALL_RECIPES)
    for recipe in RECIPES:
        work(begun, "masks", recipe)
        results = RecipeResults(begun, recipe)
        for row in begun.index.rows:
            segments = results.segments(row)
            assert np.array_equal(segments, segments_of(row.image))
            wanted = pseudo_mask(
                load_image(row),
                results.maps(row),
                begun.class_values(row),
                begun.threshold(recipe).for_masks,
                None,
                regions=Voters(segments, "mean", "instead"),
            )
            assert np.array_equal(results.mask(row), wanted)
    found = {(one.stage, one.recipe): (one.done, one.expected) for one in run_status(begun)}
    assert found["regions", ALL_RECIPES] == (8, 8)
    assert found["masks", "cam"] == found["masks", "other"] == (8, 8)
    assert damaged(begun) == []
    stage = open_stage(begun, "regions", "cam")
    assert stage.recipe == ALL_RECIPES
    assert all(stage.is_done(row, stage.fingerprint(row)) for row in begun.index.rows)


def test_masks_ask_for_the_regions_that_they_need(begun):
    with pytest.raises(Ws3Error, match=f"--recipe {ALL_RECIPES} --image"):
        work(begun, "masks", "cam")


def test_another_vote_makes_masks_again_and_no_segments(begun, config_of, changes):
    changes["masks__regions"] = {**changes["masks__regions"], "vote": "share"}
    other = Run(begun.folder, resolve(config_of(**changes)))
    row = begun.index.rows[0]
    before, after = Fingerprints(begun, "cam"), Fingerprints(other, "cam")
    assert before.of("regions", row) == after.of("regions", row)
    assert before.of("masks", row) != after.of("masks", row)
    assert before.of("maps", row) == after.of("maps", row)


def test_no_regions_leave_masks_with_the_fingerprint_that_they_had(begun, config_of, changes):
    del changes["masks__regions"]
    without = Run(begun.folder, resolve(config_of(**changes)))
    assert "regions" not in without.config.masks.model_dump(mode="json")
    row = begun.index.rows[0]
    assert Fingerprints(without, "cam").of("masks", row) != Fingerprints(begun, "cam").of(
        "masks", row
    )


def test_a_threshold_is_tuned_for_what_the_masks_are_cut_from(begun, config_of, changes):
    work(begun, "regions", ALL_RECIPES)
    changes["masks__background"] = {"kind": "tuned", "split": "train"}
    run = Run(begun.folder, resolve(config_of(**changes)))
    threshold(run, "cam")
    chosen = run.threshold("cam")
    results, rows = RecipeResults(run, "cam"), run.rows(["train"])
    best = {}
    for name in ("raw", "voted"):
        sweep = ThresholdSweep(2)
        for row in rows:
            maps, segments = results.maps(row), segments_of(row.image)
            for segment in (1, 2, 3, 4) if name == "voted" else ():
                inside = segments == segment
                maps[:, inside] = maps[:, inside].mean(axis=1, dtype=np.float64)[:, None]
            sweep.update(load_truth(run, row), maps, run.class_values(row))
        best[name] = sweep.best()[0]
    assert best["raw"] != best["voted"]
    assert (chosen.score, chosen.score_of("masks")) == (best["raw"], best["voted"])
    changes["masks__regions"] = {**changes["masks__regions"], "place": "after_crf"}
    run = Run(begun.folder, resolve(config_of(**changes)))
    threshold(run, "cam")
    assert run.threshold("cam").for_masks == run.threshold("cam").background


def test_a_changed_file_makes_its_image_again(begun, tmp_path):
    work(begun, "regions", ALL_RECIPES)
    before = {row.image: Fingerprints(begun, "cam").of("masks", row) for row in begun.index.rows}
    np.savez(tmp_path / "segments" / "t1.npz", labels=1 + segments_of("t1"))
    index(begun)
    changed = {
        row.image
        for row in begun.index.rows
        if Fingerprints(begun, "cam").of("masks", row) != before[row.image]
    }
    assert changed == {"t1"}
    with pytest.raises(StaleResultError, match="made from other inputs"):
        RecipeResults(begun, "cam").segments(begun.row("t1"))
    work(begun, "regions", ALL_RECIPES)
    segments = RecipeResults(begun, "cam").segments(begun.row("t1"))
    assert np.array_equal(segments, 1 + segments_of("t1"))
    assert only_ours(begun)


def test_damage_is_found_and_repaired(begun):
    work(begun, "regions", ALL_RECIPES)
    path = begun.result("regions", ALL_RECIPES, "t2") / "segments" / "c" / "0" / "0"
    path.write_bytes(path.read_bytes()[:-1])
    assert damaged(begun, repair=True) == ["t2"]
    work(begun, "regions", ALL_RECIPES)
    assert damaged(begun) == []
    assert only_ours(begun)


def test_a_missing_or_wrong_file_is_counted_and_fails_its_image_alone(begun, tmp_path):
    (tmp_path / "segments" / "t1.npz").unlink()
    np.savez(tmp_path / "segments" / "t2.npz", labels=np.zeros((3, 3), int))
    index(begun)
    warnings = read_record(begun.index_facts, IndexFacts).warnings
    assert "masks.regions: 1 of 8 images have no file there, such as t1" in warnings
    assert any("masks.regions: 1 of 7 files can't be used" in one for one in warnings)
    with pytest.raises(Ws3Error, match="2 images failed"):
        work(begun, "regions", ALL_RECIPES)
    RecipeResults(begun, "cam").segments(begun.row("t0"))


def test_superpixels_need_no_file(classified_run):
    pytest.importorskip("skimage", reason="scikit-image isn't installed")
    run = classified_run(recipes=RECIPES, segmentation__recipes=[], masks__regions=SLIC)
    run_images(run, open_stage(run, "regions", ALL_RECIPES), run.index.rows)
    assert RecipeResults(run, "cam").segments(run.row("t0")).max() > 1


def test_a_run_without_regions_says_so(bare_run):
    with pytest.raises(Ws3Error, match="this run has no regions"):
        open_stage(bare_run(), "regions", "cam")
