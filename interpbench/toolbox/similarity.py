"""How similar two maps are, and how complex one is, each image by itself, in float64 on the CPU."""

import math

import torch
from torch import Tensor

BINS = 100  # of the histogram whose entropy is a map's complexity
_SIGMA, _WINDOW = 1.5, 11  # of SSIM's Gaussian window


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of the maps a and b [B,H,W], in -1..1, float64 [B] on the CPU.

    Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004, with that paper's constants and Gaussian window
    (sigma 1.5, 11 pixels, less on smaller maps). Each map is divided by its greatest magnitude
    before, for maps have no unit; zero stays zero. The range of values is then 1, or 2 where a map
    of the pair is negative somewhere. NaN where a map is zero everywhere, or not finite.

    Example:
        >>> ramp = torch.arange(64.0).view(1, 8, 8)
        >>> interpbench.ssim(ramp, 5 * ramp)  # in another unit
        tensor([1.], dtype=torch.float64)
        >>> interpbench.ssim(ramp, ramp.flip(2)).item() < 1
        True
    """
    pairs = zip(a.cpu().double(), b.cpu().double(), strict=True)
    return torch.tensor([_ssim(*pair) for pair in pairs], dtype=torch.float64)


def _ssim(first: Tensor, second: Tensor) -> float:
    from skimage.metrics import structural_similarity

    scales = [float(values.abs().max()) for values in (first, second)]
    if not all(0 < scale < math.inf for scale in scales):
        return math.nan
    a, b = ((v / scale).numpy() for v, scale in zip((first, second), scales, strict=True))
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


def histogram_entropy(maps: Tensor, bins: int = BINS) -> Tensor:
    """Entropy in nats of the histogram of each map's values [B,H,W], float64 [B] on the CPU.

    The bins are equal, from its least to its greatest value. From 0, where all values fall into one
    bin, to ln bins. NaN where a map is constant, or not finite.

    Example:
        Half of the values are black, and half are white:

        >>> halves = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
        >>> interpbench.histogram_entropy(halves).exp()
        tensor([2.], dtype=torch.float64)
    """
    found = [_entropy(values, bins) for values in maps.cpu().double()]
    return torch.tensor(found, dtype=torch.float64)


def _entropy(values: Tensor, bins: int) -> float:
    import numpy as np

    if not bool(values.isfinite().all()) or values.min() == values.max():
        return math.nan
    shares = torch.from_numpy(np.histogram(values.numpy(), bins=bins)[0]).double() / values.numel()
    return float(torch.special.entr(shares).sum())
