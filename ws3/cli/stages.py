"""The commands that do the work, one per stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ws3.cli.saying import say
from ws3.datasets.index import row_named
from ws3.errors import Ws3Error
from ws3.messages import shown
from ws3.run.folder import Run
from ws3.run.records import IndexFacts, read_record
from ws3.stage_table import JOBS, STAGES, StageSpec

if TYPE_CHECKING:
    from ws3.datasets.facts import DatasetFacts

_PANEL = "Stages, in the order of the data"


def open_run(folder: str) -> Run:
    """Open the run that an argument names."""
    return Run.open(Path(folder))


OpenRun = Annotated[
    Run,
    typer.Argument(metavar="RUN", parser=open_run, help="The run's folder, such as results/demo."),
]
RecipeName = Annotated[str, typer.Option("--recipe", "-r", help="Name of a recipe of the run.")]
BatchNames = Annotated[
    list[str] | None,
    typer.Option("--batch", help="Only this batch; may be repeated. Default: all of the stage."),
]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image", help="Only this image, by id or name; may be repeated. Not with --batch."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands, in the order of the table of stages."""
    functions = (index, train_classifier, threshold, train_segmentation, evaluate, report)
    single = {function.__name__: function for function in functions}
    for name, job in JOBS.items():
        command = _per_image(STAGES[name]) if name in STAGES else single.get(name)
        if command is not None:
            app.command(job.command, rich_help_panel=_PANEL)(command)


def _per_image(spec: StageSpec) -> Callable[..., None]:
    """Return the command of a per-image stage."""

    def command(
        run: OpenRun, recipe: RecipeName, batch: BatchNames = None, image: Images = None
    ) -> None:
        from ws3.jobs.runner import open_stage, run_batches, run_images
        from ws3.run.batches import stage_batches, stage_splits

        if image and batch:
            raise Ws3Error("--image does not go with --batch")
        splits = stage_splits(run.config, spec.name)
        if image:
            rows = run.mapped_rows(splits)
            found = {name: row_named(rows, name) for name in image}
            for name, row in found.items():
                if row is None:
                    raise Ws3Error(
                        f"{run.index_file}: there is no image {shown(name)} for this stage"
                    )
            chosen_rows = [row for row in found.values() if row is not None]
            run_images(run, open_stage(run, spec.name, recipe), chosen_rows)
        else:
            batches = stage_batches(run.config, run.index, spec.name)
            chosen = [batches[name] for name in batch or batches.names(splits)]
            run_batches(run, open_stage(run, spec.name, recipe), chosen)

    command.__doc__ = spec.summary
    return command


def index(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run that has its config.yaml.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Begin the run of this configuration.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look, and say what there is; write nothing.")
    ] = False,
    known: Annotated[
        str | None,
        typer.Option(
            "--known",
            metavar="RUN",
            help="A run on the same dataset: what its index has isn't read again.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", min=0, help="With --check: open this many images, evenly spread."),
    ] = None,
) -> None:
    """Check every image once and write index.csv; with --config, begin a run (or one per seed)."""
    from ws3.config.load import load
    from ws3.stages.index import check as check_dataset
    from ws3.stages.index import index, write_config

    if (run is None) == (config is None):
        raise Ws3Error("give either a run's folder or --config FILE")
    if sample is not None and not check:
        raise Ws3Error("--sample goes with --check only: an index needs every image")
    if check:
        looked = Run.all_of(load(config))[0] if config is not None else Run.open(run or Path())
        found, refusal = check_dataset(looked.config.dataset, looked.folder, sample)
        show_facts(found)
        if refusal is not None:
            raise refusal
        return
    runs = Run.all_of(load(config)) if config is not None else [Run.open(run or Path())]
    before = None if known is None else open_run(known)
    for opened in runs:
        if config is not None:
            write_config(opened)
        index(opened, before)
        before = opened
        images, classes = len(opened.index.rows), len(opened.index.classes)
        say(f"{images} images, {classes} classes: {opened.index_file}")
    show_facts(read_record(runs[0].index_facts, IndexFacts))


def show_facts(found: DatasetFacts | IndexFacts) -> None:
    """Print what a dataset holds as a paragraph, and what may be wrong with it line by line."""
    if found.facts:  # an older ws3 wrote none
        typer.echo(" ".join(f"{fact[:1].upper()}{fact[1:]}." for fact in found.facts))
    for warning in found.warnings:
        line = f"Warning: {warning}."
        typer.secho(line, fg=typer.colors.YELLOW)


def train_classifier(run: OpenRun) -> None:
    """Train the image-level classifier, or take the checkpoint that the configuration names."""
    from ws3.stages.train_classifier import train_classifier

    train_classifier(run)


def threshold(run: OpenRun, recipe: RecipeName) -> None:
    """Choose the background threshold of a recipe."""
    from ws3.stages.threshold import threshold

    threshold(run, recipe)
    chosen = run.threshold(recipe)
    say(f"{recipe}: {chosen.background.model_dump(mode='json')}, {chosen.origin}")


def train_segmentation(run: OpenRun, recipe: RecipeName) -> None:
    """Train a segmentation network on a recipe's pseudo-masks, or on ground_truth itself."""
    from ws3.stages.train_segmentation import train_segmentation

    train_segmentation(run, recipe)


def evaluate(
    run: OpenRun,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="One recipe; default: all of them.")
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only write summary.csv from what is evaluated.")
    ] = False,
) -> None:
    """Measure maps, masks and predictions against the ground truth."""
    from ws3.stages.evaluate import evaluate, summarise_run

    if not summary:
        for name in [recipe] if recipe is not None else run.config.evaluated:
            evaluate(run, name)
    if summary or recipe is None:
        summarise_run(run)
        say(run.summary_file)


def report(run: OpenRun) -> None:
    """Write report/index.html."""
    from ws3.stages.report import report

    say(report(run))
