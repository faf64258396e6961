"""The commands that do the work, one per stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ws3.stage_table import JOBS, STAGES, StageSpec

_PANEL = "Stages, in the order of the data"

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run's folder, such as results/demo.")
]
RecipeName = Annotated[str, typer.Option("--recipe", "-r", help="Name of a recipe of the run.")]
BatchNames = Annotated[
    list[str] | None,
    typer.Option("--batch", help="Only this batch; may be repeated. Default: all of the stage."),
]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", help="Only this image; may be repeated. Not with --batch."),
]


def register(app: typer.Typer) -> None:
    """Add the commands, in the order of the table of stages."""
    single: dict[str, Callable[..., None]] = {
        "index": index,
        "train_classifier": train_classifier,
        "threshold": threshold,
        "train_segmentation": train_segmentation,
        "evaluate": evaluate,
        "report": report,
    }
    for name, job in JOBS.items():
        command = _per_image(STAGES[name]) if name in STAGES else single.get(name)
        if command is not None:
            app.command(job.command, rich_help_panel=_PANEL)(command)


def _per_image(spec: StageSpec) -> Callable[..., None]:
    """Return the command of a per-image stage."""

    def command(
        run: RunFolder, recipe: RecipeName, batch: BatchNames = None, image: Images = None
    ) -> None:
        _work(spec.name, run, recipe, batch, image)

    command.__doc__ = spec.summary
    return command


def index(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run that has its config.yaml.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Begin the run of this configuration.")
    ] = None,
) -> None:
    """Check every image once and write index.csv; with --config, begin a run."""
    from ws3.config.load import load
    from ws3.errors import Ws3Error
    from ws3.run.folder import Run
    from ws3.stages.index import index, write_config

    if (run is None) == (config is None):
        raise Ws3Error("give either a run's folder or --config FILE")
    if config is not None:
        opened = Run.of(load(config))
        write_config(opened)
    else:
        opened = Run.open(run or Path())
    index(opened)
    typer.echo(
        f"{len(opened.index.rows)} images, {len(opened.index.classes)} classes: {opened.index_file}"
    )


def train_classifier(run: RunFolder) -> None:
    """Train the image-level classifier, or take the checkpoint that the configuration names."""
    from ws3.run.folder import Run
    from ws3.stages.train_classifier import train_classifier

    train_classifier(Run.open(run))


def threshold(run: RunFolder, recipe: RecipeName) -> None:
    """Choose the background threshold of a recipe."""
    from ws3.run.folder import Run
    from ws3.run.records import Threshold, read_record
    from ws3.stages.threshold import threshold

    opened = Run.open(run)
    threshold(opened, recipe)
    chosen = read_record(opened.threshold_file(recipe), Threshold)
    where = f" on {chosen.images} images of {chosen.split}" if chosen.split else ""
    typer.echo(f"{recipe}: {chosen.background.model_dump(mode='json')}, {chosen.kind}{where}")


def train_segmentation(run: RunFolder, recipe: RecipeName) -> None:
    """Train a segmentation network on a recipe's pseudo-masks, or on ground_truth itself."""
    from ws3.run.folder import Run
    from ws3.stages.train_segmentation import train_segmentation

    train_segmentation(Run.open(run), recipe)


def evaluate(
    run: RunFolder,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="One recipe; default: all of them.")
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only write summary.csv from what is evaluated.")
    ] = False,
) -> None:
    """Measure maps, masks and predictions against the ground truth."""
    from ws3.run.folder import Run
    from ws3.stages.evaluate import evaluate, summarise_run

    opened = Run.open(run)
    if not summary:
        for name in [recipe] if recipe is not None else opened.config.evaluated:
            evaluate(opened, name)
    if summary or recipe is None:
        summarise_run(opened)
        typer.echo(opened.summary_file)


def report(run: RunFolder) -> None:
    """Write report/index.html."""
    from ws3.run.folder import Run
    from ws3.stages.report import report

    typer.echo(report(Run.open(run)))


def _work(
    stage: str, folder: Path, recipe: str, names: list[str] | None, images: list[str] | None
) -> None:
    from ws3.errors import Ws3Error
    from ws3.jobs.runner import open_stage, run_batches, run_images
    from ws3.run.batches import stage_batches, stage_splits
    from ws3.run.folder import Run

    if images and names:
        raise Ws3Error("--image does not go with --batch")
    run = Run.open(folder)
    if images:
        work = open_stage(run, stage, recipe)
        rows = {row.image: row for row in run.mapped_rows(stage_splits(run.config, stage))}
        unknown = [image for image in images if image not in rows]
        if unknown:
            raise Ws3Error(f"{run.index_file}: there is no image {unknown[0]!r} for this stage")
        run_images(run, work, [rows[image] for image in images])
        return
    batches = stage_batches(run.config, run.index, stage)
    names = names or batches.names(stage_splits(run.config, stage))
    chosen = [batches[name] for name in names]
    run_batches(run, open_stage(run, stage, recipe), chosen)
