"""Intervals by bootstrap, Wilcoxon's paired test, Holm's correction, and tests of rankings.

Images are the sampling unit of intervals and paired tests, methods that of rankings.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK = 4_000_000  # numbers that a block of resamples may hold: 32 MB
_FEWEST = 10  # values that are resampled
_MANY = 5_000  # values from which on resampling says nothing that its limit does not
_EXACT = 100  # differences up to which the signed-rank test counts instead of approximating


def bootstrap_interval(
    values: np.ndarray,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 9999,
    hits: bool = True,
) -> tuple[float, float]:
    """Interval (low, high) of the mean of `values` [n], by studentised bootstrap.

    Of the bootstrap's variants this one covers skewed scores best (Hall, Annals of Statistics
    1988): BCa and percentile intervals of 50 scores of a real run cover the mean in 92 to 94 % of
    samples instead of 95. What no interval can know is an outlier that a sample happens not to
    hold.

    Fewer than two values have no interval: (nan, nan). Where all values are 0 or 1, as hits and
    misses are, and `hits` says that such values may be that, it is the exact binomial one (Clopper
    and Pearson, Biometrika 1934), which covers at least as often as it says. Other equal values
    give (v, v). Of fewer than ten values, or mostly
    equal ones, many a resample has next to no spread to divide by; the interval is then Student's.
    Of 5,000 values or more it is the bootstrap's limit, see `_limit`.
    """
    values = np.asarray(values, dtype=np.float64)
    [(low, high)] = bootstrap_intervals(
        values[None], seed=seed, confidence=confidence, resamples=resamples, hits=hits
    )
    return float(low), float(high)


def bootstrap_intervals(
    values: np.ndarray,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 9999,
    hits: bool = True,
) -> np.ndarray:
    """Intervals [M,2] of the means of rows of `values` [M,n], each as `bootstrap_interval` has it.

    All rows share their resamples, which are drawn once.
    """
    found = np.full((len(values), 2), np.nan)
    if values.shape[1] < 2:
        return found
    binomial = np.zeros(len(values), dtype=bool)
    if hits:
        binomial = np.asarray(np.isin(values, (0, 1)).all(axis=1))
        for row in np.flatnonzero(binomial):
            found[row] = _binomial_interval(values[row], confidence)
    equal = (values == values[:, :1]).all(axis=1) & ~binomial
    found[equal] = values[equal, :1]
    others = ~binomial & ~equal
    found[others] = bootstrap_ratio_intervals(
        values[others], None, seed=seed, confidence=confidence, resamples=resamples
    )
    return found


def _binomial_interval(hits: np.ndarray, confidence: float) -> tuple[float, float]:
    from scipy import stats

    exact = stats.binomtest(int(hits.sum()), hits.size).proportion_ci(confidence, method="exact")
    return float(exact.low), float(exact.high)


def bootstrap_ratio_interval(
    numerator: np.ndarray,
    denominator: np.ndarray,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 9999,
) -> tuple[float, float]:
    """Interval (low, high) of mean(numerator) / mean(denominator), both [n] of the same images.

    The standard error of a ratio is that of the mean of numerator - ratio · denominator, over
    mean(denominator), in the sample and in each resample. Otherwise as `bootstrap_interval`.
    """
    [(low, high)] = bootstrap_ratio_intervals(
        numerator[None], denominator, seed=seed, confidence=confidence, resamples=resamples
    )
    return float(low), float(high)


def bootstrap_ratio_intervals(
    numerators: np.ndarray,
    denominator: np.ndarray | None,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 9999,
) -> np.ndarray:
    """Intervals [M,2] of the rows of `numerators` [M,n], each as `bootstrap_ratio_interval` has it.

    Parameters:
        numerators: a row for each interval.
        denominator: [n], of all rows; None for ones.
        seed, confidence, resamples: of all rows, which share their resamples.
    """
    from scipy import stats

    count = numerators.shape[1]
    tails = np.array([(1 + confidence) / 2, (1 - confidence) / 2])
    below = np.ones(count) if denominator is None else denominator
    with np.errstate(all="ignore"):  # what divides by no spread is not finite, and looked at below
        ratios = numerators.mean(axis=1) / below.mean()
        rest = numerators - ratios[:, None] * below
        errors = np.sqrt((rest**2).mean(axis=1) / (count - 1)) / abs(below.mean())
        if count < _FEWEST:
            quantiles = np.full((len(numerators), 2), np.nan)
        elif count < _MANY:
            studentised = _resampled(rest, denominator, resamples, seed)
            quantiles = np.quantile(studentised, tails, axis=1).T
        else:
            quantiles = _limit(rest, tails)
        unknown = ~np.isfinite(quantiles).all(axis=1)
        quantiles[unknown] = stats.t.ppf(tails, count - 1)
        return ratios[:, None] - quantiles * errors[:, None]


def _resampled(
    rest: np.ndarray, denominator: np.ndarray | None, resamples: int, seed: int
) -> np.ndarray:
    """The studentised ratios [M,resamples] of resamples of `rest` [M,n].

    All means of all rows are one matrix product. Those of a denominator of ones need none.
    """
    rows, count = rest.shape
    columns = [rest, rest**2]
    if denominator is not None:
        columns += [rest * denominator, np.stack([denominator, denominator**2])]
    stacked = np.ascontiguousarray(np.concatenate(columns).T)
    means = np.concatenate(
        [
            weights.astype(np.float64) @ stacked / count
            for weights in _kept_resamples(count, resamples, seed)
        ]
    ).T
    of_rest, of_squares = means[:rows], means[rows : 2 * rows]
    if denominator is None:
        below, shift, crossed, below_squared = 1.0, of_rest, of_rest, 1.0
    else:
        crossed, below, below_squared = means[2 * rows : 3 * rows], means[-2], means[-1]
        shift = of_rest / below
    spread = of_squares - 2 * shift * crossed + shift**2 * below_squared
    spread[spread < 1e-12 * (rest**2).mean(axis=1)[:, None]] = 0  # of one value, but for rounding
    return shift * np.abs(below) / np.sqrt(spread / (count - 1))


def _limit(rest: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The quantiles [M,2] that those of `_resampled` converge to: normal ones, drawn by skewness.

    To first order in 1/sqrt(n) (Hall, The Bootstrap and Edgeworth Expansion, 1992, section 3.3).
    The terms that are left out are of the order 1/n; the chance that is in quantiles of 9,999
    resamples moves a bound by more than a hundredth of the interval's half.
    """
    from scipy import stats

    normal = stats.norm.ppf(tails)
    squares = rest**2
    skewness = (squares * rest).mean(axis=1) / squares.mean(axis=1) ** 1.5
    return normal - skewness[:, None] * (2 * normal**2 + 1) / (6 * np.sqrt(rest.shape[1]))


def _resamples(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks [rows,count] of how often each of `count` images is drawn in each resample.

    So that all means of a block are one matrix product.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)


@functools.lru_cache(maxsize=2)  # at 50 MB each, and a few times that while they are drawn
def _kept_resamples(count: int, resamples: int, seed: int) -> tuple[np.ndarray, ...]:
    """As `_resamples`, for a seed that is asked for again, as all methods of a metric do.

    Drawing takes longer than the product. No image is drawn 256 times: the chance that one of
    fewer than 5,000 is, is less than 1e-500.
    """
    return tuple(block.astype(np.uint8) for block in _resamples(count, resamples, seed))


def bootstrap_band(
    curves: np.ndarray, *, seed: int, confidence: float = 0.95, resamples: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise percentile interval (low [P], high [P]) of the mean of `curves` [n,P].

    Of 5,000 curves or more it is the bootstrap's limit, the normal interval.
    """
    count = len(curves)
    if count >= _MANY:
        from scipy import stats

        reach = stats.norm.ppf((1 + confidence) / 2) * curves.std(axis=0) / np.sqrt(count)
        return curves.mean(axis=0) - reach, curves.mean(axis=0) + reach
    means = np.concatenate(
        [weights @ curves / count for weights in _resamples(count, resamples, seed)]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True)
class SignedRank:
    """What Wilcoxon's test of two methods on the same images says.

    Attributes:
        effect: rank-biserial correlation of matched pairs, in -1..1: the positive ranks' sum less
            that of the negative ones, as a share of all ranks (Kerby, Comprehensive Psychology
            2014); NaN without images.
        p: two-sided; 1 where all scores are identical; NaN without images.
    """

    effect: float
    p: float


def signed_rank(differences: np.ndarray) -> SignedRank:
    """Wilcoxon's signed-rank test of differences [n] between paired scores.

    It is of 1945, in Biometrics Bulletin. Zeros take part in the ranking and then drop out (Pratt,
    JASA 1959), so that many of them speak against a difference. Up to 100 that are not zero, p is
    exact with ties too, by counting all changes of sign (Streitberg and Röhmel 1986): where most
    differences are zero, as between hits and misses, the normal approximation calls five equal
    differences among thirty zeros significant, which they cannot be. Beyond 100, that
    approximation, corrected for ties, as scipy has it.
    """
    [effect], [p] = signed_ranks(np.asarray(differences, dtype=np.float64)[None])
    return SignedRank(float(effect), float(p))


def signed_ranks(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`signed_rank` of each row of `differences` float64 [P,n]: effects [P] and p-values [P]."""
    from scipy import special

    pairs, count = differences.shape
    if count == 0:
        return np.full(pairs, np.nan), np.full(pairs, np.nan)
    # A number's size and, in the last bit, whether it is positive, sort as the size does.
    keys = (np.abs(differences).view(np.uint64) << np.uint64(1)) | (differences > 0)
    keys.sort(axis=1)
    positive, sizes = (keys & np.uint64(1)).astype(bool), keys >> np.uint64(1)
    ranks, ties = _ranks(sizes)
    zeros = np.count_nonzero(sizes == 0, axis=1)
    whole, dropped = count * (count + 1) / 2, zeros * (zeros + 1.0) / 2
    above = (ranks * positive).sum(axis=1)
    squares = 2 * whole * (2 * count + 1) - 2 * dropped * (2 * zeros + 1)
    with np.errstate(invalid="ignore", divide="ignore"):  # of rows that are counted instead
        distance = np.abs(above - (whole - dropped) / 2) / np.sqrt((squares - ties / 2) / 24)
    p = special.erfc(distance / math.sqrt(2))
    for row in np.flatnonzero(count - zeros <= _EXACT):
        signed = np.where(positive[row], ranks[row], -ranks[row])
        p[row] = _exact_p(signed[sizes[row] > 0])
    return (2 * above - whole + dropped) / whole, p


def _ranks(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks [P,n] of sorted rows, those of ties shared; and t^3 - t, summed over ties not of zeros.

    Parameters:
        sizes: uint64 [P,n], each row sorted.
    """
    pairs, count = sizes.shape
    first = np.ones(sizes.shape, dtype=bool)
    np.not_equal(sizes[:, 1:], sizes[:, :-1], out=first[:, 1:])
    if first.all():
        return np.broadcast_to(np.arange(1.0, count + 1), sizes.shape), np.zeros(pairs)
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=sizes.size)
    shared = np.repeat(starts % count + (lengths + 1) / 2, lengths).reshape(sizes.shape)
    tied = np.where(sizes.ravel()[starts] > 0, lengths.astype(float) ** 3 - lengths, 0)
    return shared, np.bincount(starts // count, weights=tied, minlength=pairs)


def _exact_p(signed: np.ndarray) -> float:
    """P that random signs of the ranks [n] give a sum at least as far from zero."""
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
    """p-values [n] corrected for their number by Holm's method; NaN stays NaN.

    Scandinavian Journal of Statistics 1979.
    """
    smallest_first = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted last
    times = np.arange(smallest_first.size, 0, -1)
    corrected = np.full(p.shape, np.nan)
    corrected[smallest_first] = np.minimum(np.maximum.accumulate(p[smallest_first] * times), 1)
    return corrected


@dataclass(frozen=True, eq=False)
class Ranking:
    """What several judges' orders of the same items have in common.

    Attributes:
        mean_ranks: [items], 1 is the best; items that are equal share their mean rank.
        w: Kendall's coefficient of concordance, corrected for ties, in 0..1; NaN for fewer than two
            judges, fewer than three items, or where every judge finds all items equal.
        p: of Friedman's test, in the form of Iman and Davenport; NaN with w.
        critical_difference: of two mean ranks, by Nemenyi's test at `level`.
    """

    mean_ranks: np.ndarray
    w: float
    p: float
    critical_difference: float


def friedman(costs: np.ndarray, *, level: float = 0.05) -> Ranking:
    """Friedman's test (JASA 1937) of costs [judges,items], lower is better.

    Are some items ranked better than others? As Demšar (JMLR 2006) advises for classifiers on
    several data sets: p from the F distribution of Iman and Davenport (Communications in Statistics
    1980), and Nemenyi's critical difference q·sqrt(k(k + 1) / 6N). Kendall's W is the statistic as
    a share of the greatest that it can be.
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
    return Ranking(
        mean_ranks, w, float(stats.f.sf(ratio, items - 1, (items - 1) * (judges - 1))), critical
    )


def rank_correlation(costs: np.ndarray) -> tuple[float, float, float]:
    """Mean of Spearman's correlations of every two judges' `costs` [judges,items]; low and high.

    In -1..1; without ties it is (m·W - 1) / (m - 1) of m judges and Kendall's W, which is 1/m where
    they have nothing in common. low and high are its 95 % interval, the items being a sample.
    Judges who find all items equal are left out; for fewer than two, or fewer than three items, all
    are NaN.

    It is an intra-class correlation of ranks, so its interval is that of the F distribution (Shrout
    and Fleiss, Psychological Bulletin 1979), with Kendall's degrees of freedom and his correction
    for continuity (Rank Correlation Methods, 1970), here the same on both sides. Without these, two
    judges who order four items by lot would agree perfectly, with an interval of no width, in one
    case of 24.
    """
    from scipy import stats

    ranks = stats.rankdata(costs[np.ptp(costs, axis=1) > 0], axis=1)
    judges, items = ranks.shape
    if judges < 2 or items < 3:
        return float("nan"), float("nan"), float("nan")
    standard = (ranks - ranks.mean(axis=1, keepdims=True)) / ranks.std(axis=1, keepdims=True)
    w = min(1.0, float((standard.mean(axis=0) ** 2).mean()))
    greatest = judges**2 * (items**3 - items) / 12  # sum of squares, which changes in steps of 2

    def correlation(w: float, factor: float = 1.0) -> float:
        """Of a concordance `w` whose F statistic is `factor` times as great."""
        common, own = factor * (judges - 1) * w, 1 - w
        return (common - own) / (common + (judges - 1) * own)

    freedom = items - 1 - 2 / judges
    quantile = stats.f.ppf(0.975, freedom, (judges - 1) * freedom)
    other = stats.f.ppf(0.975, (judges - 1) * freedom, freedom)
    w_low = np.clip((w * greatest - 1) / (greatest + 2), 0, 1)
    w_high = np.clip((w * greatest + 3) / (greatest + 2), 0, 1)
    return (
        correlation(w),
        float(correlation(w_low, 1 / quantile)),
        float(correlation(w_high, other)),
    )
