"""What of the map's top is needed for the answer, and what suffices for it."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from interpbench import (
    Baseline,
    Explanation,
    Inputs,
    Output,
    ParameterError,
    Perturbation,
    Sign,
    metric,
)
from interpbench import baseline as make_baseline

PERCENT = (1, 5, 10, 20, 50)  # of the positions: ERASER's bins
ERASER = "DeYoung et al., ERASER: A Benchmark to Evaluate Rationalized NLP Models, ACL 2020"
RANGES = {"probability": (-1.0, 1.0), "logit": (-math.inf, math.inf)}


@metric(
    "comprehensiveness",
    better="higher",
    range=lambda output: RANGES[output],
    unit=lambda output: output,
    reference=ERASER,
)
def comprehensiveness(
    explanation: Explanation, *, baseline: Baseline = "zero", output: Output = "probability", sign: Sign = "signed"
) -> Tensor:
    """How much the output falls, in the mean, without the top 1, 5, 10, 20 and 50 % of positions.

    mean over r of f(x) - f(x without r): higher is better, within -1..1 for probabilities. A share of the positions is
    rounded up.

    Parameters:
        baseline: what a removed position becomes.
        output: what is read of the target class. Logits are not within 0..1.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    empty = make_baseline(baseline, explanation.x, explanation.model.card)
    return _mean_fall(explanation, Perturbation(explanation.x, empty, output=output, sign=sign))


@metric(
    "sufficiency",
    better="lower",
    range=lambda output: RANGES[output],
    unit=lambda output: output,
    reference=ERASER,
)
def sufficiency(
    explanation: Explanation, *, baseline: Baseline = "zero", output: Output = "probability", sign: Sign = "signed"
) -> Tensor:
    """How much the output falls, in the mean, where only the top 1, 5, 10, 20 and 50 % of positions are left.

    mean over r of f(x) - f(r alone): lower is better, within -1..1 for probabilities. A share of the positions is
    rounded up.

    Parameters:
        baseline: what all other positions become.
        output: what is read of the target class. Logits are not within 0..1.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    empty = make_baseline(baseline, explanation.x, explanation.model.card)
    return _mean_fall(explanation, Perturbation(empty, explanation.x, output=output, sign=sign))


@metric(
    "minimal-subset",
    better="lower",
    unit="share of positions",
    reference="Gevaert, Rousseau, Becker, Valkenborg, De Bie, Saeys, Evaluating Feature Attribution Methods in the "
    "Image Domain, Machine Learning 2024",
)
def minimal_subset(
    explanation: Explanation,
    *,
    by: Literal["removing", "keeping"] = "removing",
    steps: Annotated[int, Field(ge=2)] = 100,
    baseline: Baseline = "zero",
    sign: Sign = "signed",
) -> Tensor:
    """The smallest share of top positions whose removal changes the predicted class, or which alone keep it.

    The first of `steps` shares at which it does: lower is better, in 0..1. NaN, whatever the map, where the model does
    not predict the explained class, or predicts it of the baseline too: then nothing has to change it, or to keep it.

    Parameters:
        by: `removing` the top until the class changes, or `keeping` it alone until the class is the image's.
        steps: how many shares are tried; positions / steps of them a step, rounded up.
        baseline: what a position becomes that is removed, or not kept.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    x, target = explanation.x, explanation.target
    positions = x.shape[2] * x.shape[3]
    if steps > positions:
        raise ParameterError(f"steps={steps} are more than the {positions} positions of an image. Give fewer.")
    stride = -(-positions // steps)
    empty = make_baseline(baseline, x, explanation.model.card)
    start, end = (x, empty) if by == "removing" else (empty, x)
    order = explanation.order(Perturbation(start, end, sign=sign))[:, None]
    inner = range(stride, positions, stride)
    classes = explanation.logits(torch.where(order < count, end, start) for count in inner).argmax(2)
    done = (classes == target[:, None]) == (by == "keeping")
    tried = torch.tensor([*inner, positions], device=x.device)
    first = torch.cat([done, torch.ones_like(done[:, :1])], dim=1).int().argmax(1)
    means_something = explanation.shared(_only_the_image_is_of_the_class, baseline=baseline)
    return (tried[first] / positions).masked_fill(~means_something, torch.nan)


def _mean_fall(explanation: Explanation, path: Perturbation) -> Tensor:
    """The untouched output minus the mean along a path at ERASER's shares, [B]."""
    positions = path.start.shape[2] * path.start.shape[3]
    points = [-(-percent * positions // 100) for percent in PERCENT]
    path = Perturbation(path.start, path.end, output=path.output, sign=path.sign, points=points)
    return explanation.output(path.output) - explanation.along(path).mean(1)


def _only_the_image_is_of_the_class(inputs: Inputs, baseline: Baseline) -> Tensor:
    """Whether the model predicts the target of the image, and another class of the baseline, bool [B]."""
    empty = make_baseline(baseline, inputs.x, inputs.model.card)
    of_target = inputs.logits([inputs.x, empty]).argmax(2) == inputs.target[:, None]
    return of_target[:, 0] & ~of_target[:, 1]
