"""The documented stage, added to a copy of the repository by its page alone, and run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import yaml
from pages import apply_diff, documented, marked
from PIL import Image
from snake import REPOSITORY, environment, job_counts

PAGE = "extending/stage.md"
CONFIG = {
    "run": "tiny",
    "device": "cpu",
    "dataset": {"kind": "synthetic", "train_images": 3, "val_images": 2, "size": 64, "classes": 2},
    "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1},
    "recipes": {"cam": {"preset": "gradcam"}},
    "images_per_job": 2,
}


@pytest.fixture
def extended(tmp_path):
    """Return a copy of the repository to which the page was applied, and nothing else."""
    copy = tmp_path / "repository"
    for part in ("ws3", "rules", "workflow", "profiles", "envs", "config"):
        shutil.copytree(
            REPOSITORY / part, copy / part, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(REPOSITORY / "Snakefile", copy)
    touched = []
    for name in marked(PAGE):
        if name.endswith(".diff"):
            touched.append(apply_diff(documented(PAGE, name), copy))
        else:
            (copy / name).write_text(documented(PAGE, name))
            touched.append(copy / name)
    assert len(set(touched)) <= 5
    return copy


@pytest.mark.slow
def test_the_documented_stage_runs_resumes_and_is_repaired(extended, tmp_path):
    config, results = tmp_path / "config.yaml", tmp_path / "results/tiny"

    def run(*command: object) -> str:
        env = {**environment(), "PYTHONPATH": str(extended)}
        line = [sys.executable, "-m", *map(str, command)]
        done = subprocess.run(
            line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def snakemake(*options: object, **changes: object) -> str:
        config.write_text(yaml.safe_dump({**CONFIG, **changes}))
        words = ("--snakefile", extended / "Snakefile", "--configfile", config, "--cores", 2)
        return run("snakemake", *words, *options)

    def planned(**changes: object) -> Counter[str]:
        return job_counts(snakemake("--dry-run", "--quiet", "host", **changes))

    snakemake()
    outlines = sorted((results / "outlines/cam").glob("*.png"))
    assert len(outlines) == 5
    for path in outlines:
        mask = np.array(Image.open(results / "masks/cam" / path.name))
        drawn = np.array(Image.open(path))
        assert set(np.unique(drawn)) <= set(np.unique(mask))
        assert (mask[drawn > 0] == drawn[drawn > 0]).all()
        assert ((drawn > 0).sum() > 0) == ((mask > 0) & (mask < 255)).any()
    assert "outlines" in run("ws3", "status", results)
    assert planned() == {}

    # A changed setting reruns this stage alone.
    assert planned(outlines={"width": 3}) == {"outlines": 3}

    # What is damaged is found, removed and made again; all else stays as it is.
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outlines}
    outlines[0].write_bytes(outlines[0].read_bytes()[:-9])
    assert "1 damaged" in run("ws3", "verify", results, "--repair")
    assert planned()["outlines"] == 1
    snakemake()
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in outlines}
    assert [path for path in outlines if after[path][0] != before[path][0]] == []
    assert [path for path in outlines if after[path][1] != before[path][1]] == [outlines[0]]
