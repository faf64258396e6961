"""The marked blocks of a page of the documentation, and the package that they make."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def documented(page: str, name: str) -> str:
    """Return the block of a page that is marked as this file."""
    text = (DOCS / page).read_text()
    found = re.search(rf"<!-- tested: {re.escape(name)} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert found, name
    return found[1]


def install(page: str, module: str, folder: Path) -> Path:
    """Install the package that a page shows, and return the folder that it is in."""
    package, installed = folder / "package", folder / "installed"
    package.mkdir()
    for name in (module, "pyproject.toml"):
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
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return ws3
