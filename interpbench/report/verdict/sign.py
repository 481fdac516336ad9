"""What the sign of maps means for the scores of a leaderboard."""

import pandas as pd

from interpbench.report.verdict.words import listing
from interpbench.suite.protocol import SIGN

MOSTLY = 0.5  # share of a method's maps


def sign_text(board: pd.DataFrame) -> str:
    """How signed maps are scored, and whose are: a sentence or two, "" where nobody's are.

    Parameters:
        board: as `leaderboard.leaderboard` gives it.
    """
    rows = board[board["sign"] == SIGN]
    signed = rows.groupby("method")["signed"].max() >= MOSTLY
    if not signed.any():
        return ""
    return (
        f"Maps of {listing(list(signed.index[signed]))} hold negative values. These come last, as "
        "RISE's protocol has it; by magnitude the order of positions could be another, and with it "
        "the score."
    )
