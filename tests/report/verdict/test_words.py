"""Numbers and lists as people read them."""

import math

import pytest

from interpbench.report.verdict.words import count, listing, number, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (-0.5, "−0.500"),
        (1, "1.000"),
        (113.07, "113.1"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.624, "62\u202f%"), (-1.146, "−115\u202f%"), (1.2063, "121\u202f%"), (math.nan, "–")],
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


def test_count_has_the_noun_that_fits() -> None:
    assert [count(n, "model") for n in (0, 1, 2, 1200)] == [
        "0 models",
        "1 model",
        "2 models",
        "1,200 models",
    ]


def test_listing_shortens_what_is_long() -> None:
    assert [listing(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert listing(list("abcdefgh"), 4) == "a, b, c and 5 more"
    assert listing(list("abcd"), 4) == "a, b, c and d"
