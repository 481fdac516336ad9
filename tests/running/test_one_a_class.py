"""Which images are a run's examples."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from interpbench.running.examples import FEWEST, MOST, one_a_class


@given(st.lists(st.integers(-1, 30), max_size=120))
def test_examples_are_of_as_many_classes_as_can_be(labels: list[int]) -> None:
    images = one_a_class(labels)
    assert images == sorted(set(images))
    assert min(len(labels), FEWEST) <= len(images) <= MOST or len(set(labels)) < len(labels)
    assert len(images) <= MOST
    counts = Counter(labels[i] for i in images)
    if len(set(labels)) >= FEWEST:
        assert len(images) == min(MOST, len(set(labels)))
        assert set(counts.values()) <= {1}
    elif labels:
        each = -(-FEWEST // len(set(labels)))
        assert counts == {c: min(each, labels.count(c)) for c in set(labels)}


def test_of_one_class_they_are_evenly_spread() -> None:
    assert one_a_class([-1] * 31) == [0, 10, 20, 30]


def test_of_many_classes_they_are_evenly_spread() -> None:
    assert one_a_class([i // 2 for i in range(200)]) == [0, 22, 44, 66, 88, 110, 132, 154, 176, 198]


def test_of_ten_classes_in_turn_each_is_there_once() -> None:
    labels = [i % 10 for i in range(200)]
    assert sorted(labels[i] for i in one_a_class(labels)) == list(range(10))
