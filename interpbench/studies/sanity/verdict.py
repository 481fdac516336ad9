"""What the checks say of each method, by a rule that is stated beside it."""

import math

import pandas as pd

from interpbench.studies.sanity.comparing import ABSOLUTE, RISE, SIGNED, SPEARMAN

THRESHOLD = math.sqrt(0.5)  # above, the ranks share more than half of their variance
SENSITIVE, INSENSITIVE, UNDECIDED, UNKNOWN = "sensitive", "INSENSITIVE", "undecided", "unknown"
RULE = (
    f"Rule: Spearman's rank correlation of absolute maps is compared with {THRESHOLD:.2f}, above "
    "which the ranks share more than half of their variance. To the model: its mean over the "
    "upper half of the cascade, that is with new weights in the uppermost layer, the two "
    "uppermost, and so on to half of the layers; without the cascade, that of the copy in which "
    "all layers are new. To the class: that of the map for the target "
    f"with the map for another class. A method is {INSENSITIVE} if the 95 % interval (its ends "
    f"averaged likewise) lies above, {SENSITIVE} if it lies below, {UNDECIDED} if it does neither."
)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A row a method, sorted: what each test says in one number, and the verdicts of `RULE`.

    Parameters:
        table: of `checks.Checks.run`.

    Returns:
        Columns method; signed, whether its maps were compared with their signs too; the mean rank
        correlations of absolute maps `upper_half` of the cascade and `all_layers` (its end, or the
        test `complete`),
        `independent` (mean over layers), `smooth` and `random_logit`; `entropy_rise` as a share;
        `model` and `class`, the verdicts; `problem`, the first reason why something failed or could
        not be compared.
    """
    return pd.DataFrame(
        [_verdict(method, rows) for method, rows in table.groupby("method", sort=True)]
    )


def _verdict(method: str, rows: pd.DataFrame) -> dict[str, object]:
    ranks = rows[(rows["map"] == ABSOLUTE) & (rows["measure"] == SPEARMAN)]
    cascade = ranks[ranks["test"] == "cascading"].sort_values("layer_index")
    upper = cascade.iloc[: math.ceil(len(cascade) / 2)][["mean", "low", "high"]].mean()
    ends = cascade.iloc[-1:] if len(cascade) else ranks[ranks["test"] == "complete"]
    complete = ends[["mean", "low", "high"]].mean()
    other_class = ranks.loc[ranks["test"] == "random-logit", ["mean", "low", "high"]].mean()
    rise = rows[(rows["test"] == "efficient") & (rows["measure"] == RISE)]
    problems = rows.loc[rows["status"] != "ok", "reason"]
    return {
        "method": method,
        "signed": bool((rows["map"] == SIGNED).any()),
        "upper_half": upper["mean"],
        "all_layers": complete["mean"],
        "independent": ranks.loc[ranks["test"] == "independent", "mean"].mean(),
        "smooth": ranks.loc[ranks["test"] == "smooth", "mean"].mean(),
        "entropy_rise": rise["mean"].mean(),
        "random_logit": other_class["mean"],
        "model": _verdict_on(upper if len(cascade) else complete),
        "class": _verdict_on(other_class),
        "problem": problems.iloc[0] if len(problems) else "",
    }


def _verdict_on(similarity: pd.Series) -> str:
    """What an interval [low, high] of the similarity says."""
    if math.isnan(similarity["mean"]):
        return UNKNOWN
    if similarity["low"] > THRESHOLD:
        return INSENSITIVE
    return SENSITIVE if similarity["high"] < THRESHOLD else UNDECIDED
