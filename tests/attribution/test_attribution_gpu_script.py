"""The script for whoever has a GPU runs, in its dry form, on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.py"


@pytest.mark.slow
def test_the_dry_form_measures_everything_once(tmp_path):
    output = tmp_path / "gpu.json"
    line = [sys.executable, str(SCRIPT), "--dry", "--output", str(output)]
    subprocess.run([*line, "--wheels", str(tmp_path / "none")], check=True, cwd=tmp_path)
    found = json.loads(output.read_text())
    assert not [name for name, part in found.items() if "failed" in str(part)]
    rates = found["resnet18 at 64 in fp32"]
    assert all(rates[key] > 0 for key in ("crops per second", "limit", "old way"))
    assert 0 < rates["share of time in which the GPU computed"] <= 1
    assert found["contrast_crops"]["images per second"] > 0
    maps = found["maps"]
    assert maps["fp32"]["lowest Spearman"] > 0.99
    assert (
        abs(maps["fp32"]["mIoU at its best threshold"] - maps["CPU"]["mIoU at its best threshold"])
        < 0.01
    )
    assert found["training"]["images per second"] > 0
    assert found["prediction"]["images per second"] > 0
    assert found["wheels"]["installed"] is False
