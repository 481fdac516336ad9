"""Who beats whom on an image, who goes on to the next round, and the length of a budget."""

import numpy as np
import pandas as pd
import pytest

from interpbench.core.errors import ParameterError
from interpbench.results.run_info import MetricInfo
from interpbench.studies.advise.race import (
    DEAR,
    TIME,
    WORSE,
    Means,
    next_round,
    shown_worse,
    too_dear,
)
from interpbench.studies.advise.rules import bundled_rules
from interpbench.studies.advise.study import seconds_of
from interpbench.studies.advise.wins import compared, rival_row, wins

BETTER = {
    name: MetricInfo(better="lower" if name == "down" else "higher")
    for name in ("down", "up", "more")
}


def scores_of(**values: dict[str, list[float]]) -> pd.DataFrame:
    """Metric -> method -> a score an image."""
    return pd.DataFrame(
        [
            {"metric": metric, "method": method, "sample_id": f"i{number:02d}", "value": value}
            for metric, of in values.items()
            for method, each in of.items()
            for number, value in enumerate(each)
            if not np.isnan(value)
        ]
    )


def test_wins_are_counted_as_by_hand() -> None:
    scores = scores_of(down={"a": [1.0, 5.0], "b": [2.0, 5.0], "c": [3.0, 1.0]})
    won = wins(scores, BETTER, {"order": ("down",)}, ["a", "b", "c"])
    assert won.loc["i00"].to_dict() == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert won.loc["i01"].to_dict() == {"a": 0.25, "b": 0.25, "c": 1.0}  # half a win of two


def test_families_count_alike_and_metrics_within_them() -> None:
    scores = scores_of(
        down={"a": [1.0], "b": [2.0]}, up={"a": [1.0], "b": [2.0]}, more={"a": [0.0], "b": [1.0]}
    )
    won = wins(scores, BETTER, {"order": ("down", "up"), "sets": ("more",)}, ["a", "b"])
    assert won.loc["i00"].to_dict() == {"a": 0.25, "b": 0.75}  # a: (1/2 + 0)/2
    without = wins(scores, BETTER, {"order": ("down", "up"), "sets": ("gone",)}, ["a", "b"])
    assert without.loc["i00"].to_dict() == {"a": 0.5, "b": 0.5}


def test_a_rival_without_a_score_is_not_met() -> None:
    scores = scores_of(up={"a": [2.0, 2.0], "b": [1.0, np.nan], "c": [3.0, np.nan]})
    won = wins(scores, BETTER, {"one": ("up",)}, ["b", "c"])
    assert won.loc["i00"].to_dict() == {"a": 0.5, "b": 0.0, "c": 1.0}
    assert won.loc["i01"].isna().all()  # a has nobody to be compared with


def test_wins_are_the_mean_rank_counted_from_the_other_end() -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=30).tolist() for name in "abcdef"}
    won = wins(scores_of(up=values), BETTER, {"one": ("up",)}, list(values))
    ranks = pd.DataFrame(values).rank(axis=1, ascending=False)
    np.testing.assert_allclose(won.to_numpy(), (6 - ranks.to_numpy()) / 5)


def test_what_is_shown_to_be_worse_is_out() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=40)
    values = {
        "a": base + 3,
        "b": base + 2.99 + 0.1 * rng.normal(size=40),
        "c": base,
        "r": rng.normal(size=40) - 3,
    }
    won = wins(
        scores_of(up={k: v.tolist() for k, v in values.items()}),
        BETTER,
        {"one": ("up",)},
        list(values),
    )
    pairs = compared(won, 0, 0.01)
    standing = sorted("ab", key=lambda name: -won[name].mean())
    assert [each.method for each in shown_worse(pairs, [*standing, "c"])] == ["c"]
    assert {each.why for each in shown_worse(pairs, [*standing, "c"])} == {WORSE}
    assert rival_row(pairs, "c", "a").equals(rival_row(pairs, "a", "c"))  # type: ignore[union-attr]
    assert rival_row(pairs, "a", "nobody") is None


def test_all_go_on_while_there_is_time() -> None:
    means = Means(100, 10, 1, dict.fromkeys("abcdefgh", 1.0))
    coming = next_round("abcdefgh", 10, means, 2, 4)
    assert (coming.images, coming.dropped, coming.reason) == (10, (), "")  # 10 + 10·(1 + 8) = 100


def test_the_worst_are_left_behind_until_the_round_fits() -> None:
    means = Means(60, 10, 1, dict.fromkeys("abcdefgh", 1.0))
    coming = next_round("abcdefgh", 10, means, 2, 4)
    assert coming.images == 10  # 10 + 10·(1 + 4) = 60
    assert [each.method for each in coming.dropped] == list("hgfe")
    assert {each.why for each in coming.dropped} == {TIME}


def test_the_slow_ones_of_the_worse_half_go_first() -> None:
    each = dict.fromkeys("abcdefgh", 1.0) | {"a": 5.0, "g": 9.0}
    coming = next_round("abcdefgh", 10, Means(140, 10, 1, each), 2, 4)
    assert [(one.method, one.why) for one in coming.dropped] == [("g", TIME)]  # 10 + 10·(1 + 11)
    less = next_round("abcdefgh", 10, Means(110, 10, 1, each), 2, 4)
    assert [one.method for one in less.dropped] == ["g", "h", "f"]  # 10 + 10·(1 + 9)


def test_finalists_get_fewer_images_and_then_the_race_is_over() -> None:
    means = Means(40, 10, 1, dict.fromkeys("abcdefgh", 1.0))
    coming = next_round("abcdefgh", 20, means, 4, 4)
    assert (coming.images, len(coming.dropped)) == (6, 4)  # 30 / (1 + 4)
    assert coming.reason == "as many images as there was time for"
    late = next_round("abcdefgh", 20, Means(29, 10, 1, means.each), 4, 4)
    assert (late.images, late.dropped, late.reason) == (0, (), "its share of the budget was spent")
    assert next_round("ab", 0, means, 4, 4).reason == "all images were used"
    assert next_round("ab", 3, means, 4, 4).images == 3  # the last ones are few, and there is time


def test_one_that_would_take_too_much_is_out() -> None:
    out = too_dear({"slow": 2.0, "fast": 0.1}, 18, 30)
    assert [(each.method, each.why) for each in out] == [("slow", DEAR)]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("30.0", 30)]
)
def test_a_budget_is_a_length_of_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "ten", "5d", "-3m", "1e3", "nan"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="10m"):
        seconds_of(text)


def test_looks_share_the_level() -> None:
    rules = bundled_rules()
    assert rules.level + rules.level_of_a_look * rules.rounds == pytest.approx(0.05)
