"""The package that a page of the documentation shows, installed beside ws3."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pages import documented


def install(page: str, files: Sequence[str], folder: Path) -> Path:
    """Install the package of these files of a page, and return the folder that it is in."""
    package, installed = folder / "package", folder / "installed"
    package.mkdir()
    for name in files:
        (package / name).write_text(documented(page, name))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", installed, package], check=True)
    return installed


def ws3_with(installed: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the real command where a package is installed."""
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def ws3(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from ws3.cli import main; main()", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return ws3
