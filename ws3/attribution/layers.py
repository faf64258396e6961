"""A backbone cut in two at a layer, for gradients that end there instead of at the input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ws3.errors import Ws3Error

_SIDE = 224  # pixels: divisible by every stride that networks have, and cheap to try


@dataclass(frozen=True)
class Cut:
    """A backbone in two parts.

    Attributes:
        before: From the input (B, 3, H, W) to the layer's output (B, F, H / stride, W / stride).
        after: From there to the last spatial features.
    """

    before: nn.Module
    after: nn.Module


def cut_at(backbone: nn.Module, stride: int, architecture: str) -> Cut:
    """Cut a backbone at its last layer of a stride.

    The cut goes where everything passes through one tensor (B, F, H / stride, W / stride): after a
    whole residual or dense block, not within. Of several such places the last is taken, whose
    features have seen most of the network. Both parts share the backbone's parameters.

    Args:
        backbone: From the input to the last spatial features, in evaluation mode.
        stride: How many pixels of the input one pixel of the layer stands for, per side.
        architecture: What messages call the network.

    Raises:
        Ws3Error: If torch.fx can't trace the backbone, or it has no such layer.

    Example:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        >>> [list(part.children()) for part in vars(cut_at(backbone, 1, "a toy")).values()]
        [[Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)), ReLU()], \
[MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)]]
    """
    graph_module = _traced(backbone, architecture)
    nodes = list(graph_module.graph.nodes)
    places = {node: _stride(node) for node in _bottlenecks(nodes)}
    found = [node for node, own in places.items() if own == stride]
    if not found:
        strides = sorted({own for own in places.values() if own is not None})
        raise Ws3Error(
            f"{architecture} has no layer of stride {stride} through which everything passes; "
            f"choose from: {', '.join(map(str, strides)) or 'none'}"
        )
    return Cut(*_divided(graph_module, nodes, found[-1]))


class _LayerTracer(fx.Tracer):
    """Takes a module without parts for one layer, whoever wrote it.

    Of a rectifier that is smooth in the backward pass, a trace would keep the forward pass alone.
    """

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        """Return whether the graph calls a module as a whole."""
        return not any(True for _ in module.children()) or super().is_leaf_module(
            module, module_qualified_name
        )


def _traced(backbone: nn.Module, architecture: str) -> fx.GraphModule:
    """Return the backbone's graph, each node with the shape of its output."""
    try:
        traced = fx.GraphModule(backbone, _LayerTracer().trace(backbone))
        parameter = next(traced.parameters(), torch.zeros(1))
        with torch.no_grad():
            ShapeProp(traced).propagate(parameter.new_zeros(1, 3, _SIDE, _SIDE))
    except Exception as error:
        # Any kind, as the tracer runs the network's own code on stand-ins for tensors.
        raise Ws3Error(
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
    shape: tuple[int, ...] = tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))
    if len(shape) != 4 or shape[2] != shape[3] or shape[2] < 2:
        return None
    return 1 << round(math.log2(_SIDE / shape[2]))


def _divided(
    whole: fx.GraphModule, nodes: list[fx.Node], last: fx.Node
) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Return the graph up to and with a node, and the graph behind it."""
    place = nodes.index(last)
    before, after = fx.Graph(), fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in nodes[: place + 1]:
        copied[node] = before.node_copy(node, copied.__getitem__)
    before.output(copied[last])
    # A copy, as a rectifier that works in place would write over what the gradient is taken of.
    copied = {last: after.call_method("clone", (after.placeholder("features"),))}
    for node in nodes[:place]:
        if node.op == "get_attr":
            copied[node] = after.node_copy(node, copied.__getitem__)
    for node in nodes[place + 1 :]:
        copied[node] = after.node_copy(node, copied.__getitem__)
    parts = fx.GraphModule(whole, before), fx.GraphModule(whole, after)
    return parts[0].eval(), parts[1].eval()
