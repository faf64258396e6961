"""Public datasets, downloaded and laid out as their configurations expect them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ws3.datasets.listing_files import read_lines
from ws3.datasets.masks import read_label_mask
from ws3.errors import Ws3Error
from ws3.files import write_bytes, write_new
from ws3.jobs.progress import ProgressReport
from ws3.masks.png import write_mask
from ws3.messages import reason
from ws3.outside import ANNOTATION_BYTES, check_regular
from ws3.removal import is_there, remove_file
from ws3.tools.download import PART, check_room, download
from ws3.tools.unpack import unpack

ARCHIVES = "archives"
"""Folder of the downloaded files, below the dataset's."""
UNPACKED = ".unpacked"
"""Suffix of the file that says that an archive is unpacked; it holds the checksum."""

_VOC = Path("VOCdevkit", "VOC2012")
_SBD = Path("benchmark_RELEASE", "dataset")
_CLASSES = 20


@dataclass(frozen=True)
class Archive:
    """A file to download and unpack.

    Attributes:
        url: Where its publisher offers it.
        checksum: `md5:` or `sha256:` and the digest in hexadecimal.
        gigabytes: About how much room it takes, unpacked files included.
        keep: What of it is unpacked: paths that begin with one of these.
    """

    url: str
    checksum: str
    gigabytes: float
    keep: tuple[str, ...] = ("",)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """A dataset that can be fetched.

    Attributes:
        summary: What it is, for `ws3 fetch --help`.
        archives: Its files.
        root: The folder that `dataset.root` has to name, below the one it is fetched into.
        finish: Called with the folder when all is unpacked.
    """

    summary: str
    archives: tuple[Archive, ...]
    root: Path
    finish: Callable[[Path], None] = lambda folder: None


def fetch(source: Source, folder: Path, mirror: str | None = None, *, keep: bool = True) -> Path:
    """Download, check, unpack and lay out a dataset; what is done already is left as it is.

    Args:
        source: The dataset.
        folder: Where to.
        mirror: Address of a folder that has the files under their own names, in place of their
            publishers'; the checksums are the same.
        keep: Whether the archives stay when they are unpacked.

    Returns:
        What `dataset.root` has to name.

    Raises:
        Ws3Error: If a file can't be had or has other bytes, or there is no room for it.
    """
    archives = folder / ARCHIVES
    is_laid_out = (folder / source.root).is_dir()
    left = [one for one in source.archives if not (is_laid_out and _is_unpacked(archives, one))]
    needed = sum(one.gigabytes * 1e9 - _downloaded(archives, one) for one in left)
    check_room(folder, needed)
    for archive in left:
        path = archives / archive.name
        url = archive.url if mirror is None else f"{mirror.rstrip('/')}/{archive.name}"
        download(url, path, archive.checksum)
        unpack(path, folder, archive.keep)
        os.sync()
        write_bytes(_marker(archives, archive), archive.checksum.encode())
        if not keep:
            remove_file(path)
    source.finish(folder)
    return folder / source.root


def _downloaded(archives: Path, archive: Archive) -> int:
    """Return how many bytes of an archive are there."""
    paths = (archives / archive.name, archives / f"{archive.name}{PART}")
    return sum(path.stat().st_size for path in paths if path.is_file())


def _marker(archives: Path, archive: Archive) -> Path:
    return archives / f"{archive.name}{UNPACKED}"


def _is_unpacked(archives: Path, archive: Archive) -> bool:
    marker = _marker(archives, archive)
    return marker.is_file() and marker.read_text() == archive.checksum


def add_sbd(folder: Path) -> None:
    """Add SBD's masks to VOC 2012: `SegmentationClassAug` and the list `trainaug`.

    The list holds VOC's train images, and those of SBD that are not in VOC's val. An image that
    both have drawn keeps the mask of VOC.

    Args:
        folder: Holds `VOCdevkit/VOC2012` and `benchmark_RELEASE/dataset`.

    Raises:
        Ws3Error: If a list is missing, or a mask of SBD is not as expected.
    """
    voc, sbd = folder / _VOC, folder / _SBD
    lists = voc / "ImageSets" / "Segmentation"
    drawn = {name: read_lines(lists / f"{name}.txt", "ids of VOC") for name in ("train", "val")}
    known = {*drawn["train"], *drawn["val"]}
    added = sorted(
        {
            image
            for name in ("train", "val")
            for image in read_lines(sbd / f"{name}.txt", "ids of SBD")
        }
        - known
    )
    target = voc / "SegmentationClassAug"
    with ProgressReport("masks of SBD", len(known) + len(added)) as progress:
        for image in (*sorted(known), *added):
            path = target / f"{image}.png"
            if not is_there(path):
                of_voc = voc / "SegmentationClass" / f"{image}.png"
                is_voc = image in known
                mask = (
                    read_label_mask(of_voc) if is_voc else _sbd_mask(sbd / "cls" / f"{image}.mat")
                )
                write_mask(path, mask, {})
            progress.advance()
    lines = "".join(f"{image}\n" for image in sorted({*drawn["train"], *added}))
    write_new(lists / "trainaug.txt", lines.encode())


def _sbd_mask(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Read a mask of SBD, uint8 (H, W): 0 background, 1 to 20."""
    from scipy.io import loadmat

    try:
        check_regular(path, ANNOTATION_BYTES)
        mask = np.asarray(loadmat(path)["GTcls"][0]["Segmentation"][0])
    # scipy reports a damaged file by many types of exceptions; all mean the same.
    except Exception as error:
        raise Ws3Error(f"{path}: no mask of SBD ({reason(error)})") from error
    if mask.ndim != 2 or mask.size == 0 or mask.min() < 0 or mask.max() > _CLASSES:
        raise Ws3Error(f"{path}: no mask of SBD (values beyond 0 to {_CLASSES})")
    return mask.astype(np.uint8)


_VOC12 = Archive(
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "md5:6cd6e144f989b92b3379bac3b3de84fd",
    gigabytes=4.2,
)
_SBD_ARCHIVE = Archive(
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
    "benchmark.tgz",
    "md5:82b4d87ceb2ed10f6038a1cba92111cb",
    gigabytes=1.9,
    keep=tuple(f"{_SBD.as_posix()}/{part}" for part in ("cls/", "train.txt", "val.txt")),
)
_COCO = "http://images.cocodataset.org"

SOURCES = {
    "voc12": Source("Pascal VOC 2012, trainval (2 GB)", (_VOC12,), _VOC),
    "voc12-aug": Source(
        "the same with the masks of SBD, and the list trainaug (3.4 GB)",
        (_VOC12, _SBD_ARCHIVE),
        _VOC,
        add_sbd,
    ),
    "coco14": Source(
        "MS COCO 2014, train and val with annotations (20 GB)",
        (
            Archive(
                f"{_COCO}/annotations/annotations_trainval2014.zip",
                "md5:0a379cfc70b0e71301e0f377548639bd",
                gigabytes=0.8,
                keep=("annotations/instances_",),
            ),
            Archive(
                f"{_COCO}/zips/val2014.zip",
                "md5:a3d79f5ed8d289b7a7554ce06a5782b3",
                gigabytes=13.5,
            ),
            Archive(
                f"{_COCO}/zips/train2014.zip",
                "md5:0da8c0bd3d6becc4dcb32757491aca88",
                gigabytes=27.5,
            ),
        ),
        Path(),
    ),
}
"""The datasets by name. Addresses and checksums of VOC and SBD are those of torchvision 0.29, those
of COCO the ones that its many other readers publish."""
