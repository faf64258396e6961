"""Runs Snakemake on the repository's own Snakefile, as a user does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]


def command(
    folder: Path, *arguments: str, config: dict[str, Any] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return Snakemake's command for a folder, and its environment.

    Without a configuration it is the demo's.
    """
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    line += ["--directory", str(folder)]
    if config is not None:
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        line += ["--configfile", str(path)]
    # The `ws3` command of the environment that runs the tests.
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return [*line, *arguments], {**os.environ, "PATH": paths}


def snakemake(folder: Path, *arguments: str, config: dict[str, Any] | None = None):
    """Run Snakemake in a folder on this machine, and wait for it."""
    line, environment = command(folder, "--cores", "2", *arguments, config=config)
    return subprocess.run(
        line, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def planned(folder: Path, config: dict[str, Any] | None, *arguments: str) -> Counter[str]:
    """Return how many jobs of each rule a dry run plans."""
    done = snakemake(folder, "--dry-run", "--quiet", "host", *arguments, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    if "Nothing to be done" in text:
        return Counter()
    table = re.search(r"^job +count\n-+ +-+\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert table is not None, text
    rows = (line.split() for line in table.group(1).splitlines())
    return Counter({name: int(count) for name, count in rows if name not in ("total", "all")})
