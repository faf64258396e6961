"""Score maps in the pickled dicts of IRNet (Ahn, Cho and Kwak 2019)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ws3.errors import Ws3Error
from ws3.exports.item import Item
from ws3.files import write_bytes
from ws3.pixels import resize

_STRIDE = 4


def write_irn(folder: Path, items: Iterable[Item], classes: Sequence[str]) -> None:
    """Write `<image>.npy` for each image: what IRNet's `make_cam` writes and its next steps read.

    Each holds a dict: `keys`, int64 (C,), the image's classes counted from 0 without the
    background; `high_res`, float32 (C, H, W) in [0, 1], the maps as they are; `cam`, the same at a
    quarter of the size per side, averaged over areas, as a torch tensor. `classes.txt` has the
    classes' names in their order.

    Args:
        folder: Where to write.
        items: The images with their maps.
        classes: Class names without background.

    Raises:
        Ws3Error: If an item has no maps, or a file can't be written.
    """
    import torch

    for item in items:
        if item.maps is None:
            raise Ws3Error(f"{item.image}: there are no maps of it")
        high_res = np.ascontiguousarray(item.maps, np.float32)
        size = [-(-side // _STRIDE) for side in high_res.shape[1:]]
        cam = np.zeros((len(high_res), *size), np.float32)
        for small, one in zip(cam, high_res, strict=True):
            small[...] = resize(one, *size)
        content = {
            "keys": np.array(item.class_values, np.int64) - 1,
            "cam": torch.from_numpy(cam),
            "high_res": high_res,
        }
        buffer = io.BytesIO()
        np.save(buffer, np.array(content, dtype=object), allow_pickle=True)
        write_bytes(folder / f"{item.image}.npy", buffer.getvalue())
    write_bytes(folder / "classes.txt", "".join(f"{name}\n" for name in classes).encode())


__all__ = ["write_irn"]
