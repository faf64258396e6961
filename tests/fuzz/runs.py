"""The files of a finished run, and what may stand in their place."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.common import INDEX, LOOKS, RUN
from fuzz.harness import Arguments, Input
from fuzz.mutations import spoil_bytes, spoil_json, spoil_lines, spoil_place

_STAGES: tuple[Arguments, ...] = (
    ("maps", RUN, "-r", "cam"),
    ("maps", RUN, "-r", "crops"),
    ("masks", RUN, "-r", "cam"),
    ("threshold", RUN, "-r", "crops"),
    ("evaluate", RUN, "-r", "cam"),
    ("evaluate", RUN, "--summary"),
    ("predictions", RUN, "-r", "crops"),
    ("index", RUN),
    ("train-classifier", RUN),
)
_HANDED_ON: tuple[Arguments, ...] = (
    ("report", RUN),
    ("show", RUN, "b", "-o", "results/b.png"),
    ("compare", RUN, "-o", "results/compared"),
    ("compare", RUN, "-o", "results/compared", "--against", "crops"),
    ("export", RUN, "-r", "cam", "--out", "results/voc"),
)


def records(folder: Path, rng: Random) -> Input:
    """Spoil a JSON file, a table or a journal of a finished run."""
    run = folder / RUN
    paths = [
        *(path for path in sorted(run.rglob("*.json")) if ".zarr" not in str(path)),
        *(run / "index.csv", run / "classes.txt"),
        *sorted(run.glob("journal/*.jsonl")),
        *sorted(run.glob("report/images/*.jsonl")),
        *sorted(run.glob("evaluation/*.csv")),
    ]
    path = rng.choice(paths)
    what = spoil_json(path, rng) if path.suffix == ".json" else spoil_lines(path, rng)
    return Input(_command(rng), f"{path.relative_to(run).parent}/{what}")


def stores(folder: Path, rng: Random) -> Input:
    """Spoil the metadata of a Zarr store, its chunks, or a mask."""
    run = folder / RUN
    kind = rng.choice(("metadata", "metadata", "chunk", "mask"))
    pattern = {"metadata": "*/*.zarr/**/zarr.json", "chunk": "*/*.zarr/**/c/**/*"}
    found = run.glob(pattern.get(kind, "[mp]*/*/*.png"))
    path = rng.choice(sorted(path for path in found if path.is_file()))
    what = spoil_json(path, rng) if kind == "metadata" else spoil_bytes(path, rng)
    return Input(_command(rng), f"{path.relative_to(run).parent}/{what}")


def places(folder: Path, rng: Random) -> Input:
    """Put links, pipes, folders and the like in place of any file or folder."""
    run = folder / RUN
    if rng.random() < 0.4:
        found = [*(folder / "data").rglob("*"), folder / "config.yaml", folder / "mine.pt"]
        arguments: Arguments = rng.choice((INDEX, INDEX, ("train-classifier", RUN)))
    else:
        found, arguments = list(run.rglob("*")), _command(rng)
        if rng.random() < 0.5:
            found = [path for path in found if len(path.relative_to(run).parts) <= 2]
    path = rng.choice(sorted(found))
    what = spoil_place(path, folder / "neighbour", rng)
    return Input(arguments, f"{path.relative_to(folder).parent}: {what}")


def _command(rng: Random) -> tuple[str, ...]:
    """Return a command that reads a run: most are quick."""
    group = rng.choice((LOOKS, LOOKS, LOOKS, _STAGES, _STAGES, _STAGES, _STAGES, _HANDED_ON))
    return rng.choice(group)
