"""What the sign of maps means for the scores of a leaderboard."""

from collections.abc import Iterator

import pandas as pd

from interpbench.report.verdict.words import listing, number
from interpbench.suite.protocol import SIGN

MOSTLY = 0.5  # share of a method's maps
PARAMETER = "sign="


def sign_text(board: pd.DataFrame) -> str:
    """How signed maps are scored, and whose are: some sentences, "" where nobody's are.

    Where a metric was asked for both, what the sign does to the scores of these methods, too.

    Parameters:
        board: as `leaderboard.leaderboard` gives it.
    """
    rows = board[board["sign"] == SIGN]
    shares = rows.groupby("method")["signed"].max()
    methods = list(shares.index[shares >= MOSTLY])
    if not methods:
        return ""
    metrics = list(dict.fromkeys(rows["metric"]))
    by = listing(metrics, 3)
    return " ".join(
        (
            f"Maps of {listing(methods)} hold negative values. By {by} these come last; by "
            "magnitude the order of positions could be another, and with it the score: "
            f"{metrics[0].partition(':')[0]}:{PARAMETER}absolute asks for that.",
            *_effects(board, methods),
        )
    )


def _effects(board: pd.DataFrame, methods: list[str]) -> Iterator[str]:
    """A sentence for each metric that stands there with more than one sign."""
    labels = board["metric"].map(_without_sign)
    for label, rows in board.assign(same=labels).groupby("same", sort=False):
        if rows["sign"].nunique() < 2:
            continue
        means = rows.groupby(["method", "sign"], sort=False)["mean"].mean()
        told = [
            f"{method} {listing([f'{number(v)} ({sign})' for sign, v in means[method].items()])}"
            for method in methods
            if method in means
        ]
        if told:
            yield f"Mean {label} by how the sign is taken: {'; '.join(told)}."


def _without_sign(label: str) -> str:
    """A metric's label but for its parameter `sign`."""
    name, _, given = label.partition(":")
    others = [pair for pair in given.split(",") if pair and not pair.startswith(PARAMETER)]
    return f"{name}:{','.join(others)}" if others else name
