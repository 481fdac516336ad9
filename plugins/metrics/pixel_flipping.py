"""The output along the map's order by other rules than RISE's: steps, ends and areas as other libraries have them.

`deletion` and `insertion` are RISE's. These are for comparing with numbers of others; `list protocols` says of which.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from interpbench import Explanation, First, Output, ParameterError, Perturbation, Sign, metric
from interpbench import baseline as make_baseline

By = Literal["removing", "inserting"]
Ends = Literal["both", "start", "end", "neither"]
Area = Literal["mean-trapezoid", "trapezoid", "trapezoid-per-value", "mean"]
Fill = Literal[
    "zero", "black", "white", "mean", "blur", "gaussian-blur", "gaussian-blur-15", "minimum"
]  # fmt: skip


def _better(by: By, first: First) -> Literal["lower", "higher"]:
    return "lower" if (by == "removing") == (first == "most") else "higher"


def _range(output: Output, area: Area) -> tuple[float, float]:
    if output == "logit":
        return -math.inf, math.inf
    return (0.0, math.inf) if area == "trapezoid" else (0.0, 1.0)


@metric(
    "pixel-flipping",
    better=_better,
    range=_range,
    unit=lambda output, area: f"{output} x steps" if area == "trapezoid" else output,
    reference="Bach, Binder, Montavon, Klauschen, Müller, Samek, On Pixel-Wise Explanations for Non-Linear Classifier "
    "Decisions by Layer-Wise Relevance Propagation, PLoS ONE 2015",
)
def pixel_flipping(
    explanation: Explanation,
    *,
    by: By = "removing",
    features: Literal["positions", "values"] = "positions",
    intervals: PositiveInt = 10,
    per_step: PositiveInt | None = None,
    ends: Ends = "both",
    area: Area = "mean-trapezoid",
    baseline: Fill = "zero",
    output: Output = "probability",
    first: First = "most",
    sign: Sign = "signed",
) -> Tensor:
    """Area under the output as features are removed, or put in, in the map's order; each rule of it a parameter.

    With the defaults features are positions in ten equal steps, and both ends count. As with deletion, lower is better
    where the most salient are removed first. For a comparison with numbers of others; an area that is not divided
    grows with the number of steps, and with that the image's size.

    Parameters:
        by: `removing` features from the image, or `inserting` them into the baseline.
        features: `positions`, all channels together, or the `values` of each channel, first channel first.
        intervals: how many steps; the k-th ends at k / intervals of the features, rounded down.
        per_step: features a step, instead of `intervals`; the last step may be smaller.
        ends: whether the untouched start and the whole end are points of the curve.
        area: the trapezoid rule over 0..1 (`mean-trapezoid`), with steps of 1 (`trapezoid`) or of 1 / the number of
            points (`trapezoid-per-value`), or the `mean` of the points.
        baseline: what a feature without information is; `minimum` is the least number of the image, in the model's
            space, and `gaussian-blur-15` torchvision's GaussianBlur(15, 5).
        output: what is read of the target class. Areas of logits are not within 0..1.
        first: `least` goes through the features from the least salient on.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    x, channels = explanation.x, explanation.x.shape[1]
    order = explanation.order(Perturbation(x, x, first=first, sign=sign))[:, None].long()
    count = order[0].numel()
    if features == "values":
        order = order * channels + torch.arange(channels, device=x.device)[:, None, None]
        count *= channels
    points = _points(count, intervals, per_step, ends)
    empty = _empty(explanation, baseline)
    start, end = (x, empty) if by == "removing" else (empty, x)

    def along() -> Iterator[Tensor]:
        for point in points:
            yield torch.where(order < point, end, start)

    return _area(explanation.outputs(along(), output).cpu().double(), area)


def _points(count: int, intervals: int, per_step: int | None, ends: Ends) -> list[int]:
    """At how many changed features the output is read.

    Raises:
        ParameterError: if there are more steps than features, or too few points for an area.
    """
    if per_step is None:
        if intervals > count:
            raise ParameterError(
                f"intervals={intervals} are more than an image's {count} features. Give fewer."
            )
        inner = [k * count // intervals for k in range(1, intervals)]
    else:
        inner = list(range(per_step, count, per_step))
    points = [0] * (ends in ("both", "start")) + inner + [count] * (ends in ("both", "end"))
    if len(points) < 2:
        raise ParameterError(
            f"{len(points)} points are no curve: an image has {count} features. Give more intervals, fewer per_step, "
            "or ends=both."
        )
    return points


def _area(values: Tensor, area: Area) -> Tensor:
    """Of curves [B,S], float64 [B]."""
    if area == "mean":
        return values.mean(1)
    undivided = torch.trapezoid(values, dim=1)
    steps = {"trapezoid": 1, "trapezoid-per-value": values.shape[1], "mean-trapezoid": values.shape[1] - 1}
    return undivided / steps[area]


def _empty(explanation: Explanation, name: Fill) -> Tensor:
    """The images without information, [B,C,H,W]."""
    x = explanation.x
    if name == "minimum":
        return x.amin((1, 2, 3), keepdim=True).expand_as(x)
    if name == "gaussian-blur-15":
        return _blurred(x)
    return make_baseline(name, x, explanation.model.card)


def _blurred(x: Tensor, size: int = 15, deviation: float = 5.0) -> Tensor:
    """Rows, then columns; the border is reflected, its own value not repeated.

    Raises:
        ParameterError: if an image is too small to be reflected.
    """
    margin = size // 2
    if min(x.shape[2:]) <= margin:
        raise ParameterError(f"baseline=gaussian-blur-15 needs images of more than {margin} positions a side.")
    offsets = torch.arange(-margin, margin + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (offsets / deviation) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    padded = F.pad(x, (margin,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel[:, :, None], groups=x.shape[1])
    return F.conv2d(rows, kernel[..., None], groups=x.shape[1])
