"""ws3 as a module of another workflow, and from where Snakemake's catalogue expects a workflow."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import yaml
from snake import REPOSITORY, environment, job_counts, planned

from ws3.run.folder import Run

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


def test_a_module_begins_the_run(tmp_path):
    """Snakemake leaves out a module's `onstart`, which writes what all jobs read."""
    dataset = {"kind": "synthetic", "train_images": 2, "val_images": 1, "size": 64, "classes": 2}
    config = {"run": "mine", "dataset": dataset, "recipes": {"cam": {"preset": "gradcam"}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    text = f"""
configfile: "config.yaml"

module ws3:
    snakefile: "{REPOSITORY}/Snakefile"
    config: config

use rule * from ws3

onstart:
    open("own.txt", "a").write("once ")
"""
    (tmp_path / "Snakefile").write_text(text)
    words = ["snakemake", "--directory", str(tmp_path), "--snakefile", str(tmp_path / "Snakefile")]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--cores", "1", "results/mine/receipts/index.json"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(Run.open(tmp_path / "results/mine").index.rows) == 3
    assert (tmp_path / "own.txt").read_text() == "once "


def test_the_catalogues_snakefile_plans_the_same_jobs(tmp_path, demo):
    for config, more in ((None, []), (demo, ["--configfile", str(tmp_path / "config.yaml")])):
        expected = planned(tmp_path, config)
        found = plan(tmp_path, REPOSITORY / "workflow/Snakefile", *more)
        assert found == expected


# What `snakedeploy deploy-workflow` writes (0.17.1), beside copies of config/ and profiles/.
DEPLOYED = """
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


# declare REPOSITORY as a module
module ws3:
    snakefile:
        {snakefile}
    config:
        config


# use all rules from REPOSITORY
use rule * from ws3
"""


@pytest.fixture
def deployed(tmp_path, demo):
    """A folder with what `snakedeploy` copies."""
    folder = tmp_path / "deployed"
    (folder / "workflow").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "config", folder / "config")
    (folder / "config/config.yaml").write_text(yaml.safe_dump(demo))
    return folder


def test_what_snakedeploy_writes_plans_the_same_jobs(tmp_path, demo, deployed):
    # A repository of its own, at a tag: what stands there counts, not what the folder holds.
    clone = tmp_path / "clone"
    for name in ("workflow", "rules", "config", "envs"):
        shutil.copytree(REPOSITORY / name, clone / name)
    shutil.copy(REPOSITORY / "Snakefile", clone)
    git = ["git", "-C", str(clone), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    (clone / "Snakefile").unlink()
    expected = planned(tmp_path, demo)
    snakefile = f"git+file://{clone}/workflow/Snakefile@v1"
    (deployed / "workflow/Snakefile").write_text(DEPLOYED.format(snakefile=repr(snakefile)))
    found = plan(deployed, deployed / "workflow/Snakefile")
    assert found == expected
