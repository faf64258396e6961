"""COCO's JSON files, read as a stream, with the file and the entry named in every error."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ws3.errors import Ws3Error
from ws3.messages import reason, shown
from ws3.outside import JSON_BYTES, open_regular

CocoId = int | str
"""An id as files have it."""


def categories_of(path: Path) -> dict[CocoId, str]:
    """Return the name of each category id, in the order of the ids."""
    categories: dict[CocoId, str] = {}
    for item in items_of(path, "categories"):
        with naming(path, "category", item["id"]):
            check_id(item["id"], categories)
            if not isinstance(item["name"], str):
                raise ValueError(f"its name is {shown(item['name'])}, not a text")
        categories[item["id"]] = item["name"]
    if not categories:
        raise malformed(path, ValueError("it has no categories"))
    return dict(sorted(categories.items()))


def pictures_of(path: Path) -> Iterator[Any]:
    """Yield the images, whose ids and files' names are in order."""
    seen: set[CocoId] = set()
    for item in items_of(path, "images"):
        file = item["file_name"]
        with naming(path, "image", item["id"]):
            check_id(item["id"], seen)
            if not isinstance(file, str) or not _is_path(file):
                raise ValueError(f"its file_name is {shown(file)}, which no file can have")
        seen.add(item["id"])
        yield item


def check_id(identity: Any, seen: Container[Any]) -> None:
    """Check that a value can be an id, and that none before it was the same.

    Raises:
        ValueError: If it is no number or text, or among those seen.
    """
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        raise ValueError("an id is a number or a text")
    if identity in seen:
        raise ValueError("this id is there twice")


def _is_path(text: str) -> bool:
    try:
        return bool(text) and b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a character
        return False


@contextmanager
def naming(path: Path, kind: str, identity: Any) -> Iterator[None]:
    """Name the file and the entry in the sentence about a wrong value.

    Raises:
        Ws3Error: If the block raises a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise Ws3Error(
            f"{path}: {kind} {shown(identity)}: {error}; correct this entry or take it out"
        ) from error


def items_of(path: Path, name: str) -> Iterator[Any]:
    """Yield the items of one list of the JSON object in a file, as they are read.

    The file is read as a stream, as it takes gigabytes once decoded; and once for each list, which
    is quicker than handing all three out in one pass.
    """
    # Imported here: most dry runs take the labels from the index.
    import ijson

    try:
        with open_regular(path, JSON_BYTES) as file:
            if file.peek(3)[:3] == BOM_UTF8:
                file.read(3)
            source = _Shallow(file)
            yield from ijson.items(source, f"{name}.item", use_float=True, buf_size=source.PIECE)
    except OSError as error:
        raise Ws3Error(
            f"{path}: {reason(error)}; COCO's instance annotations are expected here"
        ) from error
    except (ijson.JSONError, ValueError, RecursionError) as error:
        raise malformed(path, error) from error


class _Shallow:
    """A JSON file that isn't nested deeply: ijson takes memory by the square of the depth."""

    PIECE = 16_384
    _DEEPEST = 1000

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._depth = file, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; of their brackets, those in texts come in pairs as a rule."""
        data = self._file.read(size)
        self._depth += sum(map(data.count, (b"[", b"{"))) - sum(map(data.count, (b"]", b"}")))
        if self._depth > self._DEEPEST:
            raise ValueError("it is nested too deeply")
        return data


def malformed(path: Path, error: Exception) -> Ws3Error:
    """Return the error for a file that is not of COCO's form."""
    return Ws3Error(
        f"{path}: not a COCO instances file ({type(error).__name__}: {reason(error)}); expected "
        "are images, annotations and categories"
    )
