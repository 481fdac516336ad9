"""What is looked at to tell whether a metric keeps its promises; `testing.contracts` names them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from interpbench.scoring.shared_results import SharedResults
from interpbench.testing.case import NotApplicable
from interpbench.testing.checks import Fault
from interpbench.testing.metric_case import (
    IMAGES,
    MetricCase,
    negated,
    sharpened,
    shuffled,
    taken,
    tilted,
    unchanged,
)

TOLERANCE = 1e-3  # of the greatest score; rounding makes a tenth of it after small divisors
SHARE = (
    "compute what does not depend on the map in a function of the module that gets `inputs` alone, "
    "explanation.shared(function, parameter=value), and all else after it"
)


def runs(case: MetricCase) -> Fault | None:
    """The metric gives a score for each image: a tensor [B], or a Perturbation with curve=True."""
    failure = case.plain.failure
    if not failure:
        return None
    return Fault(
        f"The metric {failure.removeprefix('TypeError: ')}.",
        "mend that line; an image for which a score means nothing gets torch.nan.",
    )


def within_range(case: MetricCase) -> Fault | None:
    """Scores are finite and within the stated range; NaN says that there is none."""
    least, greatest = case.choice.plugin.scale(case.choice.values).range
    for change in (unchanged, shuffled, negated):
        scores = case.scores_of(change)
        slack = TOLERANCE * max(1.0, float(scores.nan_to_num().abs().max()))
        outside = scores[(scores < least - slack) | (scores > greatest + slack) | scores.isinf()]
        if len(outside):
            return Fault(
                f"It gave {outside[0]:.6g}, and its range is {least:g} to {greatest:g}.",
                "state the true one, @metric(..., range=(least, greatest)), or a function of the "
                "parameters it depends on; -float('inf') and float('inf') where there is no bound.",
            )
    return None


def inputs(case: MetricCase) -> Fault | None:
    """The metric changes nothing of what it is given."""
    if not case.plain.wrote:
        return None
    return Fault(
        f"It wrote into {', '.join(case.plain.wrote)}, which other metrics get too.",
        "work on a copy: explanation.x.clone(); operations that end in _ write.",
    )


def clean_model(case: MetricCase) -> Fault | None:
    """The metric leaves the model, torch's switches and the random state as they were."""
    if not case.plain.left:
        return None
    return Fault(
        f"It left behind: {', '.join(case.plain.left[:3])}.",
        "undo what you set, in a `finally`.",
    )


def determinism(case: MetricCase) -> Fault | None:
    """The same maps get the same scores again."""
    torch.manual_seed(97)
    if torch.equal(case.scores.nan_to_num(), taken(case.call()).nan_to_num()):
        return None
    return Fault(
        "A second call gave other scores.",
        "draw from explanation.generators(purpose) alone: one seeded torch.Generator an image.",
    )


def neighbours(case: MetricCase) -> Fault | None:
    """An image's score depends on that image alone."""
    alone = torch.cat([taken(case.call(rows=[number])) for number in range(IMAGES)])
    if difference := _difference(alone, case.scores):
        return Fault(
            f"Alone, images get other scores than beside others{difference}.",
            "take maxima, means and sums over an image's own positions: .amax(dim=(1, 2)), "
            "never .max() of the whole batch.",
        )
    return None


def batches(case: MetricCase) -> Fault | None:
    """Scores do not depend on how many images a forward pass holds."""
    if difference := _difference(taken(case.call(batch=1)), case.scores):
        return Fault(
            f"With one image a forward pass scores are others{difference}.",
            "let explanation.outputs() make the passes.",
        )
    return None


def order_of_methods(case: MetricCase) -> Fault | None:
    """Scores are the same whichever method was scored before on the same images."""
    shared = SharedResults()
    case.call(change=shuffled, shared=shared)
    if difference := _difference(taken(case.call(shared=shared)), case.scores):
        return Fault(
            f"After other maps of the same images scores are others{difference}.", f"{SHARE}."
        )
    return None


def looks(cases: Sequence[MetricCase]) -> Fault | None:
    """Another map of the same image gets another score, on one of the models at least."""
    if cases[0].choice.plugin.aspect == "cost":
        raise NotApplicable("what a map costs does not depend on what it shows")
    for case in cases:
        if any(
            _difference(case.scores_of(change), case.scores)
            for change in (shuffled, negated, sharpened, tilted)
        ):
            return None
    return Fault(
        "Maps, their negatives, their cubes, with a ramp added, and the same values in other "
        "places all get the same scores.",
        "score explanation.saliency, or follow explanation.rank.",
    )


def _difference(found: Tensor, expected: Tensor) -> str:
    """How two scorings differ; "" if they are equal but for rounding."""
    if not torch.equal(found.isnan(), expected.isnan()):
        return ": NaN in other places"
    found, expected = found.nan_to_num(), expected.nan_to_num()
    difference = float((found - expected).abs().max())
    if difference <= TOLERANCE * float(expected.abs().max()) + 1e-7:
        return ""
    return f", by up to {difference:.2g}"
