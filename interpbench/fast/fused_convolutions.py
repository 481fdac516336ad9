"""Convolutions with what follows them in one call: an addition, an activation.

On a CPU, by oneDNN or by tiles.

Each saves a pass over memory. What follows is read off by torch.fx; a network that cannot be traced
gets tiles alone.
"""

import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from interpbench.fast.tiled_convolutions import Convolution

ADDITIONS = (operator.add, operator.iadd, torch.add)
ACTIVATIONS: dict[Any, str] = {
    nn.ReLU: "relu",
    F.relu: "relu",
    torch.relu: "relu",
    nn.ReLU6: "relu6",
    F.relu6: "relu6",
}
ONEDNN: dict[str, tuple[str, list[float]]] = {
    "": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}


class Fused(nn.Module):
    """A convolution of a network, an addition if it is called with what to add, and an activation.

    Attributes:
        module: with a padding of zeros.
        tiles: how it is computed where that is cheaper.
        activation: `relu`, `relu6`, which cannot follow an addition, or empty.
    """

    def __init__(self, module: nn.Conv2d) -> None:
        super().__init__()
        self.module = module
        self.tiles = Convolution.of(module)
        self.activation = ""
        self.training = module.training

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """[n,C,H,W] and, for what comes of it, [n,K,H',W'] -> [n,K,H',W']."""
        if self.tiles is not None and self.tiles.pays(*self.tiles.outputs(x, self._padding)):
            maps = self.tiles(x, self._padding)
            maps = maps if added is None else maps.add_(added)
            if not self.activation:
                return maps
            return maps.clamp_(0, 6 if self.activation == "relu6" else None)
        if added is not None or self.activation:
            return self._by_onednn(x, added)
        plain: Tensor = self.module(x)
        return plain

    @property
    def _padding(self) -> tuple[int, int]:
        return cast(tuple[int, int], self.module.padding)

    def _by_onednn(self, x: Tensor, added: Tensor | None) -> Tensor:
        """By the operators that torch.compile uses."""
        module = self.module
        activation, bounds = ONEDNN[self.activation]
        convolution = (
            module.weight,
            module.bias,
            self._padding,
            module.stride,
            module.dilation,
            module.groups,
        )
        operators = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            maps: Tensor = operators(x, *convolution, activation, bounds, "")
        else:
            after = activation if self.activation else None
            maps = operators.binary(x, added, *convolution, "add", 1.0, after, bounds, "")
        return maps


class _Tracer(fx.Tracer):
    """Does not look into convolutions."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Fused) or super().is_leaf_module(m, module_qualified_name)


def fuse_convolutions(network: nn.Module) -> tuple[nn.Module, dict[str, int]]:
    """A network that computes its convolutions so.

    Parameters:
        network: on a CPU, in eval mode; it is changed.

    Returns:
        The network; and how many convolutions may be tiled, `tiled`, and how many have taken in
        what follows them, `fused`.
    """
    for name, module in list(network.named_modules()):
        if _can_be_fused(module) and name:
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, Fused(module))
    tiled = sum(
        isinstance(module, Fused) and module.tiles is not None for module in network.modules()
    )
    try:
        graph = fx.GraphModule(network, _Tracer().trace(network))
    except Exception:  # torch.fx raises many kinds
        return network, {"tiled": tiled, "fused": 0}
    fused = _absorb(graph) if torch.backends.mkldnn.is_available() else 0
    return graph, {"tiled": tiled, "fused": fused}


def _can_be_fused(module: nn.Module) -> bool:
    """Whether it is a convolution that nobody listens to."""
    plain = type(module) is nn.Conv2d and not (module._forward_hooks or module._forward_pre_hooks)
    return plain and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _absorb(network: fx.GraphModule) -> int:
    """Takes additions and activations into the convolutions before them; into how many."""
    nodes = list(network.graph.nodes)
    order = {node: number for number, node in enumerate(nodes)}
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    count = 0
    for node in nodes:
        module = modules.get(str(node.target)) if calls[node.target] == 1 else None
        if not isinstance(module, Fused) or len(node.all_input_nodes) != 1:
            continue
        chain, arguments = [node], node.args
        added = _added(node)
        if added is not None and order[added] < order[node]:
            chain, arguments = [node, *node.users], (*node.args, added)
        activation = _activation(chain[-1], modules)
        if activation == "relu" or (activation and len(chain) == 1):
            module.activation = activation
            chain += chain[-1].users
        if len(chain) > 1:
            _replace(network.graph, chain, arguments, order)
            count += 1
    network.recompile()
    return count


def _added(node: fx.Node) -> fx.Node | None:
    """What is added to a node's output, if nothing else is done with that."""
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or user.op != "call_function" or user.target not in ADDITIONS or user.kwargs:
        return None
    others = [argument for argument in user.args if argument is not node]
    return others[0] if len(others) == 1 and isinstance(others[0], fx.Node) else None


def _activation(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    """The activation of a node's output, if nothing else is done with that; else empty."""
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or len(user.args) != 1 or user.op not in ("call_module", "call_function"):
        return ""
    is_module = user.op == "call_module"
    return ACTIVATIONS.get(type(modules[str(user.target)]) if is_module else user.target, "")


def _replace(
    graph: fx.Graph, chain: list[fx.Node], arguments: tuple[Any, ...], order: dict[fx.Node, int]
) -> None:
    """Puts a call of the first node's module in the place of all nodes of a chain.

    Parameters:
        graph: of the network.
        chain: nodes, each of which has the one before as an input.
        arguments: of the call.
        order: node -> its place in the graph; gets the call's.
    """
    last = chain[-1]
    with graph.inserting_before(last):
        fused = graph.call_module(str(chain[0].target), arguments)
    order[fused] = order[last]
    last.replace_all_uses_with(fused)
    for node in reversed(chain):
        graph.erase_node(node)
