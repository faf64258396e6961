"""Generic mutations of bytes, of lines of text, and of the values of JSON and YAML."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

LONG = 200_000
NUMBERS = (
    *(0, -1, 1, 2, 7, 255, 256, 10**6, 2**31, 2**63, 2**64, 10**30, 10**400, -(2**31), -(2**63)),
    *(0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, 1e39, float("inf"), -float("inf"), float("nan")),
)
TEXTS = (
    *("", " ", ".", "..", "-", "~", "~nosuchuser/x", "/", "//", "../neighbour", "a/b", "a\\b"),
    *(
        "null",
        "true",
        "1e5",
        "2026-13-45",
        "2026_11_28",
        "0x10",
        "nan",
        "!!int abc",
        "%s {x} $HOME",
    ),
    *("$(touch touched)", "; touch touched", "'", '"', "a\nb", "a\rb", "a\tb", "\x1b[31mred", "\0"),
    *("\x7f", "\u202eabc", "\ufeffa", "e\u0301", "\U0001f408", "\ud800", "--help", "zarr.json"),
    *("x" * 300, "x" * LONG, "é" * 300, ".tmp-a-1-01234567", "a;b;c", ";", ",", "a,b"),
)
PLACES = (
    *("pipe", "folder", "file", "link to nowhere", "link to itself", "link to a folder"),
    *("link to a file", "link to a device", "link to /dev/zero", "nothing", "large and sparse"),
)
"""What may stand in place of a file or folder."""


def value(rng: Random) -> Any:
    """Return any value that JSON can hold."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: rng.choice(NUMBERS),
        lambda: rng.choice(TEXTS),
        lambda: rng.choice((None, True, False)),
        lambda: rng.choice(([], {}, [[]], [None], {"": None}, {"a": {"b": [1]}})),
        lambda: [rng.choice((*NUMBERS, *TEXTS)) for _ in range(rng.randrange(1, 6))],
    )
    return rng.choice(kinds)()


def spoil_value(data: Any, rng: Random) -> tuple[Any, str]:
    """Return plain data with one value changed, and what was done."""
    places = list(_places(data))
    if not places or rng.random() < 0.03:
        return value(rng), "other data"
    holder, key = rng.choice(places)
    old = holder[key]
    kind = rng.choice(("value", "value", "value", "type", "remove", "add", "repeat", "nest"))
    if kind == "value":
        holder[key] = value(rng)
    elif kind == "type":
        holder[key] = _other_type(old, rng)
    elif kind == "remove":
        del holder[key]
    elif kind == "add" and isinstance(old, dict):
        old[rng.choice(TEXTS)] = value(rng)
    elif kind in ("add", "repeat") and isinstance(old, list):
        old.extend([*old, value(rng)] if kind == "repeat" else [value(rng)])
    else:
        for _ in range(rng.choice((1, 3, 60))):
            holder[key] = [holder[key]]
    return data, f"{kind} at {str(key)[:40]!r}"


def spoil_json(path: Path, rng: Random) -> str:
    """Spoil a JSON file: one of its values, or its bytes; return what was done."""
    if rng.random() < 0.3:
        return spoil_bytes(path, rng)
    data, what = spoil_value(json.loads(path.read_bytes()), rng)
    text = json.dumps(data)
    if rng.random() < 0.03:
        text, what = "[" * 100_000, "endless nesting"
    elif rng.random() < 0.05 and isinstance(data, dict) and data:
        key = rng.choice(sorted(data))
        text = f"{text[:-1]}, {json.dumps(key)}: {json.dumps(value(rng))}}}"
        what = f"{key!r} twice"
    path.write_text(text, encoding="utf-8")
    return f"{path.name}: {what}"


def spoil_bytes(path: Path, rng: Random) -> str:
    """Change some bytes of a file; return what was done."""
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data) + 1)
    # Headers are short, and hold most of what a reader believes.
    place = min(place, rng.randrange(64)) if rng.random() < 0.4 else place
    kind = rng.choice(("flip", "flip", "flip", "cut", "insert", "zeros", "repeat", "empty", "ends"))
    if kind == "flip" and data:
        for _ in range(rng.choice((1, 1, 2, 8, 32))):
            at = min(len(data) - 1, place + rng.randrange(64))
            data[at] = rng.choice((data[at] ^ (1 << rng.randrange(8)), 0, 255, rng.randrange(256)))
    elif kind == "cut":
        del data[place:]
    elif kind == "insert":
        data[place:place] = rng.randbytes(rng.choice((1, 4, 100, 5000)))
    elif kind == "zeros":
        data[place : place + 16] = bytes(len(data[place : place + 16]))
    elif kind == "repeat":
        data[place:place] = data[place : place + 200]
    elif kind == "empty":
        data.clear()
    else:
        data += rng.choice((b"\0" * 10, b"\n", b"x" * 3000, bytes(data)))
    path.write_bytes(bytes(data))
    return f"{path.name}: {kind} at {place}"


def spoil_lines(path: Path, rng: Random) -> str:
    """Change a line of a text file; return what was done."""
    if rng.random() < 0.25:
        return spoil_bytes(path, rng)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    at = rng.randrange(len(lines))
    kind = rng.choice(("cell", "cell", "cell", "line", "repeat", "remove", "many", "encoding"))
    if kind == "cell":
        cells = lines[at].split(",")
        cells[rng.randrange(len(cells))] = str(rng.choice((*TEXTS, *NUMBERS[:12])))
        lines[at] = ",".join(cells)
    elif kind == "line":
        lines[at] = rng.choice((rng.choice(TEXTS), lines[at] + "," * LONG, f'"{lines[at]}'))
    elif kind == "repeat":
        lines.insert(at, lines[at])
    elif kind == "remove":
        del lines[at]
    elif kind == "many":
        lines += [f"{rng.choice(('a', 'new', ' '))}{number}" for number in range(3000)]
    coding = rng.choice(("utf-16", "utf-8-sig", "latin-1", "cp037"))
    text = rng.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines) + "\n"
    data = text.encode("utf-8", "surrogatepass")
    if kind == "encoding":
        data = text.encode(coding, "replace")
    path.write_bytes(data)
    return f"{path.name}: {kind} in line {at + 1}"


def spoil_place(path: Path, neighbour: Path, rng: Random) -> str:
    """Put something else in place of a file or folder; return what."""
    kind = rng.choice(PLACES)
    _remove(path)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "mine.txt").write_text("mine")
        case "file":
            path.write_bytes(rng.choice((b"", b"mine", b"{}", b"\x89PNG\r\n")))
        case "link to nowhere":
            path.symlink_to(neighbour / "nowhere")
        case "link to itself":
            path.symlink_to(path.name)
        case "link to a folder":
            path.symlink_to(neighbour / "folder")
        case "link to a file":
            path.symlink_to(rng.choice(sorted(neighbour.glob("*.*"))))
        case "link to a device":
            path.symlink_to("/dev/null")
        case "link to /dev/zero":
            path.symlink_to("/dev/zero")
        case "large and sparse":
            with path.open("wb") as file:
                file.truncate(20 * 2**30)
    return f"{kind} in place of {path.name}"


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for entry in path.iterdir():
        _remove(entry)
    path.rmdir()


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each list or dict of plain data with each of its indices or keys."""
    todo = [data]
    while todo:
        node = todo.pop()
        keys: list[Any] = []
        if isinstance(node, dict):
            keys = list(node)
        elif isinstance(node, list):
            keys = list(range(len(node)))
        for key in keys:
            yield node, key
            todo.append(node[key])


def _other_type(old: Any, rng: Random) -> Any:
    others: list[Any] = [str(old), [old], {"value": old}, None]
    if isinstance(old, int | float):
        others += [float(old), -old, old + 1, bool(old), int(old)]
    if isinstance(old, str | list) and old:
        others += [old[0], len(old), list(old), old[:-1], old * 50]
    if isinstance(old, dict):
        others += [list(old), list(old.values())]
    return rng.choice(others)
