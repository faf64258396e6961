"""Ground-truth masks: every way to write class values, and what can't be one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ws3.datasets.masks import LOSSLESS, decode_label_mask, read_label_mask, values_of
from ws3.errors import Ws3Error
from ws3.labels import voc_palette

VALUES = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_every_lossless_format_is_read(kind: str) -> None:
    picture = Image.fromarray(VALUES)
    options = {"optimize": False} if kind == "GIF" else {}  # or Pillow numbers the values anew
    found = decode_label_mask(encode(picture, kind, **options), "m")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_gray_in_equal_channels_is_gray(mode: str) -> None:
    data = encode(Image.fromarray(VALUES).convert(mode))
    np.testing.assert_array_equal(decode_label_mask(data, "m.png"), VALUES)


def test_sixteen_bits_of_which_eight_are_used() -> None:
    data = encode(Image.fromarray(VALUES.astype(np.uint16)))
    np.testing.assert_array_equal(decode_label_mask(data, "m.png"), VALUES)


COLORS = {(0, 0, 0): 0, (255, 0, 0): 1, (0, 0, 255): 2, (224, 224, 192): 255}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_looked_up(mode: str) -> None:
    by_value = {value: color for color, value in COLORS.items()}
    rgb = np.array([[by_value[int(value)] for value in row] for row in VALUES], np.uint8)
    picture = Image.fromarray(rgb)
    picture = picture.quantize(8) if mode == "P" else picture.convert(mode)
    found = decode_label_mask(encode(picture), "m.png", "colors-x", COLORS)
    np.testing.assert_array_equal(found, VALUES)


def test_gray_values_stay_beside_a_table_of_colours() -> None:
    found = decode_label_mask(encode(Image.fromarray(VALUES)), "m.png", "colors-x", COLORS)
    np.testing.assert_array_equal(found, VALUES)


def test_unknown_colours_are_named_and_few_of_them() -> None:
    data = encode(Image.fromarray(pixels(9, 9, 3)))
    with pytest.raises(Ws3Error, match=r"m\.png: dataset.colors has no class for .* and 73 more"):
        decode_label_mask(data, "m.png", "colors-x", COLORS)


def test_zero_can_mean_that_nothing_is_known() -> None:
    found = decode_label_mask(encode(Image.fromarray(VALUES)), "m.png", "reduced")
    np.testing.assert_array_equal(found, [[255, 1, 2], [2, 1, 255]])


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_a_binary_mask_marks_the_one_class(mode: str) -> None:
    white = Image.fromarray(np.array([[0, 255], [0, 0]], np.uint8)).convert(mode)
    found = decode_label_mask(encode(white), "m.png", "binary")
    np.testing.assert_array_equal(found, [[0, 1], [0, 0]])


def test_a_mask_with_the_class_value_keeps_what_is_ignored() -> None:
    mask = Image.fromarray(np.array([[0, 1], [255, 0]], np.uint8))
    np.testing.assert_array_equal(
        decode_label_mask(encode(mask), "m.png", "binary"), [[0, 1], [255, 0]]
    )


def test_values() -> None:
    assert values_of(VALUES) == (0, 1, 2, 255)


@pytest.mark.parametrize("palette", [True, False])
def test_mask_values_are_as_stored(tmp_path: Path, palette: bool) -> None:
    values = pixels(9, 8)
    picture = Image.fromarray(values)
    if palette:
        picture.putpalette(voc_palette())
    picture.save(tmp_path / "m.png")
    found = read_label_mask(tmp_path / "m.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_mask_with_a_small_palette(tmp_path: Path, bits: int) -> None:
    values = pixels(9, 8) % 2**bits
    picture = Image.fromarray(values)
    picture.putpalette(voc_palette()[: 3 * 2**bits])
    picture.save(tmp_path / "m.png", bits=bits)
    np.testing.assert_array_equal(read_label_mask(tmp_path / "m.png"), values)


@pytest.mark.parametrize(
    ("picture", "kind", "words"),
    [
        (Image.new("RGB", (4, 4), "red"), "PNG", "holds colours.*dataset.colors"),
        (Image.new("CMYK", (4, 4)), "TIFF", "holds colours"),
        (Image.new("RGBA", (4, 4)), "PNG", "is transparent"),
        (Image.fromarray(np.full((4, 4), 256, np.uint16)), "PNG", "16-bit values up to 256"),
        (Image.fromarray(np.ones((4, 4), np.float32)), "TIFF", "mode F"),
        (Image.new("1", (4, 4)), "PNG", "1-bit gray"),
        (Image.new("L", (4, 4)), "JPEG", "JPEG file"),
    ],
)
def test_other_masks_are_refused_by_name(
    tmp_path: Path, picture: Image.Image, kind: str, words: str
) -> None:
    (tmp_path / "m.png").write_bytes(encode(picture, kind))
    with pytest.raises(Ws3Error, match=rf"m\.png: the mask .*{words}"):
        read_label_mask(tmp_path / "m.png")


def test_truncated_mask(tmp_path: Path) -> None:
    data = encode(Image.fromarray(pixels(30, 30)))
    (tmp_path / "m.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(Ws3Error, match=r"m\.png: truncated"):
        read_label_mask(tmp_path / "m.png")
