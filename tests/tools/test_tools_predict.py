"""`ws3 predict`: masks of photographs that belong to no run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predicted import NETWORK, give_network
from stage_work import work
from typer.testing import CliRunner

from ws3.cli.app import app
from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error
from ws3.masks.png import read_mask, read_text, write_mask
from ws3.segmentation.model import load_model, save_model
from ws3.segmentation.networks import build
from ws3.segmentation.prediction import PredictionSettings, predict_refined
from ws3.tensors import read_tensors, write_tensors
from ws3.tools.predict import MADE_BY

CLASSES = ("cat", "dog")


def ws3_predict(*arguments, status=0):
    done = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert done.exit_code == status, (done.output, done.exception)
    return done


def refusal(*arguments):
    done = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert isinstance(done.exception, Ws3Error), done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the file of a network with random weights, which knows two classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.pt"
    settings = PredictionSettings(scales=(0.75, 1.0), flip=False)
    save_model(path, build(NETWORK, 3, None), NETWORK, CLASSES, settings)
    return path


@pytest.fixture
def photos(tmp_path):
    """Return a folder of three photographs, two of them in a subfolder, and other files."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for name in ("one.JPG", "my trip/two.png", "my trip/二.webp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_text("no picture")
    return folder


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def common(model, photos, output):
    return ("--model", model, "--images", photos, "--output", output, "--device", "cpu")


def test_the_pixels_are_those_of_the_runs_predictions(small_run, tmp_path):
    run = small_run(
        segmentation__recipes=["cam"],
        segmentation__test_scales=[0.75, 1.25],
        segmentation__test_flip=True,
        segmentation__crf="irn",
    )
    give_network(run, "cam")
    work(run, "predictions", "cam")
    alone = tmp_path / "model.pt"
    alone.write_bytes(run.model_file("cam").read_bytes())
    photos = tmp_path / "photos"
    photos.mkdir()
    wanted = {}
    for row in run.rows(["val"]):
        shutil.copy(row.path, photos)
        wanted[row.image] = read_mask(run.result("predictions", "cam", row.image))
    shutil.rmtree(run.folder)
    ws3_predict(*common(alone, photos, tmp_path / "out"))
    assert len(wanted) == 3
    assert len(np.unique(np.stack([*wanted.values()]))) > 1, "masks of one value prove nothing"
    for image, mask in wanted.items():
        assert np.array_equal(read_label_mask(tmp_path / "out" / f"{image}.png"), mask)
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines() == list(run.index.classes)


def test_subfolders_and_names_are_kept(model, photos, tmp_path):
    out = tmp_path / "out"
    done = ws3_predict(*common(model, photos, out))
    assert tree(out) == ["classes.txt", "my trip/two.png", "my trip/二.png", "one.png"]
    assert "3 masks written, 1 other files left alone; 2 classes" in done.output
    assert "scales 0.75, 1, not mirrored, no CRF" in done.output
    with Image.open(out / "one.png") as image:
        assert (image.mode, image.size) == ("P", (56, 40))


def test_one_photograph_gray_with_probabilities_and_other_settings(model, photos, tmp_path):
    out, photo = tmp_path / "out", photos / "my trip" / "two.png"
    options = ("--mask-mode", "L", "--scales", "1,0.5", "--flip", "--probabilities", "--crf", "psa")
    done = ws3_predict(*common(model, photo, out), *options)
    assert "scales 1, 0.5, mirrored too, CRF" in done.output
    assert tree(out) == ["classes.txt", "two.npy", "two.png"]
    settings = PredictionSettings(scales=(1.0, 0.5), flip=True, crf=_psa())
    network = load_model(model).network
    wanted = predict_refined(network, np.array(Image.open(photo)), settings, "cpu")
    with Image.open(out / "two.png") as image:
        assert image.mode == "L"
        assert np.array_equal(np.array(image), wanted.argmax(axis=0))
    stored = np.load(out / "two.npy")
    assert stored.dtype == np.float16
    assert np.array_equal(stored, wanted.astype(np.float16))


def _psa():
    from ws3.masks.crf import PRESETS

    return PRESETS["psa"]


def test_what_is_there_is_kept_and_the_rest_is_made(model, photos, tmp_path):
    out = tmp_path / "out"
    ws3_predict(*common(model, photos, out))
    kept, gone = out / "one.png", out / "my trip" / "two.png"
    before, whole, mask = kept.stat(), kept.read_bytes(), gone.read_bytes()
    gone.unlink()
    done = ws3_predict(*common(model, photos, out))
    assert "1 masks written, 2 there already" in done.output
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert gone.read_bytes() == mask
    assert "3 masks written" in ws3_predict(*common(model, photos, out), "--overwrite").output
    assert kept.stat().st_ino != before.st_ino
    assert kept.read_bytes() == whole


def test_masks_of_others_are_neither_mixed_in_nor_lost(model, photos, tmp_path):
    out = tmp_path / "out"
    ws3_predict(*common(model, photos, out))
    done = ws3_predict(*common(model, photos, out), "--scales", "1", status=1)
    assert done.stderr.count("of another network, other settings or not of ws3") == 3
    write_mask(out / "one.png", np.full((2, 2), 7, np.uint8), {})
    done = ws3_predict(*common(model, photos, out), status=1)
    assert f"{out / 'one.png'}: something is there already" in done.stderr
    ws3_predict(*common(model, photos, out), "--overwrite")
    assert MADE_BY in read_text(out / "one.png")
    assert read_mask(out / "one.png.not-ws3").tolist() == [[7, 7], [7, 7]]


def test_arrays_and_class_lists_of_others_stay(model, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "classes.txt").write_text("mine\n")
    (out / "one.npy").write_bytes(b"mine")
    assert "something else is there already" in refusal(*common(model, photos, out))
    ws3_predict(*common(model, photos, out), "--overwrite")
    assert (out / "classes.txt.not-ws3").read_text() == "mine\n"
    (out / "one.png").unlink()
    done = ws3_predict(*common(model, photos, out), "--probabilities", status=1)
    assert f"{out / 'one.npy'}: something is there already" in done.stderr
    assert (out / "one.npy").read_bytes() == b"mine"
    ws3_predict(*common(model, photos, out), "--probabilities", "--overwrite")
    assert (out / "one.npy.not-ws3").read_bytes() == b"mine"
    assert np.load(out / "one.npy").shape == (3, 40, 56)
    before = (out / "one.npy").stat().st_mtime_ns
    (out / "my trip" / "two.npy").unlink()
    done = ws3_predict(*common(model, photos, out), "--probabilities")
    assert "1 masks written, 2 there already" in done.output
    assert (out / "one.npy").stat().st_mtime_ns == before


def test_bad_photographs_are_a_line_each(model, photos, tmp_path):
    whole = (photos / "one.JPG").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(photos / "deep.png")
    out = tmp_path / "out"
    done = ws3_predict(*common(model, photos, out), status=1)
    lines = [line for line in done.stderr.splitlines() if str(photos) in line]
    assert [line.split(": ")[0] for line in lines] == [
        str(photos / "cut.jpg"),
        str(photos / "deep.png"),
    ]
    assert "on_bad_image" not in done.stderr
    assert "3 masks written, 2 photographs without" in done.output
    assert "cut.png" not in tree(out)
    ws3_predict(*common(model, photos, out), "--on-bad-image", "skip")


def test_leftovers_of_a_killed_process_go(model, photos, tmp_path):
    left = tmp_path / "out" / ".tmp-one.png-4711-0123abcd"
    left.parent.mkdir()
    left.write_bytes(b"half")
    ws3_predict(*common(model, photos, tmp_path / "out"))
    assert not left.exists()


def test_an_output_inside_the_photographs_is_not_read(model, photos):
    out = photos / "masks"
    ws3_predict(*common(model, photos, out))
    assert "3 there already" in ws3_predict(*common(model, photos, out)).output


def test_what_is_wrong_is_said_before_anything_is_written(model, photos, tmp_path):
    out = tmp_path / "out"
    assert "don't go into the folder of the photographs" in refusal(*common(model, photos, photos))
    one = photos / "my trip" / "two.png"
    assert "would replace the photograph" in refusal(*common(model, one, one.parent))
    assert "no such folder or photograph" in refusal(*common(model, tmp_path / "no", out))
    assert "--scales: Input should be" in refusal(*common(model, photos, out), "--scales", "1,x")
    (tmp_path / "empty").mkdir()
    assert "there is no photograph" in refusal(*common(model, tmp_path / "empty", out))
    assert "model.pt can't be read" in refusal(*common(tmp_path / "model.pt", photos, out))
    shutil.copy(one, photos / "one.png")
    assert "would have one mask" in refusal(*common(model, photos, out))
    assert not out.exists()


def test_the_file_says_how_masks_are_made_and_an_older_one_has_defaults(model, tmp_path):
    assert load_model(model).prediction == PredictionSettings(scales=(0.75, 1.0), flip=False)
    content = read_tensors(model, "")
    older = tmp_path / "older.pt"
    write_tensors(older, {key: value for key, value in content.items() if key != "prediction"})
    assert load_model(older).prediction == PredictionSettings()
    write_tensors(older, {**content, "prediction": {"scales": [0.0]}})
    with pytest.raises(Ws3Error, match=r"its prediction settings are wrong: scales.0"):
        load_model(older)
