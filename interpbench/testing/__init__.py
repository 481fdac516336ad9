"""For authors of methods: the contracts that every method keeps.

They can be checked by pytest or by `interpbench check`:

    @pytest.mark.parametrize("contract", CONTRACTS, ids=str)
    def test_contract(contract):
        outcomes = check_method(load_method("mine", "mine.py"), [contract])
        assert [str(outcome) for outcome in outcomes if outcome.failed] == []

`check` tries all methods of a file. `maps_of` gives a method's maps as a run has them,
`linear_model` a model whose maps have a closed form.
"""

from interpbench.testing.case import load_method, maps_of
from interpbench.testing.checked_methods import CheckedMethod, check
from interpbench.testing.contracts import CONTRACTS, Contract, Outcome, check_method
from interpbench.testing.models import Linear, linear_model, wrap

__all__ = [
    "CONTRACTS",
    "CheckedMethod",
    "Contract",
    "Linear",
    "Outcome",
    "check",
    "check_method",
    "linear_model",
    "load_method",
    "maps_of",
    "wrap",
]
