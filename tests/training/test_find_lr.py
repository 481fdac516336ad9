"""The learning-rate range finder."""

import numpy as np
import pandas as pd
import pytest

from interpbench.core.errors import TrainingError
from interpbench.training.find_lr import SMOOTHING, find_lr, suggest
from interpbench.training.recipe import Recipe
from interpbench.training.start import Start
from tests.training.data import Stripes


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = np.geomspace(1e-6, 10, 141)
    losses = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 2)))  # a logistic step, steepest at 1e-2
    assert suggest(pd.DataFrame({"lr": rates, "smoothed": losses})) == pytest.approx(1e-2)
    with pytest.raises(TrainingError, match="rises"):
        suggest(pd.DataFrame({"lr": rates, "smoothed": rates}))
    with pytest.raises(TrainingError, match="no number"):
        suggest(pd.DataFrame({"lr": [], "smoothed": []}))


def test_rates_rise_evenly_until_the_loss_diverges(tiny) -> None:
    recipe = Recipe().changed({"batch_size": 16, "optimiser": {"name": "sgd", "lr": 1.0}})
    table, suggestion = find_lr(Start(tiny), Stripes(), recipe=recipe, steps=100)
    assert np.allclose(table["lr"], np.geomspace(1e-6, 10, 100)[: len(table)])
    assert table["lr"].min() < suggestion < 10
    running = 0.0
    for i, row in enumerate(table.itertuples()):
        running = SMOOTHING * running + (1 - SMOOTHING) * row.loss
        assert row.smoothed == pytest.approx(running / (1 - SMOOTHING ** (i + 1)))


def test_a_loss_that_is_no_number_ends_the_search(tiny) -> None:
    recipe = Recipe().changed(
        {"batch_size": 16, "optimiser": {"name": "sgd", "lr": 1.0}, "loss": {"gamma": 2.0}}
    )
    table, _ = find_lr(Start(tiny), Stripes(), recipe=recipe, steps=60)
    assert table["loss"].notna().all()


def test_the_same_search_twice(tiny) -> None:
    first, second = (
        find_lr(Start(tiny), Stripes(), recipe=Recipe(batch_size=16), steps=40)[0] for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, second)
