"""What is looked at to tell whether a method keeps its promises; `testing.contracts` names them.

A check gives what is wrong, or None; it raises NotApplicable where there is nothing to look at.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from interpbench.core.errors import MethodError, ParameterError
from interpbench.core.types import Model
from interpbench.registry.plugin import REQUIRED, described
from interpbench.testing.case import (
    BATCH_SIZE,
    Call,
    Case,
    NotApplicable,
    Sealed,
    crashing,
    stir,
    taken,
)

if TYPE_CHECKING:
    from interpbench.testing.dataset_case import DatasetCase
    from interpbench.testing.metric_case import MetricCase
    from interpbench.testing.model_case import ModelCase

    AnyCase = Case | MetricCase | ModelCase | DatasetCase

TOLERANCE = 1e-3  # of a map's greatest value; rounding makes a hundredth of it
GENERATORS = (
    "draw from `generators` alone, def mine(model, x, target, *, generators): one seeded "
    "torch.Generator an image, as in torch.randn(x.shape[1:], generator=generators[i])"
)


class Fault(NamedTuple):
    """What was seen, and how to mend it."""

    what: str
    remedy: str


SAID = {"method": "the map", "metric": "the score", "model": "the network", "dataset": "the data"}


def documentation(cases: "Sequence[AnyCase]") -> Fault | None:
    """The plugin says what it is, and who published it."""
    plugin = cases[0].choice.plugin
    if not plugin.doc.strip():
        said = SAID[plugin.kind]
        return Fault("The function has no docstring.", f"say in its first line what {said} is.")
    may_be_own = plugin.kind == "dataset" or getattr(plugin, "control", False)
    if not plugin.reference and not may_be_own:
        return Fault(
            "The plugin names no reference.",
            f'give @{plugin.kind}(..., reference="authors, title, where, year"), '
            'or reference="unpublished".',
        )
    return None


def parameters(cases: "Sequence[AnyCase]") -> Fault | None:
    """Every default is a value that its annotation allows."""
    for parameter in cases[0].choice.plugin.parameters:
        if parameter.default is not REQUIRED:
            try:
                parameter.validate(parameter.default)
            except ParameterError as error:
                return Fault(
                    f"A default would be refused if it were given: {error}",
                    f"annotate {parameter.name} with what its default is, "
                    "such as `int | None` for None.",
                )
    return None


def applies(cases: Sequence[Case]) -> Fault | None:
    """The method explains at least one of the models."""
    refusals = {case.name: case.plain.refusal for case in cases}
    if not all(refusals.values()):
        return None
    reasons = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in refusals.items())
    return Fault(
        f"The method refuses every model. {reasons}.",
        "raise MethodError only for a model that the method is not defined for. If it is made "
        "for another kind of network, give check_method(..., models={name: function that builds "
        "it}).",
    )


def runs(case: Case) -> Fault | None:
    """The method raises nothing, or a MethodError that says why it does not apply to the model."""
    error = case.plain.error
    if error is None or (isinstance(error, MethodError) and case.plain.answers):
        return _no_fault(case)
    return Fault(
        f"The method raised {described(error, case.method)}.",
        "mend that line; only if the method is not defined for such a model, raise "
        "interpbench.MethodError with the reason.",
    )


def shape(case: Case) -> Fault | None:
    """The maps are a tensor [B,H,W], or a smaller one with coarse=True."""
    error = case.plain.error
    if not isinstance(error, MethodError) or _strange_dtype(case.plain):
        return _no_fault(case)
    answered = next((answer for answer in case.plain.answers if isinstance(answer, Tensor)), None)
    if answered is None:
        remedy = "return a torch.Tensor [B,H,W]; torch.from_numpy makes one of an array."
    elif answered.ndim == 3:
        remedy = (
            "give each image a map of its height and width, or register "
            "with coarse=True if it is smaller."
        )
    else:
        remedy = "reduce the channels, as by .amax(dim=1); one map for each image."
    return Fault(f"The method {str(error).rstrip('.')}.", remedy)


def dtype(case: Case) -> Fault | None:
    """The maps are floating point numbers of single or double precision."""
    strange = _strange_dtype(case.plain)
    if strange is None:
        return _no_fault(case)
    return Fault(
        f"The method returned a tensor of {strange}.",
        "compute in the images' dtype: saliency.to(x.dtype).",
    )


def device(case: Case) -> Fault | None:
    """The method works where the images are, and so is its map; a control's may stay on the CPU."""
    for place in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        call = case.plain if place == "cpu" else case.to(torch.device(place)).call()
        if case.plain.error is None and call.error is not None:
            return Fault(
                f"On {place} the method raised {described(call.error, case.method)}.",
                "make tensors where the images are: torch.zeros(..., device=x.device); "
                "generators draw on the CPU.",
            )
        strays = {a.device.type for a in call.answers if isinstance(a, Tensor)} - {place}
        if strays and not case.method.plugin.control:
            return Fault(
                f"The images are on {place}, the map on {strays.pop()}.",
                "return saliency.to(x.device).",
            )
    return _no_fault(case)


def values(case: Case) -> Fault | None:
    """The maps are finite, and not all constant."""
    saliency = case.saliency
    finite = saliency.isfinite().flatten(1).all(1)
    if not finite.all():
        return Fault(
            f"The map of image {int((~finite).nonzero()[0])} has NaN or infinite values.",
            "look for divisions by zero, logarithms and roots: a / b.where(b != 0, 1).",
        )
    if bool((saliency.amax((1, 2)) == saliency.amin((1, 2))).all()):
        return Fault(
            "The map of every image is constant.",
            "a constant map ranks nothing: look for a gradient that does not reach the image, or "
            "a ReLU too many.",
        )
    return None


def inputs(case: Case) -> Fault | None:
    """The images and targets that the method is given keep their values."""
    if case.plain.wrote:
        return Fault(
            "The method wrote into its images or targets.",
            "work on x.clone(), or write x = x + noise for x += noise.",
        )
    return _no_fault(case)


def clean_model(case: Case) -> Fault | None:
    """The model is left as it was:
    no hook, gradient, flag, mode, patched class or changed weight.
    """
    return _left_behind(case.plain, "After the call") or _no_fault(case)


def exceptions(case: Case) -> Fault | None:
    """The model is left as it was also when it raises in the middle,
    and what it raises comes out.
    """
    taken(case.plain)
    passes = len(case.plain.passes)
    if not passes:
        raise NotApplicable("the method does not call the model")
    for first in sorted({1, min(2, passes), passes}):
        with crashing(case.model.network, first):
            call = case.call()
        if call.error is None:
            how = "made a MethodError of it" if call.refusal else "returned a map all the same"
            return Fault(
                f"The model raised in forward pass {first}, and the method {how}.",
                "let exceptions out: the runner takes smaller batches when memory is full, and "
                "reports the others.",
            )
        fault = _left_behind(call, f"After an exception in forward pass {first}")
        if fault is not None:
            return fault
    return None


def determinism(case: Case) -> Fault | None:
    """The same seed gives the same map, bit for bit, whatever the global random state."""
    saliency = case.saliency
    if not _repeats(case):
        return Fault(
            "Two calls with the same seed gave different maps.",
            f"{GENERATORS}; no clock, no default_rng() unseeded.",
        )
    if _difference(taken(case.call(before=stir)), saliency) > 0:
        return Fault(
            "The map depends on the global random state of torch, numpy or Python.",
            f"{GENERATORS}.",
        )
    return None


def batches(case: Case) -> Fault | None:
    """The map of an image depends neither on the other images, nor on their order, nor on
    model.batch_size.
    """
    return _beyond_rounding(case, _batch_difference)


def _batch_difference(case: Case) -> Fault | None:
    saliency = case.saliency
    backwards = list(reversed(range(len(saliency))))
    others = {
        "with the batch in another order": taken(case.call(order=backwards))[backwards],
        "when it is alone, with model.batch_size = 1": taken(case.call(batch=1)),
        "with model.batch_size = 2": taken(case.call(batch=2)),
    }
    for how, other in others.items():
        difference = _difference(other, saliency)
        if difference > TOLERANCE:
            return Fault(
                f"The map of an image differs by {difference:.2g} of its greatest value {how}.",
                "take no mean, maximum or deviation over the images; draw an image's chance from "
                "its generators[i]; divide by the number of variants, not of forward passes.",
            )
    return None


def targets(case: Case) -> Fault | None:
    """Each image's map is that of its own target, and another one for another target, unless it is
    class-agnostic.
    """
    fault = _beyond_rounding(case, _mixed_difference)
    if fault is not None:
        return fault
    if not all(bool(saliency.isfinite().all()) for saliency in case.for_one_target.values()):
        raise NotApplicable("its maps are not finite")
    plugin = case.method.plugin
    trait = "control" if plugin.control else "class_agnostic" if plugin.class_agnostic else None
    first, *others = case.for_one_target.values()
    same = all(_difference(other, first) == 0 for other in others)
    if same and trait is None:
        return Fault(
            "The map is the same whatever the target.",
            "explain the logit `target`, not the greatest one: model(x).gather(1, target[:, "
            "None]). If the map is meant to know no class, register the method with "
            "class_agnostic=True.",
        )
    if trait is not None and not same:
        return Fault(
            f"The map depends on the target, and the method is registered with {trait}=True.",
            f"leave {trait} away.",
        )
    return None


def _mixed_difference(case: Case) -> Fault | None:
    for k, alone in case.for_one_target.items():
        rows = case.target == k
        difference = _difference(alone[rows], case.saliency[rows])
        if difference > TOLERANCE:
            return Fault(
                f"In a batch of targets {case.target.tolist()} the map for target {k} differs by "
                f"{difference:.2g} of its greatest value from the one in a batch of that target "
                "alone.",
                "read each image's own logit: model(x).gather(1, target[:, None]), not "
                "model(x)[:, target[0]].",
            )
    return None


def memory(case: Case) -> Fault | None:
    """No forward pass holds more images than model.batch_size."""
    taken(case.plain)
    for size in (BATCH_SIZE, len(case.x)):
        call = case.plain if size == BATCH_SIZE else case.call(batch=size)
        taken(call)
        most = max(call.passes, default=0)
        if most > size:
            return Fault(
                f"With model.batch_size = {size} and {len(case.x)} images "
                f"a forward pass held {most}.",
                "pack variants with interpbench.blocks: for part in blocks(count, len(x), "
                "model.batch_size).",
            )
    return None


def black_box(case: Case) -> Fault | None:
    """A method with gradients=False asks nothing of the model but its logits."""
    if case.method.plugin.gradients:
        raise NotApplicable("the method is registered with gradients=True")
    saliency = case.saliency
    call = case.call(
        model=Model(Sealed(case.model.network), case.model.card, case.model.batch_size).eval()
    )
    if call.saliency is None:
        reason = described(call.error, case.method) if call.error else call.refusal
        return Fault(
            f"A model that shows its logits alone was not explained: {reason}.",
            "leave gradients=False away.",
        )
    difference = _difference(call.saliency, saliency)
    if difference > TOLERANCE:
        return Fault(
            f"The map differs by {difference:.2g} of its greatest value for a model that shows "
            "its logits alone.",
            "look at nothing but model(x), or leave gradients=False away.",
        )
    return None


def _no_fault(case: Case) -> Fault | None:
    """Nothing is wrong; raises NotApplicable if the method answered nothing that could be."""
    if not case.plain.answers:
        taken(case.plain)
    return None


def _strange_dtype(call: Call) -> torch.dtype | None:
    """The dtype of an answer that is neither float32 nor float64."""
    strange = {a.dtype for a in call.answers if isinstance(a, Tensor)} - {
        torch.float32,
        torch.float64,
    }
    return strange.pop() if strange else None


def _left_behind(call: Call, when: str) -> Fault | None:
    """What the method left behind."""
    if not call.left:
        return None
    return Fault(
        f"{when} this was left on the model: {', '.join(call.left)}.",
        "undo what you set in a `finally`, or set it by a `with`; torch.autograd.grad leaves no "
        "gradients, .backward() does.",
    )


def _difference(actual: Tensor, expected: Tensor) -> float:
    """The greatest difference, as a share of the greatest value.

    Infinite if one is NaN where the other is not.
    """
    if not torch.equal(actual.isnan(), expected.isnan()):
        return float("inf")
    actual, expected = actual.nan_to_num(), expected.nan_to_num()
    greatest = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float((actual - expected).abs().max() / greatest)


def _repeats(case: Case) -> bool:
    """Whether a second call gives the same maps, bit for bit."""
    return _difference(taken(case.again), case.saliency) == 0


def _beyond_rounding(case: Case, check: Callable[[Case], Fault | None]) -> Fault | None:
    """What a check finds in single precision and in double as well.

    By rounding alone a ReLU may open or close.
    """
    if not _repeats(case):
        raise NotApplicable("two calls with the same seed give different maps")
    fault = check(case)
    if fault is None:
        return None
    try:
        precise = check(case.to(torch.float64))
    except NotApplicable:  # the method works in single precision alone
        return fault
    return fault if precise is not None else None
