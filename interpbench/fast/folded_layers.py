"""A copy of a network whose batch norms are folded, with all of its layers where they are.

torch.fx knows which convolution a batch norm follows, but gives a network without the modules that
hold others. Here the convolutions and norms are exchanged in the network's own modules, whose code
stays: each batch norm becomes an identity.
"""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from interpbench.core.layers import hookable

PAIRS = (
    (nn.Conv1d, nn.BatchNorm1d),
    (nn.Conv2d, nn.BatchNorm2d),
    (nn.Conv3d, nn.BatchNorm3d),
)
TOLERANCE = 1e-5  # of a layer's greatest value


def folded_in_place(network: nn.Module) -> nn.Module:
    """A copy, with as many batch norms folded as follow a convolution that nothing else uses.

    Parameters:
        network: in eval mode; is left as it is.

    Raises:
        Exception: of many kinds, where torch.fx cannot trace it.
    """
    traced = fx.symbolic_trace(network)
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    copied = copy.deepcopy(network)
    for norm in traced.graph.nodes:
        before = norm.args[0] if norm.op == "call_module" and norm.args else None
        if (
            isinstance(before, fx.Node)
            and before.op == "call_module"
            and len(before.users) == 1
            and calls[before.target] == calls[norm.target] == 1
        ):
            conv, following = (
                cast(Any, copied.get_submodule(str(node.target))) for node in (before, norm)
            )
            if (type(conv), type(following)) in PAIRS and not following.training:
                copied.set_submodule(str(before.target), fuse_conv_bn_eval(conv, following))
                copied.set_submodule(str(norm.target), nn.Identity().eval())
    return copied.requires_grad_(False)


@torch.no_grad()
def equal_layers(
    network: nn.Module, other: nn.Module, ask: Callable[[Tensor], Any], x: Tensor
) -> dict[nn.Module, nn.Module]:
    """The layers of a network whose outputs those of the same name in another have too.

    Parameters:
        network: itself.
        other: a copy with the same names of layers.
        ask: the other, as it wants to be asked.
        x: float32 [B,C,H,W], what both are shown.

    Returns:
        each such layer of the network -> the other's.
    """
    seen, found = _outputs(network, network, x), _outputs(other, ask, x)
    others = dict(hookable(other))
    return {
        layer: others[name]
        for name, layer in hookable(network)
        if name in others and name in seen and _same(seen[name], found.get(name, []))
    }


def _outputs(
    network: nn.Module, ask: Callable[[Tensor], Any], x: Tensor
) -> dict[str, list[Tensor | None]]:
    """What each layer gives, call by call; None where that is no tensor."""
    outputs: dict[str, list[Tensor | None]] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        # A copy, since what follows may work in place.
        kept = output.detach().clone() if isinstance(output, Tensor) else None
        outputs.setdefault(name, []).append(kept)

    handles = [
        module.register_forward_hook(partial(keep, name)) for name, module in hookable(network)
    ]
    try:
        ask(x)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _same(expected: list[Tensor | None], found: list[Tensor | None]) -> bool:
    return len(expected) == len(found) and all(
        one is not None and other is not None and _is_close(one, other)
        for one, other in zip(expected, found, strict=True)
    )


def _is_close(expected: Tensor, found: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype or not expected.numel():
        return False
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
