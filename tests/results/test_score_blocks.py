"""Labels as categories, scores as arrays, and what is concluded of these: against slow forms with texts and loops."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from interpbench.results import run_folder
from interpbench.results.comparison import GROUP, comparisons
from interpbench.results.leaderboard import leaderboard
from interpbench.results.run_folder import RunFolder
from interpbench.results.score_labels import (
    LABELS,
    in_order,
    joined,
    labelled,
    relabelled,
    row_numbers,
)
from interpbench.results.shares import by_group, shares
from interpbench.results.statistics import _resamples, bootstrap_intervals, signed_ranks
from interpbench.results.tables import RunTables
from tests.synthetic_runs import write_run
from tests.synthetic_tables import synthetic_tables

METHODS = ("center", "gradcam", "random", "saliency", "sobel")


@pytest.fixture(scope="module")
def tables() -> RunTables:
    """Scores with gaps, ties, hits and misses; the rows in no order."""
    whole = synthetic_tables(methods=METHODS, models=("a", "b"), images=130, steps=4)
    rng = np.random.default_rng(0)
    scores = whole.scores[rng.random(len(whole.scores)) > 0.02].copy()
    hits = scores["metric"] == "pointing-game"
    chance = scores.loc[hits, "method"].map({name: 0.2 + i / 10 for i, name in enumerate(METHODS)})
    scores.loc[hits, "value"] = (rng.random(hits.sum()) < chance).astype(float)
    ties = scores["metric"] == "energy-inside"
    scores.loc[ties, "value"] = scores.loc[ties, "value"].round(2)
    scores.loc[scores.index[::97], "value"] = np.nan
    return replace(whole, scores=scores)


def test_labels_join_and_sort_as_texts_do(tables: RunTables) -> None:
    by = [*GROUP, "method", "sample_id"]
    shuffled = tables.scores.sample(frac=1, random_state=0)
    parts = [shuffled.iloc[:70], shuffled.iloc[70:70], shuffled.iloc[70:]]
    found = in_order(joined(parts), by)
    assert {str(found[label].dtype) for label in LABELS} == {"category"}
    expected = shuffled.sort_values(by, ignore_index=True)
    pd.testing.assert_frame_equal(
        found.astype(dict.fromkeys(LABELS, str)), expected, check_dtype=False
    )
    assert found["sample_id"].memory_usage() < 4 * len(found) + 20_000


def test_many_labels_do_not_overflow() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.integers(0, 900, (1000, 7)).astype(str), columns=list(LABELS))
    by = list(LABELS)  # 900^7 > 2^62
    found = in_order(labelled(table), by)
    assert found.astype(str).to_numpy().tolist() == table.sort_values(by).to_numpy().tolist()
    assert len(np.unique(row_numbers(labelled(table), by))) == len(table.drop_duplicates())


def test_labels_get_other_names() -> None:
    labels = labelled(pd.DataFrame({"method": ["b", "a", "b", "c"]}))["method"]
    found = relabelled(labels, {"a": "{x}", "b": "{y}"}, "{}")
    assert found.tolist() == ["{y}", "{x}", "{y}", "{}"]
    assert found.cat.categories.is_monotonic_increasing


def slow_pair(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Student's test corrected for skewness, one pair at a time, and scipy's of Wilcoxon."""
    differences = first - second
    count, mean, sd = differences.size, differences.mean(), differences.std(ddof=1)
    skewness = stats.skew(differences)
    student = mean / sd
    drawn = student
    if student * skewness < 0:
        drawn = student / (1 - skewness * student / 3) + skewness / (6 * count)
        drawn = drawn if drawn * student > 0 else 0.0
    p = 2 * stats.t.sf(abs(math.sqrt(count) * drawn), count - 1)
    reach = stats.t.ppf(0.975, count - 1) / math.sqrt(count)

    def stretched(drawn: float) -> float:
        rest = drawn - skewness / (6 * count)
        return drawn if drawn * skewness >= 0 else rest / (1 + skewness * rest / 3)

    low, high = mean - sd * stretched(reach), mean - sd * stretched(-reach)
    if p >= 0.05:
        low, high = min(low, 0), max(high, 0)
    ranks = stats.wilcoxon(differences, zero_method="pratt", method="asymptotic")
    signed = np.sign(differences) * stats.rankdata(abs(differences))
    effect = signed.sum() / (count * (count + 1) / 2)
    return {
        "n": count, "difference": mean, "sd": sd, "p": p, "low": low, "high": high, "effect": effect,
        "p_wilcoxon": ranks.pvalue if (differences != 0).sum() > 100 else np.nan,
    }  # fmt: skip


def test_pairs_are_those_of_a_loop(tables: RunTables) -> None:
    found = comparisons(tables).set_index([*GROUP, "method", "other"])
    compared = 0
    for key, scores in tables.scores.dropna(subset=["value"]).groupby(GROUP):
        wide = scores.pivot_table(index="sample_id", columns="method", values="value")
        lower = tables.metrics[key[2]].lower_is_better
        for one, other in itertools.combinations(wide, 2):
            both = wide[[one, other]].dropna()
            difference = (both[one] - both[other]).sum()
            if difference and (difference > 0) == lower:
                one, other = other, one
            row = found.loc[(*key, one, other)]
            expected = slow_pair(both[one].to_numpy(), both[other].to_numpy())
            if key[2] == "pointing-game":  # McNemar's
                up, down = (both[one] > both[other]).sum(), (both[one] < both[other]).sum()
                expected["p"] = stats.binomtest(int(up), int(up + down)).pvalue
                del expected["low"], expected["high"]
            if lower:
                expected["effect"] *= -1
            for name, value in expected.items():
                if not np.isnan(value):
                    assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), (key, one, name)
                    compared += 1
    assert len(found) == 2 * 4 * math.comb(len(METHODS), 2)
    assert compared > 6 * len(found)


def test_places_need_no_wilcoxon(tables: RunTables) -> None:
    whole, without = comparisons(tables), comparisons(tables, ranked=False)
    assert without[["effect", "p_wilcoxon"]].isna().all(axis=None)
    same = [name for name in whole if name not in ("effect", "p_wilcoxon")]
    pd.testing.assert_frame_equal(whole[same], without[same])


def test_many_pairs_at_once_are_each_as_alone() -> None:
    rng = np.random.default_rng(3)
    rows = np.stack([rng.normal(size=240), rng.integers(-3, 4, 240).astype(float), np.zeros(240)])
    rows = np.concatenate([rows, rng.permutation(rows, axis=1)])
    effects, p = signed_ranks(rows)
    for row, effect, chance in zip(rows, effects, p, strict=True):
        [alone], [chance_alone] = signed_ranks(row[None])
        assert (effect, chance) == (alone, chance_alone)


def test_intervals_of_many_rows_are_those_of_the_same_resamples_one_by_one() -> None:
    """The textbook's studentised bootstrap of each row by itself, on the resamples that all rows share."""
    values = np.random.default_rng(4).gamma(1, size=(3, 40))
    found = bootstrap_intervals(values, seed=5, resamples=999)
    drawn = np.concatenate(list(_resamples(40, 999, 5)))
    for row, interval in zip(values, found, strict=True):
        t = []
        for counts in drawn:
            resample = np.repeat(row, counts)
            t.append((resample.mean() - row.mean()) / (resample.std(ddof=1) / np.sqrt(40)))
        high, low = np.quantile(t, [0.025, 0.975])
        error = row.std(ddof=1) / np.sqrt(40)
        expected = row.mean() - low * error, row.mean() - high * error
        assert interval == pytest.approx(expected, rel=1e-12)


def test_a_board_of_categories_is_that_of_texts(tables: RunTables) -> None:
    shown = tables.scores.sort_values([*GROUP, "method", "sample_id"])
    of_texts, of_labels = (
        leaderboard(replace(tables, scores=rows))
        for rows in (
            shown.astype(dict.fromkeys(LABELS, object)),
            joined([shown.iloc[::2], shown.iloc[1::2]]),
        )
    )
    pd.testing.assert_frame_equal(of_texts, of_labels)
    row = of_texts.set_index([*GROUP, "method"]).loc[("planted", "a", "energy-inside", "sobel")]
    mine = shown.query("model == 'a' and metric == 'energy-inside' and method == 'sobel'").dropna(
        subset=["value"]
    )
    assert (row["n"], row["mean"], row["tied"]) == (
        len(mine),
        mine["value"].mean(),
        mine["tied"].mean(),
    )


def test_shares_are_a_row_an_image(tables: RunTables) -> None:
    found = shares(by_group(tables))
    tops = tables.ceilings.set_index([*GROUP, "sample_id"])["value"]
    controls = {group.key: group.control for group in by_group(tables)}
    values = tables.scores.dropna(subset=["value"]).set_index([*GROUP, "method", "sample_id"])[
        "value"
    ]
    for row in found.sample(40, random_state=0).itertuples():
        key = (row.dataset, row.model, row.metric)
        floor = values[(*key, controls[key], row.sample_id)]
        assert (row.floor, row.ceiling) == (floor, tops[(*key, row.sample_id)])
        way = row.ceiling - floor
        room = (way < 0) if tables.metrics[row.metric].lower_is_better else (way > 0)
        expected = (row.value - floor) / way if room else np.nan
        assert row.share == pytest.approx(expected, nan_ok=True)
    order = found[[*GROUP, "method", "sample_id"]].astype(str)
    assert order.equals(order.sort_values(list(order), ignore_index=True))


def test_curves_of_a_run_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", images=6)
    eager = run.assemble()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "read_curve_table", lambda *_: pytest.fail("curves were read"))
        lazy = RunFolder(run.path).tables()
    pd.testing.assert_frame_equal(eager.scores, lazy.scores)
    assert {key[3] for key in lazy.curves} == {"center", "random", "method-00", "method-01"}
    for key, curve in eager.curves.items():
        for name in ("fraction", "mean", "low", "high"):
            np.testing.assert_array_equal(getattr(curve, name), getattr(lazy.curves[key], name))
    read = run.curves(method="random", metric="deletion")
    mean = np.stack(read["value"].tolist()).mean(axis=0, dtype=float)
    np.testing.assert_allclose(lazy.curves["planted", "alexnet", "deletion", "random"].mean, mean)
    again = pd.read_parquet(run.path / "curves.parquet")
    assert len(again) == 2 * 4 * 6
    assert (
        np.stack(
            again.query("method == 'random' and metric == 'deletion'")["value"].tolist()
        ).tolist()
        == np.stack(read["value"].tolist()).tolist()
    )
