"""What keeps a dry run of tens of thousands of jobs fast: each trick, and what it saves.

Besides these, in the rules themselves: batch rules declare no images, whose number would double the
time, nor the index, which is an ancestor of their inputs already; and `tmpdir=None` spares
Snakemake the evaluation of TMPDIR for each job. All figures are shares of a dry run of COCO, 82,081
images in five recipes; `benchmarks/dag.py` measures it.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from inspect import signature
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def collect_less_garbage() -> None:
    """Let Python look for garbage rarely, and not at all as it ends.

    Nearly all that Snakemake makes for a job lives to the end. Looking through it again and again
    takes a tenth of the time, and the last look a seventh.
    """
    gc.set_threshold(1_000_000, 20, 20)
    atexit.register(gc.freeze)


def with_cached_signature(function: Function) -> Function:
    """Keep a function's signature with it.

    Snakemake asks for the parameters of each function several times per job; computing them each
    time takes a tenth of the time.
    """
    function.__signature__ = signature(function)  # type: ignore[attr-defined]
    return function


def per_attempt(amount: int, *, queued: bool) -> Any:
    """Return an amount of memory or time that grows with each attempt, where there is a queue.

    On one machine a job gets what there is, and a plain number spares Snakemake two calls per job.
    """
    return with_cached_signature(lambda wildcards, attempt: amount * attempt) if queued else amount
