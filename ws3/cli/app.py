"""All commands, in the order of the data."""

from __future__ import annotations

import typer

from ws3.cli import handing, inspect, own_data, setting_up, stages, tuning
from ws3.errors import Ws3Error

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
own_data.register(app)
handing.register(app)
setting_up.register(app)
tuning.register(app)

RENAMED = {"aggregate": "maps", "train-segmenter": "train-segmentation"}
"""Commands of ws3 0.1, and what they are called now."""


def _refuse_old_name(context: typer.Context) -> None:
    old = str(context.info_name)
    raise Ws3Error(f"the command {old} is called {RENAMED[old]} now")


for name in RENAMED:
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(name, hidden=True, context_settings=anything)(_refuse_old_name)
