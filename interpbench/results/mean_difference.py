"""The mean difference of two methods on the same images: its test, its interval, images needed.

What a table shows and sorts are means, so means are what is tested. Differences between methods are
skewed where one of them fails on a few images: then Wilcoxon's test finds ranks that differ where
the means do not, Student's finds too much on the side away from the long tail, and resampling
cannot reach the small p that a correction for hundreds of pairs asks for. So it is Student's test,
whose statistic is drawn towards 0 by its skewness on that side (Hall, Journal of the Royal
Statistical Society B 1992). On the other side, where Hall's correction would find more, nothing is
added: a few images tell a skewness badly. `tests/results/test_error_rates.py` measures what comes
of it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_TAIL = 0.025  # on each side of a 95 % interval
_GRID = (np.arange(200) + 0.5) / 200
FIGURES = ("difference", "low", "high", "sd", "p")  # of a `MeanDifference`, besides n


@dataclass(frozen=True)
class MeanDifference:
    """What a comparison of two methods' means on the same images says.

    Attributes:
        n: images that both scored.
        difference: mean of the differences, in the unit of the scores; NaN without images.
        low, high: 95 % interval of it, which excludes 0 exactly if p < 0.05; NaN for fewer than
            two images.
        sd: standard deviation of the differences; NaN for fewer than two images.
        p: two-sided; 1 where all scores are identical; NaN without images.
    """

    n: int
    difference: float
    low: float
    high: float
    sd: float
    p: float


def mean_difference(first: np.ndarray, second: np.ndarray) -> MeanDifference:
    """Test and interval of mean(first) - mean(second), both [n] of the same images.

    Hits and misses, where all scores are 0 or 1, are tested by McNemar's exact test (Psychometrika
    1947), with the interval that belongs to it (Fay and Lumbard, Statistics in Medicine 2021).
    Other scores are tested by Student's test, corrected for skewness. With m images that differ, p
    is at least 2^(1 - m), that of m throws of a coin which all fall alike: fewer images say nothing
    of the tails that such a test supposes. So fewer than six are never significant at 5 %, and the
    interval then reaches to 0.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    hits = bool(np.isin([first, second], (0, 1)).all())
    found = mean_differences(differences[None], np.array([hits]))
    return MeanDifference(differences.size, *(float(found[name][0]) for name in FIGURES))


def mean_differences(differences: np.ndarray, hits: np.ndarray) -> dict[str, np.ndarray]:
    """`mean_difference` of each row of `differences` float64 [P,n]: FIGURES, [P] each.

    Parameters:
        differences: first less second, of P pairs of methods on the same images.
        hits: bool [P], whether all scores of a pair are 0 or 1.
    """
    pairs, count = differences.shape
    if count == 0:
        return {name: np.full(pairs, np.nan) for name in FIGURES}
    mean = differences.mean(axis=1)
    if count == 1:
        return {name: np.full(pairs, np.nan) for name in FIGURES} | {
            "difference": mean,
            "p": np.ones(pairs),
        }
    rest = differences - mean[:, None]
    sd = np.sqrt((rest * rest).sum(axis=1) / (count - 1))
    p, low, high = _scores(differences, rest, mean, sd)
    for pair in np.flatnonzero(hits):
        p[pair], low[pair], high[pair] = _hits(differences[pair])
    return {"difference": mean, "low": low, "high": high, "sd": sd, "p": p}


def _scores(
    differences: np.ndarray, rest: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p, low and high by Student's test, corrected for skewness.

    Parameters:
        rest: the differences less their `mean`, whose standard deviation is `sd`.
    """
    from scipy import special

    count = differences.shape[1]
    equal = sd <= 1e-12 * np.abs(mean)  # all of one value, but for rounding
    with np.errstate(all="ignore"):  # of these, which have no spread
        standard = rest / sd[:, None]
        squares = standard * standard
        skewness = (squares * standard).mean(axis=1) / squares.mean(axis=1) ** 1.5
        statistic = math.sqrt(count) * _drawn(mean / sd, skewness, count)
        p = 2 * special.stdtr(count - 1, -np.abs(statistic))
        reach = special.stdtrit(count - 1, 1 - _TAIL) / math.sqrt(count)
        low = mean - sd * _stretched(reach, skewness, count)
        high = mean - sd * _stretched(-reach, skewness, count)
    p, low, high = np.where(equal, 0, p), np.where(equal, mean, low), np.where(equal, mean, high)
    p = np.maximum(p, np.minimum(1, 2.0 ** (1 - np.count_nonzero(differences, axis=1))))
    to_zero = p >= 2 * _TAIL
    low = np.where(to_zero, np.minimum(low, 0), low)
    high = np.where(to_zero, np.maximum(high, 0), high)
    return p, low, high


def _drawn(student: np.ndarray, skewness: np.ndarray, count: int) -> np.ndarray:
    """(mean - truth) / sd, drawn towards 0 where its sign is not that of the skewness.

    To first order as Hall draws it. His polynomial comes to a halt far from 0, where all images may
    agree; this goes on, as the bootstrap does.
    """
    drawn = student / (1 - skewness * student / 3) + skewness / (6 * count)
    drawn = np.where(drawn * student > 0, drawn, 0)
    return np.where(student * skewness >= 0, student, drawn)


def _stretched(drawn: float, skewness: np.ndarray, count: int) -> np.ndarray:
    """What `_drawn` makes `drawn` of."""
    rest = drawn - skewness / (6 * count)
    # Not 0 at 95 %: the skewness of so many numbers is less than the root of their count.
    return np.where(drawn * skewness >= 0, drawn, rest / (1 + skewness * rest / 3))


def _hits(differences: np.ndarray) -> tuple[float, float, float]:
    """p, low and high of differences that are -1, 0 or 1."""
    from scipy import special

    more, fewer = int((differences > 0).sum()), int((differences < 0).sum())
    p = min(1.0, 2 * float(special.bdtr(min(more, fewer), more + fewer, 0.5)))
    return p, _least(more, fewer, differences.size), -_least(fewer, more, differences.size)


@lru_cache(maxsize=4096)
def _least(more: int, fewer: int, count: int) -> float:
    """The lower end of the interval of (more - fewer) / count, in -1..1.

    It is the 2.5 % quantile of share · (2 · chance - 1): of the images that differ, `chance` is
    how many differ upwards, and they are a `share` of all. Both have the distributions of Clopper
    and Pearson's limits, the share that which lies farther down.
    """
    from scipy import optimize, special

    differing = more + fewer
    if more == 0:  # chance is 0
        return -float(_upper_share(differing, count, 1 - _TAIL))
    small = special.betaincinv(differing, count - differing + 1, _GRID)
    large = _upper_share(differing, count, _GRID)

    def beyond(difference: float) -> float:
        share = small if difference >= 0 else large
        chance = np.clip((1 + difference / share) / 2, 0, 1)
        return float(special.betainc(more, fewer + 1, chance).mean()) - _TAIL

    middle = (more - fewer) / count
    reach = 2 * (math.sqrt(differing) + 1) / count  # two standard errors, and more
    try:
        return float(optimize.brentq(beyond, max(-1, middle - 2 * reach), middle))
    except ValueError:  # it lies farther away
        return float(optimize.brentq(beyond, -1, 1))


def _upper_share(hits: int, count: int, quantile: np.ndarray | float) -> np.ndarray:
    """Quantiles of Clopper and Pearson's upper limit of hits / count."""
    from scipy import special

    if hits == count:
        return np.ones_like(quantile)
    return np.asarray(special.betaincinv(hits + 1, count - hits, quantile))


def images_needed(difference: float, sd: float, *, level: float, power: float = 0.8) -> float:
    """Images at which Student's test at `level`, two-sided, finds a difference with that power.

    By the normal distribution, corrected for the t distribution's tails (Guenther, The American
    Statistician 1981), and no fewer than `fewest_images`. If the difference and the standard
    deviation are those that were measured; NaN where there is no difference, or none is known.
    """
    from scipy import special

    if not difference or math.isnan(difference) or math.isnan(sd):
        return float("nan")
    tail = special.ndtri(1 - level / 2)
    count = ((tail + special.ndtri(power)) * sd / difference) ** 2 + tail**2 / 2
    return float(max(math.ceil(count), fewest_images(level)))


def fewest_images(level: float) -> int:
    """Images below which no scores give a p below `level`, since p is at least 2^(1 - images)."""
    return math.floor(1 - math.log2(level)) + 1
