"""What is damaged in a run or a store, and its repair.

A repair touches only what a receipt, the index or the configuration names, and nothing behind a
symbolic link; `foreign_entries` lists what else lies among the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.files import file_sha256
from ws3.masks.png import read_mask, read_text
from ws3.removal import is_there, link_below, remove_file, temporary_for
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.image_counts import image_counts_fault
from ws3.run.records import (
    RECORDS,
    ClassifierFacts,
    Evaluation,
    SegmentationFacts,
    read_record,
    write_record,
)
from ws3.run.results import FINGERPRINT, confidence_fingerprint, is_foreign_mask
from ws3.run.samples import expected_chunks, sample_plan
from ws3.run.status import receipts_of
from ws3.run.training_inputs import classifier_fingerprint, segmentation_fingerprint
from ws3.stage_table import STAGES
from ws3.store import verify as stores
from ws3.store.groups import METADATA, OtherFormatError, Store, entry_names
from ws3.store.saliency import SaliencyStore
from ws3.store.verify import Damage, Remedy, remove


def check_store(path: Path, *, repair: bool) -> tuple[int, list[Damage]]:
    """Check one store; return how many images it holds, and all damage.

    In a run's folder, results that a receipt lists and the store doesn't hold count as damaged
    too. With `repair`, what is damaged is removed, and so are the receipts that list it.

    Raises:
        Ws3Error: If there is no store of ours at this path.
    """
    found = _results_at(path)
    if found is not None:
        return _check(found, repair=repair)
    if repair and path.is_symlink():
        raise Ws3Error(
            f"{path}: this is a symbolic link; repair the store itself: {path.resolve()}"
        )
    read = list(stores.verify(path))
    damages = [damage for _, some in read for damage in some]
    if repair:
        remove(damages)
    return len(read), damages


def check_run(
    run: Run, *, repair: bool, reach: Callable[[int, int], None] = lambda done, total: None
) -> tuple[int, list[Damage]]:
    """Check every network, store and mask of a run; see `check_store`.

    Args:
        run: The run.
        repair: Whether to remove what is damaged.
        reach: Is told how many results are read, and how many there may be.
    """
    # The first: what else is read says what there should be.
    checked, damages = 0, list(_check_records(run, repair=repair))
    there = list(_all_results(run))
    total = sum(len(results.listed) for results in there)
    for results in there:
        count, found = _check(
            results, repair=repair, read_one=partial(_reach_from, reach, checked, total)
        )
        checked += count
        damages += found
    # The last, as a repair takes away what says which sample chunks there should be.
    count, found = _check_models(run, repair=repair)
    return checked + count, damages + found


def _reach_from(reach: Callable[[int, int], None], before: int, total: int, number: int) -> None:
    """Tell how many results are read: those before, and `number` of the ones at hand."""
    reach(before + number, max(total, before + number))


def foreign_entries(path: Path) -> list[Path]:
    """Return what lies among the results of a run, or in a store, and is not of ws3.

    Raises:
        Ws3Error: If there is neither a run nor a store of ours.
    """
    if not (path / "config.yaml").exists():
        found = _results_at(path)
        return list(stores.foreign_entries(path) if found is None else found.foreign())
    foreign, known = list[Path](), dict[Path, set[str]]()
    for results in _all_results(Run.open(path)):
        known.setdefault(results.path.parent, set()).add(results.path.name)
        foreign += results.foreign()
    for folder, names in known.items():
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if entry.name not in names and temporary_for(entry.name) is None:
                foreign.append(entry)
    return sorted(foreign)


@dataclass(frozen=True)
class _Results:
    """All results of one stage and recipe, and what a receipt and the run say of each.

    With `beside`, it is the confidence that goes with the masks of a recipe, and that the same
    receipts list.
    """

    run: Run
    stage: str
    recipe: str
    beside: bool = False

    @property
    def path(self) -> Path:
        if self.beside:
            return self.run.confidence_file(self.recipe, "any").parent
        return self.run.results(self.stage, self.recipe)

    def file(self, image: str) -> Path:
        """Return an image's result."""
        if self.beside:
            return self.run.confidence_file(self.recipe, image)
        return self.run.result(self.stage, self.recipe, image)

    @property
    def is_store(self) -> bool:
        return STAGES[self.stage].is_store

    @cached_property
    def rows(self) -> Mapping[str, ImageRow]:
        try:
            return {row.image: row for row in self.run.index.rows}
        except Ws3Error:
            return {}

    @cached_property
    def listed(self) -> Mapping[str, str]:
        """Fingerprint of each image's result, by the receipts."""
        receipts = receipts_of(self.run, self.stage, self.recipe)
        listed = {image: made for receipt in receipts for image, made in receipt.images.items()}
        return self._of_results(listed)

    @cached_property
    def expected(self) -> Mapping[str, str]:
        """Fingerprint of each listed image's result, by the configuration, if that is known."""
        if self.recipe not in STAGES[self.stage].recipes(self.run.config):
            return {}
        rows = [self.rows[image] for image in self.listed if image in self.rows]
        try:
            return self._of_results(Fingerprints(self.run, self.recipe).expected(self.stage, rows))
        except Ws3Error:
            return {}

    def _of_results(self, made: dict[str, str]) -> dict[str, str]:
        """Return the fingerprints that results bear, by those of the stage."""
        if not self.beside:
            return made
        return {image: confidence_fingerprint(self.run, one) for image, one in made.items()}

    @property
    def known(self) -> set[str]:
        """Images that may have a result here."""
        return self.listed.keys() | self.rows.keys()

    def foreign(self) -> Iterator[Path]:
        """Yield what lies among the results and is not of ws3."""
        if self.is_store:
            try:
                Store(self.path).check_is(self.attributes)
            except Ws3Error:
                return
            yield from stores.foreign_entries(self.path, self.known)
            return
        for path in sorted(self.path.iterdir()) if self.path.is_dir() else ():
            is_known = path.suffix == ".png" and path.stem in self.known
            unlisted = path.stem not in self.listed and is_foreign_mask(path)
            if temporary_for(path.name) is None and (unlisted or not is_known):
                yield path

    @property
    def attributes(self) -> dict[str, str]:
        """What the store's own metadata say."""
        return {"kind": self.stage, "recipe": self.recipe}


def _results_at(path: Path) -> _Results | None:
    """Return the results that a store's path stands for, if a run's folder holds it."""
    place = path.absolute()
    folder, stage = place.parent.parent, place.parent.name
    if stage not in STAGES or not (folder / "config.yaml").exists():
        return None
    of_stage = (found for found in _all_results(Run.open(folder)) if found.stage == stage)
    return next((found for found in of_stage if found.path.name == place.name), None)


def _all_results(run: Run) -> Iterator[_Results]:
    """Yield the results that the configuration or receipts name, configured still or not."""
    for stage, spec in STAGES.items():
        with_receipts = {
            path.name for path in run.receipt(stage, "any").parent.glob("*") if path.is_dir()
        }
        for recipe in sorted(with_receipts | set(spec.recipes(run.config))):
            yield _Results(run, stage, recipe)
            if stage == "masks" and run.config.keeps_confidence(recipe):
                yield _Results(run, stage, recipe, beside=True)


def _check(
    results: _Results, *, repair: bool, read_one: Callable[[int], None] = lambda number: None
) -> tuple[int, list[Damage]]:
    """Check all results of a stage and recipe; `read_one` is told the number of each, from 1."""
    root = _check_root(results, repair=repair) if results.is_store else []
    if any(damage.remedy == "look" for damage in root):
        return 0, root
    read = _read_store(results) if results.is_store else _read_masks(results)
    found = dict[str, list[Damage]]()
    for number, (image, some) in enumerate(read if repair or not root else (), start=1):
        found[image] = some
        read_one(number)
    damages = [damage for some in found.values() for damage in some]
    damages += _missing(results)
    link = link_below(results.run.folder, results.path)
    if link is not None:
        # Whatever it leads to is not to be removed; the stage may replace a result of its own.
        behind: Remedy = "make again"
        damages = [replace(damage, remedy=behind) for damage in damages]
    if repair:
        remove(damages)
        _retract(results, {damage.image for damage in damages})
    return len(found), root + damages


def _check_root(results: _Results, *, repair: bool) -> list[Damage]:
    """Check a store's own metadata, which holds nothing that can't be written again."""
    store = Store(results.path)
    if not is_there(store.path):
        return []
    try:
        store.check_is(results.attributes)
    except StaleResultError as error:
        reason, metadata = str(error), store.path / METADATA
    except OtherFormatError:
        raise
    except Ws3Error as error:
        return [Damage("store", store.path, str(error), "look")]
    else:
        return []
    link = link_below(results.run.folder, store.path)
    if link is not None:
        reason += f" {link} is a symbolic link; mend or remove it."
        return [Damage("store", store.path, reason, "look")]
    others = store.others(results.known)
    if others or not store.path.is_dir():
        reason += " What is there is not of ws3; move it away."
        return [Damage("store", store.path, reason, "look")]
    if repair:
        remove_file(metadata)
        store.create(results.attributes, results.known)
    return [Damage("store", metadata, reason)]


def _read_store(results: _Results) -> Iterator[tuple[str, list[Damage]]]:
    """Read a store's groups, and yield each image with what is wrong with it."""
    if not is_there(results.path):
        return
    store = stores.open_store(results.path)
    for image in entry_names(results.path):
        attributes = store.attributes(image)
        if image not in results.known and attributes is None:
            continue  # not of ws3
        damages = list(stores.damages_of(store, image))
        if not damages and attributes is not None:
            path = results.path / image
            damages = list(_stale(results, image, path, attributes.get("fingerprint")))
        yield image, damages


def _read_masks(results: _Results) -> Iterator[tuple[str, list[Damage]]]:
    """Read a folder's masks, and yield each image with what is wrong with it."""
    for image in sorted(results.known):
        path = results.file(image)
        if not is_there(path):
            continue
        if is_foreign_mask(path):
            if image in results.listed:
                reason = f"{path}: what is there is not of ws3 (it bears no fingerprint)"
                yield image, [Damage(image, path, reason, "set aside")]
            continue
        try:
            read_mask(path)
            made = read_text(path).get(FINGERPRINT)
        except Ws3Error as error:
            yield image, [Damage(image, path, str(error), "remove file")]
        else:
            yield image, list(_stale(results, image, path, made))


def _stale(results: _Results, image: str, path: Path, made: str | None) -> Iterator[Damage]:
    """Yield an intact result that is not made from what it should be, or its receipt isn't."""
    if image in results.listed:
        listed = results.listed[image]
        expected = results.expected.get(image, listed)
        if made != expected:
            reason = f"{path}: it was made from other inputs than the run now has"
            yield Damage(image, path, reason, "make again")
        elif listed != expected:
            reason = f"{path}: its receipt is of other inputs than the run now has"
            yield Damage(image, path, reason, "make again")


def _check_records(run: Run, *, repair: bool) -> Iterator[Damage]:
    """Yield the receipts and other records that hold something else than ws3 writes there."""
    for pattern, kind in RECORDS.items():
        for path in sorted(run.folder.glob(pattern)):
            try:
                read_record(path, kind)
            except Ws3Error as error:
                remedy: Remedy = "remove file"
                if link_below(run.folder, path.parent) is not None:
                    remedy = "look"
                elif path.is_dir() and not path.is_symlink():
                    remedy = "set aside"
                damage = Damage("record", path, str(error), remedy)
                yield damage
                if repair:
                    remove([damage])
    yield from _check_image_counts(run, repair=repair)


def _check_image_counts(run: Run, *, repair: bool) -> Iterator[Damage]:
    """Yield the tables of images' counts that are not those that their evaluations wrote."""
    for path in sorted(run.folder.glob("evaluation/*.json")):
        try:
            evaluation = read_record(path, Evaluation)
        except Ws3Error:
            continue  # named among the records
        if evaluation.recipe != path.stem:
            continue  # nothing is removed for the sake of a name that somebody changed
        table = run.image_counts_file(evaluation.recipe)
        if evaluation.image_counts and (fault := image_counts_fault(run, evaluation)):
            remedy: Remedy = "remove file"
            if link_below(run.folder, table.parent) is not None:
                remedy = "look"
            elif table.is_dir() and not table.is_symlink():
                remedy = "set aside"
            damage = Damage("record", table, fault, remedy)
            yield damage
            if repair and is_there(table):
                remove([damage])


def _check_models(run: Run, *, repair: bool) -> tuple[int, list[Damage]]:
    receipts = sorted(run.receipt("train_segmentation", "any").parent.glob("*.json"))
    models: list[tuple[Path, Path, type[ClassifierFacts] | type[SegmentationFacts]]] = [
        (run.classifier_file, run.receipt("train_classifier"), ClassifierFacts)
    ]
    models += [(run.model_file(receipt.stem), receipt, SegmentationFacts) for receipt in receipts]
    made = [model for model in models if model[1].exists()]
    damages = []
    for path, receipt, kind in made:
        try:
            facts = read_record(receipt, kind)
        except Ws3Error:
            continue  # named among the records
        is_file = path.is_file() or not path.is_dir()
        if not is_file or file_sha256(path) != facts.sha256:
            reason = f"{path}: it is missing or not the file that was made"
            remedy: Remedy = "remove file" if is_file else "set aside"
            if link_below(run.folder, path.parent) is not None:
                remedy = "make again"
            damages.append(Damage("network", path, reason, remedy))
        elif facts.fingerprint not in ("", _model_fingerprint(run, facts)):
            reason = f"{path}: it was made from other inputs than the run now has"
            damages.append(Damage("network", path, reason, "make again"))
        else:
            described = path.with_suffix(".json")
            if repair and not is_there(described):
                write_record(described, facts)  # else another training would make the same network
            continue
        if repair:
            remove(damages[-1:])
            remove_file(receipt)
    return len(made), damages


def _model_fingerprint(run: Run, facts: ClassifierFacts | SegmentationFacts) -> str:
    """Return what a network would be made from now, or what it was if that can't be said."""
    try:
        if isinstance(facts, ClassifierFacts):
            return classifier_fingerprint(run)
        if facts.recipe in run.config.segmentation_names:
            return segmentation_fingerprint(run, facts.recipe)
    except Ws3Error:
        pass
    return facts.fingerprint


def _missing(results: _Results) -> Iterator[Damage]:
    """Yield what a receipt lists and is not there."""
    run, stage, recipe = results.run, results.stage, results.recipe
    for image in sorted(results.listed):
        path = results.file(image)
        if not is_there(path):
            yield Damage(image, path, f"{path}: it is missing")
    if stage == "saliency" and recipe in run.config.recipes and _is_decided(run, recipe):
        for image, row in results.rows.items():
            if image in results.listed:
                yield from _missing_chunks(run, recipe, row)


def _is_decided(run: Run, recipe: str) -> bool:
    """Return whether there is a classifier, and the arithmetic that it is asked with is known."""
    try:
        return bool(run.classifier and run.precision(recipe))
    except Ws3Error:
        return False


def _missing_chunks(run: Run, recipe: str, row: ImageRow) -> Iterator[Damage]:
    store = SaliencyStore(run.results("saliency", recipe))
    if store.fault(row.image, Fingerprints(run, recipe).of("saliency", row)):
        return  # missing as a whole, or made for another configuration
    settings, plan, samples = run.recipe(recipe), sample_plan(run, recipe, row), None
    if settings.stopping is not None and row.labels:
        samples = store.settled(row.image, settings.stopping)
        if samples is None:
            path = store.path / row.image
            reason = f"{path}: it isn't decided how many samples it needs"
            yield Damage(row.image, path, reason, "make again")
            return
    for name in expected_chunks(row, plan, settings.samples.per_chunk, samples):
        path = store.path / row.image / name
        if not is_there(path):
            yield Damage(row.image, path, f"{path}: it is missing")


def _retract(results: _Results, images: set[str]) -> None:
    """Remove the receipts that list some images, so that Snakemake runs their batches."""
    for receipt in receipts_of(results.run, results.stage, results.recipe):
        if images & receipt.images.keys():
            remove_file(results.run.receipt(results.stage, results.recipe, receipt.batch))
