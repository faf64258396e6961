"""Several seeds in one configuration: what runs they are, what they share, what compares them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snake import REPOSITORY, command, environment, planned, reported, snakemake
from verified_run import ws3

from ws3.config.load import dump, resolve
from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.stages.index import index, write_config
from ws3.tools.doctor_config import config_findings
from ws3.workflow.plan import Plan
from ws3.workflow.rules import Rules

WORKFLOW = SimpleNamespace(
    is_main_process=True,
    overwrite_configfiles=(),
    resource_settings=SimpleNamespace(nodes=None),
    global_resources={},
)


def with_seeds(config_of, *seeds, **changes):
    """Return a configuration of several seeds."""
    return config_of(seeds=list(seeds), **changes)


def alone(config_of, seed, **changes):
    """Return the configuration of one of its runs, as one would write it without `seeds`."""
    return config_of(run=f"bare_seed{seed}", seed=seed, **changes)


def classifier_of(plan):
    return plan.train_classifier_params


# The configuration -------------------------------------------------------------------------------


def test_each_seed_is_the_run_that_one_would_have_written(config_of):
    runs = resolve(with_seeds(config_of, 3, 0, 7)).of_seeds()
    assert [run.run for run in runs] == ["bare_seed3", "bare_seed0", "bare_seed7"]
    assert list(runs) == [resolve(alone(config_of, seed)) for seed in (3, 0, 7)]


def test_without_seeds_a_configuration_is_written_as_before(config_of):
    config = resolve(config_of())
    assert config.of_seeds() == (config,)
    assert "seeds:" not in dump(config)
    for run in resolve(with_seeds(config_of, 1, 2)).of_seeds():
        assert "seeds:" not in dump(run)


def test_a_drawn_dataset_is_drawn_once_for_all_seeds():
    data = {"run": "r", "dataset": {"kind": "synthetic"}, "recipes": {"cam": {"preset": "cam"}}}
    roots = {run.dataset.root for run in resolve({**data, "seeds": [0, 1]}).of_seeds()}
    assert roots == {"results/r_seeds/data"}
    assert resolve(data).of_seeds()[0].dataset.root is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 0, "seeds": [0, 1]}, "seeds: seed is given too; give either seed or seeds"),
        ({"seeds": [0, 1, 0]}, "seeds: 0 is listed twice; list it once"),
        ({"seeds": []}, r"seeds: a length of at least 1 is expected, not \[\]"),
        ({"seeds": 3}, "seeds: a list is expected, not 3"),
        ({"seeds": [0, -1]}, "seeds.1: Input should be greater than or equal to 0, not -1"),
        ({"seeds": [True]}, "seeds.0: a number is expected, not true or false"),
        ({"seeds": [10**6], "run": "r" * 95}, "_seed1000000' can't be a folder's name"),
    ],
)
def test_seeds_that_can_not_be_are_refused_in_one_sentence(config_of, changes, sentence):
    with pytest.raises(Ws3Error, match=sentence) as refused:
        resolve(config_of(**changes))
    assert len(str(refused.value).splitlines()) == 1


def test_a_run_of_several_seeds_is_no_folder(config_of, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(with_seeds(config_of, 0, 1)))
    with pytest.raises(Ws3Error, match="a run has one seed; put seeds into a configuration for"):
        Run.open(tmp_path)


# The plan ----------------------------------------------------------------------------------------


def test_the_targets_are_those_of_each_run_and_the_comparison(config_of, tmp_path):
    found = Rules(with_seeds(config_of, 0, 2), WORKFLOW).targets()
    expected = [
        file for seed in (0, 2) for file in Plan(alone(config_of, seed), check_files=True).targets()
    ]
    tables = {Path(file) for file in found} - {Path(file) for file in expected}
    assert {path.parent for path in tables} == {tmp_path / "results/bare_seeds"}
    assert {path.name for path in tables} == {
        *("comparison.csv", "comparison.md", "comparison.tex", "differences.csv"),
    }
    assert Counter(found) == Counter(expected) + Counter(map(str, tables))


def test_a_job_of_a_seed_asks_what_it_would_ask_as_a_run_of_its_own(config_of):
    rules = Rules(with_seeds(config_of, 0, 2), WORKFLOW)
    for seed in (0, 2):
        own = Rules(alone(config_of, seed), WORKFLOW)
        job = SimpleNamespace(run=f"bare_seed{seed}", recipe="crops", batch="val-00001")
        for stage in ("saliency", "maps", "masks", "predictions"):
            assert rules.stage_params(stage)(job) == own.stage_params(stage)(job)
            assert rules.batch_params(stage)(job) == own.batch_params(stage)(job)
        for asked in (Plan.evaluate_input, Plan.train_segmentation_params, Plan.threshold_input):
            assert rules.of_recipe(asked)(job) == own.of_recipe(asked)(job)
        assert rules.of_run(Plan.evaluations)(job) == own.of_run(Plan.evaluations)
        assert rules.of_run(classifier_of)(job) == own.of_run(classifier_of)
        assert rules.batch_input("masks", "maps")(job) == own.batch_input("masks", "maps")(job)
        path = rules.receipt("saliency", "crops", "val-00001").format(run=job.run)
        assert path == own.receipt("saliency", "crops", "val-00001")
        said = rules.shell("ws3 report {run}").replace("{log:q}", "log").format(wildcards=job)
        assert said.replace("'", "").startswith(f"ws3 report {own.run.folder} > ")


def test_one_seed_has_the_paths_and_questions_of_before(config_of, tmp_path):
    rules = Rules(config_of(), WORKFLOW)
    assert rules.receipt("index") == f"{tmp_path}/results/bare/receipts/index.json"
    assert rules.index_input == []
    assert rules.index_shell == f"ws3 index {tmp_path}/results/bare > {{log:q}} 2>&1"
    assert rules.targets() == Plan(config_of(), check_files=True).targets()


def test_a_seed_more_adds_its_own_jobs_and_changes_no_other(config_of):
    before, after = (
        Rules(with_seeds(config_of, *seeds), WORKFLOW) for seeds in ((0, 1), (0, 1, 5))
    )
    added = set(after.targets()) - set(before.targets())
    assert {Path(file).relative_to(after.config.results).parts[0] for file in added} == {
        "bare_seed5"
    }
    job = SimpleNamespace(run="bare_seed1", recipe="crops", batch="val-00001")
    assert after.stage_params("saliency")(job) == before.stage_params("saliency")(job)
    assert after.index_input(job) == before.index_input(job)


# The index ---------------------------------------------------------------------------------------


def test_images_that_the_first_run_has_looked_at_are_not_read_again(config_of, dataset):
    first, second = Run.all_of(resolve(with_seeds(config_of, 0, 1)))
    write_config(first)
    index(first)
    image = dataset / "images/t2.png"
    state = image.stat()
    image.write_bytes(b"\0" * state.st_size)  # whoever reads it, refuses it
    os.utime(image, ns=(state.st_atime_ns, state.st_mtime_ns))
    write_config(second)
    index(second, first)
    assert second.index == first.index
    assert (second.folder / "index.csv").read_bytes() == (first.folder / "index.csv").read_bytes()
    second.index_file.unlink()
    with pytest.raises(Ws3Error, match="t2"):
        index(second)


def test_an_edited_label_reaches_the_index_of_every_seed(config_of, dataset):
    data = with_seeds(config_of, 0, 1)
    runs = Run.all_of(resolve(data))
    for run in runs:
        write_config(run)
        index(run, runs[0])
    table = dataset / "labels.csv"
    table.write_text(table.read_text().replace("t2,cat", "t2,dog"))
    Rules(data, WORKFLOW).refresh_index()
    for run in Run.all_of(resolve(data)):
        assert run.row("t2").labels == ("dog",)
    assert runs[0].index_file.read_bytes() == runs[1].index_file.read_bytes()


def test_the_index_of_a_configuration_begins_all_runs(config_of, tmp_path):
    path = tmp_path / "seeds.yaml"
    path.write_text(yaml.safe_dump(with_seeds(config_of, 0, 1)))
    status, said = ws3("index", "--config", path)
    assert status == 0, said
    for seed in (0, 1):
        assert f"8 images, 2 classes: {tmp_path}/results/bare_seed{seed}/index.csv" in said
        assert Run.open(tmp_path / f"results/bare_seed{seed}").config.seed == seed
    status, said = ws3("index", "--config", path, "--check")
    assert status == 0, said


def test_doctor_looks_at_what_all_seeds_need(config_of, tmp_path):
    path = tmp_path / "seeds.yaml"
    path.write_text(yaml.safe_dump(with_seeds(config_of, 0, 1)))
    found = {finding.what: finding.text for finding in config_findings(path)}
    assert found["configuration"] == f"{path}, runs bare_seed0, bare_seed1"
    assert "8 images, 2 classes" in found["dataset"]


def test_status_takes_several_runs(config_of, tmp_path):
    runs = Run.all_of(resolve(with_seeds(config_of, 0, 1)))
    for run in runs:
        write_config(run)
        index(run)
    status, said = ws3("status", *(run.folder for run in runs))
    assert status == 0, said
    assert all(str(run.folder) in said for run in runs)


# Through Snakemake -------------------------------------------------------------------------------

DRAWN = {"kind": "synthetic", "train_images": 5, "val_images": 3, "size": 64, "classes": 2}
TINY = {
    "run": "tiny",
    "device": "cpu",
    "threads": 1,
    "dataset": DRAWN,
    "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1, "batch_size": 4},
    "recipes": {"cam": {"preset": "gradcam"}},
    "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
    "images_per_job": 8,
}

# One batch of each split.
OF_A_SEED = {
    "index": 1,
    "train_classifier": 1,
    "saliency": 2,
    "maps": 2,
    "threshold": 1,
    "masks": 2,
    "evaluate": 1,
    "summary": 1,
    "report": 1,
}


def made(folder: Path, run: str) -> dict[str, bytes]:
    """Return the bytes of all results of a run that may not depend on when they were made."""
    root = folder / "results" / run
    patterns = ("maps/**/*", "masks/**/*", "thresholds/*", "evaluation/*", "index.csv")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for pattern in patterns
        for path in sorted(root.glob(pattern))
        if path.is_file()
    }


@pytest.mark.slow
def test_seeds_are_planned_killed_resumed_and_compared(tmp_path):
    config = {**TINY, "seeds": [0, 1]}
    jobs = planned(tmp_path, config)
    assert jobs == {"compare": 1} | {rule: 2 * count for rule, count in OF_A_SEED.items()}
    assert not (tmp_path / "results").exists()

    process = subprocess.Popen(
        command(tmp_path, "--cores", "2", config=config),
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not list(tmp_path.glob("results/tiny_seed?/maps/*.zarr/*")):
        time.sleep(0.05)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    snakemake(tmp_path, "--unlock", config=config)
    done = snakemake(tmp_path, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    again = snakemake(tmp_path, config=config)
    assert "Nothing to be done" in again.stdout + again.stderr

    assert snakemake(tmp_path, "--report", str(tmp_path / "its.zip"), config=config).returncode == 0
    shown = reported(tmp_path / "its.zip")
    runs = {path: entry.labels["run"] for path, entry in shown.items() if "run" in entry.labels}
    assert {path: path.split("/")[1] for path in runs} == runs
    assert sum(entry.category == "Scores" for entry in shown.values()) == 2
    assert set(shown) - set(runs) == {
        f"results/tiny_seeds/{name}" for name in ("comparison.csv", "recalls.svg")
    }

    results = tmp_path / "results"
    with (results / "tiny_seeds/comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["runs"] for row in rows} == {"2"}
    assert {row["stage"] for row in rows} == {"maps", "masks"}
    for seed in (0, 1):
        status, said = ws3("verify", results / f"tiny_seed{seed}")
        assert status == 0, said
    both = [made(tmp_path, f"tiny_seed{seed}") for seed in (0, 1)]
    assert both[0]["index.csv"] == both[1]["index.csv"]
    assert both[0] != both[1]

    # A run of its own with this seed, on the same pictures, is to the byte the same.
    dataset = {**DRAWN, "root": "results/tiny_seeds/data"}
    own = {**TINY, "run": "alone", "seed": 1, "dataset": dataset}
    done = snakemake(tmp_path, config=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made(tmp_path, "alone") == both[1]

    more = planned(tmp_path, {**TINY, "seeds": [0, 1, 2]})
    assert more == {"compare": 1} | OF_A_SEED
