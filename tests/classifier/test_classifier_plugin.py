"""The documented network of one's own, installed and trained as its reader would."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pages
import pytest
import torch
import yaml

import ws3
from ws3.classifier import checkpoints
from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier
from ws3.config.load import resolve
from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.stages.index import write_config
from ws3.store.maps import MapStore

documented = partial(pages.documented, "extending/classifier.md")


def begun(small_run, block):
    """Return a run that is to train the classifier of a block of the page."""
    run = small_run()
    run.classifier_file.unlink()
    data = run.config.model_dump(mode="json")
    data["classifier"] = yaml.safe_load(documented(block))
    data["recipes"] = {"cam": {"method": "cam"}}
    data["segmentation"] = {"recipes": []}
    run = Run(run.folder, resolve(data))
    write_config(run)
    return run


@pytest.mark.slow
def test_the_documented_network_is_trained_and_explained_as_any_other(
    small_run, tmp_path, monkeypatch
):
    package, installed = tmp_path / "package", tmp_path / "installed"
    package.mkdir()
    for name in ("my_networks.py", "pyproject.toml"):
        (package / name).write_text(documented(name))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", installed, package], check=True)
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def run_ws3(*arguments: object) -> None:
        command = [sys.executable, "-c", "from ws3.cli import main; main()", *map(str, arguments)]
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    run = begun(small_run, "classifier.yaml")
    image = run.index.rows[0].image
    run_ws3("train-classifier", run.folder)
    run_ws3("saliency", run.folder, "--recipe", "cam", "--image", image)
    run_ws3("maps", run.folder, "--recipe", "cam", "--image", image)
    maps = MapStore(run.results("maps", "cam")).read(image)
    assert np.isfinite(maps).all()

    with pytest.raises(Ws3Error, match="torchvision has no classification network 'preact10'"):
        ws3.load_classifier(run.classifier_file)
    monkeypatch.syspath_prepend(str(installed))
    classifier = ws3.load_classifier(run.classifier_file)
    assert (classifier.architecture, classifier.input_size) == ("preact10", 64)
    assert classifier.mean == (0.5, 0.5, 0.5)
    again = ws3.score_maps(
        classifier, ws3.read_image(run.index.rows[0].path), run.index.rows[0].labels, "cam"
    )
    assert again.tobytes() == maps.tobytes()


@pytest.mark.slow
def test_the_documented_function_is_trained_without_a_package(small_run, tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(documented("my_networks.py"))
    run = begun(small_run, "function.yaml")
    image = run.index.rows[0].image
    own = [sys.executable, "-c", "from ws3.cli import main; main()"]
    train = [*own, "train-classifier", str(run.folder)]
    without = subprocess.run(train, capture_output=True, text=True, check=False)
    assert without.returncode != 0
    assert (
        "my_networks:preact10 can't be imported (No module named 'my_networks')" in without.stderr
    )
    assert "Traceback" not in without.stderr
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run(train, env=environment, check=True, capture_output=True)
    for stage in ("saliency", "maps"):
        command = [*own, stage, str(run.folder), "--recipe", "cam", "--image", image]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    maps = MapStore(run.results("maps", "cam")).read(image)

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    with pytest.raises(Ws3Error, match="which is imported only where you name it"):
        ws3.load_classifier(run.classifier_file)
    with pytest.raises(Ws3Error, match="which is imported only where you name it"):
        ws3.load_classifier(run.classifier_file, "my_networks:other")
    assert "my_networks" not in sys.modules
    classifier = ws3.load_classifier(run.classifier_file, "my_networks:preact10")
    again = ws3.score_maps(
        classifier, ws3.read_image(run.index.rows[0].path), run.index.rows[0].labels, "cam"
    )
    assert again.tobytes() == maps.tobytes()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def other(): ...", "mine_wrong:make can't be imported .*has no attribute 'make'"),
        ("def make(:", r"mine_wrong:make can't be imported \(.*mine_wrong.py, line 1"),
        ("raise RuntimeError('no licence')", r"can't be imported \(no licence\); install"),
        ("make = 3", "mine_wrong:make is no function of class names"),
        (
            "def make(classes): return 3",
            r"what mine_wrong:make adds must return a ws3\.Classifier",
        ),
    ],
)
def test_a_function_that_does_not_do_is_refused(tmp_path, monkeypatch, code, message):
    (tmp_path / "mine_wrong.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine_wrong", raising=False)
    with pytest.raises(Ws3Error, match=message):
        build_classifier("mine_wrong:make", ("a", "b"), 64)


def test_a_checkpoint_names_code_in_vain(tmp_path, monkeypatch):
    """A file of somebody else's: neither it nor a checkpoint in the configuration runs code."""
    (tmp_path / "mine_trap.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "trap.pt"
    made = replace(_made(("a", "b")), architecture="mine_trap:make")
    checkpoints.save_classifier(path, made)
    with pytest.raises(Ws3Error, match="'mine_trap:make', which is imported only where you name"):
        ws3.load_classifier(path)
    with pytest.raises(Ws3Error, match="'mine_trap:make', which is imported only where you name"):
        checkpoints.load_external(path, "resnet18", ("a", "b"), 64)


def _plugin(monkeypatch, made):
    class Point:
        name, value = "mine", "somewhere:mine"

        def load(self):
            return made

    monkeypatch.setattr("ws3.registry.entry_points", lambda group: [Point()])


def _made(classes):
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    return Classifier(backbone, torch.nn.Linear(4, len(classes)), classes)


def test_weights_of_a_registered_network(monkeypatch, tmp_path):
    _plugin(monkeypatch, _made)
    new = checkpoints.new_classifier("mine", ("a", "b"), 96, None)
    assert (new.architecture, new.input_size, new.classes) == ("mine", 96, ("a", "b"))
    checkpoints.save_classifier(tmp_path / "mine.pt", new)
    loaded = checkpoints.load_classifier(tmp_path / "mine.pt")
    for name, value in new.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)
    # Of a network for other classes, all but the head is taken.
    other = _made(("x", "y", "z")).network.state_dict()
    torch.save(other, tmp_path / "other.pth")
    started = checkpoints.new_classifier("mine", ("a", "b"), 96, str(tmp_path / "other.pth"))
    assert torch.equal(started.network.state_dict()["0.0.weight"], other["0.0.weight"])
    assert started.network.state_dict()["1.2.weight"].shape == (2, 4)
    with pytest.raises(Ws3Error, match="imagenet stands for torchvision's weights, and mine is"):
        checkpoints.new_classifier("mine", ("a", "b"), 96, "imagenet")


def test_what_a_package_adds_must_be_a_classifier_for_the_classes(monkeypatch):
    for made in (lambda classes: _made(classes).network, lambda classes: _made(("x",))):
        _plugin(monkeypatch, made)
        with pytest.raises(Ws3Error, match=r"what mine adds must return a ws3\.Classifier"):
            build_classifier("mine", ("a", "b"), 64)
    with pytest.raises(Ws3Error, match=r"did you mean .*mine.*\(installed packages add: mine\)"):
        build_classifier("mien", ("a", "b"), 64)
