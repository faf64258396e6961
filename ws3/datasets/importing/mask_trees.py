"""Pictures and masks without a table: the labels are the classes that the masks hold."""

from __future__ import annotations

from pathlib import PurePosixPath

from ws3.datasets.importing.found import Found, Picture
from ws3.datasets.importing.mask_files import (
    bare_stem,
    class_list,
    drawing,
    mask_files,
    values_of_list,
)
from ws3.datasets.importing.reading import counted, split_of
from ws3.datasets.importing.tree import Tree, is_mask_folder
from ws3.datasets.masks import read_label_mask, values_of
from ws3.errors import Ws3Error
from ws3.labels import IGNORED


def read(tree: Tree) -> Found | None:
    """Read pictures with a mask each, in folders whose names say so, and a list of classes.

    These are the layouts of Cityscapes, KITTI, CamVid, MMSegmentation and FiftyOne's image
    segmentation, as far as their masks hold numbers.

    Raises:
        Ws3Error: If there is no list of classes, or it doesn't tell what the values mean.
    """
    if tree.named is not None:
        return None
    files = mask_files(tree)
    pictures = [
        name
        for name in tree.pictures
        if not any(map(is_mask_folder, PurePosixPath(name).parts[:-1]))
    ]
    pairs = {name: files[bare_stem(name)] for name in pictures if bare_stem(name) in files}
    if not pairs:
        return None
    example = next(iter(pairs.values()))[0]
    listed = class_list(tree)
    if listed is None:
        raise Ws3Error(
            f"{tree.root}: pictures with masks (such as {example}), but nothing names the classes; "
            "add a file classes.txt with one class per line, in the order of the masks' values"
        )
    masks = {}
    for name, candidates in pairs.items():
        split = split_of(name)
        near = [one for one in candidates if split_of(one) == split] or candidates
        if len(near) > 1:
            raise Ws3Error(
                f"{tree.path(name)}: several masks bear its name ({', '.join(near[:3])}); leave one"
            )
        masks[name] = near[0]
    values = {name: values_of(read_label_mask(tree.path(mask))) for name, mask in masks.items()}
    found = set().union(*values.values())
    source = str(tree.path(listed[0]))
    classes, numbers = values_of_list(listed[1], found, source)
    rows = []
    for name, mask in masks.items():
        known = (value for value in values[name] if value not in (0, IGNORED))
        labels = tuple(classes[numbers[value] - 1] for value in known)
        draw = drawing(tree.path(mask), numbers, len(classes))
        rows.append(Picture(tree.path(name), labels, split_of(name), draw))
    notes = []
    without = len(pictures) - len(masks)
    if without:
        notes.append(
            f"{counted(without, 'picture')} without a mask: left out, as nothing tells what they "
            "show"
        )
    return Found(
        "pictures with masks",
        f"masks such as {example} lie beside pictures, and {listed[0]} names the classes",
        classes,
        tuple(rows),
        tuple(notes),
    )
