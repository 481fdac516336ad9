"""Intervals by bootstrap. Images are the sampling unit."""

import warnings

import numpy as np

_BLOCK = 4_000_000  # numbers that a block of resamples may hold: 32 MB


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
