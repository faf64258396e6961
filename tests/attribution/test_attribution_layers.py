"""Gradients that end at a layer: the cut, and the methods against autograd and pytorch-grad-cam."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from pytorch_grad_cam import LayerCAM
from pytorch_grad_cam.refine_cam import RefineCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr
from torch import Tensor, nn

from ws3.attribution.cam import geometric_mean
from ws3.attribution.cam import multiplied as fused_product
from ws3.attribution.engine import Attributor
from ws3.attribution.interface import Options
from ws3.attribution.layers import cut_at
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier, folded
from ws3.config.methods import check_method, method_entry
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error

CLASSES = ("a", "b", "c", "d")
CAM_MAPS = [
    torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(1)) for side in (8, 4, 2)
]
EXPLAINED = [2, 0]


def trained(architecture: str) -> Classifier:
    """Make a network whose batch norms are not idle, as if it had been trained."""
    torch.manual_seed(4)
    classifier = build_classifier(architecture, CLASSES, 64)
    with torch.no_grad():
        classifier.network.train()
        for _ in range(4):
            classifier.network(torch.randn(4, 3, 64, 64))
    classifier.network.eval().double()
    return classifier


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(2)).double()


def reached(layer: nn.Module, network: nn.Module, inputs: Tensor, index: int) -> list[Tensor]:
    """Return a layer's output and its gradient, by a hook of the whole, unfolded network."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, given: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # what comes behind may work in place

    with layer.register_forward_hook(keep):
        logits = network(inputs.clone().requires_grad_())
    (gradient,) = torch.autograd.grad(logits[:, index].sum(), outputs[0])
    return [outputs[0].detach(), gradient]


def by_contribution(output: Tensor, gradient: Tensor) -> Tensor:
    return (output * gradient).relu().sum(dim=1)


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("gradient", Options("l2", "abs", {"stride": 8}), lambda a, g: g.pow(2).sum(1).sqrt()),
        ("gradient", Options("max", "abs", {"stride": 8}), lambda a, g: g.abs().amax(1)),
        ("input_x_gradient", Options("sum", "positive", {"stride": 8}), by_contribution),
        ("layercam", Options(values={"stride": 8}), lambda a, g: (g.relu() * a).sum(1).relu()),
    ],
)
def test_scores_are_those_of_the_layers_own_gradient(
    method: str, options: Options, expected: Callable[[Tensor, Tensor], Tensor]
) -> None:
    classifier = trained("resnet18")
    network = AttributionNetwork(classifier)
    found = method_entry(method).load()(network, images(), EXPLAINED, options).scores
    assert found.shape == (2, 2, 8, 12)  # stride 8
    layer = classifier.network.get_submodule("layer2")
    for position, index in enumerate(EXPLAINED):
        wanted = expected(*reached(layer, classifier.network, images(), index)).float()
        torch.testing.assert_close(
            found[position], wanted, rtol=1e-4, atol=1e-5 * float(wanted.max())
        )
    assert found.any()


def test_pytorch_grad_cam_agrees_at_an_early_layer() -> None:
    classifier = trained("resnet18")
    options = Options(values={"stride": 4})
    found = method_entry("layercam").load()(
        AttributionNetwork(classifier), images(1), EXPLAINED, options
    )
    layer = classifier.network.get_submodule("layer1")
    for position, index in enumerate(EXPLAINED):
        target = [ClassifierOutputTarget(index)]
        with LayerCAM(model=classifier.network, target_layers=[layer]) as peer:
            peer(images(1), target)
            seen = peer.activations_and_grads
            arrays = (seen.activations[0].numpy(), seen.gradients[0].numpy())
            wanted = peer.get_cam_image(images(1), layer, target, *arrays, False)[0]
        torch.testing.assert_close(
            found.scores[position, 0].numpy(),
            np.maximum(wanted, 0).astype(np.float32),
            rtol=1e-4,
            atol=1e-6 * float(np.abs(wanted).max()),
        )


@pytest.mark.parametrize(
    ("architecture", "strides"),
    [
        ("resnet18", (2, 4, 8, 16, 32)),
        ("mobilenet_v2", (2, 4, 8, 16, 32)),
        ("mobilenet_v3_small", (2, 4, 8, 16, 32)),
        ("vgg11", (1, 2, 4, 8, 16, 32)),
        ("densenet121", (2, 4, 8, 16, 32)),
        ("efficientnet_b0", (2, 4, 8, 16, 32)),
        ("shufflenet_v2_x0_5", (2, 4, 8, 16, 32)),
        ("convnext_tiny", (4, 8, 16, 32)),
    ],
)
def test_both_parts_together_are_the_network(architecture: str, strides: tuple[int, ...]) -> None:
    backbone = folded(build_classifier(architecture, CLASSES, 64).backbone)
    inputs = images(1).float()
    with torch.no_grad():
        whole = backbone(inputs)
        reached = inputs
        for part in cut_at(backbone, strides, architecture):
            reached = part(reached)
        assert torch.equal(reached, whole)
        for stride in strides:
            before, after = cut_at(backbone, [stride], architecture)
            layer = before(inputs)
            assert layer.ndim == 4
            kept = layer.clone()
            assert torch.equal(after(layer), whole)
            assert torch.equal(layer, kept)
            # Networks that cut borders off have maps a little smaller.
            assert layer.shape[2] == pytest.approx(64 / stride, abs=1)
            assert layer.shape[3] == pytest.approx(96 / stride, abs=1)


def test_the_last_of_several_places_is_taken() -> None:
    classifier = build_classifier("mobilenet_v2", CLASSES, 64)
    before = cut_at(folded(classifier.backbone), [4], "mobilenet_v2")[0]
    # The expansion of the first block that strides from 4 to 8 pixels.
    assert [name for name, _ in before.named_modules()][-1] == "features.4.conv.0.2"


def test_a_stride_below_all_layers_is_refused_with_a_choice() -> None:
    backbone = folded(build_classifier("resnet18", CLASSES, 64).backbone)
    with pytest.raises(Ws3Error, match=r"resnet18 has no layer of stride 1 .*: 2, 4, 8, 16, 32$"):
        cut_at(backbone, [1], "resnet18")


def test_a_network_that_ends_early_gives_its_last_layer_once() -> None:
    layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(inplace=True)]
    parts = cut_at(nn.Sequential(*layers), [2, 8, 16], "a toy")
    assert [len(list(part.children())) for part in parts] == [2, 2, 0]


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Moody(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs if inputs.sum() > 0 else -inputs

    with pytest.raises(Ws3Error, match=r"the layers of moody can't be told apart .*leave it out"):
        cut_at(Moody(), [4], "moody")


def test_the_maps_of_several_layers_are_added_at_the_same_mean() -> None:
    network = AttributionNetwork(trained("resnet18"))

    def scores(stride: int | list[int]) -> Tensor:
        options = Options(values={"stride": stride})
        return method_entry("layercam").load()(network, images(), EXPLAINED, options).scores

    fine, coarse = scores(4), scores(16)
    enlarged = torch.stack(
        [nn.functional.interpolate(one[:, None], (16, 24), mode="bilinear")[:, 0] for one in coarse]
    )
    means = [one.mean(dim=(2, 3), keepdim=True) for one in (fine, enlarged)]
    torch.testing.assert_close(scores([4, 16]), fine + enlarged * means[0] / means[1])
    assert torch.equal(scores([4]), fine)


def test_pytorch_grad_cams_refinecam_is_the_product_of_the_layers() -> None:
    classifier = trained("resnet18")
    inputs = torch.nn.functional.interpolate(images(1), (128, 192), mode="bilinear")
    options = Options(values={"stride": [8, 16, 32], "fusion": "product"})
    # Not of Grad-CAM++: its own adds 1e-6 to denominators that are smaller than that here.
    found = method_entry("layercam").load()(
        AttributionNetwork(classifier), inputs, EXPLAINED, options
    )
    assert found.scores.shape == (2, 1, 16, 24)
    layers = [classifier.network.get_submodule(f"layer{number}") for number in (2, 3, 4)]
    for position, index in enumerate(EXPLAINED):
        target = [ClassifierOutputTarget(index)]
        maps = []
        for layer in layers:
            with LayerCAM(model=classifier.network, target_layers=[layer]) as peer:
                peer(inputs, target)
                seen = peer.activations_and_grads
                arrays = (seen.activations[0].numpy(), seen.gradients[0].numpy())
                one = peer.get_cam_image(inputs, layer, target, *arrays, False)[0]
            one = np.maximum(one, 0).astype(np.float32)
            maps.append(cv2.resize(one, (24, 16)))  # bilinear, pixels' centres as in torch
        wanted = maps[0] * (maps[1] / maps[1].max()) * (maps[2] / maps[2].max())
        mine = found.scores[position, 0].numpy()
        np.testing.assert_allclose(mine, wanted, rtol=1e-3, atol=1e-5 * float(wanted.max()))
        assert mine.any()
        # It also subtracts each layer's minimum, and multiplies at the input's resolution.
        refined = RefineCAM(classifier.network, layers, base_method=LayerCAM)
        whole = refined(inputs, target)[0]
        assert spearmanr(cv2.resize(mine, (192, 128)).ravel(), whole.ravel()).statistic > 0.9


def test_a_product_is_0_where_one_layer_finds_nothing() -> None:
    maps = [torch.rand(1, 1, 4, 4) + 0.1, torch.rand(1, 1, 2, 2) + 0.1, torch.zeros(1, 1, 1, 1)]
    assert not fused_product(maps).any()
    peak = torch.zeros(1, 1, 4, 4)
    peak[0, 0, 1, 2] = 5.0
    product = fused_product([maps[0], peak])
    assert product.nonzero().tolist() == [[0, 1, 2]]
    assert product[0, 1, 2] == maps[0][0, 0, 1, 2]


def test_a_geometric_mean_is_the_root_of_the_product() -> None:
    for count in (2, 3):
        maps = [one + 0.1 for one in CAM_MAPS[:count]]
        wanted = fused_product(maps).numpy().astype(np.float64) ** (1 / count)
        np.testing.assert_allclose(geometric_mean(maps).numpy(), wanted, rtol=1e-5)
    # Where all layers have half of their maximum, half is left of the mean's.
    halves = [torch.tensor([[[[8.0, 4.0]]]])] * 3
    np.testing.assert_allclose(geometric_mean(halves).numpy(), [[[2.0, 1.0]]], rtol=1e-6)


def test_a_layer_that_finds_nothing_has_no_veto_in_a_geometric_mean() -> None:
    one, nothing = torch.tensor([[[[4.0, 1.0, 0.0]]]]), torch.zeros(1, 1, 1, 1)
    # sqrt(4 x 1 x 0.01), sqrt(4 x 0.25 x 0.01), sqrt(4 x 0.01 x 0.01)
    np.testing.assert_allclose(geometric_mean([one, nothing]), [[[0.2, 0.1, 0.02]]], rtol=1e-6)
    assert not geometric_mean([nothing, one]).any()


def test_layers_are_fused_as_asked() -> None:
    network = AttributionNetwork(trained("resnet18"))

    def found(strides: list[int], fusion: str) -> Tensor:
        options = Options(values={"stride": strides, "fusion": fusion})
        return method_entry("layercam").load()(network, images(), EXPLAINED, options).scores

    product, mean = found([8, 16, 32], "product"), found([8, 16, 32], "geometric")
    assert product.any()
    rank = spearmanr(product.flatten(), mean.flatten()).statistic
    assert rank > 0.9
    assert not torch.allclose(mean, product)
    assert not torch.allclose(mean, found([8, 32], "geometric"))


@pytest.mark.parametrize("stride", [None, 8, [8]])
def test_a_product_needs_several_layers(stride: object) -> None:
    recipe = Recipe(method="gradcam", options={"stride": stride, "fusion": "product"})
    with pytest.raises(Ws3Error, match="fusion of the method gradcam is 'product', but needs sev"):
        check_method(recipe)


def test_gradcam_at_a_layer_weighs_by_its_mean_gradient() -> None:
    classifier = trained("resnet18")
    found = method_entry("gradcam").load()(
        AttributionNetwork(classifier), images(), EXPLAINED, Options(values={"stride": 16})
    )
    layer = classifier.network.get_submodule("layer3")
    for position, index in enumerate(EXPLAINED):
        features, gradient = reached(layer, classifier.network, images(), index)
        mean = gradient.mean(dim=(2, 3), keepdim=True)
        wanted = (mean * features).sum(dim=1).relu().float()
        torch.testing.assert_close(
            found.scores[position], wanted, rtol=1e-4, atol=1e-5 * float(wanted.max())
        )


@pytest.mark.parametrize("stride", [0, 65, 4.0, "4", True, [], [16, 4], [4, 4], [4, 0]])
def test_a_stride_that_is_no_stride_is_refused(stride: object) -> None:
    with pytest.raises(Ws3Error, match="the option stride of the method layercam is"):
        check_method(Recipe(method="layercam", options={"stride": stride}))


def test_a_recipe_takes_log_odds_and_smooth_relus_to_the_layer() -> None:
    recipe = Recipe.model_validate(
        {
            "method": "layercam",
            "target": "log_odds",
            "smooth_relu": 3.0,
            "options": {"stride": 4},
            "samples": {"kind": "scales", "scales": [1.0], "flip": True},
        }
    )
    classifier = trained("mobilenet_v2")
    classifier.network.float()
    inputs = images(1).float().numpy()
    scores, probabilities = Attributor(classifier, recipe)(inputs, EXPLAINED)
    sharp = Attributor(classifier, recipe.model_copy(update={"smooth_relu": None}))
    other, same = sharp(inputs, EXPLAINED)
    assert scores.shape == (2, 1, 16, 24)
    assert np.array_equal(probabilities, same)
    assert np.abs(scores - other).max() > 0.01 * other.max()
