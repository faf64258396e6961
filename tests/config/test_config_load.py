"""The configuration: what is wrong is named by its key's path, what is right round-trips."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ws3.config.load import dump, load, read_yaml, resolve
from ws3.config.masks import CrfParameters
from ws3.config.methods import OWN_METHODS
from ws3.config.presets import PRESETS
from ws3.config.recipes import Recipe, Samples
from ws3.config.run import ImagesPerJob
from ws3.config.schema import schema
from ws3.config.segmentation import NETWORKS
from ws3.errors import Ws3Error

BASE: dict[str, Any] = {
    "run": "r",
    "dataset": {"kind": "folder", "root": "data"},
    "recipes": {
        "cam": {"method": "cam", "samples": {"kind": "scales", "scales": [0.5, 1]}},
        "crops": {"method": "gradient", "samples": {"kind": "crops"}},
        "full": {"preset": "gradient"},
    },
}
BACKGROUNDS = "allowed: constant, power, tuned"
DATASETS = "allowed: synthetic, voc, coco, folder"
NAME = "can't be a folder's name"


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return BASE with one key changed, its sections made where they are not there."""
    data = copy.deepcopy(BASE)
    *sections, key = path.split("/")
    node = data
    for section in sections:
        node = node.setdefault(section, {})
    node[key] = value
    return data


def problems(data: Any) -> list[str]:
    with pytest.raises(Ws3Error) as caught:
        resolve(data, "my.yaml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("my.yaml") for line in lines)
    return [line.removeprefix("my.yaml: ") for line in lines]


def test_the_smallest_configuration_is_enough():
    config = resolve(BASE)
    assert config.recipes["crops"].samples.count == 24
    assert config.recipes["full"].samples.total == 1
    assert config.batch_size("saliency") == 64
    assert config.batch_size("maps") == 512
    assert config.map_splits == ("train", "val")


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("sede", "run, results, seed"),
        ("dataset/pictures", "kind, root, images, labels, masks"),
        ("recipes/cam/metod", "preset, samples_from, method, samples, aggregation"),
        ("recipes/cam/samples/side_range", "kind, count, samples_per_chunk"),
        ("recipes/crops/samples/masking/pach", "patch, share"),
        ("recipes/crops/aggregation/smooth", "combine_samples, weight, normalise_samples"),
        ("masks/crff", "background, crf, ignore_below"),
        ("masks/crf/iters", "gaussian_sxy, gaussian_compat"),
        ("segmentation/crf/iters", "gaussian_sxy, gaussian_compat"),
        ("images_per_job/mask", "saliency, maps, regions, masks, predictions"),
    ],
)
def test_an_unknown_key_is_named_with_the_keys_there_are(path, keys):
    (line,) = problems(changed(path, 1))
    dotted = path.replace("/", ".")
    assert line.startswith(f"{dotted}: this key is unknown; the keys here are: {keys}")


def test_an_unknown_key_of_a_union_member_is_told_that_members_keys():
    (line,) = problems(changed("masks/background", {"kind": "power", "score": 1}))
    assert line.endswith(
        "masks.background.score: this key is unknown; the keys here are: kind, alpha"
    )


def test_a_dot_in_a_recipes_name_leaves_errors_readable():
    (line,) = problems(changed("recipes/v1.0", {"method": "cam", "samples": {"knd": "full"}}))
    assert line.startswith("recipes.v1.0.samples.knd: this key is unknown; the keys here are: kind")


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("seed", True, "seed: a number is expected, not true or false"),
        ("seed", -1, "seed: Input should be greater than or equal to 0, not -1"),
        ("device", "tpu", "device: Input should be 'auto', 'cpu' or 'cuda', not 'tpu'"),
        ("masks", None, "masks: a mapping of keys to values is expected, not None"),
        ("dataset", "voc", "dataset: a mapping of keys to values is expected, not 'voc'"),
        ("dataset/kind", "imagenet", f"dataset: kind 'imagenet' is unknown; {DATASETS}"),
        ("dataset", {"root": "x"}, f"dataset: the key 'kind' is required; {DATASETS}"),
        ("dataset", {"kind": "voc"}, "dataset.root: this key is required"),
        (
            "masks/background",
            {"kind": "best"},
            f"masks.background: kind 'best' is unknown; {BACKGROUNDS}",
        ),
        (
            "masks/background",
            {"score": 0.3},
            f"masks.background: the key 'kind' is required; {BACKGROUNDS}",
        ),
        (
            "masks/background",
            {"kind": "constant", "score": 2},
            "masks.background.score: Input should be less than or equal to 1, not 2",
        ),
        (
            "masks/crf",
            "strong",
            "masks.crf: Input should be 'deeplab', 'psa', 'irn' or 'none', not 'strong'",
        ),
        (
            "masks/crf/unary",
            "soft",
            "masks.crf.unary: Input should be 'softmax' or 'labels', not 'soft'",
        ),
        (
            "recipes/cam/samples/scales",
            0.5,
            "recipes.cam.samples.scales: a list is expected, not 0.5",
        ),
        ("recipes", {}, "recipes: a length of at least 1 is expected, not {}"),
        ("recipes", ["cam"], "recipes: a mapping of keys to values is expected, not ['cam']"),
        ("recipes/new", {}, "recipes.new.method: this key is required"),
        ("recipes/crops/samples/count", "many", "recipes.crops.samples.count: Input should be"),
        (
            "recipes/crops/samples/count",
            True,
            "recipes.crops.samples.count: a number is expected, not true or false",
        ),
        (
            "recipes/crops/samples/side",
            [0.9, 0.4],
            "recipes.crops.samples.side: the range starts at 0.9, above its end 0.4",
        ),
        ("recipes/crops/samples/side", [0.4], "recipes.crops.samples.side.1: this key is required"),
        (
            "recipes/crops/samples/side",
            [0.1, 0.2, 0.3],
            "recipes.crops.samples.side: a length of at most 2 is expected, not [0.1, 0.2, 0.3]",
        ),
        (
            "classifier/crop_area",
            [1, 0.3],
            "classifier.crop_area: the range starts at 1.0, above its end 0.3",
        ),
        (
            "segmentation/scale_range",
            [2, 0.5],
            "segmentation.scale_range: the range starts at 2.0, above its end 0.5",
        ),
        (
            "recipes/crops/samples/noise",
            float("inf"),
            "recipes.crops.samples.noise: Input should be a finite number, not inf",
        ),
        (
            "recipes/cam/samples/keep_samples",
            True,
            "recipes.cam.samples: keep_samples needs samples of one size; it does not go with "
            "scales",
        ),
        (
            "recipes/full/samples/count",
            3,
            "recipes.full.samples: count has no meaning for kind full; leave it out",
        ),
        ("run", "a/b", f"run: 'a/b' {NAME}"),
        ("run", "..", f"run: '..' {NAME}"),
        ("recipes/x", {"preset": ["cam"]}, "recipes.x.preset: ['cam'] is not a preset"),
        (
            "reference_recipe",
            "grad",
            "reference_recipe: 'grad' is not a recipe; choose from: cam, crops, full",
        ),
        (
            "segmentation/recipes",
            ["crops", "x"],
            "segmentation.recipes: 'x' is not a recipe; choose from: cam, crops, full",
        ),
        (
            "segmentation/recipes",
            ["crops", "crops"],
            "segmentation.recipes: 'crops' is listed twice; list it once",
        ),
        (
            "segmentation/architecture",
            "unet",
            "segmentation.architecture: 'unet' is unknown; choose from: deeplabv3_resnet50, ",
        ),
        ("evaluation/splits", ["val", "val"], "evaluation.splits: 'val' is listed twice"),
        ("evaluation/splits", ["test"], "evaluation.splits.0: Input should be 'train' or 'val'"),
        ("images_per_job", 0, "images_per_job: Input should be greater than or equal to 1, not 0"),
        ("images_per_job", True, "images_per_job: a number is expected, not true or false"),
        ("images_per_job/maps", 0, "images_per_job.maps: Input should be greater than or equal"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_path(path, value, sentence):
    (line,) = problems(changed(path, value))
    assert line.startswith(sentence)


def test_a_recipe_name_with_a_slash_is_refused():
    data = copy.deepcopy(BASE)
    data["recipes"]["a/b"] = {"method": "cam"}
    (line,) = problems(data)
    assert line.startswith(f"recipes: 'a/b' {NAME}")


def test_all_wrong_keys_are_named_at_once():
    data = changed("seed", -1)
    data["divice"] = "cpu"
    data["recipes"]["cam"]["samples"]["scales"] = [0, 1]
    paths = [line.split(":")[0] for line in problems(data)]
    assert sorted(paths) == ["divice", "recipes.cam.samples.scales.0", "seed"]


@pytest.mark.parametrize("data", [None, [], "run: x", 5])
def test_something_else_than_a_mapping_is_refused(data):
    with pytest.raises(Ws3Error, match="not a mapping of keys to values"):
        resolve(data)


def test_texts_from_the_command_line_become_numbers():
    data = changed("seed", "5")
    data["segmentation"] = {"test_flip": "false", "learning_rate": "1e-3"}
    data["recipes"]["crops"]["samples"] |= {"count": "7", "flip": "true"}
    config = resolve(data)
    assert config.seed == 5
    assert config.segmentation.learning_rate == 1e-3
    assert config.segmentation.test_flip is False
    assert config.recipes["crops"].samples.count == 7
    assert config.recipes["crops"].samples.flip is True


def test_a_preset_is_expanded_and_ones_own_keys_win():
    recipe = resolve(
        changed(
            "recipes/mine",
            {
                "preset": "gradient_noise_crops",
                "samples": {"count": 9},
                "aggregation": {"smoothing": 0},
                "sign": "positive",
            },
        )
    ).recipes["mine"]
    assert recipe == Recipe.model_validate(
        {
            "method": "gradient",
            "sign": "positive",
            "samples": {"kind": "crops", "count": 9, "samples_per_chunk": 16, "noise": 0.15},
            "aggregation": {"weight": "probability", "smoothing": 0.0, "percentile": 99.0},
        }
    )


def test_another_kind_of_samples_takes_nothing_from_the_presets():
    own = {"preset": "gradient_crops", "samples": {"kind": "full"}}
    recipe = resolve(changed("recipes/mine", own)).recipes["mine"]
    assert recipe.samples == Samples(kind="full")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_recipe(name):
    recipe = resolve(changed("recipes/mine", {"preset": name})).recipes["mine"]
    assert recipe == Recipe.model_validate(PRESETS[name].recipe)


def test_an_unknown_preset_suggests_a_close_one():
    (line,) = problems(changed("recipes/mine", {"preset": "gradient_crop"}))
    assert line.startswith(
        "recipes.mine.preset: 'gradient_crop' is not a preset; did you mean 'gradient_crops'? "
        "allowed: cam, "
    )


@pytest.mark.parametrize(
    ("samples", "total", "per_chunk"),
    [
        ({"kind": "full"}, 1, 10),
        ({"kind": "full", "flip": True}, 2, 10),
        ({"kind": "scales", "scales": [0.5, 1, 2], "flip": True}, 6, 10),
        ({"kind": "crops", "count": 7, "flip": True, "samples_per_chunk": "count"}, 7, 7),
        ({"kind": "noise"}, 24, 10),
    ],
)
def test_the_number_of_samples(samples, total, per_chunk):
    settings = Samples.model_validate(samples)
    assert (settings.total, settings.per_chunk) == (total, per_chunk)


def test_a_kind_brings_its_defaults():
    assert Samples.model_validate({"kind": "noise"}).noise == 0.15
    assert Samples.model_validate({"kind": "masking"}).masking is not None
    assert Samples.model_validate({"kind": "crops"}).noise is None


def test_a_configuration_cannot_be_changed():
    config = resolve(BASE)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", NETWORKS.own)
def test_segmentation_architectures_are_those_that_can_be_built(name):
    import torch

    from ws3.segmentation.networks import build

    assert resolve(changed("segmentation/architecture", name)).segmentation.architecture == name
    with torch.device("meta"):
        network = build(name, 3, None).eval()
        assert network(torch.zeros(1, 3, 64, 64))["out"].shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "segmentation/architecture",
            "deeplabv3_resnet5",
            "segmentation.architecture: 'deeplabv3_resnet5' is unknown; did you mean "
            "deeplabv3_resnet50 or",
        ),
        ("dataset/kind", "vock", "dataset: kind 'vock' is unknown; did you mean voc? allowed: syn"),
        ("dataset/kind", ["x"], f"dataset: kind ['x'] is unknown; {DATASETS}"),
    ],
)
def test_an_unknown_name_is_told_the_closest_ones(path, value, sentence):
    (line,) = problems(changed(path, value))
    assert line.startswith(sentence)


def test_the_schema_states_bounds_in_its_own_words():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid(BASE)
    for path, value in [
        ("seed", -1),
        ("classifier/learning_rate", 0),
        ("classifier/backbone_rate", 2),
        ("recipes/cam/samples/scales", [5.0]),
        ("images_per_job", 0),
    ]:
        assert not validator.is_valid(changed(path, value)), path


# PyYAML reads a leading U+0085, a line break to it, back as spaces.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(
    lambda text: text != "null"
)
fractions = st.floats(0.01, 1, exclude_min=True)
ranges = st.tuples(fractions, fractions).map(sorted)
samples = st.one_of(
    st.fixed_dictionaries({"kind": st.just("full"), "flip": st.booleans()}),
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["crops", "noise", "masking"]),
            "count": st.integers(1, 65534),
            "samples_per_chunk": st.one_of(st.just("count"), st.integers(1, 100)),
            "side": ranges,
            "noise": st.none() | st.floats(0, 10),
            "masking": st.none() | st.fixed_dictionaries({"patch": fractions}),
        }
    ),
)
crfs = st.sampled_from(["deeplab", "psa", "irn", "none"]) | st.builds(
    lambda sxy, count: {"gaussian_sxy": sxy, "iterations": count},
    st.floats(0.5, 100),
    st.integers(1, 20),
)
methods = st.sampled_from(list(OWN_METHODS))
any_recipe = st.fixed_dictionaries({"method": methods, "samples": samples})
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(
    run=names,
    seed=st.integers(0, 2**32 - 1),
    recipes=st.dictionaries(
        names,
        any_recipe,
        min_size=1,
    ),
    crf=crfs,
    jobs=st.integers(1, 99) | st.fixed_dictionaries({"masks": st.integers(1, 99)}),
    root=texts.filter(lambda text: not text.startswith("~")),  # somebody's home, if there is one
)
def test_what_is_dumped_is_read_back_the_same(run, seed, recipes, crf, jobs, root):
    data = {
        "run": run,
        "seed": seed,
        "dataset": {"kind": "folder", "root": root},
        "recipes": recipes,
        "reference_recipe": next(iter(recipes)),
        "masks": {"crf": crf},
        "images_per_job": jobs,
    }
    config = resolve(data)
    text = dump(config)
    again = resolve(yaml.safe_load(text))
    assert again == config
    assert dump(again) == text


def test_unions_resolve_to_the_branch_that_was_meant():
    data = changed("masks/crf", {"iterations": 3})
    data["images_per_job"] = {"masks": 5}
    config = resolve(data)
    assert config.masks.crf == CrfParameters(iterations=3)
    assert config.images_per_job == ImagesPerJob.model_validate({"masks": 5})
    assert (config.batch_size("masks"), config.batch_size("maps")) == (5, 512)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"run: [1", "this is not valid YAML"),
        (b"run: !!python/object/apply:os.getcwd []", "this is not valid YAML"),
        (b"- 1\n- 2\n", "a mapping of keys to values is expected"),
        (b"", "a mapping of keys to values is expected"),
        (b"run: \xff", "can't be read"),
        (b"run: r\nrun: [\n  - {\n", "this is not valid YAML"),
    ],
)
def test_a_file_that_is_no_yaml_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(Ws3Error) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: {sentence}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path):
    for path, sentence in [(tmp_path / "x", "there is no such"), (tmp_path, "can't be read")]:
        with pytest.raises(Ws3Error) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: {sentence}")


def test_a_loaded_file_is_named_in_its_errors(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**BASE, "sede": 1}))
    with pytest.raises(Ws3Error, match=r"c\.yaml: sede: this key is unknown"):
        load(path)
    path.write_text(yaml.safe_dump(BASE))
    assert load(path) == resolve(BASE)


@pytest.mark.parametrize(
    ("path", "value", "now"),
    [
        ("recipes/crops/aggregation/reducer", "max", "this key is called combine_samples now"),
        ("recipes/crops/aggregation/scale", 99, "this key is called percentile now"),
        ("recipes/crops/reduction", "l2", "this key is called reduce_channels now"),
        ("recipes/crops/target", "contrast", "this value is called log_odds now"),
        ("segmentation/scale", [1, 1], "this key is called scale_range now"),
        ("segmentation/ceiling", True, "this key is called fully_supervised now"),
    ],
)
def test_a_key_of_an_older_version_names_the_new_one(path, value, now):
    assert problems(changed(path, value)) == [f"{path.replace('/', '.')}: {now}"]


def test_a_method_is_checked_with_the_configuration_but_a_run_is_read_without(tmp_path):
    data = changed("recipes/cam", {"method": "graident"})
    with pytest.raises(
        Ws3Error, match=r"recipes\.cam: there is no method 'graident'; did you mean"
    ):
        resolve(data)
    assert resolve(data, check_methods=False).recipes["cam"].method == "graident"
    data = changed("recipes/cam", {"method": "occlusion", "options": {"window": 2}})
    with pytest.raises(Ws3Error, match=r"recipes\.cam: the option window .* is 2, but must be a n"):
        resolve(data)


def test_the_schema_knows_each_methods_options():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema())
    for options, valid in (({"window": 0.5}, True), ({"window": 2}, False), ({"steps": 3}, False)):
        data = changed("recipes/cam", {"method": "occlusion", "options": options})
        assert validator.is_valid(data) == valid
    assert not validator.is_valid(
        changed("recipes/cam", {"method": "cam", "options": {"window": 0.5}})
    )


# What users write into YAML.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: 2026-13-45", "'2026-13-45' can't be read as timestamp"),
        ("run: !!int abc", "'abc' can't be read as int"),
        ("run: !!float abc", "'abc' can't be read as float"),
        ("run: !!bool abc", "'abc' can't be read as bool"),
        ("run: !!timestamp abc", "'abc' can't be read as timestamp"),
        ("seed: " + "9" * 5000, "can't be read as int"),
        ("run: a\nseed: 1\nrun: b", "the key 'run' is given twice"),
        ("a: {b: {c: 1, d: 2, c: 3}}", "the key 'c' is given twice"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested deeper"),
        ("? [1, 2]\n: 3", "this is not valid YAML"),
        ("a: [", "this is not valid YAML"),
        ("a: \0", "this is not valid YAML"),
    ],
)
def test_a_value_that_yaml_cannot_read_is_one_sentence(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(Ws3Error, match=words) as error:
        load(path)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert len(said) < len(str(path)) + 300


def test_the_place_of_a_key_given_twice_is_told(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("run: a\nseed: 1\nrun: b\n")
    with pytest.raises(Ws3Error, match="line 3, column 1"):
        read_yaml(path)


def test_merge_keys_and_anchors_are_no_keys_given_twice(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\n")
    assert read_yaml(path)["other"] == {"x": 1, "y": 3}


def test_references_that_multiply_are_refused(tmp_path):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(Ws3Error, match="nested deeper"):
        load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": 20261128}, r"run: a text is expected, but 20261128 was read as a number.*'!!str"),
        ({"run": datetime.date(2026, 11, 28)}, "run: a text is expected, but 2026-11-28 .* a date"),
        ({"run": True}, "run: a text is expected, but True was read as a truth value"),
        (
            {"segmentation": {"ema": "null"}},
            r"segmentation\.ema: null arrives as a text .*--config",
        ),
        ({"dataset": {"kind": "folder", "root": "~nosuchuser/x"}}, "dataset.root: .*no such user"),
        ({"dataset": {"kind": "folder", "root": "a\0b"}}, r"dataset\.root: 'a\\x00b' holds a char"),
        (
            {"dataset": {"kind": "voc", "root": "a\ud800"}},
            r"dataset\.root: 'a\\ud800' holds a char",
        ),
        ({"classifier": {"weights": "a\0b"}}, r"classifier\.weights: .* holds a character"),
        ({"recipes": {"a\0b": {}}}, "holds a character"),
        (
            {"classifier": {"learning_rate": 1e300}},
            r"classifier\.learning_rate: .*less than or equal",
        ),
        ({"segmentation": {"learning_rate": 1e300}}, "learning_rate: .*less than or equal"),
        ({"segmentation": {"scale_range": [1, 1e6]}}, "scale_range.*less than or equal to 8"),
        ({"segmentation": {"scale_range": [1e-9, 1]}}, "scale_range.*greater than or equal"),
        ({"masks": {"crf": {"bilateral_sxy": 1e-30}}}, "bilateral_sxy: .*greater than or equal"),
        ({"masks": {"crf": {"gaussian_sxy": 1e-3}}}, "gaussian_sxy: .*greater than or equal"),
        ({"masks": {"crf": {"bilateral_srgb": 1e30}}}, "bilateral_srgb: .*less than or equal"),
        ({"masks": {"crf": {"bilateral_compat": 1e30}}}, "bilateral_compat: .*less than or equal"),
        ({"segmentation": {"crf": {"gaussian_sxy": 1e30}}}, "gaussian_sxy: .*less than or equal"),
        (
            {
                "masks": {"background": {"kind": "tuned", "split": "val"}},
                "evaluation": {"splits": ["train"]},
            },
            r"masks\.background\.split: no maps are made for the val split; add it to",
        ),
        (
            {
                "classifier": {"architecture": "resnet34"},
                "segmentation": {
                    "fully_supervised": True,
                    "architecture": "lraspp_resnet18",
                    "weights": "classifier",
                },
            },
            "segmentation.weights: the backbone of lraspp_resnet18 can't start from .*'resnet34'",
        ),
    ],
)
def test_what_no_run_could_use_is_refused_in_one_sentence(change, words):
    data = {
        "run": "a",
        "dataset": {"kind": "folder", "root": "x"},
        "recipes": {"cam": {"preset": "cam"}},
    }
    with pytest.raises(Ws3Error, match=words) as error:
        resolve({**data, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "x" * 100_000},
        {"device": "x" * 100_000},
        {"seed": "x" * 100_000},
        {"dataset": {"kind": "x" * 100_000}},
        {"x" * 100_000: 1},
        {"recipes": {"x" * 100_000: {"method": "cam"}}},
        {"recipes": {"cam": {"preset": "x" * 100_000}}},
        {"recipes": {"cam": {"method": "x" * 100_000}}},
        {"recipes": {"cam": {"preset": "gradient", "samples_from": "x" * 100_000}}},
        {"recipes": {"cam": {"preset": "gradient", "options": {"x" * 100_000: 1}}}},
        {"reference_recipe": "x" * 100_000},
        {"segmentation": {"recipes": ["x" * 100_000]}},
        {"segmentation": {"architecture": "x" * 100_000}},
        {"classifier": list(range(100_000))},
        {"evaluation": {"splits": ["x" * 100_000]}},
    ],
)
def test_a_message_repeats_at_most_200_characters_of_a_value(change):
    data = {
        "run": "a",
        "dataset": {"kind": "folder", "root": "x"},
        "recipes": {"cam": {"preset": "cam"}},
    }
    with pytest.raises(Ws3Error) as error:
        resolve({**data, **change})
    assert max(map(len, str(error.value).splitlines())) < 1000
    assert "x" * 201 not in str(error.value)
