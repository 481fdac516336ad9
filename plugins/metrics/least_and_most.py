"""The output's fall as the most salient positions are removed first, against its fall as the least salient are."""

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from interpbench import (
    Baseline,
    Explanation,
    First,
    Network,
    Output,
    ParameterError,
    Perturbation,
    Sign,
    metric,
)
from interpbench import baseline as make_baseline


@metric(
    "srg",
    better="higher",
    range=lambda output: (-1.0, 1.0) if output == "probability" else (-math.inf, math.inf),
    unit=lambda output: output,
    reference="Blücher, Vielhaben, Strodthoff, Decoupling Pixel Flipping and Occlusion Strategy for Consistent XAI "
    "Benchmarks, TMLR 2024",
)
def srg(
    explanation: Explanation,
    *,
    steps: Annotated[int, Field(ge=2)] = 28,
    baseline: Baseline = "mean",
    output: Output = "probability",
    sign: Sign = "signed",
    network: Network = "explained",
) -> Tensor:
    """Symmetric relevance gain: the area under the output, least salient positions removed first, minus most first.

    area(least first) - area(most first): higher is better, within -1..1 for probabilities. A map that knows nothing has
    0 in the mean, and the reversed map has the same score with the other sign. What removal itself does to the output
    is in both areas, so that methods rank more alike whatever the baseline is.

    Parameters:
        steps: how many steps each way; positions / steps of them a step, rounded up.
        baseline: what a removed position becomes.
        output: what is read of the target class. Areas of logits are not within -1..1.
        sign: whether negative values count as small, by magnitude, or as none.
        network: whose output it is: the explained one's, or that of its twin that was tuned on images that lack parts
            (`run --in-domain`).
    """
    asked = explanation.asking(network)
    x = explanation.x
    positions = x.shape[2] * x.shape[3]
    if steps > positions:
        raise ParameterError(f"steps={steps} are more than the {positions} positions of an image. Give fewer.")
    stride = -(-positions // steps)
    inner = range(stride, positions, stride)  # both ways begin and end alike, which cancels
    empty = make_baseline(baseline, x, explanation.model.card)

    def outputs(first: First) -> Tensor:
        return asked.along(Perturbation(x, empty, output=output, first=first, sign=sign, points=inner))

    return (outputs("least") - outputs("most")).sum(1) / (len(inner) + 1)
