"""Backward passes other than the gradient's: a rule for each operation, however it is spelled.

A mode that sees every torch function stands between the network and torch, so that `nn.ReLU()`,
`F.relu(x)`, `x.relu_()` and a module that is called twice all come to the same rule. Hooks on
modules see only the first. Operations in place are carried out on copies, so that what rules keep
for the backward pass stays what it was.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interpbench.core.activations import ACTIVATIONS, is_in_place
from interpbench.core.errors import MethodError
from interpbench.core.layers import is_scripted
from interpbench.core.passes_counted import count_pass
from interpbench.core.stand_ins import stand_in_under_rules

Back = Callable[[Tensor], Sequence[Tensor]]  # the output's gradient -> one for each input
WITH_WEIGHTS = ("linear", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)))
FOLDED = {*WITH_WEIGHTS, "batch_norm"}  # which a folded copy of the network has not, or others of
# Operations that only move numbers about, or change nothing in eval mode.
MOVING = frozenset(
    {
        "T", "cat", "channel_shuffle", "chunk", "clone", "concat", "contiguous", "expand",
        "expand_as", "flatten", "float", "getitem", "mT", "movedim", "narrow", "pad", "permute",
        "pixel_shuffle", "pixel_unshuffle", "reshape", "roll", "split", "squeeze", "stack", "t",
        "to", "transpose", "type_as", "unbind", "unflatten", "unsqueeze", "view", "view_as",
        "alpha_dropout", "dropout", "dropout1d", "dropout2d", "feature_dropout",
    }
)  # fmt: skip
ELEMENTWISE = frozenset(ACTIVATIONS) - {"max_pool2d"}  # a position's output is its input's alone
OVERWRITING_OPERATORS = (
    "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ipow__", "__setitem__",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """A call of a torch function.

    Attributes:
        name: without underscores and the letters of operators in place: `relu` for `F.relu` and
            `Tensor.relu_`, `add` for `+`, `+=` and `torch.add`.
        arguments: the positional ones; input, weight and bias are always among them.
        named: the keyword arguments.

    Example:
        A rule gets one and gives the output; here it looks at what it got:

        >>> def rule(operation):
        ...     print(operation.name, len(operation.arguments), dict(operation.named))
        ...     return operation(*operation.arguments)
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> logits = interpbench.run_with_rules(lambda x: x.softmax(dim=1), x, {"softmax": rule})
        softmax 1 {'dim': 1}
    """

    name: str
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    _call: Callable[..., Tensor]

    def __call__(self, *arguments: Any) -> Tensor:
        """The operation with other leading arguments; none of them is overwritten."""
        return self._call(*arguments, *self.arguments[len(arguments) :], **self.named)


_at_work: ContextVar[bool] = ContextVar("rules are carried out", default=False)
Rule = Callable[[Operation], Tensor]  # carries an operation out and gives its output


def run_with_rules(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    rules: Mapping[str, Rule],
    *,
    through: Collection[str] | None = None,
    method: str = "",
) -> Tensor:
    """The model's logits for x, with a gradient that is what the rules make it.

    Parameters:
        model: gives logits [B,classes]; its parameters have no gradients.
        x: float [B,C,H,W], with a gradient.
        rules: operation's name -> its rule: a function that gives the operation's output, see
            `with_backward`.
        through: names of the operations without a rule that keep their gradient; None for all.
        method: the name of the method, for the error.

    Raises:
        MethodError: for an operation that has no rule and is not let through, and for TorchScript,
            whose operations nobody sees.

    Example:
        Guided backpropagation: a ReLU lets through what is positive, forwards and backwards.

        >>> def relu(operation):
        ...     x = operation.arguments[0]
        ...     def back(gradient):
        ...         return [gradient.clamp(min=0) * (x > 0)]
        ...     return interpbench.with_backward(operation(x), [x], back)
        >>> def network(x):
        ...     return x.relu() @ torch.tensor([[1.0], [-1.0], [1.0]])
        >>> x = torch.tensor([[2.0, 3.0, -4.0]], requires_grad=True)
        >>> logits = interpbench.run_with_rules(network, x, {"relu": relu})
        >>> logits.item()
        -1.0
        >>> torch.autograd.grad(logits.sum(), x)[0]  # the gradient itself is 1, -1, 0
        tensor([[1., 0., 0.]])
    """
    if isinstance(model, nn.Module) and is_scripted(model):
        raise MethodError(
            f"{method or 'It'} gives operations rules of its own, and TorchScript shows none: "
            "explain the Python module that it was made from."
        )
    mode = _Rules(rules, through, method)
    stand_in = None if FOLDED & rules.keys() else stand_in_under_rules(model, x)
    token = _at_work.set(True)
    try:
        with torch.enable_grad(), mode:
            logits = model(x) if stand_in is None else stand_in(x)
        with torch.enable_grad():
            logits = mode.current(logits).clone()  # a caller's own, whatever rules keep
    finally:
        _at_work.reset(token)
    if stand_in is not None:  # a model counts its own
        count_pass(logits)
    return logits


def with_backward(output: Tensor, inputs: Sequence[Tensor], back: Back) -> Tensor:
    """The output with a backward pass of its own: a copy, or where rules are carried out itself.

    There nothing is overwritten, so that what a rule keeps for its backward pass stays what it was.

    Parameters:
        output: of an operation, of any shape.
        inputs: the tensors that a gradient goes back to.
        back: gets the output's gradient, gives one for each of the inputs, of its shape.

    Example:
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> y = interpbench.with_backward(x.round(), [x], lambda gradient: [gradient])
        >>> y.backward()
        >>> x.grad  # of round() itself it is 0
        tensor([1.])
    """
    given = output.detach() if _at_work.get() else output.detach().clone()
    found: Tensor = _WithBackward.apply([given], back, *inputs)
    return found


class _WithBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: list[Tensor], back: Back, *inputs: Tensor) -> Tensor:
        ctx.back = back
        return output[0]  # in a list, as autograd would copy an input that comes back

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return None, None, *ctx.back(gradient)


class _Rules(TorchFunctionMode):
    """Gives operations through which a gradient flows to their rules.

    What an operation overwrites gets a stand-in.
    """

    def __init__(
        self, rules: Mapping[str, Rule], through: Collection[str] | None, method: str
    ) -> None:
        super().__init__()
        self._rules = rules
        self._through = through
        self._method = method
        # By id: the tensor, which so lives on, and what stands for it.
        self._overwritten: dict[int, tuple[Tensor, Tensor]] = {}

    def current(self, value: Any) -> Any:
        """What stands for a value, after all that has overwritten it."""
        if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
            return type(value)(self.current(item) for item in value)
        while isinstance(value, Tensor) and id(value) in self._overwritten:
            value = self._overwritten[id(value)][1]
        return value

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        first = args[0] if args else None
        args = tuple(self.current(argument) for argument in args)
        kwargs = {key: self.current(value) for key, value in (kwargs or {}).items()}
        if not (_flows_through(args) or _flows_through(kwargs.values())):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "__get__":  # of a property such as `T`
            name = getattr(getattr(func, "__self__", None), "__name__", "")
        overwrites = _overwrites(name, args, kwargs)
        operation = _operation(name, func, args, kwargs, overwrites)
        if operation.name in self._rules:
            output: Any = self._rules[operation.name](operation)
        elif overwrites and name == "__setitem__":
            output = args[0].clone()
            func(output, *args[1:], **kwargs)
        else:
            output = operation(*operation.arguments)
            self._refuse_unknown(operation.name, output)
        if overwrites and isinstance(first, Tensor) and output is not first:
            self._overwritten[id(first)] = (first, output)
        return output

    def _refuse_unknown(self, name: str, output: Any) -> None:
        if self._through is None or name in self._through:
            return
        if _flows_through((output,)):
            raise MethodError(
                f"{self._method} has no rule for the operation {name!r}, which this model has. "
                "Choose another method or model."
            )


def _operation(
    name: str,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    overwrites: bool,
) -> Operation:
    plain = name.strip("_")
    if name.startswith(("__i", "__r")) and name.endswith("__"):  # += and the reflected +
        plain = {"iadd": "add", "radd": "add", "imul": "mul", "rmul": "mul"}.get(plain, plain)
    positional = ("input", "weight", "bias") if plain in WITH_WEIGHTS else ("input",)
    kwargs = dict(kwargs)
    args = (*args, *(kwargs.pop(key) for key in positional[len(args) :] if key in kwargs))

    if name in ACTIVATIONS and kwargs.get("inplace"):  # gives a new tensor at once, if asked
        kwargs["inplace"], overwrites = False, False

    def call(first: Any, *others: Any, **named: Any) -> Any:
        return func(first.clone() if overwrites else first, *others, **named)

    return Operation(plain, args, kwargs, call)


def _overwrites(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a function overwrites its first argument."""
    if name.startswith("__"):
        return name in OVERWRITING_OPERATORS
    if name.rstrip("_") in ACTIVATIONS:
        return is_in_place(name, args, kwargs)
    return name.endswith("_") or bool(kwargs.get("inplace", False))


def _flows_through(values: Iterable[Any]) -> bool:
    """Whether a tensor among them, or in a container, has a gradient. Asked of every function."""
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad:
                return True
        elif isinstance(value, list | tuple):
            if _flows_through(value):
                return True
        elif isinstance(value, dict) and _flows_through(value.values()):
            return True
    return False


def batch_norm_as_affine(operation: Operation) -> tuple[Tensor, Tensor]:
    """Factor and shift [C] of a call of `F.batch_norm` in eval mode.

    Its output is factor · input + shift.

    Raises:
        MethodError: if it takes its statistics from the batch.

    Example:
        >>> norm = torch.nn.BatchNorm2d(1, eps=0.0).eval()  # weight 1, bias 0
        >>> norm.running_mean, norm.running_var = torch.tensor([6.0]), torch.tensor([4.0])
        >>> def rule(operation):
        ...     factor, shift = interpbench.batch_norm_as_affine(operation)
        ...     print(factor.item(), shift.item())  # (x - 6) / 2
        ...     return operation(*operation.arguments)
        >>> x = torch.zeros(1, 1, 2, 2, requires_grad=True)
        >>> output = interpbench.run_with_rules(norm, x, {"batch_norm": rule})
        0.5 -3.0
    """
    call = inspect.signature(F.batch_norm).bind(*operation.arguments, **operation.named)
    call.apply_defaults()
    arguments = call.arguments
    mean, variance = arguments["running_mean"], arguments["running_var"]
    if mean is None or variance is None or arguments["training"]:
        raise MethodError(
            "batch norm takes its statistics from the batch: put the model into eval mode."
        )
    weight = arguments["weight"] if arguments["weight"] is not None else torch.ones_like(mean)
    bias = arguments["bias"] if arguments["bias"] is not None else torch.zeros_like(mean)
    factor = weight / (variance + arguments["eps"]).sqrt()
    return factor, bias - mean * factor
