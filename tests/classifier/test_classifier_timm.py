"""Networks of timm's: taken apart, trained, explained, saved, and refused where they don't fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from lively_norms import with_lively_norms
from torch import nn
from torch.nn import functional

import ws3
from ws3.attribution.layers import cut_at
from ws3.attribution.network import AttributionNetwork
from ws3.classifier import checkpoints
from ws3.classifier.build import build_classifier
from ws3.classifier.model import backbone_and_head_parameters, cam_weight, folded
from ws3.classifier.timm_networks import of_efficientnet_lite
from ws3.errors import Ws3Error
from ws3.stages.train_classifier import train_classifier
from ws3.tensors import UnusableError, load_tensors
from ws3.training.processes import SharedBatchNorm

CLASSES = ("cat", "dog", "owl")
# One of each way that timm builds heads and normalises; those whose CAM isn't exact last.
EXACT = [
    "densenet121",
    "efficientnet_lite0",
    "mobilenetv2_050",
    "regnetx_002",
    "resnet18",
    "test_byobnet",
    "test_efficientnet",
    "test_nfnet",
    "tf_efficientnet_lite0",
]
OTHER = ["mobilenetv3_small_050", "test_convnext"]


def lively(architecture):
    """Return a classifier whose batch norms do something."""
    torch.manual_seed(0)
    classifier = build_classifier(f"timm:{architecture}", CLASSES, 64)
    with_lively_norms(classifier.network)
    return classifier


@pytest.mark.parametrize("architecture", [*EXACT, *OTHER])
@torch.no_grad()
def test_backbone_and_head_are_timms_network_and_folding_keeps_it(architecture):
    classifier = lively(architecture)
    theirs = timm.create_model(architecture, num_classes=3)
    theirs.load_state_dict(classifier.network.state_dict())  # timm's own names
    theirs.eval()
    fast = folded(classifier.backbone)
    assert isinstance(fast, torch.fx.GraphModule)
    for size in ((64, 64), (97, 75)):
        images = torch.randn(2, 3, *size)
        expected = theirs(images)
        features = classifier.backbone(images)
        assert features.ndim == 4
        torch.testing.assert_close(classifier.head(features), expected)
        tolerance = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(
            classifier.head(fast(images)), expected, rtol=1e-4, atol=tolerance
        )


def test_batch_norms_that_are_activations_are_folded():
    kept = [
        m for m in folded(lively("resnet18").backbone).modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert not kept
    whole = lively("efficientnet_lite0").backbone
    assert sum(isinstance(m, nn.BatchNorm2d) for m in whole.modules()) == 49
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded(whole).modules())
    # Those behind a convolution that pads by its input's size stay.
    padded = folded(lively("tf_efficientnet_lite0").backbone)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in padded.modules()) == 5


@pytest.mark.parametrize("architecture", [*EXACT, *OTHER])
@torch.no_grad()
def test_cam_is_exact_where_the_head_is_average_pooling_and_a_linear_layer(architecture):
    classifier = lively(architecture)
    weight = cam_weight(classifier.head)
    assert (weight is None) == (architecture in OTHER)
    if weight is not None:
        images = torch.randn(2, 3, 64, 96)
        maps = functional.conv2d(classifier.backbone(images), weight[:, :, None, None])
        bias = classifier.network.get_classifier().bias
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + bias, classifier.network(images))


def test_the_head_that_is_trained_fast_is_the_last_layer():
    for architecture in ("efficientnet_lite0", "mobilenetv3_small_050", "test_convnext"):
        classifier = build_classifier(f"timm:{architecture}", CLASSES, 64)
        backbone, head = backbone_and_head_parameters(classifier)
        assert [len(p) for p in head] == [3, 3]
        assert len(backbone) + 2 == len(list(classifier.network.parameters()))


@pytest.mark.parametrize("architecture", ["timm:efficientnet_lite0", "resnet18"])
@torch.no_grad()
def test_batch_norms_that_several_gpus_share_keep_their_activations(architecture):
    network = build_classifier(architecture, CLASSES, 64).network.eval()
    images = torch.randn(1, 3, 64, 64)
    expected = network(images)
    shared = SharedBatchNorm().apply(network)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in shared.modules())
    assert any(isinstance(m, nn.SyncBatchNorm) for m in shared.modules())
    torch.testing.assert_close(shared.eval()(images), expected)


def test_layers_are_cut_by_stride():
    for architecture in ("efficientnet_lite0", "tf_efficientnet_lite0", "resnet18"):
        backbone = folded(lively(architecture).backbone)
        images = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            before, between, after = cut_at(backbone, (4, 16), architecture)
            fine = before(images)
            coarse = between(fine)
            assert fine.shape[2:] == (16, 24)
            assert coarse.shape[2:] == (4, 6)
            assert torch.equal(after(coarse), backbone(images))


@pytest.mark.parametrize("architecture", ["resnet18", "tf_efficientnet_lite0"])
def test_the_gradient_is_that_of_timms_network(architecture):
    classifier = lively(architecture)
    # In double precision, where no rounding opens or closes a ReLU.
    classifier.network.double()
    network = AttributionNetwork(classifier)
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    inputs = (images - torch.tensor(classifier.mean).double().view(1, 3, 1, 1)) / torch.tensor(
        classifier.std
    ).double().view(1, 3, 1, 1)
    (expected,) = torch.autograd.grad(classifier.network(inputs)[0, 1], images)
    (found,) = torch.autograd.grad(network(network.normalise(images))[0, 1], images)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * scale)


def test_mean_and_deviation_are_those_of_timms_weights():
    plain = build_classifier("timm:efficientnet_lite0", CLASSES, 64)
    assert plain.mean == (0.485, 0.456, 0.406)
    assert build_classifier("timm:tf_efficientnet_lite0", CLASSES, 64).mean == (0.5, 0.5, 0.5)
    tagged = build_classifier("timm:resnet18.a1_in1k", CLASSES, 64)
    assert tagged.architecture == "timm:resnet18.a1_in1k"
    assert tagged.std == (0.229, 0.224, 0.225)


def test_building_draws_no_more_than_timm_does():
    torch.manual_seed(5)
    timm.create_model("test_resnet", num_classes=3)
    expected = torch.rand(1)
    torch.manual_seed(5)
    built = build_classifier("timm:test_resnet", CLASSES, 64)
    assert torch.equal(torch.rand(1), expected)
    assert built.network.training


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("timm:resnet_18", r"timm [\d.]+ has no network 'resnet_18'; did you mean .*timm:resnet18"),
        ("timm:", "has no network ''"),
        ("timm:hf-hub:someone/thing", "has no network 'hf-hub:someone/thing'"),
        ("timm:resnet18.nowhere", r"no weights 'resnet18.nowhere'; it has: .*resnet18\.a1_in1k"),
        ("timm:levit_128s", r"one map \(B, F, h, w\).*but \(1, 16, 384\).* choose another network"),
    ],
)
def test_other_networks_are_refused(architecture, message):
    with pytest.raises(Ws3Error, match=message):
        build_classifier(architecture, CLASSES, 64)


def test_without_timm_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(Ws3Error, match=r"timm:resnet18 is .* pip install 'ws3-seg\[timm\]'$"):
        build_classifier("timm:resnet18", CLASSES, 64)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    path = Path(__file__).with_suffix(".safetensors")
    with pytest.raises(Ws3Error, match="can't be read"):
        checkpoints.load_external(path, "resnet18", CLASSES, 64)


@pytest.mark.slow
def test_nothing_of_timms_is_imported_unless_it_is_asked_for():
    program = (
        "import sys; from ws3.classifier.build import build_classifier; "
        "build_classifier('resnet18', ('a',), 64); "
        "assert not {'timm', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_weights_come_from_torchs_files_and_safetensors(tmp_path):
    theirs = timm.create_model("test_resnet", num_classes=10).state_dict()
    torch.save(theirs, tmp_path / "theirs.pth")
    safetensors.torch.save_file(theirs, tmp_path / "theirs.safetensors")
    for name in ("theirs.pth", "theirs.safetensors"):
        path = str(tmp_path / name)
        started = checkpoints.new_classifier("timm:test_resnet", CLASSES, 64, path)
        own = started.network.state_dict()
        assert own["fc.weight"].shape == (3, theirs["fc.weight"].shape[1])
        for key, value in theirs.items():
            assert key.startswith("fc.") or torch.equal(own[key], value)
        with pytest.raises(Ws3Error, match=rf"{name} doesn't fit DenseNet: "):
            checkpoints.new_classifier("timm:densenet121", CLASSES, 64, path)
    trained = {k: v[:3] if k.startswith("fc.") else v for k, v in theirs.items()}
    safetensors.torch.save_file(trained, tmp_path / "trained.safetensors")
    path = tmp_path / "trained.safetensors"
    brought = checkpoints.load_external(path, "timm:test_resnet", CLASSES, 64)
    assert torch.equal(brought.network.state_dict()["fc.weight"], trained["fc.weight"])


def test_timms_own_weights_are_fetched_through_timm(monkeypatch):
    asked = []
    create = timm.create_model
    torch.manual_seed(1)
    theirs = create("test_resnet").state_dict()

    def with_weights(name, pretrained=False, **options):
        network = create(name, **options)
        if pretrained:
            asked.append(name)
            network.load_state_dict(theirs)
        return network

    monkeypatch.setattr(timm, "create_model", with_weights)
    started = checkpoints.new_classifier("timm:test_resnet.r160_in1k", CLASSES, 64, "imagenet")
    assert asked == ["test_resnet.r160_in1k"]
    assert torch.equal(started.network.state_dict()["conv1.0.weight"], theirs["conv1.0.weight"])
    assert len(started.network.state_dict()["fc.weight"]) == 3


def test_weights_that_cannot_be_fetched_are_one_sentence(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("there is no network")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    with pytest.raises(Ws3Error, match=r"timm's ImageNet weights of timm:test_resnet can't be had"):
        checkpoints.new_classifier("timm:test_resnet", CLASSES, 64, "imagenet")


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_safetensors_file_is_refused_or_read_whole(tmp_path_factory, place, byte):
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1)}
    content = bytearray(safetensors.torch.save(state))
    content[place % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(content)
    try:
        found = load_tensors(path)
        assert all(isinstance(value, torch.Tensor) for value in found.values())
    except UnusableError as error:
        assert error.fault == "damaged"


def test_a_damaged_file_of_weights_is_named_with_its_kind(tmp_path):
    for name, kind in (("a.safetensors", "safetensors file"), ("a.pth", "file of torch's")):
        path = tmp_path / name
        path.write_bytes(b"these are no weights")
        with pytest.raises(Ws3Error, match=rf"{name} is damaged or no {kind}; copy or save it ag"):
            checkpoints.load_external(path, "resnet18", CLASSES, 64)


CROPS = {
    "preset": "contrast_crops",
    "samples": {"count": 2, "samples_per_chunk": 2, "batch": 2, "input_size": 64},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "refused"),
    [
        ("densenet121", {}),
        ("efficientnet_lite0", {}),
        ("mobilenetv2_050", {}),
        ("regnetx_002", {}),
        ("resnet18", {}),
        ("tf_efficientnet_lite0", {}),
        ("test_efficientnet", {}),
        ("mobilenetv3_small_050", {"cam": "ends otherwise; use the method gradcam"}),
        ("test_convnext", {"cam": "use the method gradcam"}),
        ("test_vit", {"cam": "use the method gradcam"}),
        ("test_maxvit", {}),
    ],
)
def test_a_network_is_trained_explained_and_read_again(small_run, architecture, refused):
    run = small_run(classifier__architecture=f"timm:{architecture}")
    run.classifier_file.unlink()
    train_classifier(run)
    classifier = ws3.load_classifier(run.classifier_file)
    assert (classifier.architecture, classifier.input_size) == (f"timm:{architecture}", 64)
    row = run.index.rows[0]
    image, labels = ws3.read_image(row.path), list(row.labels)
    recipes: dict[str, Any] = {"cam": "cam", "gradcam": "gradcam", "crops": CROPS}
    for name, recipe in recipes.items():
        if name in refused:
            with pytest.raises(Ws3Error, match=refused[name]):
                ws3.score_maps(classifier, image, labels, recipe)
        else:
            maps = ws3.score_maps(classifier, image, labels, recipe)
            assert maps.shape == (len(labels), *image.shape[:2])
            assert 0 <= maps.min() < maps.max() <= 1


PACKAGE_NAMES = [
    *("_conv_stem.weight", "_bn0.bias", "_conv_head.weight", "_bn1.running_var", "_fc.bias"),
    *("_blocks.0._depthwise_conv.weight", "_blocks.0._project_conv.weight", "_blocks.0._bn2.bias"),
    *("_blocks.2._expand_conv.weight", "_blocks.2._bn0.weight", "_blocks.2._bn1.running_mean"),
    *("_blocks.15._project_conv.weight", "_blocks.15._bn2.num_batches_tracked"),
]
TIMM_NAMES = [
    *("conv_stem.weight", "bn1.bias", "conv_head.weight", "bn2.running_var", "classifier.bias"),
    *("blocks.0.0.conv_dw.weight", "blocks.0.0.conv_pw.weight", "blocks.0.0.bn2.bias"),
    *("blocks.1.1.conv_pw.weight", "blocks.1.1.bn1.weight", "blocks.1.1.bn2.running_mean"),
    *("blocks.6.0.conv_pwl.weight", "blocks.6.0.bn3.num_batches_tracked"),
]


def test_efficientnet_lites_names_are_translated():
    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    named = {name: torch.full((1,), float(n)) for n, name in enumerate(PACKAGE_NAMES)}
    found = of_efficientnet_lite(named, own)
    assert list(found) == TIMM_NAMES
    assert [float(value) for value in found.values()] == [*range(len(named))]
    assert set(TIMM_NAMES) <= set(own)
    assert of_efficientnet_lite(found, own) == found


def test_a_state_dict_of_efficientnet_lite_is_loaded_from_its_file(tmp_path):
    torch.manual_seed(2)
    theirs = timm.create_model("tf_efficientnet_lite0").state_dict()
    # That package's tensors have timm's order.
    widths = (1, 2, 2, 3, 3, 4, 1)
    order = [f"blocks.{stage}.{index}" for stage, n in enumerate(widths) for index in range(n)]
    parts = {"conv_stem": "_conv_stem", "conv_head": "_conv_head", "classifier": "_fc"}
    parts |= {"bn1": "_bn0", "bn2": "_bn1"}
    inner = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}
    inner |= {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
    first = {"conv_dw": "_depthwise_conv", "conv_pw": "_project_conv"}
    first |= {"bn1": "_bn1", "bn2": "_bn2"}
    saved = {}
    for name, value in theirs.items():
        if name.startswith("blocks."):
            block, (part, tensor) = name.rsplit(".", 2)[0], name.rsplit(".", 2)[1:]
            number = order.index(block)
            saved[f"_blocks.{number}.{(inner if number else first)[part]}.{tensor}"] = value
        else:
            part, tensor = name.split(".")
            saved[f"{parts[part]}.{tensor}"] = value
    torch.save(saved, tmp_path / "lite0.pth")
    for architecture in ("timm:efficientnet_lite0", "timm:tf_efficientnet_lite0"):
        path = str(tmp_path / "lite0.pth")
        own = checkpoints.new_classifier(architecture, CLASSES, 64, path).network.state_dict()
        for name, value in theirs.items():
            assert name.startswith("classifier.") or torch.equal(own[name], value), name
    del saved["_blocks.3._bn1.bias"]
    torch.save(saved, tmp_path / "lite0.pth")
    with pytest.raises(Ws3Error, match=r"it has no blocks.2.0.bn2.bias \(1 of 296 tensors"):
        checkpoints.new_classifier("timm:efficientnet_lite0", CLASSES, 64, path)
