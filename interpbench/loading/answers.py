"""What a network returns for images -> scores [B,classes], which are what methods explain.

Two images of noise show where in a dict, tuple or dataclass the answers are, and what they are: one
logit, probabilities, or logits. What is certain is used, and said; what is not is asked for. See
`core.outputs` for what is made of them.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import Node

from interpbench.core.errors import OutputsError, PluginError
from interpbench.core.layers import is_scripted
from interpbench.core.outputs import READ, Outputs, scores_of

IMAGES = 2
NAMES = ("logits", "logit", "out", "output", "outputs", "pred", "preds", "prediction", "main")
NOISE = 1e-4  # by which a sum of probabilities may differ from 1
LOGITS: tuple[Outputs, ...] = ("softmax", "sigmoid", "binary")
# Of the graph of gradients, in small letters: layers, behind which anything can come out, and
# functions that may be what keeps answers in 0..1.
LAYERS = ("addmm", "mmbackward", "bmm", "convolution", "norm", "accumulategrad")
BOUNDING = ("exp", "reciprocal", "clamp", "hardtanh", "tanh", "softmax", "jit", "compiled")


@dataclass(frozen=True)
class Step:
    """One step into what a network returns: an attribute's name, or an item's key or index."""

    key: Any
    is_attribute: bool = False

    def __str__(self) -> str:
        return f".{self.key}" if self.is_attribute else f"[{self.key!r}]"


@dataclass(frozen=True)
class Reading:
    """How what a network returns becomes scores.

    Attributes:
        outputs: what the answers are.
        columns: of the answers; None where they could not be looked at.
        path: where they are in what the network returns.
        dimensions: of the tensor there.
        notices: what the user should know of it, a sentence each.
    """

    outputs: Outputs = "softmax"
    columns: int | None = None
    path: tuple[Step, ...] = ()
    dimensions: int = 2
    notices: tuple[str, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether there is one answer an image, which tells two classes apart."""
        return self.columns == 1 and self.outputs != "softmax"

    @property
    def changes(self) -> bool:
        """Whether scores are something else than what the network returns."""
        as_they_are = self.outputs in ("softmax", "sigmoid", "log-softmax")
        return bool(self.path) or self.dimensions != 2 or self.is_single or not as_they_are

    def __call__(self, returned: Any) -> Tensor:
        """The scores, float [B,classes]."""
        for step in self.path:
            returned = getattr(returned, step.key) if step.is_attribute else returned[step.key]
        answers = cast(Tensor, returned)
        if self.dimensions < 2:  # of one image alone, `squeeze` leaves nothing
            answers = answers.reshape(-1, 1)
        elif self.dimensions > 2:
            answers = answers.flatten(1)
        return scores_of(answers, self.outputs, self.columns or 0)


@dataclass(frozen=True)
class Expected:
    """What is known of a network's answers before it is asked.

    Attributes:
        model: what it is called in errors, such as `Model 'mine'`.
        classes: how many there are, by the data set or the weights.
        outputs: what somebody says that the answers are; None if nobody does.
        stated_by: who, in words.
        trained: whether its weights are; else there is nothing to be right about.
        own: whether the network is the user's own, of which nothing else is known.
    """

    model: str
    classes: int
    outputs: Outputs | None = None
    stated_by: str = ""
    trained: bool = True
    own: bool = False


def ask(network: nn.Module, shape: tuple[int, int, int]) -> Any:
    """What a network returns for two images of noise; raises what the network raises.

    With a graph of gradients, which tells of the last operations, unless it fails with one or is
    TorchScript, which is compiled by what it is first called with.

    Parameters:
        network: in eval mode.
        shape: channels, height and width of its images.
    """
    noise = torch.randn(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        if not is_scripted(network):
            with suppress(Exception), torch.enable_grad():
                return network(noise.clone().requires_grad_().clone())  # which it may overwrite
        with torch.no_grad():
            return network(noise)


def reading_of(returned: Any, expected: Expected) -> Reading:
    """How scores are read off what a network returned for two images.

    Raises:
        PluginError: if no answer [B,classes] is in it, or several are.
        OutputsError: if it is not known what the answers are, or they are not what is said.
    """
    found = _find(returned, expected)
    if found is None:
        return Reading(expected.outputs or "softmax")
    path, tensor = found
    notices = []
    if path:
        where = "".join(map(str, path))
        notices.append(f"Its answers are {where} of the {type(returned).__name__} that it returns.")
    if tensor.ndim > 2:
        notices.append(f"Its answers [B,{','.join(map(str, tensor.shape[1:]))}] are flattened.")
    answers = tensor.reshape(IMAGES, -1)
    columns = answers.shape[1]
    outputs, why = expected.outputs, f"as {expected.stated_by} says"
    if outputs == "sigmoid" and columns == 1:
        outputs = "binary"
    if outputs is None:
        outputs, why = _outputs(answers, expected)
    else:
        _refuse_others(answers.detach(), outputs, expected)
        if outputs in LOGITS and _in_range(answers.detach()) and _origin(answers) == "sigmoid":
            raise OutputsError(
                f"{expected.model} ends in a sigmoid, so its answers are no {outputs} logits, as "
                f"{expected.stated_by} says. State sigmoid-probabilities with --outputs."
            )
    if outputs == "softmax" and expected.outputs is None and expected.own:
        notices.append(
            "Its outputs are taken to be logits of a softmax; if each class has a probability of "
            "its own, state --outputs sigmoid."
        )
    if outputs != "softmax":
        notices.append(f"Its outputs are {outputs}, {why}: {READ[outputs]}.")
    return Reading(outputs, columns, path, tensor.ndim, tuple(notices))


def answering(network: nn.Module, reading: Reading) -> nn.Module:
    """The network, which from now on returns scores.

    Its layers keep their names; only where its forward is none of its class's, they stand below
    `network`.
    """
    if not reading.changes:
        return network
    own_forward = "forward" in vars(network) or network._compiled_call_impl is not None
    if own_forward or isinstance(network, torch.jit.ScriptModule | fx.GraphModule):
        return _Around(network, reading)
    inner: Any = type(network)

    def forward(self: nn.Module, x: Tensor) -> Tensor:
        return reading(inner.forward(self, x))

    network.__class__ = type(inner.__name__, (inner,), {"forward": forward})
    return network


class _Around(nn.Module):
    """A network inside of another, which reads its answers."""

    def __init__(self, network: nn.Module, reading: Reading) -> None:
        super().__init__()
        self.network = network
        self._reading = reading

    def forward(self, x: Tensor) -> Tensor:
        return self._reading(self.network(x))


@dataclass(frozen=True)
class _Leaf:
    """A tensor in what a network returns: where, and what it is called there."""

    path: tuple[Step, ...]
    name: str
    tensor: Tensor

    @property
    def is_answer(self) -> bool:
        """Whether it is one row, or one number, for each of the images."""
        shape = self.tensor.shape
        fits = len(shape) > 0 and shape[0] == IMAGES and all(side == 1 for side in shape[2:])
        return fits and self.tensor.is_floating_point() and self.tensor.numel() > 0

    @property
    def columns(self) -> int:
        return self.tensor.numel() // IMAGES

    def __str__(self) -> str:
        return f"{''.join(map(str, self.path))} {list(self.tensor.shape)}".strip()


def _leaves(value: Any, path: tuple[Step, ...] = (), name: str = "") -> Iterator[_Leaf]:
    """The tensors in dicts, tuples, lists, named tuples and dataclasses."""
    inside: list[tuple[Step, Any]] = []
    if isinstance(value, Tensor):
        yield _Leaf(path, name.lower(), value)
    elif isinstance(value, Mapping):
        inside = [(Step(key), item) for key, item in value.items()]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        inside = [(Step(key, True), getattr(value, key)) for key in value._fields]
    elif isinstance(value, tuple | list):
        inside = [(Step(index), item) for index, item in enumerate(value)]
    elif is_dataclass(value):
        inside = [(Step(field.name, True), getattr(value, field.name)) for field in fields(value)]
    for step, item in inside:
        yield from _leaves(item, (*path, step), name if isinstance(step.key, int) else step.key)


def _find(returned: Any, expected: Expected) -> tuple[tuple[Step, ...], Tensor] | None:
    """Where the answers are; None for what an examination will say is no answer.

    Raises:
        PluginError: if there are none in a container or a map of classes, or there are several.
    """
    leaves = list(_leaves(returned))
    answers = [leaf for leaf in leaves if leaf.is_answer]
    chosen = _chosen(answers, expected.classes)
    if chosen is not None:
        return chosen.path, chosen.tensor
    kind = type(returned).__name__
    maps = [leaf for leaf in leaves if leaf.tensor.ndim == 4 and len(leaf.tensor) == IMAGES]
    if answers:
        raise PluginError(
            f"{expected.model} returns several answers [B,classes] for {IMAGES} images, and none "
            f"is called logits: {', '.join(map(str, answers))} of the {kind}. Let its forward "
            "return the logits alone, or a dict that names them."
        )
    if maps:
        raise PluginError(
            f"{expected.model} returns maps, {maps[0]} for {IMAGES} images, as for segmentation: "
            "expected is an answer [B,classes] for the image as a whole. Let its forward return "
            "one, such as the mean of the maps over the positions that are asked about."
        )
    if isinstance(returned, Tensor) or not (leaves or isinstance(returned, Mapping | tuple | list)):
        return None
    inside = ", ".join(map(str, leaves)) or "no tensor"
    raise PluginError(
        f"{expected.model} returns a {kind} with {inside} for {IMAGES} images: expected is an "
        "answer [B,classes] in it. Let its forward return the logits."
    )


def _chosen(answers: list[_Leaf], classes: int) -> _Leaf | None:
    """The answers that are meant: by their name, as the only ones, or by how many classes."""
    for name in NAMES:
        called = [leaf for leaf in answers if leaf.name == name]
        if len(called) == 1:
            return called[0]
    main = [leaf for leaf in answers if not leaf.name.startswith("aux")]
    for candidates in (main, [leaf for leaf in main if leaf.columns == classes]):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _outputs(answers: Tensor, expected: Expected) -> tuple[Outputs, str]:
    """What answers [B,K] are that nobody has said anything of, and why, in words.

    Raises:
        OutputsError: if they may be probabilities with a sigmoid applied, or logits.
    """
    values = answers.detach()
    if not bool(values.isfinite().all()):
        return "softmax", ""
    if _sum_to_one(values):
        return "probabilities", "since its rows sum to 1"
    if _are_logarithms(values):
        return "log-softmax", "since the exponentials of its rows sum to 1"
    origin = _origin(answers) if _in_range(values) else "layer"
    if origin == "sigmoid":
        return "sigmoid-probabilities", "since it ends in a sigmoid"
    if origin == "unknown" and expected.trained:
        raise OutputsError(
            f"{expected.model} gives numbers in 0..1, which may be probabilities with a sigmoid "
            "applied, or logits. Say which with --outputs sigmoid-probabilities, or --outputs "
            f"{'binary' if answers.shape[1] == 1 else 'softmax or sigmoid'}; or on its weights' "
            "card; or let its plugin say it, Pretrained(outputs=...)."
        )
    if answers.shape[1] == 1:
        return "binary", "since it gives one number an image"
    return "softmax", ""


def _refuse_others(values: Tensor, outputs: Outputs, expected: Expected) -> None:
    """Raises OutputsError if answers [B,K] are not what is said of them."""
    columns = values.shape[1]
    fact, right = "", ""
    if columns == 1 and outputs in ("softmax", "log-softmax", "probabilities"):
        fact, right = "it gives one number an image", "binary or sigmoid-probabilities"
    elif columns > 1 and outputs == "binary":
        fact, right = f"it gives {columns} numbers an image", "softmax or sigmoid"
    elif not bool(values.isfinite().all()):
        return
    elif outputs in LOGITS and _sum_to_one(values):
        fact, right = "its rows sum to 1", "probabilities"
    elif outputs == "sigmoid" and _are_logarithms(values):
        fact, right = "the exponentials of its rows sum to 1", "log-softmax"
    elif outputs == "probabilities" and not _sum_to_one(values):
        fact, right = f"a row sums to {float(values[0].sum()):.4g}", "what it gives"
    elif outputs == "log-softmax" and not _are_logarithms(values):
        total = float(values[0].exp().sum())
        fact, right = f"the exponentials of a row sum to {total:.4g}", "what it gives"
    elif outputs == "sigmoid-probabilities" and not _in_range(values):
        outside = float(values[(values < 0) | (values > 1)][0])
        fact, right = f"it gives {outside:.4g}", "binary" if columns == 1 else "sigmoid"
    if fact:
        raise OutputsError(
            f"{expected.model} does not give {outputs}, as {expected.stated_by} says: {fact}. "
            f"State {right} with --outputs."
        )


def _in_range(values: Tensor) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _sum_to_one(values: Tensor) -> bool:
    off = (values.sum(1) - 1).abs().amax()
    return values.shape[1] > 1 and bool((values >= 0).all()) and bool(off <= NOISE)


def _are_logarithms(values: Tensor) -> bool:
    return values.shape[1] > 1 and bool(values.logsumexp(1).abs().amax() <= NOISE)


def _origin(answers: Tensor) -> Literal["sigmoid", "layer", "unknown"]:
    """What numbers in 0..1 come from, by the graph of gradients.

    A sigmoid on every way from the last layers; the layers themselves, with nothing that keeps
    numbers in bounds; or nobody knows.
    """
    found: set[str] = set()
    waiting: list[Node | None] = [answers.grad_fn]
    passed: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in passed:
            continue
        passed.add(node)
        name = node.name().lower()
        kinds = {"sigmoid": ("sigmoid",), "unknown": BOUNDING, "layer": LAYERS}
        kind = next((kind for kind, parts in kinds.items() if any(p in name for p in parts)), "")
        if kind:
            found.add(kind)
        else:
            waiting += [before for before, _ in node.next_functions]
    if found == {"sigmoid"}:
        return "sigmoid"
    return "unknown" if "unknown" in found or not found else "layer"
