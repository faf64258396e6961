"""Maps and masks of other programs as recipes: what is taken over, and what is said of it."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import zarr
from bare_runs import TRAIN, VAL
from PIL import Image
from typer.testing import CliRunner

from ws3.cli.app import app
from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import open_stage, run_images
from ws3.masks.png import read_mask
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import Evaluation, IndexFacts, read_record
from ws3.run.results import RecipeResults
from ws3.run.verify import check_run
from ws3.stages.evaluate import evaluate
from ws3.stages.index import index, index_is_current, write_config
from ws3.stages.threshold import threshold
from ws3.tools.export import export

LABELS = {name: number % 2 for number, name in enumerate([*TRAIN, *VAL])}


def drawn(name, size=(16, 24)):
    """Return maps of an image's classes, by class, drawn at random."""
    rng = np.random.default_rng(sum(map(ord, name)))
    keys = [0, 1] if name == "t3" else [LABELS[name]]
    return {key: rng.random(size, np.float32) for key in keys}


def imported(**settings):
    return {
        "recipes": {"theirs": {"import": settings}},
        "reference_recipe": "theirs",
        "segmentation__recipes": [],
    }


def warnings_of(run):
    """Return what the index says of the import; the photographs' own masks are a bit odd."""
    warnings = read_record(run.index_facts, IndexFacts).warnings
    return [one for one in warnings if one.startswith("recipe theirs")]


def made(run, stage="maps", recipe="theirs"):
    run_images(run, open_stage(run, stage, recipe), run.index.rows)
    return {row.image: RecipeResults(run, recipe).maps(row) for row in run.index.rows}


def write_dicts(folder, change=lambda maps: maps):
    folder.mkdir(parents=True, exist_ok=True)
    for name in LABELS:
        np.save(folder / f"{name}.npy", np.array(change(drawn(name)), dtype=object))


def as_irn(maps):
    return {"keys": np.array(list(maps)), "high_res": np.stack(list(maps.values())), "cam": None}


def as_array(maps):
    return np.stack(list(maps.values()))


def write_npy(folder):
    for name in LABELS:
        np.save(folder / f"{name}.npy", as_array(drawn(name)))


def write_npz(folder):
    for name in LABELS:
        np.savez(
            folder / f"{name}.npz", **{("cat", "dog")[key]: m for key, m in drawn(name).items()}
        )


def write_zarr(folder):
    for name in LABELS:
        zarr.save_array(folder / name, as_array(drawn(name)))


def write_png(folder):
    for name in LABELS:
        (folder / name).mkdir()
        for key, one in drawn(name).items():
            values = np.round(one * 65535).astype(np.uint16)
            Image.fromarray(values).save(folder / name / f"{('cat', 'dog')[key]}.png")


def write_all(folder):
    """Write arrays of all classes, the background first."""
    for name in LABELS:
        maps = np.full((3, 16, 24), 0.01, np.float32)
        for key, one in drawn(name).items():
            maps[key + 1] = one
        np.save(folder / f"{name}.npy", maps)


WRITERS = {
    "irn": ("npy-dict", lambda folder: write_dicts(folder, as_irn)),
    "seam": ("npy-dict", write_dicts),
    "npy": ("npy", write_npy),
    "all": ("npy", write_all),
    "npz": ("npz", write_npz),
    "zarr": ("zarr", write_zarr),
    "tensorstore": ("tensorstore", write_zarr),
    "png": ("png", write_png),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_maps_of_every_format_are_taken_over_as_they_are(bare_run, tmp_path, kind):
    name, write = WRITERS[kind]
    (tmp_path / "theirs").mkdir()
    write(tmp_path / "theirs")
    run = bare_run(**imported(maps=str(tmp_path / "theirs"), format=name))
    assert not warnings_of(run)
    for image, maps in made(run).items():
        wanted = as_array(drawn(image))
        assert np.abs(maps - wanted).max() < (2e-3 if kind == "png" else 3e-4)
        if kind != "png":
            assert np.array_equal(maps, wanted.astype(np.float16))


def test_maps_exported_as_irn_dicts_and_imported_give_the_same_figures(mapped, config_of, tmp_path):
    threshold(mapped, "cam")
    run_images(mapped, open_stage(mapped, "masks", "cam"), mapped.index.rows)
    evaluate(mapped, "cam")
    assert export(mapped, "cam", "irn", tmp_path / "irn") == {"train": 5, "val": 3}
    again = Run.of(
        resolve(
            config_of(
                run="again",
                masks__background={"kind": "tuned", "split": "train"},
                **imported(maps=str(tmp_path / "irn")),
            )
        )
    )
    write_config(again)
    index(again)
    maps = made(again)
    threshold(again, "theirs")
    run_images(again, open_stage(again, "masks", "theirs"), again.index.rows)
    evaluate(again, "theirs")
    for row in mapped.index.rows:
        assert np.array_equal(maps[row.image], RecipeResults(mapped, "cam").maps(row))
        one, other = (run.result("masks", name, row.image) for run, name in pairs(mapped, again))
        assert np.array_equal(read_mask(one), read_mask(other))
    before, after = (
        read_record(run.evaluation_file(name), Evaluation) for run, name in pairs(mapped, again)
    )
    assert before.splits == after.splits
    assert mapped.threshold("cam").score == again.threshold("theirs").score


def pairs(before, after):
    return (before, "cam"), (after, "theirs")


def test_irnets_own_reading_of_the_exported_dicts_works(mapped, tmp_path):
    threshold(mapped, "cam")
    run_images(mapped, open_stage(mapped, "masks", "cam"), mapped.index.rows)
    export(mapped, "cam", "irn", tmp_path / "irn")
    # As in step/cam_to_ir_label.py and step/make_sem_seg_labels.py of IRNet.
    cam_dict = np.load(tmp_path / "irn" / "t3.npy", allow_pickle=True).item()
    keys = np.pad(cam_dict["keys"] + 1, (1, 0), mode="constant")
    assert keys.tolist() == [0, 1, 2]
    cams = np.pad(
        cam_dict["high_res"], ((1, 0), (0, 0), (0, 0)), mode="constant", constant_values=0.3
    )
    assert set(np.unique(keys[np.argmax(cams, axis=0)])) <= {0, 1, 2}
    assert cam_dict["cam"].cpu().shape == (2, 4, 6)


def test_small_maps_are_enlarged_as_opencv_does_and_counted(bare_run, tmp_path):
    folder = tmp_path / "theirs"
    small = {name: drawn(name, (4, 6)) for name in LABELS}
    folder.mkdir()
    for name, maps in small.items():
        np.save(folder / f"{name}.npy", np.array(maps, dtype=object))
    run = bare_run(**imported(maps=str(folder)))
    facts = read_record(run.index_facts, IndexFacts).facts
    assert any("8 of 8 files have another size than their images" in fact for fact in facts)
    for image, maps in made(run).items():
        for one, given in zip(maps, small[image].values(), strict=True):
            wanted = cv2.resize(given, (24, 16), interpolation=cv2.INTER_LINEAR)
            assert np.array_equal(one, wanted.astype(np.float16))


@pytest.mark.parametrize(
    ("normalise", "rule"),
    [
        ("max", lambda one: np.maximum(one, 0) / one.max()),
        ("range", lambda one: (one - one.min()) / (one.max() - one.min())),
    ],
)
def test_values_of_any_scale_are_normalised_if_asked_for(bare_run, tmp_path, normalise, rule):
    def logits(maps):
        return {key: 40 * one - 10 for key, one in maps.items()}

    write_dicts(tmp_path / "theirs", logits)
    with pytest.raises(Ws3Error, match=r"outside \[0, 1\]; set import.normalise to max or range"):
        bare_run(**imported(maps=str(tmp_path / "theirs")))
    run = bare_run(**imported(maps=str(tmp_path / "theirs"), normalise=normalise))
    for image, maps in made(run).items():
        for one, given in zip(maps, logits(drawn(image)).values(), strict=True):
            assert np.abs(one - rule(given)).max() < 1e-3


def spoil(folder, name, content):
    np.save(folder / f"{name}.npy", np.array(content, dtype=object))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({0: np.full((16, 24), np.nan)}, "its maps hold NaN"),
        ({0: np.full((16, 24), 2.0)}, "hold values from 2 to 2, outside"),
        ({0: np.zeros((24, 16))}, "another aspect than that of the image, 16 x 24"),
        ({1: np.zeros((16, 24))}, "it holds no map of 'cat', which the image shows"),
        ({9: np.zeros((16, 24))}, "a map of the class 9, but the classes are 0 to 1"),
        ({0: np.zeros((16, 24), np.int64)}, "its maps hold int64"),
        ({"keys": np.array([0, 1]), "high_res": np.zeros((1, 16, 24))}, "2 keys and 1 maps"),
        ({"keys": np.array([0])}, "there must be one of: high_res, cam"),
    ],
)
def test_a_file_that_cannot_be_right_is_named_and_fails_its_image_alone(
    bare_run, tmp_path, content, sentence
):
    folder = tmp_path / "theirs"
    write_dicts(folder)
    spoil(folder, "t2", content)
    run = bare_run(**imported(maps=str(folder)))
    warnings = warnings_of(run)
    assert any("1 of 8 files can't be used" in one and sentence in one for one in warnings)
    with pytest.raises(Ws3Error, match=re.escape(sentence)):
        made(run)
    results = RecipeResults(run, "theirs")
    for row in run.index.rows:
        if row.image != "t2":
            assert len(results.maps(row)) == len(row.labels)


def test_missing_files_are_counted_and_shown(bare_run, tmp_path):
    folder = tmp_path / "theirs"
    write_dicts(folder)
    (folder / "t1.npy").unlink()
    spoil(folder, "of_no_image", {0: np.zeros((2, 3))})
    run = bare_run(**imported(maps=str(folder)))
    said = CliRunner().invoke(app, ["status", str(run.folder)], catch_exceptions=False).output
    assert "Recipe theirs takes maps (npy-dict) of 7 images from" in said
    assert "1 more files there are of no image of this run" in said
    assert "Warning: recipe theirs: 1 of 8 images have no file there, such as t1." in said
    with pytest.raises(Ws3Error, match=f"there is no file of it in {folder}"):
        made(run)


def test_classes_in_another_order_are_refused_until_it_is_told(bare_run, tmp_path):
    folder = tmp_path / "theirs"
    write_dicts(folder, lambda maps: {1 - key: one for key, one in maps.items()})
    (folder / "t3.npy").unlink()
    with pytest.raises(Ws3Error, match=r"none of the 8 images .*import\.classes"):
        bare_run(**imported(maps=str(folder)))
    run = bare_run(**imported(maps=str(folder), classes=["dog", "cat"]))
    run_images(
        run, open_stage(run, "maps", "theirs"), [row for row in run.index.rows if row.image != "t3"]
    )
    row = run.row("t0")
    assert np.array_equal(RecipeResults(run, "theirs").maps(row)[0], drawn("t0")[0].astype("f2"))


def test_a_strongest_map_of_a_wrong_class_is_a_warning(bare_run, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name, key in LABELS.items():
        maps = np.full((2, 16, 24), 0.1, np.float32)
        maps[1 - key] = 0.9
        np.save(folder / f"{name}.npy", maps)
    run = bare_run(**imported(maps=str(folder), format="npy"))
    warnings = warnings_of(run)
    assert any("7 of 8 files are strongest for a class" in one for one in warnings)


def test_masks_are_the_pseudo_masks_as_they_are_or_refined(bare_run, config_of, tmp_path):
    folder = tmp_path / "masks_of_others"
    folder.mkdir()
    rng = np.random.default_rng(0)
    given = {}
    for name, key in LABELS.items():
        values = [0, 1, 2, 255] if name == "t3" else [0, key + 1, 255]
        given[name] = rng.choice(np.array(values, np.uint8), (16, 24))
        Image.fromarray(given[name]).save(folder / f"{name}.png")
    run = bare_run(**imported(masks=str(folder)))
    warnings = warnings_of(run)
    assert not warnings
    maps = made(run)
    threshold(run, "theirs")
    run_images(run, open_stage(run, "masks", "theirs"), run.index.rows)
    results = RecipeResults(run, "theirs")
    for row in run.index.rows:
        mask = results.mask(row)
        assert np.array_equal(mask, given[row.image])
        for value, one in zip(run.class_values(row), maps[row.image], strict=True):
            assert np.array_equal(one, mask == value)
    evaluate(run, "theirs")
    refined = Run(run.folder, resolve(config_of(**imported(masks=str(folder), refine=True))))
    run_images(refined, open_stage(refined, "masks", "theirs"), run.index.rows)
    masks = [RecipeResults(refined, "theirs").mask(row) for row in run.index.rows]
    assert not any((mask == 255).any() for mask in masks)


def test_a_changed_file_is_noticed_and_only_its_image_is_made_again(bare_run, tmp_path):
    folder = tmp_path / "theirs"
    write_dicts(folder)
    run = bare_run(**imported(maps=str(folder)))
    before = made(run)
    made_from = {row.image: Fingerprints(run, "theirs").of("maps", row) for row in run.index.rows}
    assert check_run(run, repair=False)[1] == []
    listing = run.index
    assert index_is_current(run, listing)
    spoil(folder, "t1", {1: drawn("t1")[1] / 2})
    assert not index_is_current(run, listing)
    run.result("maps", "theirs", "t1")
    with pytest.raises(Ws3Error, match="this file changed after it was indexed"):
        open_stage(run, "maps", "theirs").compute(run.row("t1"), "", _timer())
    index(run)
    assert index_is_current(run, listing)
    changed = {
        row.image
        for row in run.index.rows
        if Fingerprints(run, "theirs").of("maps", row) != made_from[row.image]
    }
    assert changed == {"t1"}
    with pytest.raises(StaleResultError, match="made from other inputs"):
        RecipeResults(run, "theirs").maps(run.row("t1"))
    assert np.array_equal(made(run)["t1"], before["t1"] / 2)


def _timer():
    from ws3.run.phases import PhaseTimer

    return PhaseTimer(0.0)


def test_a_folder_elsewhere_with_the_same_files_leaves_results_valid(bare_run, config_of, tmp_path):
    write_dicts(tmp_path / "theirs")
    run = bare_run(**imported(maps=str(tmp_path / "theirs")))
    made(run)
    (tmp_path / "theirs").rename(tmp_path / "moved")
    moved = Run(run.folder, resolve(config_of(**imported(maps=str(tmp_path / "moved")))))
    assert not index_is_current(moved, run.index)
    index(moved)
    for row in moved.index.rows:
        RecipeResults(moved, "theirs").maps(row)


def test_an_imported_recipe_has_no_samples(bare_run, tmp_path):
    write_dicts(tmp_path / "theirs")
    run = bare_run(**imported(maps=str(tmp_path / "theirs")))
    with pytest.raises(Ws3Error, match="has no samples \\(import\\)"):
        open_stage(run, "saliency", "theirs")


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"import": {}}, "give either maps or masks"),
        ({"import": {"maps": "a", "masks": "b"}}, "give either maps or masks"),
        ({"import": {"masks": "b", "normalise": "max"}}, "normalise is for maps"),
        ({"import": {"maps": "b", "refine": True}}, "refine is for masks"),
        ({"import": {"maps": "~nobody_at_all/a"}}, "there is no such user on this machine"),
        ({"import": {"maps": "a"}, "samples": {"kind": "full"}}, "import has no samples"),
        ({"import": {"maps": "a"}, "preset": "cam"}, "a recipe with import has no"),
        ({"import": {"maps": "a"}, "method": "cam"}, "import has no method"),
        ({"samples_from": "ok"}, "import has no samples_from"),
    ],
)
def test_a_recipe_is_imported_or_computed(config_of, recipe, sentence):
    data = config_of(segmentation__recipes=[])
    data["recipes"] = {"cam": {"preset": "cam"}, "ok": {"import": {"maps": "a"}}, "x": recipe}
    with pytest.raises(Ws3Error, match=sentence):
        resolve(data)
