"""The documented method of one's own, installed and run as its reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ws3.config.load import resolve
from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.stages.index import write_config
from ws3.store.saliency import SaliencyStore

PAGE = Path(__file__).parents[2] / "docs" / "extending" / "method.md"


def documented(name: str) -> str:
    """Return the block of the page that is marked as this file."""
    found = re.search(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.slow
def test_the_documented_method_runs_as_any_other(small_run, tmp_path, monkeypatch):
    package, installed = tmp_path / "package", tmp_path / "installed"
    package.mkdir()
    for name in ("my_methods.py", "described.py", "pyproject.toml"):
        (package / name).write_text(documented(name))
    lines = [line for line in documented("my_methods.py").splitlines() if line.strip()]
    assert len(lines) <= 20
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", installed, package], check=True)
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def ws3(*arguments: object) -> str:
        command = [sys.executable, "-c", "from ws3.cli import main; main()", *map(str, arguments)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    listed = ws3("recipes", "--methods")
    assert "energy" in listed
    assert "described_energy" in listed
    run = small_run()
    data = run.config.model_dump(mode="json")
    data["recipes"]["energy"] = yaml.safe_load(documented("recipe.yaml"))
    with pytest.raises(Ws3Error, match=r"recipes\.energy: there is no method 'energy'"):
        resolve(data)
    monkeypatch.syspath_prepend(str(installed))
    run = Run(run.folder, resolve(data))
    write_config(run)
    image = run.index.rows[0].image
    ws3("saliency", run.folder, "--recipe", "energy", "--image", image)
    ws3("maps", run.folder, "--recipe", "energy", "--image", image)
    data["recipes"]["energy"] |= {"method": "described_energy", "options": {"power": 9}}
    write_config(Run(run.folder, resolve(data)))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        ws3("saliency", run.folder, "--recipe", "energy", "--image", image)
    assert "the option power of the method described_energy is 9, but" in caught.value.stderr
    chunk = SaliencyStore(run.results("saliency", "energy")).read(image, "0")
    assert np.isfinite(chunk.sums).all()
    assert chunk.sums.max() > 0
