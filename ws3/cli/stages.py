"""The commands that do the work, one per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ws3.config.run import Stage

_PANEL = "Stages, in the order of the data"

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run's folder, such as results/demo.")
]
Recipe = Annotated[str, typer.Option("--recipe", "-r", help="Name of a recipe of the run.")]
BatchNames = Annotated[
    list[str] | None,
    typer.Option("--batch", help="Only this batch; may be repeated. Default: all of the stage."),
]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", help="Only this image; may be repeated. Not with --batch."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        ("index", index),
        ("train-classifier", train_classifier),
        ("saliency", saliency),
        ("maps", maps),
        ("threshold", threshold),
        ("masks", masks),
        ("train-segmentation", train_segmentation),
        ("predictions", predictions),
        ("evaluate", evaluate),
        ("report", report),
    ):
        app.command(name, rich_help_panel=_PANEL)(command)


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


def saliency(
    run: RunFolder,
    recipe: Recipe,
    batch: BatchNames = None,
    image: Images = None,
) -> None:
    """Attribute random samples and store their partial sums."""
    _work("saliency", run, recipe, batch, image)


def maps(
    run: RunFolder,
    recipe: Recipe,
    batch: BatchNames = None,
    image: Images = None,
) -> None:
    """Combine the partial sums into one map per class."""
    _work("maps", run, recipe, batch, image)


def threshold(run: RunFolder, recipe: Recipe) -> None:
    """Choose the background threshold of a recipe."""
    from ws3.run.folder import Run, read_json
    from ws3.stages.threshold import threshold

    opened = Run.open(run)
    threshold(opened, recipe)
    chosen = read_json(opened.threshold_file(recipe))
    where = f" on {chosen['images']} images of {chosen['split']}" if chosen["split"] else ""
    typer.echo(f"{recipe}: {chosen['background']}, {chosen['kind']}{where}")


def masks(
    run: RunFolder,
    recipe: Recipe,
    batch: BatchNames = None,
    image: Images = None,
) -> None:
    """Cut the maps and refine them with a dense CRF into palette PNGs."""
    _work("masks", run, recipe, batch, image)


def train_segmentation(run: RunFolder, recipe: Recipe) -> None:
    """Train a segmentation network on a recipe's pseudo-masks, or on ground_truth itself."""
    from ws3.run.folder import Run
    from ws3.stages.train_segmentation import train_segmentation

    train_segmentation(Run.open(run), recipe)


def predictions(
    run: RunFolder,
    recipe: Recipe,
    batch: BatchNames = None,
    image: Images = None,
) -> None:
    """Predict masks with the segmentation network of a recipe."""
    _work("predictions", run, recipe, batch, image)


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
    stage: Stage,
    folder: Path,
    recipe: str,
    names: list[str] | None,
    images: list[str] | None,
) -> None:
    from ws3.errors import Ws3Error
    from ws3.jobs.runner import run_batches, run_images
    from ws3.run.batches import stage_batches, stage_splits
    from ws3.run.folder import Run
    from ws3.stages.work import begin

    if images and names:
        raise Ws3Error("--image does not go with --batch")
    run = Run.open(folder)
    if images:
        work = begin(run, stage, recipe)
        rows = {row.image: row for row in run.mapped_rows(stage_splits(run.config, stage))}
        unknown = [image for image in images if image not in rows]
        if unknown:
            raise Ws3Error(f"{run.index_file}: there is no image {unknown[0]!r} for this stage")
        run_images(run, work, [rows[image] for image in images])
        return
    batches = stage_batches(run.config, run.index, stage)
    names = names or batches.names(stage_splits(run.config, stage))
    run_batches(run, begin(run, stage, recipe), [batches[name] for name in names])
