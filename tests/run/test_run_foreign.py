"""`ws3 verify --repair` touches nothing that isn't ws3's, and follows no link."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from PIL import Image
from snapshots import snapshot
from verified_run import CROPS, contents, run_stage, ws3

from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.run.verify import check_run, foreign_entries

LEFT = "not of ws3, left alone"


def photographs(folder):
    """Make what a user may have: folders of photographs and notes."""
    for name in ("holiday", "thesis/drafts"):
        (folder / name).mkdir(parents=True)
        (folder / name / "precious.jpg").write_bytes(b"precious")
    (folder / "notes.txt").write_text("mine")
    return folder


def linked_store(run, outside):
    store = run.results("maps", CROPS)
    shutil.rmtree(store)
    store.symlink_to(photographs(outside / "disk"))
    return [store], "symbolic link"


def linked_one_level_too_high(run, outside):
    store = run.results("maps", CROPS)
    photographs(outside / "disk")
    shutil.move(store, outside / "disk" / store.name)
    store.symlink_to(outside / "disk")
    return [store], "symbolic link"


def link_that_leads_nowhere(run, outside):
    store = run.results("saliency", CROPS)
    shutil.rmtree(store)
    store.symlink_to(outside / "not mounted")
    return [store], "symbolic link"


def folder_in_place_of_a_store(run, outside):
    store = run.results("maps", CROPS)
    shutil.rmtree(store)
    return [photographs(store)], "not of ws3"


def store_of_another_program(run, outside):
    store = run.results("maps", CROPS)
    shutil.rmtree(store)
    group = zarr.open_group(store, mode="w")
    group.create_array("train_0000", data=np.zeros(3))
    return [store], "not a store of ws3"


def linked_stage(run, outside):
    folder = run.folder / "maps"
    shutil.rmtree(folder)
    folder.symlink_to(photographs(outside / "disk"))
    return [folder], LEFT


def zarr_2_store(run, outside):
    mine = run.folder / "maps/mine.zarr"
    zarr.open_group(mine, mode="w", zarr_format=2).create_array("a", data=np.zeros(3))
    return [mine], f"{mine}: {LEFT}"


def backup(run, outside):
    copy = run.folder / "saliency/backup.zarr"
    shutil.copytree(run.results("saliency", CROPS), copy)
    (copy / "train_0001/0/sum/c/0/0/0").write_bytes(b"")
    (copy / "holiday").mkdir()
    return [copy], f"{copy}: {LEFT}"


def pictures_among_masks(run, outside):
    masks = run.results("masks", CROPS)
    Image.new("RGB", (9, 9)).save(masks / "mine.png")
    (masks / "broken.png").write_bytes(b"not a picture")
    (masks / "notes.txt").write_text("mine")
    photographs(masks.parent / "by_hand")
    mine = [masks / name for name in ("mine.png", "broken.png", "notes.txt")]
    return [*mine, masks.parent / "by_hand"], f"{masks / 'broken.png'}: {LEFT}"


def notes_in_a_store(run, outside):
    store = run.results("saliency", CROPS)
    photographs(store / "my photographs")
    (store / "notes.txt").write_text("mine")
    (store / "train_0001/notes.txt").write_text("mine")
    (store / "train_0001/link").symlink_to(photographs(outside / "disk"))
    mine = ["my photographs", "notes.txt", "train_0001/notes.txt", "train_0001/link"]
    return [store / name for name in mine], f"{store / 'train_0001/link'}: {LEFT}"


def damage_behind_a_link(run, outside):
    store, moved = run.results("maps", CROPS), outside / "moved.zarr"
    shutil.move(store, moved)
    store.symlink_to(moved)
    (moved / "train_0001/map/c/0/0/0").write_bytes(b"")
    return [store], "train_0001"


PLANTED = [
    linked_store,
    linked_one_level_too_high,
    link_that_leads_nowhere,
    folder_in_place_of_a_store,
    store_of_another_program,
    linked_stage,
    zarr_2_store,
    backup,
    pictures_among_masks,
    notes_in_a_store,
    damage_behind_a_link,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_not_of_ws3_is_named_and_left_alone(made, tmp_path, plant):
    outside = photographs(tmp_path / "outside")
    mine, said = plant(made, outside)

    before, run = snapshot(outside, *mine), snapshot(made.folder)
    _, text = ws3("verify", made.folder)
    assert said in text
    assert snapshot(made.folder) == run
    status, text = ws3("verify", made.folder, "--repair")
    assert said in text
    assert snapshot(outside, *mine) == before
    assert (status == 1) == (
        plant
        in (
            linked_store,
            linked_one_level_too_high,
            link_that_leads_nowhere,
            folder_in_place_of_a_store,
            store_of_another_program,
        )
    )


def test_a_store_that_a_link_leads_to_is_read_and_goes_on(made, tmp_path):
    good = contents(made)
    damage_behind_a_link(made, tmp_path)
    _, damages = check_run(made, repair=True)
    assert {damage.image for damage in damages} == {"train_0001"}
    run_stage(made, "maps")
    assert contents(made) == good
    assert made.results("maps", CROPS).is_symlink()
    assert check_run(made, repair=False)[1] == []


def test_a_mended_link_is_enough(made, tmp_path):
    linked_one_level_too_high(made, tmp_path / "outside")
    store = made.results("maps", CROPS)
    assert ws3("verify", made.folder, "--repair")[0] == 1
    store.unlink()
    store.symlink_to(tmp_path / "outside/disk" / store.name)
    assert ws3("verify", made.folder) == (0, f"{made.folder}: 25 results read, 0 damaged\n")


def test_a_stage_makes_no_store_among_other_entries(made, tmp_path):
    outside = photographs(tmp_path / "outside")
    linked_store(made, outside)
    before = snapshot(outside)
    with pytest.raises(Ws3Error, match=r"holds what is not of ws3 \(holiday, notes.txt, thesis\)"):
        run_stage(made, "maps")
    assert snapshot(outside) == before


def linked_group(run, outside):
    group = run.results("maps", CROPS) / "train_0001"
    shutil.move(group, outside / "group")
    photographs(outside / "group/of mine")
    group.symlink_to(outside / "group")


def linked_foreign_group(run, outside):
    group = run.results("saliency", CROPS) / "train_0001"
    shutil.rmtree(group)
    group.symlink_to(photographs(outside / "group"))


def linked_chunk(run, outside):
    chunk = run.results("saliency", CROPS) / "train_0001/1"
    shutil.move(chunk, outside / "chunk")
    chunk.symlink_to(outside / "chunk")


def linked_mask(run, outside):
    mask = run.result("masks", CROPS, "train_0001")
    mask.unlink()
    mask.symlink_to(outside / "notes.txt")


@pytest.mark.parametrize("plant", [linked_group, linked_foreign_group, linked_chunk, linked_mask])
def test_a_link_in_place_of_a_result_goes_itself(made, tmp_path, plant):
    good = contents(made)
    outside = photographs(tmp_path / "outside")
    plant(made, outside)
    before = snapshot(outside)
    status, text = ws3("verify", made.folder)
    assert status == 1
    assert re.search(r"^train_0001: ", text, re.MULTILINE)
    assert ws3("verify", made.folder, "--repair")[0] == 0
    for stage in ("saliency", "maps", "masks"):
        run_stage(made, stage)
    assert snapshot(outside) == before
    assert contents(made) == good
    assert ws3("verify", made.folder)[0] == 0


@pytest.mark.parametrize("way", ["repair", "run again"])
@pytest.mark.parametrize(
    "what", ["file", "folder", "foreign file in it", "picture", "folder of masks"]
)
def test_what_stands_in_place_of_a_result_is_kept_under_another_name(made, what, way):
    good = contents(made)
    group, mask = (
        made.results("maps", CROPS) / "train_0001",
        made.result("masks", CROPS, "train_0001"),
    )
    stage, place = ("masks", mask) if what in ("picture", "folder of masks") else ("maps", group)
    if what != "foreign file in it":
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    if what == "file":
        place.write_bytes(b"precious")
    elif what == "picture":
        Image.new("RGB", (5, 5), "red").save(place)
    elif what == "foreign file in it":
        (place / "zarr.json").write_bytes(b"damaged")
        (place / "notes.txt").write_bytes(b"precious")
    else:
        photographs(place)
    kept = place.read_bytes() if place.is_file() else snapshot(place)
    assert "train_0001: " in ws3("verify", made.folder)[1]
    if way == "repair":
        assert ws3("verify", made.folder, "--repair")[0] == 0
    else:
        for receipt in made.receipt(stage, CROPS, "any").parent.glob("*.json"):
            receipt.unlink()
    run_stage(made, stage)
    aside = place.with_name(f"{place.name}.not-ws3")
    if aside.is_file():
        assert aside.read_bytes() == kept
    else:
        assert {k.replace(".not-ws3", ""): v for k, v in snapshot(aside).items()} == kept
    status, text = ws3("verify", made.folder)
    assert (status, f"{aside}: {LEFT}" in text) == (0, True)
    assert {k: v for k, v in contents(made).items() if ".not-ws3" not in k} == good


def swap(one, other):
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def both(run):
    """Return two images of the same classes: only their numbers differ."""
    rows = run.rows(["train", "val"])
    pairs = ((a, b) for a in rows for b in rows if a.image < b.image and a.labels == b.labels)
    return next((a.image, b.image) for a, b in pairs)


@pytest.mark.parametrize(
    ("stage", "one", "other"),
    [
        ("maps", "{a}", "{b}"),
        ("maps", "{a}/map", "{b}/map"),
        ("maps", "{a}/map/c/0/0/0", "{b}/map/c/0/0/0"),
        ("saliency", "{a}", "{b}"),
        ("saliency", "{a}/0", "{b}/0"),
        ("saliency", "{a}/1/sum", "{b}/1/sum"),
        ("saliency", "{a}/0", "{a}/1"),
        ("saliency", "{a}/0/sum", "{a}/1/sum"),
        ("saliency", "{a}/0/sum/c/0/0/0", "{a}/1/sum/c/0/0/0"),
    ],
)
def test_swapped_results_are_noticed_by_readers_and_verify(made, stage, one, other):
    good = contents(made)
    store = made.results(stage, CROPS)
    a, b = both(made)
    one, other = store / one.format(a=a, b=b), store / other.format(a=a, b=b)
    swap(one, other)
    wrong = {path.relative_to(store).parts[0] for path in (one, other)}
    assert {damage.image for damage in check_run(made, repair=False)[1]} == wrong
    reader = {"maps": "masks", "saliency": "maps"}[stage]
    for result in (made.result(reader, CROPS, image) for image in wrong):
        shutil.rmtree(result) if result.is_dir() else result.unlink()
    with pytest.raises(Ws3Error) as refused:
        run_stage(made, reader)
    assert all(f"{image}: " in str(refused.value) for image in wrong)
    assert ws3("verify", made.folder, "--repair")[0] == 0
    for name in ("saliency", "maps", "masks"):
        run_stage(made, name)
    assert contents(made) == good
    assert check_run(made, repair=False) == (25, [])


def test_swapped_masks_are_noticed(made):
    a, b = both(made)
    swap(made.result("masks", CROPS, a), made.result("masks", CROPS, b))
    assert {damage.image for damage in check_run(made, repair=True)[1]} == {a, b}


def test_the_stores_of_two_recipes_that_are_swapped_are_named_and_left_alone(made):
    store = made.results("maps", CROPS)
    other = made.results("saliency", CROPS)
    swap(store, other)
    before = snapshot(made.folder)
    status, text = ws3("verify", made.folder, "--repair")
    assert status == 1
    assert f"{store}: this is the store of kind 'saliency', not of 'maps'" in text
    assert snapshot(made.folder) == before


def test_results_of_other_inputs_behind_their_receipts_are_named_and_made_again(made):
    path = made.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, "seed": 7}, sort_keys=False))
    before = contents(made)
    status, text = ws3("verify", made.folder)
    assert status == 1
    assert text.count("it was made from other inputs than the run now has") == 24
    assert ws3("verify", made.folder, "--repair")[0] == 0
    assert contents(made) == before
    assert not list(made.folder.glob("receipts/*/*/*.json"))
    again = Run.open(made.folder)
    for stage in ("saliency", "maps"):
        run_stage(again, stage)
    assert check_run(again, repair=False)[1] == []
    assert contents(again) != before


def test_a_store_by_itself_is_repaired_by_the_form_of_its_groups(made, tmp_path):
    store = tmp_path / "copy.zarr"
    shutil.copytree(made.results("saliency", CROPS), store)
    mine = photographs(store / "mine")
    (store / "train_0002/zarr.json").write_bytes(b"")
    (store / "train_0003").rename(store / "aside")
    (store / "train_0003").symlink_to(mine)
    before = snapshot(mine)
    status, text = ws3("verify", store, "--repair")
    assert status == 0
    assert f"{mine}: {LEFT}" in text
    assert f"{store / 'train_0003'}: {LEFT}" in text
    assert snapshot(mine) == before
    assert not (store / "train_0002").exists()
    link = tmp_path / "link.zarr"
    link.symlink_to(store)
    status, text = ws3("verify", link, "--repair")
    assert (status, "this is a symbolic link" in text) == (2, True)


def test_an_intact_run_has_nothing_foreign(made):
    assert foreign_entries(made.folder) == []
    assert foreign_entries(made.results("maps", CROPS)) == []


def test_a_figure_replaces_no_picture_of_the_dataset(made):
    row = made.rows(["train"])[0]
    for path in (Path(row.path), Path(row.mask)):
        before = path.read_bytes()
        status, text = ws3("show", made.folder, row.image, "-o", path)
        assert (status, f"{path}: this is a picture of the dataset" in text) == (2, True)
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["config.yaml", "classes.txt", "index.csv"])
def test_a_run_begins_in_no_folder_with_files_of_the_users_own(made, tmp_path, name):
    mine = photographs(tmp_path / "photos")
    (mine / name).write_text("recipes: {}\n")
    config = yaml.safe_load((made.folder / "config.yaml").read_text())
    path = tmp_path / "ours.yaml"
    path.write_text(yaml.safe_dump({**config, "results": str(tmp_path), "run": "photos"}))
    before = snapshot(mine)
    status, text = ws3("index", "--config", path)
    assert (status, f"{mine / name}: this file is not of ws3" in text) == (2, True)
    assert snapshot(mine) == before


def test_an_export_goes_through_a_link_to_an_empty_folder(made, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert ws3("export", made.folder, "-r", CROPS, "--out", tmp_path / "link")[0] == 0
    assert (tmp_path / "real/classes.txt").is_file()
    assert (tmp_path / "link").is_symlink()
    before = snapshot(tmp_path / "real")
    assert ws3("export", made.folder, "-r", CROPS, "--out", tmp_path / "link")[0] == 2
    assert snapshot(tmp_path / "real") == before


def test_a_run_may_be_a_link_to_a_folder_elsewhere(made, tmp_path):
    config = yaml.safe_load((made.folder / "config.yaml").read_text())
    path = tmp_path / "ours.yaml"
    path.write_text(yaml.safe_dump({**config, "results": str(tmp_path / "results"), "run": "far"}))
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/far").symlink_to(tmp_path / "disk")
    assert ws3("index", "--config", path)[0] == 0
    assert (tmp_path / "results/far").is_symlink()
    assert (tmp_path / "disk/index.csv").is_file()


@pytest.mark.parametrize("name", ["config.yaml", "index.csv", "classes.txt", "index.json"])
def test_a_link_in_place_of_a_file_is_replaced_and_its_file_stays(made, tmp_path, name):
    mine = tmp_path / name
    shutil.move(made.folder / name, mine)
    (made.folder / name).symlink_to(mine)
    before = snapshot(mine)
    assert ws3("index", made.folder)[0] == 0
    assert snapshot(mine) == before


def test_a_journal_that_is_a_link_is_not_written_through(made, tmp_path):
    mine, journal = tmp_path / "mine.txt", made.journal_file("masks")
    mine.write_text("mine")
    journal.unlink()
    journal.symlink_to(mine)
    made.result("masks", CROPS, made.index.rows[0].image).unlink()
    status, said = ws3("masks", made.folder, "-r", CROPS)
    assert status == 2
    assert str(journal) in said
    assert mine.read_text() == "mine"
