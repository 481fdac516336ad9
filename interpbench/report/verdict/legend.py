"""How a table of scores is read, in the same words wherever there is one."""

import pandas as pd

PLACES = "Places that the data leave"  # to a method, as `1–3`: first to third
BOLD = "Bold leads: no method was shown to be better, and no control is level."
SHOWN = (
    "Shown: significant at 5 % on the same images, corrected for the number of comparisons. What "
    "was not shown may be so all the same: more images may tell."
)


def legend(board: pd.DataFrame) -> tuple[str, ...]:
    """What stands in a cell of a leaderboard's table, and what bold is; nothing without scores."""
    if not (board["n"] > 0).any():
        return ()
    share = (
        ", share of the achievable (0 % is the best control, 100 % what a search reaches that "
        "looks at the metric)"
        if board["share"].notna().any()
        else ""
    )
    cell = f"{PLACES} (1–3: first to third), mean, 95 % interval over images{share}."
    return (f"{cell} {BOLD}", SHOWN)
