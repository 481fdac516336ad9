"""Scoring many methods beside scoring one: what no map decides is computed once, and giving it again must cost little.

python -m pytest tests/bench/test_bench_sharing.py -m bench -n 0
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from interpbench.scoring.evaluate import BatchScores
from tests.bench import ours
from tests.bench.conftest import Report
from tests.bench.timing import Contender
from tests.bench.workloads import (
    PLANTED,
    REGISTRY,
    RESNET18,
    SMALL,
    Workload,
    eager,
    images,
    maps_without_ties,
    plain,
    predicted,
)

METHODS, SETS = 30, 100
MOST = 1.2  # times what one method takes


def apart(expected: list[BatchScores], actual: list[BatchScores]) -> float:
    """The greatest difference of a score of the first method."""
    return float((expected[0].scored["it"] - actual[0].scored["it"]).abs().max())


@pytest.mark.bench
@pytest.mark.parametrize("workload", [PLANTED, RESNET18], ids=lambda workload: workload.title)
def test_thirty_methods_cost_little_more_than_one(
    workload: Workload, report: Report, quick: bool, benchmark: BenchmarkFixture
) -> None:
    if quick and workload not in SMALL:
        pytest.skip("not in the quick table")
    turn = workload.turn(quick)
    count = max(1, int(turn / eager(workload).seconds) // SETS)
    model, x = plain(workload), images(workload, count)
    # Each method's map is another random order of the positions.
    maps = maps_without_ties(workload, METHODS * count).unflatten(0, (METHODS, count))
    choice = REGISTRY.configure("metric", "faithfulness-correlation", {"sets": SETS})
    contenders = [
        Contender(
            f"faithfulness-correlation of {methods}",
            "ours",
            ours.metric_of_methods(choice, model, x, maps[:methods], predicted(model, x)),
            count * SETS,
            apart,
        )
        for methods in (1, METHODS)
    ]
    unit = f"per perturbed image ({count} images, {SETS} sets each)"
    report(workload.title, unit, [*contenders, eager(workload).turn(turn)])
    of_all = benchmark.extra_info["rows"][1]
    assert of_all["over_ours"] <= MOST, of_all
    assert of_all["difference"] == 0
