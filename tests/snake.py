"""Runs Snakemake on the repository's own Snakefile, as a user does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[1]

# Found by Python before anything else runs: notes each file that is opened, in all processes.
NOTE_OPENED = """
import os, sys
opened = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        os.write(opened, os.fsencode(arguments[0] + "\\n"))
sys.addaudithook(note)
"""


def environment() -> dict[str, str]:
    """Return an environment in which `ws3` is the one of the interpreter that runs the tests."""
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": paths}


def command(folder: Path, *arguments: str, config: dict[str, Any] | None = None) -> list[str]:
    """Return how Snakemake is called in a folder, on a configuration or, without one, the demo."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    words += ["--directory", str(folder)]
    if config is not None:
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        words += ["--configfile", str(path)]
    return [*words, *arguments]


def snakemake(
    folder: Path,
    *arguments: str,
    config: dict[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    opened: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake; the names of all files that it and its jobs open go to the file `opened`."""
    env = dict(env or environment())
    with tempfile.TemporaryDirectory() as hook:
        if opened is not None:
            Path(hook, "sitecustomize.py").write_text(NOTE_OPENED)
            path = os.pathsep.join(filter(None, (hook, env.get("PYTHONPATH", ""))))
            env |= {"PYTHONPATH": path, "OPENED": str(opened)}
        return subprocess.run(
            command(folder, "--cores", "2", *arguments, config=config),
            cwd=REPOSITORY,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )


def planned(folder: Path, config: dict[str, Any] | None, *arguments: str) -> Counter[str]:
    """Return how many jobs of each rule a dry run plans."""
    done = snakemake(folder, "--dry-run", "--quiet", "host", *arguments, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    return job_counts(done.stdout + done.stderr)


def job_counts(text: str) -> Counter[str]:
    """Return how many jobs of each rule there are in what a dry run says."""
    if "Nothing to be done" in text:
        return Counter()
    table = re.search(r"^job +count\n-+ +-+\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert table is not None, text
    rows = (line.split() for line in table.group(1).splitlines())
    return Counter({name: int(count) for name, count in rows if name not in ("total", "all")})


@dataclass(frozen=True)
class Reported:
    """A file in Snakemake's report: where it is shown, what is said of it, and what it holds."""

    category: str
    labels: dict[str, str]
    caption: str
    data: bytes


def reported(archive: Path) -> dict[str, Reported]:
    """Return the files of a report that Snakemake wrote as a zip, by their paths in the run."""
    with zipfile.ZipFile(archive) as file:
        name = f"{archive.stem}/report.html"
        text = file.read(name).decode()
        results, categories = (
            json.JSONDecoder().raw_decode(
                text, text.index(f"var {what} = {{") + len(f"var {what} = ")
            )[0]
            for what in ("results", "categories")
        )
        shown_in = {
            path: category
            for category, parts in categories.items()
            for paths in parts.values()
            for path in paths
        }
        return {
            path: Reported(
                shown_in[path],
                entry["labels"],
                re.sub(r"<[^>]*>", "", entry["caption"]),
                file.read(f"{archive.stem}/{entry['data_uri']}"),
            )
            for path, entry in results.items()
        }
