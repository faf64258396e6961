"""The documented metrics of one's own, installed and used as their reader would."""

from __future__ import annotations

import csv
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from pages import documented
from sklearn.metrics import f1_score
from stage_work import work

from ws3.datasets.masks import read_label_mask
from ws3.masks.png import read_mask
from ws3.run.records import Evaluation, read_record
from ws3.stages.threshold import threshold

PAGE = "extending/metric.md"


@pytest.fixture
def run(small_run):
    """Return a run of one recipe with its masks, not evaluated yet."""
    run = small_run(
        recipes={"cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0]}}},
        segmentation__recipes=[],
        masks__background={"kind": "tuned", "split": "val"},
    )
    for stage in ("saliency", "maps", "masks"):
        if stage == "masks":
            threshold(run, "cam")
        work(run, stage, "cam")
    return run


@pytest.mark.slow
def test_the_documented_metrics_are_everywhere(run, tmp_path):
    package, installed = tmp_path / "package", tmp_path / "installed"
    package.mkdir()
    for name in ("my_metrics.py", "pyproject.toml"):
        (package / name).write_text(documented(PAGE, name))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", installed, package], check=True)
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def ws3(*arguments: object) -> None:
        command = [sys.executable, "-m", "ws3", *map(str, arguments)]
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    for line in documented(PAGE, "evaluate.sh").splitlines():
        program, command, folder = shlex.split(line)
        assert (program, folder) == ("ws3", "results/demo")
        ws3(command, run.folder)
    ws3("compare", run.folder, "--output", tmp_path / "compared")

    truths = [read_label_mask(row.mask) for row in run.rows(["val"])]
    masks = [read_mask(run.result("masks", "cam", row.image)) for row in run.rows(["val"])]
    truth, mask = (np.concatenate([a.ravel() for a in arrays]) for arrays in (truths, masks))
    known = (truth != 255) & (mask != 255)
    labels = np.union1d(truth[known], mask[known])
    dice = f1_score(truth[known], mask[known], labels=labels, average="macro")
    hits = {
        value: [((t == value) & (m == value)).any() for t, m in zip(truths, masks, strict=True)
                if (t == value).any()]
        for value in range(1, 4)
    }  # fmt: skip
    found = np.mean([np.mean(flags) for flags in hits.values() if flags])

    figures = read_record(run.evaluation_file("cam"), Evaluation).splits["val"]["masks"].figures
    assert figures["dice"] == pytest.approx(dice)
    assert figures["images_found"] == pytest.approx(found)
    for path in (run.summary_file, tmp_path / "compared" / "comparison.csv"):
        with path.open(newline="") as file:
            (row,) = [row for row in csv.DictReader(file) if row["stage"] == "masks"]
        assert float(row["dice"]) == figures["dice"]
        assert float(row["images_found"]) == figures["images_found"]
    page = run.report_file.read_text()
    for words in (">Dice</th>", ">Images found</th>", "<dt>Dice</dt>", f">{100 * dice:.1f}</td>"):
        assert words in page
    assert "| Dice \N{UPWARDS ARROW} |" in (tmp_path / "compared" / "comparison.md").read_text()
