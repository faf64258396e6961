"""A finished run as an RO-Crate."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from other_tools import tool
from verified_run import CROPS, ws3

from ws3.tools.crate import write_crate

LICENCE = "https://spdx.org/licenses/CC-BY-4.0"


def graph_of(run):
    data = json.loads((run.folder / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in data["@graph"]}
    # Flat, and no two of one name.
    assert len(entities) == len(data["@graph"])
    return data["@context"], entities


def references(value):
    """Yield all references in an entity's values."""
    if isinstance(value, dict):
        assert set(value) == {"@id"}, "entities are not nested"
        yield value["@id"]
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def littered(finished_run):
    """The run with what is no result of it."""
    for name in ("logs/masks.log", "benchmarks/index.tsv", "classifier/last.ckpt", ".hidden"):
        path = finished_run.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("not a result")
    (finished_run.folder / "maps" / ".tmp-x").mkdir()
    (finished_run.folder / "maps" / ".tmp-x" / "zarr.json").write_text("{}")
    (finished_run.folder / "receipts" / "masks" / "one.lease").write_text("{}")
    (finished_run.folder / "link.txt").symlink_to(finished_run.folder / "config.yaml")
    return finished_run


def test_every_file_is_described_by_its_size_and_digest(littered):
    unwanted = {"logs", "benchmarks", "classifier", "link.txt", ".hidden"}
    wanted = {
        path.relative_to(littered.folder).as_posix(): path
        for path in littered.folder.rglob("*")
        if path.is_file()
        and path.relative_to(littered.folder).parts[0] not in unwanted
        and ".tmp-x" not in path.parts
        and path.suffix != ".lease"
    }
    assert len(wanted) > 60
    write_crate(littered)
    lines = (littered.folder / "manifest-sha256.txt").read_text().splitlines()
    assert dict(line.split("  ")[::-1] for line in lines) == {
        name: digest(path) for name, path in wanted.items()
    }
    _, entities = graph_of(littered)
    files = {name: entity for name, entity in entities.items() if entity["@type"] == "File"}
    folders = {name for name in entities if name.endswith("/")} - {"./"}
    assert {f"maps/{CROPS}.zarr/", f"masks/{CROPS}/", f"saliency/{CROPS}.zarr/"} <= folders
    for name, entity in files.items():
        path = littered.folder / name
        assert entity["contentSize"] == str(path.stat().st_size)
        assert entity["sha256"] == digest(path)
    # Each by itself or as a part of one folder, and nothing else.
    single = {name for name in wanted if not name.startswith(tuple(folders))}
    assert set(files) == single | {"manifest-sha256.txt"}
    store = next(entity for name, entity in entities.items() if name == f"masks/{CROPS}/")
    masks = list((littered.folder / "masks" / CROPS).iterdir())
    size = sum(path.stat().st_size for path in masks)
    assert f"{len(masks)} files of {size} bytes" in store["description"]


def test_it_has_what_the_specification_and_the_profile_demand(finished_run):
    """By hand: RO-Crate 1.1, Process Run Crate 0.5."""
    write_crate(finished_run)
    context, entities = graph_of(finished_run)
    assert context[0] == "https://w3id.org/ro/crate/1.1/context"
    described = {link for entity in entities.values() for link in references(list(entity.values()))}
    assert described - entities.keys() == {"https://w3id.org/ro/crate/1.1"}

    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert root["name"]
    datetime.fromisoformat(root["datePublished"])
    parts = [name for name, it in entities.items() if it["@type"] in ("File", "Dataset")]
    assert sorted(references(root["hasPart"])) == sorted(set(parts) - {"./"})

    profile = entities[root["conformsTo"]["@id"]]
    assert profile["@id"].startswith("https://w3id.org/ro/wfrun/process/")
    assert (profile["name"], profile["version"]) == ("Process Run Crate", "0.5")
    actions = {name: it for name, it in entities.items() if it["@type"] == "CreateAction"}
    assert set(references(root["mentions"])) == set(actions)
    for action in actions.values():
        program = entities[action["instrument"]["@id"]]
        assert program["@type"] == "SoftwareApplication"
        assert program["version"]
        assert set(references(action["result"])) <= set(parts)
        assert set(references(action["object"])) <= set(parts)


def test_it_says_what_was_made_of_what_and_when(finished_run):
    write_crate(finished_run)
    _, entities = graph_of(finished_run)
    made_by = {
        result: entity
        for entity in entities.values()
        if entity["@type"] == "CreateAction"
        for result in references(entity["result"])
    }
    saliency, maps, masks = f"saliency/{CROPS}.zarr/", f"maps/{CROPS}.zarr/", f"masks/{CROPS}/"
    of_masks = set(references(made_by[masks]["object"]))
    assert {maps, f"thresholds/{CROPS}.json", "config.yaml"} <= of_masks
    assert saliency not in of_masks
    assert {saliency} <= set(references(made_by[maps]["object"]))
    assert {"classifier.pt"} <= set(references(made_by[saliency]["object"]))
    assert set(references(made_by["evaluation/summary.csv"]["object"])) == {maps, masks}
    first, last = (datetime.fromisoformat(made_by[maps][name]) for name in ("startTime", "endTime"))
    assert first <= last <= datetime.fromisoformat(made_by[masks]["endTime"])
    from importlib.metadata import version

    assert entities["#torch"]["version"] == version("torch")


def test_a_licence_is_stated_only_if_it_is_known(finished_run):
    assert ws3("crate", finished_run.folder)[0] == 0
    first = (finished_run.folder / "ro-crate-metadata.json").read_bytes()
    _, entities = graph_of(finished_run)
    assert "license" not in entities["./"]
    assert "No licence is stated" in entities["./"]["description"]
    assert ws3("crate", finished_run.folder, "--license", LICENCE)[0] == 0
    _, entities = graph_of(finished_run)
    assert entities["./"]["license"] == {"@id": LICENCE}
    assert "No licence" not in entities["./"]["description"]
    assert ws3("crate", finished_run.folder)[0] == 0
    assert (finished_run.folder / "ro-crate-metadata.json").read_bytes() == first


def test_other_programs_check_the_digests(finished_run):
    write_crate(finished_run)
    check = ["sha256sum", "--check", "--quiet", "manifest-sha256.txt"]
    assert subprocess.run(check, cwd=finished_run.folder, check=False).returncode == 0
    with finished_run.summary_file.open("a") as file:
        file.write("more")
    done = subprocess.run(check, cwd=finished_run.folder, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"evaluation/summary.csv" in done.stdout


def test_a_library_for_crates_reads_it(finished_run):
    rocrate = tool("rocrate.rocrate")
    write_crate(finished_run, LICENCE)
    crate = rocrate.ROCrate(finished_run.folder)
    assert crate.license.id == LICENCE
    assert crate.get("evaluation/summary.csv").properties()["@type"] == "File"
    assert {entity.id for entity in crate.data_entities} >= {f"maps/{CROPS}.zarr/", "config.yaml"}


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda run: next(run.folder.glob(f"receipts/masks/{CROPS}/*")).unlink(), "images are not"),
        (lambda run: run.report_file.unlink(), "index.html: is missing; run snakemake first"),
    ],
    ids=["masks", "report"],
)
def test_a_run_that_is_not_finished_is_refused_in_one_sentence(finished_run, harm, sentence):
    harm(finished_run)
    status, said = ws3("crate", finished_run.folder)
    assert (status, said.count("\n")) == (2, 1)
    assert sentence in said
    assert not (finished_run.folder / "ro-crate-metadata.json").exists()
