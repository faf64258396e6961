"""The commands beside the stages that look at a run, or draw data."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ws3.cli.saying import say
from ws3.cli.stages import OpenRun, open_run, show_facts
from ws3.cli.tables import stage_table
from ws3.errors import Ws3Error
from ws3.jobs.progress import ProgressReport
from ws3.run.folder import Run
from ws3.run.phases import PHASES
from ws3.run.records import IndexFacts, read_record
from ws3.run.status import run_status, thresholds_of
from ws3.run.timing import run_times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ws3.config.methods import MethodEntry
    from ws3.config.presets import Preset

PANEL = "Looking at things, handing them on"
"""Heading of these commands in the help."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, show, compare, figures, verify, recipes, demo_data, coco_masks):
        app.command(rich_help_panel=PANEL)(command)


def status(
    runs: Annotated[
        list[Run],
        typer.Argument(metavar="RUN...", parser=open_run, help="Folders of runs."),
    ],
    time: Annotated[
        bool, typer.Option("--time", help="Show where the time goes, and how much is left.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Look again and again, until all is done or Ctrl-C."),
    ] = False,
) -> None:
    """Show per stage and recipe how many images are done, failed and missing."""
    if watch:
        from ws3.cli.watching import watch_runs

        watch_runs([run.folder for run in runs])
        return
    for run in runs:
        if time:
            _show_times(run)
        else:
            _show_status(run)


def _show_status(run: Run) -> None:
    numbers = ("done", "of", "skipped", "failed", "missing", "seconds", "MB")
    table = stage_table(run, numbers, least=5)
    entries = list(run_status(run))
    for entry in entries:
        images = (entry.done, entry.expected, entry.skipped, len(entry.failed), entry.missing)
        spent = (f"{entry.seconds:.0f}", f"{entry.bytes / 1e6:.0f}")
        table.add_row(entry.stage, entry.recipe, *map(str, images), *spent)
    show_facts(read_record(run.index_facts, IndexFacts))
    console = Console(soft_wrap=True)
    console.print(table)
    for entry in entries:
        if entry.empty:
            line = (
                f"{entry.stage} {entry.recipe}: {entry.empty} of {entry.done} show none of their "
                "images' classes"
            )
            console.print(line, style="yellow", markup=False, highlight=False)
        if entry.samples:
            line = (
                f"{entry.stage} {entry.recipe}: {mean(entry.samples):.1f} samples per image "
                f"({entry.samples[0]} to {entry.samples[-1]})"
            )
            console.print(line, markup=False, highlight=False)
    for chosen in thresholds_of(run):
        score = "" if chosen.score is None else f"{chosen.score:.3g}, "
        line = f"threshold {chosen.recipe}: {score}{chosen.origin}"
        console.print(line, markup=False, highlight=False)
    for entry in entries:
        for image, reason in entry.failed.items():
            line = f"{entry.stage} {entry.recipe}, {image}: {reason}"
            console.print(line, style="red", markup=False, highlight=False)


def _show_times(run: Run) -> None:
    from datetime import timedelta

    table = stage_table(run, ("images", *PHASES, "overhead", "images/s", "left"))
    entries = list(run_times(run))
    for entry in entries:
        left = entry.seconds_left
        table.add_row(
            entry.status.stage,
            entry.status.recipe,
            str(entry.images),
            *(f"{entry.seconds[phase]:.0f}" for phase in PHASES),
            "" if entry.overhead is None else f"{entry.overhead:.0%}",
            "" if entry.rate is None else f"{entry.rate:.2f}",
            "?" if left is None else str(timedelta(seconds=round(left))),
        )
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(
        "seconds of all jobs together; images/s of one job; left: one job after another",
        highlight=False,
    )
    for entry in entries:
        if entry.sample_rate is not None and entry.overhead is not None:
            console.print(
                f"{entry.status.stage} {entry.status.recipe}: {entry.sample_rate:.1f} samples/s of "
                f"one job, whose device waited {entry.overhead:.0%} of the time",
                markup=False,
                highlight=False,
            )


def show(
    run: OpenRun,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image's id, or its name.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG, SVG or PDF; default: <IMAGE>.png.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", "-r", help="This recipe alone; without --output, here in the terminal."
        ),
    ] = None,
) -> None:
    """Draw one image through all recipes: its maps, its masks, the ground truth."""
    from ws3.tools.show import panels, show

    if recipe is not None and output is None:
        from ws3.cli.blocks import print_pictures

        print_pictures(Console(), panels(run, image, recipe))
        return
    say(show(run, image, output or Path(f"{run.row(image).image}.png"), recipe))


def compare(
    runs: Annotated[
        list[Run],
        typer.Argument(
            metavar="RUN...", parser=open_run, help="Folders of finished runs, one per seed."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the table and the charts.")
    ] = Path("comparison"),
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="RECIPE",
            help="Recipe that the others are compared with; default: the best of CAM, Grad-CAM "
            "and Grad-CAM++.",
        ),
    ] = None,
) -> None:
    """Put several runs side by side: means, intervals and differences of figures, and charts."""
    from ws3.tools.compare import compare_runs

    for path in compare_runs(runs, output, against):
        say(path)


def figures(
    run: OpenRun,
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder for them, outside the run's.")
    ] = Path("figures"),
) -> None:
    """Write what a paper takes of a run: charts as SVG and PDF, tables as CSV and LaTeX, methods.

    Beside them lie a text that says what the run did, with references, and where its results come
    from. Nothing in the run's folder changes.
    """
    from ws3.tools.figures import write_figures

    for path in write_figures(run, to):
        say(path)


def verify(
    path: Annotated[Path, typer.Argument(metavar="STORE|RUN", help="A store, or a run's folder.")],
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove what is damaged, so that the next run remakes it."),
    ] = False,
) -> None:
    """Read every byte of a store, or of all of a run, and name the images that are damaged.

    Only what a receipt, the index or the configuration names is repaired.
    """
    from ws3.run.verify import check_run, check_store, foreign_entries

    if (path / "config.yaml").exists():
        with ProgressReport("verify", unit="results") as progress:
            checked, damages = check_run(Run.open(path), repair=repair, reach=progress.reach)
    else:
        checked, damages = check_store(path, repair=repair)
    for damage in damages:
        say(f"{damage.image}: {damage.reason}", err=True)
    for foreign in foreign_entries(path):
        say(f"{foreign}: not of ws3, left alone", err=True)
    left = sum(damage.remedy == "look" for damage in damages)
    done = "; the damaged parts are removed, run snakemake again" if len(damages) > left else ""
    if left:
        done += f"; {left} left alone, see above: what is not of ws3 is yours to move"
    say(f"{path}: {checked} results read, {len(damages)} damaged{done if repair else ''}")
    if left or (damages and not repair):
        raise typer.Exit(1)


def recipes(
    methods: Annotated[
        bool, typer.Option("--methods", help="List attribution methods instead of recipes.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Check a run's recipes instead: do maps change when weights are shuffled, and "
            "probabilities when pixels go? Tables and a chart are written to RUN/sanity.",
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images that --check looks at.")] = 4,
) -> None:
    """List the named recipes that a configuration can start from, with their sources."""
    if check is not None:
        _check_recipes(check, images)
        return
    from ws3.config.methods import METHODS, OWN_METHODS
    from ws3.config.presets import PRESETS

    table = Table("name", "what it is", "source")
    entries: Mapping[str, MethodEntry | Preset] = OWN_METHODS if methods else PRESETS
    for name, entry in entries.items():
        table.add_row(name, entry.summary, entry.source)
    for name, point in METHODS.plugins().items() if methods else ():
        package = point.dist.name if point.dist else "an installed package"
        table.add_row(name, f"added by {package}", point.value)
    Console().print(table)


def _check_recipes(folder: Path, images: int) -> None:
    from ws3.report.sanity import area
    from ws3.run.folder import Run
    from ws3.tools.sanity import check_recipes

    run = Run.open(folder)
    table = Table("recipe", "likeness when all is shuffled", "deletion (less)", "insertion (more)")
    for checked in check_recipes(run, images).recipes:
        likeness = checked.likeness[-1] if checked.likeness else None
        areas = (f"{area(curve):.3f}" for curve in (checked.deletion, checked.insertion))
        table.add_row(checked.recipe, "" if likeness is None else f"{likeness:.2f}", *areas)
    Console().print(table)
    say(run.sanity_file.parent / "chart.svg")
    if run.report_file.exists():
        say(f"to have this in the report: ws3 report {run.folder}", err=True)


def demo_data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to draw it.")],
    train_images: Annotated[int, typer.Option(help="Training images.")] = 240,
    val_images: Annotated[int, typer.Option(help="Validation images.")] = 60,
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 128,
    classes: Annotated[int, typer.Option(help="Classes, 2 to 8.")] = 5,
    seed: Annotated[int, typer.Option(help="Another seed draws other pictures.")] = 0,
) -> None:
    """Draw the built-in dataset as a folder of images, labels, masks and part masks."""
    from pydantic import ValidationError

    from ws3.config.dataset import Synthetic
    from ws3.datasets.synthetic.dataset import draw_synthetic

    try:
        dataset = Synthetic(
            kind="synthetic",
            root=str(folder),
            train_images=train_images,
            val_images=val_images,
            size=size,
            classes=classes,
            seed=seed,
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise Ws3Error(f"--{option}: {first['msg']}, not {first['input']}") from None
    with ProgressReport("draw") as progress:
        draw_synthetic(dataset, folder, progress.reach)
    say(folder)


def coco_masks(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="COCO's folder.")],
    split: Annotated[str, typer.Argument(help="Such as train2014.")],
) -> None:
    """Draw the masks of a COCO split from its annotations, for evaluation."""
    from ws3.datasets.coco import draw_coco_masks

    target = folder / "masks" / split
    annotations = folder / "annotations" / f"instances_{split}.json"
    with ProgressReport(f"masks of {split}") as progress:
        count = draw_coco_masks(annotations, target, progress.reach)
    say(f"{count} masks: {target}")
