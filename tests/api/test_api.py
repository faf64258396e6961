"""ws3 as a library: what it imports, and the same bytes as the stages store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from predicted import give_network
from stage_work import begun, work
from torch import nn

import ws3
from ws3.aggregation.accumulate import collect_chunk
from ws3.aggregation.chunks import SampleChunk
from ws3.datasets.index import Index, write_index
from ws3.jobs.runner import open_stage, run_images
from ws3.masks.crf import PRESETS
from ws3.masks.png import read_mask
from ws3.run.folder import Run
from ws3.stages.threshold import threshold
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore

CROPS = {"kind": "crops", "count": 12, "samples_per_chunk": 5, "batch": 4}
RECIPES: dict[str, dict[str, Any]] = {
    "cam": {"preset": "cam_multiscale", "samples": {"scales": [1.0, 1.5], "flip": True}},
    "crops": {"preset": "gradient_crops", "samples": CROPS},
    "weighted": {
        "preset": "contrast_crops",
        "samples": {**CROPS, "input_size": 64, "noise": 0.1},
    },
    "noise": {"preset": "smoothgrad", "samples": {"count": 6, "samples_per_chunk": 4, "batch": 4}},
    "kept": {"method": "gradient", "samples": {**CROPS, "keep_samples": True}},
    "few": {"method": "input_x_gradient", "samples": {"kind": "crops", "count": 2, "batch": 4}},
    "finer": {"preset": "fullgrad", "output_stride": 16},
    "sliding": {"preset": "sess", "samples": {"scales": [1.0, 1.5], "batch": 4}},
    "sliding_kept": {
        "method": "gradcam",
        "samples": {
            "kind": "sliding",
            "scales": [2.0],
            "samples_per_chunk": 3,
            "keep_samples": True,
        },
    },
    "walk": {"samples_from": "crops", "aggregation": {"random_walk": {"steps": 9}}},
    "looking": {
        "samples_from": "crops",
        "samples": {"count": 10},
        "aggregation": {"random_walk": {"steps": 9, "features": 0.2}},
    },
}


def test_importing_ws3_imports_no_torch_and_listing_recipes_neither() -> None:
    code = (
        "import sys, ws3\n"
        "heavy = {'torch', 'numpy', 'cv2', 'PIL', 'scipy', 'pydantic', 'zarr', 'matplotlib'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
        "ws3.recipes(), ws3.methods(), ws3.Ws3Error, ws3.Recipe, dir(ws3)\n"
        "print(sorted({'torch', 'cv2', 'scipy', 'zarr', 'matplotlib'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_a_run_finds_an_image_by_its_name(small_run: Any) -> None:
    run = small_run(recipes={"cam": {"preset": "cam"}}, segmentation__recipes=[])
    rows = [
        run.index.rows[0]._replace(image="IMG_2-70d30a", name="sub/IMG (2).jpg"),
        run.index.rows[1]._replace(image="b", name="other/b.jpg"),
        run.index.rows[2]._replace(image="b-0a1b2c", name="sub/b.jpg"),
    ]
    write_index(run.index_file, Index(run.index.classes, tuple(rows)))
    opened = ws3.open_run(run.folder)
    assert opened.names == {row.image: row.name for row in rows}
    first = rows[0].labels
    for name in ("IMG_2-70d30a", "sub/IMG (2).jpg", "sub/IMG (2)", "IMG (2).jpg"):
        assert opened.labels(name) == first
    assert opened.labels("b") == rows[1].labels  # an id goes before a name
    with pytest.raises(ws3.Ws3Error, match=r"there is no image 'b\.jpg'"):
        opened.labels("b.jpg")


def test_every_name_is_there_and_no_other() -> None:
    for name in ws3.__all__:
        assert getattr(ws3, name) is not None
        assert name in dir(ws3)
    with pytest.raises(AttributeError, match="module 'ws3' has no attribute 'score_map'"):
        ws3.score_map  # noqa: B018 - the attribute is what is tested


@pytest.fixture(scope="module")
def first_made(tmp_path_factory, small, untrained_classifier):
    """Return the small run with all recipes' samples and maps of two images."""
    config = {
        **small,
        "results": str(tmp_path_factory.mktemp("made")),
        "recipes": RECIPES,
        "segmentation": {**small["segmentation"], "recipes": []},
        "reference_recipe": "cam",
    }
    run = begun(config, untrained_classifier)
    rows = run.index.rows[:2]
    for recipe in RECIPES:
        if run.config.sample_source(recipe) == recipe:
            run_images(run, open_stage(run, "saliency", recipe), rows)
        run_images(run, open_stage(run, "maps", recipe), rows)
    return run


@pytest.fixture
def made(first_made, tmp_path):
    """Return a copy of that run, which a test may change."""
    shutil.copytree(first_made.folder, tmp_path / "made")
    return Run.open(tmp_path / "made")


def test_score_maps_gives_the_bytes_that_the_stages_store(made: Run) -> None:
    classifier = ws3.load_classifier(made.classifier_file)
    for row in made.index.rows[:2]:
        image = ws3.read_image(row.path)
        for name, recipe in RECIPES.items():
            stored = MapStore(made.results("maps", name)).read(row.image)
            givens: list[Any] = [made.recipe(name)]
            for given in givens + ([] if "samples_from" in recipe else [recipe]):
                maps = ws3.score_maps(
                    classifier,
                    image,
                    row.labels,
                    given,
                    name=row.image,
                    seed=made.config.seed,
                    recipe_name=made.config.sample_source(name),
                )
                assert (maps.dtype, maps.shape) == (stored.dtype, stored.shape)
                assert maps.tobytes() == stored.tobytes(), name
    other = ws3.score_maps(classifier, image, row.labels, RECIPES["crops"], name="another")
    assert other.tobytes() != MapStore(made.results("maps", "crops")).read(row.image).tobytes()


def test_threads_do_not_change_the_maps_and_are_left_as_they_were(made: Run) -> None:
    classifier, row = ws3.load_classifier(made.classifier_file), made.index.rows[0]
    image, before = ws3.read_image(row.path), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        maps = ws3.score_maps(
            classifier, image, row.labels, RECIPES["crops"], name=row.image, recipe_name="crops"
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert maps.tobytes() == MapStore(made.results("maps", "crops")).read(row.image).tobytes()


def test_score_samples_add_up_to_the_stored_chunks(made: Run) -> None:
    classifier, row = ws3.load_classifier(made.classifier_file), made.index.rows[0]
    image, recipe = ws3.read_image(row.path), made.recipe("crops")
    samples = list(
        ws3.score_samples(
            classifier, image, row.labels, recipe, name=row.image, recipe_name="crops"
        )
    )
    assert [one.sample.number for one in samples] == list(range(12))
    store = SaliencyStore(made.results("saliency", "crops"))
    shape = (len(row.labels), row.height, row.width)
    for chunk, some in (("0", samples[:5]), ("1", samples[5:10]), ("2", samples[10:])):
        summed = collect_chunk(some, recipe.aggregation, shape)
        stored = store.read(row.image, chunk)
        assert isinstance(summed, SampleChunk)
        assert isinstance(stored, SampleChunk)
        assert summed.sums.tobytes() == stored.sums.tobytes()
    again = ws3.open_run(made.folder)["crops"].samples(row.image)
    assert [chunk.samples for chunk in again] == [tuple(range(5)), tuple(range(5, 10)), (10, 11)]


@pytest.mark.parametrize("crf", ["irn", "none"])
def test_pseudo_mask_gives_the_bytes_that_the_stage_stores(small_run, crf) -> None:
    background = {"kind": "constant", "score": 0.4}
    run = small_run(masks={"background": background, "crf": crf, "ignore_below": 0.3})
    row = run.index.rows[0]
    for stage in ("saliency", "maps"):
        run_images(run, open_stage(run, stage, "saliency_crops"), [row])
    threshold(run, "saliency_crops")
    run_images(run, open_stage(run, "masks", "saliency_crops"), [row])
    stored = read_mask(run.result("masks", "saliency_crops", row.image))
    opened = ws3.open_run(run.folder)
    recipe = opened["saliency_crops"]
    image, values = opened.image(row.image), opened.class_values(row.image)
    for given in {None if crf == "none" else PRESETS[crf], crf}:
        mask = ws3.pseudo_mask(image, recipe.maps(row.image), values, 0.4, given, 0.3)
        assert mask.tobytes() == stored.tobytes()
    assert recipe.mask(row.image).tobytes() == stored.tobytes()


def test_a_run_is_read_by_image(made: Run) -> None:
    run, row = ws3.open_run(str(made.folder)), made.index.rows[0]
    assert run.classes == tuple(made.index.classes)
    assert run.images == tuple(one.image for one in made.index.rows)
    assert run.labels(row.image) == tuple(row.labels)
    assert [run.classes[value - 1] for value in run.class_values(row.image)] == list(row.labels)
    assert list(run.recipes) == list(RECIPES)
    np.testing.assert_array_equal(run.image(row.image), ws3.read_image(row.path))
    maps = run["cam"].maps(row.image)
    stored = MapStore(made.results("maps", "cam")).read(row.image)
    np.testing.assert_array_equal(maps, stored.astype(np.float32))
    with pytest.raises(ws3.StaleResultError, match=r"make them with: ws3 maps .* --recipe cam"):
        run["cam"].maps(made.index.rows[3].image)
    with pytest.raises(ws3.StaleResultError, match=r"make them with: ws3 saliency .*--recipe cam"):
        run["cam"].samples(made.index.rows[3].image)
    with pytest.raises(ws3.StaleResultError, match="has not been evaluated"):
        run.summary()
    with pytest.raises(ws3.Ws3Error, match="there is no image 'nobody'; ids are"):
        run["cam"].maps("nobody")
    with pytest.raises(ws3.Ws3Error, match="'nothing' is not a recipe of this run"):
        run["nothing"]
    with pytest.raises(ws3.Ws3Error, match="there is no run here"):
        ws3.open_run(made.folder / "elsewhere")
    made.summary_file.parent.mkdir(parents=True)
    made.summary_file.write_text("recipe,stage,miou,tuned_on\ncam,maps,0.25,\n")
    assert run.summary() == [{"recipe": "cam", "stage": "maps", "miou": 0.25, "tuned_on": None}]


def test_what_was_made_from_other_inputs_is_refused(made: Run) -> None:
    row = made.index.rows[0]
    text = (made.folder / "config.yaml").read_text()
    assert "seed: 0" in text
    (made.folder / "config.yaml").write_text(text.replace("seed: 0", "seed: 1", 1))
    run = ws3.open_run(made.folder)
    with pytest.raises(ws3.StaleResultError, match="made from other inputs"):
        run["crops"].maps(row.image)
    with pytest.raises(ws3.StaleResultError, match="made from other inputs"):
        run["crops"].samples(row.image)


class _Relu6Features(nn.Module):
    """A backbone whose code calls functions, which Captum doesn't see."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(self.first(images))


def _own(backbone: Any = None, head: nn.Module | None = None, **settings):
    torch.manual_seed(1)
    backbone = backbone or nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU()
    )
    classes = settings.pop("classes", ("cat", "dog", "owl"))
    return ws3.Classifier(backbone, head or nn.Linear(8, 3), classes, input_size=64, **settings)


IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(8, 3),
        nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3)),
        nn.Sequential(nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(8, 3)),
        nn.Sequential(nn.Conv2d(8, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
)
def test_cam_is_exact_for_any_pooled_linear_head(head: nn.Module) -> None:
    # Made while tests are collected, they differ from run to run; all scores may be negative then.
    torch.manual_seed(0)
    for layer in head.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.reset_parameters()
    classifier = _own(head=head)
    classifier.network.eval()
    weight, bias = list(head.parameters())
    with torch.no_grad():
        features = classifier.backbone(torch.zeros(1, 3, 64, 64))
        maps = torch.einsum("cf,bfhw->bchw", weight.flatten(1), features)
        logits = classifier.network(torch.zeros(1, 3, 64, 64))
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + bias, logits)
    found = ws3.score_maps(classifier, IMAGE, ["owl", 0], "cam")
    assert found.shape == (2, 48, 64)
    assert found.dtype == np.float16
    assert found.max() == 1
    # As Grad-CAM, which on such a network is CAM up to a factor.
    again = ws3.score_maps(classifier, IMAGE, ["owl", 0], "gradcam")
    np.testing.assert_allclose(found, again, atol=2e-3)


def test_other_heads_have_no_cam_and_say_so() -> None:
    deep = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    with pytest.raises(ws3.Ws3Error, match="Sequential ends otherwise; use the method gradcam"):
        ws3.score_maps(_own(head=deep), IMAGE, ["cat"], "cam")
    assert ws3.score_maps(_own(head=deep), IMAGE, ["cat"], "gradcam").shape == (1, 48, 64)


@pytest.mark.parametrize(
    ("classifier", "sentence"),
    [
        (lambda: _own(nn.Flatten()), r"backbone of Flatten must return spatial features \(B, F,"),
        (lambda: _own(head=nn.Linear(8, 4)), r"must return logits \(1, 3\), .* returned \(1, 4\)"),
        (lambda: _own(backbone=len), "backbone of a classifier must be a torch.nn.Module, not"),
        (lambda: _own(classes=("a", "a", "b")), "one name per class, each different"),
        (
            lambda: ws3.Classifier.from_torchvision(nn.Flatten(), ("a",)),
            r"Flatten is none of the torchvision networks .* ws3.Classifier\(backbone=",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_one_sentence(classifier, sentence) -> None:
    with pytest.raises(ws3.Ws3Error, match=sentence):
        ws3.score_maps(classifier(), IMAGE, ["cat"], "gradient")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"recipe": "cams"}, "the recipe: recipes.cams.preset: 'cams' is not a preset; did you"),
        ({"recipe": {"method": "graident"}}, "recipes.recipe: there is no method 'graident'; did"),
        (
            {"recipe": {"method": "cam", "samples": {"knd": "full"}}},
            "the recipe: recipes.recipe.samples.knd: this key is unknown; the keys here are: kind",
        ),
        ({"classes": ["cow"]}, "the classifier has no class 'cow'; it has: cat, dog, owl"),
        ({"classes": [3]}, "has no class 3; it has: cat, dog, owl"),
        ({"image": IMAGE / 255}, r"an image must be a uint8 array \(height, width, 3\), not float"),
        ({"image": IMAGE[..., 0]}, r"not uint8 \(48, 64\); read it with ws3.read_image"),
        ({"windows": [(0, 0, 9, 9)]}, "windows are for recipes with samples of kind crops, not fu"),
        ({"recipe": "gradient_crops", "windows": [(0, 60, 9, 9)]}, "not lie within the image of"),
        ({"recipe": "gradient_crops", "windows": []}, "windows is empty"),
        ({"recipe": {"method": "deeplift"}, "classifier": _own(_Relu6Features())}, "calls relu as"),
    ],
)
def test_mistakes_are_one_sentence(changes, sentence) -> None:
    given = {"classifier": _own(), "image": IMAGE, "classes": ["cat"], "recipe": "cam", **changes}
    with pytest.raises(ws3.Ws3Error, match=sentence):
        ws3.score_maps(**given)


def test_crops_of_ones_own() -> None:
    classifier = _own()
    windows = [(0, 0, 48, 40), (0, 24, 48, 40)]
    recipe = {"method": "gradient", "samples": {"kind": "crops", "batch": 2, "input_size": 64}}
    samples = list(ws3.score_samples(classifier, IMAGE, ["dog"], recipe, windows=windows))
    assert [one.sample.window.left for one in samples] == [0, 24]
    maps = ws3.score_maps(classifier, IMAGE, ["dog"], recipe, windows=windows)
    # By hand: the mean of the crops' maps, pasted back, scaled by its maximum.
    from ws3.sampling.views import paste_back

    total, count = np.zeros((48, 64), np.float32), np.zeros((48, 64), np.float32)
    for one in samples:
        rows, columns = one.sample.window.slices
        total[rows, columns] += paste_back(one.scores[0], one.sample)
        count[rows, columns] += 1
    expected = total / count
    np.testing.assert_allclose(maps[0], expected / expected.max(), atol=1e-3)
    # What the crops leave out is seen with the whole image.
    left = list(ws3.score_samples(classifier, IMAGE, ["dog"], recipe, windows=windows[:1]))
    assert [one.sample.number for one in left] == [0, -1]


def test_no_class_is_no_map() -> None:
    assert ws3.score_maps(_own(), IMAGE, [], "gradient_crops").shape == (0, 48, 64)
    assert list(ws3.score_samples(_own(), IMAGE, [], "gradient_crops")) == []


def test_a_scorer_prepares_the_network_once() -> None:
    scorer = ws3.Scorer(_own(), "gradient_crops", seed=3)
    once = ws3.score_maps(_own(), IMAGE, ["cat"], "gradient_crops", seed=3, name="a")
    for name in ("b", "a"):
        maps = scorer.maps(IMAGE, ["cat"], name=name)
        assert (maps.tobytes() == once.tobytes()) == (name == "a")


def test_a_network_without_a_name_can_be_used_but_not_saved(tmp_path) -> None:
    with pytest.raises(ws3.Ws3Error, match="a network of Sequential can't be saved"):
        ws3.save_classifier(tmp_path / "mine.pt", _own())
    assert not (tmp_path / "mine.pt").exists()


@pytest.mark.parametrize("values", [[1, 2], [], [0], [256]])
def test_class_values_that_do_not_fit_the_maps_are_one_sentence(values: list[int]) -> None:
    image, maps = np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), np.float32)
    with pytest.raises(ws3.Ws3Error, match=r"class value.*; see ws3\.pseudo_mask"):
        ws3.pseudo_mask(image, maps, values, crf=None)
    with pytest.raises(ws3.Ws3Error, match=r"class values must be distinct, not \[1, 1\]"):
        ws3.pseudo_mask(image, np.concatenate([maps, maps]), [1, 1], crf=None)


def test_predict_mask_gives_the_pixels_of_the_stage_whatever_the_threads(small_run) -> None:
    run = small_run(segmentation__recipes=["cam"], segmentation__test_scales=[0.75, 1.0])
    give_network(run, "cam")
    work(run, "predictions", "cam")
    row = run.rows(["val"])[0]
    model = ws3.load_segmentation(run.model_file("cam"))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        mask = ws3.predict_mask(model, ws3.read_image(row.path))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(mask, ws3.open_run(run.folder)["cam"].prediction(row.image))
    assert model.classes == tuple(run.index.classes)
