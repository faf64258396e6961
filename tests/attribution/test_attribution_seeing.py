"""What networks see for random walks: attention against torch's own, similarities by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import small_network
from torch import nn
from torchvision import models

from ws3.attribution import seeing
from ws3.attribution.attention import mean_attention
from ws3.attribution.network import AttributionNetwork
from ws3.attribution.seeing import AttentionReader, SimilarityReader, reader, similar_places
from ws3.config.recipes import NetworkAffinity, RandomWalk
from ws3.errors import Ws3Error


def photograph(height=64, width=96, seed=5):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def inputs_of(classifier, image, side):
    """The network's input at a size that needs no resizing."""
    assert min(image.shape[:2]) == side
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (classifier.mean, classifier.std))
    return (pixels - mean) / std


def torch_attention(network, inputs, blocks):
    """Mean over the heads and the last blocks, as `nn.MultiheadAttention` itself tells it."""
    found = []

    def telling(own, *given, **_):
        mixed, weights = own(*given, need_weights=True, average_attn_weights=False)
        found.append(weights)
        return mixed, None

    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.forward = partial(telling, module.forward)  # type: ignore[method-assign]
    with torch.no_grad():
        network(inputs)
    return torch.stack(found[-blocks:]).mean(dim=(0, 2))[0, 1:, 1:]


@pytest.mark.parametrize("blocks", [1, 3, 4])
def test_attention_is_what_torchs_own_module_says(blocks):
    classifier, image = small_network("vit"), photograph()
    inputs = inputs_of(classifier, image, 64)
    found = mean_attention(AttributionNetwork(classifier), inputs, blocks)
    expected = torch_attention(small_network("vit").network, inputs, blocks)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    steps = AttentionReader(classifier, blocks, 0)(image)
    assert steps.grid == (4, 6)
    rows = expected / expected.sum(dim=1, keepdim=True)
    np.testing.assert_allclose(steps.matrix.toarray(), rows, atol=1e-6)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit4"])
def test_timms_transformers_are_asked_too(name):
    image = photograph()
    steps = AttentionReader(small_network(name), None, 3)(image)
    assert steps.matrix.shape == (steps.grid[0] * steps.grid[1],) * 2
    np.testing.assert_allclose(steps.matrix.sum(axis=1), 1, atol=1e-5)
    again = AttentionReader(small_network(name), None, 3)(image)
    np.testing.assert_array_equal(again.matrix.toarray(), steps.matrix.toarray())


@pytest.mark.parametrize("name", ["resnet18", "swin"])
def test_a_network_without_such_attention_is_refused_in_a_sentence(name):
    with pytest.raises(Ws3Error, match=r"^affinity: attention is for transformers .* is none; use"):
        AttentionReader(small_network(name), None, 0)


def test_a_picture_of_many_patches_is_made_smaller(monkeypatch):
    monkeypatch.setattr(seeing, "MOST_PATCHES", 20)
    rows, columns = AttentionReader(small_network("vit"), None, 0)(photograph()).grid
    assert rows * columns <= 20
    assert rows * columns >= 12
    long = AttentionReader(small_network("vit"), None, 0)(photograph(1, 3000)).grid
    assert long[0] * long[1] <= 20


def similar_by_hand(features, neighbours, least):
    vectors = features.reshape(len(features), -1).T.astype(float)
    lengths = np.linalg.norm(vectors, axis=1)
    matrix = np.zeros((len(vectors), len(vectors)))
    for i, one in enumerate(vectors):
        cosines = {
            j: one @ other / (lengths[i] * lengths[j]) if lengths[i] * lengths[j] else 0.0
            for j, other in enumerate(vectors)
            if j != i
        }
        nearest = sorted(cosines, key=lambda j: -cosines[j])[: neighbours - 1]
        matrix[i, i] = 1
        for j in nearest:
            matrix[i, j] = cosines[j] if cosines[j] > least else 0
    return matrix / matrix.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("neighbours", "least"), [(1, 0.0), (4, 0.0), (99, 0.3)])
def test_similar_places_are_those_by_hand(neighbours, least, monkeypatch):
    features = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    features[:, 1, 1] = 0
    expected = similar_by_hand(features, neighbours, least)
    for held in (1, 60, 1 << 24):  # in one block of rows, or in several
        monkeypatch.setattr(seeing, "_BLOCK", held)
        found = similar_places(torch.from_numpy(features), neighbours, least)
        np.testing.assert_allclose(found.toarray(), expected, atol=1e-6)


@settings(deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 5), st.integers(1, 5), st.integers(1, 30), st.integers(0, 9)
)
def test_rows_of_similarities_add_up_to_one(channels, height, width, neighbours, seed):
    drawn = torch.randn((channels, height, width), generator=torch.Generator().manual_seed(seed))
    found = similar_places(drawn, neighbours, 0.1 * seed)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (np.diff(found.indptr) <= neighbours).all()
    assert found.min() >= 0


def weights_of(network, path):
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.mark.parametrize("layer", [None, "layer2"])
def test_a_second_network_is_asked_for_its_features(tmp_path, layer):
    torch.manual_seed(3)
    network = models.resnet18(weights=None).eval()
    path = weights_of(network, tmp_path / "weights.pth")
    affinity = NetworkAffinity(
        network="resnet18", weights=path, layer=layer, input_size=64, neighbours=3
    )
    image, drawn = photograph(), torch.get_rng_state()
    steps = SimilarityReader(affinity)(image)
    assert torch.equal(torch.get_rng_state(), drawn)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        x = network.layer2(network.layer1(x))
        features = (x if layer else network.layer4(network.layer3(x)))[0].numpy()
    assert steps.grid == features.shape[1:]
    np.testing.assert_allclose(steps.matrix.toarray(), similar_by_hand(features, 3, 0.0), atol=1e-4)


def test_the_patches_of_a_second_transformer_are_its_places(tmp_path):
    classifier = small_network("timm:test_vit")
    path = weights_of(classifier.network, tmp_path / "weights.pth")
    affinity = NetworkAffinity(
        network="timm:test_vit", weights=path, layer="blocks.1.norm1", input_size=64
    )
    assert SimilarityReader(affinity)(photograph()).grid == (4, 6)
    wrong = affinity.model_copy(update={"layer": "blocks.9"})
    with pytest.raises(Ws3Error, match=r"has no layer 'blocks\.9'"):
        SimilarityReader(wrong)(photograph())
    lost = affinity.model_copy(update={"weights": str(tmp_path / "none.pth")})
    with pytest.raises(Ws3Error, match=r"none\.pth can't be read"):
        SimilarityReader(lost)


def test_only_a_walk_that_asks_a_network_reads_a_classifier():
    def refuse():
        raise AssertionError

    assert reader(None, refuse) is None
    assert reader(RandomWalk(), refuse) is None
    read = reader(RandomWalk(features=0.3), lambda: small_network("resnet18"))
    assert read is not None
    found = read(photograph())
    assert isinstance(found, np.ndarray)
    assert found.shape == (512, 2, 3)


_FULL_SIZE = """
import resource
import numpy as np
import torch
from torchvision import models
from ws3.aggregation.random_walk import random_walk
from ws3.attribution.seeing import AttentionReader
from ws3.classifier.model import Classifier
from ws3.config.recipes import RandomWalk

torch.set_num_threads(1)
network = models.VisionTransformer(
    image_size=224, patch_size=14, num_layers=2, num_heads=12, hidden_dim=96, mlp_dim=96
)
classifier = Classifier.from_torchvision(network, [str(i) for i in range(1000)], 518)
rng = np.random.default_rng(0)
image = rng.integers(0, 256, (375, 500, 3)).astype(np.uint8)
maps = rng.random((3, 375, 500), np.float32)
steps = AttentionReader(classifier, None, 3)(image)
assert steps.grid == (37, 49), steps.grid
random_walk(image, maps, RandomWalk(affinity="attention", steps=2, sinkhorn=3), steps)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
def test_memory_of_twelve_heads_at_full_size():
    # As each of ws3's jobs: one thread, from the start of the process.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _FULL_SIZE],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert int(done.stdout) * 1024 < 2 * 10**9
