"""What the scores of a metric can be: their unit, and the least and the greatest.

Both may depend on the metric's parameters, so they are asked for with their values:

    @metric("rank-correlation", better="higher", unit="correlation",
            range=lambda squared: (0.0, 1.0) if squared else (-1.0, 1.0))
    def rank_correlation(explanation, *, squared: bool = False): ...
"""

import math
from dataclasses import dataclass
from typing import Any

from interpbench.core.calls import fits
from interpbench.core.errors import PluginError
from interpbench.core.text import shown

Range = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """The unit of scores, "" if they have none, and the least and the greatest possible."""

    unit: str
    range: Range


# Of the area under a curve, by what is read off the model: see `Perturbation.output`.
AREAS = {
    "probability": Scale("probability", (0.0, 1.0)),
    "logit": Scale("logit", (-math.inf, math.inf)),
}


def as_range(metric: str, limits: Any) -> Range:
    """The least and the greatest score, as a metric's plugin states them.

    Raises:
        PluginError: if these are not two numbers, the first of them less.
    """
    numbers = [float(limit) for limit in limits if fits(limit, float)]
    if len(numbers) != 2 or len(limits) != 2 or not numbers[0] < numbers[1]:
        raise PluginError(
            f"Metric {metric!r}: range={shown(limits)} is no range. Expected the least and the "
            "greatest score, such as (0.0, 1.0)."
        )
    return numbers[0], numbers[1]
