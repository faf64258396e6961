"""Decoding: every pixel format in, clear sentences out."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from ws3.datasets import images
from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error
from ws3.exports.item import Item, write_photograph
from ws3.labels import voc_palette


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_rgb_is_returned_untouched() -> None:
    expected = pixels(7, 5, 3)
    found = images.decode_rgb(encode(Image.fromarray(expected)), "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_result_is_writeable() -> None:
    images.decode_rgb(encode(Image.fromarray(pixels(2, 2, 3))), "a.png")[0, 0] = 0


def test_gray_is_repeated() -> None:
    gray = pixels(4, 6)
    found = images.decode_rgb(encode(Image.fromarray(gray)), "a.png")
    np.testing.assert_array_equal(found, np.stack([gray] * 3, axis=-1))


def test_alpha_is_dropped() -> None:
    rgba = pixels(4, 6, 4)
    found = images.decode_rgb(encode(Image.fromarray(rgba)), "a.png")
    np.testing.assert_array_equal(found, rgba[..., :3])


def test_gray_with_alpha() -> None:
    both = pixels(4, 6, 2)
    found = images.decode_rgb(encode(Image.fromarray(both, "LA")), "a.png")
    np.testing.assert_array_equal(found, np.repeat(both[..., :1], 3, axis=2))


@pytest.mark.parametrize("transparency", [None, 2, b"\x00\x80"])
def test_palette_is_looked_up(transparency: object) -> None:
    indices = pixels(4, 6)
    picture = Image.fromarray(indices)
    picture.putpalette(voc_palette())
    options: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    found = images.decode_rgb(encode(picture, **options), "a.png")
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    np.testing.assert_array_equal(found, colours[indices])


def test_cmyk_jpeg() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    found = images.decode_rgb(encode(cyan, "JPEG", quality=100), "a.jpg")
    assert np.abs(found.astype(int) - [0, 255, 255]).max() <= 3


def test_orientation_is_applied_where_the_coding_says_so() -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6  # turned by a quarter
    expected = pixels(16, 24, 3)
    data = encode(Image.fromarray(expected), exif=sideways)
    assert images.is_turned(data, "a.png")
    assert not images.is_turned(encode(Image.fromarray(expected)), "a.png")
    found = images.decode_rgb(data, "a.png", "upright+binary")
    np.testing.assert_array_equal(found, np.rot90(expected, -1))
    np.testing.assert_array_equal(images.decode_rgb(data, "a.png", "binary"), expected)
    assert images.decoded_size(data, "a.png", "upright") == (24, 16)
    assert images.decoded_size(data, "a.png") == (16, 24)
    assert images.digest(data, "upright") != images.digest(data) == images.sha256(data)


def test_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = encode(Image.fromarray(pixels(4, 6, 3)), "JPEG", exif=exif)
    assert images.decode_rgb(data, "a.jpg").shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("array", "kind", "mode"),
    [
        (np.ones((3, 3), np.uint16), "PNG", "I"),
        (np.ones((3, 3), np.uint16), "TIFF", "I;16"),
        (np.ones((3, 3), np.int32), "TIFF", "I"),
        (np.ones((3, 3), np.float32), "TIFF", "F"),
    ],
)
def test_deep_pixels_are_refused_by_name(array: np.ndarray, kind: str, mode: str) -> None:
    with pytest.raises(Ws3Error, match=rf"x\.tif: pixels of mode {mode}.*8 bits"):
        images.decode_rgb(encode(Image.fromarray(array), kind), "x.tif")


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_every_truncation_is_refused(kind: str) -> None:
    data = encode(Image.fromarray(pixels(40, 40, 3)), kind)
    for share in (0.0, 0.02, 0.3, 0.7):
        with pytest.raises(Ws3Error, match=r"bad\.img.*truncated or not an image.*on_bad_image"):
            images.decode_rgb(data[: int(share * len(data))], "bad.img")
        with pytest.raises(Ws3Error, match=r"bad\.img.*truncated or not an image.*on_bad_image"):
            images.decoded_size(data[: int(share * len(data))], "bad.img")


def test_text_is_no_image() -> None:
    with pytest.raises(Ws3Error, match=r"bad\.jpg: truncated or not an image"):
        images.decode_rgb(b"<html>404</html>", "bad.jpg")


def test_postscript_is_refused_and_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", fail)
    monkeypatch.setattr(os, "posix_spawn", fail)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", fail)
    data = encode(Image.fromarray(pixels(8, 8, 3)), "EPS")
    assert data.startswith(b"%!PS")
    with pytest.raises(AssertionError, match="a program was started"):
        Image.open(io.BytesIO(data)).load()
    (tmp_path / "b.jpg").write_bytes(data)
    with pytest.raises(Ws3Error, match=r"b\.jpg: truncated or not an image \(none of JPEG, PNG, "):
        images.decode_rgb(data, tmp_path / "b.jpg")
    with pytest.raises(Ws3Error, match=r"b\.jpg: truncated or not an image"):
        read_label_mask(tmp_path / "b.jpg")
    item = Item("b", "train", (), tmp_path / "b.jpg", np.zeros((8, 8), np.uint8))
    with pytest.raises(Ws3Error, match=r"b\.jpg: truncated or not an image"):
        write_photograph(item, tmp_path / "out")


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format_is_read_by_its_content(kind: str) -> None:
    found = images.decode_rgb(encode(Image.new("RGB", (6, 4), (255, 0, 0)), kind), "a.jpg")
    assert found.shape == (4, 6, 3)
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    for side in (60_000, 10_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
        with pytest.raises(Ws3Error, match=r"bomb\.png: too large"):
            images.decode_rgb(data, "bomb.png")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Ws3Error, match=r"gone\.jpg: no such file"):
        images.read_bytes(tmp_path / "gone.jpg")
    with pytest.raises(Ws3Error, match="can't be read"):
        images.read_bytes(tmp_path)


def test_read_bytes_and_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert images.read_bytes(tmp_path / "a") == b"abc"
    assert images.sha256(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_palette_is_that_of_voc() -> None:
    # From the colour map of the VOC development kit: background, aeroplane, bicycle, ..., void.
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for value, colour in (known | {255: (224, 224, 192)}).items():
        assert tuple(colours[value]) == colour
    assert len({tuple(colour) for colour in colours}) == 256
