"""Degradations of an exact mask: what each does, and that a step is the one before and more of it."""

import numpy as np
import pytest

from interpbench.studies.judging.degradations import DEGRADATIONS, degraded

SIDE, STEPS, SEED = 32, 3, 5
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
MASK = (ROWS - 12) ** 2 + (COLUMNS - 18) ** 2 <= 36


def steps(how: str) -> list[np.ndarray]:
    return [degraded(MASK, how, step, STEPS, SEED) for step in range(STEPS + 1)]


@pytest.mark.parametrize("how", DEGRADATIONS)
def test_the_first_is_the_exact_mask_and_each_step_is_farther_from_it(how: str) -> None:
    exact, *others = steps(how)
    assert np.array_equal(exact, MASK)
    distances = [np.abs(each - exact).sum() for each in others]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert all(each.dtype == np.float32 and each.shape == MASK.shape for each in others)


@pytest.mark.parametrize("how", ["noise", "permutation", "shift"])
def test_chance_is_of_the_image(how: str) -> None:
    assert np.array_equal(steps(how)[2], steps(how)[2])
    others = [degraded(MASK, how, 2, STEPS, seed) for seed in range(8)]
    assert not all(np.array_equal(others[0], each) for each in others)


def test_noise_is_the_same_and_twice_as_strong() -> None:
    exact, first, second, last = steps("noise")
    np.testing.assert_allclose(second - exact, 2 * (first - exact), atol=1e-6)
    assert (last - exact).std() == pytest.approx(2, rel=0.1)


def test_a_shift_moves_all_of_it_by_the_distance() -> None:
    for distance, moved in zip((2, 4, 8), steps("shift")[1:], strict=True):
        ways = [np.roll(MASK, sign * distance, axis) for sign in (1, -1) for axis in (0, 1)]
        assert sum(np.array_equal(moved, way) for way in ways) == 1


def test_a_dilation_marks_what_is_near() -> None:
    inside = np.argwhere(MASK)
    for radius, grown in zip((1, 2, 4), steps("dilation")[1:], strict=True):
        squares = (
            (ROWS[..., None] - inside[:, 0]) ** 2 + (COLUMNS[..., None] - inside[:, 1]) ** 2
        ).min(-1)
        assert np.array_equal(grown, squares <= radius**2)


def test_a_blur_keeps_the_sum_and_spreads_it() -> None:
    exact, *others = steps("blur")
    for each in others:
        assert each.sum() == pytest.approx(exact.sum(), rel=1e-3)
    spreads = [(((ROWS - 12) ** 2 + (COLUMNS - 18) ** 2) * each).sum() for each in (exact, *others)]
    assert spreads == sorted(spreads)


def test_a_permutation_keeps_all_values_and_moves_a_share_of_the_positions() -> None:
    exact, *others = steps("permutation")
    for share, each in zip((0.25, 0.5, 1), others, strict=True):
        assert each.sum() == exact.sum()
        hit = (each != exact).mean()
        assert hit == pytest.approx(2 * share * MASK.mean() * (1 - MASK.mean()), rel=0.2)
