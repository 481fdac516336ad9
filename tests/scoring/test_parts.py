"""Parts of images and sets of them, beside loops over positions."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from interpbench import (
    ParameterError,
    PartSets,
    cells,
    drops,
    each_part,
    outputs_without,
    part_count,
    random_sets,
    rank_groups,
)
from interpbench.core.seeding import derive, subsets
from interpbench.scoring.shared_results import SharedResults
from tests.metrics.subjects import images, small

SHAPE = (3, 5, 8)  # images, rows, columns


def by_loops(sets: PartSets, values: Tensor) -> Tensor:
    """The sums over sets, position by position."""
    count, _, columns = values.shape
    found = torch.zeros(count, sets.chosen.shape[1], dtype=torch.float64)
    for i in range(count):
        for place, value in enumerate(values[i].flatten().tolist()):
            row, column = divmod(place, columns)
            part = (
                place if sets.parts is None else int(sets.parts[i % len(sets.parts), row, column])
            )
            found[i] += sets.chosen[i, :, part] * value
    return found


@pytest.mark.parametrize("parts", ["positions", "of all", "of each"])
@pytest.mark.parametrize("in_cache", [1, 40, 2**19])
def test_sums_are_those_of_the_masks(
    parts: str, in_cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interpbench.scoring.parts.IN_CACHE", in_cache)
    generator = torch.Generator().manual_seed(0)
    count = SHAPE[1] * SHAPE[2] if parts == "positions" else 6
    chosen = torch.rand(SHAPE[0], 7, count, generator=generator) < 0.4
    where = {
        "positions": None,
        "of all": torch.randint(6, (1, *SHAPE[1:]), generator=generator),
        "of each": torch.randint(6, SHAPE, generator=generator),
    }[parts]
    sets = PartSets(where, chosen, *SHAPE[1:])
    values = torch.randn(SHAPE, generator=generator)
    torch.testing.assert_close(sets.sums(values), by_loops(sets, values))
    masks = torch.stack(list(sets.masks()), 1)
    torch.testing.assert_close((masks * values[:, None].double()).sum((2, 3)), sets.sums(values))
    assert torch.equal(sets.sizes(), masks.sum((2, 3)))


@pytest.mark.parametrize("size", [3, 4, 5])
def test_few_positions_are_kept_by_their_numbers(size: int) -> None:
    """Whatever the form, sets are those of the seed: of 64 positions, up to 4 are few."""
    explanation = small()
    sets = random_sets(explanation, 9, size)
    assert (sets.chosen.dtype == torch.int32) == (size <= 4)
    masks = torch.stack(list(sets.masks()), 1)
    for i, name in enumerate(explanation.ids):
        expected = subsets(64, size, 9, derive(0, "random sets", 64, size, name))
        assert np.array_equal(masks[i].flatten(1), expected)
    assert (sets.sizes() == size).all()
    values = explanation.saliency
    torch.testing.assert_close(sets.sums(values), (masks * values[:, None].double()).sum((2, 3)))


def test_groups_by_rank_differ_by_one_position_at_most() -> None:
    ranks = torch.stack([torch.randperm(40).view(5, 8) for _ in range(3)]).int()
    for count in (1, 2, 7, 40):
        sets = rank_groups(ranks, count)
        sizes = sets.sizes()
        assert sizes.sum(1).tolist() == [40] * 3
        assert int(sizes.max() - sizes.min()) <= 1
        means = sets.sums(ranks) / sizes
        assert (means.diff(dim=1) > 0).all()  # the least ranks first


@pytest.mark.parametrize("size", [1, 2, 5, 9, 10])
def test_sets_have_their_size_and_each_number_its_share(size: int) -> None:
    """Numbers, and pairs of them, are as often together as in any set drawn without putting back."""
    chosen = subsets(11, size, 20_000, seed=7)
    assert (chosen.sum(1) == size).all()
    pairs = chosen.T.astype(np.float64) @ chosen
    expected = np.full((11, 11), size * (size - 1) / 110)
    np.fill_diagonal(expected, size / 11)
    deviations = (pairs - 20_000 * expected) / np.sqrt(
        20_000 * np.maximum(expected * (1 - expected), 1e-9)
    )
    assert np.abs(deviations).max() < 5


def test_sets_are_the_seed_s() -> None:
    assert np.array_equal(subsets(50, 7, 3, seed=1), subsets(50, 7, 3, seed=1))
    assert not np.array_equal(subsets(50, 7, 3, seed=1), subsets(50, 7, 3, seed=2))
    first, second, _ = subsets(50, 7, 3, seed=1)
    assert not np.array_equal(first, second)


def test_all_sets_of_a_few_numbers_are_equally_likely() -> None:
    codes = subsets(5, 2, 10_000, seed=3) @ (2 ** np.arange(5))
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 10
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(("size", "count"), [(7, 7), (1, 1), (0.25, 16), (0.001, 1), (0.05, 3)])
def test_a_size_is_a_number_or_a_share_of_one_at_least(size: float, count: int) -> None:
    assert part_count(size, 64) == count


def test_drops_are_what_the_model_says_less() -> None:
    explanation = small()
    fill = images(seed=4)
    sets = each_part(explanation, 3)
    left = outputs_without(explanation, sets, fill, "logit")
    for k in range(9):
        x = torch.where((cells(explanation, 3) == k)[:, None], fill, explanation.x)
        with torch.no_grad():
            expected = explanation.model.network(x)[:, 1]
        torch.testing.assert_close(left[:, k], expected, rtol=0, atol=1e-5)
    untouched = explanation.output("logit")[:, None]
    torch.testing.assert_close(drops(explanation, sets, fill, "logit"), untouched - left)


@pytest.mark.parametrize("count", [0, 41])
def test_more_groups_than_positions_are_refused(count: int) -> None:
    with pytest.raises(ParameterError, match=f"{count} groups cannot be made of 5x8"):
        rank_groups(torch.zeros(SHAPE, dtype=torch.int32), count)


@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (0, 4), (2, 8)])
def test_truths_are_kept_as_they_are(shape: tuple[int, ...]) -> None:
    shared = SharedResults()
    truths = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    for _ in range(3):
        found = shared.once("truths", truths.clone)
        assert found.dtype == torch.bool
        assert torch.equal(found, truths)
        found.logical_not_()
