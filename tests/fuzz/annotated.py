"""Files of annotations: COCO and Pascal VOC."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fuzz.common import INDEX, be_lenient, some
from fuzz.harness import Input
from fuzz.mutations import LONG, spoil_json, spoil_lines, spoil_value

ENCODINGS = (
    *("gb2312", "shift_jis", "utf-7", "utf-16", "utf-32", "ansi", "euc-kr", "latin-1", "koi8-r"),
    *("big5", "rot13", "hex", "zlib", "idna", "unicode_escape", "cp1252", "", "x" * LONG),
)


def coco_files(folder: Path, rng: Random) -> Input:
    """Spoil a COCO file."""
    path = folder / "data/annotations/instances_some.json"
    if rng.random() < 0.4:
        # The numbers of regions, which native code would get.
        content = json.loads(path.read_text())
        item = rng.choice(content["annotations"])
        item["segmentation"], what = spoil_value(item["segmentation"], rng)
        path.write_text(json.dumps(content))
        what = f"segmentation: {what}"
    else:
        what = spoil_json(path, rng)
    draw = ("coco-masks", "data", "some")
    return Input(rng.choice((draw, draw, INDEX)), what)


def voc_files(folder: Path, rng: Random) -> Input:
    """Spoil an annotation or a list of a VOC tree."""
    data = folder / "data"
    paths = sorted((data / "Annotations").iterdir())
    be_lenient(folder, rng)
    kind = rng.choice(("xml", "xml", "encoding", "encoding", "list"))
    if kind == "list":
        path = rng.choice(sorted((data / "ImageSets/Segmentation").iterdir()))
        return Input(INDEX, some(rng, lambda: spoil_lines(path, rng)))
    path = rng.choice(paths)
    if kind == "xml":
        return Input(INDEX, some(rng, lambda: spoil_lines(path, rng)))
    said = rng.choice(ENCODINGS)
    text = path.read_text().replace("utf-8", said).replace("head", "\u732b\u00e9")
    try:
        path.write_bytes(text.encode(rng.choice((said, "utf-8", "gb18030")), "replace"))
    except (LookupError, ValueError, TypeError, AttributeError):
        path.write_text(text, encoding="utf-8")
    return Input(INDEX, f"{path.name}: encoding {said[:40]!r}")
