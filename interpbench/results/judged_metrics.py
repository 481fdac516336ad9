"""What `judge` found of the bundled metrics, for pages: beside a score, how its metric fared.

The table is bundled beside this module, as `judge` writes it (judged.csv). It is about scores by
the protocols that it names, and about no others.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

BUNDLED = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True)
class JudgedMetric:
    """How a metric fared where the truth is known.

    Attributes:
        orders: how many of the `degradations` of the exact mask it puts in order.
        fooled: by how many of the `scenarios`, networks whose truth is known by construction.
        right: in how many it prefers the right map; in the rest it cannot tell.
    """

    orders: int
    degradations: int
    fooled: int
    right: int
    scenarios: int

    @property
    def text(self) -> str:
        """In words: `orders 3 of 5 degradations; fooled by 2 of 3 scenarios, right in 1`."""
        return (
            f"orders {self.orders} of {self.degradations} degradations; "
            f"fooled by {self.fooled} of {self.scenarios} scenarios, right in {self.right}"
        )


def judged(protocol: str) -> JudgedMetric | None:
    """How the metric of a protocol was judged; None if it was not.

    Parameters:
        protocol: its hash; whatever changes a score changes it.
    """
    return _bundled().get(protocol)


@cache
def _bundled() -> dict[str, JudgedMetric]:
    return read_judged(BUNDLED)


def read_judged(path: Path) -> dict[str, JudgedMetric]:
    """protocol -> how its metric was judged, of a table of `judge`, where it was asked."""
    table = pd.read_csv(path, dtype={"protocol": str})
    figures = ["orders", "degradations", "fooled", "right", "scenarios"]
    asked = table.dropna(subset=figures)
    counts = asked[figures].astype(int)
    rows = zip(asked["protocol"], counts.itertuples(index=False), strict=True)
    return {protocol: JudgedMetric(*row) for protocol, row in rows}
