"""images, or files of another program -> regions/all_recipes.zarr."""

from __future__ import annotations

from ws3.config.regions import FileRegions
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.jobs.runner import ImageResult
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.imports import file_as_indexed, sources
from ws3.run.phases import PhaseTimer
from ws3.run.samples import load_image
from ws3.stage_table import ALL_RECIPES
from ws3.store.regions import RegionStore


class RegionsStage:
    """Divides an image into the segments that vote on its masks, once for all recipes."""

    stage = "regions"
    recipe = ALL_RECIPES

    def __init__(self, run: Run, recipe: str) -> None:
        """Prepare; nothing is read yet.

        Raises:
            Ws3Error: If the run has no such recipe, or no regions.
        """
        if recipe != ALL_RECIPES:
            run.recipe(recipe)
        regions = run.config.masks.regions
        if regions is None:
            raise Ws3Error(f"{run.folder}: this run has no regions (masks.regions)")
        self.run, self._regions = run, regions
        self._fingerprints = Fingerprints(run, ALL_RECIPES)
        self._store = RegionStore(run.results(self.stage, ALL_RECIPES))
        self._store.create({"kind": self.stage, "recipe": ALL_RECIPES})

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's result is made from."""
        return self._fingerprints.of(self.stage, row)

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether intact segments with this fingerprint are committed."""
        return self._store.holds(row.image, fingerprint)

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Divide and commit.

        Raises:
            Ws3Error: If the image or the file can't be read, or there are too many segments.
        """
        if isinstance(self._regions, FileRegions):
            from ws3.imports.segments import read_segments

            with timer.phase("load"):
                source = sources(self.run.config)[ALL_RECIPES]
                path = file_as_indexed(self.run, ALL_RECIPES, source, row)
                if path is None:
                    raise Ws3Error(f"there is no file of it in {self._regions.folder}")
                segments = read_segments(path, (row.height, row.width))
        else:
            from ws3.masks.regions import image_segments

            with timer.phase("load"):
                image = load_image(row)
            with timer.phase("compute"):
                segments = image_segments(image, self._regions)
        with timer.phase("write"):
            attributes = {
                "fingerprint": fingerprint,
                "height": row.height,
                "width": row.width,
                "regions": self._regions.segments(),
                "segments": int(segments.max()),
            }
            self._store.write(row.image, segments, attributes)
        return ImageResult(bytes=segments.nbytes)
