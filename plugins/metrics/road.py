"""ROAD: is the class still predicted where positions are removed, but filled in so well that their shape tells little?

Linear imputation makes each removed position the mean of its neighbours, of which some are removed themselves.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from interpbench import Explanation, First, Inputs, Perturbation, Sign, linear_imputation, metric

GREY_LEVEL = 1 / 255
AT_ONCE = 2**20  # numbers that are imputed, of as many shares as that allows


@metric(
    "road",
    better=lambda first: "lower" if first == "most" else "higher",
    range=lambda first: (-0.5, 0.5) if first == "both" else (0.0, 1.0),
    unit=lambda output: output,
    reference="Rong, Leemann, Borisov, Kasneci, Kasneci, A Consistent and Efficient Evaluation Strategy for "
    "Attribution Methods, ICML 2022",
)
def road(
    explanation: Explanation,
    *,
    first: Literal["most", "least", "both"] = "most",
    output: Literal["accuracy", "probability"] = "accuracy",
    steps: Annotated[int, Field(ge=2)] = 10,
    noise: NonNegativeFloat = 0.01,
    sign: Sign = "signed",
) -> Tensor:
    """How often the target is still predicted where the most salient positions are removed by noisy linear imputation.

    The mean over the shares 1/steps, 2/steps, ... below 1 of removed positions: in 0..1, lower is better. Where the
    target is the label, as in the reference, images that the model gets wrong count too.

    Parameters:
        first: `least` removes the least salient positions, and higher is better; `both` is half the difference, least
            minus most, in -1/2..1/2, and higher is better.
        output: whether the target is the predicted class (1 or 0), or its probability.
        steps: 1 more than how many shares are removed: 10 for 10, 20, ..., 90 %.
        noise: deviation of what is added to imputed pixels, of values in 0..1; the same for every share and method.
        sign: whether negative values count as small, by magnitude, or as none.
    """

    def still_predicted(first: First) -> Tensor:
        imputed = _imputed(explanation, first, steps, noise, sign)
        if output == "probability":
            return explanation.outputs(imputed).mean(1)
        return (explanation.logits(imputed).argmax(2) == explanation.target[:, None]).float().mean(1)

    if first == "both":
        return (still_predicted("least") - still_predicted("most")) / 2
    return still_predicted(first)


def _imputed(explanation: Explanation, first: First, steps: int, noise: float, sign: Sign) -> Iterator[Tensor]:
    """The images without each share of their positions, [B,C,H,W] each."""
    x = explanation.x
    deviation = torch.tensor(explanation.model.card.std, device=x.device)[:, None, None]
    added = explanation.shared(_noise) * (noise / deviation) if noise else torch.zeros_like(x)
    order = explanation.order(Perturbation(x, x, first=first, sign=sign))[:, None]
    counts = torch.arange(1, steps, device=x.device) * order[0].numel() // steps
    for some in counts.split(max(1, AT_ONCE // x.numel())):
        removed = order < some.view(-1, 1, 1, 1, 1)
        copies = x.expand(len(some), *x.shape).flatten(0, 1)
        imputed = linear_imputation(copies, removed.flatten(0, 1), GREY_LEVEL / deviation)
        yield from torch.where(removed, imputed.unflatten(0, (-1, len(x))) + added, x)


def _noise(inputs: Inputs) -> Tensor:
    """Standard normal numbers for each image, [B,C,H,W]."""
    shape = inputs.x.shape[1:]
    noise = [torch.randn(shape, generator=generator) for generator in inputs.generators("noise of imputed pixels")]
    return torch.stack(noise).to(inputs.x.device)
