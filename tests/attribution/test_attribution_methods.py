"""Methods against Captum, pytorch-grad-cam and algebra, called plainly: one sample, one class."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.fx
from captum.attr import (
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
)
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr
from small_networks import small_network
from torch import Tensor, nn

from ws3.attribution import captum_methods
from ws3.attribution.channels import reduce_channels
from ws3.attribution.interface import Options
from ws3.attribution.network import AttributionNetwork
from ws3.attribution.smooth_relu import SmoothReLU, with_smooth_relu
from ws3.classifier import networks
from ws3.classifier.build import build_classifier
from ws3.classifier.model import Classifier
from ws3.config.methods import OWN_METHODS, check_method, method_entry
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error

CLASSES = [2, 0]
ALL = list(OWN_METHODS)


def _classifier(architecture: str, dtype: torch.dtype = torch.float64) -> Classifier:
    """Make a network whose batch norms are not idle, as if it had been trained."""
    torch.manual_seed(4)
    classifier = build_classifier(architecture, ("a", "b", "c", "d"), 64)
    network = classifier.network
    with torch.no_grad():
        network.train()
        for _ in range(8):
            network(torch.randn(4, 3, 64, 64))
    network.eval().to(dtype)
    return classifier


def _network_for(method: str, **options: Any) -> AttributionNetwork:
    """Return a network that a method explains: a small transformer where it looks at attention."""
    attends = method.startswith("attention_") or method in ("legrad", "ag_cam")
    return AttributionNetwork(_single(attends=attends), **options)


@cache
def _single(*, attends: bool) -> Classifier:
    return small_network("vit") if attends else _classifier("resnet18", torch.float32)


@pytest.fixture(scope="module")
def resnet() -> Classifier:
    return _classifier("resnet18")


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm())


def _one_by_one(inputs: Tensor, values: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Return (classes, B, H, W): maxima of absolute values, from one sample and class a call."""
    maps = [
        [values(sample[None].clone(), index).detach()[0].abs().amax(0) for sample in inputs]
        for index in CLASSES
    ]
    return torch.stack([torch.stack(row) for row in maps])


def _unreused(network: nn.Module) -> nn.Module:
    """Give each block of a ResNet a second ReLU, by hand."""
    result = copy.deepcopy(network)
    for name, block in result.named_modules():
        if name.startswith("layer") and name.count(".") == 1:
            first, second = nn.ReLU(), nn.ReLU()

            def forward(x: Tensor, block=block, first=first, second=second) -> Tensor:
                inner = block.bn2(block.conv2(first(block.bn1(block.conv1(x)))))
                return second(inner + (x if block.downsample is None else block.downsample(x)))

            block.add_module("first", first)
            block.add_module("second", second)
            block.forward = forward
    result.relu = nn.ReLU()
    return result


def _plain(method: str, network: nn.Module) -> Callable[[Tensor, int], Tensor]:
    match method:
        case "gradient":
            return lambda x, c: Saliency(network).attribute(x, target=c, abs=False)
        case "input_x_gradient":
            return lambda x, c: InputXGradient(network).attribute(x, target=c)
        case "guided_backprop":
            return lambda x, c: GuidedBackprop(_unreused(network)).attribute(x, target=c)
        case "integrated_gradients":
            return lambda x, c: IntegratedGradients(network).attribute(x, target=c, n_steps=5)
        case _:
            return lambda x, c: Occlusion(network).attribute(
                x, target=c, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16)
            )


VALUES: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 5},
    "occlusion": {"window": 0.5, "stride": 0.25},
    "lrp": {"rule": "epsilon_plus", "epsilon": 1e-7},
}


@pytest.mark.filterwarnings("ignore:Setting:UserWarning")
@pytest.mark.filterwarnings("ignore:Input Tensor:UserWarning")
@pytest.mark.parametrize(
    "method",
    [
        "gradient",
        "input_x_gradient",
        "guided_backprop",
        "integrated_gradients",
        "occlusion",
    ],
)
def test_captum_agrees(method: str, resnet: Classifier, inputs: Tensor) -> None:
    options = Options("max", "abs", VALUES.get(method, {}))
    expected = _one_by_one(inputs, _plain(method, resnet.network))
    logits = resnet.network(inputs).detach()
    network = AttributionNetwork(resnet)  # in float64, folding has no ReLU to flip
    found = method_entry(method).load()(network, inputs, CLASSES, options)
    assert found.scores.dtype == torch.float32
    assert found.scores.shape == (2, 3, 64, 64)
    assert _distance(found.scores, expected) <= 1e-4
    assert found.probabilities.shape == (3, 2)
    torch.testing.assert_close(
        found.probabilities, logits[:, CLASSES].sigmoid().float(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:Input Tensor:UserWarning")
def test_the_folded_float32_gradient_is_close(inputs: Tensor) -> None:
    classifier = _classifier("resnet18", torch.float32)
    expected = _one_by_one(inputs.float(), _plain("gradient", classifier.network))
    found = (
        method_entry("gradient")
        .load()(AttributionNetwork(classifier), inputs.float(), CLASSES, Options())
        .scores
    )
    assert _distance(found, expected) <= 3e-2
    assert spearmanr(found.flatten(), expected.flatten()).statistic >= 0.999


def _with_biases(classifier: Classifier) -> Classifier:
    """Make the baseline's signal differ from place to place: torchvision's VGG has no biases."""
    generator = torch.Generator().manual_seed(7)
    for module in classifier.network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            noise = torch.randn(module.bias.shape, generator=generator)
            module.bias.data += 0.3 * noise.to(module.bias)
    return classifier


def _pooled_multipliers(
    pool: nn.MaxPool2d, x: np.ndarray, ref: np.ndarray, multipliers: np.ndarray
) -> np.ndarray:
    """Apply DeepLIFT's rule of max pooling, window by window."""
    kernel, stride, padding = (
        value if isinstance(value, int) else value[0]
        for value in (pool.kernel_size, pool.stride, pool.padding)
    )
    parts, gradient = np.zeros_like(x), np.zeros_like(x)
    for channel, row, column in np.ndindex(*multipliers.shape):
        top, left = row * stride - padding, column * stride - padding
        rows = slice(max(top, 0), top + kernel)
        columns = slice(max(left, 0), left + kernel)
        window, ref_window = x[channel, rows, columns], ref[channel, rows, columns]
        change = window.max() - ref_window.max()
        chosen = window if change > 0 else ref_window
        m = multipliers[channel, row, column]
        place = np.unravel_index(chosen.argmax(), chosen.shape)
        parts[channel, rows, columns][place] += m * change
        gradient[channel, rows, columns][np.unravel_index(window.argmax(), window.shape)] += m
    difference = x - ref
    return np.where(difference == 0, gradient, parts / np.where(difference == 0, 1, difference))


def _deeplift_by_hand(network: nn.Module, x: Tensor, baseline: Tensor, target: int) -> Tensor:
    """Return the contributions of one sample: multipliers, from node to node."""
    graph = torch.fx.symbolic_trace(copy.deepcopy(network))
    modules = dict(graph.named_modules())
    values: dict[torch.fx.Node, Tensor] = {}

    def output_of(node: torch.fx.Node, *tensors: Tensor) -> Tensor:
        given = dict(zip(node.all_input_nodes, tensors, strict=True))
        arguments = torch.fx.node.map_arg(node.args, given.__getitem__)
        keywords = torch.fx.node.map_arg(node.kwargs, given.__getitem__)
        if node.op == "call_module":
            module = modules[str(node.target)]
            return module(tensors[0].clone(), *arguments[1:], **keywords)
        if node.op == "call_method":
            return getattr(arguments[0], str(node.target))(*arguments[1:], **keywords)
        return node.target(*arguments, **keywords)

    order = [node for node in graph.graph.nodes if node.op not in ("output", "get_attr")]
    both = torch.cat([x, baseline])
    with torch.no_grad():
        for node in order:
            given = [values[one] for one in node.all_input_nodes]
            values[node] = both if node.op == "placeholder" else output_of(node, *given)
    multipliers: dict[torch.fx.Node, Tensor] = {}
    logits = values[order[-1]]
    multipliers[order[-1]] = nn.functional.one_hot(torch.tensor([target]), logits.shape[1]).double()
    for node in reversed(order):
        if node.op == "placeholder":
            continue
        m, given = multipliers[node], [values[one] for one in node.all_input_nodes]
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.ReLU):
            change = given[0][:1] - given[0][1:]
            rescaled = (values[node][:1] - values[node][1:]) / change.where(change != 0, 1)
            gradients = [m * torch.where(change != 0, rescaled, (given[0][:1] > 0).double())]
        elif isinstance(module, nn.MaxPool2d):
            sample, ref = given[0].numpy()
            here = _pooled_multipliers(module, sample, ref, m[0].numpy())
            gradients = [torch.from_numpy(here)[None]]
        else:  # linear, or affine
            leaves = [one[:1].clone().requires_grad_() for one in given]
            gradients = list(torch.autograd.grad(output_of(node, *leaves), leaves, m))
        for source, gradient in zip(node.all_input_nodes, gradients, strict=True):
            multipliers[source] = multipliers.get(source, torch.zeros(())) + gradient
    return multipliers[order[0]] * (x - baseline)


NETWORKS_WITH_POOLING = ("alexnet", "vgg11", "vgg11_bn", "resnet18", "densenet121")


@pytest.mark.filterwarnings("ignore:Setting:UserWarning")
@pytest.mark.filterwarnings("ignore:Input Tensor:UserWarning")
@pytest.mark.parametrize("architecture", ["alexnet", "vgg11", "vgg11_bn", "resnet18"])
def test_deeplift_agrees_with_multipliers_by_hand(architecture: str, inputs: Tensor) -> None:
    classifier = _with_biases(_classifier(architecture))
    # Not one colour: its windows would have several largest values but for rounding.
    sample, baseline = inputs[:1], 0.5 * inputs[1:2]
    expected = _deeplift_by_hand(classifier.network, sample, baseline, 2)
    rectified = captum_methods.rectified(AttributionNetwork(classifier), captum_methods.RescaledCap)
    found = DeepLift(rectified).attribute(sample, baseline, target=2)
    assert _distance(found, expected) <= 1e-6


@pytest.mark.filterwarnings("ignore:Setting:UserWarning")
@pytest.mark.filterwarnings("ignore:Input Tensor:UserWarning")
@pytest.mark.parametrize("architecture", ["mobilenet_v2", "regnet_x_400mf", *NETWORKS_WITH_POOLING])
def test_deeplift_contributions_sum_to_the_difference(architecture: str, inputs: Tensor) -> None:
    classifier = _with_biases(_classifier(architecture))
    if architecture == "mobilenet_v2":  # reach ReLU6's cap
        for module in classifier.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data *= 4
    network = AttributionNetwork(classifier)
    with torch.no_grad():
        change = network(inputs) - network(torch.zeros_like(inputs))
    rectified = captum_methods.rectified(network, captum_methods.RescaledCap)
    values = DeepLift(rectified).attribute(inputs, target=1)
    torch.testing.assert_close(values.sum(dim=(1, 2, 3)), change[:, 1], rtol=1e-5, atol=1e-8)


def test_guided_backprop_stops_negative_gradients_at_relu6(inputs: Tensor) -> None:
    classifier = _classifier("mobilenet_v2")

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(0, 6)

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return gradient.relu() * ((x > 0) & (x < 6))

    for module in classifier.network.modules():  # reach ReLU6's cap
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data *= 4
    reference = copy.deepcopy(classifier.network)
    for module in reference.modules():
        if isinstance(module, nn.ReLU6):
            setattr(module, "forward", Guided.apply)  # noqa: B010 (a method, to mypy)
    leaf = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reference(leaf)[:, 1].sum(), leaf)
    found = method_entry("guided_backprop").load()(
        AttributionNetwork(classifier), inputs, [1], Options()
    )
    assert _distance(found.scores[0], gradient.abs().amax(1)) <= 1e-6


@pytest.mark.parametrize("method", ["guided_backprop", "deeplift"])
@pytest.mark.parametrize("architecture", ["mobilenet_v3_small", "convnext_tiny", "regnet_y_400mf"])
def test_networks_without_a_rule_are_refused(method: str, architecture: str) -> None:
    network = AttributionNetwork(_classifier(architecture, torch.float32))
    with pytest.raises(Ws3Error, match=f"for networks of ReLUs, but {architecture} has"):
        method_entry(method).load()(network, torch.zeros(1, 3, 64, 64), [0], Options())


def test_cam_is_the_features_times_the_head(resnet: Classifier, inputs: Tensor) -> None:
    network = AttributionNetwork(resnet)
    features = networks.backbone(resnet.network)(inputs)
    weight = resnet.network.fc.weight
    raw = (features[:, None] * weight[None, :, :, None, None]).sum(2)  # (B, classes, h, w)
    # Exactness: the logits are the means of the maps and the bias.
    torch.testing.assert_close(
        raw.mean(dim=(2, 3)) + resnet.network.fc.bias, resnet.network(inputs)
    )
    cam = method_entry("cam").load()(network, inputs, CLASSES, Options()).scores
    assert _distance(cam, raw[:, CLASSES].transpose(0, 1).relu()) < 1e-6
    gradcam = method_entry("gradcam").load()(network, inputs, CLASSES, Options()).scores
    assert _distance(gradcam * features[0, 0].numel(), cam) < 1e-6


def test_cam_needs_a_linear_head() -> None:
    network = AttributionNetwork(_classifier("mobilenet_v3_small", torch.float32))
    images = torch.zeros(1, 3, 64, 64)
    with pytest.raises(Ws3Error, match="mobilenet_v3_small ends otherwise; use the method gradcam"):
        method_entry("cam").load()(network, images, [0], Options())
    assert method_entry("gradcam").load()(network, images, [0], Options()).scores.shape == (
        1,
        1,
        2,
        2,
    )


@pytest.mark.parametrize(
    ("method", "peer"),
    [("gradcam", GradCAM), ("gradcam++", GradCAMPlusPlus), ("layercam", LayerCAM)],
)
@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small"])
def test_pytorch_grad_cam_agrees(method: str, peer: type, architecture: str) -> None:
    classifier = _classifier(architecture)
    # Large weights, for the constant that the peer adds to Grad-CAM++'s denominators.
    linear = list(classifier.head.modules())[-1]
    linear.get_parameter("weight").data *= 1e4
    if architecture == "mobilenet_v3_small":  # the paper and the peer take features after a ReLU
        classifier.network.features.add_module("relu", nn.ReLU())
    images = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(2)).double()
    found = (
        method_entry(method)
        .load()(AttributionNetwork(classifier), images, CLASSES, Options())
        .scores
    )
    target_layer = networks.backbone(classifier.network)[-1]
    for position, index in enumerate(CLASSES):
        for number, image in enumerate(images):
            target = [ClassifierOutputTarget(index)]
            with peer(model=classifier.network, target_layers=[target_layer]) as cam:
                cam(image[None], target)
                expected = cam.get_cam_image(
                    image[None],
                    target_layer,
                    target,
                    cam.activations_and_grads.activations[0].numpy(),
                    cam.activations_and_grads.gradients[0].numpy(),
                    False,
                )[0]
            positive = torch.from_numpy(np.maximum(expected, 0)).float()
            torch.testing.assert_close(
                found[position, number], positive, rtol=1e-4, atol=1e-6 * np.abs(expected).max()
            )
    assert found.any()


@pytest.mark.parametrize("method", ALL)
def test_a_sample_does_not_depend_on_its_neighbours(method: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = _network_for(method)
        generator = torch.Generator().manual_seed(7)
        first, second = torch.randn(2, 4, 3, 64, 64, generator=generator)
        second[2] = first[2]
        options = Options("l2", "positive", VALUES.get(method, {}))
        found = method_entry(method).load()(network, first, CLASSES, options)
        again = method_entry(method).load()(network, second, CLASSES, options)
        assert torch.equal(found.scores[:, 2], again.scores[:, 2])
        assert torch.equal(found.probabilities[2], again.probabilities[2])
        assert not torch.equal(found.scores[:, 1], again.scores[:, 1])
        # Nor does a class depend on the other classes.
        alone = method_entry(method).load()(network, first, CLASSES[1:], options)
        assert torch.equal(alone.scores[0], found.scores[1])
        assert not found.scores.requires_grad
        assert float(found.scores.min()) >= 0
        assert float(found.scores.max()) > 0
    finally:
        torch.set_num_threads(threads)


def test_the_classifier_is_left_alone(resnet: Classifier, inputs: Tensor) -> None:
    before = copy.deepcopy(resnet.network.state_dict())
    network = AttributionNetwork(resnet)
    assert not any(p.requires_grad for p in network.backbone.parameters())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.backbone.modules())
    method_entry("gradient").load()(network, inputs, [0], Options())
    assert all(torch.equal(v, before[n]) for n, v in resnet.network.state_dict().items())
    assert all(p.requires_grad for p in resnet.network.parameters())
    assert not inputs.requires_grad


def test_normalise(resnet: Classifier) -> None:
    images = torch.rand(1, 3, 2, 2).double()
    found = AttributionNetwork(resnet).normalise(images)
    assert found[0, 1, 0, 1].item() == pytest.approx((images[0, 1, 0, 1].item() - 0.456) / 0.224)


class _ByHand(nn.Module):
    """The log-odds of each class, written out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        powers = self.network(inputs).exp()
        return (powers / (powers.sum(dim=1, keepdim=True) - powers)).log()


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not:UserWarning")
@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "integrated_gradients"])
def test_a_contrast_is_the_log_odds_against_all_other_classes(resnet, inputs, method):
    network = AttributionNetwork(resnet, log_odds=True)
    found = method_entry(method).load()(
        network, inputs, CLASSES, Options(values=VALUES.get(method, {}))
    )
    expected = _one_by_one(inputs, _plain(method, _ByHand(resnet.network)))
    assert _distance(found.scores, expected) < 1e-6
    softmax = resnet.network(inputs).softmax(dim=1)[:, CLASSES].detach().float()
    torch.testing.assert_close(found.probabilities, softmax)


@pytest.mark.parametrize("method", [name for name in ALL if OWN_METHODS[name].log_odds])
def test_every_other_method_explains_contrasts_too(inputs, method):
    without, with_others = [
        method_entry(method)
        .load()(
            _network_for(method, log_odds=log_odds),
            inputs.float(),
            CLASSES,
            Options(values=VALUES.get(method, {})),
        )
        .scores
        for log_odds in (False, True)
    ]
    assert not torch.allclose(without, with_others)
    assert torch.isfinite(without).all()
    assert torch.isfinite(with_others).all()


def test_a_contrast_needs_a_second_class(resnet):
    single = copy.copy(resnet)
    object.__setattr__(single, "classes", ("a",))
    with pytest.raises(Ws3Error, match="the classifier has only one"):
        AttributionNetwork(single, log_odds=True)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"method": "cam", "target": "log_odds"}, "cam has no target: log_odds; .* it: gradcam, "),
        ({"method": "deeplift", "target": "log_odds"}, "deeplift has no target: log_odds"),
        (
            {"method": "gradcam", "smooth_relu": 3},
            "have it: layercam, gradient, input_x_gradient, integrated_gradients$",
        ),
    ],
)
def test_what_a_method_cannot_do_is_refused_before_anything_runs(recipe, message):
    with pytest.raises(Ws3Error, match=message):
        check_method(Recipe(**recipe))


class _Softplus(nn.Module):
    """ReLU whose gradient autograd takes from softplus."""

    def forward(self, inputs: Tensor) -> Tensor:
        smooth = nn.functional.softplus(inputs, beta=3.0, threshold=1e9)
        return inputs.relu().detach() + smooth - smooth.detach()


def test_a_smooth_relu_has_the_derivative_of_softplus(resnet, inputs):
    smooth = AttributionNetwork(resnet, smooth_relu=3.0)
    found = method_entry("gradient").load()(smooth, inputs, CLASSES, Options()).scores
    by_hand = _unreused(resnet.network)
    for block in by_hand.modules():
        for name, child in list(block.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(block, name, _Softplus())
    by_hand.relu = _Softplus()
    for block in [
        block
        for layer in range(1, 5)
        for block in by_hand.get_submodule(f"layer{layer}").children()
    ]:
        block.forward = partial(_forward_with, block)
    expected = _one_by_one(inputs, _plain("gradient", by_hand))
    assert _distance(found, expected) < 1e-6
    torch.testing.assert_close(smooth(inputs), resnet.network(inputs))


def _forward_with(block: nn.Module, x: Tensor) -> Tensor:
    inner = block.bn2(block.conv2(block.first(block.bn1(block.conv1(x)))))
    return block.second(inner + (x if block.downsample is None else block.downsample(x)))


@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU6()])
def test_a_very_sharp_smooth_relu_is_the_relu(relu):
    values = torch.linspace(-3, 9, 50, dtype=torch.float64)
    slopes = []
    for module in (relu, with_smooth_relu(nn.Sequential(copy.deepcopy(relu)), 1e6, "test")):
        leaf = values.clone().requires_grad_()
        slopes.append(torch.autograd.grad(module(leaf).sum(), leaf)[0])
    torch.testing.assert_close(slopes[0], slopes[1])


def test_a_capped_smooth_relu_has_the_derivative_of_its_formula():
    leaf = torch.linspace(-3, 9, 50, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(SmoothReLU(6.0, 2.0)(leaf).sum(), leaf)
    formula = ((1 + (2 * leaf).exp()).log() - (1 + (2 * leaf - 12).exp()).log()) / 2
    (expected,) = torch.autograd.grad(formula.sum(), leaf)
    torch.testing.assert_close(found, expected)


def test_smooth_relus_need_relus():
    with pytest.raises(Ws3Error, match="a toy has none; leave it out"):
        with_smooth_relu(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), 3.0, "a toy")


def test_net_lets_channels_cancel():
    values = torch.tensor([[1.0, -3.0, 1.0], [2.0, -2.0, 0.0]]).view(2, 3, 1, 1)
    assert reduce_channels(values, "net", "abs").flatten().tolist() == [1.0, 0.0]
    assert reduce_channels(-values, "net", "positive").flatten().tolist() == [1.0, 0.0]
    assert reduce_channels(values, "sum", "abs").flatten().tolist() == [5.0, 4.0]
