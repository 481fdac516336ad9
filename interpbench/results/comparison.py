"""Which methods can be told apart on one model or across models; how far rankings agree.

Within a model images are the sampling unit: every two methods are compared on the images that both
scored. Across models each pair of a data set and a model is a block and a method's mean its score
there, as Demšar (JMLR 2006) advises; images are no blocks there, for those of one model are not
independent evidence on another model.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from interpbench.results.statistics import friedman, holm, signed_rank
from interpbench.results.tables import RunTables

LEVEL = 0.05
FEWEST_BLOCKS = 5  # that Friedman's test is made of; with fewer, it cannot tell apart what differs
GROUP = ["dataset", "model", "metric"]
PAIR_COLUMNS = [*GROUP, "method", "other", "n", "difference", "effect", "p", "p_holm", "better"]
RANK_COLUMNS = ["metric", "method", "blocks", "mean_rank", "letters"]
AGREEMENT_COLUMNS = [
    "across",
    *GROUP,
    "judges",
    "methods",
    "w",
    "friedman_p",
    "critical_difference",
    "left_out",
    "note",
]


def comparisons(tables: RunTables) -> pd.DataFrame:
    """Every two methods of a data set, model and metric, by Wilcoxon's signed-rank test.

    Their scores are paired, image by image. Columns: dataset, model, metric, method (whose mean is
    the better of the two, on the images that both scored), other, n (images that both scored),
    difference (mean of method's score less other's, in the metric's unit), effect (rank-biserial
    correlation, positive where `method` is better), p, p_holm (Holm's correction over the pairs of
    this data set, model and metric) and better: which of the two is, at 5 % after the correction,
    or "" if they cannot be told apart. The test weighs ranks and the leaderboard means; where an
    outlier makes the two disagree, `better` is not `method`. A method without a score has no pairs.
    """
    scored = tables.scores.dropna(subset=["value"]).astype({"value": float})
    frames = [
        _pairs(dict(zip(GROUP, key, strict=True)), scores, tables.metrics[key[2]].lower_is_better)
        for key, scores in scored.groupby(GROUP)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=PAIR_COLUMNS)


def _pairs(labels: dict[str, str], scores: pd.DataFrame, lower: bool) -> pd.DataFrame:
    wide = scores.pivot_table(index="sample_id", columns="method", values="value")
    rows = []
    for method, other in combinations(wide.columns, 2):
        differences = (wide[method] - wide[other]).dropna().to_numpy()
        if differences.size and (differences.mean() > 0 if lower else differences.mean() < 0):
            method, other, differences = other, method, -differences
        test = signed_rank(differences)
        rows.append(
            (method, other, test.n, test.difference, -test.effect if lower else test.effect, test.p)
        )
    pairs = pd.DataFrame(rows, columns=["method", "other", "n", "difference", "effect", "p"])
    pairs["p_holm"] = holm(pairs["p"].to_numpy(dtype=float))
    winner = pairs["method"].where(pairs["effect"] > 0, pairs["other"])
    pairs["better"] = winner.where(pairs["p_holm"] < LEVEL, "")
    return pairs.assign(**labels)[PAIR_COLUMNS]


def standings(pairs: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Places and letters of `methods` by their pairs of one data set, model and metric.

    `methods` come with the best mean first. `rank` is 1 + the number of methods that are better,
    `rank_to` the number of methods less those that are worse: the places that the data leave to a
    method, all of them at once with the confidence of the pairs' correction (Mogstad, Romano,
    Shaikh and Wilhelm, Review of Economic Studies 2024). Which two can be told apart is said by the
    letters: they have one in common exactly if they cannot (Piepho, Journal of Computational and
    Graphical Statistics 2004).
    """
    told_apart = pairs[pairs["better"] != ""]
    loser = told_apart["other"].where(
        told_apart["better"] == told_apart["method"], told_apart["method"]
    )
    lost, won = loser.value_counts(), told_apart["better"].value_counts()
    different = pd.DataFrame(False, index=methods, columns=methods)
    for method, other in told_apart[["method", "other"]].itertuples(index=False):
        different.loc[method, other] = different.loc[other, method] = True
    return pd.DataFrame(
        {
            "rank": [1 + int(lost.get(m, 0)) for m in methods],
            "rank_to": [len(methods) - int(won.get(m, 0)) for m in methods],
            "letters": _letters(different),
        },
        methods,
    )


def _letters(different: pd.DataFrame) -> list[str]:
    """Letters for a symmetric table that says which two differ.

    They are blank where the alphabet does not suffice.
    """
    from scikit_posthocs import compact_letter_display

    try:
        letters = compact_letter_display(1.0 - different, alpha=LEVEL)
    except ValueError:
        return [""] * len(different)
    return [text.replace(" ", "") for text in letters]


def mean_ranks(board: pd.DataFrame) -> pd.DataFrame:
    """Each method's mean rank over the blocks of a metric, best first.

    A metric with fewer than two blocks has none. Columns: metric, method, blocks, mean_rank, and
    letters, which two methods share exactly if Nemenyi's test does not tell them apart; "" where
    there are too few blocks to test. Methods without a score in some block are left out.
    """
    frames = [_mean_ranks(metric, blocks) for metric, blocks, _ in _blocks(board)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=RANK_COLUMNS)


def _mean_ranks(metric: str, blocks: pd.DataFrame) -> pd.DataFrame:
    from scikit_posthocs import posthoc_nemenyi_friedman

    test = friedman(blocks.to_numpy(), level=LEVEL)
    order = np.argsort(test.mean_ranks, kind="stable")
    ranks = pd.DataFrame({"method": blocks.columns, "mean_rank": test.mean_ranks}).iloc[order]
    letters: str | list[str] = ""
    if len(blocks) >= FEWEST_BLOCKS:
        p = posthoc_nemenyi_friedman(blocks.iloc[:, order])
        letters = _letters(p < LEVEL) if test.p < LEVEL else "a"
    return ranks.assign(metric=metric, blocks=len(blocks), letters=letters)[RANK_COLUMNS]


def agreement(board: pd.DataFrame) -> pd.DataFrame:
    """How far rankings agree: of a metric across models, of a model across metrics.

    Columns: across ("models" or "metrics"), the labels of what is held fixed (else ""), judges
    (blocks or metrics), methods (ranked by all judges), w (Kendall's coefficient of concordance: 1
    is the same order, 0 none), friedman_p and critical_difference (of mean ranks; only across at
    least five blocks), left_out (methods that some judge could not rank), note.
    """
    rows = [
        _agreement("models", {"metric": metric}, *ranking) for metric, *ranking in _blocks(board)
    ]
    for (dataset, model), blocks in board.groupby(["dataset", "model"], sort=False):
        costs, left_out = _complete(blocks, ["metric"])
        if len(costs) > 1:
            rows.append(
                _agreement("metrics", {"dataset": dataset, "model": model}, costs, left_out)
            )
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def agreement_texts(agreements: pd.DataFrame) -> dict[str, list[str]]:
    """How far rankings agree across models and across metrics -> `label W` of each."""
    texts: dict[str, list[str]] = {}
    for row in agreements.dropna(subset=["w"]).itertuples():
        label = row.metric if row.across == "models" else row.model
        texts.setdefault(row.across, []).append(f"{label} {row.w:.2f}")
    return texts


def judges_text(test: pd.Series) -> str:
    """What a row of `agreement` says of its judges.

    How many they are, how far they agree, and the test or why there is none.
    """
    agreed = f"{test['judges']} models" + (
        f", Kendall's W {test['w']:.2f}" if pd.notna(test["w"]) else ""
    )
    return (
        f"{agreed}; {test['note']}"
        if test["note"]
        else f"{agreed}, Friedman p = {test['friedman_p']:.2g}"
    )


def _agreement(
    across: str, labels: dict[str, str], costs: pd.DataFrame, left_out: list[str]
) -> dict[str, object]:
    test = friedman(costs.to_numpy(), level=LEVEL)
    tested = across == "models" and len(costs) >= FEWEST_BLOCKS
    too_few = across == "models" and not tested
    return {
        "across": across,
        **dict.fromkeys(GROUP, ""),
        **labels,
        "judges": len(costs),
        "methods": costs.shape[1],
        "w": test.w,
        "friedman_p": test.p if tested else np.nan,
        "critical_difference": test.critical_difference if tested else np.nan,
        "left_out": "; ".join(left_out),
        "note": f"too few models for a test, which needs {FEWEST_BLOCKS}" if too_few else "",
    }


def _blocks(board: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, list[str]]]:
    """Each metric with two blocks or more: its costs [blocks,methods], and the methods left out."""
    for metric in board["metric"].unique():
        costs, left_out = _complete(board[board["metric"] == metric], ["dataset", "model"])
        if len(costs) > 1 and costs.shape[1] > 1:
            yield metric, costs, left_out


def _complete(rows: pd.DataFrame, judges: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Costs [judges,methods] of the methods that every judge scored.

    They are means, negated where higher is better. And the methods that some judge, though not all,
    could not score.
    """
    rows = rows[rows["n"] > 0]
    cost = rows["mean"].where(rows["better"] == "lower", -rows["mean"])
    costs = rows.assign(cost=cost).pivot_table(index=judges, columns="method", values="cost")
    complete = costs.notna().all()
    return costs.loc[:, complete], list(costs.columns[~complete])
