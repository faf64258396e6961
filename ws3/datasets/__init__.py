"""Datasets: what images there are, with which labels and masks."""

from __future__ import annotations

from pathlib import Path

from ws3.config.dataset import Coco, Dataset, Folder, Synthetic, Voc
from ws3.datasets.index import Listing

__all__ = ["dataset_root", "list_dataset"]


def dataset_root(config: Dataset, run_folder: str | Path) -> Path:
    """Return the dataset's folder; that of a drawn one is `data` in the run's, unless given."""
    if config.root is None:
        return Path(run_folder) / "data"
    return Path(config.root).expanduser()


def list_dataset(config: Dataset, run_folder: str | Path) -> Listing:
    """List a dataset of any kind without opening (or drawing) any image.

    Args:
        config: The `dataset` section of the configuration.
        run_folder: Where results of the run go; a drawn dataset is there unless it has a root.

    Raises:
        Ws3Error: A folder or list of the dataset is missing or malformed.
    """
    # Imported where needed: every start of Snakemake lists the dataset, of one kind only.
    match config:
        case Synthetic():
            from ws3.datasets.synthetic.dataset import list_synthetic

            return list_synthetic(config, dataset_root(config, run_folder))
        case Voc():
            from ws3.datasets.voc import list_voc

            return list_voc(config)
        case Coco():
            from ws3.datasets.coco import list_coco

            return list_coco(config)
        case Folder():
            from ws3.datasets.folder import list_folder

            return list_folder(config)
