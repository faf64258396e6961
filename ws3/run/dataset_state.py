"""What the images are, as cheaply as it can be known: for Snakemake, at parse time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ws3.config.dataset import Coco, Dataset, Folder, Synthetic, Voc
from ws3.datasets import dataset_root, list_dataset
from ws3.datasets.listing_files import row_stat_key
from ws3.datasets.index import ImageRow, Listing, read_index
from ws3.datasets.voc import TRAINAUG_LISTS
from ws3.run.folder import Run, read_json


def known_listing(run: Run, *, look: bool) -> Listing:
    """Return the images of a run, from its index if that is up to date.

    The index is taken while the dataset's lists and folders are as they were when it was made;
    each image's own size and modification time are looked at, but no image is opened. Otherwise
    the dataset is listed anew. (An annotation of VOC that is edited in place changes no folder;
    `ws3 index` looks at all of them.)

    Args:
        run: the run.
        look: False trusts the index as it is: for a job, whose main process has looked already.
    """
    if run.index_file.exists() and run.index_facts.exists():
        if not look:
            return read_index(run.index_file)
        if read_json(run.index_facts).get("sources") == dataset_state(
            run.config.dataset, run.folder
        ):
            index = read_index(run.index_file)
            if isinstance(run.config.dataset, Synthetic):
                return index
            return Listing(index.classes, tuple(map(_stamped, index.rows)))
    return list_dataset(run.config.dataset, run.folder)


def _stamped(row: ImageRow) -> ImageRow:
    """Return a row as its files are now: the same one, unless they changed."""
    stamp = row_stat_key(row.path, row.mask)
    return row if stamp == row.stat_key else replace(row, stat_key=stamp)


def dataset_state(dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Return what a cheap look says of a dataset's lists and folders, as plain data."""
    root = dataset_root(dataset, folder)
    return {
        "dataset": dataset.model_dump(mode="json"),
        "drawn": _drawn(dataset),
        "files": {str(path): _look(root / path) for path in _sources(dataset)},
    }


def _sources(dataset: Dataset) -> list[str]:
    match dataset:
        case Synthetic():
            return []
        case Folder():
            lists = (dataset.labels, dataset.classes, dataset.train, dataset.val)
            return [path for path in (*lists, dataset.images, dataset.masks) if path is not None]
        case Voc():
            splits = (dataset.train, dataset.val)
            return [
                *(f"ImageSets/Segmentation/{split}.txt" for split in splits if split is not None),
                *TRAINAUG_LISTS,
                *("Annotations", "JPEGImages", "SegmentationClass", "SegmentationClassAug"),
            ]
        case Coco():
            return [
                path
                for split in (dataset.train, dataset.val)
                if split is not None
                for path in (f"annotations/instances_{split}.json", split, f"masks/{split}")
            ]


def _drawn(dataset: Dataset) -> str:
    if not isinstance(dataset, Synthetic):
        return ""
    # Imported where needed: it brings numpy, and every job's parse of the Snakefile comes here.
    from ws3.datasets.synthetic.dataset import drawing_key

    return drawing_key(dataset)


def _look(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    # A folder's size says nothing; its time changes with every file that comes or goes.
    return str(found.st_mtime_ns) if path.is_dir() else f"{found.st_size}-{found.st_mtime_ns}"
