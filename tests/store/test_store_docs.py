"""The example of docs/store.md reads a map with nothing but zarr and numpy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from ws3.store.maps import MapStore

DOCS = Path(__file__).parents[2] / "docs" / "store.md"


def test_the_documented_example_reads_a_map(tmp_path):
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    code = found[1]
    assert len(code.strip().splitlines()) <= 10
    assert "ws3" not in re.sub(r'"[^"]*"', "", code)
    store = MapStore(tmp_path / "results/demo/maps/cam.zarr")
    store.create({"kind": "maps", "recipe": "cam"})
    maps = np.zeros((2, 5, 7), np.float16)
    maps[0, 3, 4] = maps[1, 0, 6] = 1
    store.write("val_0000", maps, {"classes": ["cat", "dog"], "class_values": [1, 5]})
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "cat (mask value 1) is strongest at row 3, column 4",
        "dog (mask value 5) is strongest at row 0, column 6",
    ]
