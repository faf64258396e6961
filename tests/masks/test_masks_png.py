import errno
import os

import numpy as np
import pytest
from PIL import Image

from ws3.errors import Ws3Error
from ws3.labels import voc_palette
from ws3.masks.png import read_mask, read_text, write_mask

MASK = np.random.default_rng(0).choice([0, 1, 20, 254, 255], (9, 13)).astype(np.uint8)
TEXT = {"fingerprint": "0123abcd", "recipe": "crops ü"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "2007_000032.png"
    write_mask(path, MASK, TEXT)
    return path


def test_what_is_written_is_read(path):
    assert np.array_equal(read_mask(path), MASK)
    assert read_mask(path).dtype == np.uint8
    assert read_text(path) == TEXT
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_others_see_a_palette_image_in_voc_colours(path):
    with Image.open(path) as image:
        assert image.mode == "P"
        assert bytes(image.getpalette() or ()) == voc_palette()
        rgb = np.array(image.convert("RGB"))
    assert (rgb[MASK == 1] == (128, 0, 0)).all()
    assert (rgb[MASK == 255] == (224, 224, 192)).all()


def test_the_same_mask_gives_the_same_bytes(path):
    other = path.with_name("other.png")
    write_mask(other, np.asfortranarray(MASK), TEXT)
    assert other.read_bytes() == path.read_bytes()


def test_a_mask_is_replaced(path):
    write_mask(path, np.zeros((1, 1), np.uint8), {})
    assert read_mask(path).tolist() == [[0]]
    assert read_text(path) == {}


def test_every_flipped_byte_is_noticed(path):
    data = path.read_bytes()
    for position in range(len(data)):
        for change in (1, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= change
            path.write_bytes(damaged)
            with pytest.raises(Ws3Error, match=path.name):
                read_mask(path)


def test_every_truncation_is_noticed(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(Ws3Error, match=path.name):
            read_mask(path)


def test_a_missing_file_is_named(tmp_path):
    for read in (read_mask, read_text):
        with pytest.raises(Ws3Error, match=r"no mask at .*a\.png"):
            read(tmp_path / "a.png")


def test_damaged_text_is_noticed(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b"0123abcd", b"0123abce"))
    with pytest.raises(Ws3Error, match="damaged"):
        read_text(path)


def test_a_colour_image_is_no_mask(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    with pytest.raises(Ws3Error, match=r"photo\.png is no mask"):
        read_mask(tmp_path / "photo.png")


def test_a_photograph_is_no_mask(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png", "JPEG")
    with pytest.raises(Ws3Error, match="photo"):
        read_mask(tmp_path / "photo.png")


def test_a_full_disk_is_said_and_leaves_the_old_mask(path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Ws3Error, match=r"000032\.png: there is no space left"):
        write_mask(path, MASK + np.uint8(1), {})
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert np.array_equal(read_mask(path), MASK)


def test_a_place_that_can_not_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Ws3Error, match=r"mask\.png: can't be written"):
        write_mask(tmp_path / "file" / "mask.png", np.zeros((2, 2), np.uint8), {})


@pytest.mark.parametrize("mask", [MASK.astype(np.int64), MASK[None], np.zeros((0, 4), np.uint8)])
def test_bad_masks_are_refused(tmp_path, mask):
    with pytest.raises(ValueError, match="uint8"):
        write_mask(tmp_path / "a.png", mask, {})
