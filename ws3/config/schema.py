"""The JSON schema of the configuration, generated from the typed model.

`python -m ws3.config.schema > config/schema.yaml` writes it; a test keeps the two in step.
"""

from __future__ import annotations

from typing import Any

import yaml

from ws3.config.methods import OWN_METHODS, NoOptions
from ws3.config.model import Section
from ws3.config.presets import PRESETS
from ws3.config.run import RunConfig

_HEADER = """\
# Generated from ws3/config by `make schema`; editors read it, and a test keeps it in step.
"""
# Pydantic leaves its own names of bounds in the schema of a number that has a validator.
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file."""
    generated: dict[str, Any] = _with_bounds(RunConfig.model_json_schema())
    recipe = generated["$defs"]["Recipe"]
    recipe["properties"]["preset"] = {
        "enum": list(PRESETS),
        "description": "Start from a named recipe; the other keys change it.",
    }
    recipe["anyOf"] = [
        {"required": [key]} for key in ("method", "preset", "samples_from", "import")
    ]
    del recipe["required"]
    recipe["allOf"] = _method_options()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **generated}


def schema_text() -> str:
    """Return the schema as the text of `config/schema.yaml`."""
    return _HEADER + yaml.safe_dump(schema(), sort_keys=False, allow_unicode=True, width=100)


def _method_options() -> list[dict[str, Any]]:
    """Return the rules that a recipe may only have its own method's options."""
    by_options: dict[type[Section], list[str]] = {}
    for name, entry in OWN_METHODS.items():
        by_options.setdefault(entry.options or NoOptions, []).append(name)
    rules = []
    for section, names in by_options.items():
        options = section.model_json_schema()
        options.pop("title")
        method = {"properties": {"method": {"enum": names}}, "required": ["method"]}
        rules.append({"if": method, "then": {"properties": {"options": options}}})
    return rules


def _with_bounds(node: Any) -> Any:
    if isinstance(node, dict):
        return {_BOUNDS.get(key, key): _with_bounds(value) for key, value in node.items()}
    return [_with_bounds(item) for item in node] if isinstance(node, list) else node


if __name__ == "__main__":
    print(schema_text(), end="")
