"""Do 95 % intervals cover the mean in 95 % of samples? By simulation, on populations of scores as real runs have them.

`data/planted_scores.csv` holds the scores of 240 images each, of models and methods on `planted` (`run --images 240
--seed 1 --metric deletion,insertion`). Samples are drawn from them with replacement, so the mean to cover is known.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from interpbench.results.statistics import bootstrap_interval, bootstrap_ratio_interval
from tests.paths import TESTS

POPULATIONS = pd.read_csv(TESTS / "data" / "planted_scores.csv")
RARE_FAILURES = ["resnet18 insertion gradcam", "alexnet insertion gradcam"]
USUAL = [name for name in POPULATIONS if name not in RARE_FAILURES]
Interval = Callable[..., tuple[float, float]]


def coverage(
    name: str,
    count: int,
    samples: int,
    interval: Interval = bootstrap_interval,
    resamples: int = 999,
) -> float:
    """The share of samples of `count` images whose interval covers the mean of the population."""
    population = POPULATIONS[name].to_numpy()
    rng = np.random.default_rng(count)
    hits = 0
    for trial in range(samples):
        low, high = interval(rng.choice(population, count), seed=trial, resamples=resamples)
        hits += low <= population.mean() <= high
    return hits / samples


def bca(values: np.ndarray, *, seed: int, resamples: int) -> tuple[float, float]:
    """What the interval was before: too narrow by a factor of the sample's size, and slow to see skew."""
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, rng=np.random.default_rng(seed)
    )
    return found.confidence_interval.low, found.confidence_interval.high


def test_populations_are_as_skewed_as_scores_get() -> None:
    skews = POPULATIONS.skew()
    assert len(POPULATIONS) == 240
    assert skews[USUAL].abs().between(0.05, 2).all()
    assert (skews[RARE_FAILURES] < -2.5).all()


def test_coverage_of_few_samples_of_all_usual_populations() -> None:
    found = np.mean([coverage(name, 50, 120, resamples=499) for name in USUAL])
    assert 0.925 <= found <= 0.97  # of 960 samples: 0.95 within 3 standard errors


@pytest.mark.slow
@pytest.mark.parametrize("count", [50, 200])
@pytest.mark.parametrize("name", USUAL)
def test_coverage(name: str, count: int) -> None:
    assert 0.93 <= coverage(name, count, 2000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", RARE_FAILURES)
def test_an_outlier_that_a_sample_does_not_hold_cannot_be_covered(name: str) -> None:
    """Where a method fails badly on 3 % of images, one sample in four of 50 has none of them; of 200, all have some."""
    found = coverage(name, 50, 2000)
    assert 0.85 <= found < 0.94
    assert found > coverage(name, 50, 2000, bca) - 0.01
    assert 0.93 <= coverage(name, 200, 2000) <= 0.97


@pytest.mark.slow
def test_of_50_images_bca_covers_less() -> None:
    ours = np.mean([coverage(name, 50, 500) for name in POPULATIONS])
    assert np.mean([coverage(name, 50, 500, bca) for name in POPULATIONS]) < ours - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("count", [50, 200])
def test_coverage_of_a_share(count: int) -> None:
    """Of a ratio of means, which a share of the achievable is: here random is the floor, Grad-CAM the ceiling."""
    score, floor = (
        POPULATIONS[f"resnet18 deletion {name}"].to_numpy() for name in ("saliency", "random")
    )
    ceiling = POPULATIONS["resnet18 deletion gradcam"].to_numpy()
    truth = (score - floor).mean() / (ceiling - floor).mean()
    rng = np.random.default_rng(count)
    hits = 0
    for trial in range(2000):
        rows = rng.integers(len(score), size=count)
        low, high = bootstrap_ratio_interval(
            (score - floor)[rows], (ceiling - floor)[rows], seed=trial, resamples=999
        )
        hits += low <= truth <= high
    assert 0.93 <= hits / 2000 <= 0.97
