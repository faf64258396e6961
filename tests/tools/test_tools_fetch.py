"""`ws3 fetch`, against a server of this machine; the publishers' own are not asked."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dataset_files import listing_of
from PIL import Image
from scipy.io import savemat
from tools_server import serving
from typer.testing import CliRunner

from ws3.cli.app import app
from ws3.config.dataset import Voc
from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error
from ws3.masks.png import write_mask
from ws3.tools.download import check_room, download
from ws3.tools.fetch import SOURCES, Archive, Source, add_sbd, fetch
from ws3.tools.unpack import unpack

DATA = bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8))


def md5(data):
    return f"md5:{hashlib.md5(data, usedforsecurity=False).hexdigest()}"


@pytest.fixture
def server():
    with serving() as state:
        state.files["data.bin"] = DATA
        yield state


def get(server, path, checksum=None):
    download(f"{server.url}/data.bin", path, checksum or md5(DATA), pause=0.01)


# Downloads ---------------------------------------------------------------------------------------


def test_a_file_comes_whole_and_is_not_asked_for_again(server, tmp_path):
    for _ in range(2):
        get(server, tmp_path / "data.bin", f"sha256:{hashlib.sha256(DATA).hexdigest()}")
        assert (tmp_path / "data.bin").read_bytes() == DATA
    assert server.asked == [""]
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


def test_a_broken_connection_goes_on_where_it_stopped(server, tmp_path):
    server.break_after = 1_000_000
    get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA
    assert server.asked == ["", "bytes=1000000-", "bytes=2000000-"]
    assert server.sent == len(DATA)


def test_the_next_command_goes_on_from_what_was_kept(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(DATA[:1234567])
    get(server, tmp_path / "data.bin")
    assert server.asked == ["bytes=1234567-"]
    assert (tmp_path / "data.bin").read_bytes() == DATA


def test_a_whole_part_is_not_sent_again(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(DATA)
    get(server, tmp_path / "data.bin")
    assert server.sent == 0
    (tmp_path / "data.bin").rename(tmp_path / "data.bin.part")
    with (tmp_path / "data.bin.part").open("ab") as file:
        file.write(b"more than there is")
    get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA


def test_a_server_that_ignores_ranges_is_listened_to_from_the_start(server, tmp_path):
    server.ranges, server.break_after, server.breaks = False, 1_000_000, 2
    get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA
    assert server.sent == 2_000_000 + len(DATA)


def test_a_server_that_always_breaks_off_is_given_up_and_what_came_is_kept(server, tmp_path):
    server.ranges, server.break_after = False, 1_000_000
    with pytest.raises(Ws3Error, match=r"broke off, 6 times in a row; 1 MB are kept, and the same"):
        get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin.part").stat().st_size == 1_000_000
    assert not (tmp_path / "data.bin").exists()


def test_wrong_bytes_are_refused_and_not_kept(server, tmp_path):
    server.files["data.bin"] = DATA[:-1] + b"?"
    with pytest.raises(Ws3Error, match=r"its md5 is \w{32}, not \w{32}: http.* sent other bytes"):
        get(server, tmp_path / "data.bin")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(Ws3Error, match="this file is there already; remove it"):
        get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == b"mine"


@pytest.mark.parametrize(("status", "times"), [(403, 1), (503, 6)])
def test_what_the_server_refuses_is_said(server, tmp_path, status, times):
    server.status = status
    with pytest.raises(Ws3Error, match=f"the server says {status}"):
        get(server, tmp_path / "data.bin")
    assert len(server.asked) == times
    assert list(tmp_path.iterdir()) == []


def test_nobody_there(tmp_path):
    with serving() as server:
        url = server.url
    with pytest.raises(Ws3Error, match="Connection refused, 6 times in a row"):
        download(f"{url}/data.bin", tmp_path / "data.bin", md5(DATA), pause=0.001)


def test_two_at_once_do_not_mix(server, tmp_path):
    with (tmp_path / "data.bin.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Ws3Error, match="another process is downloading this file"):
            get(server, tmp_path / "data.bin")
    assert server.asked == []


def test_too_little_room_is_said_before_anything_is_asked_for(server, tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    check_room(tmp_path / "not" / "there", free // 2)
    large = archive("large.tar", b"", gigabytes=free / 1e9 + 100)
    source = Source("large", (large,), tmp_path)
    with pytest.raises(Ws3Error, match=r"GB are needed, and .* GB are free there"):
        fetch(source, tmp_path / "out", server.url)
    assert server.asked == []
    assert not (tmp_path / "out").exists()


# Archives ----------------------------------------------------------------------------------------


def tar_of(files, links=(), mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


def zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("make", [tar_of, zip_of, lambda files: tar_of(files, mode="w:gz")])
def test_files_are_unpacked_and_only_those_wanted(tmp_path, make):
    (tmp_path / "a").write_bytes(make({"x/one.txt": b"1", "x/two": b"22", "y/three": b"333"}))
    assert unpack(tmp_path / "a", tmp_path / "out", keep=("x/",)) == 2
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert found == {"one.txt": b"1"}
    assert unpack(tmp_path / "a", tmp_path / "out") == 3
    (tmp_path / "out" / "x" / "two").write_bytes(b"somebody's")
    with pytest.raises(Ws3Error, match="something else is there already"):
        unpack(tmp_path / "a", tmp_path / "out")
    assert (tmp_path / "out" / "x" / "two").read_bytes() == b"somebody's"


@pytest.mark.parametrize("name", ["../evil", "/evil/evil", "x/../../evil", "..\\evil"])
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_nothing_leaves_the_folder(tmp_path, name, make):
    (tmp_path / "a").write_bytes(make({name: b"evil"}))
    with pytest.raises(Ws3Error, match="leads out of the folder"):
        unpack(tmp_path / "a", tmp_path / "in" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a"]


def test_links_are_neither_made_nor_followed(tmp_path):
    (tmp_path / "a").write_bytes(tar_of({}, links=[("x", str(tmp_path))]))
    with pytest.raises(Ws3Error, match="a link or device"):
        unpack(tmp_path / "a", tmp_path / "out")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "out" / "x").symlink_to(tmp_path / "outside")
    (tmp_path / "b").write_bytes(tar_of({"x/evil": b"evil"}))
    with pytest.raises(Ws3Error, match="is a link, behind which nothing is unpacked"):
        unpack(tmp_path / "b", tmp_path / "out")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("make", [tar_of, zip_of, lambda files: tar_of(files, mode="w:gz")])
def test_a_damaged_archive_is_one_sentence(tmp_path, make):
    whole = make({"one": DATA, "two": DATA})
    (tmp_path / "a").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(Ws3Error, match=r"a: damaged \("):
        unpack(tmp_path / "a", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith(".tmp")] == []


# Datasets ----------------------------------------------------------------------------------------


def archive(name, data, keep=("",), gigabytes=0.001):
    return Archive(f"http://publisher.invalid/{name}", md5(data), gigabytes, keep)


def test_what_is_done_is_not_done_again(server, tmp_path):
    made = {"one.tar": tar_of({"d/1": b"1"}), "two.zip": zip_of({"d/2": b"2"})}
    server.files |= made
    archives = tuple(archive(name, data) for name, data in made.items())
    source = Source("both", archives, Path("d"))
    for keep in (False, True):
        assert fetch(source, tmp_path / "out", server.url, keep=keep) == tmp_path / "out" / "d"
    assert len(server.asked) == 2
    found = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert found == [
        "out/archives/one.tar.unpacked",
        "out/archives/two.zip.unpacked",
        "out/d/1",
        "out/d/2",
    ]
    shutil.rmtree(tmp_path / "out" / "d")
    fetch(source, tmp_path / "out", server.url)
    assert (tmp_path / "out" / "d" / "2").read_bytes() == b"2"


def test_what_was_downloaded_counts_as_room(server, tmp_path):
    """The rest of a download begins on a disk that has not the room for all of it."""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    server.files["one.tar"] = tar_of({"d/1": b"1"})
    source = Source(
        "large",
        (archive("one.tar", server.files["one.tar"], gigabytes=free / 1e9 + 1),),
        Path("d"),
    )
    with pytest.raises(Ws3Error, match="GB are needed"):
        fetch(source, tmp_path / "out", server.url)
    part = tmp_path / "out" / "archives" / "one.tar.part"
    part.parent.mkdir(parents=True)
    with part.open("wb") as file:
        file.truncate(2 * 10**9)  # has no blocks, so nothing of the room is taken
    fetch(source, tmp_path / "out", server.url)
    assert (tmp_path / "out" / "d" / "1").read_bytes() == b"1"


def png(mask):
    path = io.BytesIO()
    Image.fromarray(mask).save(path, "PNG")
    return path.getvalue()


def test_voc_with_the_masks_of_sbd_is_read_as_its_configuration_says(server, tmp_path):
    """Small archives of the publishers' layout: 1 image of VOC's train, 1 of val, 2 more of SBD."""
    of_voc = np.full((4, 6), 255, np.uint8)
    voc, sbd = {}, {}
    for name in ("t1", "v1", "s1", "s2"):
        jpeg = io.BytesIO()
        Image.new("RGB", (6, 4)).save(jpeg, "JPEG")
        voc[f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg"] = jpeg.getvalue()
        xml = "<annotation><object><name>cat</name></object></annotation>"
        voc[f"VOCdevkit/VOC2012/Annotations/{name}.xml"] = xml.encode()
    for split, name in (("train", "t1"), ("val", "v1")):
        voc[f"VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt"] = f"{name}\n".encode()
        write_mask(tmp_path / "mask.png", of_voc, {})
        voc[f"VOCdevkit/VOC2012/SegmentationClass/{name}.png"] = (
            tmp_path / "mask.png"
        ).read_bytes()
    of_sbd = {name: np.full((4, 6), 8 + number, np.uint8) for number, name in enumerate(SBD)}
    for name, mask in of_sbd.items():
        file = io.BytesIO()
        savemat(file, {"GTcls": {"Segmentation": mask, "CategoriesPresent": [8]}})
        sbd[f"benchmark_RELEASE/dataset/cls/{name}.mat"] = file.getvalue()
        sbd[f"benchmark_RELEASE/dataset/img/{name}.jpg"] = b"not unpacked"
    sbd["benchmark_RELEASE/dataset/train.txt"] = b"s2\nt1\nv1\n"
    sbd["benchmark_RELEASE/dataset/val.txt"] = b"s1"
    server.files |= {"voc.tar": tar_of(voc), "benchmark.tgz": tar_of(sbd, mode="w:gz")}
    real = SOURCES["voc12-aug"]
    source = Source(
        "small",
        (
            archive("voc.tar", server.files["voc.tar"]),
            archive("benchmark.tgz", server.files["benchmark.tgz"], real.archives[1].keep),
        ),
        real.root,
        real.finish,
    )
    root = fetch(source, tmp_path / "out", server.url)
    listing = listing_of(Voc(kind="voc", root=str(root)))
    rows = [(row.image, row.split, row.labels) for row in listing.rows]
    assert rows == [(name, "train", ("cat",)) for name in ("s1", "s2", "t1")] + [
        ("v1", "val", ("cat",))
    ]
    for row in listing.rows:
        wanted = of_sbd[row.image] if row.image.startswith("s") else of_voc
        assert np.array_equal(read_label_mask(row.mask), wanted)
    assert not (tmp_path / "out" / "benchmark_RELEASE" / "dataset" / "img").exists()


SBD = ("t1", "v1", "s1", "s2")


def test_a_damaged_mask_of_sbd_is_one_sentence(tmp_path):
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    sbd = tmp_path / "benchmark_RELEASE/dataset"
    for folder in (lists, sbd / "cls"):
        folder.mkdir(parents=True)
    for path in (lists / "train.txt", lists / "val.txt", sbd / "val.txt"):
        path.touch()
    (sbd / "train.txt").write_text("s1\n")
    (sbd / "cls" / "s1.mat").write_bytes(b"no mat file")
    with pytest.raises(Ws3Error, match=r"s1.mat: no mask of SBD \("):
        add_sbd(tmp_path)


def test_torchvision_still_publishes_these_addresses_and_checksums():
    from torchvision.datasets import SBDataset
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    voc, sbd = SOURCES["voc12-aug"].archives
    facts = DATASET_YEAR_DICT["2012"]
    assert (voc.url, voc.checksum) == (facts["url"], f"md5:{facts['md5']}")
    assert (sbd.url, sbd.checksum) == (SBDataset.url, f"md5:{SBDataset.md5}")


def test_the_command(server, tmp_path):
    done = CliRunner().invoke(app, ["fetch", "voc13", str(tmp_path)])
    assert str(done.exception) == ("voc13: no such dataset; choose from: voc12, voc12-aug, coco14")
    done = CliRunner().invoke(app, ["fetch", "voc12", str(tmp_path), "--mirror", server.url])
    assert str(done.exception).endswith(
        "VOCtrainval_11-May-2012.tar: the server says 404 Not Found"
    )
    done = CliRunner().invoke(app, ["fetch", "--help"])
    assert "coco14: MS COCO 2014" in " ".join(done.output.split())
