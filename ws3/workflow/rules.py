"""The functions that the rules use, named after the rule and its section."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ws3.config.load import read_yaml, resolve
from ws3.config.run import RunConfig
from ws3.errors import Ws3Error
from ws3.run.folder import Run
from ws3.stage_table import JOBS, STAGES
from ws3.workflow.dry_run import collect_less_garbage, per_attempt, with_cached_signature
from ws3.workflow.plan import Plan

COMPARISON_TABLES = ("comparison.csv", "comparison.md", "comparison.tex", "differences.csv")
"""Files of a comparison that there are in any case; charts come with them."""

CHARTS = {
    "miou": "mIoU of each recipe",
    "sweep": "mIoU over all thresholds",
    "recall": "recall of DR and NDR",
    "distance": "share found, by distance from the peak",
    "regions": "drawing: the four regions",
    "samples": "samples taken",
    "confidence": "precision by confidence",
    "checks": "checks of the recipes",
    "jobs": "drawing: the jobs",
}
"""What the report's charts are, by the first word of their files' names."""


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


class Rules:
    """What `rules/*.smk` ask: paths, inputs, parameters and resources of the jobs of all runs.

    There is one run, whose paths the rules name, or one per seed: then paths have `{run}` for its
    name. The paths are those of `ws3.run.folder.Run`, and spelled there alone.

    Attributes:
        config: The configuration; what differs by seed is asked of `plans`.
        plans: What each run asks for, by its name; the first run's is the first.
        run: Whose paths are the rules'.
        seeds_folder: Where the runs are compared; None of a single run.
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
            self._plan_all(resolve(config, "config"), check_files=workflow.is_main_process)
        self._tell(dict)

    def _plan_all(self, config: RunConfig, *, check_files: bool) -> None:
        first, *others = config.of_seeds()
        self._first = Plan(first, check_files=check_files)
        # Now, so that a wrong dataset, or a wrong import, is told here and not in a rule.
        self._first.look_at_files()
        plans = [Plan(other, check_files=check_files, first=self._first) for other in others]
        self.plans = {plan.config.run: plan for plan in (self._first, *plans)}
        self.config, self.run = first, self._first.run
        self.seeds_folder = None
        if config.seeds is not None:
            self.seeds_folder = config.seeds_folder
            self.run = Run(Path(config.results) / "{run}", first)

    @property
    def run_names(self) -> str:
        """What `{run}` may stand for, as a regular expression."""
        return "|".join(map(re.escape, self.plans))

    def refresh_index(self) -> None:
        """Bring the runs' configurations and indices up to date, before the first job.

        Not as a job: a job's inputs would make all others run again whenever these files change.
        """
        if self._workflow.is_main_process:
            from ws3.stages.index import refresh

            with _told_in_a_sentence():
                for plan in self.plans.values():
                    known = None if plan is self._first else self._first.run
                    refresh(plan.run, plan.listing, known)
            self._tell(self._images_of_jobs)

    def refresh_index_of_module(self) -> None:
        """Where the rules are a module's, have the index refreshed as `onstart` would.

        Snakemake (9.27) keeps a module's `onstart` for the main Snakefile to call, and
        one that `snakedeploy` wrote doesn't. Here both happen, whichever comes first.
        """
        workflow = self._workflow
        if workflow.modifier.is_main_snakefile():
            return
        register = workflow.onstart

        def with_refresh(other: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def at_start(log: Any) -> None:
                self.refresh_index()
                other(log)

            return at_start

        workflow._onstart = with_refresh(workflow._onstart)
        workflow.onstart = lambda other: register(with_refresh(other))

    def _tell(self, images: Callable[[], Mapping[str, Mapping[str, int]]]) -> None:
        """Tell `snakemake --logger ws3`, if it is in use, what Snakemake's log doesn't say."""
        manager = getattr(self._workflow, "logger_manager", None)
        folders = [plan.run.folder for plan in self.plans.values()]
        for handler in getattr(manager, "plugin_handlers", ()):
            if hasattr(handler, "begin"):
                handler.begin(folders, images())

    def _images_of_jobs(self) -> dict[str, dict[str, int]]:
        """Return how many images each job that is to run works on, by rule and output."""
        images: dict[str, dict[str, int]] = {}
        for job in self._workflow.dag.needrun_jobs():
            if job.rule.name in STAGES:
                # The batches are the same for all seeds.
                batch = self._first.batches(job.rule.name)[job.wildcards.batch]
                images.setdefault(job.rule.name, {})[str(job.output[0])] = len(batch.rows)
        return images

    def targets(self) -> list[str]:
        """What all runs are to end with, and their comparison."""
        compared = [] if self.seeds_folder is None else self.comparison
        return [*compared, *(file for plan in self.plans.values() for file in plan.targets())]

    def labels(self, **labels: str) -> dict[str, str]:
        """What tells a run's file from others in `snakemake --report`: the run, and more."""
        return {"run": self.config.run if self.seeds_folder is None else "{run}", **labels}

    @property
    def chart_labels(self) -> Callable[..., dict[str, str]]:
        """What tells a chart in `snakemake --report`, by its file's name: `distance-val-maps`."""
        splits = self.config.evaluation.splits

        def labels(wildcards: Any) -> dict[str, str]:
            kind, *rest = wildcards.chart.split("-")
            title = CHARTS.get(kind, kind) if rest or kind != "distance" else "drawing: ten bands"
            of = rest[0] if rest else ""
            split = splits[int(of)] if of.isdigit() else of
            stage = rest[1] if kind == "distance" and rest else ""
            return self.labels(
                chart=f"{title}, by class" if rest[1:] == ["labels"] else title,
                split=split,
                stage=stage,
            )

        return labels

    @property
    def comparison(self) -> list[str]:
        """The tables over all seeds."""
        return [f"{self.seeds_folder}/{name}" for name in COMPARISON_TABLES]

    @property
    def compared(self) -> list[str]:
        """What the tables over all seeds are made of."""
        return [
            file
            for plan in self.plans.values()
            for file in (*plan.evaluations(), *plan.image_counts())
        ]

    @property
    def compare_shell(self) -> str:
        """The shell command that compares the runs, with its output in its log."""
        folders = " ".join(shlex.quote(plan.folder) for plan in self.plans.values())
        return (
            f"ws3 compare {folders} --output {shlex.quote(str(self.seeds_folder))} > {{log:q}} 2>&1"
        )

    @property
    def index_shell(self) -> str:
        """The shell command that indexes a run: of several, the first one opens the images."""
        known = "" if self.seeds_folder is None else f" --known {shlex.quote(self._first.folder)}"
        return self.shell("ws3 index {run}" + known)

    @property
    def index_input(self) -> Any:
        """What a run's index needs: that of the first run, whose images aren't read again."""
        if self.seeds_folder is None:
            return []
        first, receipt = self._first.config.run, self._first.run.receipt("index").as_posix()
        return lambda wildcards: [] if wildcards.run == first else [receipt]

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
        return per_attempt(self._first.memory_mb(job), queued=self._queued)

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

    @property
    def gpu_of_maps(self) -> Any:
        """GPUs of a job that makes maps: one where a segmentation network makes them."""
        gpus = self.gpu("predictions") if self.config.maps_by_networks else 0
        recipes = self.config.recipes
        return gpus and with_cached_signature(
            lambda wildcards: 0 if recipes[wildcards.recipe].network is None else gpus
        )

    def shell(self, command: str) -> str:
        """Return a job's shell command, with its output in its log; every path in it is quoted.

        Args:
            command: Of `ws3`; `{run}` stands for the run's folder. (As a parameter of the rule it
                would be worked out for each job.)
        """
        folder = shlex.quote(self._first.folder)
        if self.seeds_folder is not None:
            # A run's name needs no quotes.
            folder = shlex.quote(f"{self.run.folder.parent.as_posix()}/") + "{wildcards.run}"
        return command.replace("{run}", folder) + " > {log:q} 2>&1"

    def plan_of(self, wildcards: Any) -> Plan:
        """Return the plan of a job's run."""
        return self._first if self.seeds_folder is None else self.plans[wildcards.run]

    def of_run(self, asked: Callable[[Plan], Any]) -> Any:
        """Make a question of a plan one that a rule asks: its answer, or a function of the run."""
        if self.seeds_folder is None:
            return asked(self._first)
        answer = cache(asked)
        return with_cached_signature(lambda wildcards: answer(self.plan_of(wildcards)))

    def of_recipe(self, asked: Callable[[Plan, str], Any]) -> Callable[..., Any]:
        """Make a question of a plan about a recipe one that a rule asks, with its wildcards."""
        return with_cached_signature(
            lambda wildcards: asked(self.plan_of(wildcards), wildcards.recipe)
        )

    def batch_input(self, stage: str, source: str) -> Callable[..., list[str]]:
        """Receipts of an earlier stage, `source`, that hold the images of a job's batch."""
        return with_cached_signature(
            lambda wildcards: self.plan_of(wildcards).input_receipts(
                stage, wildcards.recipe, wildcards.batch, source
            )
        )

    def batch_params(self, stage: str) -> Callable[..., str]:
        """Fingerprint of a batch's images, labels and files: its jobs don't declare its images."""
        return with_cached_signature(
            lambda wildcards: self.plan_of(wildcards).batch_state(
                stage, wildcards.recipe, wildcards.batch
            )
        )

    def stage_params(self, stage: str) -> Callable[..., str]:
        """Settings that a per-image stage's jobs depend on, worked out once per recipe."""
        return self.of_recipe(cache(lambda plan, recipe: plan.settings(stage, recipe)))
