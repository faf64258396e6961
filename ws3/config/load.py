"""Plain dicts and YAML files become a `RunConfig`; every error names the key's path."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ws3.config.dataset import DatasetConfig, dataset_model
from ws3.config.methods import check_method
from ws3.config.presets import expand_presets
from ws3.config.recipes import Recipe
from ws3.config.run import RunConfig
from ws3.errors import Ws3Error

_RENAMED = {
    ("aggregation", "reducer"): "combine_samples",
    ("aggregation", "scale"): "percentile",
    ("segmentation", "scale"): "scale_range",
    ("segmentation", "ceiling"): "fully_supervised",
    ("recipes", "reduction"): "reduce_channels",
}
"""Keys of ws3 0.1 by section, and what they are called now; of `recipes`, each recipe's own."""


def resolve(
    data: Mapping[str, Any], source: str = "the configuration", *, check_methods: bool = True
) -> RunConfig:
    """Validate a plain dict and fill in its defaults.

    Args:
        data: What the YAML file and `--config` hold together.
        source: What to call it in an error.
        check_methods: Whether each recipe's method must be there; a run can be read without the
            package that adds it.

    Raises:
        Ws3Error: One line per wrong key, with its path and the allowed values.
    """
    if not isinstance(data, Mapping):
        raise Ws3Error(f"{source} is not a mapping of keys to values.")
    expanded = expand_presets(data, source)
    try:
        config = RunConfig.model_validate(expanded)
    except ValidationError as error:
        raise _explained(error, expanded, source) from None
    for name, recipe in config.recipes.items() if check_methods else ():
        _check_method(name, recipe, source)
    return config


def resolve_recipe(
    recipe: Recipe | Mapping[str, Any] | str, source: str = "the configuration"
) -> Recipe:
    """Return a recipe that is given by a preset's name, as a plain dict, or ready.

    Args:
        recipe: The name of a preset, what a configuration holds under a recipe's name (it may
            start from a preset), or a recipe.
        source: What to call it in an error.

    Raises:
        Ws3Error: If there is no such preset or method, or a key or value is wrong.

    Example:
        >>> resolve_recipe("cam").method
        'cam'
        >>> resolve_recipe({"preset": "gradient_crops", "samples": {"count": 60}}).samples.total
        60
    """
    name = recipe if isinstance(recipe, str) else "recipe"
    if not isinstance(recipe, Recipe):
        given = {"preset": recipe} if isinstance(recipe, str) else recipe
        expanded = expand_presets({"recipes": {name: given}}, source)
        try:
            recipe = Recipe.model_validate(expanded["recipes"][name])
        except ValidationError as error:
            raise _explained(error, expanded, source, "recipes", name) from None
    _check_method(name, recipe, source)
    return recipe


def _check_method(name: str, recipe: Recipe, source: str) -> None:
    try:
        check_method(recipe)
    except Ws3Error as error:
        raise Ws3Error(f"{source}: recipes.{name}: {error}") from None


def _explained(
    error: ValidationError, data: Mapping[str, Any], source: str, *section: str
) -> Ws3Error:
    """Return pydantic's errors about a section of the data, one line per wrong key."""
    lines = list(dict.fromkeys(_lines(error, data, section)))
    return Ws3Error("\n".join(f"{source}: {line}" for line in lines))


def load(path: Path, *, check_methods: bool = True) -> RunConfig:
    """Read and validate a YAML file.

    Args:
        path: The file.
        check_methods: See `resolve`.

    Raises:
        Ws3Error: If the file is missing, is not YAML or does not validate.
    """
    return resolve(read_yaml(path), str(path), check_methods=check_methods)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        Ws3Error: If the file is missing or holds something else.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Ws3Error(f"{path}: there is no such configuration file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Ws3Error(f"{path}: can't be read ({error}).") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise Ws3Error(f"{path}: this is not valid YAML ({reason}).") from None
    if not isinstance(data, dict):
        raise Ws3Error(f"{path}: a mapping of keys to values is expected.")
    return data


def dump(config: RunConfig) -> str:
    """Return the resolved configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _lines(
    error: ValidationError, data: Mapping[str, Any], section: tuple[str, ...]
) -> Iterable[str]:
    details = error.errors(include_url=False, include_context=True)
    for detail in details:
        detail["loc"] = (*section, *detail["loc"])
    tried = [detail for detail in details if not _is_untried_branch(detail, data, details)]
    for detail in tried:
        parts = _path(detail["loc"], data, detail["type"])
        message = _message(detail, parts, data)
        yield f"{'.'.join(parts)}: {message}" if parts else message


def _is_untried_branch(
    detail: Any, data: Mapping[str, Any], details: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether an error comes from the branch of a union that the value was not meant for."""
    _, value = _walk(detail["loc"], data)
    scalar_expected = detail["type"] in ("literal_error", "int_type", "int_parsing", "string_type")
    siblings = len(details) > 1
    if scalar_expected and isinstance(value, dict) and siblings:
        return True
    if detail["type"] == "too_short":  # pydantic's echo of items that it refused by themselves
        return bool(value) and siblings
    return detail["type"] == "model_type" and not isinstance(value, dict) and siblings


def _walk(loc: Sequence[int | str], data: Any) -> tuple[list[str], Any]:
    """Follow pydantic's location, which also names union branches, through the data itself."""
    parts: list[str] = []
    node = data
    for part in loc:
        is_key = isinstance(node, Mapping) and part in node
        is_item = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if is_key or is_item:
            node = node[part]
            parts.append(str(part))
    return parts, node


def _path(loc: Sequence[int | str], data: Mapping[str, Any], kind: str) -> list[str]:
    parts, _ = _walk(loc, data)
    if kind == "missing":
        parts.append(str(loc[-1]))
    return parts


def _message(detail: Any, path: Sequence[str], data: Mapping[str, Any]) -> str:
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        section = "recipes" if path[:1] == ["recipes"] and len(path) == 3 else path[-2:-1]
        renamed = _RENAMED.get(("".join(section), path[-1]))
        if renamed is not None:
            return f"this key is called {renamed} now"
        allowed = _allowed_keys(path[:-1], data)
        return "this key is unknown" + (f"; the keys here are: {allowed}" if allowed else "")
    if kind == "missing":
        return "this key is required"
    if kind == "literal_error" and path[-1] == "target" and value == "contrast":
        return "this value is called log_odds now"
    if kind == "union_tag_not_found":
        return f"the key 'kind' is required; allowed: {_kinds(path, data)}"
    if kind == "union_tag_invalid":
        return f"kind {detail['ctx']['tag']!r} is unknown; allowed: {_kinds(path, data)}"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"a mapping of keys to values is expected, not {value!r}"
    if kind == "tuple_type":
        return f"a list is expected, not {value!r}"
    if kind in ("too_short", "too_long"):
        limit = "at least {min_length}" if kind == "too_short" else "at most {max_length}"
        return f"a length of {limit.format(**detail['ctx'])} is expected, not {value!r}"
    return f"{detail['msg']}, not {value!r}"


def _kinds(path: Sequence[str], data: Mapping[str, Any]) -> str:
    """Return the values that `kind` may take in the section at this path."""
    fields = [model.model_fields.get("kind") for model in _models_at(path, data)]
    return ", ".join(kind for field in fields if field for kind in get_args(field.annotation))


def _allowed_keys(path: Sequence[str], data: Mapping[str, Any]) -> str:
    """Return the keys of the section at this path, for the error of an unknown one."""
    models = _models_at(path, data)
    node: Any = data
    for part in path:
        node = node[part] if isinstance(node, Mapping) else None
    kind = node.get("kind") if isinstance(node, Mapping) else None
    for model in models:
        field = model.model_fields.get("kind")
        if field is not None and kind in get_args(field.annotation):
            models = [model]
            break
    names = [name for model in models for name in model.model_fields]
    # Presets are expanded before the recipe is validated, so that no field tells of them.
    return ", ".join(dict.fromkeys(["preset", *names] if Recipe in models else names))


def _models_at(path: Sequence[str], data: Mapping[str, Any]) -> list[type[BaseModel]]:
    """Return the sections that may stand at this path of the configuration."""
    models: list[type[BaseModel]] = [RunConfig]
    node: Any = data
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
        annotations = [
            model.model_fields[part].annotation for model in models if part in model.model_fields
        ]
        # A name of the user's own, such as a recipe's, leads to no field: stay where we are.
        models = [model for note in annotations for model in _models_in(note)] or models
        if models == [DatasetConfig]:
            # The section of a kind, which an installed package may have added.
            models = [dataset_model(node.get("kind"))] if isinstance(node, Mapping) else []
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if isinstance(annotation, types.GenericAlias | types.UnionType) or get_args(annotation):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return []
