"""What the images of a run can tell apart, and how many would do.

"Not shown to be better" is not "not better": where no scores at all could have been significant,
or only large differences, a reader has to know.
"""

import pandas as pd

from interpbench.results.comparison import GROUP
from interpbench.results.mean_difference import fewest_images

_RIVAL = ["", "_difference", "_told_apart", "_images_needed"]
RESOLUTION_COLUMNS = [
    *GROUP,
    "n",
    "methods",
    "pairs",
    "told_apart",
    "possible",
    "images_possible",
    "best",
    *(f"{rival}{column}" for rival in ("control", "next") for column in _RIVAL),
]


def resolution(board: pd.DataFrame, pairs: pd.DataFrame, level: float) -> pd.DataFrame:
    """How far the methods of each data set, model and metric can be told apart.

    Columns: dataset, model, metric, n (images that the best-scored pair shares), methods (with a
    score, controls among them), pairs, told_apart (share of the pairs that are, 0..1), possible
    (whether any scores of so many images could be significant after Holm's correction),
    images_possible (from how many on they could), best (the method with the best mean that is no
    control), and of two rivals, the best control and the next best method: control and next (their
    names, "" where there is none), `_difference` (mean of best less that of the rival, in the
    metric's unit), `_told_apart` (whether the two are, whichever is better) and `_images_needed`
    (see `comparison.comparisons`). What has fewer than two scored methods has no row.

    Parameters:
        board: the leaderboard.
        pairs: see `comparison.comparisons`.
        level: of significance, 0..1.
    """
    scored = dict(iter(board[board["n"] > 0].groupby(GROUP)))
    rows = [
        {**dict(zip(GROUP, key, strict=True)), **_row(scored[key], of_group, level)}
        for key, of_group in pairs.groupby(GROUP)
    ]
    return pd.DataFrame(rows, columns=RESOLUTION_COLUMNS)


def _row(ranked: pd.DataFrame, pairs: pd.DataFrame, level: float) -> dict[str, object]:
    tested = int(pairs["p"].notna().sum())
    images, needed = int(pairs["n"].max()), fewest_images(level / max(1, tested))
    controls = ranked.loc[ranked["role"] == "control", "method"].tolist()
    best, following = [*(m for m in ranked["method"] if m not in controls), "", ""][:2]
    return {
        "n": images,
        "methods": len(ranked),
        "pairs": tested,
        "told_apart": float((pairs["better"] != "").mean()),
        "possible": images >= needed,
        "images_possible": needed,
        "best": best,
        **_against("control", pairs, best, controls[0] if controls else ""),
        **_against("next", pairs, best, following),
    }


def _against(rival: str, pairs: pd.DataFrame, best: str, name: str) -> dict[str, object]:
    """The columns of the best method and a rival."""
    of_two = pairs[
        ((pairs["method"] == best) & (pairs["other"] == name))
        | ((pairs["method"] == name) & (pairs["other"] == best))
    ]
    if of_two.empty:
        values: tuple[object, ...] = (name, float("nan"), False, float("nan"))
    else:
        pair = of_two.iloc[0]
        difference = pair["difference"] if pair["method"] == best else -pair["difference"]
        values = (name, difference, pair["better"] != "", pair["images_needed"])
    return {f"{rival}{column}": value for column, value in zip(_RIVAL, values, strict=True)}
