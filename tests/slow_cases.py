"""Cases of a test that take long, among those that do not."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def with_slow(cases: Iterable[str], slow: Collection[str]) -> list[Any]:
    """For `parametrize`: the cases, of which some only run with `-m slow`.

    Raises:
        AssertionError: if one of the slow ones is no case.
    """
    cases = list(cases)
    assert set(slow) <= set(cases), set(slow) - set(cases)
    return [pytest.param(case, marks=pytest.mark.slow) if case in slow else case for case in cases]
