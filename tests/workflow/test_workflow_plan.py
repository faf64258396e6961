"""What a dry run says, without anything having been run."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from snake import REPOSITORY, planned, snakemake

from ws3.config.load import load
from ws3.config.schema import schema_text


@pytest.mark.slow
def test_a_bare_dry_run_shows_the_demo(tmp_path):
    jobs = planned(tmp_path, None)
    # 200 training and 50 validation images in batches of 100, three recipes.
    assert jobs == {
        "index": 1,
        "train_classifier": 1,
        "saliency": 9,
        "maps": 9,
        "threshold": 3,
        "masks": 9,
        "train_segmentation": 1,
        "predictions": 1,
        "evaluate": 3,
        "summary": 1,
        "report": 1,
    }
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_one_image_a_job_is_one_job_per_image_and_stage(tmp_path):
    jobs = planned(tmp_path, None, "--config", "images_per_job=1")
    assert (jobs["saliency"], jobs["maps"], jobs["masks"]) == (750, 750, 750)
    assert jobs["predictions"] == 50


@pytest.mark.slow
def test_a_ceiling_adds_its_own_network_and_figures(tmp_path):
    data = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    without = planned(tmp_path, data)
    data["segmentation"]["fully_supervised"] = True
    assert planned(tmp_path, data) - without == {
        "train_segmentation": 1,
        "predictions": 1,
        "evaluate": 1,
    }


@pytest.mark.slow
def test_each_stage_may_have_its_own_batch_size(tmp_path):
    data = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    data["images_per_job"] = {"saliency": 7, "maps": 60, "masks": 11, "predictions": 60}
    jobs = planned(tmp_path, data)
    assert (jobs["saliency"], jobs["maps"], jobs["masks"]) == (3 * 37, 3 * 5, 3 * 24)


@pytest.mark.slow
def test_a_dry_run_needs_no_profile(tmp_path):
    profile = ("--workflow-profile", "none")
    assert planned(tmp_path, None, *profile) == planned(tmp_path, None)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="this machine has no GPU")
def test_on_one_machine_a_training_waits_for_all_gpus(tmp_path):
    done = snakemake(tmp_path, "-n", "--config", "device=cuda", "--resources", "gpu=4")
    asked = Counter(re.findall(r"rule (\w+):(?:(?!rule).)*?gpu=(\d)", done.stdout, re.DOTALL))
    assert asked["train_classifier", "4"] == 1, done.stdout + done.stderr
    assert asked["train_segmentation", "4"] == 1
    assert asked["saliency", "1"] > 1


@pytest.mark.slow
def test_lint_is_clean():
    done = snakemake(REPOSITORY, "--lint")
    assert "Congratulations" in done.stdout + done.stderr, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sede": 1}, "config: sede: this key is unknown; the keys here are: run, results, seed"),
        ({"recipes": {"a/b": {"preset": "cam"}}}, "'a/b' can't be a folder's name"),
        (
            {"recipes": {"cam": {"method": "grad-cam"}}},
            "config: recipes.cam: there is no method 'grad-cam'; did you mean",
        ),
        ({"dataset": {"kind": "folder", "root": "/nowhere"}}, "/nowhere"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(tmp_path, change, sentence):
    data = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    data["segmentation"]["recipes"] = []
    done = snakemake(tmp_path, "--dry-run", config={**data, **change})
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert sentence in text
    assert "Traceback" not in text


def test_shipped_configurations_are_valid():
    paths = [path for path in (REPOSITORY / "config").rglob("*.yaml") if path.name != "schema.yaml"]
    assert len(paths) > 6
    for path in paths:
        assert load(path).recipes, path


def test_the_schema_is_in_step_with_the_model():
    assert (REPOSITORY / "config/schema.yaml").read_text() == schema_text()


def test_shipped_configurations_fit_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = yaml.safe_load(schema_text())
    for path in (REPOSITORY / "config").rglob("*.yaml"):
        if path.name != "schema.yaml":
            jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    wrong = copy.deepcopy(yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()))
    wrong["masks"]["crf"] = {"iters": 3}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


@pytest.mark.parametrize("module", ["ws3", "ws3.cli.app", "ws3.workflow.plan"])
def test_what_every_start_imports_has_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'zarr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["ws3.stages.maps", "ws3.stages.masks"])
def test_aggregate_and_masks_never_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
