"""All commands, in the order of the data."""

from __future__ import annotations

import typer

from ws3.cli import inspect, stages

app = typer.Typer(
    help="Weakly supervised semantic segmentation: image-level labels in, masks and a trained "
    "network out. `snakemake` runs all stages; each is also a command of its own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
stages.register(app)
inspect.register(app)
