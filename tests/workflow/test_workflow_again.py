"""A finished run that is run again, and a run that runs already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from snake import command, environment, snakemake
from verified_run import ws3

STUB = """#!{python} -S
# Stands in for ws3: writes what Snakemake waits for, and computes nothing.
import json, os, sys, time
from pathlib import Path

stage, run, *options = sys.argv[1:]
if stage == "index":
    os.execv({python!r}, [{python!r}, "-m", "ws3", *sys.argv[1:]])
given = dict(zip(options[::2], options[1::2]))
recipe, batch = given.get("--recipe"), given.get("--batch")
files = {{
    "train-classifier": "receipts/train_classifier.json",
    "threshold": f"thresholds/{{recipe}}.json",
    "evaluate": f"evaluation/{{recipe}}.json" if recipe else "evaluation/summary.csv",
    "report": "report/index.html",
}}
path = Path(run, files.get(stage, f"receipts/{{stage}}/{{recipe}}/{{batch}}.json"))
while Path("wait").exists():
    Path("waiting").touch()
    time.sleep(0.05)
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps({{"made": str(path)}}))
if stage == "evaluate" and recipe:
    path.with_suffix(".images.csv").write_text("")
if stage == "report":
    path.with_name("report.html").write_text("")
    path.with_name("figures").mkdir(exist_ok=True)
"""


@pytest.fixture
def stub(tmp_path):
    """Return an environment in which `ws3` is a stub that costs nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ws3").write_text(STUB.format(python=sys.executable))
    (folder / "ws3").chmod(0o755)
    known = environment()
    return {**known, "PATH": f"{folder}{os.pathsep}{known['PATH']}"}


def photographs(root: Path, count: int) -> None:
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"i{number:04}.png")
    rows = "".join(f"i{number:04},{('cat', 'dog')[number % 2]}\n" for number in range(count))
    (root / "labels.csv").write_text(f"image,labels\n{rows}")


def configuration(root: Path, **changes: object) -> dict[str, object]:
    return {
        "run": "big",
        "device": "cpu",
        "dataset": {"kind": "folder", "root": str(root)},
        "recipes": {"cam": {"preset": "cam"}, "crops": {"preset": "gradient_crops"}},
        "masks": {"background": {"kind": "constant", "score": 0.3}},
        "evaluation": {"splits": ["train"]},
        "images_per_job": 250,
        **changes,
    }


@pytest.mark.slow
def test_a_finished_run_of_a_thousand_images_reads_none_of_them_again(tmp_path, stub):
    root = tmp_path / "photos"
    photographs(root, 1000)
    config = configuration(root)
    done = snakemake(tmp_path, config=config, env=stub)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "results/big/receipts").rglob("*.json"))) == 2 + 2 * 3 * 4

    opened = tmp_path / "opened"
    done = snakemake(tmp_path, config=config, env=stub, opened=opened)
    assert "Nothing to be done" in done.stdout + done.stderr
    files = {Path(line) for line in opened.read_text().splitlines()}
    assert tmp_path / "results/big/index.csv" in {tmp_path / file for file in files}
    assert not [file for file in files if file.suffix == ".png" or ".zarr" in str(file)]

    # The same look finds the one image that changed.
    os.utime(root / "images/i0007.png", (0, 0))
    opened.unlink()
    snakemake(tmp_path, config=config, env=stub, opened=opened)
    files = {Path(line) for line in opened.read_text().splitlines()}
    assert {file.name for file in files if file.suffix == ".png"} == {"i0007.png"}


@pytest.mark.slow
def test_a_second_snakemake_is_refused_and_told_what_to_do(tmp_path, stub):
    root = tmp_path / "photos"
    photographs(root, 4)
    (tmp_path / "wait").touch()
    first = subprocess.Popen(
        command(tmp_path, "--cores", "2", config=configuration(root)),
        env=stub,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        known = (tmp_path / "results/big/config.yaml").read_text()
        second = snakemake(tmp_path, config=configuration(root, seed=1), env=stub)
        assert second.returncode != 0
        said = second.stdout + second.stderr
        assert "cannot be locked" in said
        assert "--unlock" in said
        assert "Traceback" not in said
        assert (tmp_path / "results/big/config.yaml").read_text() == known
    finally:
        (tmp_path / "wait").unlink()
        assert first.wait(120) == 0
    assert yaml.safe_load(known)["seed"] == 0


@pytest.mark.slow
def test_what_a_touch_hides_is_named_and_made_again_by_force(tmp_path, small):
    config = {
        **{key: value for key, value in small.items() if key != "segmentation"},
        "recipes": {"cam": small["recipes"]["cam"]},
        "images_per_job": 8,
    }
    options = ("--quiet", "host", "--until", "masks")
    assert snakemake(tmp_path, *options, config=config).returncode == 0
    run = tmp_path / "results/small"
    before = {path: path.read_bytes() for path in run.glob("masks/cam/*.png")}
    assert len(before) == 8

    config = {**config, "seed": 3}
    assert snakemake(tmp_path, *options, "--touch", config=config).returncode == 0
    status, text = ws3("verify", run)
    assert status == 1
    assert text.count("it was made from other inputs than the run now has") == 25
    assert "network: " in text
    assert {path: path.read_bytes() for path in before} == before

    assert snakemake(tmp_path, *options, "--forceall", config=config).returncode == 0
    assert ws3("verify", run) == (0, f"{run}: 25 results read, 0 damaged\n")
    assert all(path.read_bytes() != data for path, data in before.items())


@pytest.mark.slow
def test_two_jobs_write_different_images_of_one_store_at_once(small_run):
    alone, both = small_run("alone"), small_run("both")
    ws3 = [sys.executable, "-m", "ws3"]
    options = ["--recipe", "saliency_crops"]
    subprocess.run([*ws3, "saliency", str(alone.folder), *options], check=True, env=environment())
    batches = ("train-00000", "train-00001", "train-00002", "val-00000", "val-00001")
    jobs = [
        subprocess.Popen(
            [*ws3, "saliency", str(both.folder), *options, "--batch", batch], env=environment()
        )
        for batch in batches[::2]
    ]
    images = [row.image for row in both.rows(["train"])[2:4]]
    named = [option for image in images for option in ("--image", image)]
    jobs.append(
        subprocess.Popen([*ws3, "saliency", str(both.folder), *options, *named], env=environment())
    )
    assert [job.wait() for job in jobs] == [0] * len(jobs)
    rest = [*ws3, "saliency", str(both.folder), *options, "--batch", batches[3]]
    subprocess.run(rest, check=True, env=environment())
    stores = [
        {
            str(path.relative_to(run.folder)): path.read_bytes()
            for path in run.results("saliency", "saliency_crops").rglob("*")
            if path.is_file()
        }
        for run in (alone, both)
    ]
    assert stores[0] == stores[1]
    journal = both.journal_file("saliency").read_text().splitlines()
    assert sorted(json.loads(line)["image"] for line in journal) == sorted(
        row.image for row in both.index.rows
    )
