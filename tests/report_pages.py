"""What a browser would see of a report's page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """What a browser would see: tags, links, ids, and each table's rows as plain text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.ids: set[str | None] = set()
        self.rows: list[list[str]] = []
        self.attributes: list[tuple[str, dict[str, Any]]] = []
        self.words: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append(tag)
        self.attributes.append((tag, values))
        self.links += [values[key] for key in ("src", "href", "srcset") if key in values]
        self.ids |= {values["id"]} if "id" in values else set()
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1].append(" ".join("".join(self._cell or []).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)

    def rows_of(self, head: str) -> list[list[str]]:
        return [row for row in self.rows if row and row[0] == head]
