"""Datasets: what images there are, with which labels and masks."""

from __future__ import annotations

from pathlib import Path

from ws3.config.dataset import KINDS, DatasetConfig
from ws3.datasets.index import Listing

__all__ = ["dataset_root", "list_dataset"]


def dataset_root(config: DatasetConfig, run_folder: str | Path) -> Path:
    """Return the dataset's folder: its `root`, or `data` in the run's folder if it has none.

    Example:
        >>> from ws3.config.dataset import Synthetic
        >>> dataset_root(Synthetic(kind="synthetic"), "results/demo").as_posix()
        'results/demo/data'
    """
    if config.root is None:
        return Path(run_folder) / "data"
    return Path(config.root).expanduser()


def list_dataset(config: DatasetConfig, run_folder: str | Path) -> Listing:
    """List a dataset of any kind without opening (or drawing) any image.

    Args:
        config: The `dataset` section of the configuration.
        run_folder: Where results of the run go; a drawn dataset is there unless it has a root.

    Returns:
        The classes and the images, train first.

    Raises:
        Ws3Error: If a folder or list of the dataset is missing or malformed.
    """
    return KINDS[config.kind].list(config, dataset_root(config, run_folder))
