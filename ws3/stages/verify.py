"""What is damaged in a run or a store, and its repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ws3.config.run import Stage
from ws3.errors import Ws3Error
from ws3.jobs.run import Run
from ws3.jobs.status import receipts_of
from ws3.masks.png import read_mask
from ws3.store.verify import Damage, remove, verify

_STORES: dict[str, Stage] = {"saliency": "saliency", "maps": "maps"}
_MASKS: dict[Stage, str] = {
    "masks": "masks/*/*.png",
    "predictions": "segmentation/*/predictions/*.png",
}


def check_store(path: Path, *, repair: bool) -> tuple[int, list[Damage]]:
    """Check one store; return how many images it holds, and all damage.

    With `repair`, what is damaged is removed, and so are the receipts of a run that vouch for it.

    Raises:
        Ws3Error: if there is no store of ours at this path.
    """
    checked, damages = 0, []
    for _, found in verify(path):
        checked += 1
        damages += found
    folder, recipe = path.parent.parent, path.stem
    stage = _STORES.get(path.parent.name)
    run = Run.open(folder) if stage and (folder / "config.yaml").exists() else None
    if run is not None and stage is not None:
        damages += _missing(run, stage, recipe, path)
    if repair:
        remove(damages)
        if run is not None and stage is not None:
            _retract(run, stage, recipe, {damage.image for damage in damages})
    return checked, damages


def check_run(run: Run, *, repair: bool) -> tuple[int, list[Damage]]:
    """Check every store and mask of a run, likewise."""
    checked, damages = 0, []
    for store in sorted([*run.folder.glob("saliency/*.zarr"), *run.folder.glob("maps/*.zarr")]):
        count, found = check_store(store, repair=repair)
        checked += count
        damages += found
    for stage, pattern in _MASKS.items():
        for path in sorted(run.folder.glob(pattern)):
            checked += 1
            try:
                read_mask(path)
            except Ws3Error as error:
                damages.append(Damage(path.stem, path, str(error)))
                if repair:
                    path.unlink(missing_ok=True)
                    recipe = path.parts[len(run.folder.parts) + 1]
                    _retract(run, stage, recipe, {path.stem})
    return checked, damages


def _missing(run: Run, stage: Stage, recipe: str, store: Path) -> Iterator[Damage]:
    """Yield the images that a receipt vouches for and the store doesn't hold."""
    for receipt in receipts_of(run, stage, recipe):
        for image in receipt["images"]:
            if not (store / image / "zarr.json").exists():
                yield Damage(image, store / image, f"{store}/{image}: it is missing")


def _retract(run: Run, stage: Stage, recipe: str, images: set[str]) -> None:
    """Remove the receipts that vouch for some images, so that Snakemake runs their batches."""
    for receipt in receipts_of(run, stage, recipe):
        if images & receipt["images"].keys():
            run.receipt(stage, recipe, receipt["batch"]).unlink(missing_ok=True)
