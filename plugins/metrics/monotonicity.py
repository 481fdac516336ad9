"""Does the output rise with every step of the map's order, and do greater values stand for greater effects?"""

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench import (
    Baseline,
    Explanation,
    Output,
    ParameterError,
    Perturbation,
    Sign,
    metric,
    rank_groups,
    spearman,
    uniform_images,
)
from interpbench import baseline as make_baseline

Several = Annotated[int, Field(ge=2)]  # between which there are steps


@metric(
    "monotonicity",
    better="higher",
    unit="share of steps",
    reference="Luss, Chen, Dhurandhar et al., Leveraging Latent Features for Local Explanations, KDD 2021 (arXiv "
    "1905.12698); Arya, Bellamy, Chen et al., One Explanation Does Not Fit All, arXiv 1909.03012, 2019",
)
def monotonicity(
    explanation: Explanation,
    *,
    steps: Several | None = None,
    baseline: Baseline = "black",
    output: Output = "probability",
    sign: Sign = "signed",
) -> Tensor:
    """The share of steps at which the output does not fall as positions are put into the baseline, least salient first.

    With y_k the output after k steps, the score is the share of k = 2..n for which y_k >= y_(k-1), in 0..1. It is 1
    where the paper's yes-or-no score is yes. Higher is better. NaN for an image for which all y_k are equal.

    How far the output falls does not count. Where positions act by themselves (in a linear model), a step rises if what
    it adds has a positive effect, whatever came before.

    Parameters:
        steps: how many steps; none for the image's width in positions a step. As many as there are positions add each
            alone, as the paper does.
        baseline: what a position is before it is put in.
        output: what is read of the target class.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    height, width = explanation.x.shape[2:]
    if steps is not None and steps > height * width:
        raise ParameterError(
            f"{steps} steps are more than {height}x{width} positions. Give a number from 2 to {height * width}."
        )
    start = make_baseline(baseline, explanation.x, explanation.model.card)
    outputs = explanation.along(Perturbation(start, explanation.x, steps, output, "least", sign))[:, 1:]
    share = (outputs.diff(dim=1) >= 0).float().mean(1)
    return share.masked_fill((outputs == outputs[:, :1]).all(1), torch.nan)


@metric(
    "monotonicity-correlation",
    better="higher",
    range=(-1.0, 1.0),
    unit="rank correlation",
    reference="Nguyen, Rodríguez Martínez, On quantitative aspects of model interpretability, arXiv 2007.07584, 2020",
)
def monotonicity_correlation(
    explanation: Explanation,
    *,
    groups: Several = 32,
    samples: PositiveInt = 10,
    output: Output = "probability",
    sign: Sign = "absolute",
) -> Tensor:
    """Rank correlation, over groups of positions by rank, of the map's sum with how far noise in them moves the output.

    Positions are ranked and cut into groups of equal size; the score is Spearman's correlation of sum_{p in G} |a_p|
    and E[(f(x with noise in G) - f(x))^2] over them. Noise is uniform in the pixels' range, and the same for all groups
    and methods. 1 is best; a map that knows nothing has 0 in the mean. NaN for an image whose output no group moves, or
    moves just as far.

    The paper divides the expectation by f(x)^2, which is the same for all groups and changes no rank.

    Parameters:
        groups: how many groups; the paper's are single positions.
        samples: images of noise that the expectation is over; each costs as many forward passes as there are groups.
        output: what is read of the target class.
        sign: whether values count by magnitude, as the paper's do, as they are, or the positive ones alone.
    """
    parts = rank_groups(explanation.ranks(sign), groups)
    generators = explanation.generators("monotonicity-correlation")

    def perturbed() -> Iterator[Tensor]:
        for _ in range(samples):
            noise = uniform_images(explanation.x, explanation.model.card, generators)
            for mask in parts.masks():
                yield torch.where(mask[:, None], noise, explanation.x)

    change = explanation.outputs(perturbed(), output) - explanation.output(output)[:, None]
    effects = change.square().unflatten(1, (samples, groups)).mean(1)
    return spearman(parts.sums(explanation.values(sign)), effects)
