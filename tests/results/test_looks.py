"""Looking several times, and stopping once the best is told apart, finds no more than is there."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench.results.looks import FIRST, level_of, looks, said, undecided
from interpbench.results.tables import RunTables
from interpbench.suite.cells import SCORE_COLUMNS
from tests.synthetic_tables import synthetic_tables


@given(st.integers(1, 100_000))
def test_one_looks_at_ever_twice_as_many_images_and_at_the_end(most: int) -> None:
    found = looks(most)
    assert found[-1] == most
    assert list(found) == sorted(set(found))
    assert [*found[:-1]] == [FIRST * 2**i for i in range(len(found) - 1)]
    assert len(found) * level_of(found) == pytest.approx(0.05)


@functools.cache
def some_tables() -> RunTables:
    return synthetic_tables(metrics=("deletion",), methods=("gradcam", "random"), ceiling=False)


def scores_of(values: dict[str, np.ndarray]) -> RunTables:
    """Scores of one metric on one model: method -> one an image."""
    tables = some_tables()
    first = tables.scores.iloc[0]
    frames = [
        pd.DataFrame(
            {
                **first,
                "method": method,
                "sample_id": [f"{i:06d}" for i in range(len(of_method))],
                "value": of_method,
            }
        )[SCORE_COLUMNS]
        for method, of_method in values.items()
    ]
    return replace(tables, scores=pd.concat(frames, ignore_index=True))


def test_who_is_near_the_best_is_named() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    values = {
        "best": base,
        "near": base + rng.normal(scale=0.1, size=100),
        "far": base + 1 + rng.normal(scale=0.1, size=100),
    }
    values["near"] += (
        values["best"].mean() - values["near"].mean() + 1e-6
    )  # deletion: lower is better
    tables = scores_of(values)
    [model] = tables.scores["model"].unique()
    assert undecided(tables) == [f"near by deletion on {model}"]
    assert undecided(scores_of({"best": base, "far": values["far"]})) == []
    assert undecided(scores_of({"best": base})) == []


def stops_wrongly(rng: np.random.Generator, methods: int, most: int, *, corrected: bool) -> bool:
    """Whether scores of equal means, skewed as those of maps that fail now and then, end a run."""
    planned = looks(most)
    difficulty = rng.normal(scale=0.2, size=most)
    values = {
        f"m{i}": difficulty + rng.exponential(0.1, most) * (rng.random(most) < 0.5)
        for i in range(methods)
    }
    for look in planned:
        tables = scores_of({name: of_method[:look] for name, of_method in values.items()})
        level = level_of(planned) if corrected else 0.05
        if not undecided(replace(tables, level=level)):
            return True
    return False


def share_that_stops(runs: int, methods: int, most: int, *, corrected: bool = True) -> float:
    rng = np.random.default_rng(7)
    return sum(stops_wrongly(rng, methods, most, corrected=corrected) for _ in range(runs)) / runs


def test_methods_that_do_not_differ_seldom_end_a_run() -> None:
    """If 5 % do, more than 6 of 60 do in three cases of a hundred."""
    assert share_that_stops(60, 2, 256) <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize("methods", [2, 4])
@pytest.mark.parametrize("most", [64, 512, 2048])
def test_methods_that_do_not_differ_end_a_run_in_5_percent_at_most(methods: int, most: int) -> None:
    found = share_that_stops(300, methods, most)
    print(f"{methods} methods, at most {most} images, {len(looks(most))} looks: {found:.2%}")
    assert found <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
def test_without_the_correction_they_would_more_often() -> None:
    found = share_that_stops(300, 2, 4096, corrected=False)
    print(f"uncorrected, 7 looks: {found:.2%}")
    assert found > 0.08


def test_what_came_of_it_is_said() -> None:
    tables = synthetic_tables(metrics=("deletion",), models=("a", "b"), images=100, ceiling=False)
    planned = looks(400)
    sentences = said(tables, planned)
    assert len(sentences) == 2
    for model, sentence in zip("ab", sentences, strict=True):
        assert sentence.startswith(f"{model}: ")
        assert "after 100 of at most 400 images (1 of 4 looks, each at 1.25%)" in sentence
