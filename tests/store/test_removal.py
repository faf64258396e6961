"""One module removes things, and it knows what is ws3's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import ws3
from ws3.errors import Ws3Error
from ws3.files import atomic_folder, write_new
from ws3.masks.png import write_mask
from ws3.removal import clear, link_below, remove_leftovers, remove_temporary, temporary_beside
from ws3.run.results import FINGERPRINT, is_foreign_mask
from ws3.store.groups import ARRAYS, is_own

SOURCES = sorted(Path(ws3.__file__).parent.rglob("*.py"))
REMOVES = re.compile(
    r"\.unlink\(|\.rmdir\(|rmtree|\.rename\(|os\.(remove|replace|rename|unlink|rmdir|truncate)"
    r"|shutil\.move|temporary\.replace\("
)


def test_one_module_removes_and_renames():
    assert len(SOURCES) > 100
    found = {path.name for path in SOURCES if REMOVES.search(path.read_text(encoding="utf-8"))}
    assert found == {"removal.py"}


@pytest.mark.parametrize(
    "name",
    [
        *("zarr.json", "map/zarr.json", "map/c/0/0/0", "12/sum/c/0/0/0", "cover/weights/zarr.json"),
        *(f"{array}/c/0" for array in ARRAYS),
        *("3/maps/c/0/0/0/0", ".tmp-3-4711-0123abcd/sum/c/0", "0/zarr.json"),
        ".tmp-zarr.json-4711-0123abcd",
    ],
)
def test_files_of_a_group(name):
    assert is_own(name)


@pytest.mark.parametrize(
    "name",
    [
        *("notes.txt", ".zgroup", "map/.zarray", "map/0.0.0", "images/zarr.json", "a/zarr.json"),
        *("zarr.json~", "map/c/0/0/x", "map/zarr.json/a", "0/0/sum/zarr.json", "c/notes", "0"),
        *(".tmp-zarr.json", ".tmp-notes-4711-0123abcd"),
    ],
)
def test_files_that_are_not_of_a_group(name):
    assert not is_own(name)


def test_only_temporary_names_of_ours_are_left_over(tmp_path):
    wanted = tmp_path / "train_0001"
    mine = [".tmp-train_0001", ".tmp-train_0001-backup", ".tmp-train_0001-1-xyz", "train_0001-1-00"]
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"mine")
    temporary_beside(wanted).symlink_to(outside)
    half = temporary_beside(wanted)
    half.mkdir()
    (half / "link").symlink_to(outside)
    remove_leftovers([wanted])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "outside"])
    assert (outside / "a").read_bytes() == b"mine"
    with pytest.raises(ValueError, match="not a temporary name"):
        remove_temporary(outside)


def test_what_is_set_aside_never_replaces_what_was_set_aside_before(tmp_path):
    for text in ("one", "two", "three"):
        (tmp_path / "a").write_text(text)
        clear(tmp_path / "a", is_own)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"a.not-ws3": "one", "a.not-ws3-2": "two", "a.not-ws3-3": "three"}


def test_links_on_the_way_are_found(tmp_path):
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert link_below(tmp_path, tmp_path / "real/sub") is None
    assert link_below(tmp_path, tmp_path / "link/sub") == tmp_path / "link"
    assert link_below(tmp_path / "link", tmp_path / "link/sub") is None


def test_a_folder_that_fills_up_meanwhile_is_not_replaced(tmp_path):
    def write():
        with atomic_folder(tmp_path / "out") as temporary:
            temporary.mkdir()
            (tmp_path / "out").mkdir()
            (tmp_path / "out/mine").write_text("mine")

    with pytest.raises(Ws3Error, match="something is there already"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/mine").read_text() == "mine"


def test_a_new_file_replaces_nothing(tmp_path):
    path = tmp_path / "a.png"
    write_new(path, b"one")
    write_new(path, b"one")
    with pytest.raises(Ws3Error, match=r"a\.png: something else is there already"):
        write_new(path, b"two")
    assert path.read_bytes() == b"one"


def test_a_damaged_mask_of_ours_is_never_taken_for_somebody_elses(tmp_path):
    path = tmp_path / "a.png"
    write_mask(path, np.zeros((7, 9), np.uint8), {FINGERPRINT: "abc"})
    good = path.read_bytes()
    assert not is_foreign_mask(path)
    for place in range(len(good)):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 64]) + good[place + 1 :]):
            path.write_bytes(bad)
            assert not is_foreign_mask(path), place
    write_mask(path, np.zeros((7, 9), np.uint8), {})
    assert is_foreign_mask(path)
