"""Pascal VOC in the layout of the VOCdevkit."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from ws3.config.dataset import Voc
from ws3.datasets.index import ImageRow, Listing
from ws3.datasets.listing_files import ordered, read_lines, row_stat_key
from ws3.errors import Ws3Error
from ws3.messages import reason, shown
from ws3.outside import ANNOTATION_BYTES, read_regular

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The 20 classes in the order of their mask values."""

# The augmented list (Hariharan et al. 2011) isn't part of the devkit; these are its usual places.
TRAINAUG_LISTS = (
    "ImageSets/Segmentation/trainaug.txt",
    "ImageSets/Segmentation/train_aug.txt",
    "ImageSets/SegmentationAug/trainaug.txt",
    "ImageSets/SegmentationAug/train_aug.txt",
    "ImageSets/trainaug.txt",
    "ImageSets/train_aug.txt",
)

_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
_EXPATS_OWN = ("utf-8", "utf-16", "iso-8859-1", "us-ascii")
_NO_FILES = ("utf_7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined")
# What tools declare is less than what they write, as every browser knows.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949"}


def list_voc(config: Voc, root: Path) -> Listing:
    """List VOC without opening any image.

    Labels are the classes of all objects in `Annotations/<id>.xml`, those marked "difficult" or
    "truncated" included. Masks are those of `SegmentationClass`, for `trainaug` those of
    `SegmentationClassAug`.

    Returns:
        The rows, train first, in the order of the list files. A missing image, mask or annotation
        is left to `ws3.datasets.index.check_files`, which reports them all together.

    Raises:
        Ws3Error: If a folder or a split list is missing.
    """
    for folder in ("JPEGImages", "Annotations", "ImageSets"):
        if not (root / folder).is_dir():
            raise Ws3Error(
                f"{root}: there is no folder {folder}; dataset.root should be the VOC folder that "
                "holds JPEGImages, Annotations and ImageSets, such as VOCdevkit/VOC2012"
            )
    rows: list[ImageRow] = []
    splits: tuple[tuple[str, str | None], ...] = (("train", config.train), ("val", config.val))
    for split, name in splits:
        if name is not None:
            ids = _ids(root, name)
            masks = _mask_folder(root, name)
            rows += (_row(root, masks, image, split) for image in ids)
    return Listing(CLASSES, tuple(rows))


def watched(config: Voc) -> list[str]:
    """Return the lists and folders that tell of a change, relative to the dataset's folder.

    An annotation that is edited in place changes none of them; `ws3 index` reads them all.
    """
    splits = (config.train, config.val)
    return [
        *(f"ImageSets/Segmentation/{split}.txt" for split in splits if split is not None),
        *TRAINAUG_LISTS,
        *("Annotations", "JPEGImages", "SegmentationClass", "SegmentationClassAug"),
    ]


def _mask_folder(root: Path, name: str) -> Path:
    masks = root / ("SegmentationClassAug" if name == "trainaug" else "SegmentationClass")
    if not masks.is_dir():
        advice = "; get the augmented masks, or set dataset.train: train"
        raise Ws3Error(
            f"{masks}: no such folder; the masks of {name} are expected here"
            f"{advice if name == 'trainaug' else ''}"
        )
    return masks


def _ids(root: Path, name: str) -> list[str]:
    if name == "trainaug":
        path = next((root / place for place in TRAINAUG_LISTS if (root / place).is_file()), None)
        if path is None:
            raise Ws3Error(
                f"{root}: the augmented training list is in none of {', '.join(TRAINAUG_LISTS)}; "
                "put it in one of these places, or set dataset.train: train"
            )
    else:
        path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
    lines = read_lines(path, f"the ids of {name}, one per line")
    # Some augmented lists have "/JPEGImages/<id>.jpg /SegmentationClassAug/<id>.png" per line.
    return [PurePath(line.split()[0]).stem for line in lines]


def _row(root: Path, masks: Path, image: str, split: str) -> ImageRow:
    path = f"{root}/JPEGImages/{image}.jpg"
    mask = f"{masks}/{image}.png"
    labels: tuple[str, ...] = ()
    problem = ""
    try:
        labels = ordered(_objects(root / "Annotations" / f"{image}.xml"), CLASSES)
    except Ws3Error as error:
        problem = str(error)
    return ImageRow(image, split, labels, path, mask, row_stat_key(path, mask), problem=problem)


def _objects(path: Path) -> list[str]:
    """Return the text of every /annotation/object/name of an annotation file."""
    # Imported here: most dry runs take the labels from the index.
    from defusedxml import DTDForbidden, ElementTree

    try:
        data = _decoded(read_regular(path, ANNOTATION_BYTES))
        annotation = ElementTree.fromstring(data, forbid_dtd=True)
    except FileNotFoundError as error:
        raise Ws3Error(f"{path}: no such file; the image's labels are expected here") from error
    except OSError as error:
        raise Ws3Error(f"{path}: {reason(error)}; the image's labels are expected here") from error
    except DTDForbidden as error:
        # Entities are what makes XML from strangers dangerous, and VOC has none.
        raise Ws3Error(
            f"{path}: has a DOCTYPE, which VOC annotations never have; remove it"
        ) from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        # Unknown encodings are a LookupError, bytes of another one a ValueError.
        raise Ws3Error(
            f"{path}: no valid XML ({reason(error)}); replace it, or save it as UTF-8"
        ) from error
    names = annotation.findall("object/name") if annotation.tag == "annotation" else []
    return [(name.text or "").strip() for name in names]


def _decoded(data: bytes) -> bytes | str:
    """Return an XML file as text if it declares an encoding that expat doesn't know itself.

    Raises:
        LookupError: If the encoding is unknown, or none in which files are written.
        ValueError: If the bytes are of another one.
    """
    declared = _DECLARED.match(data)
    name = "utf-8" if declared is None else declared[1].decode("ascii").lower()
    if name in _EXPATS_OWN:
        return data
    if name.replace("-", "_") in _NO_FILES:
        raise LookupError(f"the encoding {shown(name)} is not read")
    return data.decode(_WIDER.get(name, name))
