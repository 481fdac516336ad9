"""How a table of scores is read, in the same words wherever there is one."""

import pandas as pd

PLACES = "Places that the data leave"  # to a method, as `1–3`: first to third
LEADS = "the data leave it the first place, and leave it to no control"


def legend(board: pd.DataFrame) -> str:
    """What stands in a cell of a leaderboard's table, and what bold is; "" without scores."""
    if not (board["n"] > 0).any():
        return ""
    share = (
        ", share of the achievable (0 % is the best control, 100 % what a search reaches that "
        "looks at the metric)"
        if board["share"].notna().any()
        else ""
    )
    cell = f"{PLACES} (1–3: first to third), mean, 95 % interval over images{share}."
    return f"{cell} Bold leads: {LEADS}."
