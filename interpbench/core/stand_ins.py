"""Cheaper networks that answer in a model's place while a method does nothing but call it.

Methods get the plain network, with its layers by name. Most only ask for outputs, or for gradients
at the image: these may come from a copy that was proven to give the same, as long as nobody has
laid hands on the model, be it a hook, a rule on an activation or another weight. So no plugin has
to say what it needs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StandIn:
    """A network that gives the logits of a model.

    Attributes:
        network: itself.
        memory_format, dtype: in which it wants its images.
    """

    network: nn.Module
    memory_format: torch.memory_format = torch.contiguous_format
    dtype: torch.dtype = torch.float32

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of images float32 [B,C,H,W], float32; gradients at these come contiguous."""
        liked: Tensor = _AsLiked.apply(x, self.memory_format, self.dtype)
        return self.network(liked).float()


class _AsLiked(torch.autograd.Function):
    """Images in another format and type; their gradients as if nothing had been changed."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, memory_format: torch.memory_format, dtype: torch.dtype
    ) -> Tensor:
        return x.to(dtype).contiguous(memory_format=memory_format)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.float().contiguous(), None, None


@dataclass(frozen=True)
class StandIns:
    """Networks that give the logits of a model.

    Attributes:
        forwards: for who needs no gradient; None for the plain network.
        gradients: for who needs gradients at the image, and no others; None for the plain one.
        under_rules: for who gives activations a backward pass of their own; float32, contiguous,
            and with all operations of the plain network but those that are folded into its weights;
            None for the plain one.
        by_layers: for who looks at a layer, or changes what it gives; None for the plain one.
        layers: of the plain network, each that `by_layers` has too -> its.
    """

    forwards: StandIn | None = None
    gradients: StandIn | None = None
    under_rules: StandIn | None = None
    by_layers: StandIn | None = None
    layers: Mapping[nn.Module, nn.Module] = field(default_factory=dict)

    def answer(self, x: Tensor) -> Tensor | None:
        """The logits of images; None where only the plain network can give what is asked for."""
        if not torch.is_grad_enabled():
            return None if self.forwards is None else self.forwards(x)
        if self.gradients is None or not x.requires_grad:
            return None
        return self.gradients(x)


def _is_traced() -> bool:
    """Whether torch does more than to compute: other precisions, derivatives, tracing."""
    return bool(
        torch.is_autocast_enabled("cpu")
        or torch.is_autocast_enabled("cuda")
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch.jit.is_tracing()
        or torch.compiler.is_compiling()
    )


_at_work: ContextVar[tuple[nn.Module, StandIns, Callable[[], bool]] | None] = ContextVar(
    "stand-ins at work", default=None
)


@contextmanager
def standing_in(
    model: nn.Module, stand_ins: StandIns | None, untouched: Callable[[], bool]
) -> Iterator[None]:
    """Lets other networks answer for a model; in this thread, and not for copies of the model.

    Parameters:
        model: whose calls are answered.
        stand_ins: by whom; None for nobody.
        untouched: whether the model still is what its stand-ins were made of.
    """
    token = _at_work.set((model, stand_ins, untouched) if stand_ins else None)
    try:
        yield
    finally:
        _at_work.reset(token)


def answer_of_stand_in(model: nn.Module, x: Tensor) -> Tensor | None:
    """The logits of images by a model's stand-in; None where the model has to answer itself."""
    stand_ins = _stand_ins_of(model, x)
    return None if stand_ins is None else stand_ins.answer(x)


def stand_in_under_rules(model: Callable[[Tensor], Tensor], x: Tensor) -> nn.Module | None:
    """Whose activations get rules in place of a model's; None for the model's own."""
    stand_ins = _stand_ins_of(model, x)
    if stand_ins is None or stand_ins.under_rules is None:
        return None
    return stand_ins.under_rules.network


def stand_in_with_layer(
    model: Callable[[Tensor], Tensor], layer: nn.Module, x: Tensor
) -> tuple[StandIn, nn.Module] | None:
    """Who has a layer of a model in its place, and that layer; None where the model itself has."""
    stand_ins = _stand_ins_of(model, x)
    if stand_ins is None or stand_ins.by_layers is None or layer not in stand_ins.layers:
        return None
    return stand_ins.by_layers, stand_ins.layers[layer]


def _stand_ins_of(model: Callable[[Tensor], Tensor], x: Tensor) -> StandIns | None:
    at_work = _at_work.get()
    if at_work is None or at_work[0] is not model or type(x) is not Tensor or _is_traced():
        return None
    _, stand_ins, untouched = at_work
    return stand_ins if untouched() else None
