"""A dataset and configuration for MMSegmentation 1.x."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from ws3.exports.item import Item
from ws3.exports.voc import split_file, write_voc
from ws3.files import write_bytes
from ws3.labels import voc_palette

CONFIG = "ws3_masks.py"

_HEAD = """\
# DeepLabV3 on the pseudo-masks beside this file, for MMSegmentation 1.x:
#   mim train mmsegmentation {config}
# Another network: name its configuration for Pascal VOC in _base_.
_base_ = "mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py"

data_root = "{{{{ fileDirname }}}}"
metainfo = dict(
    classes={classes!r},
    palette={palette!r},
)
model = dict(
    decode_head=dict(num_classes={count}),
    auxiliary_head=dict(num_classes={count}),
)
"""
_LOADER = """\
{loader}_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="BaseSegDataset",
        data_root=data_root,
        ann_file="ImageSets/Segmentation/{split}.txt",
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        img_suffix=".jpg",
        seg_map_suffix=".png",
        metainfo=metainfo,
        reduce_zero_label=False,
        ignore_index=255,
        pipeline={{{{ _base_.{pipeline}_pipeline }}}},
    ),
)
"""
_NO_VAL = """\
# There are no masks to measure on.
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None
"""


def write_mmseg(
    folder: Path,
    items: Iterable[Item],
    classes: Sequence[str],
    *,
    mask_mode: Literal["P", "L"] = "P",
) -> None:
    """Write the layout of VOC and a configuration that trains on it.

    Args:
        folder: Where to write.
        items: The images; each is written before the next is asked for.
        classes: Class names without background.
        mask_mode: As for `write_voc`.

    Raises:
        Ws3Error: If an image can't be read, or a file can't be written.
    """
    write_voc(folder, items, classes, mask_mode=mask_mode)
    has_val = split_file(folder, "val").exists()
    write_bytes(folder / CONFIG, config(classes, has_val=has_val).encode())


def config(classes: Sequence[str], *, has_val: bool) -> str:
    """Return a configuration that trains on `train.txt` and, if it is there, tests on `val.txt`.

    Args:
        classes: Class names without background.
        has_val: Whether there is a val split.
    """
    names = ("background", *classes)
    colours = voc_palette()
    palette = [list(colours[3 * value : 3 * value + 3]) for value in range(len(names))]
    parts = [
        _HEAD.format(config=CONFIG, classes=names, palette=palette, count=len(names)),
        _LOADER.format(loader="train", split="train", pipeline="train"),
    ]
    measured = [
        _LOADER.format(loader=loader, split="val", pipeline="test") for loader in ("val", "test")
    ]
    return "".join([*parts, *(measured if has_val else [_NO_VAL])])
