"""`ws3 figures`: everything that a paper takes of a run, without touching it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from evaluated_run import evaluated
from verified_run import ws3

from ws3.errors import StaleResultError, Ws3Error
from ws3.run.folder import Run
from ws3.run.records import CheckedRecipe, Evaluation, SanityFacts, read_record, write_record
from ws3.run.sanity import RANDOM_ORDER, check_fingerprint, checked_recipes
from ws3.stages.report import facts
from ws3.tools.figures import write_figures


@pytest.fixture(scope="module")
def finished(tmp_path_factory, untrained_classifier) -> Run:
    return evaluated(tmp_path_factory.mktemp("results"), untrained_classifier)


@pytest.fixture
def run(finished, tmp_path) -> Run:
    """Return a copy, to be changed."""
    return Run.open(Path(shutil.copytree(finished.folder, tmp_path / "run")))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_it_writes_charts_tables_and_texts_and_leaves_the_run_alone(finished, tmp_path) -> None:
    before = contents(finished.folder)
    status, said = ws3("figures", finished.folder, "--to", tmp_path / "one")
    assert status == 0, said
    assert contents(finished.folder) == before
    found = contents(tmp_path / "one")
    assert sorted(said.split()) == sorted(str(tmp_path / "one" / name) for name in found)
    for chart in ("miou-val", "sweep-val", "recall-val", "regions", "jobs"):
        assert found[f"figures/{chart}.pdf"].startswith(b"%PDF")
        assert found[f"figures/{chart}.svg"].startswith(b"<?xml")
    texts = {"methods.txt", "methods.tex", "methods.bib", "provenance.json"}
    assert texts <= found.keys()
    rows = list(csv.DictReader(found["tables/scores.csv"].decode().splitlines()))
    evaluation = read_record(finished.evaluation_file("cam"), Evaluation)
    (cam,) = [row for row in rows if (row["recipe"], row["stage"]) == ("cam", "masks")]
    measured = evaluation.splits["val"]["masks"]
    assert float(cam["miou"]) == measured.figures["miou"]
    assert (float(cam["miou_low"]), float(cam["miou_high"])) == measured.intervals["miou"]
    assert json.loads(found["provenance.json"])["run"] == "made"
    # Nothing there depends on when or where to it was written.
    shutil.move(tmp_path / "one", tmp_path / "kept")
    write_figures(finished, tmp_path / "two")
    assert contents(tmp_path / "two") == found


def test_a_run_that_is_not_evaluated_is_named(run, tmp_path) -> None:
    run.evaluation_file("flipped").unlink()
    status, said = ws3("figures", run.folder, "--to", tmp_path / "out")
    assert status == 2
    assert str(run.evaluation_file("flipped")) in said
    assert not (tmp_path / "out").exists()


def test_the_run_itself_is_no_place_for_them(run) -> None:
    for folder in (run.folder, run.folder.parent):
        with pytest.raises(Ws3Error, match="choose one of its own with --to"):
            write_figures(run, folder)


def check(run: Run, recipe: str) -> CheckedRecipe:
    return CheckedRecipe(
        recipe=recipe,
        fingerprint=check_fingerprint(run, recipe, [run.index.rows[0].image]),
        likeness=() if recipe == RANDOM_ORDER else (0.5,),
        deletion=(1.0, 0.0),
        insertion=(0.0, 1.0),
    )


def test_checks_are_shown_of_the_recipes_as_they_are_and_no_others(run) -> None:
    assert checked_recipes(run) is None
    recipes = tuple(check(run, name) for name in ("cam", "flipped", RANDOM_ORDER))
    image = run.index.rows[0].image
    write_record(run.sanity_file, SanityFacts(images=(image,), depths=(0.0,), recipes=recipes))
    found = facts(run).sanity
    assert found is not None
    assert [one.recipe for one in found.recipes] == ["cam", "flipped", RANDOM_ORDER]
    methods = facts(run).methods
    assert methods is not None
    assert "On 1 image, the maps were compared" in methods.plain()
    # Another setting of one recipe leaves the check of the other.
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("flip: true", "flip: false"))
    found = checked_recipes(Run.open(run.folder))
    assert found is not None
    assert [one.recipe for one in found.recipes] == ["cam", RANDOM_ORDER]
    # Another classifier leaves none.
    facts_file = run.receipt("train_classifier")
    text = facts_file.read_text()
    facts_file.write_text(text.replace(run.classifier.sha256, "0" * 64))
    assert checked_recipes(Run.open(run.folder)) is None


def test_a_damaged_check_is_named(run) -> None:
    run.sanity_file.parent.mkdir()
    run.sanity_file.write_text("{}")
    with pytest.raises(Ws3Error, match=r"check\.json: this file is damaged"):
        facts(run)
    status, said = ws3("verify", run.folder)
    assert status == 1
    assert "check.json" in said


def test_a_missing_index_is_said(run, tmp_path) -> None:
    run.index_file.unlink()
    with pytest.raises(StaleResultError, match="not indexed"):
        write_figures(Run.open(run.folder), tmp_path / "out")
