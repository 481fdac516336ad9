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
    count, nan = differences.size, float("nan")
    if count == 0:
        return MeanDifference(0, nan, nan, nan, nan, nan)
    mean = float(differences.mean())
    if count == 1:
        return MeanDifference(1, mean, nan, nan, nan, 1.0)
    if np.isin([first, second], (0, 1)).all():
        p, low, high = _hits(differences)
    else:
        p, low, high = _scores(differences)
    return MeanDifference(count, mean, low, high, float(differences.std(ddof=1)), p)


def _scores(differences: np.ndarray) -> tuple[float, float, float]:
    """p, low and high by Student's test, corrected for skewness."""
    from scipy import special

    count, mean, sd = differences.size, differences.mean(), differences.std(ddof=1)
    if sd <= 1e-12 * abs(mean):  # all of one value, but for rounding
        p, low, high = 0.0, mean, mean
    else:
        standard = (differences - mean) / sd
        skewness = (standard**3).mean() / (standard**2).mean() ** 1.5
        statistic = math.sqrt(count) * _drawn(mean / sd, skewness, count)
        p = 2 * float(special.stdtr(count - 1, -abs(statistic)))
        reach = special.stdtrit(count - 1, 1 - _TAIL) / math.sqrt(count)
        low = mean - sd * _stretched(reach, skewness, count)
        high = mean - sd * _stretched(-reach, skewness, count)
    p = max(p, min(1.0, 2.0 ** (1 - np.count_nonzero(differences))))
    if p >= 2 * _TAIL:
        low, high = min(low, 0.0), max(high, 0.0)
    return p, float(low), float(high)


def _drawn(student: float, skewness: float, count: int) -> float:
    """(mean - truth) / sd, drawn towards 0 where its sign is not that of the skewness.

    To first order as Hall draws it. His polynomial comes to a halt far from 0, where all images may
    agree; this goes on, as the bootstrap does.
    """
    if student * skewness >= 0:
        return student
    drawn = student / (1 - skewness * student / 3) + skewness / (6 * count)
    return drawn if drawn * student > 0 else 0.0


def _stretched(drawn: float, skewness: float, count: int) -> float:
    """What `_drawn` makes `drawn` of."""
    if drawn * skewness >= 0:
        return drawn
    rest = drawn - skewness / (6 * count)
    # Not 0 at 95 %: the skewness of so many numbers is less than the root of their count.
    return rest / (1 + skewness * rest / 3)


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
