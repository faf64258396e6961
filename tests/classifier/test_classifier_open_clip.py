"""Classifiers of CLIP's image tower and of texts, against open_clip and pytorch-grad-cam."""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_clip import TINY_CLIP, add_tiny_clip, tiny_clip

import ws3
from ws3.attribution.interface import load_method
from ws3.attribution.network import AttributionNetwork
from ws3.classifier import checkpoints
from ws3.classifier.build import build_classifier
from ws3.classifier.log_odds import LogOdds
from ws3.classifier.of_texts import classifier_of_texts, texts_for
from ws3.classifier.open_clip_networks import mismatch
from ws3.config.classifier import ClassifierConfig
from ws3.config.load import resolve_recipe
from ws3.errors import Ws3Error
from ws3.run.training_inputs import classifier_fingerprint
from ws3.stages.train_classifier import train_classifier

CLASSES = ("cat", "dog", "owl")
PROMPTS = ("a clean origami {}.", "a photo of {}")
SKY = ("sky", "grass")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a file with both towers' weights."""
    path = tmp_path_factory.mktemp("clip") / "tiny.safetensors"
    safetensors.torch.save_file(tiny_clip().state_dict(), path)
    return str(path)


def of_texts(weights, **changes):
    add_tiny_clip()
    settings = {"architecture": TINY_CLIP, "weights": weights, "train": "text", "input_size": 64}
    settings |= {"prompts": PROMPTS, "background": SKY, **changes}
    return classifier_of_texts(ClassifierConfig.model_validate(settings), CLASSES)


def images(height=64, width=64):
    return torch.randn((2, 3, height, width), generator=torch.Generator().manual_seed(5))


def text_embeddings(clip):
    """Return the mean of the prompts of each name, by CLIP's own recipe."""
    open_clip = add_tiny_clip()
    tokenizer = open_clip.get_tokenizer("tiny_clip")
    rows = []
    for name in (*CLASSES, *SKY):
        each = clip.encode_text(tokenizer([prompt.format(name) for prompt in PROMPTS]))
        each = each / each.norm(dim=1, keepdim=True)
        rows.append(each.mean(dim=0) / each.mean(dim=0).norm())
    return torch.stack(rows)


def cosines(clip, inputs, pooling):
    """Return CLIP's logits (B, classes + background)."""
    if pooling == "token":
        features = clip.encode_image(inputs)
    else:
        found = clip.visual.forward_intermediates(
            inputs, indices=1, normalize_intermediates=True, output_fmt="NLC"
        )
        features = found["image_intermediates"][-1].mean(dim=1) @ clip.visual.proj
    features = features / features.norm(dim=1, keepdim=True)
    return clip.logit_scale.exp() * features @ text_embeddings(clip).T


@pytest.mark.parametrize("pooling", ["token", "patches"])
@torch.no_grad()
def test_the_sigmoid_is_clips_softmax_over_classes_and_background(weights, pooling):
    classifier = of_texts(weights, pooling=pooling)
    expected = cosines(tiny_clip(), images(), pooling).softmax(dim=1)[:, :3]
    torch.testing.assert_close(classifier.network(images()).sigmoid(), expected)
    assert classifier.mean == (0.48145466, 0.4578275, 0.40821073)
    assert classifier.std == (0.26862954, 0.26130258, 0.27577711)


def other_size():
    """Return the same CLIP for 64 x 96 pixels, its positions resized by open_clip."""
    state = tiny_clip().state_dict()
    wide = tiny_clip(image_size=[64, 96])
    sys.modules["open_clip"].model.resize_pos_embed(state, wide)
    wide.load_state_dict(state)
    return wide


@torch.no_grad()
def test_positions_of_another_size_are_open_clips(weights):
    expected = cosines(other_size(), images(64, 96), "token").softmax(dim=1)[:, :3]
    found = of_texts(weights, pooling="token").network(images(64, 96)).sigmoid()
    torch.testing.assert_close(found, expected)


class Softmax(torch.nn.Module):
    """What CLIP-ES explains."""

    def __init__(self, clip, pooling):
        super().__init__()
        self.clip, self.pooling = clip, pooling

    def forward(self, inputs):
        return cosines(self.clip, inputs, self.pooling).softmax(dim=1)


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
@pytest.mark.parametrize("pooling", ["token", "patches"])
def test_the_preset_is_pytorch_grad_cams_map_of_the_softmax(weights, pooling, size):
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.image import scale_cam_image

    clip: Any = other_size() if size == (64, 96) else tiny_clip()
    clip.requires_grad_(True)
    # The library adds 1e-7 to a map's maximum, which gradients of a softmax may come near.
    large = 1e6
    rows, columns = size[0] // 16, size[1] // 16

    def reshape(tokens):
        return tokens[:, 1:].permute(0, 2, 1).unflatten(2, (rows, columns))

    layer = clip.visual.transformer.resblocks[-1].ln_1
    recipe = resolve_recipe("clip_gradcam", "a test")
    method, options = load_method(recipe)
    network = AttributionNetwork(of_texts(weights, pooling=pooling), log_odds=True)
    found = method(network, images(*size), [1, 2], options)
    for position, index in enumerate((1, 2)):
        with pytorch_grad_cam.GradCAM(Softmax(clip, pooling), [layer], reshape) as cam:
            wanted = cam(images(*size), [lambda out, index=index: large * out[index]] * 2)
        # Scaled before it is enlarged, and after it.
        enlarged = scale_cam_image(large * found.scores[position].numpy(), size[::-1])
        own = scale_cam_image(enlarged)
        assert wanted.max() > 0.99
        difference = np.linalg.norm(own - wanted) / np.linalg.norm(wanted)
        assert difference < 1e-4, difference
    expected = Softmax(clip, pooling)(images(*size))[:, [1, 2]]
    torch.testing.assert_close(found.probabilities, expected, rtol=1e-4, atol=1e-6)


def test_a_layer_has_open_clips_name(weights):
    network = AttributionNetwork(of_texts(weights), named_layers=True)
    maps = []
    for options in ({"layer": "visual.transformer.resblocks.2.ln_1"}, {"stride": 32}):
        recipe = resolve_recipe({"method": "gradcam", "options": options}, "a test")
        method, values = load_method(recipe)
        maps.append(method(network, images(), [1, 2], values).scores)
    assert maps[0].any()
    assert torch.equal(*maps)


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**31))
def test_log_odds_are_those_of_the_softmax_over_all_outputs(classes, others, seed):
    logits = 9 * torch.randn(
        (3, classes + others), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    if classes + others < 2:
        return
    found = LogOdds(classes, others)(logits)
    torch.testing.assert_close(found.sigmoid(), logits.softmax(dim=1)[:, :classes])


def test_a_checkpoint_needs_no_text_tower(weights, tmp_path, monkeypatch):
    made = of_texts(weights)
    path = tmp_path / "classifier.pt"
    checkpoints.save_classifier(path, made)
    open_clip = add_tiny_clip()
    monkeypatch.delattr(open_clip, "SimpleTokenizer")
    read = ws3.load_classifier(path)
    assert read.texts == made.texts
    assert read.texts is not None
    assert read.texts.background == SKY
    assert read.texts.weights == checkpoints.sha256(weights)
    assert not any("token_embedding" in name for name in read.network.state_dict())
    assert torch.equal(read.network(images()), made.network(images()))
    content = torch.load(path, weights_only=True)
    assert content["format"] == 3
    spoilt: list[tuple[dict[str, Any], str]] = [
        ({"texts": {**content["texts"], "names": ["cat"]}}, "has 1 texts for 3 classes"),
        ({"texts": {"names": 3}}, "has damaged texts; make it again"),
        ({"architecture": "resnet18"}, "has texts, but 'resnet18' reads none"),
    ]
    for change, message in spoilt:
        torch.save({**content, **change}, path)
        with pytest.raises(Ws3Error, match=message):
            ws3.load_classifier(path)


def test_a_stage_makes_it_and_another_prompt_makes_another(small_run, weights):
    add_tiny_clip()
    changes = {"architecture": TINY_CLIP, "weights": weights, "train": "text", "input_size": 64}
    made = []
    for prompt in ("a clean origami {}.", "a photo of {}"):
        run = small_run(prompt[:4].strip(), classifier={**changes, "prompts": [prompt]})
        run.classifier_file.unlink()
        train_classifier(run)
        facts = run.classifier
        assert facts.texts is not None
        assert (facts.texts.prompts, facts.epochs) == ((prompt,), 0)
        assert facts.fingerprint == classifier_fingerprint(run)
        assert facts.metrics.mean_ap is not None
        made.append(facts)
    assert made[0].fingerprint != made[1].fingerprint
    assert made[0].sha256 != made[1].sha256
    row = run.index.rows[0]
    image = ws3.read_image(row.path)
    classifier = ws3.load_classifier(run.classifier_file)
    maps = ws3.score_maps(classifier, image, row.labels, "clip_gradcam")
    assert maps.shape == (len(row.labels), 64, 64)
    assert maps.any()


def test_the_last_layer_can_be_trained_on_clips_features(small_run, weights):
    add_tiny_clip()
    settings = {"architecture": TINY_CLIP, "weights": weights, "train": "head", "input_size": 64}
    run = small_run(classifier={**settings, "epochs": 2})
    run.classifier_file.unlink()
    train_classifier(run)
    classifier = ws3.load_classifier(run.classifier_file)
    own = safetensors.torch.load_file(weights)
    state = classifier.network.state_dict()
    assert classifier.texts is None
    assert {name for name in state if not name.startswith("visual.")} == {"fc.weight", "fc.bias"}
    assert all(torch.equal(state[name], own[name]) for name in own if name.startswith("visual."))


def settings(**changes):
    given = {"architecture": "open_clip:ViT-B-16", "weights": "clip.pt", "train": "text"}
    return ClassifierConfig.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ["a photo"]}, "'a photo' needs one {}, where the name goes"),
        ({"prompts": ["{} and {}"]}, "needs one {}"),
        ({"prompts": []}, "prompts"),
        ({"prompts": ["a {}", "a {}"]}, "is listed twice"),
        ({"background": ["sky", "sky"]}, "is listed twice"),
        ({"architecture": "resnet50"}, "train: text needs a network of CLIP's, such as open_clip"),
        ({"weights": None}, "train: text needs the file of CLIP's weights"),
        ({"weights": "imagenet"}, "train: text needs the file of CLIP's weights"),
        ({"train": "all", "pooling": "token"}, "pooling is for train: text alone"),
        ({"train": "head", "background": []}, "background is for train: text alone"),
        ({"output_stride": 16}, "output_stride: a network of CLIP's has its own"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


def test_settings_without_texts_keep_their_fingerprint():
    dumped = ClassifierConfig.model_validate({}).model_dump(mode="json")
    assert not {"prompts", "class_prompts", "background", "pooling", "train"} & set(dumped)


def test_classes_are_no_background_and_codes_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        found = texts_for(settings(), ["Tree", "traffic_light", "n01440764"], "")
    assert found.names == ("Tree", "traffic light", "n01440764")
    assert "tree" not in found.background
    assert len(found.background) == 24
    assert "left out, as it is a class: tree" in caplog.text
    assert "n01440764 reads like a code" in caplog.text


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        ({"class_prompts": {"cow": "a cow"}}, ["cat"], "has no class 'cow'; it has: cat"),
        ({"class_prompts": {"a": "cat"}}, ["a", "cat"], "a and cat both read 'cat'; give each"),
        ({"background": []}, ["cat"], "nothing to tell the only class from"),
    ],
)
def test_texts_that_tell_nothing_apart_are_refused(changes, classes, message):
    with pytest.raises(Ws3Error, match=message):
        texts_for(settings(**changes), classes, "")


def test_weights_that_do_not_fit_are_one_sentence(weights, tmp_path):
    state = tiny_clip().state_dict()
    path = tmp_path / "other.pt"
    visual = {name: value for name, value in state.items() if name.startswith("visual.")}
    torch.save(visual, path)
    with pytest.raises(Ws3Error, match=r"other.pt doesn't fit .* give weights of both towers"):
        of_texts(str(path))
    torch.save({"state_dict": {f"module.{name}": one.half() for name, one in state.items()}}, path)
    assert torch.isfinite(of_texts(str(path)).network(images())).all()
    with pytest.raises(Ws3Error, match=r"has 39 tokens, and CLIP reads 20; shorten it"):
        of_texts(weights, prompts=["a {} and" + " so on" * 17])


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_program_is_never_run(tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(Ws3Error, match=r"ViT-B-16.pt is damaged or holds Python objects, which"):
        checkpoints.read_state(path)


def test_another_activation_is_told(tmp_path, monkeypatch, caplog):
    open_clip = add_tiny_clip()
    path = tmp_path / "mine.pt"
    extra = {"input_resolution": torch.tensor(64), "vocab_size": torch.tensor(49408)}
    torch.save({**tiny_clip().state_dict(), **extra}, path)
    of_texts(str(path))  # as OpenAI's, and for QuickGELU
    plain = {**open_clip.get_model_config("tiny_clip"), "quick_gelu": False}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "plain_clip", plain)
    with pytest.raises(Ws3Error, match=r"mine.pt holds OpenAI's .* open_clip:plain_clip-quickgelu"):
        of_texts(str(path), architecture="open_clip:plain_clip")
    for architecture, file, told in (
        ("ViT-B-16", "vit_base_patch16_clip_224.openai.safetensors", "ViT-B-16-quickgelu"),
        ("ViT-B-16-quickgelu", "vit_b_16-laion400m_e31-00efa78f.pt", "is GELU; use open_clip:ViT"),
        ("ViT-B-16", "vit_b_16-laion400m_e31-00efa78f.pt", ""),
        ("ViT-B-16-quickgelu", "openai.pt", ""),
        ("ViT-L-14", "laion2b_s32b_b82k.bin", "a mean colour of (0.5, 0.5, 0.5)"),
        ("ViT-B-16", "weights.pt", ""),
    ):
        found = mismatch(f"open_clip:{architecture}", file)
        assert (told in found) if told else not found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B16", r"has no network 'ViT-B16'; did you mean .*open_clip:ViT-B-16"),
        ("hf-hub:someone/thing", "has no network 'hf-hub:someone/thing'"),
        ("RN50", "is not supported, as its towers are not those"),
        ("ViT-B-16-SigLIP", "is not supported"),
        ("ViT-L-14-CLIPA", "is not supported"),
    ],
)
def test_other_networks_are_refused(name, message):
    add_tiny_clip()
    with pytest.raises(Ws3Error, match=message):
        build_classifier(f"open_clip:{name}", CLASSES, 64)


def test_without_open_clip_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(Ws3Error, match=r"ViT-B-16 is .* pip install 'ws3-seg\[clip\]'$"):
        build_classifier("open_clip:ViT-B-16", CLASSES, 64)
