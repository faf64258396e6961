"""Other readers of Zarr 3 find in the stores what was written: every form, every type of number."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from other_tools import tool

from ws3.store.groups import new_group

# As the stores have them: chunks per class, none at all, whole arrays, inner chunks in one shard.
FORMS = [
    ("float16", (3, 30, 41), (1, 30, 41), None),
    ("float16", (0, 9, 7), (1, 9, 7), None),
    ("float32", (2, 30, 41), (1, 30, 41), None),
    ("uint16", (30, 41), (30, 41), None),
    ("float16", (4, 2, 9, 7), (1, 2, 9, 7), (4, 2, 9, 7)),
]
by_form = pytest.mark.parametrize(
    ("dtype", "shape", "chunks", "shards"),
    FORMS,
    ids=["map", "no_class", "sum", "count", "sharded"],
)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes an array, and returns its folder and its values."""

    def write(dtype, shape, chunks, shards):
        values = np.random.default_rng(0).random(shape)
        values = (values * 60000 if dtype == "uint16" else values).astype(dtype)
        if dtype != "uint16" and values.size:
            # The fill value, the least and the largest of their kind, and a negative zero.
            edges = [np.nan, np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max, -0.0]
            values.flat[:4] = edges
        with new_group(tmp_path / "image", {}) as group:
            group.write("map", values, chunks=chunks, shards=shards)
        return tmp_path / "image/map", values

    return write


def assert_same(found, values):
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert found.tobytes() == values.tobytes()


@by_form
def test_tensorstore_reads_the_same_bytes(written, dtype, shape, chunks, shards):
    tensorstore = tool("tensorstore")
    folder, values = written(dtype, shape, chunks, shards)
    where = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    assert_same(np.asarray(tensorstore.open(where).result().read().result()), values)


def test_tensorstore_notices_a_flipped_bit(written):
    tensorstore = tool("tensorstore")
    folder, _ = written(*FORMS[0])
    chunk = folder / "c/1/0/0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(data)
    where = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    with pytest.raises(ValueError, match=r"(?i)crc|checksum|digest|corrupt"):
        tensorstore.open(where).result().read().result()


@by_form
def test_zarrs_reads_the_same_bytes(written, dtype, shape, chunks, shards):
    tool("zarrs")
    folder, values = written(dtype, shape, chunks, shards)
    # It takes the place of zarr-python's pipeline of codecs for the whole process.
    code = """
import sys, warnings, zarr, numpy as np
warnings.simplefilter("error")
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
array = zarr.open_array(sys.argv[1], mode="r")
assert type(array._async_array.codec_pipeline).__module__.startswith("zarrs")
found = array[...]
sys.stdout.buffer.write(str((found.dtype.name, found.shape)).encode() + b"\\n" + found.tobytes())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    head, _, data = done.stdout.partition(b"\n")
    assert head.decode() == str((values.dtype.name, values.shape))
    assert data == values.tobytes()


def test_the_forms_are_those_that_docs_store_names(written):
    folder, _ = written(*FORMS[0])
    metadata = json.loads((folder / "zarr.json").read_text())
    assert [codec["name"] for codec in metadata["codecs"]] == ["bytes", "zstd", "crc32c"]
    assert metadata["fill_value"] == "NaN"
