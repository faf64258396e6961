"""Fixtures of the bare run, for this folder."""

from __future__ import annotations

from bare_runs import bare_run, classified_run, config_of, dataset
from verified_run import made, original

__all__ = ["bare_run", "classified_run", "config_of", "dataset", "made", "original"]
