"""Examines a model for what makes methods go wrong on it, before a number is believed.

Three forward passes and a backward pass of two images find it; the model is left as it was. `interpbench.repair` mends
what can be mended. Which methods a fault rules out is said by what they need of a model, not by their names:

* all methods: the answer is not what is explained (no logits), or not the image's alone (chance, its neighbours).
* gradient methods: no gradient reaches the image, or a wrong one.
* CAM methods: the layer that they look at does not give what they need.
* methods for ReLUs: there is none.
* methods that hook activations: DeepLIFT, guided backprop and LRP give each activation module a rule, so every
  activation must be a module of its own that is called once and does not overwrite its input.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interpbench.core.batch_size import is_out_of_memory
from interpbench.core.errors import MethodError
from interpbench.core.layers import as_maps, last_spatial_layer
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.diagnosis.forward_pass import HAVE_MODES, Call, FunctionCall, Observation, observe
from interpbench.registry.plugin import Configured

Kind = Literal[
    "failure", "output", "no gradient", "wrong gradient", "chance", "batch", "own state", "train mode", "overwritten",
    "in-place activation", "functional activation", "reused activation", "hidden layer", "CAM layer", "token grid",
    "no rectifier",
]  # fmt: skip
Scope = Literal[
    "", "all methods", "gradient methods", "CAM methods", "methods that hook activations", "methods for ReLUs"
]
HOOKED: Scope = "methods that hook activations"
NATURE: frozenset[Kind] = frozenset({"no rectifier"})  # rules methods out, and is no fault
NOISE = 1e-4  # two answers that differ by less, as a share of the greatest logit, differ by rounding alone


@dataclass(frozen=True)
class Finding:
    """Something about a model that makes methods go wrong, or that a user should know.

    Attributes:
        kind: what sort of thing.
        where: the layers, by their dotted names, or the lines of code; empty if it is the model as a whole.
        what: what was found.
        advice: what to do about it.
        rules_out: which methods cannot be trusted on the model as it is; empty if none.
        repaired: whether a private copy is free of it.
    """

    kind: Kind
    where: tuple[str, ...]
    what: str
    advice: str
    rules_out: Scope = ""
    repaired: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        return asdict(self)

    def concerns(self, method: Configured) -> bool:
        """Whether it rules out a method, as far as the method's traits tell.

        A CAM method is one that has a parameter `layer`; if that is given, the card's layer does not matter. No trait
        tells whether a method hooks activations.
        """
        if self.repaired or not self.rules_out:
            return False
        if self.rules_out == "CAM methods":
            return "layer" in method.values and method.values["layer"] is None
        if self.rules_out == "methods for ReLUs":
            return bool(method.plugin.rectifiers)
        return self.rules_out == "all methods" or (self.rules_out == "gradient methods" and method.plugin.gradients)


@dataclass(frozen=True)
class Diagnosis:
    """What an examination found.

    Attributes:
        findings: the gravest first.
        seen: the forward pass that was watched, or None if it failed.
    """

    findings: tuple[Finding, ...]
    seen: Observation | None = field(default=None, repr=False)

    @property
    def kinds(self) -> set[Kind]:
        """The kinds of what is not repaired."""
        return {finding.kind for finding in self.findings if not finding.repaired}

    @property
    def ruled_out(self) -> list[str]:
        """Which methods are ruled out by what is not repaired."""
        return sorted({finding.rules_out for finding in self.findings if not finding.repaired} - {""})

    @property
    def healthy(self) -> bool:
        """Whether nothing rules methods out but what the model is by nature."""
        return not any(f.rules_out for f in self.findings if not f.repaired and f.kind not in NATURE)


@torch.enable_grad()
def examine(model: Model, x: Tensor | None = None, seed: int = 0, guard: Guard | None = None) -> Diagnosis:
    """Looks for each `Kind`. Never raises because of the model: what the model raises is a finding.

    Args:
        model: left as it was, with its weights, modes, hooks and buffers.
        x: float32 [B,C,S,S], normalised images on the model's device, of which the first two are used; None for
            seeded normal noise of the card's size.
        seed: of the noise, and of chance during the examination.
        guard: who watches over the model, if there is one: it holds a copy of the weights, which takes time to make.
    """
    guard = guard or Guard(model)
    buffers = {name: buffer.clone() for name, buffer in model.network.named_buffers()}
    with guard.watching(seed) as left:
        findings, seen = _look(model, two_images(model, x, seed))
    marked = [line.removesuffix(": value changed").removeprefix("network.") for line in left if "value changed" in line]
    # Batch norm writes its statistics without marking them as written.
    silent = [n for n, b in model.network.named_buffers() if not torch.allclose(b, buffers[n], 0, 0, equal_nan=True)]
    if silent:
        guard.changed_weights()
    return Diagnosis((*findings, *_own_state(dict.fromkeys([*marked, *silent]))), seen)


def two_images(model: Model, x: Tensor | None, seed: int) -> Tensor:
    """float32 [2,C,S,S]: the first two of x, or one and its mirror image; noise where x is None."""
    if x is None:
        weight = next(model.network.parameters(), torch.empty(0))
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(2, 3, model.card.size, model.card.size, generator=generator).to(weight.device)
    x = x.detach()[:2]
    return x if len(x) == 2 else torch.cat([x, x.flip(3)])


def _look(model: Model, x: Tensor) -> tuple[list[Finding], Observation | None]:
    leaf = x.clone().requires_grad_()
    given = leaf.clone()  # which the model may overwrite
    try:
        seen = observe(model.network, given, _target_layer(model))
    except Exception as error:
        return [_failure(error), *_train_mode(model.network, None)], None
    findings = list(_output(model, seen.output, x))
    logits = seen.output if not any("no logits" in finding.what for finding in findings) else None
    if logits is not None:
        findings += _gradient(model, seen, leaf, logits)
        findings += _repeats(model, seen, x, logits.detach())
        findings += _rectifiers(seen, logits)
    seen = replace(seen, output=None)  # and the graph behind it
    findings += _train_mode(model.network, seen)
    findings += _overwritten(model, seen, given)
    findings += _activations(seen)
    findings += _hidden(seen)
    findings += _layer(model, seen, x)
    return findings, seen


def _target_layer(model: Model) -> nn.Module | None:
    try:
        return model.target_layer
    except MethodError:
        return None


def _failure(error: Exception) -> Finding:
    if is_out_of_memory(error):
        return Finding("failure", (), "not examined: memory runs out with two images", "Use another device.")
    return Finding(
        "failure", (), f"the network fails: {type(error).__name__}: {error}",
        "It must take normalised float32 images [B,3,S,S] of the card's size, in eval mode.", "all methods",
    )  # fmt: skip


def _output(model: Model, output: Any, x: Tensor) -> Iterator[Finding]:
    """Whether the answer is logits."""
    expected = [len(x), model.card.classes]
    found = f"a tensor {list(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    if not isinstance(output, Tensor) or list(output.shape) != expected:
        yield Finding(
            "output", (), f"no logits: the network returns {found}, expected is a tensor {expected}",
            "Return the logits [B,classes] alone.", "all methods",
        )  # fmt: skip
    elif not bool(output.isfinite().all()):
        yield Finding(
            "output", (), "no logits: NaN or infinite numbers for ordinary images",
            "Check the weights and the normalisation that the card states.", "all methods",
        )  # fmt: skip
    elif expected[1] > 1 and bool((output >= 0).all()) and _close(output.sum(1), torch.ones_like(output[:, 0])):
        yield Finding(
            "output", (), "the rows sum to 1: these are probabilities, softmax is already applied",
            "Return what goes into the softmax: gradients and scores are defined on logits.", "all methods",
        )  # fmt: skip
    elif expected[1] > 1 and bool(output.logsumexp(1).abs().amax() <= NOISE):
        yield Finding(
            "output", (), "the exponentials of the rows sum to 1: these are logarithms of probabilities",
            "Probabilities are right, but gradients are those of log p: return what goes into the log-softmax.",
        )  # fmt: skip


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding, as a share of the greatest number."""
    return bool((a - b).abs().amax() <= NOISE * torch.maximum(a.abs().amax(), b.abs().amax()))


def _gradient(model: Model, seen: Observation, leaf: Tensor, logits: Tensor) -> Iterator[Finding]:
    """Whether the logits depend on the image, and a gradient says so."""
    ends = tuple(dict.fromkeys(call.place for call in seen.functions if call.cuts))
    gradient = None
    try:
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits.amax(1).sum(), leaf, allow_unused=True)
    except RuntimeError as error:
        what = f"the backward pass fails: {str(error).partition(chr(10))[0]}"
        yield (
            _failure(error)
            if is_out_of_memory(error)
            else Finding("no gradient", ends, what, "Let every step be differentiable.", "gradient methods")
        )
        return
    if gradient is not None and not bool(gradient.isfinite().all()):
        yield Finding(
            "no gradient", ends, "the gradient with respect to the image is NaN or infinite",
            "Look for a root, a logarithm or a division of zero.", "gradient methods",
        )  # fmt: skip
    elif gradient is not None and bool(gradient.any()):
        drawn = any(call.chance for call in seen.functions)  # then the slope is another each time
        if ends and not drawn and _slope_differs(model.network, leaf):
            yield Finding(
                "wrong gradient", ends, "a part of the network has no gradient; the rest is not the logit's slope",
                "Take detach() and no_grad() out of the forward pass.", "gradient methods",
            )  # fmt: skip
    elif _ignores(model.network, leaf, logits):
        yield Finding(
            "output", (), "the logits do not depend on the image", "Check the weights and the forward pass.",
            "all methods",
        )  # fmt: skip
    else:
        yield Finding(
            "no gradient", ends, "no gradient reaches the image, although the logits depend on it",
            "Look for detach(), no_grad(), argmax() and round() in the forward pass.", "gradient methods",
        )  # fmt: skip


def _ignores(network: nn.Module, x: Tensor, logits: Tensor) -> bool:
    """Whether quite other images have the same logits."""
    with torch.no_grad(), suppress(Exception):
        return torch.equal(network(-2 * x.detach()), logits)
    return False


def _slope_differs(network: nn.Module, x: Tensor) -> bool:
    """Whether the gradient is not what finite differences give, along one direction and in double precision."""
    try:
        exact, x = copy.deepcopy(network).double(), x.detach().double().requires_grad_()
        step = 1e-6 * x.detach().sign()
        score = exact(x).amax(1).sum()
        (gradient,) = torch.autograd.grad(score, x)
        with torch.no_grad():
            slope = (exact(x + step).amax(1).sum() - exact(x - step).amax(1).sum()) / 2
    except Exception:  # a network that cannot be copied, or that insists on single precision
        return False
    claimed = (gradient * step).sum()
    return bool((slope - claimed).abs() > 0.02 * torch.maximum(slope.abs(), claimed.abs()))


@torch.no_grad()
def _repeats(model: Model, seen: Observation, x: Tensor, logits: Tensor) -> Iterator[Finding]:
    """Whether an image has the same logits each time, and whatever else is in the batch."""
    try:
        again = model.network(x.clone())
    except Exception as error:
        yield _failure(error)
        return
    if not _close(again, logits):
        drawn = tuple(dict.fromkeys(call.place for call in seen.functions if call.chance))
        yield Finding(
            "chance", drawn, "the same images have other logits each time",
            "Draw nothing in eval mode: F.dropout(..., training=self.training).", "all methods",
        )  # fmt: skip
        return
    try:
        alone = torch.cat([model.network(image[None].contiguous()) for image in x])
        what = "an image's logits depend on the other images of the batch"
    except Exception as error:
        alone, what = torch.full_like(logits, torch.nan), f"one image alone fails: {type(error).__name__}: {error}"
    if not _close(alone, logits):
        yield Finding(
            "batch", (), what, "Treat each image by itself: no statistics over the batch in eval mode.", "all methods"
        )


def _train_mode(network: nn.Module, seen: Observation | None) -> Iterator[Finding]:
    training = [(name, module) for name, module in network.named_modules() if module.training]
    grave = [name or "model" for name, module in training if isinstance(module, HAVE_MODES)]
    grave += [call.place for call in seen.calls if call.name is None and call.training] if seen else []
    if grave or training:
        yield Finding(
            "train mode", tuple(dict.fromkeys(grave or [name or "model" for name, _ in training])),
            "in train mode" if grave else "in train mode, without a layer of torch that minds",
            "Call eval(), and register layers so that it reaches them.", "all methods" if grave else "",
        )  # fmt: skip


def _overwritten(model: Model, seen: Observation, given: Tensor) -> Iterator[Finding]:
    advice = "Take the in-place operation behind it out of the forward pass."
    if given._version:
        yield Finding("overwritten", ("input",), "the image is overwritten in place", advice, "gradient methods")
    if seen.overwritten:
        where = str(model.card.target_layer)
        yield Finding("overwritten", (where,), "the CAM layer's output is overwritten in place", advice, "CAM methods")


def _activations(seen: Observation) -> Iterator[Finding]:
    """Activations that a hook on modules misses or mistakes."""
    functions = [call for call in seen.functions if call.activation]
    in_place = [call.place for call in seen.activations() if call.in_place]
    reused = seen.reused()
    if in_place:
        yield Finding(
            "in-place activation", tuple(dict.fromkeys(in_place)), "overwrites its input, which hooks then misread",
            "Set inplace=False.", HOOKED,
        )  # fmt: skip
    if functions:
        yield Finding(
            "functional activation", tuple(dict.fromkeys(call.place for call in functions)),
            "called as a function, where no hook can be set", "Make it a module in __init__.", HOOKED,
        )  # fmt: skip
    if reused:
        yield Finding(
            "reused activation", tuple(reused), "one module is called several times, and its hooks mix the calls",
            "Give each call a module of its own.", HOOKED,
        )  # fmt: skip


def _rectifiers(seen: Observation, logits: Tensor) -> Iterator[Finding]:
    """Whether a network through which gradients flow has a ReLU at all."""
    calls: list[Call | FunctionCall] = [*seen.calls, *seen.functions]
    if logits.requires_grad and not any(call.rectifier for call in calls):
        yield Finding(
            "no rectifier", (), "no ReLU is called", "Leave out methods that give ReLUs a rule of their own.",
            "methods for ReLUs",
        )  # fmt: skip


def _hidden(seen: Observation) -> Iterator[Finding]:
    places = [call.place for call in seen.calls if call.name is None and call.caller is not None]
    if places:
        yield Finding(
            "hidden layer", tuple(dict.fromkeys(places)),
            "not registered: no hook finds it, and eval(), to(device) and state_dict() pass it by",
            "Keep layers as attributes, or in an nn.ModuleList or nn.ModuleDict.", HOOKED,
        )  # fmt: skip


def _own_state(names: dict[str, None]) -> Iterator[Finding]:
    if names:
        yield Finding(
            "own state", tuple(names), "a forward pass writes to the model's own buffers or weights",
            "Write nothing in eval mode.", "all methods",
        )  # fmt: skip


def _layer(model: Model, seen: Observation, x: Tensor) -> Iterator[Finding]:
    """Whether the layer that the card names gives maps for CAM methods."""
    name, layer = model.card.target_layer, _target_layer(model)
    if name is None or layer is None:
        hidden = [call.place for call in seen.calls if call.place.replace("[", ".").replace("]", "") == name]
        what = "the card names no layer" if name is None else f"there is no layer {name!r}"
        yield _wrong_layer(model, seen, x, hidden or [name], what + (", it is not registered" if hidden else ""))
        return
    names = {id(module): full for full, module in model.network.named_modules()}
    calls = [call for call in seen.calls if call.name == names[id(layer)]]
    problem = _no_maps(calls)
    if problem:
        yield _wrong_layer(model, seen, x, [name], problem)
    elif calls[0].shape is not None and len(calls[0].shape) == 3:
        _, count, _ = calls[0].shape
        side = int(count**0.5)
        before = {0: "no class token", 1: "a class token"}.get(count - side**2, f"{count - side**2} other tokens")
        yield Finding(
            "token grid", (name,), f"{count} tokens: {before} and a grid of {side}x{side}",
            "CAM methods here read it as maps; elsewhere give them a reshape_transform.",
        )  # fmt: skip


def _no_maps(calls: list[Call]) -> str:
    """Why a layer's calls give no maps to look at; empty if they do."""
    if len(calls) != 1:
        return f"is called {len(calls)} times in a forward pass" if calls else "is never called"
    if calls[0].shape is None:
        return "returns no tensor"
    try:
        height, width = as_maps(torch.empty(calls[0].shape, device="meta")).shape[2:]
    except MethodError as error:
        return str(error)
    return "" if height * width > 1 else f"gives maps of {height}x{width}, with nothing to localise"


def _wrong_layer(model: Model, seen: Observation, x: Tensor, where: Iterable[str | None], what: str) -> Finding:
    better = better_layer(model, seen, x)
    advice = f"Name {better!r}." if better else "No layer has maps that matter to the logits: leave CAM methods out."
    return Finding("CAM layer", tuple(filter(None, where)), what, advice, "CAM methods")


def better_layer(model: Model, seen: Observation, x: Tensor) -> str | None:
    """The name of the layer that CAM methods should look at, or None if none is found."""
    with suppress(Exception):  # the network's own faults are findings of their own
        best = last_spatial_layer(model.network, x)
        times = Counter(call.name for call in seen.calls)
        once = [call.name for call in seen.calls if call.name and times[call.name] == 1 and not _no_maps([call])]
        return best if best in once or best is None else next(reversed(once), None)
    return None
