"""Results in a folder with an awkward name: it works, or it is refused before anything runs."""

from __future__ import annotations

import os

import pytest
from snake import snakemake

from ws3.config.load import resolve
from ws3.errors import Ws3Error

CONFIG = {
    "run": "tiny",
    "device": "cpu",
    "dataset": {"kind": "synthetic", "train_images": 2, "val_images": 1, "size": 64, "classes": 2},
    "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1},
    "recipes": {"cam": {"preset": "gradcam"}},
}


@pytest.mark.slow
def test_blanks_quotes_and_shell_syntax_in_results_are_just_a_name(tmp_path):
    name = "my 'own' \"results\" $HOME `touch executed` $(touch executed) ; touch executed #"
    done = snakemake(tmp_path, config={**CONFIG, "results": name})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / name / "tiny/report/index.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".snakemake", "config.yaml", name]
    again = snakemake(tmp_path, config={**CONFIG, "results": name})
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ("a{b}", r"results: 'a\{b\}' holds '\{', which Snakemake can't have in a path; choose a"),
        ("a\nb", r"results: 'a\\nb' holds '\\n', which Snakemake can't have in a path"),
        ("a\0b", r"results: 'a\\x00b' holds a character that no text can have"),
        ("~nosuchuser/x", r"results: '~nosuchuser/x': there is no such user on this machine"),
    ],
)
def test_what_can_not_be_a_path_is_refused_in_one_sentence(results, sentence):
    with pytest.raises(Ws3Error, match=sentence):
        resolve({**CONFIG, "results": results})


def test_a_home_folder_is_expanded():
    config = resolve({**CONFIG, "results": "~/runs"})
    assert config.results == os.path.join(os.path.expanduser("~"), "runs")  # noqa: PTH111, PTH118


def test_snakemake_tells_a_refused_folder_without_a_traceback(tmp_path):
    done = snakemake(tmp_path, "--dry-run", config={**CONFIG, "results": "a{b}"})
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "results: 'a{b}' holds '{'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"results": "a{b}"}, "config: results: 'a{b}' holds '{'"),
        ({"dataset": {"kind": "folder", "root": "nowhere"}}, "nowhere/images: No such file"),
        (
            {
                "masks": {"background": {"kind": "tuned", "split": "val"}},
                "evaluation": {"splits": ["train"]},
            },
            "config: masks.background.split: no maps are made for the val split",
        ),
    ],
)
def test_a_mistake_at_parse_time_is_told_without_snakemakes_stack(tmp_path, change, sentence):
    done = snakemake(tmp_path, "--dry-run", config={**CONFIG, **change})
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert sentence in said
    for word in ("Traceback", "common.smk", "File ", "Error in"):
        assert word not in said
