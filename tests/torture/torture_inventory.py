"""What is there, and what was computed: counted from files and the journal, not asked of ws3."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

STAGES = ("saliency", "maps", "masks", "predictions")
Key = tuple[str, str, str]
"""Stage, recipe, image."""


def results(contents: Mapping[str, bytes]) -> dict[Key, dict[str, bytes]]:
    """Divide a run's files into the results of images."""
    found: dict[Key, dict[str, bytes]] = {}
    for path, data in contents.items():
        match path.split("/"):
            case ["saliency" | "maps" as stage, store, image, *rest] if rest:
                key: Key = (stage, store.removesuffix(".zarr"), image)
            case ["masks" | "predictions" as stage, recipe, mask]:
                key = (stage, recipe, mask.removesuffix(".png"))
            case _:
                continue
        found.setdefault(key, {})[path] = data
    return found


def intact(run: Path, wanted: Mapping[Key, Mapping[str, bytes]]) -> set[Key]:
    """Return the results that are there with exactly the bytes that they must have."""
    return {
        key
        for key, files in wanted.items()
        if all(_read(run / path) == data for path, data in files.items())
    }


def computed(run: Path) -> Counter[Key]:
    """Return how often each result was computed, ever; lines that a full disk cut don't count."""
    count: Counter[Key] = Counter()
    for stage in STAGES:
        for line in (_read(run / "journal" / f"{stage}.jsonl") or b"").splitlines():
            try:
                entry = json.loads(line)
                if entry["event"] == "computed":
                    count[stage, entry["recipe"], entry["image"]] += 1
            except (ValueError, KeyError):
                continue
    return count


def leftovers(run: Path) -> list[str]:
    """Return what killed writers left among the results."""
    folders = ("saliency", "maps", "masks", "predictions")
    return [str(path.relative_to(run)) for name in folders for path in (run / name).rglob(".tmp-*")]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
