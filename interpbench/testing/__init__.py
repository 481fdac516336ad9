"""For authors of plugins: the contracts that each method, metric, model and data set keeps.

They can be checked by pytest or by `interpbench check`:

    @pytest.mark.parametrize("contract", CONTRACTS, ids=str)
    def test_contract(contract):
        outcomes = check_method(load_method("mine", "mine.py"), [contract])
        assert [str(outcome) for outcome in outcomes if outcome.failed] == []

and likewise METRIC_CONTRACTS, `check_metric` and `load_metric`; MODEL_CONTRACTS, `check_model` and
`load_plugin("model", ...)`; DATASET_CONTRACTS, `check_dataset` and `load_plugin("dataset", ...)`.

`check` tries all of a file. `maps_of` gives a method's maps as a run has them,
`linear_model` a model whose maps have a closed form.
"""

from interpbench.testing.case import load_method, load_metric, load_plugin, maps_of
from interpbench.testing.checked_plugins import CheckedPlugin, check
from interpbench.testing.contracts import (
    CONTRACTS,
    CONTRACTS_OF,
    DATASET_CONTRACTS,
    METRIC_CONTRACTS,
    MODEL_CONTRACTS,
    Contract,
    Outcome,
    check_dataset,
    check_method,
    check_metric,
    check_model,
)
from interpbench.testing.models import Linear, linear_model, wrap

__all__ = [
    "CONTRACTS",
    "CONTRACTS_OF",
    "DATASET_CONTRACTS",
    "METRIC_CONTRACTS",
    "MODEL_CONTRACTS",
    "CheckedPlugin",
    "Contract",
    "Linear",
    "Outcome",
    "check",
    "check_dataset",
    "check_method",
    "check_metric",
    "check_model",
    "linear_model",
    "load_method",
    "load_metric",
    "load_plugin",
    "maps_of",
    "wrap",
]
