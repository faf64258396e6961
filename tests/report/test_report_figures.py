import itertools
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from made_records import evaluation_of
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from ws3.errors import Ws3Error
from ws3.report.drawings import confusion_drawing, distance_drawing
from ws3.report.figures import (
    DARK,
    LIGHT,
    distance_chart,
    image_panel,
    miou_chart,
    recall_chart,
    region_drawing,
    samples_histogram,
    save,
    sweep_chart,
)
from ws3.report.model import scores_of

SVG = "{http://www.w3.org/2000/svg}"


def scores(*levels, **changes):
    found = []
    for number, level in enumerate(levels):
        metrics = {
            "miou": level,
            "dr_recall": level,
            "ndr_recall": level,
            "threshold": 0.3,
            "sweep": [[0.0, 0.1], [0.3, level], [1.0, 0.0]],
            **changes,
        }
        found.append(evaluation_of(f"r{number}", {"val": {"maps": metrics, "masks": metrics}}))
    return scores_of(found)


def texts(path):
    return ["".join(node.itertext()).strip() for node in ET.parse(path).iter(f"{SVG}text")]  # noqa: S314


def test_bars_bear_their_numbers_and_undefined_ones_have_none(tmp_path):
    maps = [score for score in scores(0.412, None) if score.stage == "maps"]
    save(miou_chart(maps, "r0"), tmp_path / "bars.svg")
    words = texts(tmp_path / "bars.svg")
    assert "41.2" in words
    assert "(reference)" in words
    assert {"r0", "r1", "score maps"} <= {word.split("\n")[0] for word in words}
    assert "segmentation" not in words
    assert not any("nan" in word.lower() or "none" in word.lower() for word in words)


def test_bars_are_as_long_as_their_numbers():
    figure = miou_chart(scores(0.25, 0.5), "r0")
    lengths = sorted(
        bar.get_width() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)
    )
    assert lengths == [0.25, 0.25, 0.5, 0.5]
    assert not figure.axes[0].lines


def test_a_line_shows_the_interval_of_a_bar():
    figure = miou_chart(scores(0.25, intervals={"miou": (0.2, 0.35)}), "r0")
    assert [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines] == [
        [0.2, 0.35]
    ] * 2
    numbers = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    assert [text.xy[0] for text in numbers] == [0.35, 0.35]  # to the right of the line


def test_sweep_marks_the_threshold_in_use():
    axes = sweep_chart(scores(0.4)[:1]).axes[0]
    curve, dot = axes.lines
    assert np.asarray(curve.get_xdata()).tolist() == [0.0, 0.3, 1.0]
    assert np.asarray(dot.get_data()).tolist() == [[0.3], [0.4]]


def test_recall_chart_leaves_undefined_recipes_out(tmp_path):
    save(recall_chart(scores(0.4, None)), tmp_path / "recalls.svg")
    assert "r0" in texts(tmp_path / "recalls.svg")
    assert "r1" not in texts(tmp_path / "recalls.svg")


def test_region_drawing_names_the_four_regions(tmp_path):
    save(region_drawing(), tmp_path / "regions.svg")
    assert {"DR", "NDR", "FPR-region", "TN-region"} <= set(texts(tmp_path / "regions.svg"))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$\\frac{$", "x" * 100, "a & b"])
def test_names_are_words_and_never_markup_or_formulas(tmp_path, name):
    renamed = [
        evaluation_of(name, {"val": {"maps": {"miou": 0.4, "sweep": [[0.0, 0.1], [1.0, 0.2]]}}})
    ]
    for number, figure in enumerate(
        (miou_chart(scores_of(renamed), name), sweep_chart(scores_of(renamed)))
    ):
        path = tmp_path / f"{number}.svg"
        save(figure, path)
        shown = " ".join(texts(path))
        assert name in shown or name[:20] in shown
        assert not list(ET.parse(path).iter(f"{SVG}script"))  # noqa: S314


def test_many_recipes_are_told_apart_by_shape_as_well_as_colour():
    axes = sweep_chart(scores(*[0.3] * 12)[:12]).axes[0]
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.lines[::2]]
    assert len(looks) == 12
    neighbours = itertools.pairwise(looks)
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in neighbours)


@pytest.mark.parametrize("name", ["picture.jpg", "picture"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(Ws3Error, match=r"ends in \.png, \.svg or \.pdf"):
        save(region_drawing(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_figures_ignore_the_readers_settings_and_leave_them_alone(tmp_path):
    save(region_drawing(), tmp_path / "plain.svg")
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other"}):
        before = dict(matplotlib.rcParams)
        save(region_drawing(), tmp_path / "other.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize(("theme", "card"), [(LIGHT, "#ffffff"), (DARK, "#191e27")])
def test_colours_stand_out_from_the_page(theme, card):
    assert contrast(theme.text, card) >= 7
    assert contrast(theme.muted, card) >= 4.5
    # WCAG 2.1, 1.4.11: graphical objects.
    assert min(contrast(colour, card) for colour in theme.series) >= 3


FALLING = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, None, 0.1]


def test_the_distance_chart_draws_each_share_at_the_middle_of_its_tenth():
    axes = distance_chart({"cam": FALLING}).axes[0]
    (line,) = axes.lines
    assert np.asarray(line.get_xdata()) == pytest.approx(np.arange(0.05, 1, 0.1))
    assert np.asarray(line.get_ydata()) == pytest.approx(
        [np.nan if share is None else share for share in FALLING], nan_ok=True
    )


def test_a_recipe_without_distances_is_left_out_and_the_others_keep_their_looks(tmp_path):
    both = distance_chart({"cam": FALLING, "crops": FALLING}).axes[0].lines[-1]
    figure = distance_chart({"cam": (), "crops": FALLING})
    (alone,) = figure.axes[0].lines
    for look in ("get_color", "get_linestyle", "get_marker"):
        assert getattr(alone, look)() == getattr(both, look)()
    save(figure, tmp_path / "chart.svg")
    assert "crops" in texts(tmp_path / "chart.svg")
    assert "cam" not in texts(tmp_path / "chart.svg")


def test_deviations_of_the_shares_are_bars():
    figure = distance_chart({"cam": [0.5] * 10}, deviations={"cam": [0.1] * 9 + [None]})
    (bars,) = figure.axes[0].collections
    ends = [np.asarray(path.vertices)[:, 1].tolist() for path in bars.get_paths()]
    assert ends == [pytest.approx([0.4, 0.6])] * 9 + [[0.5, 0.5]]


def test_the_drawing_of_distances_names_both_ends_and_the_tenths(tmp_path):
    save(distance_drawing(), tmp_path / "distance.svg")
    words = set(texts(tmp_path / "distance.svg"))
    assert {"peak", "far end", "0", "10", "90", "100"} <= words


def test_the_drawing_of_confusions_bears_pixels_and_shares(tmp_path):
    matrix = [[900, 80, 20], [10, 40, 0], [30, 12, 58]]
    save(confusion_drawing(["background", "cat", "dog"], matrix), tmp_path / "confusion.svg")
    words = " ".join(texts(tmp_path / "confusion.svg"))
    for cell in ("900 px", "90 %", "12 px", "12 %", "58 px", "0 px"):
        assert cell in words
    assert "of the pixels that are dog, 12 % are called cat" in " ".join(words.split())


def test_a_histogram_has_a_row_per_recipe_and_a_bar_per_number_of_samples(tmp_path):
    figure = samples_histogram({"crops": (24, 24, 48, 96), "noise": (16,)})
    bars = [[b for b in axes.patches if isinstance(b, Rectangle)] for axes in figure.axes]
    heights = [[bar.get_height() for bar in row] for row in bars]
    centres = [[bar.get_center()[0] for bar in row] for row in bars]
    assert heights == [[2, 1, 1], [1]]
    np.testing.assert_allclose(centres[0], [24, 48, 96])
    np.testing.assert_allclose(centres[1], [16])
    assert [axes.get_title("left") for axes in figure.axes] == ["crops", "noise"]
    save(figure, tmp_path / "a.svg")
    again = samples_histogram({"crops": (24, 24, 48, 96), "noise": (16,)})
    save(again, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_panel_says_of_how_many_samples_a_map_is():
    image = np.zeros((8, 8, 3), np.uint8)
    maps = {"crops": np.zeros((1, 8, 8)), "cam": np.zeros((1, 8, 8))}
    figure = image_panel(image, maps, ["cat"], {}, None, None, class_ids=[0], samples={"crops": 36})
    titles = {axes.get_title() for axes in figure.axes}
    assert {"crops\n36 samples", "cam"} <= titles
