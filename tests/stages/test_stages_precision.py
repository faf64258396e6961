"""`precision: auto` in a run: decided once, recorded, and never mixed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from ws3 import torch_setup
from ws3.api import open_run
from ws3.attribution import precision
from ws3.config.load import resolve
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import write_first
from ws3.jobs.runner import open_stage, run_images
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import PrecisionFacts, read_record
from ws3.run.verify import check_run
from ws3.stages.index import write_config
from ws3.store.saliency import SaliencyStore

CROPS = "saliency_crops"


@pytest.fixture
def machine(monkeypatch):
    """Return a function that lets this machine multiply bf16, or not."""

    def be(capable):
        for module in (precision, torch_setup):
            monkeypatch.setattr(module, "multiplies_bf16", lambda: capable)

    return be


@pytest.fixture
def begun(small_run):
    def begin(name="results", given="auto", **samples):
        crops = {"kind": "crops", "count": 12, "batch": 4, **samples}
        recipe = {"method": "gradient", "samples": crops, "precision": given}
        recipes = {"cam": {"preset": "cam"}, CROPS: recipe}
        few = {"dataset__train_images": 2, "dataset__val_images": 1, "segmentation__recipes": []}
        return small_run(name, recipes=recipes, **few)

    return begin


def compute(run, count=1):
    rows = list(run.index.rows)[:count]
    run_images(run, open_stage(run, "saliency", CROPS), rows)


def chunks(run):
    folder = run.results("saliency", CROPS)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("c/*") if p.is_file()}


def said(run):
    row = run.index.rows[0]
    return SaliencyStore(run.results("saliency", CROPS)).open(row.image).attributes["precision"]


def again(run, **changes):
    data = run.config.model_dump(mode="json")
    data["recipes"][CROPS].update(changes)
    changed = Run(run.folder, resolve(data))
    write_config(changed)
    return changed


@pytest.mark.parametrize(("capable", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_what_the_first_job_decided_is_recorded_and_kept(begun, machine, capable, chosen):
    run = begun()
    assert Fingerprints(run, CROPS).expected("saliency", run.index.rows) == {}
    machine(capable)
    compute(run)
    facts = read_record(run.precision_file, PrecisionFacts)
    assert facts == PrecisionFacts(classifier=run.classifier.sha256, precision=chosen)
    assert said(run) == run.precision(CROPS) == chosen
    assert open_run(run.folder)[CROPS].recipe.precision == chosen
    explicit = begun("explicit", chosen)
    compute(explicit)
    ours = {name: data for name, data in chunks(run).items() if "/c/" in name}
    assert ours == {name: data for name, data in chunks(explicit).items() if "/c/" in name}


def test_a_run_that_began_in_fp32_goes_on_in_fp32(begun, machine):
    run = begun()
    machine(False)
    compute(run)
    before = chunks(run)
    machine(True)
    compute(run, count=2)
    assert run.precision(CROPS) == "fp32"
    assert before.items() <= chunks(run).items()
    prints = Fingerprints(run, CROPS)
    store = SaliencyStore(run.results("saliency", CROPS))
    assert all(not store.fault(row.image, prints.of("saliency", row)) for row in run.index.rows[:2])


def test_a_cpu_without_bf16_refuses_to_go_on_in_it_and_takes_what_is_done(begun, machine):
    run = begun()
    machine(True)
    compute(run)
    before = chunks(run)
    machine(False)
    compute(run)
    with pytest.raises(Ws3Error, match="precision: auto chose bf16 on the machine that began this"):
        compute(run, count=2)
    assert chunks(run) == before
    # Whoever says fp32 gets it, and with it other samples.
    plain = again(run, precision="fp32")
    compute(plain)
    assert said(plain) == "fp32"


def test_results_of_one_precision_are_none_of_another(begun, machine):
    made = []
    for capable in (True, False):
        run = begun(f"results_{capable}")
        machine(capable)
        compute(run)
        row = run.index.rows[0]
        made.append(Fingerprints(run, CROPS).of("saliency", row))
    run.precision_file.write_text(run.precision_file.read_text().replace('"fp32"', '"bf16"'))
    assert [Fingerprints(run, CROPS).of("saliency", row)] == made[:1] != made[1:]
    with pytest.raises(Ws3Error, match="made from other inputs"):
        run_images(run, open_stage(run, "maps", CROPS), [row])


def test_a_recipe_of_single_samples_needs_no_decision(begun, machine):
    run = begun(kind="full", count=1)
    machine(True)
    compute(run)
    assert run.precision(CROPS) == said(run) == "fp32"
    assert not run.precision_file.exists()


def test_a_damaged_record_is_named_and_decided_again(begun, machine):
    run = begun()
    machine(False)
    compute(run)
    before = chunks(run)
    run.precision_file.write_text("{}")
    with pytest.raises(Ws3Error, match=r"this file is damaged .*remove it and run snakemake again"):
        open_stage(run, "saliency", CROPS)
    _, damages = check_run(run, repair=True)
    assert run.precision_file in [damage.path for damage in damages]
    assert not run.precision_file.exists()
    with pytest.raises(StaleResultError):
        run.precision(CROPS)
    compute(run)
    assert chunks(run) == before


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def refused(*arguments):
        raise PermissionError

    monkeypatch.setattr("ws3.files.os.link", refused)
    for text in (b"first", b"later"):
        write_first(tmp_path / "record.json", text)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"first"]


def test_of_several_writers_the_first_wins(tmp_path):
    path = tmp_path / "new" / "record.json"
    texts = [bytes([65 + number]) * 1000 for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda text: write_first(path, text), texts))
    first = path.read_bytes()
    assert first in texts
    write_first(path, b"later")
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]
