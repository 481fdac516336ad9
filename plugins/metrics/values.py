"""Correlations over sets of single values, each channel by itself, by Quantus' rules.

For comparing with its numbers, and with those of benchmarks that call it; `faithfulness-correlation` and its like take
positions, all channels together, as a map has one value for them. What a value becomes is one number too.
"""

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench import Explanation, Inputs, Output, ParameterError, metric, pearson, spearman

CORRELATION = (-1.0, 1.0)
QUANTUS = "as Quantus has it: Hedström, Weber, Krakowczyk et al., Quantus, JMLR 2023"
Several = Annotated[int, Field(ge=2)]


@metric(
    "faithfulness-correlation-of-values",
    better="higher",
    range=CORRELATION,
    unit="correlation",
    reference="Bhatt, Weller, Moura, Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020; "
    f"{QUANTUS}",
)
def faithfulness_correlation_of_values(
    explanation: Explanation, *, sets: Several = 100, size: PositiveInt = 224, output: Output = "logit"
) -> Tensor:
    """Correlation, over random sets of values, of the map's sum with how much the output falls without them.

    Pearson's correlation of sum_{v in S} a_v and f(x) - f(x without S) over sets S of so many values, which are the
    same for all methods; a removed value becomes the least of the image. 1 is best. NaN for an image whose output, or
    whose map's sum, is the same for all sets.

    Parameters:
        sets: how many sets an image.
        size: values a set.
        output: what is read of the target class.
    """
    drawn = {"sets": sets, "size": size}
    numbers = explanation.shared(_sets, **drawn)
    outputs = explanation.shared(_without_sets, **drawn, output=output)
    return pearson(_sums(explanation.saliency, numbers), -outputs)


@metric(
    "faithfulness-estimate-of-values",
    better="higher",
    range=CORRELATION,
    unit="correlation",
    reference="Alvarez-Melis, Jaakkola, Towards Robust Interpretability with Self-Explaining Neural Networks, NeurIPS "
    f"2018; {QUANTUS}",
)
def faithfulness_estimate_of_values(
    explanation: Explanation, *, per_step: PositiveInt = 224, output: Output = "logit"
) -> Tensor:
    """Correlation, over groups of values by rank, of the map's sum with how much the output falls without each.

    Values are ranked, those of one position from the first channel on, and cut into groups of so many; a removed value
    becomes the least of the image. 1 is best. NaN for an image whose output, or whose map's sum, is the same for all
    groups.

    Parameters:
        per_step: values a group; the last may be smaller.
        output: what is read of the target class.
    """
    order = _in_order(explanation.rank, explanation.x.shape[1])
    groups = _groups(order, per_step)
    return pearson(
        _sums_of_groups(explanation.saliency, groups), -explanation.outputs(_without(explanation, groups), output)
    )


@metric(
    "monotonicity-correlation-of-values",
    better="higher",
    range=CORRELATION,
    unit="rank correlation",
    reference="Nguyen, Rodríguez Martínez, On quantitative aspects of model interpretability, arXiv 2007.07584, 2020; "
    f"{QUANTUS}",
)
def monotonicity_correlation_of_values(
    explanation: Explanation, *, per_step: PositiveInt = 224, samples: PositiveInt = 10, output: Output = "probability"
) -> Tensor:
    """Rank correlation, over groups of values by magnitude, of the map's sum with how far they move the output.

    Spearman's correlation of sum_{v in G} |a_v| and E[(f(x with G changed) - f(x))^2] over groups of so many values,
    least first; all values of a group become the same number, uniform in 0..1 in the model's space. Quantus divides by
    f(x)^2 besides, which changes no rank. 1 is best. NaN for an image whose output no group moves, or just as far.

    Parameters:
        per_step: values a group; the last may be smaller.
        samples: numbers that the expectation is over.
        output: what is read of the target class.
    """
    magnitudes = explanation.saliency.abs()
    ascending = magnitudes[0].numel() - 1 - explanation.ranks("absolute")
    groups = _groups(_in_order(ascending, explanation.x.shape[1]), per_step)
    numbers = [
        torch.rand(len(groups), samples, generator=generator) for generator in explanation.generators("changed values")
    ]
    drawn = torch.stack(numbers, dim=2).to(explanation.x)  # group, sample, image

    def changed() -> Iterator[Tensor]:
        for removed, of_group in zip(groups, drawn, strict=True):
            for number in of_group:
                yield torch.where(removed, number[:, None, None, None], explanation.x)

    moved = explanation.outputs(changed(), output) - explanation.output(output)[:, None]
    effects = moved.square().unflatten(1, (len(groups), samples)).mean(2)
    return spearman(_sums_of_groups(magnitudes, groups), effects)


def _in_order(ranks: Tensor, channels: int) -> Tensor:
    """Ranks of values by those of positions [B,H,W], a position's in the order of channels, int64 [B,C,H,W]."""
    return ranks[:, None].long() * channels + torch.arange(channels, device=ranks.device)[:, None, None]


def _groups(order: Tensor, per_step: int) -> list[Tensor]:
    """The values of each group, bool [B,C,H,W].

    Raises:
        ParameterError: if there are no two groups.
    """
    count = order[0].numel()
    if per_step >= count:
        raise ParameterError(f"per_step={per_step} makes one group of an image's {count} values. Give fewer.")
    return [(order >= first) & (order < first + per_step) for first in range(0, count, per_step)]


def _without(explanation: Inputs, groups: list[Tensor]) -> Iterator[Tensor]:
    least = explanation.x.amin((1, 2, 3), keepdim=True)
    return (torch.where(removed, least, explanation.x) for removed in groups)


def _sums_of_groups(values: Tensor, groups: list[Tensor]) -> Tensor:
    """The sum of maps [B,H,W] over each group of values, float64 [B,K]."""
    maps = values[:, None].cpu().double()
    return torch.stack([(maps * removed.cpu()).sum((1, 2, 3)) for removed in groups], 1)


def _sets(inputs: Inputs, *, sets: int, size: int) -> Tensor:
    """The numbers of the values of random sets, int32 [B,sets,size].

    Raises:
        ParameterError: if there are no so many values.
    """
    count = inputs.x[0].numel()
    if size >= count:
        raise ParameterError(f"size={size}: an image has {count} values. Give fewer.")
    drawn = [
        torch.stack([torch.randperm(count, generator=generator)[:size] for _ in range(sets)])
        for generator in inputs.generators("sets of values")
    ]
    return torch.stack(drawn).int().to(inputs.x.device)


def _without_sets(inputs: Inputs, *, sets: int, size: int, output: Output) -> Tensor:
    """The output without each set, float32 [B,sets]."""
    numbers = inputs.shared(_sets, sets=sets, size=size).long()
    least, flat = inputs.x.amin((1, 2, 3))[:, None].expand(-1, size), inputs.x.flatten(1)
    return inputs.outputs((flat.scatter(1, some, least).view_as(inputs.x) for some in numbers.unbind(1)), output)


def _sums(values: Tensor, numbers: Tensor) -> Tensor:
    """The sum of maps [B,H,W] over the values with these numbers [B,K,n], float64 [B,K]."""
    flat = values.flatten(1).cpu().double()
    places = numbers.long().cpu() % flat.shape[1]
    return flat.gather(1, places.flatten(1)).view(places.shape).sum(2)
