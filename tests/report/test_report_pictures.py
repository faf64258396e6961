import numpy as np
import pytest
from PIL import Image

from ws3.report.figures import LIGHT, image_panel, save
from ws3.report.gallery import write_gallery_entry
from ws3.report.pictures import class_colours, class_hex, fit, heat_overlay, mask_overlay


def grey_image(height=20, width=30):
    return np.full((height, width, 3), 120, dtype=np.uint8)


def test_palette_is_that_of_pascal_voc():
    colours = class_colours()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for value, colour in known.items():
        assert tuple(colours[value]) == colour
    assert tuple(colours[255]) == (224, 224, 192)
    assert len(np.unique(colours, axis=0)) == 256
    assert class_hex(14) == "#c08080"


def test_heat_grows_with_the_score():
    scores = np.tile(np.linspace(0, 1, 30, dtype=np.float32), (20, 1))
    picture = heat_overlay(grey_image(), scores)
    warmth = picture[0, :, 0].astype(int) - picture[0, :, 2]
    assert warmth[-1] > 60
    assert abs(warmth[0]) < 10


def test_scores_out_of_range_and_nan_are_drawn_as_the_nearest_ends():
    wild = np.array([[np.nan, -5.0, 7.0, np.inf]], dtype=np.float32)
    tame = np.array([[0.0, 0.0, 1.0, 1.0]], dtype=np.float32)
    image = grey_image(1, 4)
    np.testing.assert_array_equal(heat_overlay(image, wild), heat_overlay(image, tame))


def test_mask_colours_lie_inside_a_light_outline():
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[5:15, 5:20] = 2
    mask[:3, 25:] = 255
    picture = mask_overlay(grey_image(), mask)
    assert tuple(picture[10, 10]) == (30, 126, 30)
    assert tuple(picture[18, 2]) == (72, 72, 72)
    assert tuple(picture[5, 10]) == (255, 255, 255)
    assert picture[0, 29].min() > 150


def test_overlays_refuse_other_shapes():
    with pytest.raises(ValueError, match="does not fit"):
        heat_overlay(grey_image(), np.zeros((20, 31), dtype=np.float32))
    with pytest.raises(ValueError, match="uint8"):
        mask_overlay(grey_image().astype(np.float32), np.zeros((20, 30), dtype=np.uint8))


@pytest.mark.parametrize("side", [7, 60])
def test_fit_keeps_the_aspect_and_invents_no_class(side):
    mask = np.random.default_rng(0).choice([0, 3, 255], size=(40, 20)).astype(np.uint8)
    small = fit(mask, side, smooth=False)
    assert small.shape == (side, round(side / 2))
    assert set(np.unique(small)) <= {0, 3, 255}


def test_gallery_writes_one_picture_a_map_and_mask(tmp_path):
    maps: dict[str, np.ndarray] = {
        "cam": np.zeros((2, 20, 30), dtype=np.float16),
        "sal": np.ones((2, 20, 30)),
    }
    masks = {"cam": np.ones((20, 30), dtype=np.uint8)}
    entry = write_gallery_entry(
        tmp_path, "a.b", "val", grey_image(), ["x", "y"], [0, 4], maps, masks
    )
    assert entry.truth is None
    assert [len(pictures.maps) for pictures in entry.recipes] == [2, 2]
    assert [pictures.mask is None for pictures in entry.recipes] == [False, True]
    assert len(entry.paths) == len(set(entry.paths)) == 6
    for path in entry.paths:
        with Image.open(tmp_path / path) as picture:
            assert picture.size == (320, 213)


def test_gallery_keeps_hostile_names_out_of_paths(tmp_path):
    maps = {"../<b>": np.zeros((1, 20, 30))}
    entry = write_gallery_entry(tmp_path, "../../x", "val", grey_image(), ["x"], [0], maps, {})
    for path in entry.paths:
        assert (tmp_path / path).resolve().is_relative_to(tmp_path / "gallery")
        assert not set(path) & set("<>&\"'% ")


def test_gallery_refuses_maps_of_other_classes(tmp_path):
    with pytest.raises(ValueError, match="expected one"):
        write_gallery_entry(
            tmp_path, "a", "val", grey_image(), ["x"], [0], {"cam": np.zeros((2, 20, 30))}, {}
        )


@pytest.mark.parametrize("recipes", [1, 7])
@pytest.mark.parametrize("classes", [1, 3])
def test_panel_shows_every_picture(recipes, classes):
    image = grey_image()
    mask = np.ones((20, 30), dtype=np.uint8)
    names = [f"recipe{i}" for i in range(recipes)]
    maps = {name: np.zeros((classes, 20, 30)) for name in names}
    masks = dict.fromkeys(names[1:], mask)
    labels = [f"class{i}" for i in range(classes)]
    figure = image_panel(image, maps, labels, masks, mask, mask, class_ids=range(classes))
    shown = sum(len(axes.images) for axes in figure.axes)
    assert shown == 3 + recipes * classes + (recipes - 1)
    titles = " ".join(axes.get_title() for axes in figure.axes)
    assert all(name in titles for name in [*names, "ground truth", "segmentation network"])


def test_panel_without_truth_or_recipes_shows_the_image():
    figure = image_panel(grey_image(), {}, [], {}, None, None, class_ids=[])
    assert sum(len(axes.images) for axes in figure.axes) == 1


def test_panel_is_the_same_bytes_twice(tmp_path):
    maps = {"$x^$": np.ones((1, 20, 30))}
    for name in ("a.png", "b.png"):
        figure = image_panel(grey_image(), maps, ["$\\bad$"], {}, None, None, class_ids=[0])
        save(figure, tmp_path / name, LIGHT)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_panel_refuses_maps_of_other_classes():
    with pytest.raises(ValueError, match="2 maps for 1 classes"):
        image_panel(
            grey_image(), {"cam": np.zeros((2, 20, 30))}, ["x"], {}, None, None, class_ids=[0]
        )
