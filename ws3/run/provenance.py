"""Where a run's results come from: what made them, of what, and with which programs."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import ws3
from ws3.config.run import RunConfig
from ws3.errors import StaleResultError
from ws3.files import file_sha256
from ws3.run.batches import stage_batches, stage_splits
from ws3.run.fingerprints import fingerprint
from ws3.run.folder import Run
from ws3.run.status import receipts_of
from ws3.stage_table import FORMAT, STAGES

_PACKAGE = "ws3-seg"


@dataclass(frozen=True, slots=True)
class Made:
    """What a stage made for one recipe, or of a whole run.

    Attributes:
        stage: Its name.
        recipe: The recipe's name; "" of what all recipes share.
        jobs: Number of jobs whose receipts are there.
        images: Number of images with a result; None of what is of no image.
        version: Of the computation.
        fingerprint: Of all that its results were made from; of a network, that of its training.
        sha256: Of the file that it made; "" of a per-image stage.
        hosts: Where its jobs ran, as far as they noted it.
    """

    stage: str
    recipe: str
    jobs: int
    images: int | None
    version: int | None
    fingerprint: str
    sha256: str = ""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a run's results come from.

    Attributes:
        run: Its name.
        ws3: Version of ws3.
        commit: Of ws3, with "+" behind it where files were changed since; "" if it isn't known.
        format: Of the run's folder.
        seed: Where all random streams start.
        device: What the configuration asks for.
        precisions: Arithmetic of the network's samples, by recipe.
        threads: Of a training.
        host: Name of the machine that wrote this.
        system: Its operating system and processor.
        python: Version of Python.
        versions: Versions of the programs that are installed there, by name.
        computed_with: All versions that jobs noted, by the program's name.
        index: SHA-256 of the table of images.
        stages: What each stage made, in the order of the data.
        config: The resolved configuration, of plain values only.
    """

    run: str
    ws3: str
    commit: str
    format: int
    seed: int
    device: str
    precisions: Mapping[str, str]
    threads: int
    host: str
    system: str
    python: str
    versions: Mapping[str, str]
    computed_with: Mapping[str, tuple[str, ...]]
    index: str
    stages: tuple[Made, ...]
    config: Mapping[str, Any]

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def provenance(run: Run, programs: Iterable[str]) -> Provenance:
    """Return where a run's results come from.

    Args:
        run: The run.
        programs: Packages whose versions are told, by their names on the package index; those that
            are not installed are left out.

    Raises:
        StaleResultError: If the images have not been indexed.
    """
    stages = tuple(_stages(run))
    versions = {"ws3": ws3.__version__}
    for name in programs:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return Provenance(
        run=run.config.run,
        ws3=ws3.__version__,
        commit=ws3_commit(),
        format=FORMAT,
        seed=run.config.seed,
        device=run.config.device,
        precisions=precisions(run),
        threads=run.config.threads,
        host=socket.gethostname(),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        python=platform.python_version(),
        versions=versions,
        computed_with=_noted_versions(run),
        index=file_sha256(run.index_file),
        stages=stages,
        config=run.config.model_dump(mode="json"),
    )


def precisions(run: Run) -> dict[str, str]:
    """Return the arithmetic of each recipe's samples, where it is decided."""
    found: dict[str, str] = {}
    for name, recipe in run.config.recipes.items():
        if recipe.has_samples:
            with suppress(StaleResultError):
                found[name] = run.precision(name)
    return found


def _stages(run: Run) -> Iterable[Made]:
    config: RunConfig = run.config
    with suppress(StaleResultError):
        made = run.classifier
        if config.needs_classifier:
            yield Made("train_classifier", "", 1, None, None, made.fingerprint, made.sha256)
    for stage, spec in STAGES.items():
        if stage == "predictions":
            for name in config.segmentation_names:
                with suppress(StaleResultError):
                    network = run.segmentation(name)
                    yield Made(
                        *("train_segmentation", name, 1, network.images, None),
                        *(network.fingerprint, network.sha256),
                    )
        splits = stage_splits(config, stage)
        batches = set(stage_batches(config, run.index, stage).names(splits))
        known = {row.image for row in run.mapped_rows(splits)}
        for recipe in spec.recipes(config):
            # Receipts of batches of another size may be left of before; the present ones win.
            receipts = sorted(
                receipts_of(run, stage, recipe), key=lambda receipt: receipt.batch in batches
            )
            images = {
                image: of
                for receipt in receipts
                for image, of in receipt.images.items()
                if image in known
            }
            if images:
                yield Made(
                    *(stage, recipe, sum(one.batch in batches for one in receipts)),
                    *(len(images), spec.version),
                    fingerprint(images=images),
                    hosts=tuple(sorted({one.host for one in receipts if one.host})),
                )


def _noted_versions(run: Run) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for stage, spec in STAGES.items():
        for recipe in spec.recipes(run.config):
            for receipt in receipts_of(run, stage, recipe):
                for name, noted in receipt.versions.items():
                    found.setdefault(name, set()).add(noted)
    return {name: tuple(sorted(noted)) for name, noted in sorted(found.items())}


def ws3_commit() -> str:
    """Return the commit that ws3 is of, with "+" behind it where files were changed since.

    Known of an installation from a repository's address, and of a checkout that it runs from; ""
    otherwise.
    """
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        installed = distribution(_PACKAGE).read_text("direct_url.json")
        commit = json.loads(installed or "{}").get("vcs_info", {}).get("commit_id", "")
        if commit:
            return str(commit)
    folder = Path(ws3.__file__).parent
    # The package must be a part of the checkout, and not lie in an environment inside of one.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    commit = _git(folder, "rev-parse", "HEAD") or ""
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says, or None if it fails or isn't there."""
    command = ["git", "-C", str(folder), *arguments]
    # A hook's own variables would name another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=True, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


__all__ = ["Made", "Provenance", "precisions", "provenance", "ws3_commit"]
