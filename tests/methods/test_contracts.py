"""Every bundled method keeps the contracts that `interpbench check` tries."""

import pytest

from interpbench.testing import check_method
from tests.methods.common import METHODS, QUICK, REGISTRY


@pytest.mark.parametrize("name", METHODS)
def test_it_keeps_its_contracts(name: str) -> None:
    outcomes = check_method(REGISTRY.configure("method", name, QUICK.get(name)))
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []
    assert len([outcome for outcome in outcomes if outcome.state == "passed"]) > 10


@pytest.mark.parametrize("name", METHODS)
def test_its_documentation_says_what_the_map_is_and_controls_aside_whose_it_is(name: str) -> None:
    plugin = REGISTRY.get("method", name)
    assert "[B,H,W]" in plugin.doc.replace("[B,h,w]", "[B,H,W]")
    assert plugin.reference or name == "random"
