"""The finished run, for this folder: made once for all its tests."""

from __future__ import annotations

from finished_run import finished_original, finished_run
from verified_run import original

__all__ = ["finished_original", "finished_run", "original"]
