"""Tables, lists, ids and pictures of a folder of photographs."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from random import Random

from PIL import Image

from fuzz.common import INDEX, be_lenient, some
from fuzz.harness import Input
from fuzz.mutations import TEXTS, spoil_bytes, spoil_lines
from fuzz.worlds import OTHER_FORMATS, SIZE


def tables(folder: Path, rng: Random) -> Input:
    """Spoil a label table, a class file, or a list of ids."""
    name = rng.choice(("labels.csv", "labels.csv", "classes.txt", "train.txt", "val.txt"))
    be_lenient(folder, rng)
    return Input(INDEX, some(rng, lambda: spoil_lines(folder / "data" / name, rng)))


def ids(folder: Path, rng: Random) -> Input:
    """Give an image another id, everywhere."""
    name = str(rng.choice((*TEXTS, *(f"frame_{'0' * 30}", "y" * 100, "a.b.c", "CON", "é"))))
    name = name.replace("/", "").replace("\0", "") if rng.random() < 0.7 else name
    data = folder / "data"
    for table in ("labels.csv", "train.txt"):
        text = (data / table).read_text().replace("\na,", f"\n{name},").replace("a\n", f"{name}\n")
        (data / table).write_bytes(text.encode("utf-8", "surrogatepass"))
    for old, ending in (("images/a.jpg", ".jpg"), ("masks/a.png", ".png")):
        # Of a name that no file can have, the table alone has it.
        with suppress(OSError, ValueError):
            (data / old).rename((data / old).parent / f"{name}{ending}")
    be_lenient(folder, rng)
    return Input(INDEX, f"id {name[:40]!r}")


def pictures(folder: Path, rng: Random) -> Input:
    """Spoil an image or a mask of an accepted format, or write one of another format."""
    data, kind = folder / "data", rng.choice(("image", "image", "mask", "format", "odd"))
    images, masks = sorted((data / "images").iterdir()), sorted((data / "masks").iterdir())
    be_lenient(folder, rng)
    if kind == "format":
        path = rng.choice((*images, *masks))
        what = _write_other(path, rng)
    elif kind == "odd":
        path = rng.choice((*images, *masks))
        size = rng.choice((SIZE, (1, 1), (1, 3000), (3000, 1), (9000, 9000)))
        mode = rng.choice(("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"))
        what = f"{path.name}: {mode} of {size}"
        data_of = io.BytesIO()
        form = rng.choice(("PNG", "TIFF"))
        form = "TIFF" if mode in ("CMYK", "I", "F") else form
        Image.new(mode, size).save(data_of, form)
        path.write_bytes(data_of.getvalue())
    else:
        paths = images if kind == "image" else masks
        what = some(rng, lambda: spoil_bytes(rng.choice(paths), rng))
    return Input(INDEX, what)


def _write_other(path: Path, rng: Random) -> str:
    """Write a picture of another format under the name of one that is read."""
    ending = rng.choice(OTHER_FORMATS)
    picture, data = Image.new(rng.choice(("RGB", "L", "P")), SIZE, 1), io.BytesIO()
    try:
        picture.save(data, Image.registered_extensions()[ending])
    except (OSError, KeyError, ValueError):  # no encoder here, or not of this mode
        data.write(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\nshowpage\n")
    path.write_bytes(data.getvalue())
    what = f"{path.name}: a {ending} file"
    return f"{what}, {spoil_bytes(path, rng)}" if rng.random() < 0.5 else what
