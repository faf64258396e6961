"""Links of the pages to files of the repository, which hold in both views of them.

In the repository a page links to `../config/voc12.yaml`. The site has no such file, so each file
that is linked becomes a page of the site with its text, and the link leads there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files
from site_pages import REPOSITORY, ROOT_PAGES

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

_SITE = {repository: site for site, repository in ROOT_PAGES.items()}
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".smk": "python"}
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_FENCE = re.compile(r"^ *(```|~~~)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file of the repository that a page links to."""
    linked: set[str] = set()

    def note(path: str) -> str:
        linked.add(path)
        return path

    for file in files.documentation_pages():
        _rewrite(file.content_string, file.src_uri, note)
    for path in sorted(linked):
        target = REPOSITORY / path
        if target.is_file() and files.get_file_from_path(_page_of(path)) is None:
            page = File.generated(config, _page_of(path), content=_as_page(path))
            page.inclusion = page.inclusion.NOT_IN_NAV
            files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the repository lead to their pages."""
    here = page.file.src_uri
    return _rewrite(
        markdown, here, lambda path: posixpath.relpath(_page_of(path), posixpath.dirname(here))
    )


def _rewrite(markdown: str, page: str, change: Callable[[str], str]) -> str:
    """Return a page's text with the links changed that leave docs/, outside of code."""

    def changed(match: re.Match[str]) -> str:
        start, target, anchor, end = match.groups("")
        path = _in_repository(page, target)
        return f"{start}{change(path)}{anchor}{end}" if path else match[0]

    return "".join(
        line if in_code else _LINK.sub(changed, line) for line, in_code in _lines(markdown)
    )


def _lines(markdown: str) -> Iterator[tuple[str, bool]]:
    in_code = False
    for line in markdown.splitlines(keepends=True):
        fence = _FENCE.match(line) is not None
        yield line, in_code or fence
        in_code ^= fence


def _in_repository(page: str, target: str) -> str:
    """Return the path of a link's target from the repository's root; empty if it needs no change.

    A page that comes from docs/ needs none within docs/.
    """
    source = ROOT_PAGES.get(page, f"docs/{page}")
    if ":" in target:
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return "" if path.startswith("docs/") and source.startswith("docs/") else path


def _page_of(path: str) -> str:
    """Return the site's page, or file, for a path of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return _SITE.get(path, f"source/{path}.md")


def _as_page(path: str) -> str:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    return f"# {path}\n\n````{_LANGUAGES.get(Path(path).suffix, 'text')}\n{text}````\n"
