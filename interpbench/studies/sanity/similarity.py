"""How similar two maps are, and how complex one is.

Maps come as float [N,H,W], numbers go as float64 [N].
"""

import numpy as np

BINS = 100  # of the histogram whose entropy is a map's complexity
_SIGMA, _WINDOW = 1.5, 11  # of SSIM's Gaussian window


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps, over their positions.

    It lies in -1..1; equal values share a rank. NaN where a map is constant.
    """
    from scipy.stats import rankdata

    count, height, width = first.shape
    a, b = (rankdata(maps.reshape(count, height * width), axis=1) for maps in (first, second))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    products = [(x * y).sum(axis=1) for x, y in ((a, b), (a, a), (b, b))]
    with np.errstate(invalid="ignore"):
        return np.asarray(products[0] / np.sqrt(products[1] * products[2]))


def ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair of maps, in -1..1.

    Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004. With that paper's constants and Gaussian window
    (sigma 1.5, 11 pixels, less on smaller maps). Each map is divided by its greatest magnitude
    before, for maps have no unit; zero stays zero. The range of values is then 1, or 2 where a map
    of the pair is negative somewhere. NaN where a map is zero everywhere.
    """
    return np.array(
        [
            _ssim(a.astype(np.float64), b.astype(np.float64))
            for a, b in zip(first, second, strict=True)
        ]
    )


def _ssim(first: np.ndarray, second: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    if not (first.any() and second.any()):
        return float("nan")
    a, b = (values / np.abs(values).max() for values in (first, second))
    side = min(a.shape)
    return float(
        structural_similarity(
            a,
            b,
            win_size=min(_WINDOW, side - 1 + side % 2),
            data_range=2.0 if min(a.min(), b.min()) < 0 else 1.0,
            gaussian_weights=True,
            sigma=_SIGMA,
            use_sample_covariance=False,
        )
    )


def entropy(maps: np.ndarray) -> np.ndarray:
    """Entropy in nats of the histogram of each map's values.

    The bins are equal, from its least to its greatest value. From 0, where all values fall into one
    bin, to log(BINS). NaN where a map is constant.
    """
    from scipy import stats

    counts = [np.histogram(values.astype(np.float64), bins=BINS)[0] for values in maps]
    constant = np.array([values.min() == values.max() for values in maps], dtype=bool)
    return np.where(constant, np.nan, [float(stats.entropy(count)) for count in counts])
