"""Means and deviations over runs, against hand-computed values."""

from __future__ import annotations

import csv
import io
import shutil
import statistics

import pytest
from made_records import classifier_facts, distance_profile, evaluation_of

from ws3.config.load import resolve
from ws3.errors import Ws3Error
from ws3.report.comparison import as_csv, as_markdown, compare
from ws3.run.folder import Run
from ws3.run.records import ClassifierMetrics, write_record
from ws3.stages.index import write_config
from ws3.tools.compare import compare_runs, sample_families

CONFIG = {
    "run": "a",
    "dataset": {"kind": "synthetic"},
    "recipes": {
        "cam": {"preset": "cam"},
        "crops_10": {"method": "gradient", "samples": {"kind": "crops", "count": 10}},
        "crops_20": {"method": "gradient", "samples": {"kind": "crops", "count": 20}},
        "crops_40": {"method": "gradient", "samples": {"kind": "crops", "count": 40}},
        "noisy": {"method": "gradient", "samples": {"kind": "crops", "count": 40, "noise": 0.1}},
    },
}
MIOU = {0: 0.30, 1: 0.34, 2: 0.41}


def metrics(miou, ndr):
    return {"images": 3, "miou": miou, "dr_recall": 0.5, "ndr_recall": ndr, "per_class": {}}


@pytest.fixture
def runs(tmp_path):
    made = []
    for seed, miou in MIOU.items():
        data = {**CONFIG, "seed": seed, "run": f"seed_{seed}", "results": str(tmp_path)}
        run = Run.of(resolve(data))
        write_config(run)
        measured = ClassifierMetrics(split="val", mean_ap=0.5 + miou, per_class_ap={})
        write_record(run.receipt("train_classifier"), classifier_facts(metrics=measured))
        for recipe in run.config.recipes:
            one = {"maps": metrics(miou, None), "masks": metrics(miou + 0.1, 0.2)}
            splits = {"val": one} if recipe != "noisy" or seed < 2 else {}
            write_record(run.evaluation_file(recipe), evaluation_of(recipe, splits))
        made.append(run)
    return made


def test_the_table_holds_means_and_sample_deviations(runs, tmp_path):
    written = compare_runs(runs, tmp_path / "out")
    assert sorted(path.name for path in written) == [
        "comparison.csv",
        "comparison.md",
        "recalls.svg",
        "samples.svg",
    ]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/comparison.csv").read_text())))
    found = {(row["recipe"], row["stage"]): row for row in rows}
    maps = found["cam", "maps"]
    assert float(maps["miou"]) == pytest.approx(0.35)
    assert float(maps["miou_sd"]) == pytest.approx(statistics.stdev(MIOU.values()))
    assert maps["ndr_recall"] == ""
    assert (maps["runs"], found["noisy", "maps"]["runs"]) == ("3", "2")
    table = (tmp_path / "out/comparison.md").read_text()
    assert "| cam | 3 | 0.350 ± 0.056 | 0.450 ± 0.056 |" in table
    assert "| noisy | 2 | 0.320 ± 0.028 |" in table
    assert "| seed_2 | 2 | 0.910 (val) |" in table


def test_a_single_run_has_no_deviation(runs, tmp_path):
    compare_runs(runs[:1], tmp_path / "out")
    assert "| cam | 1 | 0.300 | 0.400 |" in (tmp_path / "out/comparison.md").read_text()


def test_a_recipe_that_a_run_leaves_out_counts_fewer_runs(runs, tmp_path):
    runs[2].evaluation_file("crops_20").unlink()
    compare_runs(runs, tmp_path / "out")
    assert "| crops_20 | 2 | 0.320 ± 0.028 |" in (tmp_path / "out/comparison.md").read_text()


def test_the_fully_supervised_network_has_a_row_of_its_own(runs, tmp_path):
    data = runs[0].config.model_dump(mode="json")
    run = Run(runs[0].folder, resolve({**data, "segmentation": {"fully_supervised": True}}))
    splits = {"val": {"segmentation": metrics(0.6, None)}}
    write_record(run.evaluation_file("ground_truth"), evaluation_of("ground_truth", splits))
    compare_runs([run], tmp_path / "out")
    assert "| ground_truth | 1 |  |  | 0.600 |" in (tmp_path / "out/comparison.md").read_text()


def test_a_run_without_figures_is_named(runs, tmp_path):
    shutil.rmtree(runs[1].folder / "evaluation")
    with pytest.raises(Ws3Error, match="seed_1: none of its recipes is evaluated"):
        compare_runs(runs, tmp_path / "out")


def test_equal_runs_give_equal_bytes(runs, tmp_path):
    outs = [compare_runs(runs, tmp_path / name) for name in ("one", "two")]
    assert [path.read_bytes() for path in outs[0]] == [path.read_bytes() for path in outs[1]]


def test_recipes_that_differ_in_their_count_only_are_one_family(runs):
    families = sample_families(runs[0].config, runs[0].config.recipes)
    assert families == {"crops_10": {10: "crops_10", 20: "crops_20", 40: "crops_40"}}
    assert sample_families(runs[0].config, ["cam", "crops_10", "crops_20", "noisy"]) == {}


def test_other_references_do_not_compare(runs, tmp_path):
    data = {**CONFIG, "reference_recipe": "noisy", "run": "other", "results": str(tmp_path)}
    other = Run.of(resolve(data))
    with pytest.raises(Ws3Error, match="different reference recipes \\(cam, noisy\\)"):
        compare_runs([runs[0], other], tmp_path / "out")


def test_what_nobody_measured_is_empty():
    assert compare([[], []]) == []
    assert as_markdown([]) == ""
    assert len(as_csv([]).splitlines()) == 1


def test_a_recipe_with_one_of_the_two_recalls_is_not_drawn(runs, tmp_path):
    one = {"masks": {**metrics(0.3, 0.2), "dr_recall": None}}
    for run in runs:
        write_record(run.evaluation_file("noisy"), evaluation_of("noisy", {"val": one}))
    compare_runs(runs, tmp_path / "out")
    drawn = (tmp_path / "out" / "recalls.svg").read_text()
    assert "crops_10" in drawn
    assert "noisy" not in drawn


def test_distances_have_a_table_and_a_chart_of_their_means(runs, tmp_path):
    shares = {0: 0.5, 1: 0.7, 2: 0.9}
    for (seed, share), run in zip(shares.items(), runs, strict=True):
        found = [share] * 9 + [None]
        stage = {**metrics(MIOU[seed], 0.2), "distances": distance_profile(*found)}
        write_record(run.evaluation_file("cam"), evaluation_of("cam", {"val": {"masks": stage}}))
    written = compare_runs(runs, tmp_path / "out")
    assert "distances.svg" in {path.name for path in written}
    table = (tmp_path / "out" / "comparison.md").read_text()
    assert "| recipe | runs | 0-10 | 10-20 |" in table
    cells = " | ".join(["0.700 ± 0.200"] * 9)
    assert f"| cam | 3 | {cells} |  |" in table
    drawn = (tmp_path / "out" / "distances.svg").read_text()
    assert ">cam<" in drawn
    assert ">crops_10<" not in drawn
