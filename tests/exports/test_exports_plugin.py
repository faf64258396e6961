"""The documented export format, installed and used as its reader would."""

from __future__ import annotations

import numpy as np
import pytest
from documented_package import install, ws3_with

from ws3.datasets.images import decode_rgb, read_bytes
from ws3.datasets.masks import read_label_mask
from ws3.run.results import RecipeResults

PAGE = "extending/export.md"
pytestmark = pytest.mark.slow


def test_the_documented_format_is_written_as_any_other(run, tmp_path):
    ws3 = ws3_with(install(PAGE, ("my_exports.py", "pyproject.toml"), tmp_path))
    shown = ws3("export", "--help").stdout.replace("│", " ")  # the help's frame
    assert "npz: one NumPy archive" in " ".join(shown.split())
    out = tmp_path / "out"
    options = ("--recipe", "cam", "--out", out, "--format")
    done = ws3("export", run.folder, *options, "np")
    assert done.returncode == 2
    assert "--format: 'np' is unknown; did you mean npz? choose from: voc, coco" in done.stderr
    done = ws3("export", run.folder, *options, "npz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{out}: 5 train images, 3 val images"
    assert (out / "classes.txt").read_text().split("\n") == ["background", *run.index.classes]
    results = RecipeResults(run, "cam")
    for row in run.index.rows:
        with np.load(out / row.split / f"{row.image}.npz") as arrays:
            is_train = row.split == "train"
            mask = results.mask(row) if is_train else read_label_mask(row.mask)
            assert np.array_equal(arrays["mask"], mask)
            assert np.array_equal(arrays["image"], decode_rgb(read_bytes(row.path), row.path))
