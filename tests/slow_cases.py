"""Cases of a test that take long, among those that do not."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def with_slow(cases: Iterable[Any], slow: Collection[str]) -> list[Any]:
    """For `parametrize`: the cases, of which some only run with `-m slow`; besides those that are marked already.

    Raises:
        AssertionError: if one of the slow ones is no case.
    """
    cases = list(cases)
    names = [case for case in cases if isinstance(case, str)]
    assert set(slow) <= set(names), set(slow) - set(names)
    return [
        pytest.param(case, marks=pytest.mark.slow)
        if isinstance(case, str) and case in slow
        else case
        for case in cases
    ]
