"""images + labels -> index.csv."""

from __future__ import annotations

import logging
from pathlib import Path

from ws3.config.dataset import KINDS, DatasetConfig
from ws3.config.load import dump, read_yaml
from ws3.config.run import RunConfig
from ws3.datasets import dataset_root, list_dataset
from ws3.datasets.colors import mask_colors
from ws3.datasets.facts import DatasetFacts, dataset_facts
from ws3.datasets.index import (
    CLASSES_FILE,
    Index,
    Listing,
    check_files,
    read_index,
    rows_fingerprint,
    try_files,
    write_index,
)
from ws3.errors import Ws3Error
from ws3.files import atomic_file, write_json
from ws3.jobs.progress import ProgressReport
from ws3.removal import is_there
from ws3.run.dataset_state import dataset_state
from ws3.run.folder import Run
from ws3.run.imports import imports_are_current, index_imports
from ws3.run.records import IndexFacts, read_record, write_record
from ws3.stage_table import FORMAT

_log = logging.getLogger(__name__)


def index(run: Run, known: Run | None = None) -> None:
    """Check every image once, and write the index, its classes and its receipt.

    A dataset that is drawn, such as the built-in one, is drawn first. Images that the index
    already has, and that did not change, are not read again.

    Args:
        run: The run.
        known: A run on the same dataset, such as one with another seed: where the run has no index
            or an older one, images that this one's index has are not read again either.

    Raises:
        Ws3Error: If files of the dataset have problems, with one line for each; or none of the
            files of an imported recipe can be used.
    """
    dataset = run.config.dataset
    run.folder.mkdir(parents=True, exist_ok=True)
    _prepare(run)
    sources = dataset_state(dataset, run.folder)
    listing = list_dataset(dataset, run.folder)
    previous = _read_before(run) if known is None else _read_before(known) or _read_before(run)
    with ProgressReport("index") as progress:
        colors = mask_colors(dataset, dataset_root(dataset, run.folder), listing.classes)
        completed = check_files(listing, previous, run.config.on_bad_image, progress.reach, colors)
    write_index(run.index_file, completed)
    found = dataset_facts(listing, completed.rows)
    with ProgressReport("import") as progress:
        imported = index_imports(run, completed, progress.reach)
    splits = {row.split for row in completed.rows}
    write_record(
        run.index_facts,
        IndexFacts(
            format=FORMAT,
            sources=sources,
            classes=completed.classes,
            images={split: sum(row.split == split for row in completed.rows) for split in splits},
            problems={row.image: row.problem for row in completed.rows if row.problem},
            facts=(*found.facts, *imported.facts),
            warnings=(*found.warnings, *imported.warnings),
        ),
    )
    # Written once: all jobs depend on it, and must not run again when a few images change.
    if not run.receipt("index").exists():
        write_json(run.receipt("index"), {"index": run.index_file.name})


def _read_before(run: Run) -> Index | None:
    """Return the index that a run has, if it can be read."""
    if not run.index_file.exists():
        return None
    try:
        return read_index(run.index_file)
    except Ws3Error as error:
        _log.warning("%s It is made again.", error)
        return None


def check(
    dataset: DatasetConfig, folder: Path, sample: int | None = None
) -> tuple[DatasetFacts, Ws3Error | None]:
    """Look at a dataset without writing anything.

    Args:
        dataset: The `dataset` section of the configuration.
        folder: The run's folder; only a dataset without a root lies in it.
        sample: How many pictures are opened, evenly spread; None opens all, 0 none.

    Returns:
        What was seen, and the sentence about what an index would be refused for.

    Raises:
        Ws3Error: If the dataset can't be listed, or has no picture for training.
    """
    root = dataset_root(dataset, folder)
    listing = list_dataset(dataset, folder)
    colors = mask_colors(dataset, root, listing.classes)
    with ProgressReport("index --check") as progress:
        rows, opened, refusal = try_files(listing, sample, progress.reach, colors)
    return dataset_facts(listing, rows, None if opened == len(rows) else opened), refusal


def _prepare(run: Run) -> None:
    """Draw the images of a kind of dataset that draws them."""
    prepare = KINDS[run.config.dataset.kind].prepare
    if prepare is not None:
        root = dataset_root(run.config.dataset, run.folder)
        with ProgressReport("draw") as progress:
            prepare(run.config.dataset, root, progress.reach)


def refresh(run: Run, listing: Listing, known: Run | None = None) -> None:
    """Write down the run's configuration, and bring an index that is there up to date.

    Snakemake calls this before the first job of a run. The first index is a job; images that
    change later are few, and reading them here leaves all other images' jobs alone. (As a rerun
    job, the index would make every job run again; as an `ancient` input, it would hide from
    Snakemake that the jobs behind it have other reasons to run.)

    Args:
        run: The run.
        listing: Its images, as they are now.
        known: See `index`.

    Raises:
        Ws3Error: If the changed images have problems, with one line for each.
    """
    write_config(run)
    if run.receipt("index").exists() and not index_is_current(run, listing):
        index(run, known)


def index_is_current(run: Run, listing: Listing) -> bool:
    """Return whether the index holds these images, with these labels and as they are now."""
    try:
        known, facts = read_index(run.index_file), read_record(run.index_facts, IndexFacts)
    except Ws3Error:
        return False
    return (
        known.classes == listing.classes
        and rows_fingerprint(known.rows) == rows_fingerprint(listing.rows)
        and facts.sources == dataset_state(run.config.dataset, run.folder)
        and imports_are_current(run, known)
    )


def write_config(run: Run) -> None:
    """Write the resolved configuration into the run's folder.

    Raises:
        Ws3Error: If the folder is none of a run, and holds files that would be replaced.
    """
    _check_is_free(run)
    with atomic_file(run.folder / "config.yaml") as temporary:
        temporary.write_text(dump(run.config), encoding="utf-8")


def _check_is_free(run: Run) -> None:
    """Refuse a folder of the user's own that has files of the names that ws3 writes first."""
    config = run.folder / "config.yaml"
    if run.index_facts.exists():
        return
    if config.exists():
        # Ours has every key written out.
        ours = set(RunConfig.model_fields) - set(RunConfig.newer) <= set(read_yaml(config))
        theirs = [] if ours else [config]
    else:
        classes = run.index_file.with_name(CLASSES_FILE)
        theirs = [path for path in (run.index_file, classes) if is_there(path)]
    if theirs:
        raise Ws3Error(
            f"{theirs[0]}: this file is not of ws3, and would be replaced; give the run another "
            "name (run: ...), or move the file away"
        )
