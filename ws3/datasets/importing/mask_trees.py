"""Pictures and masks without a table: the labels are the classes that the masks hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from ws3.datasets.colors import other_value
from ws3.datasets.importing.found import Found, Picture
from ws3.datasets.importing.mask_files import (
    class_list,
    color_table,
    drawing,
    mask_files,
    values_of_list,
)
from ws3.datasets.importing.reading import class_values, counted, split_of
from ws3.datasets.importing.tree import Tree, is_mask_folder
from ws3.datasets.masks import read_label_mask, values_of
from ws3.errors import Ws3Error
from ws3.labels import IGNORED


def read(tree: Tree) -> Found | None:
    """Read pictures with a mask each, in folders whose names say so, and a list of classes.

    These are the layouts of Cityscapes, KITTI, CamVid, MMSegmentation and FiftyOne's image
    segmentation: masks hold numbers, or colours that a table names.

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
    pairs = {name: found for name in pictures if (found := files.of(name))}
    if not pairs:
        return None
    example = next(iter(pairs.values()))[0]
    colored = color_table(tree)
    listed = class_list(tree)
    if colored is None and listed is None:
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
    if colored is not None:
        source, named = colored
        classes = tuple(name for name in named if other_value(name) is None)
        numbers = {value: value for value in range(1, len(classes) + 1)}
        colors = _values_of_colors(named, classes)
    else:
        source, names = listed or ("", ())
        colors = None
    coding = "" if colors is None else "colors"
    values = {
        name: values_of(read_label_mask(tree.path(mask), coding, colors))
        for name, mask in masks.items()
    }
    if colors is None:
        held = set().union(*values.values())
        classes, numbers = values_of_list(names, held, str(tree.path(source)))
    rows = []
    for name, mask in masks.items():
        known = (value for value in values[name] if value not in (0, IGNORED))
        labels = tuple(classes[numbers[value] - 1] for value in known)
        draw = drawing(tree.path(mask), numbers, len(classes), colors)
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
        f"masks such as {example} lie beside pictures, and {source} names the classes",
        classes,
        tuple(rows),
        tuple(notes),
    )


def _values_of_colors(
    named: Mapping[str, tuple[int, int, int]], classes: Sequence[str]
) -> dict[tuple[int, int, int], int]:
    values = class_values(classes)
    table = {color: values.get(name, other_value(name) or 0) for name, color in named.items()}
    table.setdefault((0, 0, 0), 0)
    return table
