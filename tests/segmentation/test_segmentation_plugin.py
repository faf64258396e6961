"""The documented segmentation network, installed and used as its reader would."""

from __future__ import annotations

import pytest
import torch
import yaml
from documented_package import install, ws3_with
from pages import documented
from torchvision.models import resnet18

from ws3.config.load import resolve
from ws3.config.segmentation import NETWORKS, SegmentationNetwork
from ws3.errors import Ws3Error
from ws3.masks.png import read_mask
from ws3.run.folder import Run
from ws3.segmentation.networks import build
from ws3.stages.index import write_config

PAGE = "extending/segmentation-network.md"


@pytest.mark.slow
def test_the_documented_network_trains_and_predicts(small_run, tmp_path, monkeypatch):
    installed = install(PAGE, ("my_segmentation.py", "pyproject.toml"), tmp_path)
    run = small_run()
    data = run.config.model_dump(mode="json")
    data["segmentation"] |= yaml.safe_load(documented(PAGE, "segmentation.yaml"))
    data["segmentation"] |= {"recipes": [], "fully_supervised": True}
    with pytest.raises(Ws3Error, match="'fcn_resnet18' is unknown; did you mean fcn_resnet"):
        resolve(data)
    monkeypatch.syspath_prepend(str(installed))
    run = Run(run.folder, resolve(data))
    write_config(run)
    ws3 = ws3_with(installed)
    done = ws3("train-segmentation", run.folder, "--recipe", "ground_truth")
    assert done.returncode == 0, done.stderr
    image = run.rows(["val"])[0].image
    done = ws3("predictions", run.folder, "--recipe", "ground_truth", "--image", image)
    assert done.returncode == 0, done.stderr
    mask = read_mask(run.result("predictions", "ground_truth", image))
    assert mask.shape == (64, 64)
    assert mask.max() <= 3

    weights = resnet18()
    torch.save(weights.state_dict(), tmp_path / "resnet18.pth")
    network = build("fcn_resnet18", 4, str(tmp_path / "resnet18.pth"))
    given = weights.state_dict()
    loaded = network.get_submodule("backbone").state_dict()
    assert len(loaded) > 100
    assert all(torch.equal(value, given[key]) for key, value in loaded.items())


@pytest.mark.parametrize(
    ("network", "weights", "sentence"),
    [
        (torch.nn.Linear(3, 4), None, "the segmentation network mine has no part 'backbone'"),
        (
            torch.nn.ModuleDict({"backbone": torch.nn.Identity(), "classifier": torch.nn.ReLU()}),
            "imagenet",
            "segmentation.weights: the network mine can't start from weights; leave them out",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_refused(monkeypatch, network, weights, sentence):
    entry = SegmentationNetwork(lambda classes: network)
    monkeypatch.setattr(NETWORKS, "own", {**NETWORKS.own, "mine": entry})
    with pytest.raises(Ws3Error, match=sentence):
        build("mine", 4, weights)
