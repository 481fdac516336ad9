"""ROAD by the rules of pytorch-grad-cam, for comparing with its numbers; `road` is the authors'."""

import math
from collections.abc import Iterator

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from interpbench import Explanation, Inputs, Output, linear_imputation, metric

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
EXACT = 1e-5  # of imputed values, in the units of the input


@metric(
    "road-by-percentiles",
    better="higher",
    range=lambda output: (-0.5, 0.5) if output == "probability" else (-math.inf, math.inf),
    unit=lambda output: output,
    reference="Rong, Leemann, Borisov, Kasneci, Kasneci, A Consistent and Efficient Evaluation Strategy for "
    "Attribution Methods, ICML 2022; as pytorch-grad-cam's ROADCombined has it",
)
def road_by_percentiles(
    explanation: Explanation, *, noise: NonNegativeFloat = 0.01, output: Output = "logit"
) -> Tensor:
    """Half the difference of the output without the least salient positions and without the most salient ones.

    (least - most) / 2, the mean over nine percentiles q = 10, 20, ..., 90 of the map's values. Positions whose value is
    at least the q-th percentile are removed, or those whose negative is at least that of the negatives, by noisy linear
    imputation; higher is better. Of equal values none or all are removed: NaN where that leaves nothing of an image. A
    constant map has no score.

    Parameters:
        noise: deviation of what is added to imputed values, in the units of the model's normalised input.
        output: what is read of the target class. Logits are not within -1/2..1/2.
    """
    values = explanation.saliency.cpu().double()
    most = _removed(values)
    least = _removed(1 - _stretched(values))
    added = noise * explanation.shared(_noise)
    limit = torch.full((explanation.x.shape[1], 1, 1), EXACT, device=explanation.x.device)

    def imputed() -> Iterator[Tensor]:
        for removed in (*least, *most):
            some = removed[:, None].to(explanation.x.device)
            some = some & ~some.all(dim=(2, 3), keepdim=True)  # of which nothing is left: no score, see below
            yield torch.where(some, linear_imputation(explanation.x, some, limit) + added, explanation.x)

    said = explanation.outputs(imputed(), output).cpu().double().unflatten(1, (2, len(PERCENTILES)))
    nothing_left = torch.cat([least, most]).flatten(2).all(2).any(0)
    return ((said[:, 0] - said[:, 1]).mean(1) / 2).masked_fill(nothing_left, torch.nan)


def _stretched(values: Tensor) -> Tensor:
    """Maps in 0..1, which is where pytorch-grad-cam's are."""
    least, greatest = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    return (values - least) / (greatest - least)


def _removed(values: Tensor) -> Tensor:
    """Which positions are not below each percentile, bool [9,B,H,W]."""
    shares = torch.tensor(PERCENTILES, dtype=values.dtype) / 100
    thresholds = values.flatten(1).quantile(shares, dim=1)
    return values >= thresholds[..., None, None]


def _noise(inputs: Inputs) -> Tensor:
    """Standard normal numbers for each image, [B,C,H,W]."""
    generators = inputs.generators("noise of imputed pixels")
    noise = [torch.randn(inputs.x.shape[1:], generator=generator) for generator in generators]
    return torch.stack(noise).to(inputs.x.device)
