"""Where the Snakefile, its rules and the configurations lie: in a clone, or in the package."""

from __future__ import annotations

from pathlib import Path

from ws3.errors import Ws3Error


def shipped(name: str) -> Path:
    """Return a file of the workflow, of this very version.

    Args:
        name: Its path in the repository.

    Raises:
        Ws3Error: If this installation lacks it.

    Example:
        >>> shipped("rules/masks.smk").name
        'masks.smk'
    """
    package = Path(__file__).parent
    # Copied there when the package is built; a clone has them beside the package.
    installed = package / "files"
    path = (installed if installed.is_dir() else package.parents[1]) / name
    if not path.exists():
        raise Ws3Error(
            f"{path}: this installation of ws3 lacks it; install again with: "
            "pip install --force-reinstall --no-deps ws3-seg"
        )
    return path
