"""Ids of images: legal as file names, derived from the names that the pictures have.

A picture's name may hold blanks, brackets, accents or folders. Stores, masks and batches need an id
that is legal everywhere, so each name gets one, and keeps standing beside it in the index.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
"""Endings of image files, in any case of letters."""

MAX_ID = 200
"""Most characters of an id."""

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# All names at a glance: one by one, those of COCO take a dry run a tenth of a second more.
_IDS = re.compile(rf"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{MAX_ID - 1}}}\n)*")
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_STORES_OWN = "zarr.json"  # each image is a folder in a store, beside this file
_READABLE = 60  # characters of the name that a derived id keeps


def is_picture(name: str) -> bool:
    """Return whether a file's name has an ending of an image file.

    Example:
        >>> is_picture("IMG (2).JPG"), is_picture("notes.txt")
        (True, False)
    """
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def without_suffix(name: str) -> str:
    """Return a name without the ending of an image file, if it has one; other dots stay.

    Example:
        >>> without_suffix("a_jpg.rf.0a1b.jpg"), without_suffix("pic.v2")
        ('a_jpg.rf.0a1b', 'pic.v2')
    """
    # Called several times for every image of a dry run: most end in one of these.
    if name.endswith((".jpg", ".png")):
        return name[:-4] or name
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in SUFFIXES else name


def is_background(name: str) -> bool:
    """Return whether a name at the head of a class list is the background's.

    Example:
        >>> is_background("_background_"), is_background("BG"), is_background("bird")
        (True, True, False)
    """
    return name.strip("_").lower() in ("background", "bg")


def is_legal_id(text: str) -> bool:
    """Return whether a text can be an image's id, and so a file's name on any system."""
    return bool(_ID.fullmatch(text)) and len(text) <= MAX_ID and text != _STORES_OWN


def image_ids(names: Iterable[str]) -> dict[str, str]:
    """Return a legal, unique id for each picture's name.

    The id is the file's name without folders and ending where that is legal and no other picture
    bears it; else it is made of the letters of the whole name that are legal, and of a digest of
    it. It depends on the name alone, but for names that clash.

    Args:
        names: Paths of the pictures as the dataset names them, with '/' between folders.

    Example:
        >>> image_ids(["a/cat.jpg", "b/dog.jpg"])
        {'a/cat.jpg': 'cat', 'b/dog.jpg': 'dog'}
        >>> image_ids(["IMG (2).jpg"])
        {'IMG (2).jpg': 'IMG_2-70d30a'}
    """
    plain = {name: without_suffix(name.rpartition("/")[2]) for name in dict.fromkeys(names)}
    text = "".join([f"{stem}\n" for stem in plain.values()])
    # Some file systems don't tell capitals apart.
    folded = text.casefold().split("\n")[:-1]
    distinct = len(set(folded)) == len(folded) == len(plain)
    if distinct and _STORES_OWN not in folded and _IDS.fullmatch(text):
        return plain
    folded = [stem.casefold() for stem in plain.values()]
    shared = {stem for stem, bearers in Counter(folded).items() if bearers > 1}
    return {
        name: stem if same not in shared and is_legal_id(stem) else _derived(name)
        for (name, stem), same in zip(plain.items(), folded, strict=True)
    }


def _derived(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", without_suffix(name)).encode("ascii", "ignore")
    readable = _UNFIT.sub("_", ascii_name.decode()).strip("_.-")[-_READABLE:].lstrip("_.-")
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:6]
    return f"{readable}-{digest}" if readable else f"image-{digest}"
