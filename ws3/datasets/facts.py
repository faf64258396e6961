"""What there is to know of a dataset before anything is computed from it, in sentences.

Most faults of a dataset leave every file readable: masks in another class order, a table that names
half of the pictures, one class written in two ways. They show in what is counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ws3.errors import Ws3Error
from ws3.labels import IGNORED
from ws3.messages import shortened

if TYPE_CHECKING:
    from ws3.datasets.index import ImageRow, Listing

SHOWN = 10
"""Most names in a sentence."""

_NAME = 40  # characters of a name in a sentence
_NO_LABELS = ("nan", "none", "null", "n/a", "na")
_LIST_SIGNS = ",|[]{}"
_FEW = 3  # masks: of fewer, one small object left out proves nothing


@dataclass(frozen=True)
class DatasetFacts:
    """What was seen of a dataset.

    Attributes:
        facts: Sentences without a dot: what there is.
        warnings: Sentences without a dot: what may be wrong.
    """

    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contradictions:
    """Pictures whose mask says something else than their labels.

    Attributes:
        compared: Number of masks that were compared.
        rows: The contradicting pictures.
        empty: Those with labels whose mask holds no class at all.
        extra: Those whose mask holds a class that they aren't labelled with.
        missing: Those whose mask lacks a class that they are labelled with, but holds others.
    """

    compared: int
    rows: tuple[ImageRow, ...]
    empty: tuple[ImageRow, ...]
    extra: tuple[ImageRow, ...]
    missing: tuple[ImageRow, ...]


def contradictions(rows: Iterable[ImageRow], classes: Sequence[str]) -> Contradictions:
    """Compare the class values of every mask with the labels of its picture."""
    values = {name: value for value, name in enumerate(classes, start=1)}
    compared = 0
    found: list[ImageRow] = []
    empty: list[ImageRow] = []
    extra: list[ImageRow] = []
    missing: list[ImageRow] = []
    for row in rows:
        if row.problem or not row.mask_values:
            continue
        compared += 1
        labelled = {values[label] for label in row.labels}
        drawn = set(row.mask_values) - {0, IGNORED}
        if drawn == labelled:
            continue
        found.append(row)
        if not drawn:
            empty.append(row)
            continue
        if drawn - labelled:
            extra.append(row)
        if labelled - drawn:
            missing.append(row)
    return Contradictions(compared, tuple(found), tuple(empty), tuple(extra), tuple(missing))


def check_masks(rows: Sequence[ImageRow], classes: Sequence[str]) -> None:
    """Refuse masks that can't be right, however well each of them can be read.

    Raises:
        Ws3Error: If every mask contradicts its picture's labels, or there are several classes and
            the masks hold 0 and 255 only.
    """
    labelled = [row for row in rows if row.mask_values and row.labels and not row.problem]
    binary = [row for row in labelled if set(row.mask_values) <= {0, IGNORED}]
    if (
        len(classes) > 1
        and len(binary) == len(labelled)
        and any(IGNORED in row.mask_values for row in binary)
    ):
        raise Ws3Error(
            f"{labelled[0].mask}: like all masks here it holds 0 and 255 only, and 255 is ignored: "
            f"with {len(classes)} classes it can't be told which one is meant; write the classes' "
            f"values (1 is {shortened(classes[0], _NAME)!r}), or use no masks"
        )
    found = contradictions(rows, classes)
    wrong = len(found.rows) == found.compared and found.compared > 0
    if wrong and (found.compared >= _FEW or found.empty or found.extra):
        first = found.rows[0]
        raise Ws3Error(
            f"{first.mask}: like {_all_masks(found.compared)} it contradicts the labels: it holds "
            f"{_drawn(first, classes)}, and its picture is labelled {_labels(first)}; is the order "
            "of the classes the masks' own, and are they the masks of these pictures? Correct "
            "that, or use no masks"
        )


def dataset_facts(
    listing: Listing, rows: Sequence[ImageRow], opened: int | None = None
) -> DatasetFacts:
    """Return what a dataset holds, and what may be wrong with it.

    Args:
        listing: The dataset, with what its kind saw while listing it.
        rows: Its rows, completed as far as they were opened.
        opened: How many of them were opened; None means all.
    """
    classes = listing.classes
    good = [row for row in rows if not row.problem]
    splits = Counter(row.split for row in good)
    parts = ", ".join(f"{splits[split]} {split}" for split in ("train", "val") if splits[split])
    facts = [f"{_count(len(good), 'picture')}: {parts}" if good else "no picture"]
    if len(good) < len(rows):
        facts.append(f"{_count(len(rows) - len(good), 'picture')} skipped, as a file is bad")
    shows = Counter(label for row in good for label in row.labels)
    counted = [f"{shortened(name, _NAME)} {shows[name]}" for name in classes]
    facts.append(
        f"{_count(len(classes), 'class', 'classes')}, with the pictures that show them: "
        f"{_cut(counted)}"
    )
    negatives = sum(not row.labels for row in good)
    if negatives:
        facts.append(
            f"{_count(negatives, 'picture')} without labels, which show none of the classes"
        )
    masks = sum(bool(row.mask) for row in good)
    facts.append(
        f"{_count(masks, 'mask')} of ground truth found, none for {len(good) - masks} pictures"
        if masks and masks < len(good)
        else f"{_count(masks, 'mask')} of ground truth found"
        if masks
        else "no mask of ground truth"
    )
    warnings = [*listing.warnings, *_label_warnings(classes, shows, negatives)]
    found = contradictions(rows, classes)
    if found.compared:
        facts.append(_agreement(found, opened is not None))
        warnings += _contradiction_warnings(found, classes)
    return DatasetFacts((*facts, *listing.facts), tuple(warnings))


def _label_warnings(classes: Sequence[str], shows: Counter[str], negatives: int) -> list[str]:
    warnings = []
    unseen = [name for name in classes if not shows[name]]
    if unseen:
        verb = "is a class" if len(unseen) == 1 else "are classes"
        warnings.append(f"{_cut(map(_quoted, unseen))} {verb} that no picture shows")
    lists = [name for name in classes if any(sign in name for sign in _LIST_SIGNS)]
    if lists:
        verb = "looks like a list" if len(lists) == 1 else "look like lists"
        warnings.append(
            f"{_cut(map(_quoted, lists))} {verb} and not like a class; labels are joined by ';'"
        )
    folded: dict[str, list[str]] = {}
    for name in classes:
        folded.setdefault(name.casefold(), []).append(name)
    warnings += [
        f"{' and '.join(map(_quoted, names[:SHOWN]))} differ only in capitals, and are "
        f"{len(names)} classes"
        for names in folded.values()
        if len(names) > 1
    ]
    nothing = [name for name in classes if name.lower() in _NO_LABELS]
    if nothing:
        warnings.append(
            f"{_cut(map(_quoted, nothing))} counts as a class; if it means that there is no label, "
            "leave the cell empty"
        )
    if len(classes) == 1 and not negatives:
        warnings.append(
            "there is one class and every picture shows it, so the classifier learns nothing; add "
            "pictures that don't show it, with an empty cell as labels"
        )
    return warnings


def _agreement(found: Contradictions, sampled: bool) -> str:
    agree = found.compared - len(found.rows)
    where = " that were opened" if sampled else ""
    return f"{agree} of {_count(found.compared, 'mask')}{where} hold just the classes of the labels"


def _contradiction_warnings(found: Contradictions, classes: Sequence[str]) -> list[str]:
    warnings = []
    for rows, what in (
        (found.empty, "no class at all, though their pictures have labels"),
        (found.extra, "a class that their pictures aren't labelled with"),
        (found.missing, "not every class that their pictures are labelled with"),
    ):
        if rows:
            first = rows[0]
            warnings.append(
                f"{len(rows)} of {_count(found.compared, 'mask')} hold {what}, such as that of "
                f"{shortened(first.title)}: it holds {_drawn(first, classes)}, the labels are "
                f"{_labels(first)}"
            )
    return warnings


def _all_masks(count: int) -> str:
    return "the only mask" if count == 1 else f"all {count} masks"


def _drawn(row: ImageRow, classes: Sequence[str]) -> str:
    named = [
        f"{value} ({shortened(classes[value - 1], _NAME)})"
        for value in row.mask_values
        if 0 < value <= len(classes)
    ]
    return _cut(named) if named else "no class"


def _labels(row: ImageRow) -> str:
    return _cut(shortened(label, _NAME) for label in row.labels) if row.labels else "with none"


def _quoted(name: str) -> str:
    return repr(shortened(name, _NAME))


def _cut(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
