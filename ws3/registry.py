"""Doors for extensions: things of one kind by name, ws3's own and those of installed packages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from ws3.errors import Ws3Error
from ws3.messages import reason, shown

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Named entries of one kind.

    ws3's own stand in a table; an installed package adds more through an entry-point group. A name
    of ws3's own can't be taken. Nothing is imported before it is asked for.

    Args:
        kind: What an entry is, for messages, such as "method".
        group: The entry-point group, such as "ws3.methods".
        own: Ws3's own entries by name.
        entry_type: What an installed package's entry must be an instance of; None: anything.

    Example:
        >>> colours = Registry("colour", "ws3.doctest", {"red": "#f00", "green": "#0f0"})
        >>> colours["red"], list(colours)
        ('#f00', ['red', 'green'])
        >>> colours["gren"]
        Traceback (most recent call last):
        ws3.errors.Ws3Error: there is no colour 'gren'; did you mean green? choose from: red, green
    """

    def __init__(
        self,
        kind: str,
        group: str,
        own: Mapping[str, Entry],
        entry_type: type[Entry] | None = None,
    ) -> None:
        self.kind, self.group, self.own, self.entry_type = kind, group, own, entry_type

    def plugins(self) -> dict[str, EntryPoint]:
        """Return the entries that installed packages add, by name, not imported yet."""
        found = sorted(entry_points(group=self.group), key=lambda point: point.name)
        return {point.name: point for point in found if point.name not in self.own}

    def __iter__(self) -> Iterator[str]:
        """Yield all names: ws3's own first, then those of installed packages, sorted."""
        yield from self.own
        yield from self.plugins()

    def __contains__(self, name: object) -> bool:
        """Return whether there is an entry of that name."""
        return name in self.own or name in self.plugins()

    def __getitem__(self, name: str) -> Entry:
        """Return an entry by name.

        Raises:
            Ws3Error: If there is none, or the package that adds it can't be imported, or adds
                something else.
        """
        if name in self.own:
            return self.own[name]
        point = self.plugins().get(name)
        if point is None:
            raise self.unknown(name)
        try:
            entry: Entry = point.load()
        except (ImportError, AttributeError) as error:
            raise Ws3Error(
                f"the {self.kind} {name} can't be imported from {point.value} ({reason(error)}); "
                "mend or remove the package that adds it"
            ) from error
        if self.entry_type is not None and not isinstance(entry, self.entry_type):
            raise Ws3Error(
                f"the {self.kind} {name}: {point.value} is no {self.entry_type.__name__}; mend or "
                "remove the package that adds it"
            )
        return entry

    def did_you_mean(self, name: object) -> str:
        """Return "did you mean A or B? ", of the closest names there are; "" if none is close."""
        close = difflib.get_close_matches(str(name), list(self), n=2)
        return f"did you mean {' or '.join(close)}? " if close else ""

    def choice(self, name: object) -> str:
        """Return the names that there are, the closest to this one first, for an error message."""
        return f"{self.did_you_mean(name)}choose from: {', '.join(self)}"

    def unknown(self, name: str) -> Ws3Error:
        """Return the error for a name that there isn't, with the closest names that there are."""
        return Ws3Error(f"there is no {self.kind} {shown(name)}; {self.choice(name)}")


def load_object(path: str) -> Any:
    """Return what `module:attribute` names; for ws3's own entries, which are imported late.

    Example:
        >>> load_object("math:floor")(2.5)
        2
    """
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def optional_package(module: str, who: str, extra: str) -> ModuleType:
    """Import a package that ws3 can do without.

    Args:
        module: Its name.
        who: The beginning of the sentence if it can't be imported: who asks for whose package.
        extra: What installs it with ws3.

    Raises:
        Ws3Error: If it can't be imported.

    Example:
        >>> optional_package("json", "key: a is a network of json's", "some").__name__
        'json'
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise Ws3Error(
            f"{who}, which can't be imported ({reason(error)}); install it with: "
            f"pip install 'ws3-seg[{extra}]'"
        ) from error


def deferred(path: str) -> Callable[..., Any]:
    """Return a function that imports what `module:function` names when it is first called.

    Example:
        >>> floor = deferred("math:floor")
        >>> floor(2.5)
        2
    """

    def call(*arguments: Any, **options: Any) -> Any:
        return load_object(path)(*arguments, **options)

    return call
