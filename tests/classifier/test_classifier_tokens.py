"""Transformers, GoogLeNet, Inception: sizes, tokens, weights in files."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import CLASSES, NETWORKS, small_network
from torch import nn
from torchvision import models

from ws3.attribution.network import AttributionNetwork
from ws3.classifier import timm_networks
from ws3.classifier.build import build_classifier
from ws3.classifier.checkpoints import (
    load_classifier,
    load_external,
    new_classifier,
    save_classifier,
)
from ws3.classifier.model import backbone_and_head_parameters
from ws3.classifier.networks import normalisation
from ws3.classifier.tokens import Fit, TokenBackbone, TokenMap, resampled
from ws3.errors import Ws3Error


def images(*size: int, count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_networks_take_images_of_any_size_and_samples_dont_mix(name: str) -> None:
    classifier = small_network(name)
    network = AttributionNetwork(classifier)
    for size in ((64, 64), (96, 64), (70, 97)):
        whole = classifier.network(images(*size))
        assert whole.shape == (2, 3)
        scale = float(whole.abs().max())
        # In two parts, and with batch norms folded.
        torch.testing.assert_close(network(images(*size)), whole, rtol=1e-3, atol=1e-3 * scale)
        alone = classifier.network(images(*size)[:1])
        torch.testing.assert_close(alone, whole[:1], rtol=1e-4, atol=1e-4 * scale)
        assert network.features(images(*size)).ndim == 4


@torch.no_grad()
def test_a_vision_transformer_at_its_own_size_is_torchvisions() -> None:
    classifier = small_network("vit")
    torch.manual_seed(1)
    theirs = models.VisionTransformer(64, 16, 4, 2, 24, 48, num_classes=3).eval()
    theirs.load_state_dict(classifier.network.state_dict())
    torch.testing.assert_close(classifier.network(images(64, 64)), theirs(images(64, 64)))


@torch.no_grad()
def test_position_embeddings_are_interpolated() -> None:
    classifier = small_network("vit")
    larger = models.VisionTransformer(112, 16, 4, 2, 24, 48, num_classes=3).eval()
    state = classifier.network.state_dict()
    positions = state["encoder.pos_embedding"]
    grid = positions[:, 1:].reshape(1, 4, 4, 24).permute(0, 3, 1, 2)
    moved = nn.functional.interpolate(grid, (7, 7), mode="bicubic").flatten(2).transpose(1, 2)
    larger.load_state_dict(
        {**state, "encoder.pos_embedding": torch.cat([positions[:, :1], moved], dim=1)}
    )
    found = classifier.network(images(112, 112))
    torch.testing.assert_close(found, larger(images(112, 112)), rtol=1e-4, atol=1e-5)


def test_the_token_of_each_patch_lies_where_the_patch_does() -> None:
    tokens = torch.arange(2 * 7 * 5.0).reshape(2, 7, 5)  # a class token, then 2 x 3 patches
    parts = TokenMap.of(tokens, 1, (2, 3))
    assert torch.equal(parts.map[1, :, 1, 2], tokens[1, 6])
    assert torch.equal(parts.prefix[:, 0], tokens[:, 0])
    assert torch.equal(parts.tokens(), tokens)


@pytest.mark.parametrize(
    ("fit", "sides"),
    [
        (Fit(14), {224: 224, 160: 154, 96: 98, 3: 14, 7: 14, 322: 322}),
        (Fit(1, least=75), {32: 75, 75: 75, 224: 224}),
        (Fit(1, fixed=224), {32: 224, 320: 224}),
    ],
)
def test_sizes_are_the_nearest_that_the_network_takes(fit: Fit, sides: dict[int, int]) -> None:
    assert {given: fit.side(given) for given in sides} == sides
    (given, wanted) = list(sides.items())[-1]
    assert fit(torch.ones(1, 3, given, given)).shape == (1, 3, wanted, wanted)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@torch.no_grad()
def test_googlenet_and_inception_see_what_torchvisions_weights_expect(name: str) -> None:
    """Torchvision's weights take ImageNet's normalisation, and turn it into one by 0.5."""
    torch.manual_seed(0)
    theirs = models.get_model(
        name, weights=None, transform_input=True, init_weights=False, num_classes=3
    ).eval()
    classifier = build_classifier(name, CLASSES, 128)
    state = {
        key: value
        for key, value in theirs.state_dict().items()
        if not key.startswith(("aux", "AuxLogits"))
    }
    classifier.network.load_state_dict(state)
    classifier.network.eval()
    pixels = torch.rand((2, 3, 128, 96), generator=torch.Generator().manual_seed(3))
    imagenet_mean, imagenet_std = normalisation("resnet50")

    def normalised(mean, std):
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    wanted = theirs(normalised(imagenet_mean, imagenet_std))
    found = classifier.network(normalised(classifier.mean, classifier.std))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_auxiliary_heads_in_a_file_are_left_out(tmp_path) -> None:
    torch.manual_seed(0)
    # 1000 classes, two more heads.
    theirs: Any = models.googlenet(weights=None, init_weights=False).state_dict()
    torch.save(theirs, tmp_path / "googlenet.pth")
    found = new_classifier("googlenet", CLASSES, 64, str(tmp_path / "googlenet.pth"))
    own, name = found.network.state_dict(), "inception5b.branch1.conv.weight"
    assert torch.equal(own[name], theirs[name])
    assert own["fc.weight"].shape == (3, 1024)
    assert not [name for name in own if name.startswith("aux")]


def test_position_embeddings_of_another_size_are_read(tmp_path) -> None:
    """timm's test_vit is made for 160 pixels; weights for 224 have 14 x 14 positions."""
    import timm

    torch.manual_seed(0)
    theirs: Any = timm.create_model("test_vit", num_classes=3, img_size=224)
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    found = load_external(tmp_path / "vit.pth", "timm:test_vit", CLASSES, 160)
    expected = resampled(theirs.pos_embed.detach(), 1, (10, 10))
    assert torch.equal(found.network.state_dict()["pos_embed"], expected)
    assert torch.equal(found.network.state_dict()["head.weight"], theirs.head.weight)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit4", "timm:test_maxvit"])
@torch.no_grad()
def test_timms_transformers_are_timms_at_their_own_size(name: str) -> None:
    import timm

    classifier = small_network(name)
    theirs = timm.create_model(name.removeprefix("timm:"), num_classes=3).eval()
    theirs.load_state_dict(classifier.network.state_dict())
    assert set(theirs.state_dict()) == set(classifier.network.state_dict())
    inputs = images(160, 160)
    torch.testing.assert_close(classifier.network(inputs), theirs(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "readers", "exact"),
    [
        ("timm:test_vit", (0,), False),  # a class token
        ("timm:test_vit4", (), False),  # averages, then a normalisation
        ("timm:deit_tiny_distilled_patch16_224", (0, 1), False),
    ],
)
def test_it_is_found_out_which_tokens_classify(name, readers, exact) -> None:
    classifier = build_classifier(name, CLASSES, 64)
    assert isinstance(classifier.backbone, TokenBackbone)
    assert classifier.backbone.readers == readers
    assert (AttributionNetwork(classifier).cam_weight is not None) == exact


@torch.no_grad()
def test_cam_is_exact_where_patches_are_averaged_for_a_linear_layer() -> None:
    """DINOv3's networks in timm average their patches; here a small one of their kind."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(
        img_size=64,
        patch_size=16,
        embed_dim=24,
        depth=2,
        num_heads=2,
        num_classes=3,
        global_pool="avg",
        fc_norm=False,
        dynamic_img_size=True,
    ).eval()
    backbone, head = timm_networks._token_parts(network, "timm:small")
    features = backbone(images(64, 96))
    assert features.shape == (2, 24, 4, 6)
    logits = network(images(64, 96))
    torch.testing.assert_close(head(features), logits)
    last: Any = network.get_classifier()
    torch.testing.assert_close(last(features.mean(dim=(2, 3))), logits)


def test_parameters_part_in_backbone_and_head_of_a_transformer() -> None:
    for name in ("vit", "timm:test_vit"):
        classifier = small_network(name)
        backbone, head = backbone_and_head_parameters(classifier)
        assert sorted(len(one) for one in head) == [3, 3]
        assert len(backbone) + 2 == len(list(classifier.network.parameters()))


@torch.no_grad()
def test_a_transformer_is_saved_and_read(tmp_path) -> None:
    classifier = small_network("timm:test_vit")
    save_classifier(tmp_path / "vit.pt", classifier)
    found = load_classifier(tmp_path / "vit.pt")
    found.network.eval()
    assert (found.mean, found.input_size) == (classifier.mean, 64)
    assert torch.equal(found.network(images(70, 97)), classifier.network(images(70, 97)))


def test_a_map_alone_doesnt_say_what_a_class_token_does() -> None:
    network = AttributionNetwork(small_network("vit"))
    with pytest.raises(Ws3Error, match="classifies by a token that stands for no place"):
        network.logits_from_features(network.features(images(64, 64)))
