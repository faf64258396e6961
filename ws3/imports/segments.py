"""Ready segments of another program, from a file per image."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ws3.config.regions import MOST_SEGMENTS
from ws3.datasets.coco_regions import area_of, encode_region
from ws3.errors import Ws3Error
from ws3.imports.readers import gray, opened, sentences
from ws3.masks.regions import Segments, numbered
from ws3.messages import shown
from ws3.outside import PICTURE_BYTES

ENDINGS = (".json", ".png", ".npz")


def read_segments(path: Path, size: Sequence[int]) -> Segments:
    """Read one image's segments.

    - `.json`: what Segment Anything's automatic mask generator returns, a list of dicts with a
      `segmentation` (run lengths, as numbers or text, or polygons), or an object that has this list
      under `annotations`. Where segments overlap, the smallest is on top.
    - `.png`: gray of 8 or 16 bits, or a palette PNG; 0 belongs to no segment.
    - `.npz`: one array, whole numbers (H, W) as above, or truth values (segments, H, W).

    Args:
        path: The file.
        size: Of the image: height and width in pixels.

    Returns:
        uint16 (H, W): the number of each pixel's segment, from 1; 0 belongs to none.

    Raises:
        Ws3Error: If the file can't be read, holds something else, or is of another size.
    """
    if path.suffix == ".json":
        with opened(path) as file, sentences(path, "segments"):
            return numbered(_from_list(json.load(file), size), outside=0)
    labels = gray(path, palette=True) if path.suffix == ".png" else _from_arrays(path, size)
    if labels.shape != tuple(size):
        raise Ws3Error(
            f"{path}: the segments are {' x '.join(map(str, labels.shape))} pixels (height x "
            f"width), and the image {size[0]} x {size[1]}; are they another image's?"
        )
    with sentences(path, "segments"):
        return numbered(labels, outside=0)


def _from_list(found: Any, size: Sequence[int]) -> npt.NDArray[np.int32]:
    from pycocotools import mask as rle

    if isinstance(found, dict):
        found = found.get("annotations")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("a list of objects with a segmentation is expected")
    if len(found) > MOST_SEGMENTS:
        raise ValueError(f"it has {len(found)} segments, and at most {MOST_SEGMENTS} are taken")
    height, width = size
    regions = [encode_region(one.get("segmentation"), height, width) for one in found]
    labels = np.zeros((height, width), np.int32)
    # Of equal areas the first in the file is on top.
    for number in sorted(range(len(regions)), key=lambda one: (-area_of(regions[one]), -one)):
        labels[rle.decode(regions[number]) > 0] = number + 1
    return labels


def _from_arrays(path: Path, size: Sequence[int]) -> npt.NDArray[Any]:
    with opened(path) as file, sentences(path, "segments"):
        with zipfile.ZipFile(file) as members:
            if sum(one.file_size for one in members.infolist()) > PICTURE_BYTES:
                raise ValueError("its arrays are too large")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            if len(arrays.files) != 1:
                raise ValueError(f"it holds {len(arrays.files)} arrays, not one")
            array: npt.NDArray[Any] = arrays[arrays.files[0]]
        if array.dtype == bool and array.ndim == 3 and array.shape[1:] == tuple(size):
            labels = np.zeros(array.shape[1:], np.int32)
            areas = array.sum(axis=(1, 2)).tolist()
            for number in sorted(range(len(array)), key=lambda one: (-areas[one], -one)):
                labels[array[number]] = number + 1
            return labels
        if array.dtype.kind not in "iu" or array.ndim != 2:
            raise ValueError(
                f"it holds {shown(str(array.dtype))} {array.shape}; whole numbers (height, width) "
                "or truth values (segments, height, width) are expected"
            )
        return array


__all__ = ["ENDINGS", "read_segments"]
