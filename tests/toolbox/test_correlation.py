"""Correlations beside scipy's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import interpbench


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=12))
def test_both_are_scipys_with_ties_and_all(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.float64).T
    rows = torch.from_numpy(a)[None], torch.from_numpy(b)[None]
    constant = len(set(a)) == 1 or len(set(b)) == 1
    for ours, theirs in (
        (interpbench.pearson, stats.pearsonr),
        (interpbench.spearman, stats.spearmanr),
    ):
        if constant:
            assert ours(*rows).isnan().all()
        else:
            assert ours(*rows).item() == pytest.approx(theirs(a, b).statistic, abs=1e-12)


def test_a_row_that_varies_by_rounding_alone_correlates_with_nothing() -> None:
    flat = torch.full((1, 5), 0.1) + torch.tensor([0, 1e-9, 0, 1e-8, 0])
    assert interpbench.pearson(flat, torch.arange(5.0)[None]).isnan().all()
