"""The files of imported recipes: which there are, what is in them, and whether they changed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ws3.config.imports import Import
from ws3.datasets.facts import DatasetFacts
from ws3.datasets.index import ImageRow, Listing
from ws3.errors import Ws3Error
from ws3.files import sha256
from ws3.imports.files import files_below, find_files, stat_key
from ws3.messages import reason, shortened
from ws3.run.batches import mapped_rows
from ws3.run.folder import Run
from ws3.run.records import ImportedFile, ImportFacts, read_record, write_record


def imports_of(run: Run) -> dict[str, Import]:
    """Return what each imported recipe of a run takes, by name."""
    recipes = run.config.recipes.items()
    return {name: recipe.imported for name, recipe in recipes if recipe.imported is not None}


def stat_keys(settings: Import, rows: Sequence[ImageRow]) -> dict[str, str]:
    """Return what shows that an image's file changed, by image; those without a file are left out.

    Raises:
        Ws3Error: If the folder can't be listed.
    """
    root = Path(settings.folder).expanduser()
    found = find_files(settings, rows).files
    return {image: f"{path};{stat_key(root / path)}" for image, path in found.items()}


def imports_are_current(run: Run, listing: Listing) -> bool:
    """Return whether what was written down of all imports is of the files as they are now.

    Raises:
        Ws3Error: If a folder can't be listed.
    """
    wanted = {row.image for row in _rows(run, listing)}
    for recipe, settings in imports_of(run).items():
        known = _known(run, listing, recipe, settings)
        if known is None or known.files.keys() != wanted:
            return False
        now = stat_keys(settings, listing.rows)
        for image, one in known.files.items():
            if now.get(image, "") != (f"{one.path};{one.stat_key}" if one.path else ""):
                return False
    return True


def index_imports(run: Run, index: Listing, reach: Callable[[int, int], None]) -> DatasetFacts:
    """Look at all files of imported recipes, and write down what there is.

    What is known and did not change is not read again.

    Args:
        run: The run.
        index: Its images, as they were indexed.
        reach: Is told how many images of a recipe were looked at, and of how many.

    Returns:
        What was seen, as sentences.

    Raises:
        Ws3Error: If a folder can't be listed, or none of its files can be used.
    """
    facts, warnings = list[str](), list[str]()
    for recipe, settings in imports_of(run).items():
        found = _index_import(run, index, recipe, settings, reach)
        run.forget_imported(recipe)
        some = _facts(settings, found, {row.image: row for row in index.rows})
        facts += some.facts
        warnings += some.warnings
    return DatasetFacts(tuple(facts), tuple(warnings))


def _index_import(
    run: Run, index: Listing, recipe: str, settings: Import, reach: Callable[[int, int], None]
) -> ImportFacts:
    from ws3.imports.readers import read_imported

    root = Path(settings.folder).expanduser()
    listed = find_files(settings, index.rows)
    known = _known(run, index, recipe, settings)
    rows = _rows(run, index)
    files = {}
    for number, row in enumerate(rows, start=1):
        files[row.image] = ImportedFile()
        if row.image in listed.files:
            name = listed.files[row.image]
            path, key = root / name, stat_key(root / name)
            before = None if known is None else known.files.get(row.image)
            if before is not None and (before.path, before.stat_key) == (name, key):
                files[row.image] = before
                continue
            problem, digest, notes = "", "", tuple[str, ...]()
            try:
                digest = content_digest(path)
                size = (row.height, row.width)
                notes = read_imported(settings, path, index.classes, row.labels, size).notes
            except Ws3Error as error:
                problem = str(error)
            files[row.image] = ImportedFile(
                path=name, stat_key=key, sha256=digest, notes=notes, problem=problem
            )
        elif row.labels:
            files[row.image] = ImportedFile(problem=f"there is no file of it in {root}")
        reach(number, len(rows))
    found = ImportFacts(
        recipe=recipe, settings=_settings(run, index, settings), files=files, unused=listed.unused
    )
    problems = [one.problem for one in files.values() if one.problem]
    if problems and len(problems) == sum(bool(row.labels) for row in rows):
        raise Ws3Error(
            f"recipes.{recipe}.import: none of the {len(problems)} images has a file that can be "
            f"used; the first: {problems[0]}"
        )
    write_record(run.imports_file(recipe), found)
    return found


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of all files in a folder.

    Raises:
        Ws3Error: If one can't be read.
    """
    try:
        if not path.is_dir():
            return sha256(path)
        lines = [f"{name}\0{sha256(path / name)}\n" for name in files_below(path)]
    except OSError as error:
        raise Ws3Error(f"{path}: can't be read ({reason(error)})") from None
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _rows(run: Run, listing: Listing) -> list[ImageRow]:
    good = mapped_rows(run.config, listing.rows, run.config.map_splits)
    return [row for row in good if not row.problem]


def _settings(run: Run, listing: Listing, settings: Import) -> dict[str, Any]:
    labels = {row.image: row.labels for row in _rows(run, listing)}
    return {
        "import": settings.model_dump(mode="json"),
        "classes": list(listing.classes),
        "labels": hashlib.sha256(repr(labels).encode()).hexdigest(),
    }


def _known(run: Run, listing: Listing, recipe: str, settings: Import) -> ImportFacts | None:
    """Return what was written down, if it was found with the same settings."""
    try:
        known = read_record(run.imports_file(recipe), ImportFacts)
        return known if known.settings == _settings(run, listing, settings) else None
    except Ws3Error:
        return None


def _facts(settings: Import, found: ImportFacts, rows: dict[str, ImageRow]) -> DatasetFacts:
    from ws3.imports.readers import NOTES

    what = "masks" if settings.masks is not None else f"maps ({settings.format})"
    there = {image: one for image, one in found.files.items() if one.path}
    facts = [f"recipe {found.recipe} takes {what} of {len(there)} images from {settings.folder}"]
    if found.unused:
        facts.append(f"{found.unused} more files there are of no image of this run")
    warnings = []
    problems = {image: one for image, one in found.files.items() if one.problem}
    missing = [image for image, one in problems.items() if not one.path]
    bad = {image: one.problem for image, one in problems.items() if one.path}
    if missing:
        warnings.append(
            f"recipe {found.recipe}: {len(missing)} of {len(found.files)} images have no file "
            f"there, such as {shortened(rows[missing[0]].title)}"
        )
    if bad:
        warnings.append(
            f"recipe {found.recipe}: {len(bad)} of {len(there)} files can't be used, such as "
            f"{next(iter(bad.values())).removesuffix('.')}"
        )
    counts = Counter(note for one in there.values() for note in one.notes)
    for word, meaning in NOTES.items():
        if counts[word]:
            text = f"recipe {found.recipe}: {counts[word]} of {len(there)} files {meaning}"
            (facts if word == "resized" else warnings).append(text.removesuffix("?"))
    return DatasetFacts(tuple(facts), tuple(warnings))


__all__ = [
    "content_digest",
    "imports_are_current",
    "imports_of",
    "index_imports",
    "stat_keys",
]
