"""What tests of forgeries share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from interpbench.publish import rescoring


@pytest.fixture(scope="session")
def made_once() -> dict[Any, Any]:
    return {}


@pytest.fixture
def scored_once(made_once: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed of the same images of a suite in the same precision is computed once for all forgeries."""

    def remembered(name: str, key: Callable[..., Any]) -> None:
        compute = getattr(rescoring, name)

        def recall(*arguments: Any) -> Any:
            found = (name, key(*arguments))
            if found not in made_once:
                result = compute(*arguments)
                made_once[found] = list(result) if isinstance(result, Iterator) else result
            return made_once[found]

        monkeypatch.setattr(rescoring, name, recall)

    def of_plan(plan: Any) -> str:
        return f"{plan.suite.model_dump_json()} {plan.computing.precision} {plan.indices}"

    remembered("discover", lambda files: 0)
    remembered(
        "make_plan",
        lambda chosen, registry, computing, _: chosen.suite.model_dump_json() + computing.precision,
    )
    remembered("run_cells", of_plan)
    remembered("shown_pixels", of_plan)
