"""`snakemake --logger ws3`: a run that says how far it is, in bars or in a few plain lines.

Snakemake finds it by its name among the installed packages, and imports it at each start, also of a
job on a cluster: what it needs is therefore imported when it is used. A dry run, and whoever asks
for less (`--quiet`) or more (`--printshellcmds`, `--verbose`, `--debug-dag`), gets Snakemake's own
log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import Handler, LogRecord
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase

if TYPE_CHECKING:
    from snakemake_logger_plugin_ws3.talk import Talk

__all__ = ["LogHandler"]


class LogHandler(LogHandlerBase):
    """What Snakemake hands its log's records to."""

    def __post_init__(self) -> None:
        """Choose between Snakemake's own log and ours."""
        self._usual: Handler | None = None
        self._talk: Talk | None = None
        settings = self.common_settings
        quiet = {getattr(name, "name", str(name)).lower() for name in settings.quiet or ()}
        more = settings.printshellcmds or settings.verbose or settings.debug_dag
        if settings.dryrun or more or quiet & {"all", "rules", "progress"}:
            self._usual = _usual_handler(self)
        else:
            from snakemake_logger_plugin_ws3.talk import Talk

            self._talk = Talk(color=not settings.nocolor)

    def begin(self, folders: Sequence[Path], images: Mapping[str, Mapping[str, int]]) -> None:
        """Hear from the workflow what it is going to do; see `ws3.workflow.rules`.

        Args:
            folders: The run's folder, or those of the runs with each seed.
            images: By rule, and by output file of each of its jobs: how many images it works on;
                empty until the jobs are known.
        """
        if self._talk is not None:
            self._talk.begin(folders, images)

    def emit(self, record: LogRecord) -> None:
        """Show a record."""
        try:
            if self._usual is not None:
                self._usual.emit(record)
            elif self._talk is not None:
                self._talk.hear(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Show the end: a table, or what failed."""
        if self._talk is not None:
            self._talk.end()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's own log."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """The file `.snakemake/log/*.snakemake.log` stays Snakemake's own."""
        return False

    @property
    def has_filter(self) -> bool:
        """What `--quiet` leaves out is left to Snakemake."""
        return False

    @property
    def has_formatter(self) -> bool:
        """No text of Snakemake's is needed."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The graph isn't shown."""
        return False


def _usual_handler(handler: LogHandler) -> Handler:
    """Return the handler that Snakemake itself would have made."""
    import sys

    from snakemake.logging import ColorizingTextHandler, DefaultFormatter

    settings = handler.common_settings
    usual: Handler = ColorizingTextHandler(
        nocolor=settings.nocolor, stream=sys.stdout if settings.stdout else sys.stderr
    )
    usual.setFormatter(DefaultFormatter(settings.quiet, settings.show_failed_logs))
    return usual
