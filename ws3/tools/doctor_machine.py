"""What a machine is fit for: versions, GPU, the CRF's speed, Snakemake, Slurm, memory."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from ws3.config.masks import MOST_CRF_PIXELS
from ws3.messages import reason
from ws3.run.memory import crf_mb
from ws3.tools.finding import Finding

USUAL_CRF = 9.0
"""Time of the small CRF relative to the loop that it is compared with, of an optimised build."""
SLOW_CRF = 4.0
"""From how many times the usual on a build is taken for one without optimisation."""

_LEAST_PYTHON = (3, 11)
_EXECUTORS = ("slurm", "cluster-generic")
_SLURM = ("sbatch", "squeue", "sacct", "scancel")
_DRIVER = Path("/proc/driver/nvidia/version")
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_findings() -> Iterator[Finding]:
    """Yield what there is to say about the machine, the quick things first."""
    yield python_finding()
    yield from snakemake_findings()
    yield slurm_finding()
    yield memory_finding()
    torch = torch_finding()
    yield torch
    if torch.verdict != "fault":
        yield gpu_finding()
    yield crf_finding()


def python_finding() -> Finding:
    """Look at Python itself."""
    text = f"{sys.version.split()[0]}, {sys.executable}"
    if sys.version_info < _LEAST_PYTHON:
        return Finding("Python", "fault", text, "install Python 3.11 or newer")
    if sys.maxsize < 2**32:
        return Finding("Python", "fault", f"{text}, 32-bit", "install a 64-bit Python")
    return Finding("Python", "ok", text)


def snakemake_findings() -> Iterator[Finding]:
    """Look for Snakemake and its executors; neither is imported."""
    try:
        found = version("snakemake")
    except PackageNotFoundError:
        yield Finding(
            "Snakemake",
            "warning",
            "not installed; every stage is a ws3 command of its own",
            "pip install 'ws3-seg[workflow]'",
        )
        return
    prefix = "snakemake-executor-plugin-"
    names = {(one.name or "").lower().replace("_", "-") for one in distributions()}
    executors = sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))
    listed = ", ".join(executors) or "none"
    missing = [name for name in _EXECUTORS if name not in executors]
    if int(found.partition(".")[0]) < 9:
        advice = "pip install 'ws3-seg[workflow]'"
        yield Finding("Snakemake", "fault", f"{found}, and 9.13 or newer is needed", advice)
    elif "slurm" in missing and shutil.which("sbatch"):
        advice = "pip install snakemake-executor-plugin-slurm"
        yield Finding("Snakemake", "warning", f"{found}, executors: {listed}, no slurm", advice)
    else:
        yield Finding("Snakemake", "ok", f"{found}, executors: {listed}")


def slurm_finding() -> Finding:
    """Look for Slurm's commands."""
    there = [name for name in _SLURM if shutil.which(name)]
    if not there:
        return Finding("Slurm", "ok", "not here; jobs run on this machine")
    missing = [name for name in _SLURM if name not in there]
    if missing:
        return Finding(
            "Slurm",
            "warning",
            f"{', '.join(there)} found, but not {', '.join(missing)}",
            "put all of Slurm's commands on PATH; without sacct a finished job is not noticed",
        )
    return Finding("Slurm", "ok", f"{', '.join(there)} found")


def memory_finding() -> Finding:
    """Say how much memory there is, and what the CRF takes of it."""
    gigabytes, per_megapixel = available_memory() / 1e9, crf_mb(1, 3) / 1e3
    text = (
        f"{gigabytes:.1f} GB available; for three labels the CRF takes {per_megapixel:.2f} GB per "
        f"megapixel, of which it sees at most {MOST_CRF_PIXELS / 1e6:.0f} of a picture"
    )
    if gigabytes < 2:
        return Finding("memory", "fault", text, "a training needs at least 4 GB")
    if gigabytes < 4:
        return Finding("memory", "warning", text, "choose small networks and batches")
    return Finding("memory", "ok", text)


def available_memory() -> int:
    """Return the memory in bytes that is left to a process: by machine, control group and limit."""
    lines = _text("/proc/meminfo").splitlines()
    amounts = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    amounts += [int(text) for text in map(_text, _CGROUPS) if text.strip().isdigit()]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        amounts.append(limit)
    return min(amounts, default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def torch_finding() -> Finding:
    """Look whether torch and torchvision are made for each other, and try one function of both."""
    both = "pip install --upgrade torch torchvision, both from the index that torch came from"
    try:
        torch_version, vision_version = version("torch"), version("torchvision")
    except PackageNotFoundError as error:
        return Finding("torch", "fault", f"{error.name} is not installed", both)
    text = f"{torch_version}, torchvision {vision_version}"
    for line in requires("torchvision") or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        public = torch_version.partition("+")[0]
        if wanted.name == "torch" and not wanted.specifier.contains(public, prereleases=True):
            advice = f"pip install 'torch{wanted.specifier}', or {both}"
            return Finding("torch", "fault", f"{text}, which needs torch{wanted.specifier}", advice)
    builds = [one.partition("+")[2] for one in (torch_version, vision_version)]
    if all(builds) and builds[0] != builds[1]:
        return Finding("torch", "fault", f"{text}: builds for different devices", both)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            from torchvision.ops import nms

            nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    # A library that doesn't load raises whatever its loader does.
    except Exception as error:
        return Finding("torch", "fault", f"{text}, and they don't work ({reason(error)})", both)
    return Finding("torch", "ok", text)


def gpu_finding() -> Finding:
    """Look for a GPU that torch can use."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        gpus = [torch.cuda.get_device_properties(number) for number in range(count)]
        named = ", ".join(f"{gpu.name} ({gpu.total_memory / 1e9:.0f} GB)" for gpu in gpus)
        return Finding("GPU", "ok", f"{named}, CUDA {torch.version.cuda}")
    driver = re.search(r"\d+\.\d+(\.\d+)?", _text(_DRIVER))
    if driver and torch.version.cuda is None:
        text = f"a driver of NVIDIA's ({driver[0]}), but this torch is made for the CPU alone"
        return Finding("GPU", "warning", text, "install torch with CUDA: pytorch.org says how")
    if driver:
        why = f"; torch says: {reason(said[-1].message)}" if said else ""  # type: ignore[arg-type]
        text = f"a driver of NVIDIA's ({driver[0]}) that CUDA {torch.version.cuda} can't use{why}"
        return Finding("GPU", "warning", text, "update the driver, or look at CUDA_VISIBLE_DEVICES")
    return Finding("GPU", "ok", "none; everything runs on the CPU, trainings take hours there")


def crf_finding() -> Finding:
    """Measure a small CRF against a loop of Python's own on the same machine."""
    try:
        seconds = _quickest(_small_crf)
    except Exception as error:
        text = f"pydensecrf does not work ({reason(error)})"
        return Finding("CRF", "fault", text, "pip install --force-reinstall pydensecrf2")
    factor = seconds / _quickest(_loop) / USUAL_CRF
    text = f"a picture of 160 x 120 takes {seconds * 1000:.0f} ms"
    if factor > SLOW_CRF:
        return Finding(
            "CRF",
            "warning",
            f"{text}, {factor:.0f} times as long as it should: built without optimisation",
            "env -u CFLAGS -u CXXFLAGS pip install --force-reinstall --no-deps --no-cache-dir "
            "--no-binary :all: pydensecrf2",
        )
    return Finding("CRF", "ok", text)


def _quickest(function: Callable[[], None]) -> float:
    """Return the least CPU time of some calls, which other processes disturb least."""
    times = []
    for _ in range(5):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


def _small_crf() -> None:
    import numpy as np

    from ws3.masks.crf import PRESETS, DenseCrf

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 160, 3), np.uint8)
    DenseCrf(image, 3, PRESETS["irn"]).refine(rng.random((3, 120, 160), np.float32))


def _loop() -> None:
    value = 1
    for number in range(200_000):
        value = (value * 31 + number) & 0xFFFF
