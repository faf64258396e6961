"""What is damaged in a run or a store, and its repair."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError
from ws3.files import file_sha256
from ws3.masks.png import read_mask
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.records import ClassifierFacts, SegmentationFacts
from ws3.run.samples import expected_chunks, sample_plan
from ws3.run.status import receipts_of
from ws3.stage_table import STAGES
from ws3.store.groups import Store
from ws3.store.saliency import SaliencyStore
from ws3.store.verify import Damage, remove, unreadable, verify

_STORES = tuple(name for name, spec in STAGES.items() if spec.is_store)


def check_store(path: Path, *, repair: bool) -> tuple[int, list[Damage]]:
    """Check one store; return how many images it holds, and all damage.

    In a run's folder, results that a receipt lists and the store doesn't hold count as damaged
    too. With `repair`, what is damaged is removed, and so are the receipts that list it.

    Raises:
        Ws3Error: If there is no store of ours at this path.
    """
    place = path.absolute()
    folder = place.parent.parent
    stage = next((stage for stage in _STORES if stage == place.parent.name), None)
    if stage is None or not (folder / "config.yaml").exists():
        checked, damages = _read_through(path)
        if repair:
            remove(damages)
        return checked, damages
    return _check(Run.open(folder), stage, path.stem, repair=repair)


def check_run(run: Run, *, repair: bool) -> tuple[int, list[Damage]]:
    """Check every network, store and mask of a run; see `check_store`."""
    parts = [
        _check(run, stage, recipe, repair=repair)
        for stage in STAGES
        for recipe in _recipes(run, stage)
    ]
    # The last, as a repair takes away what says which sample chunks there should be.
    parts.append(_check_models(run, repair=repair))
    return sum(checked for checked, _ in parts), [damage for _, found in parts for damage in found]


def _check(run: Run, stage: str, recipe: str, *, repair: bool) -> tuple[int, list[Damage]]:
    results = run.results(stage, recipe)
    checked, damages, root = 0, list[Damage](), list[Damage]()
    if stage not in _STORES:
        checked, damages = _read_masks(results)
    elif results.exists():
        root = _check_root(results, {"kind": stage, "recipe": recipe}, repair=repair)
        if repair or not root:
            checked, damages = _read_through(results)
    damages += _missing(run, stage, recipe)
    if repair:
        remove(damages)
        _retract(run, stage, recipe, {damage.image for damage in damages})
    return checked, root + damages


def _check_models(run: Run, *, repair: bool) -> tuple[int, list[Damage]]:
    receipts = sorted(run.receipt("train_segmentation", "any").parent.glob("*.json"))
    made: list[tuple[Path, Path, ClassifierFacts | SegmentationFacts]] = [
        (run.model_file(path.stem), path, run.segmentation(path.stem)) for path in receipts
    ]
    receipt = run.receipt("train_classifier")
    if receipt.exists():
        made.insert(0, (run.classifier_file, receipt, run.classifier))
    damages = []
    for path, receipt, facts in made:
        if file_sha256(path) != facts.sha256:
            reason = f"{path}: it is missing or not the file that was made"
            damages.append(Damage("network", path, reason))
            if repair:
                path.unlink(missing_ok=True)
                receipt.unlink()
    return len(made), damages


def _check_root(store: Path, attributes: dict[str, str], *, repair: bool) -> list[Damage]:
    """Check a store's own metadata, which holds nothing that can't be written again."""
    try:
        Store(store).check_format()
    except StaleResultError as error:
        metadata = store / "zarr.json"
        if repair:
            metadata.unlink(missing_ok=True)
            Store(store).create(attributes)
        return [Damage("store", metadata, str(error))]
    return []


def _recipes(run: Run, stage: str) -> list[str]:
    """Return the recipes that a stage has worked on, whether they are still configured or not."""
    with_receipts = {path.name for path in run.receipt(stage, "any").parent.glob("*")}
    pattern = STAGES[stage].results.format(recipe="*")
    made = {path.name.removesuffix(".zarr") for path in run.folder.glob(pattern)}
    return sorted(with_receipts | made)


def _read_through(store: Path) -> tuple[int, list[Damage]]:
    found = list(verify(store))
    return len(found), [damage for _, damages in found for damage in damages]


def _read_masks(folder: Path) -> tuple[int, list[Damage]]:
    masks = sorted(folder.glob("*.png"))
    read = (unreadable(path.stem, path, partial(read_mask, path)) for path in masks)
    return len(masks), list(chain.from_iterable(read))


def _missing(run: Run, stage: str, recipe: str) -> Iterator[Damage]:
    """Yield what a receipt lists and is not there."""
    listed = {image for receipt in receipts_of(run, stage, recipe) for image in receipt.images}
    for image in sorted(listed):
        path = run.result(stage, recipe, image)
        if not path.exists():
            yield Damage(image, path, f"{path}: it is missing")
    known = recipe in run.config.recipes and run.receipt("train_classifier").exists()
    if stage == "saliency" and known:
        for row in run.index.rows:
            if row.image in listed:
                yield from _missing_chunks(run, recipe, row)


def _missing_chunks(run: Run, recipe: str, row: ImageRow) -> Iterator[Damage]:
    store = SaliencyStore(run.results("saliency", recipe))
    if store.fault(row.image, Fingerprints(run, recipe).of("saliency", row)):
        return  # missing as a whole, or made for another configuration
    plan = sample_plan(run, recipe, row)
    for name in expected_chunks(plan, run.recipe(recipe).samples.per_chunk):
        path = store.path / row.image / name
        if not path.exists():
            yield Damage(row.image, path, f"{path}: it is missing")


def _retract(run: Run, stage: str, recipe: str, images: set[str]) -> None:
    """Remove the receipts that list some images, so that Snakemake runs their batches."""
    for receipt in receipts_of(run, stage, recipe):
        if images & receipt.images.keys():
            run.receipt(stage, recipe, receipt.batch).unlink(missing_ok=True)
