"""What a change of the configuration or the dataset reruns, and nothing more."""

from __future__ import annotations

from collections import Counter

import pytest

from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.stages.index import refresh
from ws3.workflow.plan import Plan, as_text

SPLITS = ("train", "val")


def params(plan):
    """Return all parameters of all jobs, by a readable name."""
    recipes = list(plan.config.recipes)
    return {
        "index": plan.index_params,
        "classifier": plan.train_classifier_params,
        **{f"saliency {name}": plan.settings("saliency", name) for name in recipes},
        **{f"maps {name}": plan.settings("maps", name) for name in recipes},
        "threshold": plan.threshold_params,
        "masks": plan.settings("masks", "crops"),
        "segmentation": plan.train_segmentation_params("crops"),
        "fully_supervised": plan.train_segmentation_params("ground_truth"),
        "predictions": plan.settings("predictions", "crops"),
        "evaluate": plan.evaluate_params,
        **{
            f"batch {stage} {name}": plan.batches(stage)[name].fingerprint
            for stage in ("saliency", "maps", "masks", "predictions")
            for name in plan.batches(stage).names(
                plan.config.evaluation.splits if stage == "predictions" else SPLITS
            )
        },
    }


def begin(plan):
    """Do what Snakemake does before the first job."""
    refresh(plan.run, plan.listing)


def changed(before, after):
    return [name for name in before if before[name] != after.get(name)]


@pytest.fixture
def plan_of(config_of):
    return lambda **changes: Plan(config_of(**changes), check_files=True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"masks__crf": {"iterations": 3}}, ["masks"]),
        ({"masks__ignore_below": 0.2}, ["masks"]),
        ({"masks__background": {"kind": "power"}}, ["threshold"]),
        ({"masks__background": {"kind": "auto"}}, ["threshold"]),
        ({"recipes__crops__samples__count": 20}, ["saliency crops", "maps crops"]),
        ({"recipes__crops__aggregation": {"smoothing": 0.1}}, ["maps crops"]),
        (
            {"recipes__crops__aggregation": {"combine_samples": "max"}},
            ["saliency crops", "maps crops"],
        ),
        ({"recipes__crops__aggregation": {"random_walk": {}}}, ["maps crops"]),
        (
            {"recipes__crops__aggregation": {"random_walk": {"affinity": "attention"}}},
            ["maps crops"],
        ),
        ({"recipes__cam__method": "gradcam"}, ["saliency cam"]),
        ({"recipes__new": {"preset": "gradcam"}}, []),
        ({"segmentation__epochs": 3}, ["segmentation", "fully_supervised"]),
        ({"segmentation__fully_supervised": True}, []),
        ({"segmentation__test_flip": False}, ["predictions"]),
        ({"segmentation__crf": "irn"}, ["predictions"]),
        ({"classifier__epochs": 9}, ["classifier"]),
        ({"threads": 1}, ["classifier", "segmentation", "fully_supervised"]),
        (
            {"seed": 1},
            ["classifier", "saliency cam", "saliency crops", "segmentation", "fully_supervised"],
        ),
        ({"reference_recipe": "crops"}, ["evaluate"]),
        ({"on_bad_image": "skip"}, ["index"]),
        ({"device": "auto"}, []),
    ],
)
def test_a_setting_changes_exactly_the_jobs_that_depend_on_it(plan_of, changes, expected):
    assert changed(params(plan_of()), params(plan_of(**changes))) == expected


def test_other_weights_of_an_affinity_change_the_maps_alone(plan_of, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"1")
    walk = {"affinity": {"network": "resnet18", "weights": str(weights)}}
    changes = {"recipes__crops__aggregation": {"random_walk": walk}}
    before = params(plan_of(**changes))
    assert changed(before, params(plan_of(**changes))) == []
    weights.write_bytes(b"22")
    assert changed(before, params(plan_of(**changes))) == ["maps crops"]


def edited(dataset, old, new):
    table = dataset / "labels.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))


@pytest.mark.parametrize("indexed", [False, True])
def test_an_edited_training_label_changes_its_own_batch(plan_of, bare_run, dataset, indexed):
    if indexed:
        bare_run()
    before = params(plan_of())
    edited(dataset, "t2,cat", "t2,dog")
    assert changed(before, params(plan_of())) == [
        *("classifier", "fully_supervised"),
        *("batch saliency train-00001", "batch maps train-00001", "batch masks train-00001"),
    ]


def test_an_edited_validation_label_leaves_the_classifier_alone(plan_of, bare_run, dataset):
    bare_run()
    before = params(plan_of())
    edited(dataset, "v2,dog", "v2,cat")
    assert changed(before, params(plan_of())) == [
        "evaluate",
        *("batch saliency val-00001", "batch maps val-00001", "batch masks val-00001"),
        "batch predictions val-00001",
    ]


def test_an_edit_that_changes_nothing_reruns_nothing(plan_of, bare_run, dataset):
    bare_run()
    before = params(plan_of())
    edited(dataset, "t2,cat", "t2,cat ")
    assert changed(before, params(plan_of())) == []


def test_indexing_changes_no_parameter(plan_of, bare_run):
    before = params(plan_of())
    bare_run()
    assert changed(before, params(plan_of())) == []


def test_a_beginning_run_brings_its_configuration_and_index_up_to_date(plan_of, bare_run, dataset):
    run = bare_run()
    edited(dataset, "t2,cat", "t2,dog")
    begin(plan_of(seed=7))
    again = Run.open(run.folder)
    assert again.config.seed == 7
    assert {row.image: row.labels for row in again.index.rows}["t2"] == ("dog",)


def test_a_beginning_run_reads_no_image_when_none_changed(plan_of, bare_run, monkeypatch):
    bare_run()
    monkeypatch.setattr("ws3.stages.index.check_files", lambda *_: pytest.fail("indexed again"))
    begin(plan_of())


def test_the_first_index_is_left_to_its_job(plan_of):
    plan = plan_of()
    begin(plan)
    assert Run.open(plan.run.folder).config == plan.config
    assert not plan.run.index_file.exists()


def test_receipts_are_one_per_batch(plan_of):
    plan = plan_of(images_per_job={"saliency": 1, "maps": 3})
    receipts = plan.receipts("saliency", "cam", ["val"])
    assert receipts == [f"{plan.folder}/receipts/saliency/cam/v{n}.json" for n in range(3)]
    assert len(plan.receipts("maps", "cam", SPLITS)) == 3


def test_a_batch_waits_for_the_batches_that_hold_its_images(plan_of):
    plan = plan_of(images_per_job={"saliency": 2, "maps": 3})
    names = [
        path.rpartition("/")[2]
        for path in plan.input_receipts("maps", "cam", "train-00001", "saliency")
    ]
    assert names == ["train-00001.json", "train-00002.json"]


def test_a_threshold_waits_for_the_maps_that_it_is_tuned_on(plan_of):
    assert plan_of().threshold_input("cam") == []
    tuned = {"kind": "tuned", "split": "train"}
    assert len(plan_of(masks__background=tuned).threshold_input("cam")) == 3
    automatic = {"kind": "auto", "images": 2}  # evenly spaced over all of train
    assert len(plan_of(masks__background=automatic).threshold_input("cam")) == 3
    few = plan_of(masks__background={**tuned, "images": 3})
    assert [path.rpartition("/")[2] for path in few.threshold_input("cam")] == [
        *("train-00000.json", "train-00001.json")
    ]
    with pytest.raises(Ws3Error, match=r"masks\.background\.split: no maps are made for the val"):
        plan_of(
            masks__background={"kind": "tuned", "split": "val"}, evaluation={"splits": ["train"]}
        )


def test_figures_wait_for_the_reference_too(plan_of):
    plan = plan_of()
    of_cam, of_crops = plan.evaluate_input("cam"), plan.evaluate_input("crops")
    assert f"{plan.folder}/thresholds/cam.json" in of_crops
    assert f"{plan.folder}/receipts/maps/cam/val-00000.json" in of_crops
    assert not any("predictions" in path or "crops" in path for path in of_cam)
    assert f"{plan.folder}/receipts/predictions/crops/val-00001.json" in of_crops


def test_a_network_that_starts_from_the_classifier_waits_for_it(plan_of):
    plan = plan_of(
        classifier__architecture="resnet18",
        segmentation__architecture="lraspp_resnet18",
        segmentation__weights="classifier",
        segmentation__fully_supervised=True,
    )
    classifier = f"{plan.folder}/receipts/train_classifier.json"
    assert plan.train_segmentation_input("ground_truth") == [classifier]
    masks = plan.receipts("masks", "crops", ["train"])
    assert plan.train_segmentation_input("crops") == [classifier, *masks]


def test_the_ceiling_learns_from_no_pseudo_mask(plan_of):
    plan = plan_of(segmentation__fully_supervised=True)
    assert plan.train_segmentation_input("ground_truth") == []
    assert f"{plan.folder}/receipts/train_segmentation/ground_truth.json" in plan.targets()
    assert f"{plan.folder}/receipts/predictions/ground_truth/val-00001.json" in plan.targets()
    assert plan.train_segmentation_input("crops") == plan.receipts("masks", "crops", ["train"])
    assert plan.evaluations()[-1] == f"{plan.folder}/evaluation/ground_truth.json"
    assert plan.evaluate_input("ground_truth") == [
        *(f"{plan.folder}/receipts/maps/cam/val-0000{number}.json" for number in (0, 1)),
        f"{plan.folder}/thresholds/cam.json",
        *(f"{plan.folder}/receipts/predictions/ground_truth/val-0000{n}.json" for n in (0, 1)),
    ]


def test_a_run_ends_with_all_that_it_makes(plan_of):
    plan = plan_of()
    targets = [target.removeprefix(f"{plan.folder}/") for target in plan.targets()]
    folders = Counter(target.rpartition("/")[0] for target in targets)
    assert folders == {
        "receipts": 1,
        **{f"receipts/saliency/{recipe}": 5 for recipe in ("cam", "crops")},
        **{f"receipts/maps/{recipe}": 5 for recipe in ("cam", "crops")},
        **{f"receipts/masks/{recipe}": 5 for recipe in ("cam", "crops")},
        "receipts/train_segmentation": 1,
        "receipts/predictions/crops": 2,
        "thresholds": 2,
        "evaluation": 5,  # two recipes, with the counts of each image, and the summary
        "report": 1,
    }
    assert len(set(targets)) == len(targets)


def test_a_split_that_the_dataset_does_not_have_is_named(plan_of):
    plan = plan_of(dataset__val=None)
    with pytest.raises(Ws3Error, match=r"evaluation\.splits: the dataset has no image in the val"):
        _ = plan.listing


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"method": "grad-cam"}, r"recipes\.new: there is no method 'grad-cam'; did you mean"),
        (
            {"method": "integrated_gradients", "options": {"step": 3}},
            r"recipes\.new: the method integrated_gradients has no option 'step'",
        ),
    ],
)
def test_a_method_is_checked_before_anything_runs(config_of, recipe, sentence):
    with pytest.raises(Ws3Error, match=sentence):
        Plan(config_of(recipes__new=recipe), check_files=True)


def test_parameters_are_one_line_whatever_their_order():
    assert as_text(b=1, a=[1, 2]) == as_text(a=[1, 2], b=1) == '{"a": [1, 2], "b": 1}'
