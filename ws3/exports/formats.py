"""The layouts in which masks can be exported, by name.

A format is a function that writes and a line that describes it. ws3's own stand in `FORMATS`, and
an installed package adds others through the entry-point group `ws3.exports`;
docs/extending/export.md shows one. Nothing that writes is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ws3.registry import Registry, deferred


@dataclass(frozen=True)
class ExportFormat:
    """One layout of exported images and masks.

    Attributes:
        summary: What it is, for `ws3 export --help`.
        write: From an empty folder, the images with their masks, and the names of the classes
            (without background; class i has the value i + 1 in masks) to files in that folder.
            Each item should be written before the next is asked for. Raises `Ws3Error` if an image
            can't be read or a file can't be written.
        options: Names of the keyword arguments that `write` takes beside these, those of
            `ws3 export` with "_" for "-": `mask_mode`, `devkit`, `image_folder`, `ignored`.
        needs_maps: Whether `write` wants each image's score maps too.
    """

    summary: str
    write: Callable[..., None]
    options: frozenset[str] = frozenset()
    needs_maps: bool = False


FORMATS: Registry[ExportFormat] = Registry(
    "export format",
    "ws3.exports",
    {
        "voc": ExportFormat(
            "the layout of Pascal VOC",
            deferred("ws3.exports.voc:write_voc"),
            options=frozenset({"mask_mode", "devkit"}),
        ),
        "coco": ExportFormat(
            "the layout of MS COCO",
            deferred("ws3.exports.coco:write_coco"),
            options=frozenset({"image_folder", "ignored"}),
        ),
        "mmseg": ExportFormat(
            "VOC with a configuration for MMSegmentation",
            deferred("ws3.exports.mmseg:write_mmseg"),
            options=frozenset({"mask_mode"}),
        ),
        "irn": ExportFormat(
            "the score maps, in the pickled dicts of IRNet",
            deferred("ws3.exports.irn:write_irn"),
            needs_maps=True,
        ),
    },
    ExportFormat,
)
"""The export formats by name."""
