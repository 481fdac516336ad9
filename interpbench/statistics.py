"""Intervals by bootstrap, paired tests, and tests of rankings. Images are the sampling unit."""

import warnings
from dataclasses import dataclass

import numpy as np

_BLOCK = 4_000_000  # numbers that a block of resamples may hold: 32 MB
_EXACT = 100  # differences up to which the signed-rank test counts instead of approximating


def bootstrap_interval(
    values: np.ndarray, *, seed: int, confidence: float = 0.95, resamples: int = 9999
) -> tuple[float, float]:
    """Interval (low, high) of the mean of `values` [n], by BCa bootstrap (Efron, JASA 1987).

    Fewer than two values have no interval: (nan, nan). Resampling equal values says nothing: where all are 0 or all are
    1, as hits and misses may be, the interval is the exact binomial one (Clopper and Pearson, Biometrika 1934); other
    equal values give (v, v). Where BCa is undefined (no resample
    lies on one side of the mean) the percentile interval is returned.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size < 2:
        return float("nan"), float("nan")
    if (values == values[0]).all():
        return _interval_of_equals(float(values[0]), values.size, confidence)
    interval = _scipy_interval(values, "BCa", seed, confidence, resamples)
    if not np.isfinite(interval).all():
        interval = _scipy_interval(values, "percentile", seed, confidence, resamples)
    return interval


def _interval_of_equals(value: float, count: int, confidence: float) -> tuple[float, float]:
    if value not in (0.0, 1.0):
        return value, value
    from scipy import stats

    exact = stats.binomtest(int(value) * count, count).proportion_ci(confidence, method="exact")
    return float(exact.low), float(exact.high)


def _scipy_interval(
    values: np.ndarray, method: str, seed: int, confidence: float, resamples: int
) -> tuple[float, float]:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of degenerate data; the caller looks at the result
        interval = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            batch=min(resamples, max(1, _BLOCK // values.size)),
            confidence_level=confidence,
            method=method,
            vectorized=True,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)


def bootstrap_band(
    curves: np.ndarray, *, seed: int, confidence: float = 0.95, resamples: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise percentile interval (low [P], high [P]) of the mean of `curves` [n,P] over its n images."""
    count = len(curves)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    means = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        # Each row says how often each image was drawn, so that all means of a block are one matrix product.
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means.append(weights @ curves / count)
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True)
class PairedTest:
    """What a comparison of two methods on the same images says.

    Attributes:
        n: images that both scored.
        difference: mean of the differences, in the unit of the scores; NaN without images.
        effect: rank-biserial correlation of matched pairs, in -1..1: the positive ranks' sum less that of the negative
            ones, as a share of all ranks (Kerby, Comprehensive Psychology 2014).
        p: two-sided; 1 where all scores are identical; NaN without images.
    """

    n: int
    difference: float
    effect: float
    p: float


def signed_rank(differences: np.ndarray) -> PairedTest:
    """Wilcoxon's signed-rank test (Biometrics Bulletin 1945) of differences [n] between paired scores.

    Zeros take part in the ranking and then drop out (Pratt, JASA 1959), so that many of them speak against a
    difference. Up to 100 that are not zero, p is exact with ties too, by counting all changes of sign (Streitberg and
    Röhmel 1986): where most differences are zero, as between hits and misses, the normal approximation calls five
    equal differences among thirty zeros significant, which they cannot be. Beyond 100, scipy's approximation.
    """
    from scipy import stats

    differences = np.asarray(differences, dtype=np.float64)
    count = differences.size
    if count == 0:
        return PairedTest(0, float("nan"), float("nan"), float("nan"))
    signed = np.sign(differences) * stats.rankdata(np.abs(differences))
    if np.count_nonzero(signed) > _EXACT:
        p = float(stats.wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue)
    else:
        p = _exact_p(signed[signed != 0])
    return PairedTest(count, float(differences.mean()), float(signed.sum() / (count * (count + 1) / 2)), p)


def _exact_p(signed: np.ndarray) -> float:
    """P that changing the signs of `signed` ranks [n] at random gives a sum at least as far from zero."""
    steps = np.rint(2 * np.abs(signed)).astype(int)  # ranks that are tied end in a half
    chances = np.ones(1)  # that the positive ranks sum to 0, 1/2, 1, ...
    for step in steps:
        grown = np.zeros(chances.size + step)
        grown[: chances.size] = chances / 2
        grown[step:] += chances / 2
        chances = grown
    farther = max(steps[signed > 0].sum(), steps[signed < 0].sum())
    return min(1.0, 2 * float(chances[farther:].sum()))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values [n] corrected for their number (Holm, Scandinavian Journal of Statistics 1979); NaN stays NaN."""
    from statsmodels.stats.multitest import multipletests

    known = ~np.isnan(p)
    corrected = np.full(p.shape, np.nan)
    if known.any():
        corrected[known] = multipletests(p[known], method="holm")[1]
    return corrected


@dataclass(frozen=True, eq=False)
class Ranking:
    """What several judges' orders of the same items have in common.

    Attributes:
        mean_ranks: [items], 1 is the best; items that are equal share their mean rank.
        w: Kendall's coefficient of concordance, corrected for ties, in 0..1; NaN for fewer than two judges, fewer than
            three items, or where every judge finds all items equal.
        p: of Friedman's test, in the form of Iman and Davenport; NaN with w.
        critical_difference: of two mean ranks, by Nemenyi's test at `level`.
    """

    mean_ranks: np.ndarray
    w: float
    p: float
    critical_difference: float


def friedman(costs: np.ndarray, *, level: float = 0.05) -> Ranking:
    """Friedman's test (JASA 1937) of costs [judges,items], lower is better: are some items ranked better than others?

    As Demšar (JMLR 2006) advises for classifiers on several data sets: p from the F distribution of Iman and Davenport
    (Communications in Statistics 1980), and Nemenyi's critical difference q·sqrt(k(k + 1) / 6N). Kendall's W is the
    statistic as a share of the greatest that it can be.
    """
    from scipy import stats

    judges, items = costs.shape
    mean_ranks = stats.rankdata(costs, axis=1).mean(axis=0)
    q = stats.studentized_range.ppf(1 - level, items, np.inf) / np.sqrt(2)
    critical = float(q * np.sqrt(items * (items + 1) / (6 * judges)))
    nan = float("nan")
    if judges < 2 or items < 3 or (costs == costs[:, :1]).all():
        return Ranking(mean_ranks, nan, nan, critical)
    w = float(stats.friedmanchisquare(*costs.T).statistic / (judges * (items - 1)))
    ratio = (judges - 1) * w / (1 - w) if w < 1 else np.inf
    return Ranking(mean_ranks, w, float(stats.f.sf(ratio, items - 1, (items - 1) * (judges - 1))), critical)
