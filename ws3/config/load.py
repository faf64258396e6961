"""Plain dicts and YAML files become a `RunConfig`; every error names the key's path."""

from __future__ import annotations

import datetime
import itertools
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
from ws3.messages import reason, shortened, shown
from ws3.outside import CONFIG_BYTES, read_regular

_RENAMED = {
    ("aggregation", "reducer"): "combine_samples",
    ("aggregation", "scale"): "percentile",
    ("segmentation", "scale"): "scale_range",
    ("segmentation", "ceiling"): "fully_supervised",
    ("recipes", "reduction"): "reduce_channels",
}
"""Keys of ws3 0.1 by section, and what they are called now; of `recipes`, each recipe's own."""
_MOST_VALUES = 100_000
_DEEPEST = 50


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
    _check_plain(data, source)
    expanded = expand_presets(data, source)
    try:
        config = RunConfig.model_validate(expanded)
    except ValidationError as error:
        raise _explained(error, expanded, source) from None
    for name, recipe in config.recipes.items() if check_methods else ():
        if recipe.has_samples:
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
        _check_plain(given, source)
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


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; names the place of a value that can't be read."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping whose keys differ."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key {shown(key.value, 80)} is given twice, give it once",
                        problem_mark=key.start_mark,
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return a value; PyYAML itself lets ValueError, KeyError and others through."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise yaml.constructor.ConstructorError(
                problem=f"{shown(getattr(node, 'value', ''), 80)} can't be read as "
                f"{node.tag.rpartition(':')[2]}, put a text between quotes",
                problem_mark=node.start_mark,
            ) from error


def parse_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        yaml.YAMLError: If it is not valid, or a mapping has a key twice.
        RecursionError: If it is nested too deeply.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def _check_plain(data: Any, source: str) -> None:
    """Refuse what no configuration holds: texts that no file can bear, and endless nesting.

    Raises:
        Ws3Error: With the path of the value.
    """
    todo: list[tuple[tuple[str, ...], Any]] = [((), data)]
    for visited in itertools.count():
        if not todo:
            return
        path, value = todo.pop()
        name = shortened(".".join(path))
        if visited > _MOST_VALUES or len(path) > _DEEPEST:
            raise Ws3Error(f"{source}: {name}: this is nested deeper than a configuration ever is")
        if isinstance(value, str) and any(
            letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in value
        ):
            raise Ws3Error(
                f"{source}: {name}: {shown(value)} holds a character that no text can have; "
                "take it out"
            )
        if value == "null":
            raise Ws3Error(
                f"{source}: {name}: null arrives as a text from Snakemake's --config; leave the "
                "key out where null is its default, or set it to null in a file (--configfile)"
            )
        if isinstance(value, Mapping):
            todo += [((*path, str(key)), item) for key, item in value.items()]
            todo += [((*path, "a key"), key) for key in value if isinstance(key, str)]
        elif isinstance(value, list | tuple):
            todo += [((*path, str(number)), item) for number, item in enumerate(value)]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        Ws3Error: If the file is missing, is no regular file, is larger than `CONFIG_BYTES`, gives a
            key twice, or holds something else.
    """
    try:
        data = parse_yaml(read_regular(path, CONFIG_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise Ws3Error(f"{path}: there is no such configuration file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Ws3Error(f"{path}: can't be read ({reason(error)}).") from None
    except yaml.YAMLError as error:
        raise Ws3Error(f"{path}: this is not valid YAML ({reason(error)}).") from None
    except RecursionError:
        raise Ws3Error(
            f"{path}: this YAML is nested deeper than a configuration ever is."
        ) from None
    if not isinstance(data, dict):
        raise Ws3Error(f"{path}: a mapping of keys to values is expected.")
    return data


def dump(config: RunConfig) -> str:
    """Return the resolved configuration as YAML, every default written out."""
    data = config.model_dump(mode="json")
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Escapes line breaks that only Unicode knows, which PyYAML would read back as blanks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


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
        yield f"{shortened('.'.join(parts))}: {message}" if parts else message


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
        return f"kind {shown(detail['ctx']['tag'])} is unknown; allowed: {_kinds(path, data)}"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"a mapping of keys to values is expected, not {shown(value)}"
    if kind == "string_type" and isinstance(value, int | float | datetime.date):
        key = path[-1] if path else ""
        given = str(value) if isinstance(value, datetime.date) else shown(value)
        return (
            f"a text is expected, but {given} was read as a {_read_as(value)}, as YAML "
            "and --config read 2026_11_28 (a number) or 2026-11-28 (a date): put it between "
            f"quotes in a file, or give --config {key}='!!str ...'"
        )
    if kind == "tuple_type":
        return f"a list is expected, not {shown(value)}"
    if kind in ("too_short", "too_long"):
        limit = "at least {min_length}" if kind == "too_short" else "at most {max_length}"
        return f"a length of {limit.format(**detail['ctx'])} is expected, not {shown(value)}"
    return f"{detail['msg']}, not {shown(value)}"


def _read_as(value: bool | float | datetime.date) -> str:
    if isinstance(value, bool):
        return "truth value"
    return "date" if isinstance(value, datetime.date) else "number"


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
    names = [field.alias or name for model in models for name, field in model.model_fields.items()]
    # Presets are expanded before the recipe is validated, so that no field tells of them.
    return ", ".join(dict.fromkeys(["preset", *names] if Recipe in models else names))


def _models_at(path: Sequence[str], data: Mapping[str, Any]) -> list[type[BaseModel]]:
    """Return the sections that may stand at this path of the configuration."""
    models: list[type[BaseModel]] = [RunConfig]
    node: Any = data
    for part in path:
        node = node.get(part) if isinstance(node, Mapping) else None
        annotations = [
            field.annotation
            for model in models
            for name, field in model.model_fields.items()
            if part == (field.alias or name)
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
