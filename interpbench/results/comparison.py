"""Which methods can be told apart on one model or across models; how far rankings agree.

Within a model images are the sampling unit: every two methods are compared on the images that both
scored. Across models each pair of a data set and a model is a block and a method's mean its score
there, as Demšar (JMLR 2006) advises; images are no blocks there, for those of one model are not
independent evidence on another model.
"""

from collections.abc import Collection, Iterator
from typing import Literal

import numpy as np
import pandas as pd

from interpbench.results.mean_difference import FIGURES, images_needed, mean_differences
from interpbench.results.score_blocks import GROUP, ScoreBlock, alike
from interpbench.results.statistics import friedman, holm, rank_correlation, signed_ranks
from interpbench.results.tables import LEVEL, RunTables

_NUMBERS = 2**17  # that are compared at once: 1 MB
FEWEST_BLOCKS = 5  # that Friedman's test is made of; with fewer, it cannot tell apart what differs
PAIR_COLUMNS = [
    *GROUP,
    "method",
    "other",
    "n",
    "difference",
    "low",
    "high",
    "sd",
    "p",
    "p_holm",
    "better",
    "effect",
    "p_wilcoxon",
    "images_needed",
]
RANK_COLUMNS = ["metric", "method", "blocks", "mean_rank", "letters"]
AGREEMENT_COLUMNS = [
    "across",
    *GROUP,
    "judges",
    "methods",
    "w",
    "correlation",
    "low",
    "high",
    "friedman_p",
    "critical_difference",
    "left_out",
    "note",
]


def comparisons(tables: RunTables, *, ranked: bool = True) -> pd.DataFrame:
    """Every two methods of a data set, model and metric, by the mean of their differences.

    Their scores are paired, image by image. Columns: dataset, model, metric, method (whose mean is
    the better of the two, on the images that both scored), other, n (images that both scored),
    difference (mean of method's score less other's, in the metric's unit), low and high (its 95 %
    interval, for this pair alone), sd (of the differences), p (see
    `mean_difference.mean_difference`), p_holm (Holm's correction over the pairs of this data set,
    model and metric), better ("method" of this row if it is at `tables.level` after the correction,
    else ""), effect and p_wilcoxon (of Wilcoxon's signed-rank test, which weighs ranks and decides
    nothing here: rank-biserial correlation, positive where `method` is better on most images) and
    images_needed (at which the pair would be told apart after the correction with 80 % power, if
    difference and sd are as measured; NaN where there is no difference). A method without a score
    has no pairs.

    Parameters:
        tables: of the run.
        ranked: whether Wilcoxon's test is made, which takes most of the time; else it is NaN.
    """
    frames = [_pairs(tables, block, ranked) for block in tables.blocks if len(block.methods) > 1]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=PAIR_COLUMNS)


def _pairs(tables: RunTables, block: ScoreBlock, ranked: bool) -> pd.DataFrame:
    lower = tables.metrics[block.key[2]].lower_is_better
    columns = _compared(block.scores, lower, ranked)
    names = np.array(block.methods, dtype=object)
    pairs = pd.DataFrame(
        {"method": names[columns.pop("first")], "other": names[columns.pop("second")], **columns}
    )
    pairs["p_holm"] = holm(pairs["p"].to_numpy(dtype=float))
    pairs["better"] = pairs["method"].where(pairs["p_holm"] < tables.level, "")
    level = tables.level / max(1, pairs["p"].notna().sum())  # what the first step of Holm's asks
    pairs["images_needed"] = [
        images_needed(difference, sd, level=level)
        for difference, sd in zip(pairs["difference"], pairs["sd"], strict=True)
    ]
    return pairs.assign(**dict(zip(GROUP, block.key, strict=True)))[PAIR_COLUMNS]


def _compared(values: np.ndarray, lower: bool, ranked: bool) -> dict[str, np.ndarray]:
    """What the comparison of every two rows says, as columns, the better mean first.

    Parameters:
        values: scores [methods,images], NaN where there is none.
    """
    first, second = np.triu_indices(len(values), 1)
    found = {
        "first": first,
        "second": second,
        "n": np.zeros(first.size, dtype=int),
        **{name: np.full(first.size, np.nan) for name in (*FIGURES, "effect", "p_wilcoxon")},
    }
    for pairs, images in _of_same_images(values, first, second):
        part = values[:, images]
        hits = np.asarray(np.isin(part, (0, 1)).all(axis=1))
        found["n"][pairs] = part.shape[1]
        for some in np.split(pairs, range(step := _at_once(part.shape[1]), pairs.size, step)):
            differences = part[first[some]] - part[second[some]]
            worse = differences.sum(axis=1) * (1 if lower else -1) > 0
            differences[worse] *= -1
            found["first"][some[worse]], found["second"][some[worse]] = (
                second[some[worse]],
                first[some[worse]],
            )
            both_hits = hits[first[some]] & hits[second[some]]
            for name, figures in mean_differences(differences, both_hits).items():
                found[name][some] = figures
            if ranked:
                effect, found["p_wilcoxon"][some] = signed_ranks(differences)
                found["effect"][some] = -effect if lower else effect
    return found


def _at_once(images: int) -> int:
    """How many pairs are compared at once, so that what is computed of them stays in the cache."""
    return max(1, _NUMBERS // max(1, images))


def _of_same_images(
    values: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows that have numbers in the same columns: their numbers, and these columns."""
    kinds = list(alike(values))
    kind_of = np.zeros(len(values), dtype=int)
    for kind, (rows, _) in enumerate(kinds):
        kind_of[rows] = kind
    of_two = np.sort([kind_of[first], kind_of[second]], axis=0)
    for one, other in np.unique(of_two, axis=1).T:
        pairs = np.flatnonzero((of_two[0] == one) & (of_two[1] == other))
        yield pairs, kinds[one][1] & kinds[other][1]


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
    lost, won = told_apart["other"].value_counts(), told_apart["method"].value_counts()
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
        letters = compact_letter_display(1.0 - different, alpha=0.5)
    except ValueError:
        return [""] * len(different)
    return [text.replace(" ", "") for text in letters]


def mean_ranks(board: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Each method's mean rank over the blocks of a metric, best first.

    A metric with fewer than two blocks has none. Columns: metric, method, blocks, mean_rank, and
    letters, which two methods share exactly if Nemenyi's test at `level` does not tell them apart;
    "" where there are too few blocks to test. Methods without a score in some block are left out.
    """
    frames = [_mean_ranks(metric, blocks, level) for metric, blocks, _ in _blocks(board)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=RANK_COLUMNS)


def _mean_ranks(metric: str, blocks: pd.DataFrame, level: float) -> pd.DataFrame:
    from scikit_posthocs import posthoc_nemenyi_friedman

    test = friedman(blocks.to_numpy(), level=level)
    order = np.argsort(test.mean_ranks, kind="stable")
    ranks = pd.DataFrame({"method": blocks.columns, "mean_rank": test.mean_ranks}).iloc[order]
    letters: str | list[str] = ""
    if len(blocks) >= FEWEST_BLOCKS:
        p = posthoc_nemenyi_friedman(blocks.iloc[:, order])
        letters = _letters(p < level) if test.p < level else "a"
    return ranks.assign(metric=metric, blocks=len(blocks), letters=letters)[RANK_COLUMNS]


def agreement(
    board: pd.DataFrame, level: float = LEVEL, judging: Collection[str] | None = None
) -> pd.DataFrame:
    """How far rankings agree: of a metric across models, of a model across metrics.

    Across metrics only of those that are `judging`, see `MetricInfo.judges`; None for all.

    Columns: across ("models" or "metrics"), the labels of what is held fixed (else ""), judges
    (blocks or metrics), methods (ranked by all judges), w (Kendall's coefficient of concordance:
    1 is the same order; m unrelated ones have 1/m), correlation (mean rank correlation of every two
    judges: 1 is the same order, 0 have nothing in common, two opposite ones -1) with its 95 %
    interval low and high, the methods being a sample, friedman_p and critical_difference (of mean
    ranks at `level`; only across at least five blocks), left_out (methods that some judge could not
    rank), note.
    """
    rows = [
        _agreement("models", {"metric": metric}, costs, left_out, level)
        for metric, costs, left_out in _blocks(board)
    ]
    judged = board if judging is None else board[board["metric"].isin(judging)]
    for (dataset, model), blocks in judged.groupby(["dataset", "model"], sort=False):
        costs, left_out = _complete(blocks, ["metric"])
        if len(costs) > 1:
            labels = {"dataset": dataset, "model": model}
            rows.append(_agreement("metrics", labels, costs, left_out, level))
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def agreement_word(low: float, high: float) -> Literal["agree", "disagree", "undecided"]:
    """What the interval of a mean rank correlation says: whether 0 lies below it, or above."""
    if low > 0:
        return "agree"
    return "disagree" if high < 0 else "undecided"


def agreement_texts(agreements: pd.DataFrame) -> dict[str, list[str]]:
    """How far rankings agree across models and across metrics -> `label 0.71 [0.52, 0.88]`."""
    texts: dict[str, list[str]] = {}
    for _, row in agreements.dropna(subset=["correlation"]).iterrows():
        label = row["metric"] if row["across"] == "models" else row["model"]
        texts.setdefault(row["across"], []).append(f"{label} {_correlation_text(row)}")
    return texts


def judges_text(test: pd.Series) -> str:
    """What a row of `agreement` says of its judges.

    How many they are, how far they agree, and the test or why there is none.
    """
    agreed = f"{test['judges']} models" + (
        f", mean rank correlation {_correlation_text(test)}"
        if pd.notna(test["correlation"])
        else ""
    )
    return (
        f"{agreed}; {test['note']}"
        if test["note"]
        else f"{agreed}, Friedman p = {test['friedman_p']:.2g}"
    )


def _correlation_text(row: pd.Series) -> str:
    return f"{row['correlation']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _agreement(
    across: str, labels: dict[str, str], costs: pd.DataFrame, left_out: list[str], level: float
) -> dict[str, object]:
    test = friedman(costs.to_numpy(), level=level)
    correlation, low, high = rank_correlation(costs.to_numpy())
    tested = across == "models" and len(costs) >= FEWEST_BLOCKS
    too_few = across == "models" and not tested
    return {
        "across": across,
        **dict.fromkeys(GROUP, ""),
        **labels,
        "judges": len(costs),
        "methods": costs.shape[1],
        "w": test.w,
        "correlation": correlation,
        "low": low,
        "high": high,
        "friedman_p": test.p if tested else np.nan,
        "critical_difference": test.critical_difference if tested else np.nan,
        "left_out": "; ".join(left_out),
        "note": f"too few models for a test, which needs {FEWEST_BLOCKS}" if too_few else "",
    }


def _blocks(board: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, list[str]]]:
    """Each metric with two blocks or more: its costs [blocks,methods], and the methods left out."""
    for metric in board["metric"].unique():
        rows = board[board["metric"] == metric]
        if len(rows) == rows["method"].nunique():  # each stands there once: it is one block
            continue
        costs, left_out = _complete(rows, ["dataset", "model"])
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
