"""The methods of a run in words: numbers of the configuration, references that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import classifier_facts, segmentation_facts

from ws3.config.classifier import Texts
from ws3.config.load import resolve
from ws3.config.methods import OWN_METHODS
from ws3.config.presets import PRESETS
from ws3.masks.crf import PRESETS as CRFS
from ws3.report.html import write_report
from ws3.report.methods import MethodFacts, describe, network_title, programs_of
from ws3.report.references import REFERENCES, reference_of
from ws3.run.records import ClassifierMetrics, Threshold
from ws3.segmentation import data as segmentation_data
from ws3.segmentation import training as segmentation_training

CONFIG: dict[str, Any] = {
    "run": "small",
    "device": "cpu",
    "seed": 41,
    "dataset": {"kind": "voc", "root": "/data/VOC2012"},
    "classifier": {
        **{"architecture": "resnet50", "weights": "imagenet", "epochs": 7, "batch_size": 12},
        **{"learning_rate": 0.003, "backbone_rate": 0.25, "input_size": 288},
    },
    "recipes": {
        "cam": {"preset": "cam_multiscale"},
        "crops": {
            "preset": "gradient_crops",
            "samples": {"count": 37, "side": [0.31, 0.87]},
        },
    },
    "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
    "segmentation": {
        **{"recipes": ["crops"], "architecture": "deeplabv3_resnet101", "weights": "imagenet"},
        **{"epochs": 13, "batch_size": 6, "learning_rate": 0.007, "crop_size": 353},
        **{"test_scales": [0.75, 1.25]},
    },
}


def facts(**changes: Any) -> MethodFacts:
    made = classifier_facts(
        architecture="resnet50",
        epochs=7,
        input_size=288,
        metrics=ClassifierMetrics(split="val", mean_ap=0.876, per_class_ap={}),
    )
    threshold = {"kind": "constant", "score": 0.274}
    values: dict[str, Any] = {
        "classes": ("cat", "dog"),
        "images": {"train": 10582, "val": 1449},
        "mapped": 10582,
        "classifier": made,
        "thresholds": (
            Threshold(recipe="cam", background=threshold, kind="tuned", split="train", images=99),
        ),
        "networks": {"crops": segmentation_facts(images=10500)},
        "precisions": {"cam": "fp32"},
        "versions": {"ws3": "0.2.0", "torch": "2.15.0"},
        "commit": "0123456789abcdef",
        "has_intervals": True,
        "checked_images": 4,
    }
    return MethodFacts(**{**values, **changes})


def text_of(config: dict[str, Any], **changes: Any) -> str:
    return describe(resolve(config), facts(**changes)).plain()


def test_the_numbers_of_the_configuration_stand_in_the_text() -> None:
    text = text_of(CONFIG)
    for words in (
        "2 classes (cat and dog) and 10,582 training and 1,449 validation images",
        "except by the background threshold, which was tuned on masks of the train split.",
        "ResNet-50",
        "for 7 epochs of batches of 12 images",
        "rises to 0.003 for the head and to 0.00075 for the backbone",
        "288 \N{MULTIPLICATION SIGN} 288 pixels",
        "87.6 % on the val split",
        "0.5, 1, 1.5 and 2 times the network's input and their mirror images",
        "37 random square crops of each image, their side 31 % to 87 % of its short side",
        "the 99th percentile of each map to 1",
        "on 99 training images with ground truth: 0.274 for cam",
        "for 13 epochs in batches of 6",
        "a learning rate of 0.007",
        "353 \N{MULTIPLICATION SIGN} 353 pixels",
        "on the pseudo-masks of crops (10,500 images)",
        "averages over the image at 0.75 and 1.25 times its size and its mirror image",
        "2,000 bootstrap samples",
        "On 4 images, the maps were compared",
        "ws3 (0.2.0, commit 0123456789ab) with PyTorch 2.15.0",
        "the seed 41",
        "in fp32",
    ):
        assert words in " ".join(text.split()), words


def test_the_numbers_of_the_crf_are_those_of_its_preset() -> None:
    for name, crf in CRFS.items():
        text = text_of({**CONFIG, "masks": {"crf": name}})
        expected = (
            f"appearance: standard deviations {crf.bilateral_sxy:g} pixels and "
            f"{crf.bilateral_srgb:g} of 255 levels of colour, weight {crf.bilateral_compat:g}; "
            f"{crf.iterations} iterations of mean-field inference"
        )
        assert expected in text
        assert "Kr\N{LATIN SMALL LETTER A WITH DIAERESIS}henb" in text
    without = text_of({**CONFIG, "masks": {"crf": "none"}})
    assert "CRF [" not in without
    assert "Efficient Inference in Fully Connected CRFs" not in without


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"background": {"kind": "constant", "score": 0.37}}, "The threshold is 0.37 for all"),
        ({"background": {"kind": "power", "alpha": 6}}, "to the power of 6"),
        ({"background": {"kind": "auto", "object_share": 0.3}}, "mark 30 % of the training"),
        ({"ignore_below": 0.7}, "confidence below 0.7 were ignored"),
        ({"regions": {"kind": "slic", "number": 250}}, "about 250 superpixels (SLIC"),
        ({"regions": {"kind": "slic", "vote": "merge"}}, "by the rule of SEPL ["),
    ],
)
def test_how_masks_are_cut_is_said(change: dict[str, Any], said: str) -> None:
    assert said in text_of({**CONFIG, "masks": change})


def test_each_method_can_be_told_with_the_options_that_it_has() -> None:
    options: dict[str, dict[str, Any]] = {
        "layercam": {"stride": [4, 16], "fusion": "product"},
        "gradient": {"layer": "layer3"},
        "integrated_gradients": {"steps": 17},
        "occlusion": {"window": 0.25, "stride": 0.125},
    }
    said = {
        "layercam": "at the last layers of strides 4 and 16, multiplied",
        "gradient": "of the class's logit at the layer layer3",
        "integrated_gradients": "in 17 steps from the mean colour",
        "lrp": "layer-wise relevance propagation [",
        "occlusion": "a window of 25 % of the input's side, in steps of 12.5 %",
    }
    for method in OWN_METHODS:
        recipe = {"method": method, "options": options.get(method, {})}
        text = text_of({**CONFIG, "recipes": {"cam": recipe}, "segmentation": {}})
        assert said.get(method, "") in text
        assert "of stride" not in text or method == "layercam"
        assert "None" not in text


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (
            {"kind": "noise", "count": 9, "noise": 0.2},
            "9 noisy copies of each image, with Gaussian",
        ),
        (
            {"kind": "masking", "count": 9},
            "squares of 12.5 % of the input's side are hidden with a",
        ),
        (
            {"kind": "sliding", "scales": [1, 2]},
            "windows that slide over the image at 1 and 2 times",
        ),
        ({"kind": "full", "flip": True}, "averaged over the image and its mirror image"),
        ({"kind": "full"}, "taken of the image once"),
        (
            {"kind": "crops", "count": {"max": 40, "tolerance": 0.1}, "whole_image": [0.7, 1]},
            "at most 40 (as many as bring the expected relative error of the mean below 0.1)",
        ),
    ],
)
def test_each_kind_of_samples_can_be_told(samples: dict[str, Any], said: str) -> None:
    recipe = {"method": "gradient", "samples": samples}
    config = {**CONFIG, "recipes": {"cam": recipe}, "segmentation": {}}
    assert said in text_of(config)


def test_a_second_round_and_a_network_of_another_library_are_said() -> None:
    recipes = {**CONFIG["recipes"], "second": {"network": "crops"}}
    segmentation = {"recipes": ["crops"], "architecture": "smp:Unet:resnet34"}
    config = {**CONFIG, "recipes": recipes, "segmentation": segmentation}
    text = text_of(config)
    assert "second: what the segmentation network that the masks of crops trained makes" in text
    assert re.search(
        r"Unet of segmentation_models_pytorch \[\d+\] with the encoder ResNet-34", text
    )
    assert "segmentation-models-pytorch" in programs_of(resolve(config))


def test_how_scores_walk_is_said() -> None:
    walks: list[tuple[dict[str, Any], str]] = [
        ({}, "a random walk of 64 steps between pixels of like colour within 5 cells of 4"),
        ({"features": 0.5}, "of like colour and features"),
        (
            {"affinity": "attention", "blocks": 8, "box": 0.4},
            "of 1 step along the attention of the last 8 blocks [",
        ),
        (
            {"affinity": {"network": "resnet50", "weights": "w.pth"}},
            "of 2 steps between places of like features of ResNet-50",
        ),
    ]
    for walk, said in walks:
        recipe = {"method": "gradcam", "aggregation": {"random_walk": walk}}
        text = text_of({**CONFIG, "recipes": {"cam": recipe}, "segmentation": {}})
        assert said in text
        assert ("40 % of the maximum" in text) == ("box" in walk)


def test_what_confidence_did_in_the_training_is_said() -> None:
    segmentation = {"recipes": ["crops"], "ignore_below": {"precision": 0.95}}
    config = {
        **CONFIG,
        "masks": {"confidence": True},
        "segmentation": {**segmentation, "pixel_weights": "confidence"},
    }
    cut = segmentation_facts(images=10500, ignore_below=0.625)
    text = text_of(config, networks={"crops": cut})
    assert "below a cut (0.625), where 95 % of the pixels kept are right on training" in text
    assert "Each pixel counted in the loss as much as it was confident." in text
    assert "except by the cut of the masks' confidence" in text


def test_without_ground_truth_nothing_is_said_to_have_used_it() -> None:
    masks = {"background": {"kind": "auto"}}
    assert "only image-level labels were used." in text_of({**CONFIG, "masks": masks})


def test_a_classifier_that_was_brought_along_was_not_trained() -> None:
    brought = classifier_facts(architecture="vgg16", epochs=None, input_size=224)
    text = text_of(CONFIG, classifier=brought)
    assert "We took VGG-16 [" in text
    assert "AdamW" not in text


def test_a_classifier_of_texts_was_not_trained() -> None:
    settings = {"architecture": "open_clip:ViT-B-16", "weights": "clip.pt", "train": "text"}
    texts = Texts(
        prompts=("a photo of {}",),
        names=("cat", "dog"),
        background=("sky",),
        pooling="token",
        weights="ab",
    )
    classifier = classifier_facts(architecture="open_clip:ViT-B-16", texts=texts)
    text = text_of({**CONFIG, "classifier": settings}, classifier=classifier)
    assert "nothing was trained: we took the image tower of a CLIP, ViT-B-16, for" in text
    assert "compared the class token with" in text
    assert "of 1 kind of background, in \u201ca photo of {}\u201d" in text
    assert "We trained ViT" not in text


def test_each_preset_can_be_told_and_names_its_method() -> None:
    for name in PRESETS:
        config = {**CONFIG, "recipes": {"cam": {"preset": name}}, "segmentation": {}}
        methods = describe(resolve(config), facts())
        source = OWN_METHODS[resolve(config).recipes["cam"].method].source
        assert reference_of(source) in methods.keys
        assert "  " not in methods.plain()


def test_the_source_of_every_method_is_a_reference_of_that_author_and_year() -> None:
    for name, entry in OWN_METHODS.items():
        reference = REFERENCES[reference_of(entry.source)]
        families = [author.rpartition(" ")[2] for author in reference.authors]
        # The spelling of one author differs between the paper and its index.
        first = re.split(r" et al\.| and |,", entry.source)[0].split()[0]
        assert families[0][:10] == first[:10], name
        year = re.search(r"(?<= )\d{4}\b", entry.source)
        assert year is not None
        assert str(reference.year) == year[0], name


def entries(bibtex: str) -> dict[str, dict[str, str]]:
    """Return the entries of a BibTeX file, read by counting braces."""
    found = {}
    for block in re.split(r"\n\n", bibtex.strip()):
        head = re.match(r"@(article|inproceedings|misc)\{(\w+),\n", block)
        assert head is not None, block
        assert block.count("{") == block.count("}"), block
        found[head[2]] = dict(re.findall(r"^  (\w+) = \{(.*)\},$", block, re.MULTILINE))
    return found


def test_every_citation_is_in_the_bibliography_and_every_entry_is_cited() -> None:
    methods = describe(resolve(CONFIG), facts())
    cited = {
        key for keys in re.findall(r"\\cite\{([^}]*)\}", methods.latex()) for key in keys.split(",")
    }
    listed = entries(methods.bibtex())
    assert cited == set(listed) == set(methods.keys)
    assert {"maruf2023beyond", "zhou2016cam", "krahenbuhl2011crf", "he2016resnet"} <= cited
    for fields in listed.values():
        assert {"author", "title", "year"} <= fields.keys()


def test_all_references_are_plain_bibtex() -> None:
    for key, reference in REFERENCES.items():
        text = reference.bibtex
        assert text.isascii(), key
        assert entries(text)[key]["year"] == str(reference.year)
        assert str(reference.year) in key
        for number in re.findall(r"arXiv:(\d{4})\.", reference.text):
            # The first two digits of an arXiv number are its year.
            assert abs(reference.year - 2000 - int(number[:2])) <= 2, key


def test_numbers_in_the_plain_text_count_up_from_one() -> None:
    text = text_of(CONFIG)
    body, _, listed = text.rpartition("\n\n")
    numbers = [int(n) for found in re.findall(r"\[([\d, ]+)\]", body) for n in found.split(",")]
    assert list(dict.fromkeys(numbers)) == list(range(1, max(numbers) + 1))
    assert len(listed.strip().splitlines()) == max(numbers)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1))
def test_no_name_breaks_the_texts(name: str) -> None:
    methods = describe(resolve(CONFIG), facts(classes=(name, "dog"), commit=""))
    latex = re.sub(r"\\cite\{[\w,]*\}|\\[a-z]+\{\}|\$\\times\$|\\[#$%&_{}]", "", methods.latex())
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    assert not re.search(r"[\\{}$&#^_%]", body)
    assert not re.search("[\ue000\ue001]", methods.plain())


def test_what_the_text_says_of_the_training_is_what_the_training_does() -> None:
    assert segmentation_training._POLY_POWER == 0.9
    assert segmentation_training._NEW_LAYERS_RATE == 10
    assert segmentation_training._LARGEST_GRADIENT == 1
    assert segmentation_data._JITTER == 0.2


def test_networks_have_the_names_that_papers_give_them() -> None:
    titles = {
        "resnet18": "ResNet-18",
        "vgg16_bn": "VGG-16 with batch normalisation",
        "vit_b_16": "ViT-B/16",
        "mobilenet_v3_large": "MobileNetV3-Large",
        "convnext_tiny": "ConvNeXt-Tiny",
        "my_package:network": "my_package:network",
    }
    for name, title in titles.items():
        assert re.split("\ue000", network_title(name))[0] == title


def test_only_libraries_that_took_part_are_named() -> None:
    assert "captum" not in programs_of(resolve(CONFIG))
    recipes = {"cam": {"preset": "integrated_gradients"}}
    changed = resolve({**CONFIG, "recipes": recipes, "masks": {"crf": "none"}, "segmentation": {}})
    assert "captum" in programs_of(changed)
    assert "pydensecrf2" not in programs_of(changed)


def test_the_page_has_the_text_with_links_and_its_files(make_report, tmp_path) -> None:
    methods = describe(resolve(CONFIG), facts(classes=("<i>cat", "dog")))
    report = make_report(tmp_path, methods=methods, evaluations=[], gallery=())
    page = write_report(tmp_path, report).read_text()
    assert "&lt;i&gt;cat" in page
    assert '<a href="#ref-1">1</a>' in page
    assert 'id="ref-1"' in page
    assert (tmp_path / "methods.txt").read_text() == methods.plain()
    assert (tmp_path / "methods.tex").read_text() == methods.latex()
    assert (tmp_path / "methods.bib").read_text() == methods.bibtex()
