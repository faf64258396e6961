"""Networks of segmentation_models_pytorch."""

from __future__ import annotations

import sys

import pytest
import segmentation_models_pytorch as smp
import torch
from torchvision.models import resnet18

from ws3.config.segmentation import smp_parts
from ws3.errors import Ws3Error
from ws3.segmentation.model import load_model, save_model
from ws3.segmentation.networks import PARTS, build

UNET = "smp:Unet:resnet18"
NETWORKS = [name for name in smp.MODEL_ARCHITECTURES_MAPPING if name != "dpt"]


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_the_package(name):
    images = torch.randn(2, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    ours = build(f"smp:{name}:resnet18", 4, None).eval()
    torch.manual_seed(1)
    theirs = smp.create_model(name, "resnet18", encoder_weights=None, classes=4).eval()
    assert set(PARTS) == {part for part, _ in ours.named_children()}
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))
    with torch.no_grad():
        assert torch.equal(ours(images)["out"], theirs(images))


def test_any_size_is_filled_up_and_cut_again():
    network = build(UNET, 3, None).eval()
    images = torch.randn(1, 3, 50, 33)
    filled = torch.nn.functional.pad(images, (0, 31, 0, 14), mode="replicate")
    with torch.no_grad():
        seen = network(images)["out"]
        assert seen.shape == (1, 3, 50, 33)
        assert torch.equal(seen, network(filled)["out"][..., :50, :33])


def test_a_trained_network_comes_back_from_its_file(tmp_path):
    network = build(UNET, 3, None).eval()
    save_model(tmp_path / "model.pt", network, UNET, ["cat", "dog"])
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        again = load_model(tmp_path / "model.pt").network(images)["out"]
        assert torch.equal(again, network(images)["out"])


def test_the_encoder_starts_from_a_file(tmp_path):
    start = resnet18(num_classes=7)
    torch.save(start.state_dict(), tmp_path / "resnet18.pth")
    network = build(UNET, 3, str(tmp_path / "resnet18.pth"))
    encoder = network.get_submodule("backbone").state_dict()
    for key, value in start.state_dict().items():
        assert key.startswith("fc.") or torch.equal(encoder[key], value)
    with pytest.raises(Ws3Error, match=r"not a state dict of .* encoder resnet34 .*layer1\.2"):
        build("smp:Unet:resnet34", 3, str(tmp_path / "resnet18.pth"))
    with pytest.raises(Ws3Error, match="fetches no weights of resnet18"):
        build(UNET, 3, "imagenet")


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("smp:Unett:resnet18", "no network 'unett'; did you mean unet"),
        ("smp:dpt:resnet18", "no network 'dpt'"),
        ("smp:Unet:resnet81", "no encoder 'resnet81'; did you mean resnet18"),
        ("smp:Unet:tu-resnet81", "no encoder 'tu-resnet81'"),
        ("smp:PAN:vgg11", "this network doesn't go with this encoder"),
    ],
)
def test_what_the_package_has_not_is_told(architecture, sentence):
    with pytest.raises(Ws3Error, match=sentence):
        build(architecture, 3, None)


@pytest.mark.parametrize("name", ["smp:Unet", "smp::resnet18", "smp:Unet:tu-hf_hub:a/b", "smp:"])
def test_another_form_is_refused(name):
    with pytest.raises(Ws3Error, match="is not of the form smp:NETWORK:ENCODER"):
        smp_parts(name)


def test_a_network_of_timms_is_an_encoder():
    network = build("smp:FPN:tu-mobilenetv3_small_050", 3, None).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 64))["out"].shape == (1, 3, 64, 64)


def test_without_the_package_it_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(Ws3Error, match=r"pip install 'ws3-seg\[smp\]'"):
        build(UNET, 3, None)
