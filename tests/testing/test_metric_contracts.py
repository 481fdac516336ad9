"""The contracts of metrics find each planted fault, and nothing wrong with metrics that have none."""

import itertools
import runpy
from pathlib import Path

import pytest

import interpbench
from interpbench.core.errors import ParameterError
from interpbench.registry.discovery import discover
from interpbench.registry.new_plugin import write_plugin
from interpbench.testing import METRIC_CONTRACTS, check_metric
from interpbench.testing.models import MODELS
from tests.faulty_metrics import BREAKS, FAULTY, SOUND
from tests.slow_cases import with_slow

REGISTRY = discover()
QUICKER: dict[str, dict[str, object]] = {
    "impact-coverage": {"steps": 15},
    "smooth-mprt": {"samples": 3},
}
LONG = [
    "impact-coverage",
    "monotonicity-correlation",
    "mu-fidelity",
    "non-sensitivity",
    "road-by-percentiles",
    "sensitivity-n",
]
SLOW = ["road-by-percentiles"]  # 18 imputations an image and call: on the first model alone here


@pytest.mark.parametrize("name", FAULTY.names("metric"))
def test_a_fault_breaks_the_contracts_that_it_should_and_no_other(name: str) -> None:
    failed = [outcome for outcome in check_metric(FAULTY.get("metric", name)) if outcome.failed]
    assert {outcome.contract for outcome in failed} == set(BREAKS[name]), [*map(str, failed)]
    for outcome in failed:
        assert BREAKS[name][outcome.contract] in outcome.what
        assert outcome.remedy.endswith(".")


def test_every_contract_is_broken_by_some_planted_fault() -> None:
    broken = {contract for breaks in BREAKS.values() for contract in breaks}
    assert broken == {contract.name for contract in METRIC_CONTRACTS}


@pytest.mark.parametrize("name", SOUND.names("metric"))
def test_nothing_is_wrong_with_a_sound_metric(name: str) -> None:
    outcomes = check_metric(SOUND.get("metric", name))
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []


@pytest.mark.parametrize("name", with_slow(REGISTRY.names("metric"), LONG))
def test_bundled_metrics_keep_their_contracts(name: str) -> None:
    models = dict(itertools.islice(MODELS.items(), 1 if name in SLOW else None))
    outcomes = check_metric(
        REGISTRY.configure("metric", name, QUICKER.get(name, {})), models=models
    )
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_metrics_that_take_long_keep_them_on_every_model(name: str) -> None:
    outcomes = check_metric(REGISTRY.configure("metric", name))
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []


def test_a_new_metric_works_as_it_is_written(tmp_path: Path) -> None:
    written = write_plugin("metric", "cell-match", REGISTRY, tmp_path)
    [checked] = interpbench.check(written.plugin)
    assert (checked.kind, checked.label, checked.broken) == ("metric", "cell-match", ())
    tests = runpy.run_path(str(written.test))
    tests["test_of_a_linear_model_the_exact_map_is_best"]()
    for contract in METRIC_CONTRACTS:
        tests["test_it_keeps_its_contracts"](contract)


def test_check_takes_a_metric_by_name_and_says_what_a_choice_is_for() -> None:
    [checked] = interpbench.check("pointing-game")
    assert (checked.kind, checked.broken) == ("metric", ())
    with pytest.raises(ParameterError, match="--metric chooses among the metrics of a file"):
        interpbench.check("pointing-game", metric="deletion")
