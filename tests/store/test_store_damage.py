"""Damage to a store's metadata, and several writers of one result."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws3.aggregation.chunks import RawChunk, SampleChunk
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import atomic_folder
from ws3.store.groups import Store
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore
from ws3.store.verify import verify

RNG = np.random.default_rng(0)
SUMMED = SampleChunk((0, 1), RNG.random((2, 6, 8), np.float32), np.ones((6, 8), np.uint16))
RAW = RawChunk(
    (2,),
    RNG.random((1, 2, 6, 8)).astype(np.float16),
    np.ones((1, 2), np.float32),
    np.ones((1, 2), np.float32),
)


@pytest.fixture
def saliency(tmp_path):
    store = SaliencyStore(tmp_path / "r.zarr")
    store.create({"kind": "saliency", "recipe": "r"})
    store.begin("img", {"fingerprint": "abc"})
    store.write("img", "0", SUMMED)
    store.write("img", "1", RAW)
    return store


@pytest.fixture
def maps(tmp_path):
    store = MapStore(tmp_path / "m.zarr")
    store.create({"kind": "maps", "recipe": "r"})
    store.write("img", SUMMED.sums.astype(np.float16), {"fingerprint": "abc"})
    return store


def read_all(store):
    """Read a store as the stages do; only what may be wrong with a result is let through."""
    store.attributes("img")
    try:
        if isinstance(store, MapStore):
            store.read("img")
        else:
            for name in store.chunk_samples("img"):
                store.read("img", name)
    except StaleResultError:
        pass


@pytest.mark.parametrize("fixture", ["saliency", "maps"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_damaged_metadata_is_a_result_to_make_again_and_no_crash(fixture, damage, request):
    store = request.getfixturevalue(fixture)
    files = sorted(path for path in store.path.rglob("zarr.json") if path.parent != store.path)
    assert len(files) >= 2
    for path in files:
        good = path.read_bytes()
        places = RNG.choice(len(good), 12 if damage in ("flip", "truncate") else 1, replace=False)
        for place in places:
            if damage == "flip":
                bad = bytearray(good)
                bad[place] ^= 1 << int(RNG.integers(7))
                path.write_bytes(bytes(bad))
            elif damage == "truncate":
                path.write_bytes(good[:place])
            elif damage == "empty":
                path.write_bytes(b"")
            else:
                path.unlink()
            read_all(store)
            found = [found for _, damages in verify(store.path) for found in damages]
            assert found, (path, place)
        path.write_bytes(good)
    assert not any(damages for _, damages in verify(store.path))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a store of each kind, and the bytes of each of their files."""
    folder = tmp_path_factory.mktemp("stores")
    sums, maps = SaliencyStore(folder / "saliency.zarr"), MapStore(folder / "maps.zarr")
    sums.create({"kind": "saliency", "recipe": "r"})
    sums.begin("img", {"fingerprint": "abc", "classes": ["cat", "dog"]})
    sums.write("img", "0", SUMMED)
    sums.write("img", "1", SampleChunk((5,), SUMMED.sums, SUMMED.sums))
    sums.write("img", "2", RAW)
    maps.create({"kind": "maps", "recipe": "r"})
    maps.write("img", SUMMED.sums.astype(np.float16), {"fingerprint": "abc"})
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_any_changed_byte_of_any_file_is_noticed(written, data):
    path = data.draw(st.sampled_from(sorted(written)))
    good = written[path]
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    store = next(parent for parent in path.parents if parent.suffix == ".zarr")
    path.write_bytes(bytes(bad))
    try:
        found = [damage.path for _, damages in verify(store) for damage in damages]
    except Ws3Error:  # the store's own metadata
        found = [path.parent]
    finally:
        path.write_bytes(good)
    assert found
    assert all(part in path.parents for part in found)


@pytest.mark.parametrize("attributes", [{}, {"samples": 3}, {"samples": ["a"]}, {"samples": None}])
def test_a_chunk_that_does_not_say_its_samples_is_damaged(saliency, attributes):
    path = saliency.path / "img" / "0" / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": attributes}))
    assert saliency.chunk_samples("img") == {"1": (2,)}
    with pytest.raises(StaleResultError, match="its attributes"):
        saliency.read("img", "0")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"attributes": 3}'])
def test_a_damaged_store_says_what_to_do(maps, content):
    (maps.path / "zarr.json").write_text(content)
    for call in (maps.check_format, lambda: maps.create({"kind": "maps"})):
        with pytest.raises(
            Ws3Error, match=r"zarr\.json: this file is damaged; remove it and run snakemake again"
        ):
            call()
    (maps.path / "zarr.json").unlink()
    maps.create({"kind": "maps", "recipe": "r"})
    np.testing.assert_array_equal(maps.read("img"), SUMMED.sums.astype(np.float16))


@pytest.mark.parametrize("name", ["file", "folder"])
def test_what_is_no_store_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Ws3Error, match="there is no store here"):
        Store(tmp_path / name).check_format()


def test_several_writers_of_one_result_leave_one_whole_result(tmp_path):
    def write(number):
        with atomic_folder(tmp_path / "result", {"a", "b"}.__contains__) as temporary:
            temporary.mkdir()
            for name in ("a", "b"):
                (temporary / name).write_text(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    texts = {(tmp_path / "result" / name).read_text() for name in ("a", "b")}
    assert len(texts) == 1


@pytest.mark.parametrize("fixture", ["saliency", "maps"])
def test_a_pipe_in_place_of_any_file_is_damage_and_is_not_waited_for(fixture, request):
    store = request.getfixturevalue(fixture)
    assert not any(damages for _, damages in verify(store.path))
    files = [path for path in store.path.rglob("*") if path.is_file()]
    files.remove(store.path / "zarr.json")
    assert any(path.parent.name.isdecimal() or path.parent.name == "c" for path in files)
    signal.alarm(60)  # a wait would last for ever
    try:
        for path in files:
            good = path.read_bytes()
            path.unlink()
            os.mkfifo(path)
            assert [image for image, damages in verify(store.path) if damages] == ["img"], path
            path.unlink()
            path.write_bytes(good)
    finally:
        signal.alarm(0)
    assert not any(damages for _, damages in verify(store.path))
