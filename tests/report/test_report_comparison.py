"""Means and deviations over runs, against hand-computed values."""

from __future__ import annotations

import csv
import io
import logging
import re
import shutil
import statistics

import numpy as np
import pytest
from drawn_counts import CLASSES, draw_tables, image_counts
from made_records import classifier_facts, distance_profile, evaluation_of
from verified_run import ws3

from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import sha256
from ws3.metrics.bootstrap import RESAMPLES, interval
from ws3.metrics.image_counts import figure_of
from ws3.metrics.paired import holm, swap_test
from ws3.report.comparison import Row, Spread, as_csv, as_latex, as_markdown, compare
from ws3.run.folder import Run
from ws3.run.image_counts import writing_image_counts
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
        "comparison.tex",
        "differences.csv",
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


SKILLS = {"cam": 0.0, "crops_10": 0.1, "crops_20": 0.6, "crops_40": 0.0}


@pytest.fixture
def counted(runs):
    """Two runs of which each image's counts are there, and the counts of the masks."""
    tables = {}
    for number, run in enumerate(runs[:2]):
        for place, (recipe, skill) in enumerate(SKILLS.items()):
            drawn = draw_tables(40, np.random.default_rng([number, place]), skill)
            tables[number, recipe] = drawn
            write_counts(run, recipe, drawn)
        run.evaluation_file("noisy").unlink()
    return runs[:2], tables


def write_counts(run, recipe, drawn):
    path = run.image_counts_file(recipe)
    with writing_image_counts(path) as add:
        for name, table in zip(image_counts(drawn).images, drawn, strict=True):
            add("val", "masks", name, table)
    sums = drawn.sum(axis=0)
    one = {name: figure_of(name, sums).item() for name in ("miou", "dr_recall", "ndr_recall")}
    made = evaluation_of(recipe, {"val": {"masks": {"images": len(drawn), **one}}})
    classes = tuple(f"class{n}" for n in range(CLASSES))
    write_record(
        run.evaluation_file(recipe),
        made.model_copy(update={"image_counts": sha256(path), "classes": classes}),
    )


def table_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_interval_of_a_mean_is_drawn_from_runs_and_images(counted, tmp_path):
    runs, tables = counted
    compare_runs(runs, tmp_path / "out")
    rows = {row["recipe"]: row for row in table_of(tmp_path / "out/comparison.csv")}
    # The same by plain loops, with random numbers of its own.
    stream, both = np.random.default_rng(9), [tables[number, "crops_20"] for number in (0, 1)]
    values = []
    for _ in range(RESAMPLES):
        images = stream.integers(0, 40, 40)
        seeds = stream.integers(0, 2, 2)
        values.append(
            np.mean([figure_of("miou", both[n][images].sum(axis=0)).item() for n in seeds])
        )
    low, high = interval(np.array(values)) or (0.0, 0.0)
    found = float(rows["crops_20"]["miou_low"]), float(rows["crops_20"]["miou_high"])
    assert found == pytest.approx((low, high), abs=0.08 * (high - low))
    assert found[0] < float(rows["crops_20"]["miou"]) < found[1]
    text = (tmp_path / "out/comparison.md").read_text()
    assert f" [{found[0]:.3f}, {found[1]:.3f}] |" in text


def test_each_recipe_is_compared_with_the_best_cam(counted, tmp_path):
    runs, tables = counted
    compare_runs(runs, tmp_path / "out")
    rows = table_of(tmp_path / "out/differences.csv")
    assert {row["against"] for row in rows} == {"cam"}
    of_miou = [row for row in rows if row["metric"] == "miou"]
    assert [row["recipe"] for row in of_miou] == ["crops_10", "crops_20", "crops_40"]
    for row in of_miou:
        pairs = [
            (image_counts(tables[n, row["recipe"]]), image_counts(tables[n, "cam"])) for n in (0, 1)
        ]
        mean = np.mean([one.figure("miou") - other.figure("miou") for one, other in pairs])
        assert float(row["difference"]) == mean
        assert float(row["low"]) < mean < float(row["high"])
        assert float(row["p"]) == swap_test(pairs, "miou", seed=0)
        assert (row["runs"], row["images"]) == ("2", "40")
    adjusted = holm([float(row["p"]) for row in of_miou])
    assert [float(row["p_holm"]) for row in of_miou] == adjusted
    assert adjusted[1] < 0.05 < adjusted[2]
    text = (tmp_path / "out/comparison.md").read_text()
    assert "Differences of mIoU, split val:" in text
    assert re.search(r"\| crops_20 \| cam \| pseudo-masks \| 2 \| 40 \| \+0\.\d{3} \[\+", text)


def test_another_recipe_to_compare_with_may_be_named(counted, tmp_path):
    runs, _ = counted
    compare_runs(runs, tmp_path / "out", against="crops_40")
    rows = table_of(tmp_path / "out/differences.csv")
    assert {(row["recipe"], row["against"]) for row in rows} == {
        (recipe, "crops_40") for recipe in ("cam", "crops_10", "crops_20")
    }
    with pytest.raises(Ws3Error, match="--against: 'nobody' is not among the evaluated recipes"):
        compare_runs(runs, tmp_path / "out", against="nobody")


def test_recipes_are_compared_on_the_images_that_both_have(counted, tmp_path):
    runs, tables = counted
    write_counts(runs[1], "crops_10", tables[1, "crops_10"][:25])
    compare_runs(runs, tmp_path / "out")
    rows = {
        row["recipe"]: row
        for row in table_of(tmp_path / "out/differences.csv")
        if row["metric"] == "miou"
    }
    assert rows["crops_10"]["images"] == "25"
    first = {key: image_counts(drawn[:25]) for key, drawn in tables.items()}
    pairs = [(first[n, "crops_10"], first[n, "cam"]) for n in (0, 1)]
    assert float(rows["crops_10"]["p"]) == swap_test(pairs, "miou", seed=0)


def test_without_counts_there_are_means_and_a_sentence(runs, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        compare_runs(runs, tmp_path / "out")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "without intervals and differences" in said
    assert re.search(r"seed_0/evaluation/cam\.json: an older ws3 wrote this.*ws3 evaluate", said)
    assert len((tmp_path / "out/differences.csv").read_text().splitlines()) == 1
    with pytest.raises(StaleResultError, match="an older ws3 wrote this"):
        compare_runs(runs, tmp_path / "out", against="cam")


def test_the_command_ends_with_a_sentence_where_there_are_no_counts(runs, tmp_path):
    folder = runs[0].folder
    status, said = ws3("compare", folder, "--output", tmp_path / "out", "--against", "cam")
    assert status == 2
    assert said == (
        f"ws3: {folder}/evaluation/cam.json: an older ws3 wrote this, without each image's counts; "
        f"run snakemake again, or: ws3 evaluate {folder} --recipe cam\n"
    )


def test_the_command_compares_with_the_named_recipe(counted, tmp_path):
    (one, _), _ = counted
    status, said = ws3("compare", one.folder, "-o", tmp_path / "out", "--against", "crops_10")
    assert (status, "differences.csv" in said) == (0, True)
    text = (tmp_path / "out/comparison.md").read_text()
    assert text.startswith("In brackets: 95 % interval")
    assert "| cam | crops_10 | pseudo-masks | 1 | 40 |" in text


def test_the_latex_has_balanced_tables_of_percentages(counted, tmp_path):
    runs, _ = counted
    compare_runs(runs, tmp_path / "out")
    text = (tmp_path / "out/comparison.tex").read_text()
    rows = table_of(tmp_path / "out/comparison.csv")
    for row in rows:
        cells = [
            row["recipe"].replace("_", "\\_"),
            "2",
            f"{100 * float(row['miou']):.1f} $\\pm$ {100 * float(row['miou_sd']):.1f} "
            f"[${100 * float(row['miou_low']):.1f}$, ${100 * float(row['miou_high']):.1f}$]",
        ]
        assert f"{' & '.join(cells)} \\\\\n" in text
    for table in re.findall(r"\\begin\{tabular\}\{(l.*?)\}\n(.*?)\\end", text, re.DOTALL):
        lines = [line for line in table[1].splitlines() if not re.match(r"\\\w+rule", line)]
        assert len(lines) >= 4
        assert {line.count("&") for line in lines} == {len(table[0]) - 1}
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 2


def test_the_latex_has_a_column_of_pxap_with_its_interval():
    spreads = {"miou": Spread(0.4, None), "pxap": Spread(0.512, 0.021)}
    rows = [
        Row("cam", "val", "maps", 2, spreads, intervals={"pxap": (0.47, 0.555)}),
        Row("cam", "val", "masks", 2, {"miou": Spread(0.5, None)}),
    ]
    text = as_latex(rows, [])
    assert "recipe & runs & mIoU, score maps & mIoU, pseudo-masks & PxAP \\\\" in text
    assert "cam & 2 & 40.0 & 50.0 & 51.2 $\\pm$ 2.1 [$47.0$, $55.5$] \\\\" in text
