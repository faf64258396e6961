"""Smaller output strides: the same weights, and on the coarser grid the same features."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from made_records import classifier_facts
from torch import Tensor, nn
from torchvision import models

import ws3
from ws3.attribution.engine import Attributor
from ws3.attribution.network import AttributionNetwork
from ws3.classifier import checkpoints, networks
from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier
from ws3.classifier.output_stride import reduce_output_stride
from ws3.config.classifier import ClassifierConfig
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error
from ws3.stages.train_classifier import train_classifier

CLASSES = ("cat", "dog", "owl")

EXACT = [
    "convnext_tiny",
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "vgg11_bn",
]


@torch.no_grad()
def trained(architecture: str) -> Classifier:
    """Make a network whose batch norms and biases are not idle, as if it had been trained."""
    torch.manual_seed(2)
    classifier = build_classifier(architecture, CLASSES, 64)
    classifier.network.double().train()
    for name, parameter in classifier.network.named_parameters():
        if name.endswith(".bias"):
            parameter.add_(0.1 * torch.randn_like(parameter))
    for _ in range(2):
        classifier.network(torch.randn(3, 3, 64, 64).double())
    classifier.network.eval()
    return classifier


@pytest.fixture(scope="module")
def vgg() -> Classifier:
    return trained("vgg11_bn")


def images(height: int = 64, width: int = 96) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(1, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("architecture", EXACT)
@torch.no_grad()
def test_on_the_coarser_grid_the_features_are_the_networks_own(architecture: str) -> None:
    classifier = trained(architecture)
    own = classifier.backbone(images())
    names = list(classifier.network.state_dict())
    for steps in ([16], [16, 8], [8]):
        network = copy.deepcopy(classifier.network)
        backbone = networks.backbone(network)
        for stride in steps:
            reduce_output_stride(backbone, network, stride, architecture)
        features = backbone(images())
        finer = 32 // steps[-1]
        assert features.shape[2:] == (2 * finer, 3 * finer)
        here = features[:, :, ::finer, ::finer]
        torch.testing.assert_close(here, own, rtol=1e-9, atol=1e-12 * float(own.abs().max()))
        assert not torch.equal(features[:, :, 1::finer, 1::finer], here)
        assert list(network.state_dict()) == names
        # The head reads what the backbone of the whole network gives, not a copy of it.
        assert torch.equal(network(images()), networks.classifier_head(network)(features))


@pytest.mark.parametrize(("stride", "dilated"), [(16, (False, True)), (8, (True, True))])
@torch.no_grad()
def test_torchvisions_dilated_resnet_has_the_same_features_and_logits(
    stride: int, dilated: tuple[bool, bool]
) -> None:
    classifier = trained("resnet50")
    theirs = models.resnet50(num_classes=3, replace_stride_with_dilation=[False, *dilated])
    theirs.double().eval().load_state_dict(classifier.network.state_dict())
    mine = classifier.network
    reduce_output_stride(classifier.backbone, mine, stride, "resnet50")
    assert torch.equal(classifier.backbone(images()), networks.backbone(theirs)(images()))
    assert torch.equal(mine(images()), theirs(images()))
    assert torch.equal(mine(images(59, 83)), theirs(images(59, 83)))


@pytest.mark.parametrize("architecture", ["densenet121", "swin_t", "alexnet"])
def test_networks_that_cannot_do_it_are_refused(architecture: str) -> None:
    with pytest.raises(
        Ws3Error, match=rf"^output_stride: {architecture} can't keep .*families: ConvNeXt, Eff"
    ):
        build_classifier(architecture, CLASSES, 64, 16)


def test_a_network_of_ones_own_is_refused() -> None:
    own = Classifier(nn.Conv2d(3, 4, 3, 4), nn.Linear(4, 3), CLASSES)
    with pytest.raises(Ws3Error, match="output_stride: Conv2d can't keep"):
        AttributionNetwork(own, output_stride=16)


def test_a_stride_cannot_be_raised() -> None:
    classifier = build_classifier("mobilenet_v2", CLASSES, 64, 8)
    with pytest.raises(Ws3Error, match=r"features of stride 8 already, .*one of 16; choose 8 or l"):
        AttributionNetwork(classifier, output_stride=16)
    assert AttributionNetwork(classifier, output_stride=8).features(torch.zeros(1, 3, 64, 64))[
        0, 0
    ].shape == (8, 8)


def test_building_draws_the_same_weights(tmp_path: Path) -> None:
    drawn = []
    for stride in (32, 16):
        torch.manual_seed(3)
        drawn.append(checkpoints.new_classifier("mobilenet_v3_small", CLASSES, 64, None, stride))
    own, finer = (classifier.network.state_dict() for classifier in drawn)
    assert all(torch.equal(value, finer[name]) for name, value in own.items())


def test_a_checkpoint_remembers_its_stride(tmp_path: Path) -> None:
    path = tmp_path / "classifier.pt"
    finer = build_classifier("mobilenet_v2", CLASSES, 64, 16)
    finer.network.eval()
    checkpoints.save_classifier(path, finer)
    read = checkpoints.load_classifier(path)
    assert read.output_stride == 16
    read.network.eval()
    assert torch.equal(read.network(images().float()), finer.network(images().float()))
    # A configuration may ask for less than the file has, and 32 asks for nothing.
    external = [
        checkpoints.load_external(path, "ignored", CLASSES, 1, stride) for stride in (32, 16, 8)
    ]
    assert [one.output_stride for one in external] == [16, 16, 8]
    assert external[2].backbone(torch.zeros(1, 3, 64, 64)).shape[2:] == (8, 8)
    content = torch.load(path, weights_only=True)
    # A ws3 that knows no strides refuses format 2; it would take this network for another.
    assert content["format"] == 2
    torch.save({**content, "output_stride": 12}, path)
    with pytest.raises(Ws3Error, match="has an output_stride of 12, not 8, 16, 32; train it again"):
        checkpoints.load_classifier(path)


def test_a_checkpoint_at_the_networks_own_stride_keeps_the_first_format(tmp_path: Path) -> None:
    path = tmp_path / "classifier.pt"
    checkpoints.save_classifier(path, build_classifier("mobilenet_v2", CLASSES, 64))
    content = torch.load(path, weights_only=True)
    assert content["format"] == 1
    assert "output_stride" not in content


def test_a_users_state_dict_can_be_read_at_a_finer_stride(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(build_classifier("resnet18", CLASSES, 64).network.state_dict(), path)
    read = checkpoints.load_external(path, "resnet18", CLASSES, 64, 8)
    assert read.output_stride == 8
    assert read.backbone(torch.zeros(1, 3, 64, 96)).shape[2:] == (8, 12)


def test_where_it_is_not_set_plain_data_is_as_before_there_was_such_a_key() -> None:
    recipe = Recipe(method="cam")
    for plain in (
        ClassifierConfig().model_dump(mode="json"),
        ClassifierConfig(output_stride=32).model_dump(mode="json"),
        recipe.model_dump(mode="json", exclude={"samples"}),
    ):
        assert "output_stride" not in plain
        assert "samples" not in plain
    assert ClassifierConfig(output_stride=16).model_dump()["output_stride"] == 16
    finer = Recipe(method="cam", output_stride=16)
    assert finer.model_dump(mode="json")["output_stride"] == 16
    assert Recipe.model_validate(finer.model_dump()) == finer


def test_a_recipes_cam_at_16_has_the_maps_at_32_on_every_second_pixel() -> None:
    classifier = trained("mobilenet_v2")
    own, finer = (
        Attributor(classifier, Recipe(method="cam", output_stride=stride))(images().numpy(), [2, 0])
        for stride in (None, 16)
    )
    assert own[0].shape == (2, 1, 2, 3)
    assert finer[0].shape == (2, 1, 4, 6)
    np.testing.assert_allclose(finer[0][:, :, ::2, ::2], own[0], rtol=1e-5, atol=1e-9)
    assert own[0].any()
    # The classifier itself is left as it was.
    assert classifier.backbone(images()).shape[2:] == (2, 3)


def test_a_recipes_stride_is_that_of_a_classifier_built_with_it() -> None:
    classifier = build_classifier("resnet18", CLASSES, 64).network.eval().state_dict()
    both = [build_classifier("resnet18", CLASSES, 64, stride) for stride in (32, 16)]
    for one in both:
        one.network.load_state_dict(classifier)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    recipe = {"preset": "cam_multiscale"}
    by_recipe = ws3.score_maps(both[0], image, ["dog"], {**recipe, "output_stride": 16})
    by_classifier = ws3.score_maps(both[1], image, ["dog"], recipe)
    assert by_recipe.tobytes() == by_classifier.tobytes()
    assert by_recipe.tobytes() != ws3.score_maps(both[0], image, ["dog"], recipe).tobytes()


@pytest.mark.filterwarnings("ignore:Setting:UserWarning")
@pytest.mark.filterwarnings("ignore:Input Tensor:UserWarning")
@pytest.mark.parametrize("method", ["gradient", "layercam", "guided_backprop", "deeplift"])
def test_methods_that_go_back_through_dilated_poolings_stay_finite(
    method: str, vgg: Classifier
) -> None:
    recipe = Recipe(method=method, output_stride=8)
    scores, _ = Attributor(vgg, recipe)(images().numpy(), [1])
    assert np.isfinite(scores).all()
    assert scores.any()


def test_the_stage_takes_a_checkpoint_at_the_configured_stride(small_run, untrained_classifier):
    settings = {"checkpoint": str(untrained_classifier), "output_stride": 16}
    run = small_run(**{f"classifier__{key}": value for key, value in settings.items()})
    run.receipt("train_classifier").unlink()
    train_classifier(run)
    assert run.classifier.output_stride == 16
    assert checkpoints.load_classifier(run.classifier_file).output_stride == 16


def test_receipts_of_before_mean_the_networks_own_stride() -> None:
    assert classifier_facts().output_stride == 32
