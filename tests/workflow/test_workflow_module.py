"""ws3 as a module of another workflow, and from where Snakemake's catalogue expects a workflow."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml
from snake import REPOSITORY, environment, job_counts, planned

pytestmark = pytest.mark.slow


def plan(folder, snakefile, *arguments):
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--cores", "1"]
    words += ["--directory", str(folder), "--dry-run", "--quiet", "host", *arguments]
    done = subprocess.run(
        words, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return job_counts(done.stdout + done.stderr)


@pytest.fixture
def demo():
    """The demo's configuration, with larger batches."""
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    return {**config, "run": "mine", "images_per_job": 200}


def test_a_module_plans_the_same_jobs(tmp_path, demo):
    expected = planned(tmp_path, demo)
    guide = (REPOSITORY / "config/README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    code = code.replace("mine.yaml", str(tmp_path / "config.yaml"))
    code = code.replace("path/to/ws3", str(REPOSITORY))
    (tmp_path / "Snakefile").write_text(code)
    found = plan(tmp_path, tmp_path / "Snakefile")
    assert found.pop("figures_of_mine") == 1
    assert found == expected
    assert found["saliency"] == 6


def test_the_catalogues_snakefile_plans_the_same_jobs(tmp_path, demo):
    for config, more in ((None, []), (demo, ["--configfile", str(tmp_path / "config.yaml")])):
        expected = planned(tmp_path, config)
        found = plan(tmp_path, REPOSITORY / "workflow/Snakefile", *more)
        assert found.pop("everything") == 1
        assert found == expected
