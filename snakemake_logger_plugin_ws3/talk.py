"""What a run says: its stages as bars where a person watches, as lines where none does."""

from __future__ import annotations

import csv
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import ERROR, WARNING, LogRecord
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text
from snakemake_interface_logger_plugins.common import LogEvent

from ws3.messages import printable, shortened
from ws3.stage_table import JOBS

LINE_EVERY = 30.0
"""Seconds between two lines about a stage, where nobody watches."""
_LOOK_EVERY = 1.0
_SHOWN_SENTENCES = 5
_TAIL_BYTES = 20_000
# What Snakemake says of itself in each run; anything else that it says is shown.
_NOISE = re.compile(
    r"Assuming unrestricted shared filesystem|host: |Building DAG of jobs|Using shell: |"
    r"Select jobs to execute|Execute \d+ jobs|Complete log|Conda environments: ignored|"
    r"Singularity containers: ignored|Job \d+ has been submitted|Workflow (?:total )?runtime|"
    r"Total (?:workflow )?runtime|Submitted (?:group )?job|External job id"
)
# What it says after failed jobs, of which ours said why.
_AFTERWARDS = re.compile(
    r"Exiting because a job execution failed|WorkflowError:\s+At least one job did not complete|"
    r"(?:RuleException:\s+)?CalledProcessError in file "
)
_NOTHING = "Nothing to be done"
_ELAPSED = "Elapsed time"


@dataclass
class Stage:
    """How far the jobs of one rule are.

    Attributes:
        rule: The rule's name.
        jobs: How many jobs there are in all.
        done: How many of them are done.
        failed: Jobs that failed and were not started again, by number.
        images: By output of a job: how many images it works on; empty for a rule without batches.
        finished: Images of jobs that are done.
        noted: Images that the journal notes since the start, those of jobs under way included.
        running: Jobs under way, by number.
        seconds: How long at least one job was under way.
    """

    rule: str
    jobs: int = 0
    done: int = 0
    failed: set[int] = field(default_factory=set)
    images: Mapping[str, int] = field(default_factory=dict)
    finished: int = 0
    noted: int = 0
    running: dict[int, Job] = field(default_factory=dict)
    seconds: float = 0.0
    spoke: float = 0.0

    @property
    def title(self) -> str:
        """The rule's name, as people say it."""
        return self.rule.replace("_", " ")

    @property
    def total(self) -> int:
        """Images of all jobs; 0 for a rule without batches."""
        return sum(self.images.values())

    @property
    def images_done(self) -> int:
        """Images that are done, as far as is known."""
        return min(self.total, max(self.finished, self.noted))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.done + len(self.failed) >= self.jobs and not self.running

    @property
    def rate(self) -> float | None:
        """Images per second of all jobs together, while any was under way."""
        return self.images_done / self.seconds if self.images_done and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the other images take at this rate."""
        return (self.total - self.images_done) / self.rate if self.rate else None


@dataclass(frozen=True)
class Job:
    """A job under way."""

    rule: str
    output: str
    log: tuple[str, ...]
    recipe: str
    batch: str

    @property
    def title(self) -> str:
        """Rule, recipe and batch."""
        return " ".join(filter(None, (self.rule.replace("_", " "), self.recipe, self.batch)))


class _View(Protocol):
    """Where it is shown."""

    def look(self, stages: Mapping[str, Stage]) -> None:
        """Show how far the stages are, at any time."""

    def say(self, text: Text) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """End."""


class Talk:
    """Follows a run by the records of Snakemake's log, and by the run's own files."""

    def __init__(self, *, color: bool = True) -> None:
        """Begin to listen; a thread looks at the journals from the first job on.

        Not before: until then the workflow may draw a bar of its own, for the index.

        Args:
            color: Whether colours may be used.
        """
        self._lock = threading.RLock()
        self._console = Console(stderr=True, no_color=not color, highlight=False, soft_wrap=True)
        self._view: _View = _Bars(self._console) if _is_watched() else _Lines(self._console)
        self._stages: dict[str, Stage] = {}
        self._jobs: dict[int, Job] = {}
        self._folders: Sequence[Path] = ()
        self._journals: dict[str, list[_Journal]] = {}
        self._reported = self._nothing = False
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None
        self._hearing: dict[LogEvent | None, Callable[[LogRecord], None]] = {
            None: self._hear_text,
            LogEvent.RUN_INFO: self._hear_plan,
            LogEvent.JOB_INFO: self._hear_start,
            LogEvent.JOB_FINISHED: self._hear_end,
            LogEvent.JOB_ERROR: self._hear_failure,
            LogEvent.GROUP_ERROR: self._hear_text,
            LogEvent.ERROR: self._hear_text,
        }

    def begin(self, folders: Sequence[Path], images: Mapping[str, Mapping[str, int]]) -> None:
        """Hear what the workflow is going to do; see `LogHandler.begin`."""
        with self._lock:
            self._folders = folders
            for rule, by_output in images.items():
                self._stage(rule).images = by_output
                # Now, so that what is noted before the first look counts as well.
                self._journals[rule] = [
                    _Journal(folder / "journal" / f"{rule}.jsonl") for folder in folders
                ]

    def hear(self, record: LogRecord) -> None:
        """Take in a record of Snakemake's log."""
        with self._lock:
            heard = self._hearing.get(getattr(record, "event", None))
            if heard is not None:
                heard(record)

    def end(self) -> None:
        """Stop to listen, and say how it ended; a second call does nothing."""
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            if self._ticker is not None:
                self._look(0.0)
            self._view.close()
            failed = [stage for stage in self._stages.values() if stage.failed]
            if failed and self._folders:
                counts = ", ".join(f"{len(stage.failed)} of {stage.title}" for stage in failed)
                runs = " ".join(map(str, self._folders))
                self._print(
                    f"Jobs failed: {counts}. `ws3 status {runs}` lists the images; the same "
                    "command makes what is missing.",
                    "red",
                )
            elif self._reported or self._nothing:
                for folder in self._folders:
                    self._show_results(folder)
            self._folders, self._stages = (), {}

    def _stage(self, rule: str) -> Stage:
        return self._stages.setdefault(rule, Stage(rule))

    def _hear_plan(self, record: LogRecord) -> None:
        stats: Mapping[str, int] = getattr(record, "stats", None) or {}
        order = {name: number for number, name in enumerate(JOBS)}
        rules = sorted(
            stats.keys() - {"total", "all"}, key=lambda rule: order.get(rule, len(order))
        )
        for rule in rules:
            self._stage(rule).jobs = int(stats[rule])
        self._stages = {rule: self._stages[rule] for rule in rules}

    def _hear_start(self, record: LogRecord) -> None:
        fields = vars(record)
        rule, number = str(fields["rule_name"]), int(fields["jobid"])
        if rule not in self._stages:
            return  # the target `all`, which does nothing
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        wildcards = dict(fields.get("wildcards") or {})
        output = [str(path) for path in fields.get("output") or ()]
        job = Job(
            rule,
            output[0] if output else "",
            tuple(str(path) for path in fields.get("log") or ()),
            str(wildcards.get("recipe", "")),
            str(wildcards.get("batch", "")),
        )
        self._jobs[number] = job
        stage = self._stages[rule]
        stage.failed.discard(number)
        stage.running[number] = job

    def _hear_end(self, record: LogRecord) -> None:
        number = int(vars(record)["job_id"])
        job = self._jobs.get(number)
        if job is None:
            return
        stage = self._stages[job.rule]
        if stage.running.pop(number, None) is not None:
            stage.done += 1
            stage.finished += stage.images.get(job.output, 0)
        self._reported |= job.rule in ("summary", "report")

    def _hear_failure(self, record: LogRecord) -> None:
        fields = vars(record)
        number, rule = int(fields["jobid"]), str(fields["rule_name"])
        job = self._jobs.get(number) or Job(rule, "", (), "", "")
        stage = self._stage(rule)
        stage.running.pop(number, None)
        stage.failed.add(number)
        logs = [str(path) for path in fields.get("log") or ()]
        logs += [str(path) for path in (fields.get("aux") or {}).values() if _is_file(path)]
        self._print(f"{job.title} failed", "bold red")
        for path in logs:
            for sentence in sentences(Path(path)):
                self._print(f"  {sentence}", "red")
            self._print(f"  log: {path}")

    def _hear_text(self, record: LogRecord) -> None:
        text = str(record.msg or "").rstrip()
        self._nothing |= text.startswith(_NOTHING)
        is_noise = _NOISE.match(text) if record.levelno < WARNING else _AFTERWARDS.match(text)
        if not text or is_noise:
            return
        if text.startswith(_ELAPSED):
            self._look(0.0)  # what ended comes first
            text = text.partition(".")[0]
        style = {ERROR: "red", WARNING: "yellow"}.get(record.levelno, "")
        self._print(text, style)

    def _print(self, text: str, style: str = "") -> None:
        self._view.say(Text(printable(text), style=style))

    def _tick(self) -> None:
        before = time.monotonic()
        while not self._over.wait(_LOOK_EVERY):
            now = time.monotonic()
            with self._lock:
                self._look(now - before)
            before = now

    def _look(self, seconds: float) -> None:
        """Look at the journals, and show how far it is; `seconds` passed since the last tick."""
        for rule, stage in self._stages.items():
            if stage.running:
                stage.seconds += seconds
                if rule in self._journals:
                    stage.noted = sum(journal.count() for journal in self._journals[rule])
        self._view.look(self._stages)

    def _show_results(self, folder: Path) -> None:
        table = _results_table(folder)
        if table is not None:
            if len(self._folders) > 1:
                table.title = f"{printable(folder.name)}: mIoU, %"
            self._console.print(table)
        page = folder / "report" / "index.html"
        if page.is_file():
            self._console.print(Text(f"The report: {printable(str(page.resolve()))}"))


class _Journal:
    """Counts the lines that a journal gains from now on."""

    def __init__(self, path: Path) -> None:
        self._path, self._lines = path, 0
        try:
            self._offset = path.stat().st_size
        except OSError:
            self._offset = 0

    def count(self) -> int:
        """Return how many images were computed since the beginning."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._lines += b'"computed"' in line
        except OSError:  # not written yet
            pass
        return self._lines


class _Bars:
    """A bar for each stage, on a terminal that someone watches."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", justify="right"),
            TextColumn("{task.fields[rate]}", justify="right"),
            TextColumn("{task.fields[left]}", justify="right"),
            TextColumn("{task.fields[what]}", style="dim", markup=False),
            console=console,
            auto_refresh=False,
        )
        self._tasks: dict[str, object] = {}
        self._is_open = False

    def look(self, stages: Mapping[str, Stage]) -> None:
        if not stages:
            return
        if not self._is_open:
            self._progress.start()
            self._is_open = True
        for rule, stage in stages.items():
            if rule not in self._tasks:
                empty = dict.fromkeys(("count", "rate", "left", "what"), "")
                self._tasks[rule] = self._progress.add_task(stage.title, **empty)  # type: ignore[arg-type]
            done, total = (
                (stage.images_done, stage.total) if stage.total else (stage.done, stage.jobs)
            )
            unit = "images" if stage.total else ("job" if stage.jobs == 1 else "jobs")
            left = None if stage.is_over else stage.seconds_left
            self._progress.update(
                self._tasks[rule],  # type: ignore[arg-type]
                completed=done,
                total=max(total, 1),
                count=f"{done}/{total} {unit}",
                rate=f"{stage.rate:.1f}/s" if stage.rate else "",
                left="" if left is None else f"{duration(left)} left",
                what=self._what(stage),
            )
        self._progress.refresh()

    def say(self, text: Text) -> None:
        self._console.print(text)

    def close(self) -> None:
        if self._is_open:
            self._progress.stop()
            self._is_open = False

    def _what(self, stage: Stage) -> str:
        if stage.failed:
            return f"{len(stage.failed)} failed"
        if stage.is_over:
            return f"in {duration(stage.seconds)}" if stage.done else ""
        known = 24 + len(stage.title) + 45
        room = max(0, self._console.width - known)
        text = under_way(stage)
        return text if len(text) <= room else text[: max(0, room - 1)] + ("…" if room else "")


class _Lines:
    """A line for each stage now and then, for a file that is read later."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()

    def look(self, stages: Mapping[str, Stage]) -> None:
        now = time.monotonic()
        for rule, stage in stages.items():
            if stage.is_over and (stage.done or stage.failed):
                if rule not in self._told:
                    self._told.add(rule)
                    self.say(Text(f"{_clock()} {_ended(stage)}"))
                continue
            self._told.discard(rule)
            if not stage.running:
                continue
            if not stage.spoke:
                stage.spoke = now
            elif now - stage.spoke >= LINE_EVERY:
                stage.spoke = now
                self.say(Text(f"{_clock()} {_going(stage)}"))

    def say(self, text: Text) -> None:
        # A line of a log is a line, however long it is.
        self._console.print(text, soft_wrap=True)

    def close(self) -> None:
        pass


def _ended(stage: Stage) -> str:
    count = f"{stage.images_done} images" if stage.total else f"{stage.done} of {stage.jobs} jobs"
    rate = f", {stage.rate:.1f} images/s" if stage.rate else ""
    failed = f", {len(stage.failed)} of {stage.jobs} jobs failed" if stage.failed else ""
    return f"{stage.title}: {count} in {duration(stage.seconds)}{rate}{failed}"


def _going(stage: Stage) -> str:
    if not stage.total:
        what = under_way(stage)
        return f"{stage.title}: {stage.done} of {stage.jobs} jobs" + (f"; {what}" if what else "")
    rate = f", {stage.rate:.1f} images/s" if stage.rate else ""
    left = "" if stage.seconds_left is None else f", about {duration(stage.seconds_left)} left"
    return f"{stage.title}: {stage.images_done}/{stage.total} images{rate}{left}"


def under_way(stage: Stage) -> str:
    """Return what a stage's jobs are at: recipes, or the last line of the log of a single one."""
    recipes = list(dict.fromkeys(job.recipe for job in stage.running.values() if job.recipe))
    if stage.total or len(stage.running) != 1:
        return ", ".join(recipes)
    (job,) = stage.running.values()
    lines = [line for path in job.log for line in _tail(Path(path))]
    return ": ".join(filter(None, (job.recipe, shortened(lines[-1]) if lines else "")))


def sentences(log: Path) -> Iterator[str]:
    """Yield why a job failed, by the end of its log: ws3's sentences, or else the last lines.

    Args:
        log: The job's log.
    """
    lines = _tail(log)
    first = next((n for n, line in enumerate(lines) if line.startswith("ws3: ")), None)
    if first is None:
        yield from lines[-_SHOWN_SENTENCES:]
        return
    found = [line.removeprefix("ws3: ") for line in lines[first:]]
    yield from found[:_SHOWN_SENTENCES]
    if len(found) > _SHOWN_SENTENCES:
        yield f"and {len(found) - _SHOWN_SENTENCES} more"


def duration(seconds: float) -> str:
    """Return a time in words, as exact as one wants to know it.

    Example:
        >>> duration(4.2), duration(75), duration(3700)
        ('4 s', '1 min 15 s', '1 h 01 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _results_table(folder: Path) -> Table | None:
    """Return mIoU by recipe and stage; None if nothing was evaluated."""
    try:
        with (folder / "evaluation" / "summary.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError):
        return None
    stages = [
        name
        for name in ("maps", "masks", "segmentation")
        if any(row.get("stage") == name for row in rows)
    ]
    splits = list(dict.fromkeys(row.get("split") or "" for row in rows))
    if not stages:
        return None
    table = Table(title="mIoU, %", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("recipe")
    if len(splits) > 1:
        table.add_column("split")
    for name in stages:
        table.add_column(name, justify="right")
    values = {(r.get("recipe"), r.get("split"), r.get("stage")): r.get("miou") for r in rows}
    for recipe, split in dict.fromkeys((r.get("recipe") or "", r.get("split") or "") for r in rows):
        cells = [_percent(values.get((recipe, split, name))) for name in stages]
        names = [recipe, split] if len(splits) > 1 else [recipe]
        table.add_row(*(Text(printable(name)) for name in names), *cells)
    return table


def _percent(text: str | None) -> str:
    try:
        return f"{100 * float(text or ''):.1f}"
    except ValueError:
        return "–"  # noqa: RUF001 (a dash: undefined)


def _tail(path: Path) -> list[str]:
    """Return the last lines of a file that aren't blank; none if it can't be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [printable(line.rstrip()) for line in re.split(r"[\r\n]+", text) if line.strip()]


def _is_file(path: object) -> bool:
    return isinstance(path, str | os.PathLike) and Path(path).is_file()


def _is_watched() -> bool:
    """Whether a person sees standard error as it is written."""
    dumb = os.environ.get("TERM", "") in ("", "dumb")
    return sys.stderr.isatty() and not dumb and not os.environ.get("CI")


def _clock() -> str:
    return time.strftime("%H:%M:%S")
