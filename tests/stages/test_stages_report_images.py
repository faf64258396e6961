"""The page of all images of a real run: figures against the files, and what is drawn again."""

from __future__ import annotations

import io
import json
import shutil
from unittest import mock

import numpy as np
import pytest
from bare_runs import merged
from PIL import Image
from stage_work import TWO_RECIPES, begun, work

from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error
from ws3.masks.png import read_mask
from ws3.report.image_pictures import draw_pictures
from ws3.run.folder import Run
from ws3.stages import report_images
from ws3.stages.evaluate import evaluate
from ws3.stages.report_images import write_images
from ws3.stages.threshold import threshold

CONFIG = merged(TWO_RECIPES, {"dataset__val_images": 4, "masks__crf": "none"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, untrained_classifier) -> Run:
    results = str(tmp_path_factory.mktemp("results"))
    run = begun({**CONFIG, "results": results}, untrained_classifier)
    for recipe in run.config.recipes:
        for stage in ("saliency", "maps", "masks"):
            if stage == "masks":
                threshold(run, recipe)
            work(run, stage, recipe)
        evaluate(run, recipe)
    assert write_images(run) == 4
    return run


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of the report's pictures with the rest of the run, to be changed."""
    kept = tmp_path / "kept"
    shutil.copytree(finished.report_file.parent, kept)
    yield finished
    shutil.rmtree(finished.report_file.parent)
    shutil.copytree(kept, finished.report_file.parent)


def folder(run):
    return run.report_file.parent / "images"


def loaded(path):
    text = path.read_text()
    assert text.startswith("ws3.load(")
    assert text.endswith(");\n")
    return json.loads(text[len("ws3.load(") : -len(");\n")])


def drawn(run):
    """Write the images again; return the number of those that were drawn."""
    with mock.patch.object(report_images, "draw_pictures", side_effect=draw_pictures) as draw:
        write_images(run)
    return draw.call_count


def test_iou_and_contradictions_equal_those_of_the_files(finished):
    found = loaded(folder(finished) / "index.js")
    rows = finished.rows(["val"])
    assert found["names"] == [row.title for row in rows]
    assert [layer["recipe"] for layer in found["layers"]] == ["cam", "flipped"]
    for layer in found["layers"]:
        for place, row in enumerate(rows):
            truth = read_label_mask(row.mask)
            mask = read_mask(finished.result("masks", layer["recipe"], row.image))
            shares = [
                ((truth == value) & (mask == value)).sum() / union
                for value in range(4)
                if (union := ((truth == value) | (mask == value)).sum())
            ]
            assert layer["iou"][place] == round(1000 * float(np.mean(shares)))
            shown = set(np.unique(mask)) - {0, 255}
            assert layer["contradictions"][place] == len(shown ^ set(finished.class_values(row)))


def test_shares_and_colours_say_who_finds_which_object_pixels(finished):
    shares = loaded(folder(finished) / "facts-0.js")["shares"]
    for place, row in enumerate(finished.rows(["val"])):
        truth = read_label_mask(row.mask)
        cam, other = (
            read_mask(finished.result("masks", name, row.image)) == truth
            for name in ("cam", "flipped")
        )
        objects = (truth != 0) & (truth != 255)
        expected = [
            (objects & one & two).sum() / objects.sum()
            for one, two in ((cam, other), (cam, ~other), (~cam, other), (~cam, ~other))
        ]
        # The tile is larger or smaller than the mask; each pixel of it is one of the mask's.
        assert shares[place][0] == pytest.approx(expected, abs=0.02)
        with Image.open(folder(finished) / f"{row.image}.regions.png") as picture:
            palette = picture.getpalette() or []
            pixels = np.asarray(picture)
        assert pixels.shape == (240, 240)
        assert palette[3:6] == [0x00, 0x72, 0xB2]
        assert (pixels == 1).sum() / (pixels > 0).sum() == pytest.approx(
            shares[place][0][0], abs=1e-4
        )


def test_a_second_report_draws_nothing(run):
    before = {path.name: path.read_bytes() for path in folder(run).iterdir()}
    assert drawn(run) == 0
    assert {path.name: path.read_bytes() for path in folder(run).iterdir()} == before


def test_a_report_that_was_killed_goes_on(run):
    shutil.rmtree(folder(run))

    def killed(*arguments):
        if draw.call_count == 3:
            raise Ws3Error("killed")
        return draw_pictures(*arguments)

    with (
        mock.patch.object(report_images, "draw_pictures", side_effect=killed) as draw,
        pytest.raises(Ws3Error, match="killed"),
    ):
        write_images(run)
    # A kill can cut a line of the notes off, too.
    notes = folder(run) / "made.jsonl"
    notes.write_text(notes.read_text() + '{"image": "val_00')
    assert drawn(run) == 2
    assert drawn(run) == 0


@pytest.mark.parametrize("harm", ["removed", "cut off"])
def test_a_picture_that_is_not_whole_is_drawn_again(run, harm):
    path = sorted(folder(run).glob("*.maps.jpg"))[1]
    whole = path.read_bytes()
    path.unlink() if harm == "removed" else path.write_bytes(whole[:-10])
    assert drawn(run) == 1
    assert path.read_bytes() == whole


def test_another_drawing_draws_all_again(run, monkeypatch):
    monkeypatch.setattr(report_images, "DRAWING", "another")
    assert drawn(run) == 4


def test_pictures_of_images_that_left_the_run_are_removed(run):
    stranger = folder(run) / "holiday.jpg"
    stranger.write_bytes(b"not ours")
    old = "gone.photo.jpg"
    shutil.copy(next(folder(run).glob("*.photo.jpg")), folder(run) / old)
    entry = json.loads((folder(run) / "made.jsonl").read_text().splitlines()[0])
    entry |= {"image": "gone", "file": "gone"}
    with (folder(run) / "made.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")
    assert drawn(run) == 0
    assert not (folder(run) / old).exists()
    assert stranger.exists()


def test_a_link_in_place_of_the_notes_is_not_followed(run, tmp_path):
    notes, elsewhere = folder(run) / "made.jsonl", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    notes.unlink()
    notes.symlink_to(elsewhere)
    assert drawn(run) == 4
    assert elsewhere.read_text() == "mine"
    assert not notes.is_symlink()


def test_a_link_in_place_of_the_folder_is_refused(run, tmp_path):
    images, elsewhere = folder(run), tmp_path / "elsewhere"
    images.rename(elsewhere)
    images.symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir())
    with pytest.raises(Ws3Error, match="symbolic link"):
        write_images(run)
    assert sorted(elsewhere.iterdir()) == before
    images.unlink()
    images.mkdir()


def test_what_a_killed_writer_left_is_removed(run):
    leftover = folder(run) / ".tmp-val_0000.maps.jpg-4711-0123abcd"
    leftover.write_bytes(b"half")
    assert drawn(run) == 0
    assert not leftover.exists()


def test_the_mask_sheet_holds_truth_and_masks_one_below_the_other(finished):
    row = finished.rows(["val"])[0]
    data = (folder(finished) / f"{row.image}.masks.png").read_bytes()
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.info["transparency"] == 0
        tiles = np.asarray(picture).reshape(3, 240, 240)
    masks = [read_mask(finished.result("masks", name, row.image)) for name in ("cam", "flipped")]
    for tile, mask in zip(tiles, [read_label_mask(row.mask), *masks], strict=True):
        side = np.minimum((np.arange(240) * 64) // 240, 63)
        np.testing.assert_array_equal(tile, mask[np.ix_(side, side)])
