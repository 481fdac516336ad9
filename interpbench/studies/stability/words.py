"""What a survey says, in a few lines."""

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from interpbench.studies.stability.survey import (
    ALL,
    DEPENDS,
    PARTLY,
    SURVIVES,
    UNDECIDED,
    Survey,
    by_factor,
)

MOST = 4  # names in a line


def lines(found: Survey) -> Iterator[str]:
    """What survives, who leads, what matters most."""
    count = len(found.settings)
    pairs = found.survival[found.survival["scope"] == ALL]
    verdicts = Counter(pairs["verdict"])
    yield (
        f"Of {len(pairs)} pairs of methods, {verdicts[SURVIVES]} are told apart the same way by "
        f"all {count} settings, {verdicts[PARTLY]} by some and never the other way, "
        f"{verdicts[DEPENDS]} one way or the other as one chooses, {verdicts[UNDECIDED]} by none."
    )
    firsts = Counter(found.settings["leader"])
    leads = ", ".join(f"{name} {times}" for name, times in firsts.most_common(MOST))
    yield f"First of {count} settings by mean score: {leads}."
    turned = pairs[pairs["verdict"] == DEPENDS].sort_values("worse", ascending=False)
    if len(turned):
        told = [
            f"{row.method} and {row.other} ({row.better} to {row.worse})"
            for row in turned.head(MOST).itertuples()
        ]
        yield f"Which is better depends on the setting: {'; '.join(told)}{_more(turned)}."
    worst = by_factor(found).iloc[0]
    yield (
        f"What changes the order most: {worst['factor']} (tau {worst['tau']:.2f}; "
        f"{worst['turned']} pairs turned round)."
    )


def _more(rows: pd.DataFrame) -> str:
    return f"; {len(rows) - MOST} more" if len(rows) > MOST else ""
