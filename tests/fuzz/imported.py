"""Maps, masks and regions of other programs."""

from __future__ import annotations

from pathlib import Path
from random import Random

import yaml

from fuzz.common import INDEX, some
from fuzz.harness import Input
from fuzz.mutations import spoil_bytes, spoil_json, spoil_place


def imported_files(folder: Path, rng: Random) -> Input:
    """Spoil a file of another program, and index all."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    kind = rng.choice(sorted(path.name for path in (folder / "theirs").iterdir()))
    taken = {"import": {"masks": f"theirs/{kind}"}}
    if kind == "regions":
        config["masks"]["regions"] = {"kind": "files", "folder": f"theirs/{kind}"}
    else:
        if kind != "masks":
            taken = {"import": {"maps": f"theirs/{kind}", "format": kind}}
        config |= {"recipes": {"theirs": taken}, "reference_recipe": "theirs"}
        config["segmentation"] = {"recipes": []}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    files = sorted(path for path in (folder / "theirs" / kind).rglob("*") if path.is_file())
    path = rng.choice(files)
    if rng.random() < 0.1:
        return Input(INDEX, f"{path}: {spoil_place(path, folder / 'neighbour', rng)}")
    if path.suffix == ".json" and kind == "regions":
        return Input(INDEX, f"{path}: {some(rng, lambda: spoil_json(path, rng))}")
    return Input(INDEX, f"{path}: {some(rng, lambda: spoil_bytes(path, rng))}")
