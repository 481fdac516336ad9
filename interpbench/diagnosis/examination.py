"""Examines a model for what makes methods go wrong on it, before a number is believed.

Three forward passes and a backward pass of two images find it; the model is left as it was.
`repair` mends what can be mended. Which methods a fault rules out is said by what they need of a
model, not by their names:

* all methods: the answer is not what is explained (no logits), or not the image's alone (chance,
  its neighbours).
* gradient methods: no gradient reaches the image, or a wrong one.
* CAM methods: the layer that they look at does not give what they need.
* methods for ReLUs: there is none.
* methods that hook activations: DeepLIFT, guided backprop and LRP give each activation module a
  rule, so every activation must be a module of its own that is called once and does not overwrite
  its input.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interpbench.core.batch_size import is_out_of_memory
from interpbench.core.errors import MethodError, in_one_line
from interpbench.core.layers import as_maps, last_spatial_layer
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.diagnosis.forward_pass import (
    HAVE_MODES,
    FunctionCall,
    LayerCall,
    Observation,
    observe,
)
from interpbench.registry.plugin import Configured

Kind = Literal[
    "failure", "output", "no gradient", "wrong gradient", "chance", "batch", "own state",
    "train mode", "overwritten", "in-place activation", "functional activation",
    "reused activation", "hidden layer", "CAM layer", "token grid", "no rectifier", "preparation",
    "dead units", "saturated units", "vanishing gradient", "exploding gradient",
]  # fmt: skip
Scope = Literal[
    "",
    "all methods",
    "gradient methods",
    "CAM methods",
    "methods that hook activations",
    "methods for ReLUs",
]
HOOKED: Scope = "methods that hook activations"
NATURE: frozenset[Kind] = frozenset({"no rectifier"})  # rules methods out, and is no fault
# Two answers that differ by less, as a share of the greatest logit, differ by rounding alone.
NOISE = 1e-4


@dataclass(frozen=True)
class Finding:
    """Something about a model that makes methods go wrong, or that a user should know.

    Attributes:
        kind: what sort of thing.
        where: the layers, by their dotted names, or the lines of code; empty if it is the model as
            a whole.
        what: what is wrong.
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

    def concerns(self, method: Configured) -> bool:
        """Whether it rules out a method, as far as the method's traits tell.

        A CAM method is one that has a parameter `layer`; if that is given, the card's layer does
        not matter. No trait tells whether a method hooks activations.
        """
        if self.repaired or not self.rules_out:
            return False
        if self.rules_out == "CAM methods":
            return "layer" in method.values and method.values["layer"] is None
        if self.rules_out == "methods for ReLUs":
            return bool(method.plugin.rectifiers)
        return self.rules_out == "all methods" or (
            self.rules_out == "gradient methods" and method.plugin.gradients
        )


@dataclass(frozen=True)
class Diagnosis:
    """What an examination brought to light.

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
        scopes = {finding.rules_out for finding in self.findings if not finding.repaired}
        return sorted(scopes - {""})

    @property
    def healthy(self) -> bool:
        """Whether nothing rules methods out but what the model is by nature."""
        return not any(
            finding.rules_out
            for finding in self.findings
            if not finding.repaired and finding.kind not in NATURE
        )


@torch.enable_grad()
def examine(
    model: Model, x: Tensor | None = None, seed: int = 0, guard: Guard | None = None
) -> Diagnosis:
    """Looks for each `Kind`. Never raises because of the model: what the model raises is a finding.

    Parameters:
        model: left as it was, with its weights, modes, hooks and buffers.
        x: float32 [B,C,S,S], normalised images on the model's device, of which the first two are
            used; None for seeded normal noise of the card's size.
        seed: of the noise, and of chance during the examination.
        guard: who watches over the model, if there is one: it holds a copy of the weights, which
            takes time to make.
    """
    guard = guard or Guard(model)
    buffers = {name: buffer.clone() for name, buffer in model.network.named_buffers()}
    with guard.watching(seed) as left_behind:
        findings, seen = _look(model, two_images(model, x, seed))
    marked = [
        line.removesuffix(": value changed").removeprefix("network.")
        for line in left_behind
        if "value changed" in line
    ]
    # Batch norm writes its statistics without marking them as written.
    unmarked = [
        name
        for name, buffer in model.network.named_buffers()
        if not torch.allclose(buffer, buffers[name], 0, 0, equal_nan=True)
    ]
    if unmarked:
        guard.changed_weights()
    return Diagnosis((*findings, *_own_state(dict.fromkeys([*marked, *unmarked]))), seen)


def two_images(model: Model, x: Tensor | None, seed: int) -> Tensor:
    """float32 [2,C,S,S]: the first two of x, or one and its mirror image; noise where x is None."""
    if x is None:
        weight = next(model.network.parameters(), torch.empty(0))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, *model.card.preparation.shape, generator=generator)
        x = noise.to(weight.device)
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
        return Finding(
            "failure", (), "not examined: memory runs out with two images", "Use another device."
        )
    return Finding(
        "failure",
        (),
        f"the network fails: {in_one_line(error)}",
        "It must take normalised float32 images [B,3,S,S] of the card's size, in eval mode.",
        "all methods",
    )


def _output(model: Model, output: Any, x: Tensor) -> Iterator[Finding]:
    """Whether the answer is logits."""
    expected = [len(x), model.card.classes]
    is_tensor = isinstance(output, Tensor)
    given = f"a tensor {list(output.shape)}" if is_tensor else f"a {type(output).__name__}"
    if not isinstance(output, Tensor) or list(output.shape) != expected:
        yield Finding(
            "output",
            (),
            f"no logits: the network returns {given}, expected is a tensor {expected}",
            "Return the logits [B,classes] alone.",
            "all methods",
        )
    elif not bool(output.isfinite().all()):
        yield Finding(
            "output",
            (),
            "no logits: NaN or infinite numbers for ordinary images",
            "Check the weights and the normalisation that the card states.",
            "all methods",
        )
    elif model.card.outputs != "softmax" or expected[1] == 1:
        return  # they are read as what they are, which is said where the model is loaded
    elif _are_probabilities(output):
        yield Finding(
            "output",
            (),
            "the rows sum to 1: these are probabilities, softmax is already applied",
            "Return what goes into the softmax: gradients and scores are defined on logits. Or "
            "state --outputs probabilities.",
            "all methods",
        )
    elif bool(output.logsumexp(1).abs().amax() <= NOISE):
        yield Finding(
            "output",
            (),
            "the exponentials of the rows sum to 1: these are logarithms of probabilities",
            "Probabilities are right, but gradients are those of log p: "
            "return what goes into the log-softmax.",
        )


def _are_probabilities(output: Tensor) -> bool:
    not_negative = bool((output >= 0).all())
    return not_negative and _close(output.sum(1), torch.ones_like(output[:, 0]))


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding, as a share of the greatest number."""
    return bool((a - b).abs().amax() <= NOISE * torch.maximum(a.abs().amax(), b.abs().amax()))


def _gradient(model: Model, seen: Observation, leaf: Tensor, logits: Tensor) -> Iterator[Finding]:
    """Whether the logits depend on the image, and a gradient says so."""
    ends = tuple(dict.fromkeys(call.place for call in seen.functions if call.cuts))
    gradient = None
    try:
        if logits.requires_grad:
            with warnings.catch_warnings():  # of operations without a gradient, which are found
                warnings.simplefilter("ignore")
                (gradient,) = torch.autograd.grad(logits.amax(1).sum(), leaf, allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            yield _failure(error)
            return
        yield Finding(
            "no gradient",
            ends,
            f"the backward pass fails: {in_one_line(error)}",
            "Let every step be differentiable.",
            "gradient methods",
        )
        return
    if gradient is not None and not bool(gradient.isfinite().all()):
        yield Finding(
            "no gradient",
            ends,
            "the gradient with respect to the image is NaN or infinite",
            "Look for a root, a logarithm or a division of zero.",
            "gradient methods",
        )
    elif gradient is not None and bool(gradient.any()):
        chance = any(call.chance for call in seen.functions)  # then the slope varies
        if ends and not chance and _slope_differs(model.network, leaf):
            yield Finding(
                "wrong gradient",
                ends,
                "a part of the network has no gradient; the rest is not the logit's slope",
                "Take detach() and no_grad() out of the forward pass.",
                "gradient methods",
            )
    elif _ignores(model.network, leaf, logits):
        yield Finding(
            "output",
            (),
            "the logits do not depend on the image",
            "Check the weights and the forward pass.",
            "all methods",
        )
    else:
        yield Finding(
            "no gradient",
            ends,
            "no gradient reaches the image, although the logits depend on it",
            "Look for detach(), no_grad(), argmax() and round() in the forward pass.",
            "gradient methods",
        )


def _ignores(network: nn.Module, x: Tensor, logits: Tensor) -> bool:
    """Whether quite other images have the same logits."""
    with torch.no_grad(), suppress(Exception):
        return torch.equal(network(-2 * x.detach()), logits)
    return False


def _slope_differs(network: nn.Module, x: Tensor) -> bool:
    """Whether the gradient is not what finite differences give.

    Along one direction and in double precision.
    """
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
        places = tuple(dict.fromkeys(call.place for call in seen.functions if call.chance))
        yield Finding(
            "chance",
            places,
            "the same images have other logits each time",
            "Draw nothing in eval mode: F.dropout(..., training=self.training).",
            "all methods",
        )
        return
    try:
        alone = torch.cat([model.network(image[None].contiguous()) for image in x])
        what = "an image's logits depend on the other images of the batch"
    except Exception as error:
        alone = torch.full_like(logits, torch.nan)
        what = f"one image alone fails: {in_one_line(error)}"
    if not _close(alone, logits):
        yield Finding(
            "batch",
            (),
            what,
            "Treat each image by itself: no statistics over the batch in eval mode.",
            "all methods",
        )


def _train_mode(network: nn.Module, seen: Observation | None) -> Iterator[Finding]:
    training = [(name, module) for name, module in network.named_modules() if module.training]
    grave = [name or "model" for name, module in training if isinstance(module, HAVE_MODES)]
    calls = seen.calls if seen else ()
    grave += [call.place for call in calls if call.name is None and call.training]
    if grave or training:
        yield Finding(
            "train mode",
            tuple(dict.fromkeys(grave or [name or "model" for name, _ in training])),
            "in train mode" if grave else "in train mode, without a layer of torch that minds",
            "Call eval(), and register layers so that it reaches them.",
            "all methods" if grave else "",
        )


def _overwritten(model: Model, seen: Observation, given: Tensor) -> Iterator[Finding]:
    advice = "Take the in-place operation behind it out of the forward pass."
    if given._version:
        yield Finding(
            "overwritten",
            ("input",),
            "the image is overwritten in place",
            advice,
            "gradient methods",
        )
    if seen.overwritten:
        where = str(model.card.target_layer)
        yield Finding(
            "overwritten",
            (where,),
            "the CAM layer's output is overwritten in place",
            advice,
            "CAM methods",
        )


def _activations(seen: Observation) -> Iterator[Finding]:
    """Activations that a hook on modules misses or mistakes."""
    functions = [call for call in seen.functions if call.activation]
    in_place = [call.place for call in seen.activations() if call.in_place]
    reused = seen.reused()
    if in_place:
        yield Finding(
            "in-place activation",
            tuple(dict.fromkeys(in_place)),
            "overwrites its input, which hooks then misread",
            "Set inplace=False.",
            HOOKED,
        )
    if functions:
        yield Finding(
            "functional activation",
            tuple(dict.fromkeys(call.place for call in functions)),
            "called as a function, where no hook can be set",
            "Make it a module in __init__.",
            HOOKED,
        )
    if reused:
        yield Finding(
            "reused activation",
            tuple(reused),
            "one module is called several times, and its hooks mix the calls",
            "Give each call a module of its own.",
            HOOKED,
        )


def _rectifiers(seen: Observation, logits: Tensor) -> Iterator[Finding]:
    """Whether a network through which gradients flow has a ReLU at all."""
    calls: list[LayerCall | FunctionCall] = [*seen.calls, *seen.functions]
    if logits.requires_grad and not any(call.rectifier for call in calls):
        yield Finding(
            "no rectifier",
            (),
            "no ReLU is called",
            "Leave out methods that give ReLUs a rule of their own.",
            "methods for ReLUs",
        )


def _hidden(seen: Observation) -> Iterator[Finding]:
    places = [call.place for call in seen.calls if call.name is None and call.caller is not None]
    if places:
        yield Finding(
            "hidden layer",
            tuple(dict.fromkeys(places)),
            "not registered: no hook finds it, and eval(), to(device) and state_dict() pass it by",
            "Keep layers as attributes, or in an nn.ModuleList or nn.ModuleDict.",
            HOOKED,
        )


def _own_state(names: dict[str, None]) -> Iterator[Finding]:
    if names:
        yield Finding(
            "own state",
            tuple(names),
            "a forward pass writes to the model's own buffers or weights",
            "Write nothing in eval mode.",
            "all methods",
        )


def _layer(model: Model, seen: Observation, x: Tensor) -> Iterator[Finding]:
    """Whether the layer that the card names gives maps for CAM methods."""
    name, layer = model.card.target_layer, _target_layer(model)
    if name is None or layer is None:
        places = [call.place for call in seen.calls]
        hidden = [place for place in places if place.replace("[", ".").replace("]", "") == name]
        what = "the card names no layer" if name is None else f"there is no layer {name!r}"
        what += ", it is not registered" if hidden else ""
        yield _wrong_layer(model, seen, x, hidden or [name], what)
        return
    names = {id(module): full for full, module in model.network.named_modules()}
    calls = [call for call in seen.calls if call.name == names[id(layer)]]
    problem = _no_maps(calls, x)
    if problem:
        yield _wrong_layer(model, seen, x, [name], problem)
    elif calls[0].shape is not None and len(calls[0].shape) == 3:
        count = calls[0].shape[1]
        height, width = _maps_of(calls[0].shape, x).shape[2:]
        extra = count - height * width
        before = {0: "no class token", 1: "a class token"}.get(extra, f"{extra} other tokens")
        yield Finding(
            "token grid",
            (name,),
            f"{count} tokens: {before} and a grid of {height}x{width}",
            "CAM methods here read it as maps; elsewhere give them a reshape_transform.",
        )


def _maps_of(shape: tuple[int, ...], x: Tensor) -> Tensor:
    """The maps of a layer's output of that shape for images x, without numbers."""
    return as_maps(torch.empty(shape, device="meta"), x.shape[2:])


def _no_maps(calls: list[LayerCall], x: Tensor) -> str:
    """Why a layer's calls give no maps to look at; empty if they do."""
    if len(calls) != 1:
        return f"is called {len(calls)} times in a forward pass" if calls else "is never called"
    if calls[0].shape is None:
        return "returns no tensor"
    try:
        height, width = _maps_of(calls[0].shape, x).shape[2:]
    except MethodError as error:
        return str(error)
    return "" if height * width > 1 else f"gives maps of {height}x{width}, with nothing to localise"


def _wrong_layer(
    model: Model, seen: Observation, x: Tensor, where: Iterable[str | None], what: str
) -> Finding:
    better = better_layer(model, seen, x)
    leave_out = "No layer has maps that matter to the logits: leave CAM methods out."
    advice = f"Name {better!r}: METHOD:layer={better}." if better else leave_out
    return Finding("CAM layer", tuple(filter(None, where)), what, advice, "CAM methods")


def better_layer(model: Model, seen: Observation, x: Tensor) -> str | None:
    """The name of the layer that CAM methods should look at, or None if none is found."""
    with suppress(Exception):  # the network's own faults are findings of their own
        best = last_spatial_layer(model.network, x)
        times = Counter(call.name for call in seen.calls)
        once = [call for call in seen.calls if call.name and times[call.name] == 1]
        usable = [call.name for call in once if not _no_maps([call], x)]
        return best if best in usable or best is None else next(reversed(usable), None)
    return None
