import os
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import get_model, mobilenet_v2, resnet18

from ws3.classifier.checkpoints import new_classifier, save_classifier
from ws3.config.segmentation import NETWORKS
from ws3.errors import Ws3Error
from ws3.segmentation import networks
from ws3.segmentation.networks import MobileNetV2Stages, build, lraspp_resnet18


@pytest.mark.parametrize("architecture", NETWORKS.own)
def test_logits_have_the_images_size(architecture: str) -> None:
    network = build(architecture, 4, None).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(1, 3, 33, 47))["out"]
    assert logits.shape == (1, 4, 33, 47)


def test_unknown_architecture_is_told_the_known_ones() -> None:
    with pytest.raises(Ws3Error, match="'unet' is unknown; choose from: deeplabv3_resnet50, "):
        build("unet", 4, None)


@pytest.mark.parametrize("classes", [1, 256])
def test_class_count_must_fit_a_mask(classes: int) -> None:
    with pytest.raises(ValueError, match=f"not {classes}"):
        build("lraspp_mobilenet_v2", classes, None)


def _randomise_statistics(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)


def test_dilated_mobilenet_v2_agrees_with_the_strided_one_on_every_second_pixel() -> None:
    torch.manual_seed(0)
    strided = mobilenet_v2(weights=None).eval()
    _randomise_statistics(strided)
    dilated = MobileNetV2Stages({6: "low", 17: "out", 18: "high"}).eval()
    dilated.load_state_dict(strided.features.state_dict())
    images = torch.randn(2, 3, 96, 64)
    with torch.inference_mode():
        outputs = dilated(images)
        assert outputs["low"].shape == (2, 32, 12, 8)
        assert outputs["high"].shape == (2, 1280, 6, 4)
        torch.testing.assert_close(outputs["out"][..., ::2, ::2], strided.features[:18](images))
        torch.testing.assert_close(outputs["high"][..., ::2, ::2], strided.features(images))


def test_resnet18_reads_the_classifiers_stages_at_strides_8_and_16() -> None:
    torch.manual_seed(0)
    whole = resnet18(weights=None).eval()
    _randomise_statistics(whole)
    stages = lraspp_resnet18(4).get_submodule("backbone").eval()
    given = whole.state_dict()
    stages.load_state_dict({key: given[key] for key in stages.state_dict()})
    images = torch.randn(2, 3, 96, 64)
    with torch.inference_mode():
        outputs = stages(images)
        low = whole.layer2(whole.layer1(whole.maxpool(whole.relu(whole.bn1(whole.conv1(images))))))
        assert outputs["low"].shape == (2, 128, 12, 8)
        assert outputs["high"].shape == (2, 256, 6, 4)
        torch.testing.assert_close(outputs["low"], low)
        torch.testing.assert_close(outputs["high"], whole.layer3(low))


@pytest.mark.parametrize(
    ("architecture", "prefix"),
    [
        ("fcn_resnet50", ""),
        ("deeplabv3_mobilenet_v2", "features."),
        ("lraspp_mobilenet_v2", "features."),
        ("lraspp_mobilenet_v3_large", "features."),
        ("lraspp_resnet18", ""),
    ],
)
def test_backbone_takes_a_classifiers_weights(
    architecture: str, prefix: str, tmp_path: Path
) -> None:
    classifier = get_model(NETWORKS[architecture].backbone, weights=None, num_classes=7)
    _randomise_statistics(classifier)
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    network = build(architecture, 3, str(tmp_path / "weights.pth"))
    given = classifier.state_dict()
    for key, value in network.get_submodule("backbone").state_dict().items():
        assert torch.equal(value, given[prefix + key]), key


def test_backbone_takes_the_weights_of_ws3s_classifier(tmp_path: Path) -> None:
    classifier = new_classifier("mobilenet_v2", ("cat", "dog"), 64, None)
    save_classifier(tmp_path / "classifier.pt", classifier)
    network = build("lraspp_mobilenet_v2", 3, str(tmp_path / "classifier.pt"))
    given = classifier.network.state_dict()
    for key, value in network.get_submodule("backbone").state_dict().items():
        assert torch.equal(value, given[f"features.{key}"]), key


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(get_model("resnet34", weights=None).state_dict(), path)
    with pytest.raises(Ws3Error, match=r"weights.pth is not a .* resnet50 \('layer1.0.conv1.w"):
        build("fcn_resnet50", 3, str(path))


def test_deeper_networks_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(get_model("resnet101", weights=None).state_dict(), path)
    with pytest.raises(Ws3Error, match=r"unknown 'layer3.6.conv1.weight'"):
        build("fcn_resnet50", 3, str(path))


def test_incomplete_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = get_model("mobilenet_v2", weights=None).state_dict()
    del state["features.5.conv.2.weight"]
    torch.save(state, path)
    with pytest.raises(Ws3Error, match=r"'features.5.conv.2.weight' is missing"):
        build("lraspp_mobilenet_v2", 3, str(path))


def test_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(Ws3Error, match="'epoch' is not a tensor"):
        build("lraspp_mobilenet_v2", 3, str(path))


def test_missing_weights_are_named() -> None:
    with pytest.raises(Ws3Error, match=r"nowhere.pth can't be read \(No such file"):
        build("lraspp_mobilenet_v2", 3, "nowhere.pth")


def test_failed_download_suggests_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**kwargs: bool) -> None:
        assert kwargs["weights_only"] and kwargs["check_hash"]
        raise URLError("no route to host")

    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(get_state_dict=fail))
    monkeypatch.setattr(networks, "get_model_weights", lambda name: weights)
    with pytest.raises(Ws3Error, match=r"no route to host.*set segmentation.weights to the file"):
        build("fcn_resnet50", 3, "imagenet")


def test_downloaded_weights_reach_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    state = get_model("mobilenet_v3_large", weights=None).state_dict()
    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(get_state_dict=lambda **kwargs: state))
    monkeypatch.setattr(networks, "get_model_weights", lambda name: weights)
    network = build("deeplabv3_mobilenet_v3_large", 3, "imagenet")
    loaded = network.get_submodule("backbone").state_dict()["0.0.weight"]
    assert torch.equal(loaded, state["features.0.0.weight"])


@pytest.mark.real_data
def test_real_weights_load() -> None:
    root = os.environ.get("WS3_REAL_DATA")
    if not root:
        pytest.skip("WS3_REAL_DATA is unset")
    path = Path(root) / "weights" / "mobilenet_v2_imagenet1k.pth"
    network = build("deeplabv3_mobilenet_v2", 21, str(path))
    given = torch.load(path, weights_only=True)
    for key, value in network.get_submodule("backbone").state_dict().items():
        assert torch.equal(value, given[f"features.{key}"]), key
