"""Segment Anything's JSON beside each picture: regions without classes, which tell no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.reading import look_at_json
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error


def read(tree: Tree) -> Found | None:
    """Refuse regions without classes; return None for all else.

    Raises:
        Ws3Error: If this is what Segment Anything wrote.
    """
    files = tree.texts(".json")
    if files and _is_its(look_at_json(tree, files[0])):
        raise Ws3Error(
            f"{tree.path(files[0])}: regions without classes, as Segment Anything writes them, "
            "tell no labels; export with classes, as COCO for example"
        )
    return None


def _is_its(data: Any) -> bool:
    return (
        isinstance(data, Mapping)
        and isinstance(data.get("image"), Mapping)
        and isinstance(data.get("annotations"), list)
        and "categories" not in data
        and not any(isinstance(x, Mapping) and "category_id" in x for x in data["annotations"])
    )
