"""The `ws3` command: what works, and that every mistake ends with a sentence naming the file."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import yaml
from PIL import Image

from ws3.cli import main

WIDTH, HEIGHT = 40, 30
LABELS = {"a": "cat", "b": "dog", "c": "cat;dog", "d": "dog"}


def ws3(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process; return its status, output and error output."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["ws3", *map(str, arguments)]),
        mock.patch("ws3.cli.memory.keep_freed_memory"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def refused(*arguments: object) -> str:
    """Run a command that must end with a user's error, and return what it says."""
    status, _, err = ws3(*arguments)
    assert status == 2, err
    assert "Traceback" not in err
    return err[err.index("ws3: ") :].removeprefix("ws3: ").rstrip("\n")


def sentence(*arguments: object) -> str:
    """Run a command that must end with one sentence, and return it."""
    said = refused(*arguments)
    assert "\n" not in said
    return said


def photographs(root: Path) -> Path:
    """Write four labelled photographs with masks, the last for validation."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, image in enumerate(LABELS):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{image}.jpg")
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[5:20, 8:30] = 1 + number % 2
        Image.fromarray(mask).save(root / "masks" / f"{image}.png")
    rows = "".join(f"{image},{labels}\n" for image, labels in LABELS.items())
    (root / "labels.csv").write_text("image,labels\n" + rows)
    (root / "val.txt").write_text("d\n")
    return root


def written_config(folder: Path, root: Path, **changes: object) -> Path:
    data = {
        "run": "tiny",
        "results": str(folder / "results"),
        "device": "cpu",
        "dataset": {"kind": "folder", "root": str(root), "masks": "masks", "val": "val.txt"},
        "classifier": {"architecture": "resnet18", "input_size": 32},
        "recipes": {
            "cam": {"preset": "cam"},
            "crops": {
                "method": "gradient",
                "samples": {"kind": "crops", "count": 12, "samples_per_chunk": 6, "batch": 4},
            },
        },
        "images_per_job": 2,
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture
def root(tmp_path):
    return photographs(tmp_path / "photos")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return a classifier of the photographs' two classes, with random weights."""
    import torch

    from ws3.classifier import checkpoints

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "classifier.pt"
    checkpoints.save_classifier(
        path, checkpoints.new_classifier("resnet18", ("cat", "dog"), 32, None)
    )
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, checkpoint):
    """Return a run that was made by the commands alone, up to its figures."""
    folder = tmp_path_factory.mktemp("whole")
    classifier = {"checkpoint": str(checkpoint), "architecture": "resnet18"}
    config = written_config(folder, photographs(folder / "photos"), classifier=classifier)
    run = folder / "results" / "tiny"
    stages = ("saliency", "maps", "threshold", "masks")
    for command in (
        ("index", "--config", config),
        ("train-classifier", run),
        *((stage, run, "--recipe", recipe) for recipe in ("cam", "crops") for stage in stages),
        ("evaluate", run),
    ):
        status, _, err = ws3(*command)
        assert status == 0, err
    return run


@pytest.fixture
def run(whole, tmp_path):
    """Return a copy of that run, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


# Datasets: each of these spoils one and returns what the error must name.


def no_root(root):
    shutil.rmtree(root)
    return root / "images"


def truncated(root):
    path = root / "images" / "b.jpg"
    path.write_bytes(path.read_bytes()[:400])
    return path


def sixteen_bit(root):
    (root / "images" / "b.jpg").unlink()
    path = root / "images" / "b.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(path)
    return path


def no_image(root):
    path = root / "images" / "b.jpg"
    path.unlink()
    return path.with_suffix("")


def other_size(root):
    path = root / "masks" / "b.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH + 1), np.uint8)).save(path)
    return path


def other_value(root):
    path = root / "masks" / "b.png"
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(path)
    return path


def wrong_masks(root):
    for name in LABELS:
        mask = np.full((HEIGHT, WIDTH), 2 if LABELS[name] == "cat" else 1, np.uint8)
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    return "a.png: "


def black_and_white(root):
    for name in LABELS:
        Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(
            root / "masks" / f"{name}.png"
        )
    return "a.png: "


def other_names(root):
    (root / "masks").rename(root / "drawn")
    (root / "masks").mkdir()
    (root / "drawn" / "a.png").rename(root / "masks" / "mask-a.png")
    return root / "masks"


def no_pictures(root):
    for name in LABELS:
        (root / "images" / f"{name}.jpg").unlink()
    return "images/a"


def unlisted(root):
    (root / "classes.txt").write_text("cat\ncow\n")
    return "b: "


def empty(root):
    (root / "labels.csv").write_text("image,labels\n")
    (root / "val.txt").write_text("")
    return root / "labels.csv"


def no_header(root):
    (root / "labels.csv").write_text("b,dog\n")
    return root / "labels.csv"


def no_such_id(root):
    (root / "val.txt").write_text("d\nz\n")
    return root / "val.txt"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_root, "No such file or directory"),
        (truncated, "truncated or not an image"),
        (sixteen_bit, "16-bit"),
        (no_image, "no such file"),
        (other_size, "41 x 30 pixels, but the image has 40 x 30"),
        (other_value, "holds the value 7"),
        (wrong_masks, "like all 4 masks it contradicts the labels"),
        (black_and_white, "it holds 0 and 255 only"),
        (
            other_names,
            "looked for a.png, a_mask.png and the like among the mask files here, such as",
        ),
        (no_pictures, "none of the 4 images is there"),
        (unlisted, "label 'dog' isn't in the class list"),
        (empty, "no classes"),
        (no_header, "it should be 'image,labels'"),
        (no_such_id, "names images that"),
    ],
)
def test_a_bad_dataset_is_refused_by_name(tmp_path, root, spoil, reason):
    named = str(spoil(root))
    dataset = {"kind": "folder", "root": str(root), "masks": "masks", "val": "val.txt"}
    if spoil is unlisted:
        dataset["classes"] = "classes.txt"
    said = refused("index", "--config", written_config(tmp_path, root, dataset=dataset))
    line = next(line for line in said.splitlines() if named in line)
    assert reason in line
    assert not (tmp_path / "results/tiny/index.csv").exists()


def test_looking_writes_nothing_and_says_what_an_index_would(tmp_path, root):
    config = written_config(tmp_path, root)
    status, out, err = ws3("index", "--config", config, "--check")
    assert (status, err) == (0, "")
    assert out == (
        "4 pictures: 3 train, 1 val. 2 classes, with the pictures that show them: cat 2, dog 3. "
        "4 masks of ground truth found. 3 of 4 masks hold just the classes of the labels.\n"
        "Warning: 1 of 4 masks hold not every class that their pictures are labelled with, such as "
        "that of c: it holds 1 (cat), the labels are cat, dog.\n"
    )
    truncated(root)
    assert ws3("index", "--config", config, "--check", "--sample", 0)[0] == 0
    said = refused("index", "--config", config, "--check")
    assert said.startswith("1 problem in the dataset")
    assert not (tmp_path / "results").exists()
    assert "--sample goes with --check" in sentence("index", "--config", config, "--sample", 3)


def test_facts_follow_the_index_into_status(tmp_path, root):
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("b,dog", "b,"))
    (root / "masks" / "b.png").unlink()
    status, out, err = ws3("index", "--config", written_config(tmp_path, root))
    assert status == 0, err
    told = ws3("status", tmp_path / "results" / "tiny")[1]
    for said in (out, told):
        assert "1 picture without labels, which show none of the classes." in said
        assert "3 masks of ground truth found, none for 1 pictures." in said
        assert "Warning: 1 of 3 masks hold not every class" in said


def test_a_cmyk_photograph_is_converted(tmp_path, root):
    path = root / "images" / "b.jpg"
    Image.open(path).convert("CMYK").save(path)
    status, out, err = ws3("index", "--config", written_config(tmp_path, root))
    assert status == 0, err
    assert out.startswith("4 images, 2 classes: ")


def test_every_bad_file_has_a_line(tmp_path, root):
    mask, photograph = root / "masks" / "a.png", truncated(root)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(mask)
    first, *lines = refused("index", "--config", written_config(tmp_path, root)).splitlines()
    assert first.startswith("2 problems in the dataset")
    assert len(lines) == 2
    assert str(mask) in lines[0]
    assert str(photograph) in lines[1]


# Configuration and arguments.


def test_a_recipe_name_with_a_slash_is_refused(tmp_path, root):
    recipes = {"cam": {"preset": "cam"}, "a/b": {"preset": "cam"}}
    path = written_config(tmp_path, root, recipes=recipes)
    assert sentence("index", "--config", path).startswith(f"{path}: recipes: 'a/b' can't be a")


def test_a_wrong_key_is_named_with_its_file(tmp_path, root):
    path = written_config(tmp_path, root, sede=1)
    assert sentence("index", "--config", path).startswith(f"{path}: sede: this key is unknown")


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none.yaml"
    assert sentence("index", "--config", path).startswith(f"{path}: there is no such")


@pytest.mark.parametrize(
    "command", ["status", "train-classifier", "evaluate", "report", "show", "saliency", "index"]
)
def test_a_run_that_is_not_there_is_named(tmp_path, command):
    more = {"show": ["a"], "saliency": ["--recipe", "cam"]}.get(command, [])
    said = sentence(command, tmp_path / "nowhere", *more)
    assert said.startswith(f"{tmp_path / 'nowhere'}: there is no run here")


@pytest.mark.parametrize(
    "command",
    ["saliency", "maps", "threshold", "masks", "predictions", "evaluate", "train-segmentation"],
)
@pytest.mark.parametrize("recipe", ["grad", "../cam"])
def test_an_unknown_recipe_is_named_with_those_there_are(whole, command, recipe):
    before = sorted(whole.rglob("*"))
    said = sentence(command, whole, "--recipe", recipe)
    assert said == f"{whole}: {recipe!r} is not a recipe of this run; it has: cam, crops"
    assert sorted(whole.rglob("*")) == before


def test_an_unknown_batch_or_image_is_named(whole):
    said = sentence("maps", whole, "--recipe", "cam", "--batch", "train-00009")
    assert said.startswith("train-00009: there is no such batch")
    for command in [("maps", whole, "--recipe", "cam", "--image", "z"), ("show", whole, "z")]:
        assert sentence(*command).startswith(f"{whole / 'index.csv'}: there is no image 'z'")


def test_arguments_that_contradict_each_other_are_refused(whole):
    both = ("maps", whole, "--recipe", "cam", "--batch", "train-00000", "--image", "a")
    assert sentence(*both) == "--image does not go with --batch"
    assert sentence("index") == "give either a run's folder or --config FILE"


def test_a_stage_that_comes_too_early_says_what_to_do(tmp_path, root):
    config, run = written_config(tmp_path, root), tmp_path / "results" / "tiny"
    assert ws3("index", "--config", config)[0] == 0
    assert "ws3 train-classifier" in sentence("saliency", run, "--recipe", "cam")
    assert "run snakemake" in sentence("masks", run, "--recipe", "cam")
    assert "run snakemake" in sentence("predictions", run, "--recipe", "crops")
    (run / "index.csv").unlink()
    assert "ws3 index" in sentence("saliency", run, "--recipe", "cam")


def test_an_output_that_is_no_picture_is_refused(whole, tmp_path):
    path = tmp_path / "a.gif"
    assert sentence("show", whole, "a", "--output", path).startswith(f"{path}: figures are PNG")


# Checkpoints.


class Malicious:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def with_checkpoint(folder, root, path, architecture="resnet18"):
    """Index with this checkpoint, and return the command that takes it."""
    classifier = {"checkpoint": str(path), "architecture": architecture}
    assert ws3("index", "--config", written_config(folder, root, classifier=classifier))[0] == 0
    return "train-classifier", folder / "results" / "tiny"


@pytest.mark.parametrize("way", ["pickle", "torch", "in a dict"])
def test_a_malicious_checkpoint_is_never_executed(tmp_path, root, way):
    import torch

    touched, path = tmp_path / "touched", tmp_path / "model.pt"
    evil = Malicious(touched)
    if way == "pickle":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save({"weight": evil} if way == "in a dict" else evil, path)
    said = sentence(*with_checkpoint(tmp_path, root, path))
    assert said.startswith(str(path))
    assert not touched.exists()
    # Loaded without care, it would have been executed.
    if way == "pickle":
        pickle.loads(path.read_bytes())  # noqa: S301
    else:
        torch.load(path, weights_only=False)
    assert touched.exists()


def test_a_checkpoint_of_another_network_is_named(tmp_path, root):
    import torch
    from torchvision.models import resnet18

    path = tmp_path / "imagenet.pt"
    torch.save(resnet18().state_dict(), path)
    assert f"{path} doesn't fit ResNet" in sentence(*with_checkpoint(tmp_path, root, path))


def test_a_checkpoint_for_other_classes_is_named(tmp_path, root, checkpoint):
    table = root / "labels.csv"
    table.write_text(table.read_text().replace("dog", "cow"))
    said = sentence(*with_checkpoint(tmp_path, root, checkpoint))
    assert said.startswith(f"{checkpoint} was trained for the classes cat, dog, but the dataset")


@pytest.mark.parametrize("kind", ["missing", "folder", "text"])
def test_what_is_no_checkpoint_is_named(tmp_path, root, kind):
    path = tmp_path / "model.pt"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("no weights")
    assert str(path) in sentence(*with_checkpoint(tmp_path, root, path))


def test_an_unknown_architecture_is_named_with_a_close_one(tmp_path, root):
    import torch

    path = tmp_path / "state.pt"
    torch.save({"weight": torch.zeros(1)}, path)
    said = sentence(*with_checkpoint(tmp_path, root, path, architecture="resnet81"))
    assert "'resnet81'; did you mean resnet" in said


# Stores.


@pytest.mark.parametrize(
    ("store", "command"), [("maps", "verify"), ("saliency", "maps"), ("maps", "maps")]
)
def test_a_store_of_a_newer_format_is_refused(run, store, command):
    path = run / store / "cam.zarr" / "zarr.json"
    data = json.loads(path.read_text())
    data["attributes"]["ws3_format"] = 99
    path.write_text(json.dumps(data))
    arguments = (path.parent,) if command == "verify" else (run, "--recipe", "cam")
    said = sentence(command, *arguments)
    assert said.startswith(f"{path.parent}: this store has format 99")
    assert "install a newer ws3" in said


def test_what_is_no_store_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file", tmp_path / "nothing"):
        assert sentence("verify", path) == f"{path}: there is no store here."


def test_damage_is_named_and_repaired(run):
    chunk = run / "maps" / "crops.zarr" / "a" / "map" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    status, out, err = ws3("verify", run)
    assert status == 1
    assert err.startswith(f"a: {run / 'maps' / 'crops.zarr' / 'a'}/map: the stored array")
    assert "1 damaged" in out
    status, out, _ = ws3("verify", run, "--repair")
    assert status == 0
    assert "the damaged parts are removed, run snakemake again" in out
    assert not (run / "receipts/maps/crops/train-00000.json").exists()
    assert ws3("maps", run, "--recipe", "crops")[0] == 0
    assert ws3("verify", run)[0] == 0


# Results of other inputs.


def reconfigure(run, **changes):
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def other_seed(run):
    reconfigure(run, seed=1)


def other_aggregation(run):
    recipes = yaml.safe_load((run / "config.yaml").read_text())["recipes"]
    recipes["crops"]["aggregation"]["smoothing"] = 0.1
    reconfigure(run, recipes=recipes)


def other_crf(run):
    masks = yaml.safe_load((run / "config.yaml").read_text())["masks"]
    reconfigure(run, masks={**masks, "crf": "deeplab"})


def other_checkpoint(run):
    import torch

    from ws3.classifier import checkpoints

    torch.manual_seed(1)
    path = run / "other.pt"
    checkpoints.save_classifier(
        path, checkpoints.new_classifier("resnet18", ("cat", "dog"), 32, None)
    )
    classifier = yaml.safe_load((run / "config.yaml").read_text())["classifier"]
    reconfigure(run, classifier={**classifier, "checkpoint": str(path)})
    assert ws3("train-classifier", run)[0] == 0


def other_image(run):
    with (run / "index.csv").open() as file:
        path = Path(next(line["path"] for line in csv.DictReader(file) if line["image"] == "b"))
    original = path.read_bytes()
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(path)
    assert ws3("index", run)[0] == 0
    # The photographs are shared by all runs; the index of this one knows the changed one.
    return path, original


def swapped_maps(run):
    store = run / "maps/crops.zarr"
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        (store / old).rename(store / new)


@pytest.mark.parametrize(
    ("change", "reader", "images", "repair"),
    [
        (other_seed, "maps", "abcd", "saliency"),
        (other_checkpoint, "maps", "abcd", "saliency"),
        (other_image, "maps", "b", "saliency"),
        (other_aggregation, "masks", "abcd", "maps"),
        (swapped_maps, "masks", "ab", "maps"),
    ],
)
def test_what_was_made_from_other_inputs_is_refused_until_it_is_repaired(
    run, change, reader, images, repair
):
    stage = {"maps": "maps", "saliency": "saliency", "masks": "masks"}
    if reader == "masks":
        shutil.rmtree(run / "masks")
    restored = change(run)
    try:
        before = {name: len(journal(run, stage[name])) for name in (reader, repair)}
        first, *lines = refused(reader, run, "--recipe", "crops").splitlines()
        assert f"{len(images)} image" in first
        for image, line in zip(images, lines, strict=True):
            command = f"ws3 {repair} {run} --recipe crops --image {image}"
            assert line.startswith(f"{image}: ")
            assert "made from other inputs" in line
            assert line.endswith(f": {command}")
            assert ws3(*command.split()[1:])[0] == 0
        assert ws3(reader, run, "--recipe", "crops")[0] == 0
        assert journal(run, stage[repair])[before[repair] :] == list(images)
        wanted = list("abcd") if reader == "masks" else list(images)
        assert sorted(journal(run, stage[reader])[before[reader] :]) == wanted
    finally:
        if restored is not None:
            path, original = restored
            path.write_bytes(original)


def test_masks_of_other_inputs_are_refused_by_the_evaluation(run):
    other_crf(run)
    said = sentence("evaluate", run, "--recipe", "crops")
    mask = run / "masks/crops/d.png"
    assert said.startswith(f"{mask}: this mask is missing, damaged or made from other inputs")
    command = f"ws3 masks {run} --recipe crops --image d"
    assert said.endswith(command)
    assert ws3(*command.split()[1:])[0] == 0
    assert ws3("evaluate", run, "--recipe", "crops")[0] == 0


def test_a_classifier_that_was_swapped_by_hand_is_refused(run, checkpoint):
    (run / "classifier.pt").write_bytes(checkpoint.read_bytes() + b"x")
    said = sentence("saliency", run, "--recipe", "crops")
    assert said.startswith(f"{run / 'classifier.pt'}: this file is missing, damaged or not the one")
    command = f"ws3 train-classifier {run}"
    assert said.endswith(command)
    assert ws3(*command.split()[1:])[0] == 0
    assert ws3("saliency", run, "--recipe", "crops")[0] == 0


def journal(run, stage):
    lines = map(json.loads, (run / f"journal/{stage}.jsonl").read_text().splitlines())
    return [
        line["image"] for line in lines if (line["recipe"], line["event"]) == ("crops", "computed")
    ]


# A full disk.


@pytest.fixture
def disk(tmp_path):
    """Mount a small file system, and return its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system of limited size can't be mounted here (that takes root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def filled(disk, left):
    """Fill the disk but for some bytes, and return the file that does it."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(b"\0" * (shutil.disk_usage(disk).free - left))
    return filler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "results"), [("saliency", "saliency/crops.zarr"), ("masks", "masks/crops")]
)
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(whole, disk, command, results):
    run = Path(shutil.copytree(whole, disk / "tiny"))
    good = contents(run / results)
    for folder in (run / results, run / "receipts" / command, run / "journal"):
        shutil.rmtree(folder)
    refusals = 0
    # From no space at all, a page more each time, so that each of the writes is hit once.
    for pages in range(60):
        filler = filled(disk, pages * 4096)
        status, _, err = ws3(command, run, "--recipe", "crops")
        filler.unlink()
        if status == 0:
            break
        refusals += 1
        assert status == 2, err
        assert err.count("\n") == 1, err
        assert err.startswith(f"ws3: {run}")
        assert "there is no space left on the device" in err
        assert not (run / "failed").exists()
    assert refusals > 2
    assert ws3(command, run, "--recipe", "crops")[0] == 0
    assert contents(run / results) == good


@pytest.mark.parametrize(
    ("command", "writes", "named"),
    [
        ("saliency", "ws3.store.groups.NewGroup.write", "saliency/crops.zarr/a/0"),
        ("maps", "ws3.store.groups.NewGroup.write", "maps/crops.zarr/a"),
        ("masks", "pathlib.Path.write_bytes", "masks/crops/a.png"),
    ],
)
def test_a_write_without_space_is_one_sentence(run, command, writes, named):
    stage = {"maps": "maps"}.get(command, command)
    for folder in (run / stage / Path(named).parts[1], run / "receipts" / stage):
        shutil.rmtree(folder)
    with mock.patch(writes, side_effect=OSError(errno.ENOSPC, "No space left on device")):
        said = sentence(command, run, "--recipe", "crops")
    assert said.startswith(f"{run / named}: there is no space left on the device")
    assert not (run / "failed").exists()
    assert ws3(command, run, "--recipe", "crops")[0] == 0


def test_a_folder_without_permission_is_one_sentence(run):
    shutil.rmtree(run / "masks")
    denied = PermissionError(errno.EACCES, "Permission denied", str(run / "journal"))
    with mock.patch("ws3.run.journal.note", side_effect=denied):
        said = sentence("masks", run, "--recipe", "crops")
    assert said == f"{run / 'journal'}: Permission denied"


# What works.


def test_the_figures_of_all_recipes_are_in_one_table(whole):
    lines = (whole / "evaluation" / "summary.csv").read_text().splitlines()
    assert [line.split(",")[:4] for line in lines[1:]] == [
        [recipe, "0", "val", stage] for recipe in ("cam", "crops") for stage in ("maps", "masks")
    ]


def test_a_second_run_of_a_command_changes_nothing(run):
    before = contents(run / "masks")
    assert ws3("masks", run, "--recipe", "crops")[0] == 0
    assert ws3("masks", run, "--recipe", "crops", "--batch", "val-00000")[0] == 0
    assert contents(run / "masks") == before


def test_a_single_image_can_be_made(run):
    mask = run / "masks" / "crops" / "b.png"
    good = mask.read_bytes()
    mask.unlink()
    assert ws3("masks", run, "--recipe", "crops", "--image", "b")[0] == 0
    assert mask.read_bytes() == good


def test_status_counts_what_is_done(run):
    (run / "receipts" / "masks" / "cam" / "train-00001.json").unlink()
    failure = run / "failed" / "masks" / "cam" / "c.json"
    failure.parent.mkdir(parents=True)
    failure.write_text('{"reason": "it is [bold]odd[/bold]"}')
    status, out, _ = ws3("status", run)
    assert status == 0
    table = [line.replace("│", " ").split() for line in out.splitlines()]
    cells = {tuple(line[:2]): line[2:7] for line in table if len(line) == 9}
    # done, of, skipped, failed, missing
    assert cells["masks", "cam"] == ["3", "4", "0", "1", "0"]
    assert cells["masks", "crops"] == ["4", "4", "0", "0", "0"]
    assert "masks cam, c: it is [bold]odd[/bold]" in out


def test_show_draws_an_image(whole, tmp_path):
    path = tmp_path / "deep" / "c.png"
    status, out, err = ws3("show", whole, "c", "--output", path)
    assert status == 0, err
    assert out.strip() == str(path)
    assert Image.open(path).size[0] > 100


def test_verify_passes_an_intact_run(whole):
    assert ws3("verify", whole) == (0, f"{whole}: 25 results read, 0 damaged\n", "")
    store = whole / "maps" / "cam.zarr"
    assert ws3("verify", store) == (0, f"{store}: 4 results read, 0 damaged\n", "")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [(["recipes"], ["gradient_crops", "smoothgrad"]), (["recipes", "--methods"], ["layercam"])],
)
def test_recipes_and_methods_are_listed(arguments, names):
    status, out, _ = ws3(*arguments)
    assert status == 0
    assert all(name in out for name in names)


def test_demo_data_is_drawn(tmp_path):
    size = ["--size", "48", "--train-images", "2", "--val-images", "1", "--classes", "2"]
    status, out, err = ws3("demo-data", tmp_path / "drawn", *size)
    assert status == 0, err
    assert out.strip() == str(tmp_path / "drawn")
    assert len(list((tmp_path / "drawn" / "images").iterdir())) == 3
    assert sentence("demo-data", tmp_path / "x", "--classes", "99").startswith("--classes: ")


def test_no_arguments_show_the_help():
    done = subprocess.run(
        [sys.executable, "-m", "ws3"], capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert "Usage: " in said
    assert "Traceback" not in said
    for command in ("index", "train-classifier", "saliency", "status", "verify"):
        assert command in said


@pytest.mark.parametrize("arguments", [["--help"], ["saliency", "--help"], ["recipes"]])
def test_help_and_lists_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom ws3.cli import main\n"
        f"sys.argv = ['ws3', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'zarr', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("delay", [0.05, 0.1, 0.3, 0.6])
def test_ctrl_c_in_the_first_moment_leaves_no_traceback(delay):
    # Python itself starts first: its own traceback before that is not ws3's to prevent.
    program = (
        "import os, signal, threading, ws3.cli\n"
        f"threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "import sys; sys.argv = ['ws3', 'recipes']\n"
        "while True:\n"
        "    try:\n"
        "        ws3.cli.main()\n"
        "    except SystemExit as end:\n"
        "        if end.code == 130: raise\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_may_not_grow_is_named(tmp_path):
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from ws3.files import atomic_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with atomic_file(Path(sys.argv[1])) as temporary:\n"
        "        with temporary.open('wb') as file:\n"
        "            file.write(bytes(5000))\n"
        "except OSError as error:\n"
        "    sys.exit(f'{error.filename}: {error.strerror}')\n"
    )
    path = tmp_path / "large"
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == f"{path}: File too large"


def test_ground_truth_that_is_ignored_alone_tunes_no_threshold(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["masks"]["background"] = {"kind": "tuned", "split": "train"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    kept = {}
    with (run / "index.csv").open(newline="") as file:
        masks = [Path(row["mask"]) for row in csv.DictReader(file)]
    for mask in masks:
        kept[mask] = mask.read_bytes()
        Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(mask)
    try:
        said = sentence("threshold", run, "--recipe", "cam")
    finally:
        for mask, data in kept.items():
            mask.write_bytes(data)
    assert "masks.background: the 3 ground-truth masks of the train split" in said
    assert "255 (ignored) alone" in said


@pytest.mark.parametrize(
    ("old", "new"),
    [("aggregate", "maps"), ("train-segmenter", "train-segmentation")],
)
def test_a_command_of_an_older_version_names_the_new_one(old, new):
    said = sentence(old, "results/demo", "--recipe", "cam")
    assert said == f"the command {old} is called {new} now"


@pytest.mark.parametrize("arguments", [["results/demo"], ["--recipe", "cam", "results/demo"]])
def test_predict_in_the_old_way_names_the_stage(arguments):
    said = sentence("predict", *arguments)
    assert said.endswith("called predictions now: ws3 predictions RUN --recipe NAME")


def test_a_run_of_an_older_version_is_refused_before_its_configuration_is_read(tmp_path):
    run = tmp_path / "old"
    run.mkdir()
    (run / "config.yaml").write_text("run: old\nsegmentation: {ceiling: true}\n")
    (run / "index.json").write_text('{"classes": ["a"]}')
    for command in ("status", "verify", "report"):
        said = sentence(command, run)
        assert said.startswith(f"{run}: these results have format 1, and this ws3 makes format 2;")


def test_two_runs_of_a_dataset_with_bad_images_write_the_same_bytes(whole, tmp_path, root):
    truncated(root)
    (root / "masks" / "c.png").write_bytes(b"no mask")
    written = []
    for name in ("one", "two"):
        run = Path(shutil.copytree(whole, tmp_path / name / "tiny"))
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["dataset"]["root"], config["on_bad_image"] = str(root), "skip"
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        for command in ("index", "report"):
            status, _, err = ws3(command, run)
            assert status == 0, err
        files = [run / "index.csv", run / "index.json", run / "report/index.html"]
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]
    assert all(b"truncated or not an image" in content for content in written[0])


@pytest.mark.parametrize("place", ["--config", "the run's"])
def test_a_configuration_that_is_a_pipe_is_refused_at_once(tmp_path, run, place):
    path = tmp_path / "config.yaml" if place == "--config" else run / "config.yaml"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for command in [("index", "--config", path)] if place == "--config" else [("status", run)]:
        said = sentence(*command)
        assert said.startswith(f"{path}: can't be read (this is a named pipe, not a regular file)")


def test_a_message_obeys_no_control_characters_and_stays_short(tmp_path, root):
    (root / "val.txt").write_text("\x1b[31mred\n" + "x" * 100_000 + "\n")
    said = sentence("index", "--config", written_config(tmp_path, root))
    assert "\\x1b[31mred" in said
    assert "\x1b" not in said
    name = "y" * 3000
    said = sentence("status", tmp_path / name)
    assert len(said) < 1100


def test_a_path_that_a_command_prints_has_its_control_characters_written_out(tmp_path):
    place = tmp_path / "drawn\x7f\x1b[31m"
    status, out, err = ws3(
        "demo-data", place, "--train-images", "1", "--val-images", "1", "--size", "48"
    )
    assert status == 0, err
    assert out == f"{tmp_path}/drawn\\x7f\\x1b[31m\n"
