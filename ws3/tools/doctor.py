"""Looks whether a machine, and what a configuration names, are fit for a run; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ws3.tools.doctor_config import config_findings, disk_finding
from ws3.tools.doctor_machine import machine_findings
from ws3.tools.finding import Finding


def examine(config: Path | None = None) -> Iterator[Finding]:
    """Yield a finding for each thing that is looked at, as soon as it is.

    Args:
        config: A configuration, whose files are looked at too.

    Example:
        >>> next(examine()).what
        'Python'
    """
    yield from machine_findings()
    if config is None:
        yield disk_finding("disk", Path())
    else:
        yield from config_findings(config)
