"""How simple is the map? None of these asks the model: a map of one position, wherever it lies, is the best by each."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from interpbench import Explanation, metric

Amount = Literal["absolute", "positive"]


@metric(
    "sparseness",
    better="higher",
    unit="Gini index",
    reference="Chalasani, Chen, Chowdhury, Jha, Wu, Concise Explanations of Neural Networks using Adversarial "
    "Training, ICML 2020; Hurley, Rickard, Comparing Measures of Sparsity, IEEE Trans. Inf. Theory 2009",
    aspect="complexity",
)
def sparseness(explanation: Explanation, *, sign: Amount = "absolute") -> Tensor:
    """The Gini index of the map's magnitudes: how unequally they are spread, in 0..1.

    Sum over i of (2i - n - 1) a_i / (n sum a), of the n magnitudes in rising order; higher is better. 0 for a constant
    map, 1 - 1/n for one of a single position, which wins wherever it lies: read it beside a metric that asks the model.
    NaN where all values are 0.

    Parameters:
        sign: `positive` counts negative values as 0.
    """
    values = _amounts(explanation, sign).sort(1).values
    n = values.shape[1]
    weights = torch.arange(1 - n, n, 2, dtype=values.dtype)
    return (values @ weights) / (n * values.sum(1))


@metric(
    "entropy",
    better="lower",
    range=lambda scaled: (0.0, 1.0) if scaled else (0.0, math.inf),
    unit=lambda scaled: "share of the greatest" if scaled else "nats",
    reference="Bhatt, Weller, Moura, Evaluating and Aggregating Feature-based Model Explanations, IJCAI 2020",
    aspect="complexity",
)
def entropy(explanation: Explanation, *, scaled: bool = False, sign: Amount = "absolute") -> Tensor:
    """The entropy of the map's magnitudes as shares of their sum, from 0 to ln n.

    -sum p ln p with p = |a| / sum |a| over n positions; lower is better. ln n for a constant map, 0 for one of a single
    position, which wins wherever it lies: read it beside a metric that asks the model. NaN where all values are 0.

    Parameters:
        scaled: whether it is divided by ln n, so that images of different sizes compare.
        sign: `positive` counts negative values as 0.
    """
    values = _amounts(explanation, sign)
    found = torch.special.entr(values / values.sum(1, keepdim=True)).sum(1)
    return found / math.log(values.shape[1]) if scaled else found


@metric(
    "effective-complexity",
    better="lower",
    unit="share of positions",
    reference="after Nguyen, Rodríguez Martínez, On quantitative aspects of model interpretability, arXiv 2007.07584, "
    "2020",
    aspect="complexity",
)
def effective_complexity(
    explanation: Explanation, *, threshold: Annotated[float, Field(ge=0, lt=1)] = 0.01, sign: Amount = "absolute"
) -> Tensor:
    """The share of positions whose magnitude is more than a share of the map's greatest, in 0..1.

    |{i: |a_i| > threshold max |a|}| / n; lower is better. A map of a single position wins wherever it lies: read it
    beside a metric that asks the model. Libraries count those above an absolute threshold, which depends on the map's
    scale; the paper counts the positions that the model needs, which is another thing. NaN where all values are 0.

    Parameters:
        threshold: as a share of the greatest magnitude.
        sign: `positive` counts negative values as 0.
    """
    values = _amounts(explanation, sign)
    greatest = values.amax(1, keepdim=True)
    shares = (values > threshold * greatest).double().mean(1)
    return shares.masked_fill(greatest[:, 0] == 0, torch.nan)


def _amounts(explanation: Explanation, sign: Amount) -> Tensor:
    """The maps without their sign, float64 [B,H·W] on the CPU, since not every device has it."""
    return explanation.values(sign).flatten(1).cpu().double()
