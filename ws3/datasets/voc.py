"""Pascal VOC in the layout of the VOCdevkit."""

from __future__ import annotations

from pathlib import Path, PurePath

from ws3.config.dataset import Voc
from ws3.datasets.index import ImageRow, Listing, check_classes
from ws3.datasets.listing_files import names_in, ordered, read_lines, row_stat_key
from ws3.datasets.names import image_ids, is_background, is_picture, without_suffix
from ws3.datasets.xml_files import object_names, parse_xml
from ws3.errors import Ws3Error
from ws3.outside import ANNOTATION_BYTES

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
_LISTS = ("ImageSets/Segmentation/{}.txt", "ImageSets/Main/{}.txt")
_MASK_FOLDERS = {"trainaug": "SegmentationClassAug"}


def list_voc(config: Voc, root: Path) -> Listing:
    """List VOC without opening any image.

    Labels are the classes of all objects in `Annotations/<name>.xml`, those marked "difficult" or
    "truncated" included; an image without objects shows none of the classes. Masks are those of
    `SegmentationClass`, for `trainaug` those of `SegmentationClassAug`; an image needs none.

    Returns:
        The rows, train first, in the order of the list files. A missing image or annotation is left
        to `ws3.datasets.index.check_files`, which reports them all together.

    Raises:
        Ws3Error: If a folder or a split list is missing.
    """
    for folder in (config.images, config.annotations, "ImageSets"):
        if not (root / folder).is_dir():
            raise Ws3Error(
                f"{root}: there is no folder {folder}; dataset.root should be the VOC folder that "
                f"holds {config.images}, {config.annotations} and ImageSets, such as "
                "VOCdevkit/VOC2012 (`ws3 import` reads trees of other forms)"
            )
    classes = _classes(config, root)
    listed: list[tuple[str, str]] = []
    masks: dict[str, dict[str, str]] = {}
    warnings = []
    files = sorted(names_in(root / config.images, "the image files"), reverse=True)
    pictures = {without_suffix(file): file for file in files if is_picture(file)}
    splits: tuple[tuple[str, str | None], ...] = (("train", config.train), ("val", config.val))
    for split, name in splits:
        if name is not None:
            listed += ((split, stem) for stem in _stems(root, name))
            folder = config.masks or _MASK_FOLDERS.get(name, "SegmentationClass")
            masks[split] = _masks(root / folder)
            if not (root / folder).is_dir():
                warnings.append(f"there is no folder {folder}, so no mask for the {split} split")
    names = {stem: pictures.get(stem, f"{stem}.jpg") for _, stem in listed}
    ids = image_ids(names.values())
    coding = "" if config.exif == "stored" else config.exif
    found = (
        _row(root, config, classes, masks[split].get(stem, ""), stem, names[stem], split)
        for split, stem in listed
    )
    rows = tuple(row._replace(image=ids[row.name], coding=coding) for row in found)
    return Listing(classes, rows, (), tuple(warnings))


def _classes(config: Voc, root: Path) -> tuple[str, ...]:
    if config.classes is None:
        return CLASSES
    if isinstance(config.classes, list):
        named = [name for name in config.classes if not is_background(name)]
        return check_classes(named, "dataset.classes")
    path = root / config.classes
    lines = read_lines(path, "one class name per line")
    # labelmap.txt has name:red,green,blue:parts:actions.
    names = [line.partition(":")[0].strip() for line in lines if not line.startswith("#")]
    return check_classes([name for name in names if not is_background(name)], str(path))


def watched(config: Voc) -> list[str]:
    """Return the lists and folders that tell of a change, relative to the dataset's folder.

    An annotation that is edited in place changes none of them; `ws3 index` reads them all.
    """
    splits = (config.train, config.val)
    classes = [config.classes] if isinstance(config.classes, str) else []
    return [
        *(place.format(split) for split in splits if split for place in _LISTS),
        *TRAINAUG_LISTS,
        *(config.annotations, config.images, *classes),
        *([config.masks] if config.masks else ["SegmentationClass", "SegmentationClassAug"]),
    ]


def _masks(folder: Path) -> dict[str, str]:
    """Return the masks of a folder by stem; none if it isn't there."""
    names = names_in(folder, "masks as PNGs") if folder.is_dir() else ()
    return {
        name[: -len(".png")]: f"{folder}/{name}" for name in names if name.lower().endswith(".png")
    }


def _stems(root: Path, name: str) -> list[str]:
    """Return the names of a list's images without their endings."""
    if name == "trainaug":
        path = next((root / place for place in TRAINAUG_LISTS if (root / place).is_file()), None)
        if path is None:
            raise Ws3Error(
                f"{root}: the augmented training list is in none of {', '.join(TRAINAUG_LISTS)}; "
                "put it in one of these places, or set dataset.train: train"
            )
    else:
        places = [root / place.format(name) for place in _LISTS]
        path = next((place for place in places if place.is_file()), places[0])
    lines = read_lines(path, f"the ids of {name}, one per line")
    return [without_suffix(PurePath(_first_path(line)).name) for line in lines]


def _first_path(line: str) -> str:
    """Return the image's name or path in a line of a list.

    Some augmented lists have "/JPEGImages/<id>.jpg /SegmentationClassAug/<id>.png" per line, and
    lists of one class "<id> 1"; else all of a line is a name, which may have blanks.
    """
    first, *rest = line.split()
    is_pair = len(rest) == 1 and (rest[0] in ("-1", "0", "1") or "/" in rest[0])
    return first if is_pair else line


def _row(
    root: Path, config: Voc, classes: tuple[str, ...], mask: str, stem: str, file: str, split: str
) -> ImageRow:
    path = f"{root}/{config.images}/{file}"
    labels: tuple[str, ...] = ()
    problem = ""
    try:
        xml = root / config.annotations / f"{stem}.xml"
        annotation = parse_xml(xml, ANNOTATION_BYTES, "the image's labels")
        labels = ordered(object_names(annotation), classes)
    except Ws3Error as error:
        problem = str(error)
    stat_key = row_stat_key(path, mask)
    return ImageRow(stem, split, labels, path, mask, stat_key, problem=problem, name=file)
