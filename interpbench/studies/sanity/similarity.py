"""The rank correlation of two maps, exactly 1 for equal ones."""

import numpy as np


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps, over their positions.

    Maps come as float [N,H,W], numbers go as float64 [N]. It lies in -1..1; equal values share a
    rank. NaN where a map is constant.
    """
    from scipy.stats import rankdata

    count, height, width = first.shape
    a, b = (rankdata(maps.reshape(count, height * width), axis=1) for maps in (first, second))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    products = [(x * y).sum(axis=1) for x, y in ((a, b), (a, a), (b, b))]
    with np.errstate(invalid="ignore"):
        return np.asarray(products[0] / np.sqrt(products[1] * products[2]))
