"""Deletion and insertion: does the model's output follow the map's order? (Petsiuk, Das, Saenko, RISE, BMVC 2018)."""

from pydantic import PositiveInt
from torch import Tensor

from interpbench import Baseline, Explanation, First, Output, Perturbation, Sign, metric
from interpbench import baseline as make_baseline

REFERENCE = "Petsiuk, Das, Saenko, RISE, BMVC 2018"


@metric(
    "deletion",
    better=lambda first: "lower" if first == "most" else "higher",
    unit="probability",
    reference=REFERENCE,
    curve=True,
)
def deletion(
    explanation: Explanation,
    *,
    steps: PositiveInt | None = None,
    baseline: Baseline = "zero",
    output: Output = "probability",
    first: First = "most",
    sign: Sign = "signed",
) -> Perturbation:
    """Area under the output as the most salient positions are removed from the image, most salient first.

    A good map makes the output fall early: lower is better. With the defaults (RISE's) positions become 0 in the
    model's normalised space, as many a step as the image is wide, and the softmax probability of the target is read.

    Parameters:
        steps: how many steps; none for the image's width in positions a step.
        baseline: what a removed position becomes.
        output: what is read of the target class. Areas of logits are not within 0..1.
        first: `least` removes the least salient positions first; higher is then better.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    return Perturbation(explanation.x, removed(explanation, baseline), steps, output, first, sign)


@metric(
    "insertion",
    better=lambda first: "higher" if first == "most" else "lower",
    unit="probability",
    reference=REFERENCE,
    curve=True,
)
def insertion(
    explanation: Explanation,
    *,
    steps: PositiveInt | None = None,
    baseline: Baseline = "blur",
    output: Output = "probability",
    first: First = "most",
    sign: Sign = "signed",
) -> Perturbation:
    """Area under the output as the most salient positions are put back into the baseline, most salient first.

    A good map makes the output rise early: higher is better. With the defaults (RISE's) the image emerges from its
    blurred version, as many positions a step as it is wide, and the softmax probability of the target is read.

    Parameters:
        steps: how many steps; none for the image's width in positions a step.
        baseline: what a position is before it is inserted.
        output: what is read of the target class. Areas of logits are not within 0..1.
        first: `least` inserts the least salient positions first; lower is then better.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    return Perturbation(removed(explanation, baseline), explanation.x, steps, output, first, sign)


def removed(explanation: Explanation, name: Baseline) -> Tensor:
    """The explanation's images without information."""
    return make_baseline(name, explanation.x, explanation.model.card)
