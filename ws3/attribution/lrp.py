"""Layer-wise relevance propagation: a class's logit is handed down, layer by layer, to the pixels.

Captum's LRP does it on a copy of the network in which everything that shares relevance out is a
module of its own. Its rules are those of Captum, but for one: `EpsilonRule` for positive weights
only, with inputs of both signs. `Method` says what the method gets.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from ws3.attribution.captum_methods import by_class, rectified
from ws3.attribution.interface import Attribution, Options
from ws3.attribution.network import AttributionNetwork
from ws3.errors import Ws3Error

_SHARING = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_PASSING = (nn.BatchNorm2d, nn.ReLU6)
_DOING_NOTHING = (nn.Dropout, nn.Dropout2d, nn.Identity)
_ADDING = (operator.add, operator.iadd, torch.add)
_MOVING = {
    *("cat", "flatten", "reshape", "view", "transpose", "permute", "contiguous", "chunk", "split"),
    *("getitem", "size", "clone", "squeeze", "unsqueeze", "getattr"),
}
"""Functions that only move values, so that relevance moves with them."""


def lrp(
    network: AttributionNetwork, inputs: Tensor, classes: Sequence[int], options: Options
) -> Attribution:
    """Layer-wise relevance propagation (Bach et al. 2015, doi 10.1371/journal.pone.0130140).

    Each layer hands the relevance of its outputs to its inputs, in proportion to what each input
    adds to the output. By the rule `epsilon` all that it adds counts; by `epsilon_plus`, in
    convolutions, only what is positive (the z+ rule, Montavon et al. 2017). `epsilon` is added to
    the sum by which that is divided, with its sign. ReLUs and batch norms that can't be folded pass
    all relevance on, additions share it out in proportion to what is added, and a maximum has it
    from the largest. What biases add is relevance that no pixel gets: without them, a sample's
    values add up to its logit.

    For networks whose only nonlinearities are ReLU, ReLU6 and max pooling.

    Raises:
        Ws3Error: If the network has other nonlinearities, or computes with functions.
    """
    from captum.attr import LRP

    graph = _relevance_graph(network)
    positive, epsilon = options.values["rule"] == "epsilon_plus", options.values["epsilon"]

    def attribute(leaf: Tensor, index: int) -> Tensor:
        _give_rules(graph, positive=positive, epsilon=epsilon)
        relevance: Tensor = LRP(graph).attribute(leaf, target=index)
        return relevance

    try:
        return by_class(network, inputs, classes, options, attribute)
    finally:
        for module in graph.modules():
            vars(module).pop("activations", None)


class SplitConv(nn.Conv2d):
    """A convolution that can count what is positive only.

    Attributes:
        split: Whether it does: then its output is the sum of the products with the weights that are
            positive, as negative inputs times negative weights are, and of positive biases.
    """

    split = False

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> SplitConv:
        """Return one with a convolution's weights."""
        made = cls.__new__(cls)
        made.__dict__.update(convolution.__dict__)
        return made

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the output (B, F, h, w) of inputs (B, C, H, W)."""
        if not self.split:
            whole: Tensor = super().forward(inputs)
            return whole
        bias = None if self.bias is None else self.bias.clamp(min=0)
        above: Tensor = self._conv_forward(inputs.clamp(min=0), self.weight.clamp(min=0), bias)
        below: Tensor = self._conv_forward(inputs.clamp(max=0), self.weight.clamp(max=0), None)
        return above + below


@cache
def _positive_rule() -> Callable[[float], Any]:
    """Return the rule of a `SplitConv`; Captum is imported on first use, since that takes long."""
    from captum.attr._utils.lrp_rules import EpsilonRule

    class PositiveRule(EpsilonRule):  # type: ignore[misc]
        """In the pass that relevance goes back through, what is positive alone is the output.

        The gradient times the input is then what each input adds to it.
        """

        def _manipulate_weights(self, module: SplitConv, inputs: Any, outputs: Any) -> None:
            module.split = True

    return PositiveRule


def _give_rules(graph: nn.Module, *, positive: bool, epsilon: float) -> None:
    """Give each module its rule; Captum takes them away after every call."""
    from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule

    for module in graph.modules():
        rule: Any = None
        if isinstance(module, SplitConv):
            module.split = False
            rule = (_positive_rule() if positive else EpsilonRule)(epsilon)
        elif isinstance(module, _PASSING):
            rule = IdentityRule()
        elif isinstance(module, _SHARING) or type(module).__name__ == "Addition_Module":
            rule = EpsilonRule(epsilon)
        if rule is not None:
            vars(module)["rule"] = rule


_graphs: WeakKeyDictionary[AttributionNetwork, nn.Module] = WeakKeyDictionary()


def _relevance_graph(network: AttributionNetwork) -> nn.Module:
    """Return a copy of a network in which everything that shares relevance out is a module.

    Raises:
        Ws3Error: If there is no rule for something that it computes.
    """
    if network not in _graphs:
        graph = rectified(network, nn.ReLU6)
        assert isinstance(graph, fx.GraphModule)  # noqa: S101 - what it returns
        _graphs[network] = _with_own_modules(copy.deepcopy(graph), network.architecture)
    return _graphs[network]


def _with_own_modules(graph: fx.GraphModule, architecture: str) -> nn.Module:
    from captum.attr._utils.custom_modules import Addition_Module

    modules = dict(graph.named_modules())
    for number, node in enumerate(list(graph.graph.nodes)):
        own: nn.Module | None = None
        if node.op == "call_module":
            module = modules[str(node.target)]
            if isinstance(module, _DOING_NOTHING):
                node.replace_all_uses_with(node.args[0])
                graph.graph.erase_node(node)
                continue
            if isinstance(module, nn.Flatten):
                with graph.graph.inserting_before(node):
                    moved = graph.graph.call_function(
                        torch.flatten, (node.args[0], module.start_dim, module.end_dim)
                    )
                node.replace_all_uses_with(moved)
                graph.graph.erase_node(node)
                continue
            if type(module) is nn.Conv2d:
                own = SplitConv.of(module)
            elif isinstance(module, (*_SHARING, *_PASSING, nn.ReLU)):
                own = copy.copy(module)
            else:
                raise _no_rule(architecture, type(module).__name__)
        elif node.op == "call_function" and node.target in _ADDING:
            if not all(isinstance(one, fx.Node) for one in node.args) or node.kwargs:
                raise _no_rule(architecture, "a constant that is added")
            own = Addition_Module()
        elif node.op in ("call_function", "call_method"):
            called = getattr(node.target, "__name__", str(node.target))
            if called not in _MOVING:
                raise _no_rule(architecture, f"the function {called}")
        elif node.op == "get_attr":
            raise _no_rule(architecture, "a parameter outside of layers")
        if own is not None:
            _replace(graph, node, f"relevant_{number}", own)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval()


def _replace(graph: fx.GraphModule, node: fx.Node, name: str, module: nn.Module) -> None:
    """Put a module into a node's place, each of its inputs a tensor of its own.

    Captum's hooks lie on tensors: where several modules have one tensor as input, one hook would
    see the relevance of all.
    """
    graph.add_submodule(name, module)
    with graph.graph.inserting_before(node):
        given = tuple(graph.graph.call_function(torch.clone, (one,)) for one in node.args)
        made = graph.graph.call_module(name, given)
    node.replace_all_uses_with(made)
    graph.graph.erase_node(node)


def _no_rule(architecture: str, what: str) -> Ws3Error:
    return Ws3Error(
        f"lrp has no rule for {what}, which {architecture} computes with; use the method "
        "input_x_gradient or integrated_gradients"
    )
