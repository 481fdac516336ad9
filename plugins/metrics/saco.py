"""Do the more salient of two groups of positions move the output more? Weighed by how much more salient they are."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from interpbench import Baseline, Explanation, Output, Sign, drops, metric, rank_groups
from interpbench import baseline as make_baseline


@metric(
    "saco",
    better="higher",
    range=(-1.0, 1.0),
    unit="coefficient",
    reference="Wu, Kang, Tang, Hong, Yan, On the Faithfulness of Vision Transformer Explanations, CVPR 2024",
)
def saco(
    explanation: Explanation,
    *,
    groups: Annotated[int, Field(ge=2)] = 10,
    baseline: Baseline = "mean",
    output: Output = "probability",
    sign: Sign = "signed",
) -> Tensor:
    """The salience-guided faithfulness coefficient (SaCo): pairs of groups by rank, with a sign, by their difference.

    Positions are ranked and cut into groups of equal size, G_1 the most salient, with s_i the sum of the map over G_i
    and d_i how much the output falls without it. For i < j the pair's weight is s_i - s_j if d_i >= d_j, and its
    negative otherwise; the score is the sum of weights over the sum of their magnitudes, in -1..1. Higher is better: 1
    where the order of the groups is that of their effects. NaN for an image whose output falls as much without each
    group. The paper scales maps to 0..1 first, which cancels.

    Parameters:
        groups: how many groups.
        baseline: what a removed position becomes; the paper's is `mean`.
        output: what is read of the target class.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    parts = rank_groups(explanation.ranks(sign), groups)
    fill = make_baseline(baseline, explanation.x, explanation.model.card)
    falls = drops(explanation, parts, fill, output).cpu()
    sums = parts.sums(explanation.values(sign)).cpu()
    first, second = torch.triu_indices(groups, groups, offset=1)
    weights = sums[:, first] - sums[:, second]
    signed = torch.where(falls[:, first] >= falls[:, second], weights, -weights)
    score = signed.sum(1) / weights.abs().sum(1)
    return score.masked_fill((falls == falls[:, :1]).all(1), torch.nan)
