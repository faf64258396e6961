"""Files from outside: what would make ws3 wait for ever or fill its memory is refused at once."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ws3.config.dataset import Coco
from ws3.config.load import read_yaml
from ws3.datasets import images
from ws3.datasets.coco import draw_coco_masks, list_coco
from ws3.datasets.listing_files import read_text
from ws3.datasets.masks import read_label_mask
from ws3.datasets.xml_files import parse_xml
from ws3.errors import Ws3Error
from ws3.files import sha256
from ws3.outside import ANNOTATION_BYTES, TEXT_BYTES, read_regular
from ws3.tensors import read_tensors


def coco_listing(path: Path) -> None:
    root = path.parent / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "x").mkdir()
    (root / "annotations" / "instances_x.json").symlink_to(path)
    list_coco(Coco(kind="coco", root=str(root), train="x", val=None), root)


READERS: dict[str, Callable[[Path], Any]] = {
    "photograph": images.read_bytes,
    "mask": read_label_mask,
    "table or list": lambda path: read_text(path, "a table"),
    "VOC annotation": lambda path: parse_xml(path, ANNOTATION_BYTES),
    "COCO annotations": coco_listing,
    "COCO masks": lambda path: draw_coco_masks(path, path.parent / "masks"),
    "checkpoint": lambda path: read_tensors(path, "replace it"),
    "configuration": read_yaml,
}


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    def fail(*arguments: object) -> None:
        raise AssertionError("it waited for more than 20 seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(params=["pipe", "device", "socket", "folder", "link to a pipe"])
def special(request: pytest.FixtureRequest, folder: Path) -> Iterator[Path]:
    """Return what is there under a file's name but is no file."""
    path = folder / "a"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "link to a pipe":
        os.mkfifo(folder / "pipe")
        path.symlink_to("pipe")
    if request.param == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            yield path
    else:
        yield path


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_at_once(special: Path, reader: str) -> None:
    with pytest.raises(Ws3Error) as error:
        READERS[reader](special)
    said = str(error.value)
    assert str(special.parent) in said
    assert "not a regular file" in said
    assert "\n" not in said


@pytest.mark.parametrize("reader", READERS)
def test_a_file_of_20_gb_is_refused_unread(folder: Path, reader: str) -> None:
    path = folder / "a"
    with path.open("wb") as file:
        file.truncate(20_000_000_000)
    with pytest.raises(Ws3Error, match=r"larger than \d+ MB, the most that is read"):
        READERS[reader](path)


def test_a_digest_does_not_wait_for_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "a")
    with pytest.raises(OSError, match="a named pipe, not a regular file"):
        sha256(folder / "a")


def test_a_whole_file_is_read_up_to_its_bound(folder: Path) -> None:
    path = folder / "a"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 0 MB"):
        read_regular(path, 4)
    # Its size isn't told before it is read.
    with pytest.raises(OSError, match="larger than 0 MB"):
        read_regular("/proc/self/maps", 10)


def test_reading_a_small_file_takes_little_memory(folder: Path) -> None:
    (folder / "a").write_bytes(b"12345")
    tracemalloc.start()
    assert read_regular(folder / "a", TEXT_BYTES) == b"12345"
    assert tracemalloc.get_traced_memory()[1] < TEXT_BYTES / 100
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_no_file_can_have_is_refused(folder: Path, name: str) -> None:
    for reader in (images.read_bytes, read_yaml):
        with pytest.raises(Ws3Error, match="no file can have this name"):
            reader(folder / name)
