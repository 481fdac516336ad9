"""Mends on a private copy what `doctor` finds, and proves that the answers stay the same.

The copy's logits and gradients must equal the model's on the images of the examination and on
seeded noise of another batch size, up to 1e-6 of the greatest; else the repair is discarded. Only
layers put into eval mode may change them, as they must. Names of layers, hooks and keys of the
state dict all stay.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interpbench.core.activations import ACTIVATION_MODULES
from interpbench.core.errors import first_line
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.diagnosis.examination import (
    Diagnosis,
    Finding,
    Kind,
    better_layer,
    examine,
    two_images,
)
from interpbench.diagnosis.own_activations import calling, with_own_activations

TOLERANCE = 1e-6
NEEDED_IN_A_RUN: frozenset[Kind] = frozenset({"train mode", "overwritten"})
Edit = Callable[[Model], object]  # changes a copy


@dataclass(frozen=True)
class Repair:
    """One thing that was done, or that was tried and discarded.

    Attributes:
        what: was done.
        where: the layers.
        difference: the greatest difference between logits before and after; None if it was
            discarded.
        discarded: why it was, empty if it was kept.
    """

    what: str
    where: tuple[str, ...]
    difference: float | None
    discarded: str = ""


@dataclass(frozen=True)
class _Treatment:
    """A way to mend a model.

    Attributes:
        what: is done, in words.
        cures: the kinds of fault that it is for.
        edits: gives the layers and how each is changed.
        keeps_answers: whether the model's answers must stay the same.
    """

    what: str
    cures: frozenset[Kind]
    edits: Callable[[Model, Diagnosis, Tensor], dict[str, Edit]]
    keeps_answers: bool = True


def mended_for_a_run(
    model: Model, x: Tensor, seed: int = 0, guard: Guard | None = None
) -> tuple[Model, Diagnosis, list[Repair]]:
    """The model as a run explains and scores it: itself, or a copy that is repaired.

    A run repairs layers in train mode, and in-place operations that overwrite the image or the CAM
    layer's output. All else stays as it is, as the methods find it elsewhere: an in-place or
    functional ReLU changes no answer, and methods that hook activations must say what they need.
    What is not repaired is reported.
    """
    diagnosis = examine(model, x, seed, guard)
    return repair(model, diagnosis, x, seed, NEEDED_IN_A_RUN)


def repair(
    model: Model,
    diagnosis: Diagnosis,
    x: Tensor | None = None,
    seed: int = 0,
    kinds: frozenset[Kind] | None = None,
) -> tuple[Model, Diagnosis, list[Repair]]:
    """Mends what can be mended.

    Parameters:
        model: left as it is.
        diagnosis: of this model.
        x: float32 [B,C,S,S], the images of the examination; None for the same noise.
        seed: as for the examination.
        kinds: the kinds of fault to mend; None for all.

    Returns:
        A copy, or the model itself where nothing was mended; the diagnosis with `repaired` filled
            in, by another
        examination; and what was done.
    """
    x = two_images(model, x, seed)
    current, current_diagnosis, repairs = model, diagnosis, []
    for treatment in TREATMENTS:
        curable = treatment.cures & current_diagnosis.kinds
        if not curable or (kinds is not None and not curable & kinds):
            continue
        treated, done = _treat(current, current_diagnosis, treatment, x, seed)
        if treated is not current:
            current, current_diagnosis = treated, examine(treated, x, seed)
        repairs += done
    findings = tuple(_compare(diagnosis, current_diagnosis))
    return current, replace(diagnosis, findings=findings), repairs


def _treat(
    model: Model, diagnosis: Diagnosis, treatment: _Treatment, x: Tensor, seed: int
) -> tuple[Model, list[Repair]]:
    """A copy with all of the treatment that the proof allows, or the model itself.

    And what was done.
    """
    edits = treatment.edits(model, diagnosis, x)
    if not edits:
        return model, []
    places = {name: name or "model" for name in edits}
    try:
        answers = _SameAnswers(model, x, seed)
        proof = answers if treatment.keeps_answers else None
        treated, kept, discarded = _settle(model, edits, list(edits), proof)
        difference = answers.difference(treated)
    except Exception as error:  # a model that cannot be copied, or that fails on the noise
        return model, [Repair(treatment.what, tuple(places.values()), None, first_line(error))]
    repairs = []
    if kept:
        where = tuple(places[name] for name in kept)
        repairs.append(Repair(treatment.what, where, difference))
    for name, why in discarded.items():
        repairs.append(Repair(treatment.what, (places[name],), None, why))
    return treated, repairs


def _settle(
    model: Model, edits: dict[str, Edit], names: list[str], proof: "_SameAnswers | None"
) -> tuple[Model, list[str], dict[str, str]]:
    """A copy with the edits, without those that the proof refuses, which are sought by halves.

    Returns:
        The copy; the names of the edits that it has; and name -> why it has not, for the others.
    """
    try:
        candidate = copy.deepcopy(model)
        for name in names:
            edits[name](candidate)
        refused = proof.refuses(candidate) if proof else ""
    except Exception as error:  # a forward that cannot be traced, for one
        refused = first_line(error)
    if not refused:
        return candidate, names, {}
    if len(names) == 1:
        return model, [], {names[0]: refused}
    middle = len(names) // 2
    model, first, refused_first = _settle(model, edits, names[:middle], proof)
    model, second, refused_second = _settle(model, edits, names[middle:], proof)
    return model, first + second, refused_first | refused_second


class _SameAnswers:
    """A model's answers, which a copy's must equal."""

    def __init__(self, model: Model, x: Tensor, seed: int) -> None:
        noise = torch.randn(3, *x.shape[1:], generator=torch.Generator().manual_seed(seed + 1))
        self._batches = (x, noise.to(x.device))
        self._seed = seed
        # Of a copy, since a layer in train mode would learn.
        self._expected = self._answers(copy.deepcopy(model))

    def refuses(self, candidate: Model) -> str:
        """How a copy's answers differ; empty if they are equal but for rounding."""
        answers = zip(self._expected, self._answers(candidate), strict=True)
        for (expected, expected_slope), (logits, slope) in answers:
            difference = float((logits - expected).abs().max())
            if not difference <= TOLERANCE * float(expected.abs().max()):
                return f"the logits would change by up to {difference:.2g}"
            if expected_slope is None or slope is None:
                continue
            difference = float((slope - expected_slope).abs().max())
            if not difference <= 100 * TOLERANCE * float(expected_slope.abs().max()):
                return "the gradients would change"
        return ""

    def difference(self, candidate: Model) -> float:
        """The greatest difference between logits."""
        pairs = zip(self._expected, self._answers(candidate), strict=True)
        return max(float((logits - expected).abs().max()) for (expected, _), (logits, _) in pairs)

    def _answers(self, model: Model) -> list[tuple[Tensor, Tensor | None]]:
        """For each batch the logits, and the slope of each image's greatest at the image.

        No slope where the backward pass fails.
        """
        answers: list[tuple[Tensor, Tensor | None]] = []
        for batch in self._batches:
            with (
                torch.random.fork_rng([batch.device] if batch.is_cuda else []),
                torch.enable_grad(),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")  # of operations that have no gradient
                torch.manual_seed(self._seed)
                x = batch.clone().requires_grad_()
                logits = model.network(x.clone())
                slope = None
                with suppress(RuntimeError):
                    if logits.requires_grad:
                        (slope,) = torch.autograd.grad(logits.amax(1).sum(), x, allow_unused=True)
                    slope = torch.zeros_like(x) if slope is None else slope
            answers.append((logits.detach(), slope))
        return answers


def _into_eval_mode(model: Model, diagnosis: Diagnosis, x: Tensor) -> dict[str, Edit]:
    def edit(name: str, copied: Model) -> None:
        # Not by its own `train` or `eval`, which may be what keeps it there.
        copied.network.get_submodule(name).training = False

    modules = model.network.named_modules()
    return {name: partial(edit, name) for name, module in modules if module.training}


def _out_of_place(model: Model, diagnosis: Diagnosis, x: Tensor) -> dict[str, Edit]:
    def edit(name: str, copied: Model) -> None:
        copied.network.get_submodule(name).inplace = False  # type: ignore[assignment]

    calls = diagnosis.seen.calls if diagnosis.seen else ()
    names = [call.name for call in calls if call.activation and call.in_place]
    return {name: partial(edit, name) for name in names if name is not None}


def _an_instance_each(model: Model, diagnosis: Diagnosis, x: Tensor) -> dict[str, Edit]:
    """Activations that are registered in several places."""

    def edit(owner: str, child: str, copied: Model) -> None:
        parent = copied.network.get_submodule(owner)
        parent._modules[child] = copy.deepcopy(parent._modules[child])

    edits: dict[str, Edit] = {}
    registered = set()
    for owner, module in model.network.named_modules():
        for child, layer in module._modules.items():
            if isinstance(layer, ACTIVATION_MODULES) and layer in registered:
                edits[f"{owner}.{child}".removeprefix(".")] = partial(edit, owner, child)
            registered.add(layer)
    return edits


def _modules_of_their_own(model: Model, diagnosis: Diagnosis, x: Tensor) -> dict[str, Edit]:
    if diagnosis.seen is None:
        return {}
    of_functions = [call.caller for call in diagnosis.seen.functions if call.activation]
    of_modules = diagnosis.seen.reused().values()
    callers = [name for name in dict.fromkeys([*of_functions, *of_modules]) if name is not None]
    arguments: dict[str, dict[str, Any]] = {}
    with suppress(Exception):  # what fails here fails again where it is reported
        arguments = calling(copy.deepcopy(model.network), callers, x)

    def edit(name: str, copied: Model) -> None:
        layer = copied.network.get_submodule(name)
        rewritten = with_own_activations(layer, arguments.get(name))
        if layer is copied.network:
            copied.network = rewritten
        for owner in list(copied.network.modules()):
            places = [child for child, inner in owner._modules.items() if inner is layer]
            owner._modules.update(dict.fromkeys(places, rewritten))

    return {name: partial(edit, name) for name in callers}


def _another_layer(model: Model, diagnosis: Diagnosis, x: Tensor) -> dict[str, Edit]:
    name = better_layer(model, diagnosis.seen, x) if diagnosis.seen else None

    def edit(copied: Model) -> None:
        copied.card = replace(copied.card, target_layer=name)

    return {name: edit} if name else {}


TREATMENTS = (
    _Treatment(
        "put into eval mode", frozenset({"train mode"}), _into_eval_mode, keeps_answers=False
    ),
    _Treatment("inplace=False", frozenset({"in-place activation", "overwritten"}), _out_of_place),
    _Treatment("an instance each", frozenset({"reused activation"}), _an_instance_each),
    _Treatment(
        "activations as modules of their own",
        frozenset(
            {"functional activation", "reused activation", "in-place activation", "overwritten"}
        ),
        _modules_of_their_own,
    ),
    _Treatment("named as the CAM layer", frozenset({"CAM layer"}), _another_layer),
)


def _compare(before: Diagnosis, after: Diagnosis) -> Iterator[Finding]:
    """The findings, those of which nothing is left marked as repaired.

    One that is left in part is two.
    """
    for finding in before.findings:
        remaining = [later for later in after.findings if later.kind == finding.kind]
        if any(not set(later.where) <= set(finding.where) for later in remaining):
            # The copy has it where the model had none: in another guise, it may be the same fault.
            yield finding
            continue
        places = {place for later in remaining for place in later.where}
        mended = tuple(place for place in finding.where if place not in places)
        left = tuple(place for place in finding.where if place in places)
        if not finding.where or any(not later.where for later in remaining):
            yield replace(finding, repaired=not remaining)
            continue
        if mended:
            yield replace(finding, where=mended, repaired=True)
        if left:
            yield replace(finding, where=left)
    kinds = {finding.kind for finding in before.findings}
    yield from (finding for finding in after.findings if finding.kind not in kinds)
