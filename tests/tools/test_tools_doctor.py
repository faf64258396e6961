"""`ws3 doctor`, on machines and configurations that lack something."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from bare_runs import bare_run, config_of, dataset
from PIL import Image
from typer.testing import CliRunner

from ws3.cli.app import app
from ws3.datasets.index import ImageRow, Index, write_index
from ws3.run.folder import Run
from ws3.tools import doctor_machine as machine
from ws3.tools.doctor_config import config_findings, disk_finding
from ws3.tools.finding import Finding

__all__ = ["bare_run", "config_of", "dataset"]

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(float(sys.argv[1]) * 1e9),) * 2)
from ws3.tools.doctor_machine import memory_finding
print(memory_finding())
"""


@pytest.fixture
def configured(config_of, tmp_path):
    """Return a function that writes a configuration and returns what is said of it, by name."""

    def findings(**changes):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config_of(**changes)))
        return {finding.what: finding for finding in config_findings(path)}

    return findings


def installed(folder: Path, name: str, version: str, *lines: str) -> None:
    """Install a package without files, so that it is found before the real one."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    (info / "METADATA").write_text(text + "\n")


def commands(folder: Path, *names: str) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return str(folder)


# The machine -------------------------------------------------------------------------------------


def test_this_machine_has_no_fault():
    found = list(machine.machine_findings())
    assert [one.what for one in found] == [
        "Python",
        "Snakemake",
        "Slurm",
        "memory",
        "torch",
        "GPU",
        "CRF",
    ]
    assert [str(one) for one in found if one.verdict == "fault"] == []
    assert all(one.advice for one in found if one.verdict != "ok")


def test_torchvision_for_another_torch_is_a_fault_with_the_remedy(tmp_path, monkeypatch):
    installed(tmp_path, "torchvision", "0.15.2", "Requires-Dist: torch (==2.0.1)")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = machine.torch_finding()
    assert found.verdict == "fault"
    assert found.text == f"{version('torch')}, torchvision 0.15.2, which needs torch==2.0.1"
    assert found.advice.startswith("pip install 'torch==2.0.1', or pip install --upgrade torch")


def test_builds_for_different_devices_are_a_fault(tmp_path, monkeypatch):
    installed(tmp_path, "torch", "2.15.0+cpu")
    installed(tmp_path, "torchvision", "0.29.2+cu130", "Requires-Dist: torch (==2.15.0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = machine.torch_finding()
    assert (found.verdict, found.text.partition(": ")[2]) == (
        "fault",
        "builds for different devices",
    )


def test_a_torchvision_that_does_not_load_is_a_fault(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    code = "from ws3.tools.doctor_machine import torch_finding; print(torch_finding())"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("fault   torch: ")
    assert "they don't work (operator torchvision::nms does not exist)" in done.stdout


def test_slurms_commands_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", commands(tmp_path / "none"))
    assert (machine.slurm_finding().verdict, "not here" in machine.slurm_finding().text) == (
        "ok",
        True,
    )
    monkeypatch.setenv("PATH", commands(tmp_path / "some", "sbatch", "squeue", "scancel"))
    found = machine.slurm_finding()
    assert (found.verdict, found.text) == (
        "warning",
        "sbatch, squeue, scancel found, but not sacct",
    )
    monkeypatch.setenv("PATH", commands(tmp_path / "some", "sacct"))
    assert machine.slurm_finding().verdict == "ok"


def test_an_old_snakemake_is_a_fault_and_none_a_warning(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    installed(tmp_path, "snakemake", "7.32.4")
    (found,) = machine.snakemake_findings()
    assert (found.verdict, found.text) == ("fault", "7.32.4, and 9.13 or newer is needed")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "empty")])
    (found,) = machine.snakemake_findings()
    assert found.verdict == "warning"
    assert found.text.startswith("not installed")


def test_slurm_without_its_plugin_is_a_warning(tmp_path, monkeypatch):
    installed(tmp_path, "snakemake", "9.20.0")
    installed(tmp_path, "snakemake-executor-plugin-cluster-generic", "1.0.9")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setenv("PATH", commands(tmp_path / "bin", "sbatch"))
    (found,) = machine.snakemake_findings()
    assert found.verdict == "warning"
    assert "executors: cluster-generic, no slurm" in found.text
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = machine.snakemake_findings()
    assert found.verdict == "ok"


@pytest.mark.parametrize(("gigabytes", "verdict"), [(1.5, "fault"), (3, "warning")])
def test_a_limit_of_memory_is_noticed(gigabytes, verdict):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(gigabytes)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{verdict:7} memory: {gigabytes:.1f} GB available")


def test_a_crf_that_does_not_load_is_a_fault(tmp_path):
    (tmp_path / "pydensecrf.py").write_text("")
    code = "from ws3.tools.doctor_machine import crf_finding; print(crf_finding())"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("fault   CRF: pydensecrf does not work (No module named")


def test_a_slow_crf_is_told_from_a_slow_machine():
    """Stands for a build without optimisation: a pydensecrf that takes many times as many steps."""
    slow = (
        "from pydensecrf import densecrf\n"
        "Fast = densecrf.DenseCRF2D\n"
        "class Slow:\n"
        "    def __init__(self, *sizes):\n"
        "        self.fast = Fast(*sizes)\n"
        "    def __getattr__(self, name):\n"
        "        return getattr(self.fast, name)\n"
        "    def stepInference(self, *state):\n"
        "        for _ in range(20):\n"
        "            self.fast.stepInference(*state)\n"
        "densecrf.DenseCRF2D = Slow\n"
    )
    code = "from ws3.tools.doctor_machine import crf_finding; print(crf_finding())"
    said = [
        subprocess.run(
            [sys.executable, "-c", first + code], capture_output=True, text=True, check=True
        ).stdout
        for first in ("", slow)
    ]
    assert said[0].startswith("ok      CRF: a picture of 160 x 120 takes")
    assert said[1].startswith("warning CRF:")
    assert "built without optimisation -> env -u CFLAGS" in said[1]


# A configuration ---------------------------------------------------------------------------------


def test_a_good_configuration_has_no_fault(configured):
    found = configured()
    assert [str(one) for one in found.values() if one.verdict == "fault"] == []
    assert "8 images, 2 classes" in found["dataset"].text


def test_a_wrong_configuration_is_a_fault(configured, tmp_path):
    assert configured(masks__crf="irnn")["configuration"].verdict == "fault"
    (found,) = config_findings(tmp_path / "nowhere.yaml")
    assert (found.verdict, "no such configuration file" in found.text) == ("fault", True)


def test_a_dataset_that_is_not_there_is_a_fault(configured, dataset):
    found = configured(dataset__root="/nowhere/at/all")["dataset"]
    assert (found.verdict, found.text) == ("fault", "/nowhere/at/all: there is no such folder")
    (dataset / "images" / "t1.png").unlink()
    found = configured()["dataset"]
    assert found.verdict == "fault"
    (dataset / "labels.csv").unlink()
    found = configured()["dataset"]
    assert found.verdict == "fault"
    assert "labels.csv" in found.text


def test_weights_that_are_not_there_are_faults(configured, tmp_path, monkeypatch):
    found = configured(
        classifier={"checkpoint": str(tmp_path / "mine.pt")}, segmentation__weights=str(tmp_path)
    )
    assert found["classifier.checkpoint"].verdict == "fault"
    assert "No such file" in found["classifier.checkpoint"].text
    assert found["segmentation.weights"].verdict == "fault"
    assert "a folder" in found["segmentation.weights"].text
    own = {"segmentation__architecture": "lraspp_resnet18", "segmentation__weights": "classifier"}
    found = configured(classifier={"architecture": "resnet18"}, **own)
    assert "segmentation.weights" not in found
    affinity = {"network": "resnet18", "weights": str(tmp_path / "dino.pth")}
    key = "recipes.cam.aggregation.random_walk.affinity"
    walk = {"recipes__cam__aggregation": {"random_walk": {"affinity": affinity}}}
    assert configured(**walk)[f"{key}.weights"].verdict == "fault"
    (tmp_path / "mine.pt").write_bytes(b"weights")
    found = configured(classifier={"checkpoint": str(tmp_path / "mine.pt")})
    assert found["classifier.checkpoint"].verdict == "ok"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    weights = {"architecture": "resnet18", "weights": "imagenet"}
    assert configured(classifier=weights)["classifier.weights"].verdict == "warning"
    (tmp_path / "cache" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "cache" / "hub" / "checkpoints" / "resnet18-f37072fd.pth").touch()
    assert configured(classifier=weights)["classifier.weights"].verdict == "ok"


def test_an_image_that_the_memory_cannot_hold_is_a_fault(configured, config_of, tmp_path):
    run = Run(tmp_path / "results" / "bare", None)  # type: ignore[arg-type]
    run.folder.mkdir(parents=True)
    for side, verdict in ((1000, "ok"), (1_000_000, "fault")):
        row = ImageRow("a", "train", ("cat",), "a.png", "", "1-1", width=side, height=side)
        write_index(run.index_file, Index(("cat", "dog"), (row,)))
        assert configured()["images"].verdict == verdict
    assert "images" not in configured(masks__crf="none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_fault_if_it_is_asked_for(configured):
    assert configured(device="cuda")["device"].verdict == "fault"


def test_a_folder_without_room_or_permission_is_a_fault():
    # Of the kernel's own file system: it has no room, and nobody can make a folder in it.
    found = disk_finding("results", Path("/proc/here/results"))
    assert found.verdict == "fault"
    assert found.advice


# The command -------------------------------------------------------------------------------------


def test_the_command_ends_with_1_if_there_is_a_fault_and_writes_nothing(
    config_of, tmp_path, monkeypatch
):
    Image.new("RGB", (4, 4)).save(tmp_path / "any.png")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config_of()))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["doctor", "--configfile", str(path)])
    assert done.exit_code == 0, done.output
    assert "ok      dataset:" in done.output
    path.write_text(yaml.safe_dump(config_of(dataset__root=str(tmp_path / "gone"))))
    done = CliRunner().invoke(app, ["doctor", "--configfile", str(path)])
    assert done.exit_code == 1
    assert "fault   dataset:" in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_finding_is_one_line():
    assert str(Finding("disk", "fault", "full", "free some")) == "fault   disk: full -> free some"


def test_timm_and_its_downloads_are_looked_for(configured, monkeypatch):
    network = {"architecture": "timm:resnet18", "weights": "imagenet"}
    monkeypatch.setattr("ws3.tools.doctor_config.find_spec", lambda name: None)
    found = configured(classifier=network)
    affinity = {"network": "timm:resnet18", "weights": "dino.pth"}
    key = "recipes.cam.aggregation.random_walk.affinity"
    walk = {"recipes__cam__aggregation": {"random_walk": {"affinity": affinity}}}
    assert "ws3-seg[timm]" in configured(**walk)[f"{key}.network"].advice
    assert found["classifier.architecture"].verdict == "fault"
    assert "ws3-seg[timm]" in found["classifier.architecture"].advice
    assert found["classifier.weights"].verdict == "warning"
    assert "timm downloads timm:resnet18" in found["classifier.weights"].text
    monkeypatch.setattr("ws3.tools.doctor_config.find_spec", lambda name: object())
    assert "classifier.architecture" not in configured(classifier=network)


def test_open_clip_and_the_file_of_its_weights_are_looked_for(configured, monkeypatch):
    network = {"architecture": "open_clip:ViT-B-16", "weights": "nowhere.pt", "train": "text"}
    monkeypatch.setattr("ws3.tools.doctor_config.find_spec", lambda name: None)
    found = configured(classifier=network)
    assert "ws3-seg[clip]" in found["classifier.architecture"].advice
    assert found["classifier.weights"].verdict == "fault"
