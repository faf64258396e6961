"""Pickled dicts are read without running anything in them."""

from __future__ import annotations

import io
import os
import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch

from ws3.errors import Ws3Error
from ws3.imports.pickles import read_pickled_dict


def saved(path, content):
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


class Runs:
    """Its pickle has a command run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_what_irnet_and_seam_save_is_read_as_numpy_itself_reads_it(tmp_path):
    rng = np.random.default_rng(0)
    irn: dict[str, Any] = {
        "keys": torch.tensor([1, 3]),
        "cam": torch.from_numpy(rng.random((2, 5, 8), np.float32))[:, ::2].half(),
        "high_res": rng.random((2, 19, 31), np.float32),
        "best": np.float32(0.25),
        "image": "2007_000032",
        "sizes": [1, (2, 3.5, None)],
    }
    read = read_pickled_dict(saved(tmp_path / "irn.npy", irn))
    assert read.keys() == irn.keys()
    assert all(np.array_equal(read[name], irn[name].numpy()) for name in ("keys", "cam"))
    assert np.array_equal(read["high_res"], irn["high_res"])
    assert read["high_res"].dtype == np.float32
    assert (read["best"], read["image"]) == (0.25, "2007_000032")
    assert read["sizes"] == [1, (2, 3.5, None)]
    seam = {0: np.asfortranarray(rng.random((4, 6))), np.int64(7): rng.random((4, 6)).astype(">f4")}
    read = read_pickled_dict(saved(tmp_path / "seam.npy", seam))
    assert list(read) == [0, 7]
    assert all(np.array_equal(read[key], value) for key, value in seam.items())


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickle_is_read(tmp_path, protocol):
    content = {"keys": np.array([2]), "high_res": np.arange(6, dtype=np.float32).reshape(1, 2, 3)}
    path = tmp_path / "a.npy"
    buffer = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(buffer, header)
    pickle.dump(np.array(content, dtype=object), buffer, protocol=protocol)
    path.write_bytes(buffer.getvalue())
    assert np.array_equal(np.load(path, allow_pickle=True).item()["high_res"], content["high_res"])
    assert np.array_equal(read_pickled_dict(path)["high_res"], content["high_res"])


@pytest.mark.parametrize("wrapped", [lambda one: {"keys": one}, lambda one: {"a": [1, {2: one}]}])
def test_code_is_refused_by_name_and_not_run(tmp_path, wrapped):
    touched = tmp_path / "touched"
    path = saved(tmp_path / "a.npy", wrapped(Runs(touched)))
    with pytest.raises(Ws3Error, match=r"posix\.system, which would have to be run"):
        read_pickled_dict(path)
    assert not touched.exists()
    np.load(path, allow_pickle=True)
    assert touched.exists()  # the file does run what it holds where it is let


def test_code_inside_a_tensor_is_not_run(tmp_path):
    touched, inner = tmp_path / "touched", io.BytesIO()
    torch.save({"a": Runs(touched)}, inner)

    class Storage:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    path = saved(tmp_path / "a.npy", {"cam": Storage()})
    with pytest.raises(Ws3Error, match="it holds a tensor with code"):
        read_pickled_dict(path)
    assert not touched.exists()


class Other:
    """A class of somebody's own."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Other()}, "test_imports_pickles.Other, which would have to be run"),
        ({"a": complex(1, 2)}, "builtins.complex, which would have to be run"),
        ({"a": np.zeros(2, "U3")}, "holds values of the type U3"),
        ({"a": np.zeros(2, [("x", "f4")])}, "holds values of the type V4"),
        ({"a": np.array([[1], None], dtype=object)}, "an array of objects"),
        (np.datetime64("2026-01-01"), "values of the type M8"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, message):
    with pytest.raises(Ws3Error, match=message):
        read_pickled_dict(saved(tmp_path / "a.npy", content))


def test_a_plain_array_is_told_from_a_dict(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    with pytest.raises(Ws3Error, match=r"set import\.format: npy"):
        read_pickled_dict(tmp_path / "a.npy")


def test_damaged_files_end_in_a_sentence(tmp_path):
    path = tmp_path / "a.npy"
    content = {"keys": torch.tensor([1]), "high_res": np.ones((1, 3, 4), np.float32)}
    whole = saved(path, content).read_bytes()
    chance, refused = random.Random(0), 0
    for _ in range(300):
        spoilt = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        path.write_bytes(bytes(spoilt[: chance.choice([len(spoilt), chance.randrange(400)])]))
        try:
            read_pickled_dict(path)
        except Ws3Error:
            refused += 1
    assert refused > 200
