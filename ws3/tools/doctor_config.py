"""Whether what a configuration names is there, and the machine has room for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from ws3.config.classifier import OPEN_CLIP, TIMM
from ws3.config.dataset import KINDS
from ws3.config.load import load
from ws3.config.recipes import NetworkAffinity
from ws3.config.run import RunConfig
from ws3.config.segmentation import OWN_CLASSIFIER
from ws3.datasets import dataset_root, list_dataset
from ws3.datasets.index import ImageRow, Listing
from ws3.datasets.listing_files import MISSING
from ws3.errors import Ws3Error
from ws3.messages import reason
from ws3.outside import TENSORS_BYTES, check_regular
from ws3.run.folder import Run
from ws3.run.memory import PROGRAM_MB, picture_mb
from ws3.tools.doctor_machine import available_memory
from ws3.tools.finding import Finding

LEAST_FREE = 0.1
"""GB below which nothing can be written to speak of."""
COMFORTABLE = 5.0
"""GB below which a run of some thousand images may fill the disk."""
LARGEST_LIST = 50 * 10**6
"""Bytes of a list that are read here; a larger one takes longer than the rest together."""


def config_findings(path: Path) -> Iterator[Finding]:
    """Yield what there is to say about a configuration's files."""
    try:
        config = load(path)
    except (Ws3Error, OSError) as error:
        yield Finding("configuration", "fault", reason(error), "mend the file")
        return
    # What is looked at is the same for all seeds.
    runs = Run.all_of(config)
    run, config = runs[0], runs[0].config
    names = ", ".join(one.config.run for one in runs)
    yield Finding("configuration", "ok", f"{path}, run{'s' * (len(runs) > 1)} {names}")
    yield disk_finding("results", Path(config.results).expanduser())
    yield from dataset_findings(config, run)
    yield from weight_findings(config)
    yield from _device_findings(config)
    if run.index_file.exists():
        yield from _size_findings(run)


def disk_finding(what: str, folder: Path) -> Finding:
    """Look at the free room and the permissions of a folder, or of the nearest one above it."""
    there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), Path("/"))
    free = shutil.disk_usage(there).free / 1e9
    text = f"{free:.1f} GB free at {folder}"
    if not os.access(there, os.W_OK):
        return Finding(what, "fault", f"{there} can't be written to", "choose another `results`")
    if free < LEAST_FREE:
        return Finding(what, "fault", text, "free some room, or choose another `results`")
    if free < COMFORTABLE:
        return Finding(what, "warning", text, "saliency stores take some MB per image and recipe")
    return Finding(what, "ok", text)


def dataset_findings(config: RunConfig, run: Run) -> Iterator[Finding]:
    """List the dataset, if that is quick, and look which of its files are missing."""
    root = dataset_root(config.dataset, run.folder)
    kind = KINDS[config.dataset.kind]
    if kind.prepare is not None:
        yield Finding("dataset", "ok", f"{config.dataset.kind}, drawn into {root} when it is used")
        return
    if not root.is_dir():
        yield Finding("dataset", "fault", f"{root}: there is no such folder", "set dataset.root")
        return
    lists = [root / name for name in kind.watched(config.dataset)]
    large = [path for path in lists if path.is_file() and path.stat().st_size > LARGEST_LIST]
    if large:
        yield Finding("dataset", "ok", f"{root}; {large[0].name} is large, `ws3 index` reads it")
        return
    try:
        listing = list_dataset(config.dataset, run.folder)
    except (Ws3Error, OSError) as error:
        yield Finding("dataset", "fault", reason(error), "mend it, or change the section `dataset`")
        return
    yield _listed(root, listing)


def _listed(root: Path, listing: Listing) -> Finding:
    free = shutil.disk_usage(root).free / 1e9
    images, classes = len(listing.rows), len(listing.classes)
    text = f"{root}: {images} images, {classes} classes, {free:.1f} GB free"
    missing = [row.path for row in listing.rows if row.stat_key.split(";")[0] == MISSING]
    masks = [row.mask for row in listing.rows if row.stat_key.endswith(f";{MISSING}")]
    if not listing.rows:
        return Finding("dataset", "fault", text, "there is nothing to learn from")
    for kind, paths in (("images", missing), ("masks", masks)):
        if paths:
            lost = f"{text}; {len(paths)} {kind} are missing, such as {paths[0]}"
            return Finding("dataset", "fault", lost, "put them there, or take them off the lists")
    return Finding("dataset", "ok", text)


def weight_findings(config: RunConfig) -> Iterator[Finding]:
    """Look for the files of weights and checkpoints."""
    trained, classifier = config.classifier.checkpoint, config.classifier
    named = {
        "classifier.checkpoint": (trained, classifier.architecture),
        "classifier.weights": (None if trained else classifier.weights, classifier.architecture),
    }
    if config.segmentation_names:
        segmentation = config.segmentation
        backbone = segmentation.architecture.partition("_")[2]
        own = segmentation.weights == OWN_CLASSIFIER
        named["segmentation.weights"] = (None if own else segmentation.weights, backbone)
    networks = {"classifier.architecture": classifier.architecture}
    for name, recipe in config.recipes.items():
        walk = recipe.aggregation.random_walk
        if walk is not None and isinstance(walk.affinity, NetworkAffinity):
            key, asked = f"recipes.{name}.aggregation.random_walk.affinity", walk.affinity
            networks[f"{key}.network"] = asked.network
            named[f"{key}.weights"] = (asked.weights, asked.network)
    for key, network in networks.items():
        if network.startswith(TIMM) and find_spec("timm") is None:
            yield Finding(
                key,
                "fault",
                f"{network}, but timm isn't installed",
                "pip install 'ws3-seg[timm]'",
            )
    if classifier.architecture.startswith(OPEN_CLIP) and find_spec("open_clip") is None:
        yield Finding(
            "classifier.architecture",
            "fault",
            f"{classifier.architecture}, but open_clip isn't installed",
            "pip install 'ws3-seg[clip]'",
        )
    for key, (value, network) in named.items():
        if value == "imagenet":
            yield _imagenet(key, network)
        elif value is not None:
            path = Path(value).expanduser()
            try:
                check_regular(path, TENSORS_BYTES)
                yield Finding(key, "ok", f"{path}, {path.stat().st_size / 1e6:.0f} MB")
            except OSError as error:
                yield Finding(key, "fault", f"{path}: {reason(error)}", f"set {key}")


def _imagenet(key: str, network: str) -> Finding:
    if network.startswith(TIMM):
        return Finding(
            key,
            "warning",
            f"imagenet: timm downloads {network}, unless it has done so before",
            "start one run where there is a network, or name a state-dict file",
        )
    home = os.environ.get("TORCH_HOME")
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    folder = (Path(home) if home else Path(cache) / "torch").expanduser() / "hub" / "checkpoints"
    found = sorted(folder.glob(f"{network}-*.pth")) if folder.is_dir() else []
    if found:
        return Finding(key, "ok", f"imagenet, {found[0]}")
    return Finding(
        key,
        "warning",
        f"imagenet: torchvision downloads {network} into {folder} when it is used",
        "start one run where there is a network, or name a state-dict file",
    )


def _device_findings(config: RunConfig) -> Iterator[Finding]:
    if config.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            yield Finding("device", "fault", "cuda, but torch finds no GPU", "set device: auto")


def _size_findings(run: Run) -> Iterator[Finding]:
    """Compare the memory with the image of the index whose mask takes most."""
    try:
        rows = [row for row in run.index.rows if row.width]
    except (Ws3Error, OSError) as error:
        yield Finding("index", "fault", reason(error), f"ws3 index {run.folder}")
        return
    if not rows or run.config.masks.crf == "none":
        return

    def megabytes(row: ImageRow) -> float:
        return PROGRAM_MB + picture_mb(run.config, "masks", row.width * row.height, len(row.labels))

    largest = max(rows, key=megabytes)
    needed = megabytes(largest) / 1e3
    available = available_memory() / 1e9
    jobs = int(available / needed)
    text = (
        f"the largest, {largest.image}, has {largest.width} x {largest.height} pixels: its mask "
        f"takes at most about {needed:.1f} GB of {available:.1f}"
    )
    cores = len(os.sched_getaffinity(0))
    if jobs < 1:
        yield Finding(
            "images", "fault", text, "scale it down, or set a smaller masks.crf.max_pixels"
        )
    elif jobs < cores:
        yield Finding(
            "images", "warning", text, f"run at most {jobs} jobs: snakemake --cores {jobs}"
        )
    else:
        yield Finding("images", "ok", text)
