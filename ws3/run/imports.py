"""Files of other programs that a run takes: which there are, what is in them, whether they changed.

They are the maps or masks of imported recipes, and the regions that all recipes share.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ws3.config.regions import FileRegions
from ws3.config.run import RunConfig
from ws3.datasets.facts import DatasetFacts
from ws3.datasets.index import ImageRow, Listing
from ws3.errors import Ws3Error
from ws3.files import sha256
from ws3.imports.files import Place, files_below, find_files, import_place, stat_key
from ws3.messages import reason, shortened
from ws3.run.batches import mapped_rows
from ws3.run.folder import Run
from ws3.run.records import ImportedFile, ImportFacts, read_record, write_record
from ws3.stage_table import ALL_RECIPES

Read = Callable[[Path, ImageRow, Sequence[str]], tuple[str, ...]]
"""(file, image, classes) -> notes; raises Ws3Error if the file can't be used."""


@dataclass(frozen=True)
class Source:
    """A folder of files of another program.

    Attributes:
        name: Of the recipe, or `all_recipes`.
        key: Of the configuration.
        what: It holds, in a word or two.
        place: Where the files lie.
        settings: With which they are read, as plain data.
        negatives: Whether images without labels need a file, too.
        read: Reads and checks one.
    """

    name: str
    key: str
    what: str
    place: Place
    settings: dict[str, Any]
    negatives: bool
    read: Read


def sources(config: RunConfig) -> dict[str, Source]:
    """Return the folders of other programs that a configuration names, by recipe."""
    found = {}
    for name, recipe in config.recipes.items():
        settings = recipe.imported
        if settings is not None:

            def read_maps(
                path: Path, row: ImageRow, classes: Sequence[str], settings: Any = settings
            ) -> tuple[str, ...]:
                from ws3.imports.readers import read_imported

                size = (row.height, row.width)
                return read_imported(settings, path, classes, row.labels, size).notes

            found[name] = Source(
                name=name,
                key=f"recipes.{name}.import",
                what="masks" if settings.masks is not None else f"maps ({settings.format})",
                place=import_place(settings),
                settings=settings.model_dump(mode="json"),
                negatives=False,
                read=read_maps,
            )
    regions = config.masks.regions
    if isinstance(regions, FileRegions):
        found[ALL_RECIPES] = Source(
            name=ALL_RECIPES,
            key="masks.regions",
            what="regions",
            place=Place(regions.folder, (".json", ".png", ".npz")),
            settings={"kind": "files", "folder": regions.folder},
            negatives=True,
            read=_read_segments,
        )
    return found


def _read_segments(path: Path, row: ImageRow, classes: Sequence[str]) -> tuple[str, ...]:
    from ws3.imports.segments import read_segments

    read_segments(path, (row.height, row.width))
    return ()


def stat_keys(source: Source, rows: Sequence[ImageRow]) -> dict[str, str]:
    """Return what shows that an image's file changed, by image; those without a file are left out.

    Raises:
        Ws3Error: If the folder can't be listed.
    """
    found = find_files(source.place, rows).files
    root = source.place.root
    return {image: f"{path};{stat_key(root / path)}" for image, path in found.items()}


def imports_are_current(run: Run, listing: Listing) -> bool:
    """Return whether what was written down of all files is of the files as they are now.

    Raises:
        Ws3Error: If a folder can't be listed.
    """
    wanted = {row.image for row in _rows(run, listing)}
    for source in sources(run.config).values():
        known = _known(run, listing, source)
        if known is None or known.files.keys() != wanted:
            return False
        now = stat_keys(source, listing.rows)
        for image, one in known.files.items():
            if now.get(image, "") != (f"{one.path};{one.stat_key}" if one.path else ""):
                return False
    return True


def index_imports(run: Run, index: Listing, reach: Callable[[int, int], None]) -> DatasetFacts:
    """Look at all files of other programs, and write down what there is.

    What is known and did not change is not read again.

    Args:
        run: The run.
        index: Its images, as they were indexed.
        reach: Is told how many images of a folder were looked at, and of how many.

    Returns:
        What was seen, as sentences.

    Raises:
        Ws3Error: If a folder can't be listed, or none of its files can be used.
    """
    facts, warnings = list[str](), list[str]()
    for source in sources(run.config).values():
        found = _index_source(run, index, source, reach)
        run.forget_imported(source.name)
        some = _facts(source, found, {row.image: row for row in index.rows})
        facts += some.facts
        warnings += some.warnings
    return DatasetFacts(tuple(facts), tuple(warnings))


def _index_source(
    run: Run, index: Listing, source: Source, reach: Callable[[int, int], None]
) -> ImportFacts:
    root = source.place.root
    listed = find_files(source.place, index.rows)
    known = _known(run, index, source)
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
                notes = source.read(path, row, index.classes)
            except Ws3Error as error:
                problem = str(error)
            files[row.image] = ImportedFile(
                path=name, stat_key=key, sha256=digest, notes=notes, problem=problem
            )
        elif row.labels or source.negatives:
            files[row.image] = ImportedFile(problem=f"there is no file of it in {root}")
        reach(number, len(rows))
    problems = [one.problem for one in files.values() if one.problem]
    needed = sum(bool(row.labels) or source.negatives for row in rows)
    if problems and len(problems) >= needed:
        raise Ws3Error(
            f"{source.key}: none of the {len(problems)} images has a file that can be used; the "
            f"first: {problems[0]}"
        )
    found = ImportFacts(
        recipe=source.name,
        settings=_settings(run, index, source),
        files=files,
        unused=listed.unused,
    )
    write_record(run.imports_file(source.name), found)
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


def file_as_indexed(run: Run, name: str, source: Source, row: ImageRow) -> Path | None:
    """Return an image's file, which is the one that was indexed, or None if it needs none.

    Raises:
        Ws3Error: If it is missing, or changed after it was indexed.
        StaleResultError: If the files have not been indexed.
    """
    found = run.imported(name).files.get(row.image)
    if found is None or not found.path:
        if row.labels or source.negatives:
            raise Ws3Error(f"there is no file of it in {source.place.folder} ({source.key})")
        return None
    path = source.place.root / found.path
    if stat_key(path) != found.stat_key:
        raise Ws3Error(
            f"{path}: this file changed after it was indexed; run snakemake (or ws3 index) again"
        )
    return path


def _rows(run: Run, listing: Listing) -> list[ImageRow]:
    good = mapped_rows(run.config, listing.rows, run.config.map_splits)
    return [row for row in good if not row.problem]


def _settings(run: Run, listing: Listing, source: Source) -> dict[str, Any]:
    labels = {row.image: row.labels for row in _rows(run, listing)}
    return {
        "import": source.settings,
        "classes": list(listing.classes),
        "labels": hashlib.sha256(repr(labels).encode()).hexdigest(),
    }


def _known(run: Run, listing: Listing, source: Source) -> ImportFacts | None:
    """Return what was written down, if it was found with the same settings."""
    try:
        known = read_record(run.imports_file(source.name), ImportFacts)
        return known if known.settings == _settings(run, listing, source) else None
    except Ws3Error:
        return None


def _facts(source: Source, found: ImportFacts, rows: Mapping[str, ImageRow]) -> DatasetFacts:
    from ws3.imports.readers import NOTES

    who = "the masks take" if source.name == ALL_RECIPES else f"recipe {source.name} takes"
    about = source.key if source.name == ALL_RECIPES else f"recipe {source.name}"
    there = {image: one for image, one in found.files.items() if one.path}
    facts = [f"{who} {source.what} of {len(there)} images from {source.place.folder}"]
    if found.unused:
        facts.append(f"{found.unused} more files there are of no image of this run")
    warnings = []
    problems = {image: one for image, one in found.files.items() if one.problem}
    missing = [image for image, one in problems.items() if not one.path]
    bad = [one.problem for one in problems.values() if one.path]
    if missing:
        warnings.append(
            f"{about}: {len(missing)} of {len(found.files)} images have no file there, such as "
            f"{shortened(rows[missing[0]].title)}"
        )
    if bad:
        warnings.append(
            f"{about}: {len(bad)} of {len(there)} files can't be used, such as "
            f"{bad[0].removesuffix('.').removesuffix('?')}"
        )
    counts = Counter(note for one in there.values() for note in one.notes)
    for word, meaning in NOTES.items():
        if counts[word]:
            text = f"{about}: {counts[word]} of {len(there)} files {meaning}"
            (facts if word == "resized" else warnings).append(text.removesuffix("?"))
    return DatasetFacts(tuple(facts), tuple(warnings))


__all__ = [
    "Source",
    "content_digest",
    "file_as_indexed",
    "imports_are_current",
    "index_imports",
    "sources",
    "stat_keys",
]
