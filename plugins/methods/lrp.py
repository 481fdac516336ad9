"""Layer-wise relevance propagation: the logit is handed back to the image, each layer sharing it among its inputs.

R_i = a_i · sum_j w_ij R_j / z_j in each layer, where z is what the layer computes; rules differ in which parts of it
they look at. Activations pass relevance on, max pooling gives it to the maximum, sums and averages share it in
proportion. A batch norm behind a convolution or linear layer is folded into it; one elsewhere is a layer by the epsilon
rule. What biases take is lost. zennit's composites are the reference for all three methods, residual connections
included.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from pydantic import PositiveFloat
from torch import Tensor

from interpbench import (
    ELEMENTWISE,
    MOVING,
    Model,
    Operation,
    batch_norm_as_affine,
    method,
    run_with_rules,
    with_backward,
)

# An input and the linear map of it; a rule takes a layer for several of them, whose sum is z.
Part = tuple[Tensor, Callable[[Tensor], Tensor]]
Rule = Callable[[Operation], list[Part]]
Rules = dict[str, tuple[Rule, float]]  # of an operation, with the number that keeps its quotients finite
STABILISER = 1e-6


@method(
    "lrp-epsilon",
    reference="Bach, Binder, Montavon, Klauschen, Müller, Samek, On Pixel-Wise Explanations for Non-Linear Classifier "
    "Decisions by Layer-Wise Relevance Propagation, PLoS ONE 2015",
)
def lrp_epsilon(model: Model, x: Tensor, target: Tensor, *, epsilon: PositiveFloat = 1e-6) -> Tensor:
    """LRP with z + epsilon · sign z below the line in every layer, summed over the channels: [B,C,H,W] -> [B,H,W].

    In a ReLU network it tends to gradient x input as epsilon goes to 0 (Ancona, Ceolini, Öztireli, Gross, ICLR 2018).

    Parameters:
        epsilon: keeps quotients finite; larger ones take relevance from weak inputs.

    Raises:
        MethodError: for a network with operations that have no rule, such as products, softmax and layer norm.
    """
    rules: Rules = dict.fromkeys(("conv2d", "linear"), (_as_it_is, epsilon))
    return _Propagation(rules, first=_as_it_is).relevance(model, x, target)


@method(
    "lrp-z-plus",
    reference="Montavon, Lapuschkin, Binder, Samek, Müller, Explaining nonlinear classification decisions with deep "
    "Taylor decomposition, Pattern Recognition 2017",
)
def lrp_z_plus(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """LRP that looks at positive contributions alone in every layer, summed over the channels: [B,C,H,W] -> [B,H,W].

    Of an input and a weight that are both positive or both negative, as zennit's ZPlus has it; the same as alpha-beta
    with alpha 1 and beta 0. It barely depends on the class (Sixt, Granz, Landgraf, ICML 2020).

    Raises:
        MethodError: for a network with operations that have no rule, such as products, softmax and layer norm.
    """
    rules: Rules = dict.fromkeys(("conv2d", "linear"), (_positive, STABILISER))
    return _Propagation(rules, first=_positive).relevance(model, x, target)


@method(
    "lrp-epsilon-plus-flat",
    reference="Kohlbrenner, Bauer, Nakajima, Binder, Samek, Lapuschkin, Towards Best Practice in Explaining Neural "
    "Network Decisions with LRP, IJCNN 2020",
)
def lrp_epsilon_plus_flat(model: Model, x: Tensor, target: Tensor, *, epsilon: PositiveFloat = 1e-6) -> Tensor:
    """LRP, epsilon for linear layers, z-plus for convolutions, flat for the first: [B,C,H,W] -> [B,H,W].

    Flat shares relevance evenly over a first layer's field. Summed over the channels.

    Parameters:
        epsilon: of linear layers.

    Raises:
        MethodError: for a network with operations that have no rule, such as products, softmax and layer norm.
    """
    rules: Rules = {"conv2d": (_positive, STABILISER), "linear": (_as_it_is, epsilon)}
    return _Propagation(rules, first=_flat).relevance(model, x, target)


def _as_it_is(operation: Operation) -> list[Part]:
    return [(operation.arguments[0], operation)]


def _positive(operation: Operation) -> list[Part]:
    x, weight, bias = (*operation.arguments, None)[:3]
    upper = None if bias is None else bias.clamp(min=0)
    return [
        (x.clamp(min=0), lambda a: operation(a, weight.clamp(min=0), upper)),
        (x.clamp(max=0), lambda a: operation(a, weight.clamp(max=0), None)),
    ]


def _flat(operation: Operation) -> list[Part]:
    x, weight = operation.arguments[:2]
    return [(torch.ones_like(x), lambda a: operation(a, torch.ones_like(weight), None))]


class _Propagation:
    """One pass of relevance through a model.

    Args:
        rules: of convolutions and linear layers.
        first: the rule of the first of them.
    """

    def __init__(self, rules: Rules, first: Rule) -> None:
        self._rules = rules
        self._first = first
        self._weighted: dict[int, tuple[Tensor, Operation, Rule]] = {}  # by id of the output, which so lives on

    def relevance(self, model: Model, x: Tensor, target: Tensor) -> Tensor:
        """The relevance of each position, [B,H,W]; that of the target's logit is the logit."""
        rules: dict[str, Callable[[Operation], Tensor]] = dict.fromkeys(self._rules, self._layer)
        rules |= {"batch_norm": self._norm, "add": _add}
        rules |= dict.fromkeys(ELEMENTWISE, _pass) | dict.fromkeys(("avg_pool2d", "adaptive_avg_pool2d", "mean"), _pool)
        leaf = x.detach().clone().requires_grad_()
        logits = run_with_rules(model, leaf, rules, through=MOVING | {"max_pool2d"}, method="LRP")
        logit = logits.gather(1, target[:, None])
        (found,) = torch.autograd.grad(logit, leaf, logit.detach())
        return found.sum(dim=1)

    def _layer(self, operation: Operation) -> Tensor:
        rule, epsilon = self._rules[operation.name]
        rule = rule if self._weighted else self._first
        output = _share(operation, rule, epsilon)
        self._weighted[id(output)] = (output, operation, rule)
        return output

    def _norm(self, operation: Operation) -> Tensor:
        before = operation.arguments[0]
        if id(before) not in self._weighted:
            return _share(operation, _as_it_is, STABILISER)
        _, layer, rule = self._weighted[id(before)]
        factor, shift = batch_norm_as_affine(operation)
        x, weight, bias, *others = (*layer.arguments, None)[: max(3, len(layer.arguments))]
        weight = weight * factor.view(-1, *[1] * (weight.ndim - 1))
        shift = shift if bias is None else shift + bias * factor
        folded = replace(layer, arguments=(x, weight, shift, *others))
        return _share(folded, rule, self._rules[layer.name][1])


def _share(operation: Operation, rule: Rule, epsilon: float) -> Tensor:
    """The operation's output, whose relevance goes to its input by the rule."""

    def back(relevance: Tensor) -> list[Tensor]:
        parts = [(a.detach().requires_grad_(), layer) for a, layer in rule(operation)]
        with torch.enable_grad():
            z = torch.stack([layer(a) for a, layer in parts]).sum(0)
        shares = torch.autograd.grad(z, [a for a, _ in parts], relevance / _stable(z.detach(), epsilon))
        return [torch.stack([a.detach() * share for (a, _), share in zip(parts, shares, strict=True)]).sum(0)]

    with torch.no_grad():
        output = operation(*operation.arguments)
    return with_backward(output, [operation.arguments[0]], back)


def _pass(operation: Operation) -> Tensor:
    before = operation.arguments[0]
    return with_backward(operation(before), [before], lambda relevance: [relevance])


def _pool(operation: Operation) -> Tensor:
    return _share(operation, _as_it_is, STABILISER)


def _add(operation: Operation) -> Tensor:
    output = operation(*operation.arguments).detach()
    terms = [a for a in operation.arguments[:2] if isinstance(a, Tensor) and a.requires_grad]

    def back(relevance: Tensor) -> list[Tensor]:
        return [term.detach() * relevance / _stable(output, STABILISER) for term in terms]

    return with_backward(output, terms, back)


def _stable(z: Tensor, epsilon: float) -> Tensor:
    return z + torch.where(z < 0, -epsilon, epsilon)
