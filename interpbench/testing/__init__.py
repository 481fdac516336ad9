"""For authors of methods and metrics: the contracts that each keeps.

They can be checked by pytest or by `interpbench check`:

    @pytest.mark.parametrize("contract", CONTRACTS, ids=str)
    def test_contract(contract):
        outcomes = check_method(load_method("mine", "mine.py"), [contract])
        assert [str(outcome) for outcome in outcomes if outcome.failed] == []

and likewise METRIC_CONTRACTS, `check_metric` and `load_metric`.

`check` tries all of a file. `maps_of` gives a method's maps as a run has them,
`linear_model` a model whose maps have a closed form.
"""

from interpbench.testing.case import load_method, load_metric, maps_of
from interpbench.testing.checked_plugins import CheckedPlugin, check
from interpbench.testing.contracts import (
    CONTRACTS,
    METRIC_CONTRACTS,
    Contract,
    Outcome,
    check_method,
    check_metric,
)
from interpbench.testing.models import Linear, linear_model, wrap

__all__ = [
    "CONTRACTS",
    "METRIC_CONTRACTS",
    "CheckedPlugin",
    "Contract",
    "Linear",
    "Outcome",
    "check",
    "check_method",
    "check_metric",
    "linear_model",
    "load_method",
    "load_metric",
    "maps_of",
    "wrap",
]
