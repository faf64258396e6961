"""Pages of the site that no file of docs/ holds: written at build time from what they describe."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

REPOSITORY = Path(__file__).parents[2]
# Pages of the site that are files at the repository's root.
ROOT_PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "findings.md": "findings/README.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the places of the navigation that follow from the code and from docs/extending/."""
    docs = Path(config.docs_dir)
    doors = sorted(path.relative_to(docs).as_posix() for path in docs.glob("extending/*.md"))
    filled: dict[str, list[Any]] = {
        "Python API": [{name: f"api/{name}.md"} for name in _rooms()],
        "Extending": ["extending.md", *doors],
    }
    _fill(config.nav, filled)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {
        page: (REPOSITORY / path).read_text(encoding="utf-8") for page, path in ROOT_PAGES.items()
    }
    pages["cli.md"] = _commands()
    pages |= {f"api/{name}.md": _api(name, modules) for name, modules in _rooms().items()}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def _fill(nav: Any, filled: dict[str, list[Any]]) -> None:
    for entry in nav:
        for title, content in entry.items() if isinstance(entry, dict) else ():
            if title in filled:
                entry[title] = filled[title]
            elif isinstance(content, list):
                _fill(content, filled)


def _rooms() -> dict[str, list[str]]:
    """Return the public modules of each room of ws3 by its name; the root's own come first."""
    rooms: dict[str, list[str]] = {"ws3": ["ws3"]}
    package = importlib.import_module("ws3")
    for module in pkgutil.walk_packages(package.__path__, "ws3."):
        _, room, *inner = module.name.split(".")
        if room.startswith("_") or any(name.startswith("_") for name in inner):
            continue
        rooms.setdefault(f"ws3.{room}" if inner or module.ispkg else "ws3", []).append(module.name)
    return rooms


def _api(name: str, modules: list[str]) -> str:
    return f"# {name}\n\n" + "\n".join(f"::: {module}\n" for module in modules)


def _commands() -> str:
    """Return the reference of the `ws3` command, from its own help."""
    import typer
    from typer.cli import get_docs_for_click

    from ws3.cli.app import app

    command = typer.main.get_command(app)
    context: Any = command.make_context("ws3", [], resilient_parsing=True)
    return get_docs_for_click(obj=command, ctx=context, name="ws3", title="Commands")
