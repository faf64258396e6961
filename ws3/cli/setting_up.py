"""The commands for before a run: what the machine is fit for, and public datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from ws3.cli.saying import say
from ws3.errors import Ws3Error

PANEL = "Before a run"
"""Heading of these commands in the help."""


class FetchCommand(TyperCommand):
    """Describes the datasets where help is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from ws3.tools.fetch import SOURCES

        known = [f"{name}: {source.summary}" for name, source in SOURCES.items()]
        for parameter in self.params:
            if isinstance(parameter, TyperArgument) and parameter.name == "name":
                parameter.help = f"{'; '.join(known)}."
        super().format_help(ctx, formatter)


class InitCommand(TyperCommand):
    """Describes the configurations where help is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from ws3.workflow.project import CONFIGURATIONS

        known = [f"{name}: {summary}" for name, summary in CONFIGURATIONS.items()]
        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.name == "like":
                parameter.help = f"What to begin with. {'; '.join(known)}."
        super().format_help(ctx, formatter)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(cls=InitCommand, rich_help_panel=PANEL)(init)
    app.command(rich_help_panel=PANEL)(doctor)
    app.command(cls=FetchCommand, rich_help_panel=PANEL)(fetch)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that isn't there, or is empty.")
    ],
    like: Annotated[str, typer.Option("--like", metavar="NAME")] = "folder",
) -> None:
    """Begin a project: a folder with a configuration, from which `snakemake` runs this very ws3.

    No clone of ws3's repository is needed. Written are config/config.yaml, profiles for clusters, a
    Snakefile that takes the rules from the installed package, a README and a .gitignore.
    """
    from ws3.workflow.project import begin_project

    config = begin_project(folder, like)
    say(f"{folder}: set {config}, and run snakemake there; snakemake -n only shows the plan")


def doctor(
    configfile: Annotated[
        Path | None,
        typer.Option("--configfile", "-c", metavar="FILE", help="Look at its files too."),
    ] = None,
) -> None:
    """Say of the machine, and of a configuration's files, what is fit for a run and what isn't.

    Each line has a verdict (ok, warning, fault) and what to do. Nothing is written. The exit status
    is 1 if there is a fault.
    """
    from ws3.tools.doctor import examine

    colours = {"ok": "green", "warning": "yellow", "fault": "red"}
    faults = 0
    for finding in examine(configfile):
        faults += finding.verdict == "fault"
        verdict, _, rest = str(finding).partition(" ")
        typer.secho(verdict, fg=colours[finding.verdict], nl=False)
        say(f" {rest}")
    if faults:
        raise typer.Exit(1)


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to.")],
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A folder that has the files under their own names."),
    ] = None,
    remove_archives: Annotated[
        bool, typer.Option("--remove-archives", help="Remove archives when they are unpacked.")
    ] = False,
) -> None:
    """Download a public dataset, check it, and lay it out for its configuration.

    The same command goes on after an interruption. Each file is checked against its publisher's or
    torchvision's MD5; one that you put into DIR/archives yourself is taken. The datasets have
    terms of their own.
    """
    from ws3.tools.fetch import SOURCES, fetch

    if name not in SOURCES:
        raise Ws3Error(f"{name}: no such dataset; choose from: {', '.join(SOURCES)}")
    root = fetch(SOURCES[name], folder, mirror, keep=not remove_archives)
    say(f"{root}: ready, for dataset.root")
