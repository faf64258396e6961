"""The configuration's reference as a page, generated from its schema.

`python -m ws3.config.reference > docs/config.md` writes it; a test keeps the two in step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ws3.config.schema import schema

Node = Mapping[str, Any]

_HEAD = """\
<!-- Generated from ws3/config by `make schema`; a test keeps it in step. -->

# Configuration reference

Every key of a configuration file: its type, its default, what it may be, and what it means. Unknown
keys are refused, with the path of the key. A section that is left out has its defaults. Editors can
read the same as a JSON schema: [config/schema.yaml](../config/schema.yaml).
"""
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {}",
    "minLength": "at least {} characters",
}
_NAMES = {"string": "text", "boolean": "true or false", "null": "null", "object": "any keys"}


def reference() -> str:
    """Return the page `docs/config.md`, in Markdown."""
    root = schema()
    return _HEAD + "".join(_Page(root).sections())


class _Page:
    """One walk over the schema: each section gets one heading, where its path comes first."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._paths = dict(self._walk())

    def sections(self) -> Iterator[str]:
        yield self._section("The file", self._root)
        for name, path in self._paths.items():
            yield self._section(f"`{path}`", self._definition(name))

    def _definition(self, name: str) -> Node:
        definition: Node = self._root["$defs"][name]
        return definition

    def _walk(self) -> Iterator[tuple[str, str]]:
        """Yield each section's name and path, in the order of the keys."""
        seen: set[str] = set()

        def visit(node: Any, path: str) -> Iterator[tuple[str, str]]:
            if isinstance(node, list):
                for item in node:
                    yield from visit(item, path)
            if not isinstance(node, Mapping):
                return
            if "$ref" in node:
                name = node["$ref"].removeprefix("#/$defs/")
                if name not in seen:
                    seen.add(name)
                    definition = self._definition(name)
                    kind = definition.get("properties", {}).get("kind", {}).get("const")
                    yield name, path + (f" (kind: {kind})" if kind else "")
                    yield from properties(definition, path)
            for key in ("anyOf", "oneOf", "items", "prefixItems"):
                yield from visit(node.get(key), path)
            yield from visit(node.get("additionalProperties"), f"{path}.<name>")

        def properties(node: Node, path: str) -> Iterator[tuple[str, str]]:
            for key, value in node.get("properties", {}).items():
                yield from visit(value, f"{path}.{key}" if path else key)

        yield from properties(self._root, "")

    def _section(self, title: str, node: Node) -> str:
        required = node.get("required", ())
        rows = [
            self._row(key, value, key in required)
            for key, value in node.get("properties", {}).items()
        ]
        table = ["| key | type | default | meaning |", "|---|---|---|---|", *rows]
        return "\n".join([f"\n## {title}\n", f"{_prose(node)}\n", *table]) + "\n"

    def _row(self, key: str, node: Node, required: bool) -> str:
        default = "required" if required else "optional"
        if "default" in node:
            default = _value(node["default"])
        meaning = _prose(node) or self._meaning(node)
        cells = [f"`{key}`", self._type(node), default, meaning]
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    def _meaning(self, node: Node) -> str:
        """Return what a key means that has no description: that of its section, if it is one."""
        if "$ref" in node:
            return _prose(self._definition(node["$ref"].removeprefix("#/$defs/")))
        return "Which of the kinds this is." if "const" in node else ""

    def _type(self, node: Node) -> str:
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            return f"[{name}](#{_anchor(self._paths[name])})"
        for key in ("anyOf", "oneOf"):
            if key in node:
                return " or ".join(self._type(one) for one in node[key])
        if "enum" in node:
            return ", ".join(_value(one) for one in node["enum"])
        if "const" in node:
            return _value(node["const"])
        kind = node.get("type", "anything")
        if kind == "array" and "prefixItems" in node:
            items = [self._type(one) for one in node["prefixItems"]]
            if len(items) != 2:
                return f"{len(items)} times {items[0]}"
            low, high = items
            return f"range [{low}, {high}]" if low != high else f"range of {low}"
        if kind == "array":
            return f"list of {self._type(node.get('items', {}))}{_bounds(node)}"
        if kind == "object" and isinstance(node.get("additionalProperties"), Mapping):
            return f"{self._type(node['additionalProperties'])} by name"
        return f"{_NAMES.get(kind, kind)}{_bounds(node)}"


def _prose(node: Node) -> str:
    r"""Return a description on one line; outside of code, `<` would begin a tag.

    Example:
        >>> _prose({"description": "`<run>` is\n<run>"})
        '`<run>` is &lt;run>'
    """
    parts = " ".join(node.get("description", "").split()).split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _bounds(node: Node) -> str:
    bounds = [text.format(node[key]) for key, text in _BOUNDS.items() if key in node]
    return f" {', '.join(bounds)}" if bounds else ""


def _value(value: Any) -> str:
    """Return a value as YAML would have it, on one line.

    Example:
        >>> _value(None), _value([0.5, 1.5]), _value("auto")
        ('`null`', '`[0.5, 1.5]`', '`auto`')
    """
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def _anchor(heading: str) -> str:
    """Return the anchor that a heading gets, on the site and in the repository's view.

    Example:
        >>> _anchor("recipes.<name>.samples")
        'recipesnamesamples'
    """
    kept = (one for one in heading.lower() if one.isalnum() or one in " -_")
    return "".join(kept).replace(" ", "-")


if __name__ == "__main__":
    print(reference(), end="")
