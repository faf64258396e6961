"""A project folder of one's own, which runs the workflow of the installed package."""

from __future__ import annotations

import shutil
from pathlib import Path

from ws3.errors import Ws3Error
from ws3.files import atomic_folder
from ws3.workflow.shipped import shipped

CONFIGURATIONS = {
    "folder": "photographs in a folder, with a table of labels",
    "voc12": "Pascal VOC 2012 in its own layout",
    "coco14": "MS COCO 2014 in its own layout",
    "demo": "the built-in pictures, which need no data and no download",
}
"""What a project can begin with."""

_FILES = {"demo": "config.yaml"}
_PROFILES = ("default", "slurm", "lsf", "sge")
_WHERE = """\
#
# docs/config.md of ws3 lists every key with its default and allowed values;
# `ws3 doctor --configfile config/config.yaml` says whether all that is named here is there.
"""
_SNAKEFILE = """\
# The rules are those of the installed ws3 (`pip show ws3-seg`), so they change when it is upgraded.
# Rules of your own can go below; a rule of ws3 that has another name here, or other settings, is
# written as in https://snakemake.readthedocs.io/en/stable/snakefiles/modularization.html
from ws3.workflow.shipped import shipped


configfile: "config/config.yaml"


module ws3:
    snakefile:
        shipped("Snakefile")
    config:
        config


use rule * from ws3
"""
_README = """\
# {name}

`config/config.yaml` says what is computed. Here, `snakemake -n` shows the plan, and `snakemake`
carries it out (on a cluster: `snakemake --workflow-profile profiles/slurm`), into `results/`.
"""
_IGNORED = """\
/results/
.snakemake/
slurm_logs/
"""


def begin_project(folder: Path, like: str = "folder") -> Path:
    """Write a configuration, profiles, a Snakefile, a README and a .gitignore.

    Args:
        folder: The project's folder, which isn't there yet or is empty.
        like: What the configuration begins with, a key of `CONFIGURATIONS`.

    Returns:
        The configuration's path.

    Raises:
        Ws3Error: If the folder holds anything, is no folder, or there is no such configuration.
    """
    if like not in CONFIGURATIONS:
        raise Ws3Error(f"--like {like}: choose from: {', '.join(CONFIGURATIONS)}")
    if folder.is_dir() and not folder.is_symlink():
        if any(folder.iterdir()):
            raise Ws3Error(f"{folder}: this folder is not empty; choose one that isn't there yet")
    elif folder.exists() or folder.is_symlink():
        raise Ws3Error(f"{folder}: something is there already; choose another folder")
    if folder.is_dir():
        # Not replaced: a shell may stand in it.
        _write(folder, like, folder.resolve().name)
    else:
        with atomic_folder(folder) as temporary:
            temporary.mkdir(parents=True)
            _write(temporary, like, folder.resolve().name)
    return folder / "config" / "config.yaml"


def _write(folder: Path, like: str, name: str) -> None:
    (folder / "config").mkdir()
    source = shipped(f"config/{_FILES.get(like, f'{like}.yaml')}")
    (folder / "config" / "config.yaml").write_text(_here(source.read_text()))
    for profile in _PROFILES:
        shutil.copytree(shipped(f"profiles/{profile}"), folder / "profiles" / profile)
    (folder / "Snakefile").write_text(_SNAKEFILE)
    (folder / "README.md").write_text(_README.format(name=name))
    (folder / ".gitignore").write_text(_IGNORED)


def _here(text: str) -> str:
    """Return a shipped configuration as one of a project: its head names commands of a clone."""
    lines = text.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    head = "".join(lines[:first]).partition("#\n#   snakemake")[0]
    return head + _WHERE + "".join(lines[first:])
