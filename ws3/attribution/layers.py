"""A backbone cut in two at a layer, for gradients that end there instead of at the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ws3.classifier.model import LayerTracer
from ws3.errors import Ws3Error


class UntraceableError(Ws3Error):
    """torch.fx can't tell a network's layers apart."""


_SIDE = 224  # pixels: divisible by every stride that networks have, and cheap to try


def cut_at(backbone: nn.Module, strides: Sequence[int], architecture: str) -> list[nn.Module]:
    """Cut a backbone at its last layer of each of some strides.

    Where there is none of a stride, it is the last of the next smaller one: 16 means 8 in a network
    that ends there. A cut goes where everything passes through one tensor (B, F, H / stride,
    W / stride): after a whole residual or dense block, not within. Of several such places the last
    is taken, whose features have seen most of the network. The parts share the backbone's
    parameters, and none writes over what it is given.

    Args:
        backbone: From the input (B, 3, H, W) to the last spatial features, in evaluation mode.
        strides: How many pixels of the input one pixel of a layer stands for, per side; ascending.
        architecture: What messages call the network.

    Returns:
        One more part than there are layers, to be called one after the other. Two strides that
        mean the same layer are one.

    Raises:
        UntraceableError: If torch.fx can't trace the backbone.
        Ws3Error: If all its layers have larger strides.

    Example:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        >>> before, after = cut_at(backbone, [1], "a toy")
        >>> before(torch.zeros(1, 3, 8, 8)).shape, len(list(after.children()))
        (torch.Size([1, 4, 8, 8]), 1)
    """
    graph_module = _traced(backbone, architecture)
    nodes = list(graph_module.graph.nodes)
    places = {_stride(node): node for node in _bottlenecks(nodes)}
    known = sorted(stride for stride in places if stride is not None)
    ends: list[fx.Node] = []
    for stride in strides:
        fitting = [own for own in known if own <= stride]
        if not fitting:
            raise Ws3Error(
                f"{architecture} has no layer of stride {stride} or less through which everything "
                f"passes; choose from: {', '.join(map(str, known)) or 'none'}"
            )
        ends.append(places[fitting[-1]])
    ends = list(dict.fromkeys(ends))
    begins = [None, *ends]
    return [
        _part(graph_module, nodes, begin, end)
        for begin, end in zip(begins, [*ends, None], strict=True)
    ]


def _traced(backbone: nn.Module, architecture: str) -> fx.GraphModule:
    """Return the backbone's graph, each node with the shape of its output."""
    try:
        traced = fx.GraphModule(backbone, LayerTracer().trace(backbone))
        parameter = next(traced.parameters(), torch.zeros(1))
        with torch.no_grad():
            ShapeProp(traced).propagate(parameter.new_zeros(1, 3, _SIDE, _SIDE))
    except Exception as error:
        # Any kind, as the tracer runs the network's own code on stand-ins for tensors.
        raise UntraceableError(
            f"the layers of {architecture} can't be told apart (torch.fx can't trace it), so the "
            "option stride has no meaning; leave it out"
        ) from error
    return traced


def _bottlenecks(nodes: list[fx.Node]) -> list[fx.Node]:
    """Return the nodes that everything passes through on its way to the output."""
    place = {node: number for number, node in enumerate(nodes)}
    found, needed_until = [], 0
    for number, node in enumerate(nodes):
        if node.op == "get_attr":
            continue
        if node.op not in ("placeholder", "output") and needed_until <= number:
            found.append(node)
        needed_until = max([needed_until, *(place[user] for user in node.users)])
    return found


def _stride(node: fx.Node) -> int | None:
    """Return how many pixels of the input one of the node's output stands for, if it is a map.

    Networks that cut borders off have maps a little smaller than that: the nearest power of two.
    """
    shape = _shape(node)
    if len(shape) != 4 or (shape[2] != shape[3] and not _channels_last(node)) or shape[2] < 2:
        return None
    return 1 << round(math.log2(_SIDE / shape[2]))


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))


def _channels_last(node: fx.Node) -> bool:
    """Whether a node's output for a square image is a map (B, h, w, F), as within Swin."""
    shape = _shape(node)
    return len(shape) == 4 and shape[1] == shape[2] != shape[3]


def _part(
    whole: fx.GraphModule, nodes: list[fx.Node], begin: fx.Node | None, end: fx.Node | None
) -> fx.GraphModule:
    """Return the graph behind a node (None: from the input), to another (None: to the output)."""
    first = 0 if begin is None else nodes.index(begin) + 1
    part, copied = fx.Graph(), dict[fx.Node, fx.Node]()
    if begin is not None:
        # A copy, as a rectifier that works in place would write over what others look at.
        features = part.placeholder("features")
        if _channels_last(begin):
            features = part.call_method("permute", (features, 0, 2, 3, 1))
        copied[begin] = part.call_method("clone", (features,))
        for node in nodes[:first]:
            if node.op == "get_attr":
                copied[node] = part.node_copy(node, copied.__getitem__)
    for node in nodes[first : len(nodes) if end is None else nodes.index(end) + 1]:
        copied[node] = part.node_copy(node, copied.__getitem__)
    if end is not None and _channels_last(end):
        part.output(part.call_method("permute", (copied[end], 0, 3, 1, 2)))
    elif end is not None:
        part.output(copied[end])
    return fx.GraphModule(whole, part).eval()
