"""A finished run described as an RO-Crate: what its files are, and what made them.

The form is RO-Crate 1.1 with the profile Process Run Crate 0.5. The Snakefile isn't part of a run's
folder, so the profiles that ask for it there (Workflow Run Crate) are not claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ws3 import __version__
from ws3.config.run import RunConfig
from ws3.files import json_bytes, sha256, write_bytes
from ws3.jobs.progress import ProgressReport
from ws3.report.methods import programs_of
from ws3.run import journal
from ws3.run.contents import CRATE, MANIFEST, check_finished, files_of
from ws3.run.folder import Run
from ws3.stage_table import STAGES

SPECIFICATION = "https://w3id.org/ro/crate/1.1"
CONTEXT = [
    f"{SPECIFICATION}/context",
    {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"},
]
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"

Entity = dict[str, Any]

_ABOUT = {
    "config.yaml": "The configuration, with all defaults and with presets resolved.",
    "index.csv": "All images: split, labels, size, SHA-256 of the image and of its mask.",
    "classes.txt": "The classes, in the order of the masks' values from 1 on.",
    "classifier.pt": "The image-level classifier, as a PyTorch state-dict file.",
    "evaluation/summary.csv": "The figures of all recipes: a row per recipe, split and stage.",
    "report/index.html": "The report; its pictures lie beside it.",
    "report/report.html": "The report in one file.",
    MANIFEST: "The SHA-256 of every file here; `sha256sum --check` reads it.",
}
_STORES = {
    "saliency": "Partial sums of saliency maps over samples",
    "maps": "Score maps, one per class present, in [0, 1]",
    "regions": "Segments of the images, which vote on masks",
    "masks": "Pseudo-masks as palette PNGs: 0 background, 1 the first class, 255 ignored",
    "confidence": "Confidence of the pseudo-masks' pixels, as grey PNGs",
    "predictions": "Masks that the segmentation network predicts, as palette PNGs",
}
# Not `mimetypes`, which says on each machine what its system knows.
_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".pt": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
}


@dataclass
class _Files:
    """The files of a run: those described one by one, and folders of per-image results."""

    single: dict[str, Entity] = field(default_factory=dict)
    folders: dict[str, list[int]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def write_crate(run: Run, licence: str | None = None) -> Path:
    """Write `ro-crate-metadata.json` and `manifest-sha256.txt` into a run's folder.

    The same run gives the same bytes: the date is that of its last result.

    Args:
        run: A finished run.
        licence: Address of the licence of the results. None says that none is stated.

    Returns:
        The path of the description.

    Raises:
        StaleResultError: If the run isn't finished.
    """
    check_finished(run)
    files = _read(run)
    manifest = "".join(files.lines).encode()
    write_bytes(run.folder / MANIFEST, manifest)
    files.single[MANIFEST] = _file(run.folder / MANIFEST, MANIFEST)
    made = _made(run, files)
    entities = [
        _descriptor(),
        _root(run, files, made, licence),
        *_profile(),
        *_programs(run.config),
        *files.single.values(),
        *(_folder(run, name, sizes) for name, sizes in files.folders.items()),
        *made,
    ]
    if licence is not None:
        entities.append({"@id": licence, "@type": "CreativeWork", "name": licence})
    path = run.folder / CRATE
    write_bytes(path, json_bytes({"@context": CONTEXT, "@graph": entities}))
    return path


def _read(run: Run) -> _Files:
    """Read every file once for its digest."""
    files, stores = _Files(), _results(run)
    paths = list(files_of(run))
    with ProgressReport("crate", unit="files") as progress:
        for number, path in enumerate(paths):
            name = path.relative_to(run.folder).as_posix()
            entity = _file(path, name)
            files.lines.append(f"{entity['sha256']}  {name}\n")
            store = next((store for store in stores if name.startswith(store)), None)
            if store is None:
                files.single[name] = entity
            else:
                files.folders.setdefault(store, []).append(int(entity["contentSize"]))
            progress.reach(number + 1, len(paths))
    return files


def _results(run: Run) -> dict[str, tuple[str, str]]:
    """Return stage and recipe of each folder of per-image results, which has thousands of files."""
    found = {
        f"{run.results(stage, recipe).relative_to(run.folder).as_posix()}/": (stage, recipe)
        for stage, spec in STAGES.items()
        for recipe in spec.recipes(run.config)
    }
    for recipe in run.config.recipes:
        folder = run.confidence_file(recipe, "any").parent.relative_to(run.folder)
        found[f"{folder.as_posix()}/"] = ("confidence", recipe)
    return found | dict.fromkeys(
        ("data/", "report/images/", "report/gallery/", "receipts/"), ("", "")
    )


def _file(path: Path, name: str) -> Entity:
    kind = _TYPES.get(path.suffix)
    return {
        "@id": quote(name),
        "@type": "File",
        "name": name,
        "contentSize": str(path.stat().st_size),
        "sha256": sha256(path),
        **({} if kind is None else {"encodingFormat": kind}),
        **({"description": _ABOUT[name]} if name in _ABOUT else {}),
    }


def _folder(run: Run, name: str, sizes: list[int]) -> Entity:
    stage, recipe = _results(run)[name]
    about = f"{_STORES[stage]}; recipe {recipe}. " if stage else ""
    return {
        "@id": quote(name),
        "@type": "Dataset",
        "name": name,
        "description": f"{about}{len(sizes)} files of {sum(sizes)} bytes; {MANIFEST} has the "
        "SHA-256 of each.",
    }


def _descriptor() -> Entity:
    return {
        "@id": CRATE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": SPECIFICATION},
    }


def _root(run: Run, files: _Files, made: Iterable[Entity], licence: str | None) -> Entity:
    unsaid = "" if licence is not None else " No licence is stated: ask whoever gave you this."
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"ws3: {run.config.run}",
        "description": "Weakly supervised semantic segmentation with ws3: results of the run "
        f"{run.config.run} on a dataset of the kind {run.config.dataset.kind}, with "
        f"{', '.join(run.config.recipes)}. The dataset itself may lie elsewhere; index.csv has the "
        f"SHA-256 of each image.{unsaid}",
        "datePublished": _date(max(_ends(run), default=0.0)),
        "conformsTo": {"@id": PROFILE},
        "hasPart": [{"@id": quote(name)} for name in (*files.single, *files.folders)],
        "mentions": [{"@id": entity["@id"]} for entity in made],
        **({} if licence is None else {"license": {"@id": licence}}),
    }


def _profile() -> list[Entity]:
    return [
        {
            "@id": PROFILE,
            "@type": "CreativeWork",
            "name": "Process Run Crate",
            "version": "0.5",
        }
    ]


def _programs(config: RunConfig) -> list[Entity]:
    """Return ws3, what it computes with, and its workflow, with the versions installed now."""
    found = {}
    for name in (*programs_of(config), "snakemake"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the workflow needn't be installed where results are read
            continue
    programs = [
        {
            "@id": f"#{name}",
            "@type": "SoftwareApplication",
            "name": name,
            "version": number,
        }
        for name, number in found.items()
    ]
    own = {
        "@id": "#ws3",
        "@type": "SoftwareApplication",
        "name": "ws3",
        "version": __version__,
        "description": "Snakemake rules and the commands that they call. The versions are those "
        "that were installed when this description was written; by their fingerprints, the results "
        "are what this ws3 computes from this configuration.",
        "license": {"@id": "https://spdx.org/licenses/Apache-2.0"},
        "citation": {"@id": "https://arxiv.org/abs/2308.11052"},
        "softwareRequirements": [{"@id": f"#{name}"} for name in found],
    }
    return [
        own,
        *programs,
        {
            "@id": "https://spdx.org/licenses/Apache-2.0",
            "@type": "CreativeWork",
            "name": "Apache License 2.0",
        },
        {
            "@id": "https://arxiv.org/abs/2308.11052",
            "@type": "ScholarlyArticle",
            "name": "Beyond Discriminative Regions: Saliency Maps as Alternatives to CAMs for "
            "Weakly Supervised Semantic Segmentation (the idea; ws3 is not by its authors)",
        },
    ]


def _made(run: Run, files: _Files) -> list[Entity]:
    """Return one action per stage and recipe: what it read, what it made, and when, if known."""
    stages = {key: folder for folder, key in _results(run).items() if key[0]}
    found = []
    for (stage, recipe), folder in stages.items():
        if folder not in files.folders or stage not in STAGES:
            continue
        spec = STAGES[stage]
        read = [
            stages[source, spec_owner]
            for source in spec.built_on
            if (spec_owner := STAGES[source].owner(run.config, recipe)) is not None
            and (source, spec_owner) in stages
        ]
        networks = {
            "saliency": "classifier.pt",
            "predictions": f"segmentation/{recipe}/model.pt",
        }
        if stage == "maps" and (second := run.config.recipes[recipe].network) is not None:
            networks["maps"] = f"segmentation/{second}/model.pt"
        read += [name for name in (networks.get(stage),) if name in files.single]
        read += [f"thresholds/{recipe}.json"] if stage == "masks" else []
        confidence = stages.get(("confidence", recipe))
        beside = [confidence] if stage == "masks" and confidence in files.folders else []
        times = [
            (entry.time - sum(entry.seconds.values()), entry.time)
            for entry in journal.entries(run, stage)
            if entry.recipe == recipe and entry.event == "computed" and entry.time
        ]
        found.append(
            _action(
                f"{stage}-{recipe}",
                f"{spec.summary.rstrip('.')} (recipe {recipe})",
                ["config.yaml", "index.csv", *read],
                [folder, *beside],
                {
                    "startTime": _time(min(start for start, _ in times)),
                    "endTime": _time(max(end for _, end in times)),
                }
                if times
                else {},
            )
        )
    trained = {
        "classifier.pt": ("Train or take over the image-level classifier", ["index.csv"]),
        **{
            f"segmentation/{name}/model.pt": (
                f"Train a segmentation network on {name}",
                [stages["masks", name]] if ("masks", name) in stages else [],
            )
            for name in run.config.segmentation_names
        },
    }
    for result, (title, read) in trained.items():
        if result in files.single:
            found.append(_action(f"train-{result}", title, ["config.yaml", *read], [result], {}))
    figures = [name for name in files.single if name.startswith(("evaluation/", "report/"))]
    judged = [
        folder
        for (stage, _), folder in stages.items()
        if stage in ("maps", "masks", "predictions") and folder in files.folders
    ]
    found.append(
        _action("evaluate", "Measure all against the ground truth, and report", judged, figures, {})
    )
    return found


def _action(
    name: str, title: str, read: Iterable[str], made: Iterable[str], times: Mapping[str, str]
) -> Entity:
    return {
        "@id": f"#{quote(name)}",
        "@type": "CreateAction",
        "name": title,
        "instrument": {"@id": "#ws3"},
        "object": _references(read),
        "result": _references(made),
        **times,
    }


def _references(paths: Iterable[str]) -> Entity | list[Entity]:
    """Return references to entities; a single one stands without a list, as RO-Crate has it."""
    found = [{"@id": quote(path)} for path in paths]
    return found[0] if len(found) == 1 else found


def _ends(run: Run) -> Iterable[float]:
    return (entry.time for stage in STAGES for entry in journal.entries(run, stage))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(round(seconds), UTC).isoformat()


def _date(seconds: float) -> str:
    return _time(seconds)[:10]
