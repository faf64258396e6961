"""Fingerprints: each thing that a result is made from changes its fingerprint, and nothing else."""

from __future__ import annotations

import pytest
from made_records import classifier_facts, constant_threshold, segmentation_facts

from ws3.config.load import resolve
from ws3.run.fingerprints import Fingerprints, fingerprint
from ws3.run.folder import Run
from ws3.run.records import Threshold, write_record
from ws3.stage_table import STAGES

POWER = Threshold(recipe="crops", background={"kind": "power", "alpha": 2}, kind="power")
LATER = {"saliency": ["maps", "masks"], "maps": ["masks"]}


def described(run):
    """Write down what the stages before have made."""
    write_record(run.receipt("train_classifier"), classifier_facts("c0"))
    write_record(run.receipt("train_segmentation", "crops"), segmentation_facts("m0"))
    write_record(run.threshold_file("crops"), constant_threshold("crops"))
    return run


def of(run, row):
    return {stage: Fingerprints(run, "crops").of(stage, row) for stage in STAGES}


def changed(before, after):
    return [stage for stage in STAGES if before[stage] != after[stage]]


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"seed": 1}, "saliency"),
        ({"recipes__crops__method": "input_x_gradient"}, "saliency"),
        ({"recipes__crops__reduce_channels": "l2"}, "saliency"),
        ({"recipes__crops__sign": "positive"}, "saliency"),
        ({"recipes__crops__precision": "bf16"}, "saliency"),
        ({"recipes__crops__output_stride": 16}, "saliency"),
        ({"recipes__crops__samples__side": [0.3, 0.9]}, "saliency"),
        ({"recipes__crops__samples__batch": 8}, "saliency"),
        ({"recipes__crops__samples__noise": 0.1}, "saliency"),
        ({"recipes__crops__samples__masking": {}}, "saliency"),
        ({"recipes__crops__samples__flip": True}, "saliency"),
        ({"recipes__crops__samples__input_size": 96}, "saliency"),
        ({"recipes__crops__samples__keep_samples": True}, "saliency"),
        ({"recipes__crops__samples__samples_per_chunk": 4}, "saliency"),
        ({"recipes__crops__aggregation__combine_samples": "max"}, "saliency"),
        ({"recipes__crops__aggregation__weight": "probability"}, "saliency"),
        ({"recipes__crops__aggregation__normalise_samples": "max"}, "saliency"),
        ({"recipes__crops__samples__count": 13}, "maps"),
        ({"recipes__crops__aggregation__smoothing": 0.1}, "maps"),
        ({"recipes__crops__aggregation__subtract_others": 0.1}, "maps"),
        ({"recipes__crops__aggregation__percentile": 95.0}, "maps"),
        ({"masks__crf": {"iterations": 3}}, "masks"),
        ({"masks__ignore_below": 0.1}, "masks"),
        ({"segmentation__test_scales": [1.0, 1.5]}, "predictions"),
        ({"segmentation__test_flip": False}, "predictions"),
        ({"segmentation__crf": "irn"}, "predictions"),
        ({"images_per_job": 5}, None),
        ({"recipes__cam__samples": {"kind": "full", "flip": True}}, None),
        ({"device": "auto"}, None),
    ],
)
def test_a_setting_changes_its_stage_and_those_built_on_it(bare_run, config_of, changes, stage):
    run = described(bare_run())
    row = run.index.rows[0]
    other = Run(run.folder, resolve(config_of(**changes)))
    expected = [] if stage is None else [stage, *LATER.get(stage, [])]
    assert changed(of(run, row), of(other, row)) == expected


def test_an_option_of_the_method_changes_the_saliency_and_what_is_built_on_it(bare_run):
    method = {"recipes__crops__method": "integrated_gradients"}
    few = described(bare_run(**method, recipes__crops__options={"steps": 3}))
    before = of(few, few.index.rows[0])
    many = described(bare_run(**method, recipes__crops__options={"steps": 4}))
    assert changed(before, of(many, many.index.rows[0])) == ["saliency", *LATER["saliency"]]


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"sha256": "0" * 64}, list(STAGES)),
        ({"image": "renamed"}, ["saliency", "maps", "masks"]),
        ({"labels": ("dog",)}, ["saliency", "maps", "masks"]),
        ({"split": "val", "stat_key": "1-1", "mask_sha256": "0"}, []),
    ],
)
def test_an_image_changes_what_is_made_of_it(bare_run, change, stages):
    run = described(bare_run())
    row = run.index.rows[0]
    assert changed(of(run, row), of(run, row._replace(**change))) == stages


@pytest.mark.parametrize(
    ("file", "content", "stages"),
    [
        ("receipts/train_classifier.json", classifier_facts("c1"), ["saliency", "maps", "masks"]),
        ("receipts/train_segmentation/crops.json", segmentation_facts("m1"), ["predictions"]),
        ("thresholds/crops.json", POWER, ["masks"]),
    ],
)
def test_what_was_made_before_changes_what_is_made_from_it(bare_run, file, content, stages):
    run = described(bare_run())
    row = run.index.rows[0]
    before = of(run, row)
    write_record(run.folder / file, content)
    assert changed(before, of(Run.open(run.folder), row)) == stages


def test_two_recipes_of_the_same_settings_draw_other_samples(bare_run, config_of):
    run = described(bare_run(recipes__twin=config_of()["recipes"]["crops"]))
    row = run.index.rows[0]
    assert run.recipe("twin") == run.recipe("crops")
    twin, crops = (Fingerprints(run, name).of("saliency", row) for name in ("twin", "crops"))
    assert twin != crops


def test_a_fingerprint_does_not_depend_on_the_order_of_its_parts():
    assert fingerprint(a=1, b={"x": 1, "y": 2}) == fingerprint(b={"y": 2, "x": 1}, a=1)
    assert fingerprint(a=1) != fingerprint(a=2)
    assert fingerprint(a="1") != fingerprint(a=1)
