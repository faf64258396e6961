"""The built-in dataset: the same for everybody, and true to what it says of itself."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from dataset_files import listing_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ws3.config.dataset import Folder, Synthetic
from ws3.datasets import dataset_root, list_dataset
from ws3.datasets.index import check_files
from ws3.datasets.masks import read_label_mask
from ws3.datasets.synthetic.dataset import draw_synthetic
from ws3.datasets.synthetic.drawing import draw
from ws3.datasets.synthetic.scene import CLASSES, OWN_COAT, Creature, Scene, describe
from ws3.errors import Ws3Error

Pixels = npt.NDArray[Any]


def synthetic(**keys: int) -> Synthetic:
    sizes = {"train_images": 4, "val_images": 2, "size": 64} | keys
    return Synthetic.model_validate({"kind": "synthetic"} | sizes)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    draw_synthetic(synthetic(train_images=16, val_images=3, classes=8), root)
    return root


def test_layout(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    draw_synthetic(synthetic(), tmp_path, progress=lambda done, total: seen.append((done, total)))
    ids = [f"train_{k:04d}" for k in range(4)] + [f"val_{k:04d}" for k in range(2)]
    expected = {f"{folder}/{i}.png" for folder in ("images", "masks", "parts") for i in ids}
    expected |= {"labels.csv", "classes.txt", "train.txt", "val.txt", "dataset.json"}
    assert set(files(tmp_path)) == expected
    assert seen == [(k, 6) for k in range(1, 7)]
    for image in ids:
        with Image.open(tmp_path / "images" / f"{image}.png") as picture:
            assert (picture.mode, picture.size) == ("RGB", (64, 64))


def test_bytes_are_the_same_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_synthetic(synthetic(), tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_an_image_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    draw_synthetic(synthetic(train_images=1, val_images=1), tmp_path / "few")
    draw_synthetic(synthetic(train_images=3, val_images=2), tmp_path / "many")
    few, many = files(tmp_path / "few"), files(tmp_path / "many")
    pngs = [name for name in few if name.endswith(".png")]
    assert len(pngs) == 6
    assert all(few[name] == many[name] for name in pngs)


@pytest.mark.parametrize("change", [{"seed": 1}, {"seed": 7}, {"size": 72}, {"classes": 2}])
def test_parameters_change_pictures_and_stat_keys(tmp_path: Path, change: dict[str, int]) -> None:
    draw_synthetic(synthetic(), tmp_path)
    before, listed = files(tmp_path), list_dataset(synthetic(), tmp_path).rows
    other = synthetic(**change)
    draw_synthetic(other, tmp_path)
    after = files(tmp_path)
    for image in listed:
        name = f"images/{image.image}.png"
        assert before[name] != after[name]
    draw_synthetic(other, tmp_path / "fresh")
    assert files(tmp_path / "fresh") == {k: v for k, v in after.items() if "fresh" not in k}
    keys = {row.stat_key for row in listed} | {
        row.stat_key for row in list_dataset(other, tmp_path).rows
    }
    assert len(keys) == 2


def test_splits_and_images_differ() -> None:
    scenes = [describe(synthetic(), split, k) for split in ("train", "val") for k in range(50)]
    assert len(set(scenes)) == 100


def test_what_is_there_is_kept_and_what_is_missing_is_drawn(tmp_path: Path) -> None:
    draw_synthetic(synthetic(), tmp_path)
    first = files(tmp_path)
    (tmp_path / "parts" / "train_0001.png").unlink()
    (tmp_path / "labels.csv").unlink()
    kept = tmp_path / "images" / "train_0000.png"
    before = kept.stat().st_mtime_ns
    draw_synthetic(synthetic(), tmp_path)
    assert files(tmp_path) == first
    assert kept.stat().st_mtime_ns == before


def test_a_folder_of_other_images_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.png").write_bytes(b"precious")
    with pytest.raises(Ws3Error, match=r"holds images, but no dataset\.json"):
        draw_synthetic(synthetic(), tmp_path)
    assert (tmp_path / "images" / "mine.png").read_bytes() == b"precious"


def test_listing_before_and_after_drawing(tmp_path: Path) -> None:
    config = synthetic(classes=8)
    before = list_dataset(config, tmp_path)
    assert dataset_root(config, tmp_path) == tmp_path / "data"
    assert not list(tmp_path.iterdir())
    draw_synthetic(config, tmp_path / "data")
    assert list_dataset(config, tmp_path) == before
    assert [r.image for r in before.rows][-2:] == ["val_0000", "val_0001"]
    assert all(row.problem == "" for row in check_files(before).rows)
    elsewhere = config.model_copy(update={"root": str(tmp_path / "data")})
    assert list_dataset(elsewhere, tmp_path / "other") == before


def test_it_is_a_folder_dataset_too(drawn: Path) -> None:
    listing = list_dataset(
        synthetic(train_images=16, val_images=3, classes=8).model_copy(update={"root": str(drawn)}),
        "unused",
    )
    folder = listing_of(
        Folder(
            kind="folder",
            root=str(drawn),
            masks="masks",
            classes="classes.txt",
            train="train.txt",
            val="val.txt",
        )
    )
    assert folder.classes == listing.classes == CLASSES
    keys = ("image", "split", "labels", "path", "mask")
    for one, two in zip(folder.rows, listing.rows, strict=True):
        assert [getattr(one, key) for key in keys] == [getattr(two, key) for key in keys]


def test_masks_hold_the_labels_and_parts_cover_the_objects(drawn: Path) -> None:
    listing = listing_of(
        Folder(kind="folder", root=str(drawn), masks="masks", classes="classes.txt")
    )
    for row in listing.rows:
        mask = read_label_mask(row.mask)
        parts = read_label_mask(drawn / "parts" / f"{row.image}.png")
        present = {listing.classes[v - 1] for v in np.unique(mask) if v}
        assert present == set(row.labels)
        assert set(np.unique(parts)) <= {0, 1, 2}
        np.testing.assert_array_equal(parts > 0, mask > 0)
        for value in set(np.unique(mask)) - {0}:
            assert ((mask == value) & (parts == 1)).any()


@given(st.integers(0, 2**63), st.sampled_from(["train", "val"]), st.integers(0, 10**6))
def test_scenes_keep_their_promises(seed: int, split: str, number: int) -> None:
    scene = describe(synthetic(seed=seed, classes=5), split, number)
    assert 1 <= len(scene.creatures) <= 3
    for creature in scene.creatures:
        assert 0 <= creature.index < 5
        assert all(0 < place < 1 for place in creature.head())
    for one, two in itertools.permutations(scene.creatures, 2):
        # Nothing reaches into the smaller disc's middle, so nothing is ever hidden.
        gap = np.hypot(one.x - two.x, one.y - two.y) - 1.5 * two.unit
        assert gap > 0.2 * one.unit


def test_all_numbers_of_creatures_and_all_classes_occur() -> None:
    scenes = [describe(synthetic(classes=8), "train", k) for k in range(200)]
    counts = np.bincount([len(scene.creatures) for scene in scenes], minlength=4)
    assert counts[0] == 0
    assert (counts[1:] > 12).all()
    classes = np.bincount([c.index for scene in scenes for c in scene.creatures], minlength=8)
    assert classes.min() > classes.max() / 3


@pytest.mark.parametrize("index", range(8))
def test_share_of_the_discriminative_part(index: int) -> None:
    shares, areas = [], []
    for coat in range(3):
        creature = Creature(index, 0.5, 0.53, 0.28, 0.2 * coat - 0.2, coat % 2 == 0, coat)
        _, mask, parts = draw(Scene((creature,), coat), 96)
        assert set(np.unique(mask)) == {0, index + 1}
        shares.append((parts == 1).sum() / (parts > 0).sum())
        areas.append((mask > 0).mean())
    assert min(shares) >= 0.15
    assert max(shares) <= 0.30
    assert np.mean(areas) == pytest.approx(2.7 * 0.28**2, rel=0.2)


def test_areas_of_lone_creatures() -> None:
    config = synthetic(classes=8)
    scenes = (describe(config, "train", k) for k in range(60))
    lone = [scene for scene in scenes if len(scene.creatures) == 1][:12]
    areas = [(draw(scene, 64)[1] > 0).mean() for scene in lone]
    assert 0.08 < min(areas) < 0.2
    assert 0.25 < max(areas) < 0.42


def worn_by(index: int, coat: int) -> Creature:
    return Creature(index, 0.5, 0.5, 0.3, 0.1, False, coat)


def bodies(*creatures: Creature) -> tuple[list[Pixels], Pixels]:
    """Draw each creature by itself: the pictures, and where all of them show no head."""
    pictures, heads = [], []
    for creature in creatures:
        picture, _, parts = draw(Scene((creature,), 1), 96)
        pictures.append(picture.astype(int))
        heads.append(parts == 1)
    elsewhere = ~np.logical_or.reduce(heads)
    # The outermost pixels of a head may hold a share of both.
    border = np.zeros_like(elsewhere)
    border[1:-1, 1:-1] = np.lib.stride_tricks.sliding_window_view(elsewhere, (3, 3)).all((2, 3))
    assert border.sum() > 0.5 * border.size
    return pictures, border


def test_bodies_tell_no_more_of_the_class_than_their_coats() -> None:
    # Where two classes wear the same coat, the picture differs in the head alone.
    coat = next(k for k in range(1000) if worn_by(0, k).worn_coat() == worn_by(5, k).worn_coat())
    (one, two), outside = bodies(worn_by(0, coat), worn_by(5, coat))
    np.testing.assert_array_equal(one[outside], two[outside])
    assert np.abs(one - two)[~outside].mean() > 20


def test_usual_coats_look_different_and_leave_the_build_alone() -> None:
    coat = next(k for k in range(1000) if [worn_by(i, k).worn_coat() for i in (0, 5)] == [0, 5])
    (one, two), outside = bodies(worn_by(0, coat), worn_by(5, coat))
    masks = [draw(Scene((worn_by(i, coat),), 1), 96)[1] > 0 for i in (0, 5)]
    np.testing.assert_array_equal(masks[0][outside], masks[1][outside])
    assert np.abs(one - two)[outside & masks[0]].mean() > 20


@pytest.mark.parametrize("index", [0, 4, 7])
def test_a_coat_is_a_hint_and_no_proof(index: int) -> None:
    # The usual one by itself, and one of the eight that the rest of the creatures draw from.
    expected = np.full(8, (1 - OWN_COAT) / 8)
    expected[index] += OWN_COAT
    creatures = 4000
    worn = np.bincount([worn_by(index, k).worn_coat() for k in range(creatures)], minlength=8)
    deviation = np.sqrt(creatures * expected * (1 - expected))
    assert worn.shape == (8,)
    assert (np.abs(worn - creatures * expected) < 4 * deviation).all()


def test_parameters_are_written_down(drawn: Path) -> None:
    said = json.loads((drawn / "dataset.json").read_text())
    assert said["classes"] == list(CLASSES)
    assert (said["size"], said["seed"]) == (64, 0)
