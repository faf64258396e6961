"""What Jupyter shows of a run, a recipe and an image."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluated_run import evaluated
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from report_pages import Page

import ws3
from ws3.config.load import resolve
from ws3.report.notebook import image_iou
from ws3.run.folder import Run
from ws3.stages.index import index, write_config

HOSTILE = "<script>alert(1)</script>'\"&"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, untrained_classifier) -> Run:
    return evaluated(tmp_path_factory.mktemp("results"), untrained_classifier)


@pytest.fixture
def run(finished):
    return ws3.open_run(finished.folder)


def pictures(html: str) -> dict[str, tuple[int, int]]:
    """Return the size of each picture by its title; all are in the text itself."""
    found = {}
    for source, title in re.findall(r'<img src="([^"]+)" alt="([^"]+)"', html):
        kind, _, data = source.partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            found[title] = picture.size
    assert len(re.findall("<img ", html)) == len(re.findall("<img src=.data:", html))
    return found


def test_a_run_shows_its_classes_figures_and_images(run, finished) -> None:
    html = run._repr_html_()
    page = Page(html)
    words = " ".join(page.words)
    assert "2 train images, 3 val images" in words
    assert set(run.classes) <= set(page.words)
    (row,) = [row for row in run.summary() if (row["recipe"], row["stage"]) == ("cam", "masks")]
    (shown,) = page.rows_of("cam")
    low, high = row["miou_low"], row["miou_high"]
    assert shown[3] == f"{100 * row['miou']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    assert len(pictures(html)) == 5
    assert all(max(size) == 160 for size in pictures(html).values())
    assert not re.search(r"<script|<style|<link|https?://", html)


def test_an_image_shows_what_each_recipe_made_of_it(run) -> None:
    image = next(name for name in run.images if run.labels(name) and run.split(name) == "val")
    shown = run.show(image)
    html = shown._repr_html_()
    titles = re.findall(r'alt="([^"]+)"', html)
    maps = [f"map: {label}" for label in run.labels(image)]
    assert titles == ["photograph", "ground truth", *(2 * [*maps, "pseudo-mask"])]
    pictures(html)
    expected = image_iou(run["cam"].mask(image), shown.truth)
    assert expected is not None
    assert f"IoU {100 * expected:.1f} %" in html
    assert np.array_equal(shown.mask("cam"), run["cam"].mask(image))
    assert np.array_equal(shown.photo, run.image(image))
    assert shown.labels == run.labels(image)


def test_a_recipe_shows_what_it_sets(run) -> None:
    settings = {row[0]: row[1] for row in Page(run["cam"]._repr_html_()).rows if len(row) == 2}
    assert settings["samples.kind"] == "scales"
    assert settings["method"] == "cam"
    assert "aggregation.smoothing" not in settings  # as it is by default
    html = run["cam"]._repr_html_()
    assert "arXiv 1512.04150" in html
    assert "pseudo-mask" in pictures(html)
    alone = ws3.Recipe(method="gradient", samples={"kind": "crops", "count": 7})._repr_html_()
    assert {"samples.count", "7"} <= {cell for row in Page(alone).rows for cell in row}


def hostile_run(tmp_path: Path) -> Run:
    root = tmp_path / "photos"
    (root / "images").mkdir(parents=True)
    for name in ("<b>one", "two"):
        Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(root / "images" / f"{name}.png")
    (root / "labels.csv").write_text(
        f'image,labels\n<b>one,"{HOSTILE.replace(chr(34), 2 * chr(34))}"\ntwo,\n'
    )
    data = {
        "run": "hostile",
        "results": str(tmp_path / "results"),
        "dataset": {"kind": "folder", "root": str(root), "val": None},
        "evaluation": {"splits": ["train"]},
        "recipes": {"cam": {"preset": "cam"}},
    }
    run = Run.of(resolve(data))
    write_config(run)
    index(run)
    return run


def test_names_from_data_are_words_and_what_is_missing_is_said(tmp_path) -> None:
    run = ws3.open_run(hostile_run(tmp_path).folder)
    image = next(name for name in run.images if run.labels(name))
    for shown in (run, run["cam"], run.show(image)):
        page = Page(shown._repr_html_())
        assert "script" not in page.tags
        assert "b" not in page.tags
    assert HOSTILE in Page(run._repr_html_()).words
    assert "not evaluated yet" in " ".join(Page(run._repr_html_()).words)
    assert "nothing is stored yet" in run.show(image)._repr_html_()


def test_a_run_that_was_not_indexed_says_so_and_raises_nothing(finished, tmp_path) -> None:
    (tmp_path / "config.yaml").write_bytes((finished.folder / "config.yaml").read_bytes())
    assert "not indexed" in ws3.open_run(tmp_path)._repr_html_()


def test_nobody_needs_jupyter(run, monkeypatch) -> None:
    for name in ("IPython", "ipykernel", "jupyter_client"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    assert run._repr_html_().startswith("<div>")


MASKS = arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, 255]))


@given(MASKS, MASKS)
def test_the_iou_of_an_image_is_that_of_counted_pixels(mask, truth) -> None:
    pairs = [(a, b) for a, b in zip(mask.ravel(), truth.ravel(), strict=True) if 255 not in (a, b)]
    classes = {value for pair in pairs for value in pair}
    shares = []
    for value in classes:
        both = sum(a == b == value for a, b in pairs)
        either = sum(value in pair for pair in pairs)
        shares.append(both / either)
    expected = sum(shares) / len(shares) if shares else None
    assert image_iou(mask, truth) == (None if expected is None else pytest.approx(expected))
