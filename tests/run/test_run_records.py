"""What is written as JSON is read back equal, and a damaged file is refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from ws3.config.masks import ConstantBackground, PowerBackground
from ws3.errors import StaleResultError, Ws3Error
from ws3.run.records import (
    CheckedRecipe,
    ClassFigures,
    ClassifierFacts,
    ClassifierMetrics,
    Evaluation,
    Failure,
    IndexFacts,
    PrecisionFacts,
    Receipt,
    SanityFacts,
    SegmentationEpoch,
    SegmentationFacts,
    StageFigures,
    Threshold,
    read_record,
    write_record,
)

RECORDS = {
    "index": IndexFacts(
        format=2,
        sources={"dataset": {"kind": "voc", "scales": [1, 0.5, None]}, "files": {"a": "1-2"}},
        classes=("cat", "dog"),
        images={"train": 3, "val": 1},
        problems={"b": "b.jpg is no image"},
    ),
    "classifier": ClassifierFacts(
        architecture="resnet18",
        classes=("cat", "dog"),
        input_size=64,
        epochs=None,
        fingerprint="f0",
        sha256="c0",
        metrics=ClassifierMetrics(split="val", mean_ap=0.5, per_class_ap={"cat": 1.0, "dog": None}),
    ),
    "precision": PrecisionFacts(classifier="c0", precision="bf16"),
    "receipt": Receipt(
        stage="maps",
        recipe="cam",
        batch="val-00000",
        images={"a": "f1"},
        skipped={"b": "b.jpg is no image"},
        computed=1,
        reused=0,
        samples=20,
        bytes=4096,
        seconds={"load": 0.25, "compute": 1.5},
        versions={"ws3": "0.1.0"},
    ),
    "sanity": SanityFacts(
        images=("a",),
        depths=(0.0, 1.0),
        recipes=(
            CheckedRecipe(
                recipe="cam",
                fingerprint="f3",
                likeness=(0.5, None),
                deletion=(1.0, 0.25),
                insertion=(0.25, 1.0),
            ),
        ),
    ),
    "failure": Failure(reason="\N{LATIN SMALL LETTER A WITH DIAERESIS}.jpg is no image"),
    "threshold": Threshold(
        recipe="cam",
        background=ConstantBackground(kind="constant", score=0.25),
        kind="tuned",
        split="train",
        images=3,
        miou=0.5,
    ),
    "power": Threshold(
        recipe="cam", background=PowerBackground(kind="power", alpha=4.0), kind="power"
    ),
    "segmentation": SegmentationFacts(
        recipe="cam",
        architecture="deeplabv3",
        fingerprint="f2",
        sha256="m0",
        images=3,
        epochs=(SegmentationEpoch(epoch=1, loss=0.5, pixel_accuracy=0.75, learning_rate=0.125),),
    ),
    "evaluation": Evaluation(
        recipe="cam",
        seed=3,
        reference="cam",
        classes=("cat",),
        splits={
            "val": {
                "maps": StageFigures(
                    images=1,
                    threshold=0.25,
                    threshold_kind="tuned",
                    threshold_split="train",
                    ignored_share=None,
                    figures={"miou": 0.5, "pxap": None},
                    per_class={"cat": ClassFigures(images=1, figures={"iou": 0.5})},
                    sweep=((0.0, 0.5), (0.5, None)),
                )
            }
        },
    ),
}


@pytest.fixture(params=RECORDS, ids=str)
def record(request):
    return RECORDS[request.param]


def test_what_was_written_is_read(record, tmp_path):
    write_record(tmp_path / "a.json", record)
    assert read_record(tmp_path / "a.json", type(record)) == record


def test_equal_records_make_equal_bytes_in_any_order(record, tmp_path):
    backwards = type(record).model_validate(
        dict(reversed(record.model_dump(mode="python").items()))
    )
    write_record(tmp_path / "a.json", record)
    write_record(tmp_path / "b.json", backwards)
    data = (tmp_path / "a.json").read_bytes()
    assert data == (tmp_path / "b.json").read_bytes()
    assert list(json.loads(data)) == sorted(json.loads(data))


def test_each_missing_key_is_named(record, tmp_path):
    path = tmp_path / "a.json"
    whole = record.model_dump(mode="json")
    for key, field in type(record).model_fields.items():
        path.write_text(json.dumps({name: whole[name] for name in whole if name != key}))
        if field.is_required():
            with pytest.raises(Ws3Error, match=rf"^{path}: .*\({key} is missing\); remove it and"):
                read_record(path, type(record))
        else:
            default = field.get_default(call_default_factory=True)
            assert getattr(read_record(path, type(record)), key) == default


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not JSON: EOF while parsing"),
        ('{"reason": "a', "it is not JSON: EOF while parsing"),
        ("[]", "a JSON object is expected"),
        ("null", "a JSON object is expected"),
        ('{"reason": 3}', "reason: input should be a valid string"),
        ('{"reason": "a", "digest": "b"}', "digest is unknown"),
        ('{"digest": "b"}', "reason is missing, digest is unknown"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(text, words, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(Ws3Error) as caught:
        read_record(path, Failure)
    message = str(caught.value)
    assert message.startswith(f"{path}: this file is damaged ({words}")
    assert message.endswith("; remove it and run snakemake again.")
    assert "\n" not in message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"reason": "\xff"}')
    with pytest.raises(Ws3Error, match="this file is damaged"):
        read_record(tmp_path / "a.json", Failure)


def test_many_faults_are_cut_short(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(Ws3Error, match=r"\(stage is missing, recipe is missing, batch is missing "):
        read_record(tmp_path / "a.json", Receipt)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": "3"}, "images: input should be a valid integer"),
        ({"images": True}, "images: input should be a valid integer"),
        ({"miou": float("nan")}, "miou: input should be a finite number"),
        ({"background": {"kind": "tuned"}}, "background: "),
        ({"background": {"kind": "constant", "score": 2.0}}, "background.constant.score: "),
        ({"split": "test"}, "split: "),
    ],
)
def test_a_value_of_another_kind_is_refused(changes, words, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**RECORDS["threshold"].model_dump(mode="json"), **changes}))
    with pytest.raises(Ws3Error, match=r"this file is damaged \(" + words):
        read_record(path, Threshold)


def test_a_missing_file_is_a_stale_result(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(StaleResultError, match=f"{path}: this file is missing; run snakemake"):
        read_record(path, Failure)


def test_a_folder_in_the_files_place_is_an_error(tmp_path):
    with pytest.raises(Ws3Error, match="can't be read"):
        read_record(tmp_path, Failure)


def test_undefined_numbers_are_never_nan():
    with pytest.raises(ValidationError):
        ClassifierMetrics(split="val", mean_ap=float("nan"), per_class_ap={})
    with pytest.raises(ValidationError):
        ClassFigures(images=1, figures={"iou": float("inf")})


def test_only_a_constant_background_has_a_score():
    constant, power = RECORDS["threshold"], RECORDS["power"]
    assert isinstance(constant, Threshold)
    assert constant.score == 0.25
    assert isinstance(power, Threshold)
    assert power.score is None


def test_records_are_light_to_import():
    heavy = "{'numpy', 'torch', 'cv2', 'PIL', 'scipy', 'zarr'}"
    code = f"import ws3.run.records, sys; print(sorted({heavy} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
