"""Does the sum of a map over a set of positions follow what the model loses with them? As correlations over sets."""

import math
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench import (
    Baseline,
    Explanation,
    Inputs,
    Network,
    Output,
    ParameterError,
    PartSets,
    Readings,
    Sign,
    Size,
    each_part,
    metric,
    outputs_without,
    part_count,
    pearson,
    random_sets,
    rank_groups,
    readings_without,
    spearman,
)
from interpbench import baseline as make_baseline

Several = Annotated[int, Field(ge=2)]  # one alone correlates with nothing
CORRELATION = (-1.0, 1.0)


@metric(
    "faithfulness-correlation",
    better="higher",
    range=CORRELATION,
    unit="correlation",
    reference="Bhatt, Weller, Moura, Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020",
)
def faithfulness_correlation(
    explanation: Explanation,
    *,
    sets: Several = 100,
    size: Size = 0.05,
    grid: PositiveInt | None = None,
    baseline: Baseline = "black",
    output: Output = "logit",
    sign: Sign = "signed",
) -> Tensor:
    """Correlation, over random sets of positions, of the map's sum with how much the output falls without them.

    Pearson's correlation of sum_{p in S} a_p and f(x) - f(x without S) over sets S of one size, which are the same for
    all methods. 1 is best; a map that knows nothing has 0 in the mean. NaN for an image whose output, or whose map's
    sum, is the same for all sets.

    A size has no default in the paper, whose data have few features. A share of 5 % is about as many positions as a
    much used implementation takes at 64 pixels (224), and does not become ever less of a larger image, as 224 do.

    Parameters:
        sets: how many sets an image.
        size: positions (or cells) a set; below 1, as a share of all.
        grid: cells a side that are removed whole; none for positions.
        baseline: what a removed position becomes.
        output: what is read of the target class.
        sign: whether negative values count as they are, by magnitude, or as none.
    """
    drawn, outputs = _over_random_sets(explanation, sets, size, grid, baseline, output)
    return pearson(drawn.sums(explanation.values(sign)), -outputs)


@metric(
    "mu-fidelity",
    better="higher",
    range=CORRELATION,
    unit="rank correlation",
    reference="Bhatt, Weller, Moura, Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020; on a "
    "grid and by ranks: Fel, Hervier, Vigouroux et al., Xplique, CVPR workshops 2022",
)
def mu_fidelity(
    explanation: Explanation,
    *,
    sets: Several = 200,
    size: Size = 0.2,
    grid: PositiveInt = 9,
    baseline: Baseline = "zero",
    output: Output = "logit",
    sign: Sign = "signed",
) -> Tensor:
    """Rank correlation, over random sets of cells, of the map's sum with how much the output falls without them.

    Spearman's correlation of sum_{p in S} a_p and f(x) - f(x without S) over sets S of equally many cells of a grid,
    which are the same for all methods. 1 is best; a map that knows nothing has 0 in the mean. NaN for an image whose
    output, or whose map's sum, is the same for all sets.

    Parameters:
        sets: how many sets an image.
        size: cells a set, exactly; below 1, as a share of all.
        grid: cells a side.
        baseline: what a removed cell becomes.
        output: what is read of the target class.
        sign: whether negative values count as they are, by magnitude, or as none.
    """
    drawn, outputs = _over_random_sets(explanation, sets, size, grid, baseline, output)
    return spearman(drawn.sums(explanation.values(sign)), -outputs)


@metric(
    "sensitivity-n",
    better="higher",
    range=CORRELATION,
    unit="correlation",
    reference="Ancona, Ceolini, Öztireli, Gross, Towards better understanding of gradient-based attribution methods "
    "for Deep Neural Networks, ICLR 2018",
)
def sensitivity_n(
    explanation: Explanation,
    *,
    sets: Several = 100,
    sizes: PositiveInt = 5,
    smallest: Size = 0.01,
    largest: Size = 0.8,
    grid: PositiveInt | None = None,
    baseline: Baseline = "zero",
    output: Output = "logit",
    sign: Sign = "signed",
) -> Tensor:
    """Mean, over numbers n of positions, of the correlation that random sets of n positions have.

    For each n it is Pearson's correlation of sum_{p in S} a_p and f(x) - f(x without S) over sets S of n positions;
    the numbers n are spaced evenly on a logarithmic scale, and their correlations averaged. The paper draws them over
    n. 1 is best; a map that knows nothing has 0 in the mean. NaN for an image for which one of the correlations means
    nothing, since its output or its map's sum is the same for all sets.

    The paper begins with single positions: `smallest=1`. Where a map is 0 nearly everywhere, its sums over few
    positions are all 0, and so the default begins with a share of 1 %.

    Parameters:
        sets: how many sets an image and number n.
        sizes: how many numbers n; 1 for the smallest alone.
        smallest: the first of them, in positions (or cells); below 1, as a share of all.
        largest: the last of them, likewise.
        grid: cells a side that are removed whole; none for positions.
        baseline: what a removed position becomes.
        output: what is read of the target class.
        sign: whether negative values count as they are, by magnitude, or as none.
    """
    height, width = explanation.x.shape[2:]
    parts = height * width if grid is None else grid * grid
    first, last = part_count(smallest, parts), part_count(largest, parts)
    if first > last:
        raise ParameterError(
            f"smallest={smallest} is {first} of {parts} parts, and largest={largest} is {last}: give a smallest size "
            "that is not above the largest."
        )
    numbers = torch.logspace(math.log10(first), math.log10(last), sizes, dtype=torch.float64).round().int()
    values, found = explanation.values(sign), []
    for size in numbers.unique().tolist():
        drawn, outputs = _over_random_sets(explanation, sets, size, grid, baseline, output)
        found.append(pearson(drawn.sums(values), -outputs))
    return torch.stack(found).mean(0)


@metric(
    "single-deletion",
    better="higher",
    range=CORRELATION,
    unit="rank correlation",
    reference="Hesse, Schaub-Meyer, Roth, Benchmarking the Attribution Quality of Vision Models, NeurIPS 2024",
)
def single_deletion(
    explanation: Explanation,
    *,
    grid: Several = 4,
    baseline: Baseline = "zero",
    output: Output = "logit",
    sign: Sign = "signed",
    network: Network = "explained",
) -> Tensor:
    """Rank correlation, over the cells of a grid, of the map's sum with how much the output falls without the cell.

    Spearman's correlation of sum_{p in c} a_p and f(x) - f(x without c) over the cells c, each removed alone. 1 is
    best; a map that knows nothing has 0 in the mean. NaN for an image whose output, or whose map's sum, is the same for
    all cells.

    The paper's IDSDS is this score, for the label (`target = "label"`), of a network that was tuned on images half of
    which lack a cell; of any other network, for which such images are strange, it calls it SDS. It explains the tuned
    network itself: `--weights FILE` with weights of the recipe `in-domain`. `network=in-domain` explains the network
    that one has, and asks its tuned twin what a cell is worth.

    Parameters:
        grid: cells a side.
        baseline: what a removed cell becomes.
        output: what is read of the target class.
        sign: whether negative values count as they are, by magnitude, or as none.
        network: whose output falls: the explained one's, or that of its twin that was tuned on images that lack cells
            (`run --in-domain`).
    """
    asked = explanation.asking(network)
    outputs = asked.shared(_without_each_cell, grid=grid, baseline=baseline, output=output)
    return spearman(each_part(explanation, grid).sums(explanation.values(sign)), -outputs)


@metric(
    "faithfulness-estimate",
    better="higher",
    range=CORRELATION,
    unit="correlation",
    reference="Alvarez-Melis, Jaakkola, Towards Robust Interpretability with Self-Explaining Neural Networks, "
    "NeurIPS 2018",
)
def faithfulness_estimate(
    explanation: Explanation,
    *,
    groups: Several | None = None,
    baseline: Baseline = "black",
    output: Output = "logit",
    sign: Sign = "signed",
) -> Tensor:
    """Correlation, over groups of positions by rank, of the map's sum with how much the output falls without them.

    Positions are ranked and cut into groups of equal size, G_1 the most salient; the score is Pearson's correlation of
    sum_{p in G} a_p and f(x) - f(x without G) over them. 1 is best; a map that knows nothing has 0 in the mean. NaN for
    an image whose output, or whose map's sum, is the same for all groups.

    Parameters:
        groups: how many groups; none for as many as the image is high, with its width in positions each. As many as
            there are positions remove each alone, as the paper does.
        baseline: what a removed position becomes.
        output: what is read of the target class.
        sign: whether negative values count as they are, by magnitude, or as none; for ranks and for sums.
    """
    parts = rank_groups(explanation.ranks(sign), groups or explanation.x.shape[2])
    fill = make_baseline(baseline, explanation.x, explanation.model.card)
    return pearson(parts.sums(explanation.values(sign)), -outputs_without(explanation, parts, fill, output))


def _over_random_sets(
    inputs: Inputs, sets: int, size: Size, grid: int | None, baseline: Baseline, output: Output
) -> tuple[PartSets, Tensor]:
    """Random sets, and the output without each, which varies as its fall does and is rounded less.

    Both are shared, each by itself: if there are too many sets to be kept, they are drawn again, and the model is not
    asked again.
    """
    drawn = {"sets": sets, "size": size, "grid": grid}
    readings = inputs.shared(_without_random_sets, **drawn, baseline=baseline)
    return inputs.shared(random_sets, **drawn), getattr(readings, output)


def _without_random_sets(inputs: Inputs, baseline: Baseline, **drawn: Any) -> Readings:
    fill = make_baseline(baseline, inputs.x, inputs.model.card)
    return readings_without(inputs, inputs.shared(random_sets, **drawn), fill)


def _without_each_cell(inputs: Inputs, grid: int, baseline: Baseline, output: Output) -> Tensor:
    fill = make_baseline(baseline, inputs.x, inputs.model.card)
    return outputs_without(inputs, each_part(inputs, grid), fill, output)
