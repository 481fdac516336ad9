"""What methods cost, ranked: figures of the tables, on each model, of the methods that gave maps."""

from dataclasses import replace

import numpy as np
import pandas as pd

from interpbench.results.cost import COLUMNS, cost
from interpbench.results.tables import RunTables
from tests.synthetic_tables import synthetic_tables


def tables(**choices: object) -> RunTables:
    return synthetic_tables(models=("a", "b"), metrics=("deletion",), images=10, **choices)


def test_the_fastest_comes_first_on_each_model() -> None:
    made = tables()
    found = cost(made)
    assert list(found) == COLUMNS
    assert found["model"].tolist() == sorted(found["model"])
    seconds = made.timings.set_index(["model", "method"])["attribution_seconds"]
    for model, rows in found.groupby("model"):
        expected = seconds.loc[model].sort_values()
        assert rows["method"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(rows["milliseconds"], 100 * expected)
        assert rows["milliseconds_rank"].tolist() == [*range(1, len(rows) + 1)]
    assert found["peak_megabytes"].isna().all()
    assert found["peak_megabytes_rank"].isna().all()
    assert set(found.loc[found["role"] == "control", "method"]) >= {"random"}


def test_memory_is_ranked_where_it_was_measured_and_equal_figures_share_a_place() -> None:
    made = tables(methods=("gradcam", "lime", "random", "saliency"))
    memory = {"gradcam": 3_000_000, "lime": 3_000_000, "random": None, "saliency": 4_500_000}
    timings = made.timings.assign(
        peak_memory=made.timings["method"].map(memory).astype(object),
        attribution_seconds=[0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.1, 0.3],
    )
    found = cost(replace(made, timings=timings)).query("model == 'a'").set_index("method")
    assert found["peak_megabytes"].dropna().to_dict() == {"gradcam": 3, "lime": 3, "saliency": 4.5}
    assert found["peak_megabytes_rank"].dropna().to_dict() == {
        "gradcam": 1, "lime": 1, "saliency": 3,
    }  # fmt: skip
    assert found["milliseconds_rank"].to_dict() == {
        "gradcam": 1, "random": 1, "lime": 3, "saliency": 4,
    }  # fmt: skip


def test_a_method_that_failed_costs_nothing_that_could_be_ranked() -> None:
    found = cost(tables(failed=("gradcam",)))
    assert "gradcam" not in set(found["method"])
    assert cost(tables(failed=("gradcam",), methods=("gradcam",))).empty
    nothing = RunTables.of_scores(pd.DataFrame(), {}, 0, 0.05)
    assert list(cost(nothing)) == COLUMNS
