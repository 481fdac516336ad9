"""Do rankings agree as Kendall's tau says, and does a conclusion survive exactly where no setting denies it?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from interpbench.core.errors import ParameterError, UnknownNameError
from interpbench.registry.discovery import discover
from interpbench.results.run_info import MetricInfo
from interpbench.results.tables import RunTables
from interpbench.studies.stability.plots import draw_conclusions, draw_taus
from interpbench.studies.stability.settings import (
    BASE,
    IMAGES,
    SEED,
    Setting,
    alternatives,
    settings_of,
)
from interpbench.studies.stability.survey import Survey, by_factor, kendall, scores_of, survey
from interpbench.studies.stability.words import lines

METHODS = ["a", "b", "c"]
REGISTRY = discover()


def tables(
    means: dict[str, list[float]], images: int = 24, seed: int = 0, better: str = "lower"
) -> RunTables:
    """Scores of METHODS whose means by metric are about these, with noise of 0.05."""
    rng = np.random.default_rng(seed)
    rows = [
        ("planted", "m", metric, method, f"image-{i:02d}", mean + 0.05 * rng.standard_normal())
        for metric, of_methods in means.items()
        for method, mean in zip(METHODS, of_methods, strict=True)
        for i in range(images)
    ]
    columns = ["dataset", "model", "metric", "method", "sample_id", "value"]
    metrics = {metric: MetricInfo(better=better) for metric in means}  # type: ignore[arg-type]
    return RunTables.of_scores(pd.DataFrame(rows, columns=columns), metrics, 0, 0.05)


def surveyed(means: dict[str, list[float]], **choices: object) -> Survey:
    """Of settings of one metric, `x`, the first being its own."""
    made = tables(means)
    chosen = [Setting(name, "x", BASE if name == "x" else name, name) for name in means]
    return survey([scores_of(setting, made) for setting in chosen], **choices)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_kendalls_tau_is_scipys(first: list[int], random: object) -> None:
    second = [random.randint(0, 3) for _ in first]  # type: ignore[attr-defined]
    ours = kendall(np.array([first], dtype=float), np.array([second], dtype=float))[0]
    np.testing.assert_allclose(ours, kendalltau(first, second).statistic, atol=1e-6)


def test_what_survives_depends_or_is_undecided() -> None:
    found = surveyed({"x": [0.1, 0.5, 0.5], "y": [0.1, 0.5, 0.9], "z": [0.9, 0.5, 0.5]})
    verdicts = found.survival.set_index(["method", "other"])
    assert verdicts.loc[("a", "b"), ["better", "worse", "verdict"]].tolist() == [2, 1, "depends"]
    assert verdicts.loc[("a", "c"), ["better", "worse", "verdict"]].tolist() == [2, 1, "depends"]
    assert verdicts.loc[("b", "c"), ["better", "undecided", "verdict"]].tolist() == [
        1,
        2,
        "not in all",
    ]
    assert set(found.survival["scope"]) == {"all"}
    same = surveyed({"x": [0.1, 0.5, 0.9], "y": [0.2, 0.5, 0.8]})
    assert set(same.survival["verdict"]) == {"survives"}
    assert "3 are told apart the same way by all 2 settings" in next(lines(same))
    level = surveyed({"x": [0.5, 0.5, 0.5], "y": [0.5, 0.5, 0.5]})
    assert set(level.survival["verdict"]) == {"undecided"}


def test_the_other_way_round_is_minus_one_and_the_same_is_one() -> None:
    found = surveyed({"x": [0.1, 0.5, 0.9], "y": [0.1, 0.5, 0.9], "z": [0.9, 0.5, 0.1]})
    taus = found.taus.set_index(["setting", "other"])
    assert taus.loc[("x", "y"), ["tau", "low", "high", "both", "turned"]].tolist() == [
        1,
        1,
        1,
        3,
        0,
    ]
    assert taus.loc[("x", "z"), ["tau", "low", "high", "both", "turned"]].tolist() == [
        -1,
        -1,
        -1,
        3,
        3,
    ]
    factors = by_factor(found).set_index("factor")
    assert factors.index.tolist() == ["z", "y"]  # the most harmful first
    assert factors.loc["z", ["tau", "turned", "lost"]].tolist() == [-1, 3, 0]
    assert any("z (tau -1.00; 3 pairs turned round)" in line for line in lines(found))


def test_an_interval_holds_what_other_images_would_give() -> None:
    """The share of samples whose interval holds the tau of very many images."""
    truth = {"x": [0.50, 0.51, 0.52], "y": [0.52, 0.50, 0.51]}
    many = tables(truth, images=2000)
    chosen = [Setting(name, "x", BASE, name) for name in truth]
    whole = survey([scores_of(each, many) for each in chosen], resamples=2).taus["tau"].iloc[0]
    held = 0
    for seed in range(12):
        made = tables(truth, images=30, seed=seed)
        row = survey([scores_of(each, made) for each in chosen], seed, 199).taus.iloc[0]
        held += row["low"] <= whole <= row["high"]
    assert held >= 9  # of 12: with 95 % the chance of fewer is below 1e-3


def test_the_same_seed_gives_the_same_numbers_whatever_the_order_of_images() -> None:
    made = tables({"x": [0.50, 0.51, 0.52], "y": [0.52, 0.50, 0.51]})
    turned = replace(made, scores=made.scores.iloc[::-1])
    chosen = [Setting(name, "x", BASE, name) for name in "xy"]
    first, second = (survey([scores_of(each, t) for each in chosen], 3) for t in (made, turned))
    for name in vars(first):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


def test_higher_scores_may_be_better() -> None:
    made = tables({"x": [0.1, 0.5, 0.9]}, better="higher")
    found = survey([scores_of(Setting("x", "x", BASE, "x"), made)] * 2)
    assert found.settings["leader"].tolist() == ["c", "c"]
    assert found.means.set_index("method").loc["a", "place"].tolist() == [3, 3]


def test_halves_share_no_image_and_are_compared_with_each_other() -> None:
    made = tables({"x": [0.1, 0.5, 0.9]})
    chosen = [Setting("x", "x", BASE, "x")]
    chosen += [Setting(f"x {half}", "x", IMAGES, "x", half=half) for half in (1, 2)]
    scored = [scores_of(each, made) for each in chosen]
    one, other = (set(each.costs.index) for each in scored[1:])
    assert not one & other
    assert one | other == set(scored[0].costs.index)
    assert by_factor(survey(scored)).loc[0, ["factor", "settings", "tau"]].tolist() == [
        IMAGES,
        2,
        1,
    ]


def test_methods_without_scores_are_left_out_and_too_few_are_refused() -> None:
    made = tables({"x": [0.1, 0.5, 0.9], "y": [0.1, 0.5, 0.9]})
    lost = made.scores["metric"].eq("y") & made.scores["method"].eq("b")
    part = replace(made, scores=made.scores[~lost])
    chosen = [Setting(name, "x", BASE, name) for name in "xy"]
    assert set(survey([scores_of(each, part) for each in chosen]).means["method"]) == {"a", "c"}
    alone = replace(made, scores=made.scores[made.scores["method"] == "a"])
    with pytest.raises(ParameterError, match="x: 1 methods have scores on 24 images"):
        scores_of(chosen[0], alone)


def test_settings_differ_from_a_metrics_own_in_one_thing() -> None:
    known = alternatives()
    made, runs = settings_of(REGISTRY, ["deletion:steps=8"], None, known)
    factors = {setting.factor for setting in made}
    assert factors == {BASE, *known.factors}
    assert len({setting.name for setting in made}) == len(made)
    assert [s.metric for s in made if s.factor == "steps"] == ["deletion:steps=32"]
    assert [s.metric for s in made if s.factor == "baseline"] == [
        f"deletion:baseline={name},steps=8" for name in ("blur", "mean")
    ]
    assert runs[SEED] == ["deletion:steps=8"]
    assert all(label in runs[BASE] for label in {s.metric for s in made})
    assert len(runs[BASE]) == len(set(runs[BASE]))
    only, _ = settings_of(REGISTRY, ["sparseness"], ["sign", "images"], known)
    assert [s.factor for s in only] == [BASE, IMAGES, IMAGES]  # its sign is another one's


def test_what_cannot_be_varied_is_told() -> None:
    with pytest.raises(UnknownNameError, match="baseline"):
        settings_of(REGISTRY, ["deletion"], ["basline"], alternatives())
    with pytest.raises(ParameterError, match="Nothing is chosen otherwise"):
        settings_of(REGISTRY, ["entropy"], ["steps"], alternatives())


def test_the_pictures_are_drawn(tmp_path: Path) -> None:
    found = surveyed({"x": [0.1, 0.5, 0.5], "y": [0.1, 0.5, 0.9], "z": [0.9, 0.5, 0.5]})
    for draw in (draw_taus, draw_conclusions):
        draw(found, "m on planted", tmp_path / f"{draw.__name__}.png")
        assert (tmp_path / f"{draw.__name__}.png").stat().st_size > 5000
