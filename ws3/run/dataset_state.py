"""What the images are, as cheaply as it can be known: for Snakemake, at parse time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ws3.config.dataset import KINDS, DatasetConfig
from ws3.datasets import dataset_root, list_dataset
from ws3.datasets.index import ImageRow, Listing, read_index
from ws3.datasets.listing_files import row_stat_key
from ws3.run.folder import Run
from ws3.run.records import IndexFacts, read_record


def known_listing(run: Run, *, look: bool) -> Listing:
    """Return the images of a run, from its index if that is up to date.

    The index is taken while the dataset's lists and folders are as they were when it was made;
    each image's own size and modification time are looked at, but no image is opened. Otherwise
    the dataset is listed again. (An annotation of VOC that is edited in place changes no folder;
    `ws3 index` looks at all of them.)

    Args:
        run: The run.
        look: False trusts the index as it is: for a job, whose main process has looked already.

    Raises:
        Ws3Error: If the dataset or the index is missing where it is needed, or malformed.
    """
    if run.index_file.exists() and run.index_facts.exists():
        if not look:
            return read_index(run.index_file)
        facts = read_record(run.index_facts, IndexFacts)
        if facts.sources == dataset_state(run.config.dataset, run.folder):
            index = read_index(run.index_file)
            if KINDS[run.config.dataset.kind].drawing_key is not None:
                return index
            return Listing(index.classes, tuple(map(_with_stat_key, index.rows)))
    return list_dataset(run.config.dataset, run.folder)


def _with_stat_key(row: ImageRow) -> ImageRow:
    """Return a row as its files are now: the same one, unless they changed."""
    found = row_stat_key(row.path, row.mask)
    return row if found == row.stat_key else row._replace(stat_key=found)


def dataset_state(dataset: DatasetConfig, folder: Path) -> dict[str, Any]:
    """Return what a cheap look says of a dataset's lists and folders, as plain data.

    Args:
        dataset: The `dataset` section of the configuration.
        folder: The run's folder.
    """
    kind, root = KINDS[dataset.kind], dataset_root(dataset, folder)
    return {
        "dataset": dataset.model_dump(mode="json"),
        "drawn": "" if kind.drawing_key is None else kind.drawing_key(dataset),
        "files": {path: _path_stat_key(root / path) for path in kind.watched(dataset)},
    }


def _path_stat_key(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    # A folder's size says nothing; its time changes with every file that comes or goes.
    return str(found.st_mtime_ns) if path.is_dir() else f"{found.st_size}-{found.st_mtime_ns}"
