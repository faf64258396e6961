"""The stores: readable with plain zarr, committed by a rename, loud about any damage."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import zarr

from ws3.aggregation.chunks import RawChunk, SampleChunk, chunk_layout
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import NoSpaceError, atomic_file, atomic_folder, write_json
from ws3.removal import remove_leftovers, temporary_beside
from ws3.stage_table import FORMAT
from ws3.store.groups import Store, new_group
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore
from ws3.store.verify import remove, verify


@pytest.fixture
def chunk():
    rng = np.random.default_rng(0)
    return SampleChunk(
        (0, 1, 2),
        rng.random((2, 30, 40), np.float32),
        rng.integers(0, 4, (30, 40)).astype(np.uint16),
    )


@pytest.fixture
def saliency(tmp_path, chunk):
    store = SaliencyStore(tmp_path / "r.zarr")
    store.create({"kind": "saliency", "recipe": "r"})
    store.begin("img_1", {"fingerprint": "abc", "classes": ["cat", "dog"]})
    store.write("img_1", "0", chunk)
    return store


@pytest.fixture
def maps(tmp_path):
    store = MapStore(tmp_path / "m.zarr")
    store.create({"kind": "maps", "recipe": "r"})
    values = np.random.default_rng(0).random((2, 30, 40)).astype(np.float16)
    store.write("img_1", values, {"fingerprint": "abc", "class_values": [1, 5]})
    return store


def test_plain_zarr_reads_a_sample_chunk(saliency, chunk):
    root: Any = zarr.open(saliency.path)
    group = root["img_1"]
    np.testing.assert_array_equal(group["0/sum"][...], chunk.sums)
    np.testing.assert_array_equal(group["0/count"][...], chunk.weights)
    assert group["0"].attrs["samples"] == [0, 1, 2]
    assert group.attrs["classes"] == ["cat", "dog"]
    assert group["0/sum"].chunks == (1, 30, 40)
    assert group["0/sum"].dtype == np.float32
    assert zarr.open(saliency.path).attrs["ws3_format"] == FORMAT


@pytest.mark.parametrize(
    ("dtype", "shape", "chunks", "shards"),
    [
        ("float32", (3, 9, 7), (1, 9, 7), None),
        ("float16", (0, 9, 7), (1, 9, 7), None),
        ("uint16", (9, 7), (9, 7), None),
        ("float32", (5, 2), (5, 2), None),
        ("float32", (5, 3), (2, 2), None),
        ("float16", (4, 2, 3, 3), (1, 2, 3, 3), (4, 2, 3, 3)),
    ],
)
def test_arrays_have_the_bytes_that_zarr_itself_writes(tmp_path, dtype, shape, chunks, shards):
    values = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    with new_group(tmp_path / "ours", {}) as group:
        group.write("map", values, chunks=chunks, shards=shards)
    array = zarr.create_array(
        tmp_path / "theirs",
        name="map",
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        fill_value=65535 if dtype == "uint16" else np.nan,
        compressors=[zarr.codecs.ZstdCodec(level=1), zarr.codecs.Crc32cCodec()],
        config={"write_empty_chunks": True},
    )
    array[...] = values
    ours, theirs = (
        {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*/*")
            if path.is_file()
        }
        for root in (tmp_path / "ours", tmp_path / "theirs")
    )
    assert ours == theirs
    assert len(ours) >= 1


def test_an_array_that_removal_does_not_know_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"one of map, .*, not mine"):  # noqa: SIM117
        with new_group(tmp_path / "ours", {}) as group:
            group.write("mine", np.zeros(3), chunks=(3,))
    assert not (tmp_path / "ours").exists()


def test_plain_zarr_reads_maps(maps):
    root: Any = zarr.open(maps.path)
    array = root["img_1/map"]
    assert array.dtype == np.float16
    np.testing.assert_array_equal(array[...], maps.read("img_1"))


@pytest.mark.parametrize("weights", ["count", "weight"])
def test_a_chunk_reads_back_as_written(saliency, chunk, weights):
    if weights == "weight":
        chunk = SampleChunk(chunk.samples, chunk.sums, chunk.sums * 2)
    saliency.write("img_1", "1", chunk)
    back = saliency.read("img_1", "1")
    assert back.samples == chunk.samples
    np.testing.assert_array_equal(back.sums, chunk.sums)
    np.testing.assert_array_equal(back.weights, chunk.weights)
    assert saliency.chunk_samples("img_1") == {"0": (0, 1, 2), "1": (0, 1, 2)}


def test_raw_samples_read_back_one_chunk_a_sample(saliency):
    rng = np.random.default_rng(1)
    raw = RawChunk(
        (4, 5),
        rng.random((2, 3, 8, 8)).astype(np.float16),
        rng.random((2, 3), np.float32),
        rng.random((2, 3), np.float32),
    )
    saliency.write("img_1", "1", raw)
    back = saliency.read("img_1", "1")
    assert isinstance(back, RawChunk)
    np.testing.assert_array_equal(back.maps, raw.maps)
    root: Any = zarr.open(saliency.path)
    array = root["img_1/1/maps"]
    assert array.chunks == (1, 3, 8, 8)
    assert array.shards == (2, 3, 8, 8)


def test_a_value_equal_to_zero_everywhere_is_not_taken_for_missing(saliency):
    zeros = SampleChunk((0,), np.zeros((1, 9, 9), np.float32), np.ones((9, 9), np.uint16))
    saliency.write("img_1", "0", zeros)
    assert not saliency.read("img_1", "0").sums.any()


def test_beginning_with_another_fingerprint_discards_what_is_there(saliency):
    saliency.begin("img_1", {"fingerprint": "abc"})
    assert saliency.chunk_samples("img_1") == {"0": (0, 1, 2)}
    saliency.begin("img_1", {"fingerprint": "other"})
    assert saliency.chunk_samples("img_1") == {}


def test_equal_results_are_equal_bytes(tmp_path, chunk):
    contents = []
    for name in ("a", "b"):
        store = SaliencyStore(tmp_path / name)
        store.create({"kind": "saliency"})
        store.begin("i", {"fingerprint": "x"})
        store.write("i", "0", chunk)
        files = sorted(path for path in store.path.rglob("*") if path.is_file())
        contents.append({str(p.relative_to(store.path)): p.read_bytes() for p in files})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("fixture", ["saliency", "maps"])
def test_any_flipped_byte_of_a_stored_chunk_is_noticed(fixture, request):
    store = request.getfixturevalue(fixture)
    rng = np.random.default_rng(0)
    chunks = [path for path in store.path.rglob("c/*") if path.is_file()]
    chunks += [path for path in store.path.rglob("c/*/*") if path.is_file()]
    chunks += [path for path in store.path.rglob("c/*/*/*") if path.is_file()]
    assert chunks
    for path in chunks:
        good = path.read_bytes()
        places = rng.choice(len(good), min(len(good), 60), replace=False)
        for place in places:
            bad = bytearray(good)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(bad))
            assert any(found for _, found in verify(store.path)), (path, place)
        path.write_bytes(good)
    assert not any(found for _, found in verify(store.path))


@pytest.mark.parametrize("damage", ["truncate", "remove", "empty"])
def test_a_broken_chunk_is_named_and_its_removal_leaves_an_intact_store(saliency, chunk, damage):
    saliency.write("img_1", "1", chunk)
    path = saliency.path / "img_1" / "1" / "sum" / "c" / "1" / "0" / "0"
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "truncate" else b"")
    ((image, damages),) = verify(saliency.path)
    assert image == "img_1"
    assert [found.path.name for found in damages] == ["1"]
    remove(damages)
    assert saliency.chunk_samples("img_1") == {"0": (0, 1, 2)}


def test_reading_what_is_not_there_says_so(maps):
    with pytest.raises(StaleResultError, match="nothing"):
        maps.read("nothing")


def test_several_jobs_may_make_one_store_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ws3.store.groups import Store;"
        "store = Store(Path(sys.argv[1])); sys.stdin.readline(); store.create({'kind': 'maps'})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "s.zarr")]
    jobs = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(4)]
    time.sleep(1.5)
    for job in jobs:
        job.communicate("go\n")
    assert [job.returncode for job in jobs] == [0, 0, 0, 0]
    assert dict(zarr.open_group(tmp_path / "s.zarr", mode="r").attrs)["kind"] == "maps"


def test_a_newer_format_is_refused(maps):
    path = maps.path / "zarr.json"
    data = json.loads(path.read_text())
    data["attributes"]["ws3_format"] = FORMAT + 1
    path.write_text(json.dumps(data))
    with pytest.raises(Ws3Error, match="install a newer ws3"):
        Store(maps.path).check_format()


def test_a_foreign_store_is_refused(tmp_path):
    zarr.open_group(tmp_path / "x", mode="w")
    with pytest.raises(Ws3Error, match="not a store of ws3"):
        Store(tmp_path / "x").check_format()
    with pytest.raises(Ws3Error, match="no store here"):
        Store(tmp_path / "y").check_format()


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "b") as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_replaced_whole(tmp_path):
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "b", {"old", "new"}.__contains__) as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(NoSpaceError, match="no space left"), atomic_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_leftovers_of_killed_writers_are_invisible_and_removable(saliency):
    left, other = (temporary_beside(saliency.path / name) for name in ("img-2", "img"))
    left.mkdir()
    other.touch()
    assert saliency.names() == ["img_1"]
    remove_leftovers([saliency.path / "img-2", saliency.path / "nowhere" / "img"])
    assert not left.exists()
    assert other.exists()
    remove_leftovers([saliency.path / "img"])
    assert not other.exists()


def test_equal_json_is_equal_bytes(tmp_path):
    write_json(tmp_path / "a", {"b": 1, "a": [1.5]})
    write_json(tmp_path / "b", {"a": [1.5], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_layout_of_chunks():
    assert chunk_layout(5, 2, ()) == {"0": (0, 1), "1": (2, 3), "2": (4,)}
    assert chunk_layout(2, 10, (-1,)) == {"0": (0, 1), "cover": (-1,)}
