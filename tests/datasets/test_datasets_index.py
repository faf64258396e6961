"""The index: a faithful file, a digest that sees edits, and checks that miss nothing."""

from __future__ import annotations

import re
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import HEIGHT, WIDTH, listing_of, write_image, write_mask
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ws3.config.dataset import Folder
from ws3.datasets.index import (
    ImageRow,
    Index,
    Listing,
    check_files,
    read_index,
    rows_fingerprint,
    write_index,
)
from ws3.datasets.listing_files import row_stat_key
from ws3.errors import Ws3Error
from ws3.files import write_bytes
from ws3.labels import voc_palette

Tree = Callable[..., Path]

CLASSES = ("cat", "dog", "tree frog")
LISTED = ("image", "split", "labels", "path", "mask", "stat_key", "name", "coding")

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
rows = st.builds(
    ImageRow,
    image=st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=12),
    split=st.sampled_from(["train", "val"]),
    labels=st.lists(st.sampled_from(CLASSES), max_size=3).map(tuple),
    path=text,
    mask=text,
    stat_key=text,
    width=st.integers(0, 10**6),
    height=st.integers(0, 10**6),
    sha256=text,
    mask_sha256=text,
    problem=text,
    parts=text,
    name=text,
    mask_values=st.lists(st.integers(0, 255), max_size=3).map(tuple),
    coding=text,
)


@given(st.lists(rows, max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, found: list[ImageRow]) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip" / "index.csv"
    index = Index(CLASSES, tuple(found))
    write_index(path, index)
    assert read_index(path) == index


def test_an_index_of_an_older_ws3_is_read_and_filled_in(row: Callable[..., ImageRow]) -> None:
    listing = Listing(CLASSES, (row("a"), row("b", mask="")))
    done = check_files(listing)
    path = Path(done.rows[0].path).with_name("index.csv")
    write_index(path, done)
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line.rsplit(',', 3)[0]}\n" for line in lines))
    older = read_index(path)
    assert [(r.name, r.mask_values) for r in older.rows] == [("a.png", ()), ("b.png", ())]
    assert rows_fingerprint(older.rows) == rows_fingerprint(listing.rows)
    marked = Index(CLASSES, tuple(r._replace(sha256="old") for r in older.rows))
    found = check_files(listing, marked).rows
    assert found[0] == done.rows[0]  # its mask is looked into again
    assert found[1].sha256 == "old"


def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    index = Index(
        CLASSES, (ImageRow("a", "train", ("cat",), "\udcff.jpg", "", "1-1", name="\udcff.jpg"),)
    )
    write_index(tmp_path / "index.csv", index)
    assert read_index(tmp_path / "index.csv") == index
    assert len(rows_fingerprint(index.rows)) == 16


def test_the_file_is_plain_csv(tmp_path: Path) -> None:
    row = ImageRow(
        *("a", "val", ("cat", "dog"), "p/a.jpg", "", "3-4", 5, 6, "ab", "", "", "p/a_parts.png"),
        *("a.jpg", (0, 1), "upright"),
    )
    write_index(tmp_path / "index.csv", Index(CLASSES, (row,)))
    assert (tmp_path / "index.csv").read_text() == (
        "image,split,labels,path,mask,stat_key,width,height,sha256,mask_sha256,problem,parts,"
        "name,mask_values,coding\n"
        "a,val,cat;dog,p/a.jpg,,3-4,5,6,ab,,,p/a_parts.png,a.jpg,0;1,upright\n"
    )
    assert (tmp_path / "classes.txt").read_text() == "cat\ndog\ntree frog\n"
    assert {path.name for path in tmp_path.iterdir()} == {"index.csv", "classes.txt"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "columns should be"),
        (b"image,labels\n", "columns should be"),
        (b"HEAD\na,train,cat,p\n", "malformed"),
        (b"HEAD\na,train,cat,p,,s,1,2,h,,,,,,,more\n", "malformed"),
        (b"HEAD\na,train,cat,p,,s,wide,2,h,,,,,,\n", "malformed"),
        (b"HEAD\na,test,cat,p,,s,1,2,h,,,,,,\n", "'test' is neither train nor val"),
    ],
)
def test_malformed_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    write_index(tmp_path / "index.csv", Index(CLASSES, ()))
    head = (tmp_path / "index.csv").read_bytes().strip()
    (tmp_path / "index.csv").write_bytes(content.replace(b"HEAD", head))
    with pytest.raises(Ws3Error, match=rf"index\.csv: malformed.*{words}|{words}") as error:
        read_index(tmp_path / "index.csv")
    assert "index.csv" in str(error.value)


def test_a_label_that_the_class_list_lacks_is_refused(tmp_path: Path) -> None:
    rows = [ImageRow(name, "train", ("yeti",), "p", "", "1-1") for name in "ab"]
    skipped = rows[0]._replace(problem="label 'yeti' isn't in the class list")
    write_index(tmp_path / "index.csv", Index(CLASSES, (skipped,)))
    assert read_index(tmp_path / "index.csv").rows == (skipped,)
    write_index(tmp_path / "index.csv", Index(CLASSES, (skipped, rows[1])))
    with pytest.raises(Ws3Error, match=r"index\.csv: the labels of b aren't all in classes\.txt"):
        read_index(tmp_path / "index.csv")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(Ws3Error, match=r"index\.csv: no such file"):
        read_index(tmp_path / "index.csv")
    write_index(tmp_path / "index.csv", Index(CLASSES, ()))
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(Ws3Error, match=r"classes\.txt"):
        read_index(tmp_path / "index.csv")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / "f", b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(Ws3Error, match="no space left"):
        write_bytes(tmp_path / "f", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


def test_importing_the_index_stays_light() -> None:
    code = (
        "import sys, ws3.datasets.index;"
        "print([m for m in ('numpy', 'PIL', 'cv2', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(rows, st.sampled_from(LISTED), text.filter(lambda value: "/" not in value))
def test_digest_sees_what_a_listing_knows(row: ImageRow, field: str, value: str) -> None:
    change: dict[str, Any] = {field: (value,) if field == "labels" else value}
    changed = row._replace(**change)
    before, after = ({key: getattr(r, key) for key in LISTED} for r in (row, changed))
    for known in (before, after):
        known |= {key: known[key].rpartition("/")[2] for key in ("path", "mask")}
        known["path"] = known.pop("name") or known["path"]
    assert (rows_fingerprint([row]) == rows_fingerprint([changed])) == (before == after)


def test_digest_ignores_what_only_an_index_knows_and_the_folder() -> None:
    row = ImageRow("a", "train", ("cat",), "/here/a.jpg", "/here/a.png", "1-2;3-4")
    indexed = row._replace(width=3, height=4, sha256="f", mask_sha256="e", problem="p")
    moved = row._replace(path="/there/a.jpg", mask="/there/a.png")
    assert rows_fingerprint([row]) == rows_fingerprint([indexed]) == rows_fingerprint([moved])


def test_digest_sees_order_and_number() -> None:
    first, second = (ImageRow(name, "train", ("cat",), name, "", "1-1") for name in "ab")
    digests = [rows_fingerprint(rows) for rows in ([first, second], [second, first], [first], [])]
    assert len(set(digests)) == 4


@pytest.fixture
def row(tmp_path: Path) -> Callable[..., ImageRow]:
    def make(image: str = "a", split: str = "train", **fields: Any) -> ImageRow:
        path, mask = tmp_path / f"{image}.png", tmp_path / f"{image}_mask.png"
        if not path.exists():
            write_image(path)
        if not mask.exists():
            write_mask(mask, 0, 1, 255)
        listed = ImageRow(
            image, split, ("cat",), str(path), str(mask), row_stat_key(str(path), str(mask))
        )
        return listed._replace(**fields)

    return make


def test_complete_fills_in(row: Callable[..., ImageRow]) -> None:
    seen: list[tuple[int, int]] = []
    listing = Listing(CLASSES, (row("a"), row("b", mask=""), row("c", "val")))
    index = check_files(listing, progress=lambda done, total: seen.append((done, total)))
    assert [r.image for r in index.rows] == ["a", "b", "c"]
    assert all((r.width, r.height, r.problem) == (WIDTH, HEIGHT, "") for r in index.rows)
    assert all(len(r.sha256) == 64 for r in index.rows)
    assert [len(r.mask_sha256) for r in index.rows] == [64, 0, 64]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert rows_fingerprint(index.rows) == rows_fingerprint(listing.rows)


def test_order_is_kept_over_many_rows(row: Callable[..., ImageRow]) -> None:
    template = row("a")
    listed = tuple(template._replace(image=f"i{k}") for k in range(600))
    index = check_files(Listing(CLASSES, listed))
    assert [r.image for r in index.rows] == [r.image for r in listed]


def test_all_problems_are_told_together(row: Callable[..., ImageRow], tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes((tmp_path / row("a").path).read_bytes()[:200])
    write_mask(tmp_path / "size_mask.png", size=(WIDTH, HEIGHT + 1))
    write_mask(tmp_path / "values_mask.png", 3, 4, 254, 255)
    (tmp_path / "nomask_mask.png").write_bytes(b"")
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint16)).save(tmp_path / "deep.png")
    rows = (
        row("fine"),
        row("cut"),
        row("deep"),
        row("gone", path=str(tmp_path / "gone.jpg")),
        row("size"),
        row("values"),
        row("nomask"),
        row("lost", mask=str(tmp_path / "absent.png")),
        row("unknown", labels=("cat", "unicorn")),
        row("told", problem="its annotation is missing"),
        row("twice"),
        row("twice"),
        row("both"),
        row("both", "val"),
        row("fine")._replace(image="in/valid"),
    )
    with pytest.raises(Ws3Error) as error:
        check_files(Listing(CLASSES, rows))
    message = str(error.value)
    lines = message.splitlines()
    for words in (
        "cut: .*cut.png: truncated",
        "deep: .*mode I",
        "gone: .*gone.jpg: no such file",
        f"size: .*{WIDTH} x {HEIGHT + 1} pixels, but the image has {WIDTH} x {HEIGHT}",
        "values: .*holds the values 4, 254, but with 3 classes only 0 to 3 and 255",
        "nomask: .*nomask_mask.png: truncated or not an image",
        "lost: .*absent.png: no such file",
        "unknown: label 'unicorn' isn't in the class list",
        "told: its annotation is missing",
        "twice: 2 times in train",
        "both: in both train and val",
        "'in/valid': can't be an id",
    ):
        assert sum(re.search(words, line) is not None for line in lines) == 1, words
    assert lines[0].startswith("12 problems")
    assert len(lines) == 13
    assert not any(line.strip().startswith("fine") for line in lines)


def test_the_report_stops_at_fifty(row: Callable[..., ImageRow]) -> None:
    template = row("a", labels=("yeti",))
    rows = tuple(template._replace(image=f"i{k}") for k in range(53))
    with pytest.raises(Ws3Error) as error:
        check_files(Listing(CLASSES, rows))
    lines = str(error.value).splitlines()
    assert lines[0].startswith("53 problems")
    assert lines[-1].strip() == "... and 3 more"
    assert len(lines) == 52


def test_skip_notes_the_problem_in_the_row(row: Callable[..., ImageRow], tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    index = check_files(Listing(CLASSES, (row("a"), row("cut"))), on_problem="skip")
    assert index.rows[0].problem == ""
    assert "truncated" in index.rows[1].problem


def test_skip_still_refuses_repeated_ids(row: Callable[..., ImageRow]) -> None:
    with pytest.raises(Ws3Error, match="a: in both train and val"):
        check_files(Listing(CLASSES, (row("a"), row("a", "val"))), on_problem="skip")


def test_a_dataset_without_training_images_is_refused(
    row: Callable[..., ImageRow], tmp_path: Path
) -> None:
    for rows in ((), (row("a", "val"),)):
        with pytest.raises(Ws3Error, match=f"{len(rows)} images and none for training"):
            check_files(Listing(CLASSES, rows))
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(Ws3Error, match="no training image is left"):
        check_files(Listing(CLASSES, (row("cut"), row("a", "val"))), on_problem="skip")


@pytest.mark.parametrize("image", ["", ".hidden", "-rf", "a b", "é", "a/b", "a\n", "x" * 201])
def test_illegal_ids(row: Callable[..., ImageRow], image: str) -> None:
    with pytest.raises(Ws3Error, match="can't be an id"):
        check_files(Listing(CLASSES, (row("a")._replace(image=image),)))


@pytest.mark.parametrize("image", ["a", "2007_000032", "_x", "p10_aero_1001", "a.b-C", "x" * 200])
def test_legal_ids(row: Callable[..., ImageRow], image: str) -> None:
    assert check_files(Listing(CLASSES, (row("a")._replace(image=image),)))


def test_unchanged_rows_are_not_opened_again(row: Callable[..., ImageRow], tmp_path: Path) -> None:
    listing = Listing(CLASSES, (row("a"), row("b")))
    first = check_files(listing)
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    assert check_files(listing, previous=first) == first
    with pytest.raises(Ws3Error, match="2 problems"):
        check_files(listing)


@pytest.mark.parametrize("field", LISTED)
def test_changed_rows_are_opened_again(
    row: Callable[..., ImageRow], tmp_path: Path, field: str
) -> None:
    write_image(tmp_path / "other.png", 7)
    write_mask(tmp_path / "other_mask.png", 2)
    old = row("a")
    changes: dict[str, Any] = {
        "image": "z",
        "split": "val",
        "labels": ("dog",),
        "path": str(tmp_path / "other.png"),
        "mask": str(tmp_path / "other_mask.png"),
        "stat_key": "1-1",
        "name": "sub/a.png",
        "coding": "upright",
    }
    new = old._replace(**{field: changes[field]})
    rows = (row("train"), new)
    marked = tuple(r._replace(sha256="old") for r in check_files(Listing(CLASSES, (old,))).rows)
    assert check_files(Listing(CLASSES, rows), Index(CLASSES, marked)).rows[1].sha256 != "old"


def test_rows_with_a_problem_or_other_classes_are_opened_again(
    row: Callable[..., ImageRow],
) -> None:
    listing = Listing(CLASSES, (row("a"),))
    done = check_files(listing).rows[0]._replace(sha256="old")
    ill = done._replace(problem="was truncated")
    assert check_files(listing, Index(CLASSES, (done,))).rows[0].sha256 == "old"
    assert check_files(listing, Index(CLASSES, (ill,))).rows[0].sha256 != "old"
    assert check_files(listing, Index(CLASSES[::-1], (done,))).rows[0].sha256 != "old"


def small_palette_mask(path: Path, bits: int) -> None:
    """Write a mask of 0, 1 and 255 as Pillow writes it with a palette of few colours."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[0, :3] = 0, 1, 255
    mask = Image.fromarray(pixels)
    mask.putpalette(voc_palette()[: 3 * 2**bits])
    mask.save(path, bits=bits)


@pytest.mark.parametrize(("bits", "value"), [(2, 3), (4, 15)])
def test_a_255_that_the_writer_lost_is_named(folder_tree: Tree, bits: int, value: int) -> None:
    root = folder_tree({"a": "cat", "b": "dog"})
    small_palette_mask(root / "masks" / "a.png", bits)
    with pytest.raises(Ws3Error, match=rf"holds the value {value}.*made {value} of 255.*with 8"):
        check_files(listing_of(Folder(kind="folder", root=str(root), masks="masks")))


def test_a_lost_255_that_became_a_class_is_told(
    folder_tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_tree({"a": "cat", "b": "dog;eel;fox"})
    small_palette_mask(root / "masks" / "a.png", 2)
    check_files(listing_of(Folder(kind="folder", root=str(root), masks="masks")))
    assert "1 masks hold the largest value of a palette PNG of 2 or 4 bits" in caplog.text
    assert "a.png" in caplog.text


def test_the_same_broken_picture_makes_the_same_index_twice(
    folder_tree: Tree, tmp_path: Path
) -> None:
    root = folder_tree({"a": "cat", "b": "dog", "c": "dog", "d": "dog", "e": "cat"})
    whole = (root / "images" / "b.jpg").read_bytes()
    (root / "images" / "b.jpg").write_bytes(b"no picture")
    (root / "images" / "c.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "images" / "d.jpg").write_bytes(b"")
    config = Folder(kind="folder", root=str(root))
    written = []
    for name in ("one", "two"):
        write_index(tmp_path / f"{name}.csv", check_files(listing_of(config), None, "skip"))
        written.append((tmp_path / f"{name}.csv").read_bytes())
    assert written[0] == written[1]
    assert b"truncated or not an image" in written[0]
    assert b"0x" not in written[0]


def test_a_report_repeats_little_of_a_long_name(folder_tree: Tree) -> None:
    root = folder_tree({"a": "cat"})
    with (root / "labels.csv").open("a") as table:
        table.write("x" * 100_000 + ",cat\nb," + "y" * 100_000 + "\n")
    with pytest.raises(Ws3Error) as error:
        check_files(listing_of(Folder(kind="folder", root=str(root), classes=None)))
    assert len(str(error.value)) < 2000
