"""The functions that the rules use, named after the rule and its section."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from ws3.config.load import read_yaml
from ws3.errors import Ws3Error
from ws3.run.imports import sources
from ws3.stage_table import JOBS
from ws3.workflow.dry_run import collect_less_garbage, per_attempt, with_cached_signature
from ws3.workflow.plan import Plan


@contextmanager
def _told_in_a_sentence() -> Iterator[None]:
    """Log a user's mistake and end; an exception would be shown amid Snakemake's own call stack.

    Raises:
        SystemExit: If the block raises a Ws3Error or an OSError.
    """
    try:
        yield
    except (OSError, Ws3Error) as error:
        from snakemake.logging import logger

        # A full or read-only disk, no permission, a folder in place of a file: no fault of ours.
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        logger.error(f"{where}{getattr(error, 'strerror', None) or error}")
        raise SystemExit(1) from None


class Rules(Plan):
    """What `rules/*.smk` ask: paths, inputs, parameters and resources of the jobs of one run.

    The paths are those of `ws3.run.folder.Run`, and spelled there alone.
    """

    def __init__(self, config: Mapping[str, Any], workflow: Any) -> None:
        """Resolve the configuration and list the dataset.

        Args:
            config: Snakemake's merged configuration.
            workflow: Snakemake's workflow.

        Raises:
            SystemExit: If the configuration or the dataset is not valid; a sentence is logged.
        """
        collect_less_garbage()
        self._workflow = workflow
        self._queued = workflow.resource_settings.nodes is not None
        with _told_in_a_sentence():
            if workflow.is_main_process:
                for path in workflow.overwrite_configfiles or ():
                    # Snakemake has read it, but of a key that is given twice it says nothing.
                    read_yaml(Path(path))
            super().__init__(config, check_files=workflow.is_main_process)
            _ = self.listing  # now, so that a wrong dataset is told here and not in a rule
            for name in sources(self.config):
                self._import_keys(name)

    def refresh_index(self) -> None:
        """Bring the run's configuration and index up to date, before the first job.

        Not as a job: a job's inputs would make all others run again whenever these files change.
        """
        if self._workflow.is_main_process:
            from ws3.stages.index import refresh

            with _told_in_a_sentence():
                refresh(self.run, self.listing)

    def receipt(self, *parts: str) -> str:
        """A receipt's path: `receipts/<job>[/<recipe>[/<batch>]].json` in the run's folder."""
        return self.run.receipt(*parts).as_posix()

    def log(self, *parts: str) -> str:
        """A log's path: `logs/<job>[/<recipe>[/<batch>]].log` in the run's folder."""
        return self.run.file_of("logs", *parts, suffix=".log").as_posix()

    def benchmark(self, *parts: str) -> str:
        """A benchmark's path: `benchmarks/<job>[/<recipe>[/<batch>]].tsv` in the run's folder."""
        return self.run.file_of("benchmarks", *parts, suffix=".tsv").as_posix()

    def mem_mb(self, job: str) -> Any:
        """Memory of a job in MB; on a cluster, more at each attempt."""
        return per_attempt(self.memory_mb(job), queued=self._queued)

    def runtime(self, job: str) -> Any:
        """Minutes of a job, more at each attempt; None on one machine, where nobody asks."""
        return per_attempt(JOBS[job].minutes, queued=True) if self._queued else None

    def gpu(self, job: str) -> int:
        """GPUs of a job on this machine, 0 if it has none; a cluster's profile sets its own.

        A training gets all that this machine is said to have, other jobs that use a GPU get one.
        """
        gpus = JOBS[job].gpus
        if gpus == "none" or self.config.device == "cpu" or not Path("/dev/nvidia0").exists():
            return 0
        here = self._workflow.global_resources.get("gpu").value
        return int(here) if gpus == "all" and not self._queued and here is not None else 1

    def shell(self, command: str) -> str:
        """Return a job's shell command, with its output in its log; every path in it is quoted.

        Args:
            command: Of `ws3`; `{run}` stands for the run's folder. (As a parameter of the rule it
                would be worked out for each job.)
        """
        return command.replace("{run}", shlex.quote(self.folder)) + " > {log:q} 2>&1"

    def of_recipe(self, asked: Callable[[str], Any]) -> Callable[..., Any]:
        """Make a question of the plan about a recipe one that a rule asks, with its wildcards."""
        return with_cached_signature(lambda wildcards: asked(wildcards.recipe))

    def batch_input(self, stage: str, source: str) -> Callable[..., list[str]]:
        """Receipts of an earlier stage, `source`, that hold the images of a job's batch."""
        receipts = self.input_receipts
        return with_cached_signature(
            lambda wildcards: receipts(stage, wildcards.recipe, wildcards.batch, source)
        )

    def batch_params(self, stage: str) -> Callable[..., str]:
        """Fingerprint of a batch's images, labels and files: its jobs don't declare its images."""
        state = self.batch_state
        return with_cached_signature(
            lambda wildcards: state(stage, wildcards.recipe, wildcards.batch)
        )

    def stage_params(self, stage: str) -> Callable[..., str]:
        """Settings that a per-image stage's jobs depend on, worked out once per recipe."""
        return self.of_recipe(cache(partial(self.settings, stage)))
