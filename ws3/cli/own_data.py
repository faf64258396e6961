"""Commands for data that isn't in ws3's layout yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ws3.errors import Ws3Error
from ws3.jobs.progress import ProgressReport
from ws3.messages import printable, shortened

if TYPE_CHECKING:
    from ws3.datasets.importing.found import Found
    from ws3.tools.import_data import Imported

_CLASSES_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import", rich_help_panel="Before a run")(import_data)


def import_data(
    path: Annotated[
        Path, typer.Argument(help="The dataset's folder, or the file that tells its labels.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to write; by default PATH's name and _ws3, here."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the pictures, if not in PATH.")
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="Take PATH for this format; look at no other.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Say what PATH is taken for; write nothing.")
    ] = False,
) -> None:
    """Take over a dataset as other tools write it: labels, splits and masks.

    It reads folders per class, tables of any form, COCO, Pascal VOC, YOLO,
    LabelMe, Label Studio, CVAT, Datumaro, Open Images and trees of masks, and
    says what it takes PATH for. The pictures stay where they are; written are
    labels.csv, classes.txt, lists of splits, masks, and a configuration.
    """
    from ws3.datasets.importing.look import READERS, look
    from ws3.tools.import_data import check_output, write_import

    if format_name is not None and format_name not in READERS:
        raise Ws3Error(f"--format {format_name}: unknown; known are {', '.join(READERS)}")
    name = path.resolve().name if path.is_dir() else path.stem
    target = Path(f"{name or 'data'}_ws3") if output is None else output
    if not dry_run:
        check_output(target)
    console = Console(soft_wrap=True, highlight=False)
    # A file of COCO's size takes a minute or more.
    with Console(stderr=True).status(f"looking through {escape(str(path))}"):
        found = look(path, images, format_name)
    console.print(printable(f"{path}: taken for {found.kind}, since {found.reason}"), markup=False)
    if dry_run:
        _show_found(console, found)
        return
    with ProgressReport("masks") as progress:
        imported = write_import(found, path, target, progress.reach)
    _show(console, imported)
    console.print(
        printable(f"Written: {target}. Next: ws3 index, or the whole run with"), markup=False
    )
    console.print(printable(f"  snakemake --configfile {target / 'config.yaml'}"), markup=False)


def _show_found(console: Console, found: Found) -> None:
    console.print(f"{len(found.pictures)} pictures, {len(found.classes)} classes", markup=False)
    _warn(console, found.notes)


def _show(console: Console, imported: Imported) -> None:
    splits = ", ".join(f"{count} {split}" for split, count in imported.pictures.items() if count)
    classes = [f"{shortened(name, 40)} {count}" for name, count in imported.classes.items()]
    more = f" and {len(classes) - _CLASSES_SHOWN} more" if len(classes) > _CLASSES_SHOWN else ""
    console.print(f"pictures: {splits}", markup=False)
    console.print(
        f"classes: {len(classes)}: {', '.join(classes[:_CLASSES_SHOWN])}{more}", markup=False
    )
    console.print(f"pictures that show none of them: {imported.negatives}", markup=False)
    console.print(f"masks: {imported.masks or 'none'}", markup=False)
    _warn(console, imported.notes)


def _warn(console: Console, notes: tuple[str, ...]) -> None:
    for note in notes:
        console.print(f"note: {note}", style="yellow", markup=False)
