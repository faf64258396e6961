"""`ws3 verify`: damage is named, and its repair leaves nothing that vouches for it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from verified_run import CROPS, contents, run_stage, ws3

from ws3.errors import Ws3Error
from ws3.removal import is_there
from ws3.run.folder import Run
from ws3.run.records import Failure, write_record
from ws3.run.verify import check_run, check_store


def receipts(run, stage):
    return {path.stem for path in run.receipt(stage, CROPS, "any").parent.glob("*.json")}


def part(run, image, kind):
    return {
        "chunk": run.results("saliency", CROPS) / image / "1",
        "sums": run.results("saliency", CROPS) / image / "1" / "sum" / "c" / "0" / "0" / "0",
        "attributes": run.results("saliency", CROPS) / image / "zarr.json",
        "map": run.results("maps", CROPS) / image / "map" / "c" / "0" / "0" / "0",
        "image": run.results("maps", CROPS) / image,
        "metadata": run.results("maps", CROPS) / image / "map" / "zarr.json",
        "mask": run.result("masks", CROPS, image),
    }[kind]


def harm(path, how):
    if how == "remove":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(bytes(data))


def test_an_intact_run_has_no_damage(made):
    assert check_run(made, repair=False) == (25, [])
    before = contents(made)
    assert check_run(made, repair=True) == (25, [])
    assert contents(made) == before


@pytest.mark.parametrize(
    ("kind", "how", "stage"),
    [
        ("sums", "flip", "saliency"),
        ("sums", "remove", "saliency"),
        ("chunk", "remove", "saliency"),
        ("attributes", "remove", "saliency"),
        ("map", "flip", "maps"),
        ("image", "remove", "maps"),
        ("metadata", "flip", "maps"),
        ("mask", "flip", "masks"),
        ("mask", "remove", "masks"),
    ],
)
def test_damage_is_named_repaired_and_made_again(made, kind, how, stage):
    good = contents(made)
    image = made.rows(["train"])[2].image
    harm(part(made, image, kind), how)

    _, damages = check_run(made, repair=False)
    assert {damage.image for damage in damages} == {image}
    assert len(receipts(made, stage)) == 5

    _, damages = check_run(made, repair=True)
    assert {damage.image for damage in damages} == {image}
    assert receipts(made, stage) == {"train-00000", "train-00002", "val-00000", "val-00001"}
    for other in {"saliency", "maps", "masks"} - {stage}:
        assert len(receipts(made, other)) == 5
    assert check_run(made, repair=False)[1] == []

    run_stage(made, stage)
    assert contents(made) == good
    assert check_run(made, repair=False) == (25, [])


@pytest.mark.parametrize("stage", ["saliency", "maps", "masks"])
def test_results_that_are_gone_altogether_are_missed(made, stage):
    shutil.rmtree(made.results(stage, CROPS))
    _, damages = check_run(made, repair=True)
    assert [damage.image for damage in damages] == sorted(row.image for row in made.index.rows)
    assert all("it is missing" in damage.reason for damage in damages)
    assert receipts(made, stage) == set()


@pytest.mark.parametrize("how", ["flip", "remove"])
@pytest.mark.parametrize("stage", ["saliency", "maps"])
def test_a_stores_own_metadata_is_written_anew_and_nothing_is_lost(made, stage, how):
    good = contents(made)
    harm(made.results(stage, CROPS) / "zarr.json", how)
    _, damages = check_run(made, repair=False)
    assert [damage.image for damage in damages] == ["store"]
    _, damages = check_run(made, repair=True)
    assert [damage.image for damage in damages] == ["store"]
    assert contents(made) == good
    assert len(receipts(made, stage)) == 5


@pytest.mark.parametrize("how", ["flip", "remove"])
def test_a_damaged_network_is_named_refused_and_retracted(made, how):
    harm(made.classifier_file, how)
    shutil.rmtree(made.results("saliency", CROPS))
    with pytest.raises(Ws3Error, match=r"make it with: ws3 train-classifier"):
        run_stage(made, "saliency")
    assert not list(made.folder.glob("failed/**/*.json"))
    _, damages = check_run(Run.open(made.folder), repair=True)
    assert damages[-1].path == made.classifier_file
    assert not made.receipt("train_classifier").exists()
    assert not made.classifier_file.exists()
    assert check_run(Run.open(made.folder), repair=False)[1] == []


def test_a_single_store_of_a_run_is_checked_with_its_receipts(made, monkeypatch):
    image = made.rows(["val"])[0].image
    harm(part(made, image, "image"), "remove")
    monkeypatch.chdir(made.results("maps", CROPS).parent)
    store = Path(f"{CROPS}.zarr")
    checked, damages = check_store(store, repair=True)
    assert checked == 7
    assert [damage.image for damage in damages] == [image]
    assert "val-00000" not in receipts(made, "maps")
    assert len(receipts(made, "saliency")) == 5


def test_a_store_outside_a_run_is_checked_by_itself(made, tmp_path):
    copy = tmp_path / "copy.zarr"
    shutil.copytree(made.results("saliency", CROPS), copy)
    image = made.rows(["train"])[0].image
    harm(copy / image / "0" / "count" / "c" / "0" / "0", "flip")
    checked, damages = check_store(copy, repair=True)
    assert (checked, [damage.path for damage in damages]) == (8, [copy / image / "0"])
    assert not (copy / image / "0").exists()
    assert len(receipts(made, "saliency")) == 5
    with pytest.raises(Ws3Error, match="there is no store here"):
        check_store(tmp_path / "nothing.zarr", repair=False)


SPOILT = [b"", b"{}", b"[]", b'{"reason": 1}', b"\xff", b"[" * 100_000]


def records_of(run):
    failure = run.failure_file("masks", CROPS, "train_0000")
    write_record(failure, Failure(reason="it is odd"))
    return {
        "receipt": run.receipt("maps", CROPS, "train-00000"),
        "failure": failure,
        "threshold": run.threshold_file(CROPS),
        "classifier": run.receipt("train_classifier"),
        "index": run.index_facts,
    }


@pytest.mark.parametrize("name", ["receipt", "failure", "threshold", "classifier", "index"])
def test_a_record_of_the_wrong_shape_is_named_and_removed(made, name):
    path = records_of(made)[name]
    good = contents(made)
    for content in SPOILT:
        path.write_bytes(content)
        _, damages = check_run(made, repair=False)
        found = [damage for damage in damages if damage.path == path]
        assert [damage.image for damage in found] == ["record"]
        assert str(path) in found[0].reason
        assert path.exists()
        check_run(made, repair=True)
        assert not path.exists()
        assert contents(made) == good


def test_a_receipt_with_an_unknown_key_is_made_again(made):
    path = made.receipt("maps", CROPS, "train-00000")
    path.write_text(json.dumps({**json.loads(path.read_text()), "mine": 1}))
    before = contents(made)
    status, said = ws3("verify", made.folder, "--repair")
    assert (status, f"{path}: this file is damaged (mine is unknown)" in said) == (0, True)
    assert ws3("verify", made.folder)[0] == 0
    run_stage(made, "maps")
    assert path.exists()
    assert contents(made) == before


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_stands_in_place_of_a_receipt_goes_out_of_its_way(made, tmp_path, kind):
    path, mine = made.receipt("maps", CROPS, "train-00000"), tmp_path / "mine.json"
    path.unlink()
    mine.write_text("{}")
    if kind == "folder":
        path.mkdir()
        (path / "precious.txt").write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(mine)
    assert [damage.path for damage in check_run(made, repair=True)[1]] == [path]
    assert not is_there(path)
    assert mine.read_text() == "{}"
    if kind == "folder":
        assert (path.with_name(f"{path.name}.not-ws3") / "precious.txt").read_text() == "mine"


def test_records_behind_a_link_are_named_and_left_alone(made, tmp_path):
    folder = made.receipt("maps", CROPS, "any").parent
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    path = folder / "train-00000.json"
    path.write_text("{}")
    status, said = ws3("verify", made.folder, "--repair")
    assert (status, "1 left alone, see above" in said) == (1, True)
    assert path.read_text() == "{}"


def test_a_check_of_a_run_tells_how_far_it_is(made):
    told = []
    checked, _ = check_run(made, repair=False, reach=lambda *numbers: told.append(numbers))
    # The one network is not counted.
    assert checked == 25
    assert told == [(number, 24) for number in range(1, 25)]
