"""The dense CRF's numbers, chosen on training images: by ground truth, or by segments.

Numbers are drawn at random (`ws3.masks.crf_search`), and each gives masks that are compared with
those of the numbers in force, on a sample of the training images: by their mIoU, or, without ground
truth, by how much their outlines follow the image's segments (`ws3.masks.regions.agreement`). The
best of many is better than it will be elsewhere, on the very images that chose it. So how much is
gained is measured on others: the sample is divided into `FOLDS`, and the masks of each fold are
those of the numbers that the other folds choose.

What was measured stands in `journal/tune_crf.jsonl`, a line per image and group of trials, with a
fingerprint of all that it was made from. What is there is not computed again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ws3.config.masks import CrfParameters
from ws3.config.regions import FelzenszwalbRegions
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import write_csv
from ws3.jobs.progress import ProgressReport
from ws3.masks.crf import parameters
from ws3.masks.crf_search import Group, chosen, drawn_groups, refined_labels
from ws3.masks.pseudo import Voters, cut_refined, pseudo_mask, scores_before_crf
from ws3.masks.regions import Segments, agreement, image_segments
from ws3.metrics.bootstrap import RESAMPLES, Interval, interval, resampled
from ws3.metrics.confusion import Confusion
from ws3.metrics.image_counts import ImageCounts, figure_of
from ws3.metrics.paired import difference
from ws3.run import journal
from ws3.run.fingerprints import fingerprint
from ws3.run.folder import Run
from ws3.run.results import RecipeResults
from ws3.run.samples import load_image, load_truth
from ws3.run.skips import skip_reason
from ws3.stage_table import STAGES, stages_before

JOURNAL = "tune_crf"
FOLDS = 5
"""Parts of the sample, each of which is measured with numbers that the others chose."""
VERSION = 1
"""Raised when the same numbers come to give other counts."""
_NUMBERS = tuple(CrfParameters.model_fields)

SEGMENTS = FelzenszwalbRegions(kind="felzenszwalb", scale=100, sigma=0.8, min_size=50)
"""The segments that masks are compared with."""

By = Literal["truth", "segments"]
"""What chooses: mIoU, or the agreement with segments."""

Counts = npt.NDArray[np.int64]
"""Of an image int64 (candidates, 3, classes + 1): true and false positives, false negatives."""

Values = npt.NDArray[Any]
"""Of an image: its counts; or, by segments, its agreements, float64 (candidates,)."""


@dataclass(frozen=True)
class Gain:
    """How far numbers are above those in force, on images that did not choose them.

    Attributes:
        mean: Difference of the mIoU, or of the mean agreement.
        ends: Its 95 % interval, by bootstrap over the images; None if it is undefined.
        p: How often a difference as large comes about by chance; None where that isn't tested.
    """

    mean: float
    ends: Interval | None
    p: float | None = None


@dataclass(frozen=True)
class TunedCrf:
    """What was found.

    Attributes:
        recipe: Whose maps.
        by: What chose.
        images: Ids of the images that chose, in the index's order.
        candidates: How many numbers were tried, those in force not counted.
        present: The numbers in force; None: no CRF.
        present_value: mIoU of their masks in [0, 1], or mean agreement.
        best: The numbers of the highest value; those in force if none is better.
        best_value: That value, on the images that chose them.
        gain: What such a choice gains on other images; None if it is undefined.
        table: Where all candidates stand.
    """

    recipe: str
    by: By
    images: tuple[str, ...]
    candidates: int
    present: CrfParameters | None
    present_value: float
    best: CrfParameters | None
    best_value: float
    gain: Gain | None
    table: Path


def tune_crf(
    run: Run,
    recipe: str,
    *,
    by: By = "truth",
    images: int = 40,
    trials: int = 60,
    seed: int = 0,
    workers: int = 1,
) -> TunedCrf:
    """Choose the CRF's numbers for a recipe's maps.

    The result depends on `by`, `images`, `trials` and `seed`, and neither on `workers` nor on how
    often the search was interrupted. Pixels that `masks.ignore_below` would ignore are counted, as
    it is no business of the CRF's.

    Args:
        run: The run; its maps and threshold are there.
        recipe: Whose maps.
        by: What chooses: `truth`, or `segments`, which need no ground truth.
        images: At most so many training images with labels, evenly spaced; by `truth`, with ground
            truth too.
        trials: How many numbers are drawn; each is looked at after several numbers of iterations.
        seed: Where the random numbers start.
        workers: How many processes compute.

    Raises:
        StaleResultError: If maps or the threshold are missing or made from other inputs.
        Ws3Error: If ground truth would choose and the run reports on the training images, there is
            no CRF to tune, or too little to choose by.
    """
    _check(run, recipe, by)
    rows = _rows(run, recipe, by, images)
    work = _Work(run, recipe, by)
    groups = drawn_groups(trials, seed, work.present or CrfParameters())
    found = _measured(work, rows, groups, workers)
    # Of each image what is in force first, then all candidates in their order.
    names = tuple(row.image for row in rows)
    values = np.stack(
        [np.concatenate([found[name, place] for place in range(-1, len(groups))]) for name in names]
    )
    candidates = [one for group in groups for one in group.candidates]
    figures = _figures(values)
    if np.isnan(figures[0]):
        raise Ws3Error(
            f"{run.folder}: the ground truth of the {len(rows)} training images holds no object to "
            "choose by; check the masks"
        )
    best = chosen(figures.tolist())
    table = run.folder / "tuning" / f"crf-{recipe}.{by}.csv"
    _write_table(table, "miou" if by == "truth" else "agreement", candidates, figures)
    return TunedCrf(
        recipe=recipe,
        by=by,
        images=names,
        candidates=len(candidates),
        present=work.present,
        present_value=float(figures[0]),
        best=work.present if best == 0 else candidates[best - 1],
        best_value=float(figures[best]),
        gain=gain_elsewhere(names, values, seed),
        table=table,
    )


def _check(run: Run, recipe: str, by: By) -> None:
    imported = run.recipe(recipe).imported
    if imported is not None and imported.as_they_are:
        raise Ws3Error(f"{recipe}: its masks are taken as they are; there is no CRF to tune")
    regions = run.config.masks.regions
    if regions is not None and regions.place == "instead":
        raise Ws3Error(
            "masks.regions.place: regions stand instead of the CRF, so that there is none to tune"
        )
    if by == "truth" and "train" in run.config.evaluation.splits:
        raise Ws3Error(
            f"{run.folder}: evaluation.splits reports on the train split, and numbers that its "
            "ground truth chose would flatter that report; take train out of evaluation.splits, or "
            "tune in another run"
        )


def _rows(run: Run, recipe: str, by: By, images: int) -> list[ImageRow]:
    """Return the images that choose, evenly spaced among all that could."""
    rows = [
        row
        for row in run.mapped_rows(["train"])
        if row.labels
        and (row.mask or by == "segments")
        and not skip_reason(run, recipe, row, stages_before("masks"))
    ]
    if len(rows) < 2 and by == "segments":
        raise Ws3Error(
            f"{run.folder}: {len(rows)} training images have labels and maps, and it takes two to "
            "choose the CRF's numbers"
        )
    if len(rows) < 2:
        raise Ws3Error(
            f"{run.folder}: {len(rows)} training images have labels, maps and ground truth, and it "
            "takes two to choose the CRF's numbers; give dataset.masks, or choose --by segments"
        )
    count = min(images, len(rows))
    return [rows[number * len(rows) // count] for number in range(count)]


class _Work:
    """What it takes to measure an image."""

    def __init__(self, run: Run, recipe: str, by: By) -> None:
        self.run, self.recipe, self.by = run, recipe, by
        self.present = parameters(run.config.masks.crf)
        self._results = RecipeResults(run, recipe)
        self._background = run.threshold(recipe).for_masks
        self._regions = run.config.masks.regions
        # Groups come image by image, so that the last one read is usually the next one.
        self._last: _Loaded | None = None

    def made_from(self, row: ImageRow, group: Group | None) -> str:
        """Return what the counts of an image depend on; None stands for no CRF."""
        regions = self._regions
        voting = None if regions is None else [regions.vote, regions.place]
        of = self._results.fingerprints.of
        return fingerprint(
            version=VERSION,
            masks=STAGES["masks"].version,
            maps=of("maps", row),
            background=self._background.model_dump(),
            regions=None if regions is None else [voting, of("regions", row)],
            image=row.sha256,
            truth=row.mask_sha256 if self.by == "truth" else None,
            segments=SEGMENTS.segments() if self.by == "segments" else None,
            classes=self.run.class_values(row),
            candidates=None if group is None else [one.model_dump() for one in group.candidates],
        )

    def values(self, row: ImageRow, group: Group | None) -> Values:
        """Return what an image's masks are worth, for each candidate of a group."""
        if self._last is None or self._last.row != row:
            self._last = self._load(row)
        read, classes = self._last, len(self.run.index.classes)
        values = self.run.class_values(row)
        masks: Iterator[npt.NDArray[np.uint8]]
        if group is None:
            mask = pseudo_mask(
                read.image, read.maps, values, self._background, None, regions=read.voters
            )
            masks = iter([mask])
        else:
            scores = scores_before_crf(read.image, read.maps, self._background, regions=read.voters)
            of_label = np.array([0, *values], np.uint8)
            found = refined_labels(read.image, scores, group, read.cut)
            masks = (of_label[labels] for labels in found)
        if read.segments is not None:
            segments = read.segments
            return np.array([agreement(mask, segments) for mask in masks])
        return np.stack([_pixel_counts(read.truth, mask, classes) for mask in masks])

    def _load(self, row: ImageRow) -> _Loaded:
        regions, voters = self._regions, None
        if regions is not None:
            voters = Voters(self._results.segments(row), regions.vote, regions.place)
        image, maps = load_image(row), self._results.maps(row)
        if self.by == "truth":
            return _Loaded(row, image, maps, voters, load_truth(self.run, row))
        nothing = np.zeros(image.shape[:2], np.uint8)
        return _Loaded(row, image, maps, voters, nothing, image_segments(image, SEGMENTS))


@dataclass(frozen=True)
class _Loaded:
    """What is read of an image."""

    row: ImageRow
    image: npt.NDArray[np.uint8]
    maps: npt.NDArray[np.float32]
    voters: Voters | None
    truth: npt.NDArray[np.uint8]
    segments: Segments | None = None

    def cut(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Return the labels of a CRF's probabilities."""
        return cut_refined(probabilities, self.voters)[0]


def _pixel_counts(
    truth: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], classes: int
) -> Counts:
    confusion = Confusion(classes)
    confusion.update(truth, mask)
    hits = confusion.matrix.diagonal()
    return np.stack(
        [hits, confusion.matrix.sum(axis=0) - hits, confusion.matrix.sum(axis=1) - hits]
    )


def _measured(
    work: _Work, rows: Sequence[ImageRow], groups: Sequence[Group], workers: int
) -> dict[tuple[str, int], Values]:
    """Return the counts of each image and group; group -1 is what is in force."""
    present = None if work.present is None else Group.of(work.present)
    classes = len(work.run.index.classes)
    known = _journalled(work, classes)
    found: dict[tuple[str, int], Values] = {}
    todo: list[_Task] = []
    for row in rows:
        for place, group in [(-1, present), *enumerate(groups)]:
            made_from = work.made_from(row, group)
            counts = known.get((row.image, made_from))
            if counts is not None:
                found[row.image, place] = counts
            else:
                todo.append(_Task(row, place, group, made_from))
    with ProgressReport(f"tune-crf {work.recipe}", len(found) + len(todo), "groups") as progress:
        progress.advance(len(found))
        for task, counts in _computed(work, todo, workers):
            line = {
                "recipe": work.recipe,
                "image": task.row.image,
                "made_from": task.made_from,
                **_said(counts),
            }
            journal.append(work.run, JOURNAL, {**line, "digest": fingerprint(**line)})
            found[task.row.image, task.place] = counts
            progress.advance()
    return found


@dataclass(frozen=True)
class _Task:
    row: ImageRow
    place: int
    group: Group | None
    made_from: str


def _computed(work: _Work, todo: Sequence[_Task], workers: int) -> Iterator[tuple[_Task, Values]]:
    if workers == 1 or len(todo) < 2:
        for task in todo:
            yield task, work.values(task.row, task.group)
        return
    spawned = multiprocessing.get_context("spawn")
    place = (str(work.run.folder), work.recipe, work.by)
    with ProcessPoolExecutor(workers, spawned, _begin_worker, place) as pool:
        left = iter(todo)
        flying = {
            pool.submit(_in_worker, task.row, task.group): task
            for task in islice(left, 2 * workers)
        }
        try:
            while flying:
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    task = flying.pop(future)
                    try:
                        counts = future.result()
                    except BrokenProcessPool:
                        raise Ws3Error(
                            "a process of tune-crf was killed, for memory perhaps; run the same "
                            "command with fewer --workers, and it goes on from here"
                        ) from None
                    yield task, counts
                    following = next(left, None)
                    if following is not None:
                        next_one = pool.submit(_in_worker, following.row, following.group)
                        flying[next_one] = following
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_worker: list[_Work] = []


def _begin_worker(folder: str, recipe: str, by: By) -> None:
    """Open the run in a process of its own, which ends when the command that began it is gone."""
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    _worker.append(_Work(Run.open(Path(folder)), recipe, by))


def _in_worker(row: ImageRow, group: Group | None) -> Values:
    return _worker[0].values(row, group)


def _said(values: Values) -> dict[str, Any]:
    """Return what the journal says of values: of counts, those that are not 0."""
    if values.ndim == 1:
        return {"agreements": values.tolist()}
    there = np.argwhere(values.any(axis=1)).tolist()
    cells = [[place, value, *values[place, :, value].tolist()] for place, value in there]
    return {"counts": cells, "candidates": len(values)}


def _journalled(work: _Work, classes: int) -> dict[tuple[str, str], Values]:
    """Return what the journal says of a recipe's images; damaged lines are left out."""
    found: dict[tuple[str, str], Values] = {}
    for line in journal.lines(work.run, JOURNAL):
        try:
            said = json.loads(line)
            if said["recipe"] != work.recipe or said.pop("digest") != fingerprint(**said):
                continue
            place = str(said["image"]), str(said["made_from"])
            if "agreements" in said:
                found[place] = np.array(said["agreements"], np.float64)
                continue
            counts = np.zeros((int(said["candidates"]), 3, classes + 1), np.int64)
            for candidate, value, *numbers in said["counts"]:
                counts[candidate, :, value] = numbers
            found[place] = counts
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            continue
    return found


def _figures(values: Values) -> npt.NDArray[np.float64]:
    """Return the figure of each candidate over some images, (images, candidates, ...)."""
    if values.ndim == 2:
        return np.asarray(values.mean(axis=0), np.float64)
    return np.asarray(figure_of("miou", values.sum(axis=0)), np.float64)


def gain_elsewhere(names: Sequence[str], values: Values, seed: int) -> Gain | None:
    """Return what numbers gain on images that did not choose them.

    The images are divided into `FOLDS` at random; each fold gets the candidate of the highest
    figure on all other folds. The masks of all folds together are compared with those of the
    numbers in force.

    Args:
        names: The images, at least two.
        values: int64 (images, candidates, 3, classes + 1): true and false positives and false
            negatives; or agreements, float64 (images, candidates). The first candidate is what is
            in force.
        seed: Where the random numbers of folds and interval start.

    Returns:
        None if the figure is undefined.

    Example:
        >>> counts = np.zeros((2, 2, 3, 2), np.int64)
        >>> counts[:, 0, :2], counts[:, 1, :2] = 1, [[2], [0]]  # all candidates as good as right
        >>> gain_elsewhere(["a", "b"], counts, seed=0).mean
        0.5
    """
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    folds, elsewhere = min(FOLDS, len(names)), np.empty_like(values[:, 0])
    for fold in range(folds):
        own = order[fold::folds]
        figures = _figures(values[np.setdiff1d(order, own)])
        best = 0 if np.isnan(figures).all() else chosen(figures.tolist())
        elsewhere[own] = values[own, best]
    if values.ndim == 2:
        apart = elsewhere - values[:, 0]
        drawn = np.random.default_rng([seed, len(names), 1]).integers(
            0, len(names), (RESAMPLES, len(names))
        )
        return Gain(float(apart.mean()), interval(apart[drawn].mean(axis=1)))
    tables = [_image_counts(names, one) for one in (elsewhere, values[:, 0])]
    both = (resampled([tables[0]], seed)["miou"], resampled([tables[1]], seed)["miou"])
    found = difference([(tables[0], tables[1])], "miou", both, seed)
    return None if found is None else Gain(found.mean, found.ends, found.p)


def _image_counts(names: Sequence[str], counts: Counts) -> ImageCounts:
    """Return the counts of images, int64 (images, 3, classes + 1): the first of `COUNTS` alone."""
    cells = [(*place, counts[tuple(place)]) for place in np.argwhere(counts)]
    table = np.array(cells, np.int64).reshape(-1, 4)
    return ImageCounts.of_cells(names, table, counts.shape[-1] - 1)


def _write_table(
    path: Path, name: str, candidates: Sequence[CrfParameters], figures: npt.NDArray[np.float64]
) -> None:
    """Write all candidates, the best first; the numbers in force have none."""
    lines = [{"numbers": "in force", name: figures[0]}]
    lines += [
        {"numbers": number, name: figure, **one.model_dump()}
        for number, (one, figure) in enumerate(zip(candidates, figures[1:], strict=True))
    ]
    lines.sort(key=lambda line: -float(line[name]))
    write_csv(path, ["numbers", name, *_NUMBERS], lines)
