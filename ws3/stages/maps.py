"""saliency store -> maps/<recipe>.zarr."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ws3.aggregation.combine import combine
from ws3.datasets.index import ImageRow
from ws3.errors import StaleResultError, Ws3Error
from ws3.jobs.runner import ImageResult
from ws3.run.fingerprints import Fingerprints
from ws3.run.folder import Run
from ws3.run.phases import PhaseTimer
from ws3.run.results import check_model
from ws3.run.samples import expected_chunks, load_image, sample_plan
from ws3.store.maps import MapStore
from ws3.store.saliency import SaliencyStore

if TYPE_CHECKING:
    from ws3.attribution.engine import FeatureReader


class MapsStage:
    """Combines an image's partial sums into its final maps."""

    stage: str = "maps"

    def __init__(self, run: Run, recipe: str) -> None:
        self.recipe = recipe
        self._run, self._settings = run, run.recipe(recipe)
        self._fingerprints = Fingerprints(run, recipe)
        self._source = SaliencyStore(run.results("saliency", recipe))
        self._source.check_format()
        self._store = MapStore(run.results("maps", recipe))
        self._store.create({"kind": "maps", "recipe": recipe})

    @cached_property
    def _reader(self) -> FeatureReader:
        # torch takes seconds to import, and few recipes look at features.
        from ws3.attribution.engine import FeatureReader
        from ws3.classifier.checkpoints import load_classifier

        command = f"ws3 train-classifier {self._run.folder}"
        check_model(self._run.classifier_file, self._run.classifier, command)
        return FeatureReader(load_classifier(self._run.classifier_file))

    def fingerprint(self, row: ImageRow) -> str:
        """Return what an image's maps are made from."""
        return self._fingerprints.of("maps", row)

    def is_done(self, row: ImageRow, fingerprint: str) -> bool:
        """Return whether intact maps with this fingerprint are committed."""
        attributes = self._store.attributes(row.image)
        if attributes is None or attributes.get("fingerprint") != fingerprint:
            return False
        try:
            self._store.read(row.image)
        except StaleResultError:
            return False
        return True

    def compute(self, row: ImageRow, fingerprint: str, timer: PhaseTimer) -> ImageResult:
        """Combine and commit.

        Raises:
            StaleResultError: If the sample chunks are missing, damaged or made from other inputs.
            Ws3Error: If a value is not a finite number, or a random walk can't read the image.
        """
        source = self._run.config.sample_source(self.recipe)
        repair = f"ws3 saliency {self._run.folder} --recipe {source} --image {row.image}"
        attributes = self._source.attributes(row.image)
        expected = self._fingerprints.of("saliency", row)
        if attributes is None or attributes.get("fingerprint") != expected:
            what = "missing" if attributes is None else "made from other inputs"
            raise StaleResultError(f"its sample chunks are {what}; repair them with: {repair}")
        plan = sample_plan(self._run, self.recipe, row)
        layout = expected_chunks(plan, self._run.recipe(source).samples.per_chunk)
        if plan.needs_cover and not sample_plan(self._run, source, row).needs_cover:
            raise Ws3Error(
                f"the first {plan.total} samples of {source} don't cover it; ask for "
                f"{plan.covering} or more (recipe {self.recipe})"
            )
        with timer.phase("load"):
            try:
                chunks = [self._source.read(row.image, name) for name in layout]
            except StaleResultError as error:
                raise StaleResultError(f"{error} Repair it with: {repair}") from None
            walk = self._settings.aggregation.random_walk
            image = None if walk is None else load_image(row)
            reader = None if walk is None or walk.features is None else self._reader
            for chunk, numbers in zip(chunks, layout.values(), strict=True):
                if chunk.samples != numbers:
                    raise StaleResultError(f"samples are missing; make them with: {repair}")
        with timer.phase("compute"):
            features = None if image is None or reader is None else reader(image)
            try:
                maps = combine(chunks, self._settings.aggregation, plan, image, features)
            except Ws3Error as error:
                raise Ws3Error(f"{error} (recipe {self.recipe})") from None
        keep = ("image", "height", "width", "classes", "class_values", "checkpoint", "method")
        with timer.phase("write"):
            self._store.write(
                row.image,
                maps,
                {
                    **{key: attributes[key] for key in keep},
                    "fingerprint": fingerprint,
                    "recipe": self.recipe,
                    "samples": plan.total,
                    "seed": self._run.config.seed,
                },
            )
        return ImageResult(plan.total, maps.nbytes)
