"""A method's passes as one CUDA graph: the host starts one thing where there were a thousand.

A small network's kernels take less time than it takes to start them one by one. A graph records
them once for a shape of batch and a number of classes, and starts them together.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ws3.attribution import cam, gradients
from ws3.attribution.engine import Attributor
from ws3.attribution.interface import Attribution
from ws3.attribution.network import AttributionNetwork
from ws3.classifier.tokens import TokenMap

_GRAPHED = {
    *(gradients.gradient, gradients.input_x_gradient),
    *(cam.cam, cam.gradcam, cam.gradcam_plus_plus, cam.layercam),
}
"""Methods that never look at a tensor's values."""

_SEEN, _MOST = 2, 8
"""Batches of a shape that are computed before it gets a graph, and how many shapes get one."""

_DIFFERENCE = 1e-2
"""Share of a map's maximum by which a graph's scores may differ from those without."""

_log = logging.getLogger(__name__)


class ChosenClasses(AttributionNetwork):
    """A network whose outputs are some of the classes, which a tensor names: they can change later.

    Attributes:
        chosen: int64 (classes,), indices of the logits.
    """

    def __init__(self, network: AttributionNetwork, chosen: Tensor) -> None:
        """Share all of a network."""
        vars(self).update(vars(network))
        self.chosen = chosen
        self._network = network

    @property
    def cam_weight(self) -> Tensor | None:  # type: ignore[override]
        """The chosen rows of the linear head, or None where CAM isn't exact."""
        weight = self._network.cam_weight
        return None if weight is None else weight.index_select(0, self.chosen)

    def logits_from_features(self, features: Tensor | TokenMap) -> Tensor:
        """Return the chosen logits (B, classes) of features (B, F, h, w)."""
        return self._network.logits_from_features(features).index_select(1, self.chosen)


class GraphedMethod:
    """Attributes batches, those of a shape that comes again by a graph.

    A graph's first result is compared with that of the plain way; if they differ, or a graph can't
    be made, all goes on the plain way.
    """

    def __init__(self, attributor: Attributor) -> None:
        self._attributor = attributor
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._graphs: dict[tuple[int, ...], _Graph] = {}
        self._works = attributor.method in _GRAPHED
        self._pool: Any = None

    def __call__(self, inputs: Tensor, classes: Sequence[int]) -> Attribution:
        """Return the score maps; they are overwritten by the next call of the same shape."""
        key = (*inputs.shape, len(classes))
        if key in self._graphs:
            return self._graphs[key](inputs, classes)
        self._seen[key] += 1
        attributor = self._attributor
        plain = attributor.method(attributor.network, inputs, classes, attributor.options)
        if self._works and self._seen[key] > _SEEN and len(self._graphs) < _MOST:
            self._record(key, inputs, classes, plain)
        return plain

    def _record(
        self, key: tuple[int, ...], inputs: Tensor, classes: Sequence[int], plain: Attribution
    ) -> None:
        try:
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph = _Graph(self._attributor, inputs, classes, self._pool)
            found = graph(inputs, classes).scores
            far = (found - plain.scores).abs().amax() > _DIFFERENCE * plain.scores.abs().amax()
            if bool(far):
                raise RuntimeError("its scores differ from those without a graph")
        except torch.OutOfMemoryError:
            self._works = False
            torch.cuda.empty_cache()
        except RuntimeError as error:
            self._works = False
            _log.warning("no CUDA graphs are used: %s", str(error).splitlines()[0])
        else:
            self._graphs[key] = graph


class _Graph:
    """The passes of one shape of batch."""

    def __init__(
        self, attributor: Attributor, inputs: Tensor, classes: Sequence[int], pool: Any
    ) -> None:
        self._inputs = torch.empty_like(inputs).copy_(inputs)
        self._chosen = torch.zeros(len(classes), dtype=torch.int64, device=inputs.device)
        self._choose(classes)
        network = ChosenClasses(attributor.network, self._chosen)

        def attribute() -> Attribution:
            every = range(len(classes))
            return attributor.method(network, self._inputs, every, attributor.options)

        # As torch's documentation asks for: warm up beside, then record.
        new_stream: Any = torch.cuda.Stream
        beside = new_stream(inputs.device)
        beside.wait_stream(torch.cuda.current_stream(inputs.device))
        with torch.cuda.stream(beside):
            for _ in range(2):
                attribute()
        torch.cuda.current_stream(inputs.device).wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._result = attribute()

    def __call__(self, inputs: Tensor, classes: Sequence[int]) -> Attribution:
        self._inputs.copy_(inputs)
        self._choose(classes)
        self._graph.replay()
        return self._result

    def _choose(self, classes: Sequence[int]) -> None:
        chosen = torch.tensor([*classes], dtype=torch.int64)
        if self._chosen.is_cuda:
            chosen = chosen.pin_memory()
        self._chosen.copy_(chosen, non_blocking=True)
