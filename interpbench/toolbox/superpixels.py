"""An image cut into segments of like colour."""

import numpy as np
import torch
from torch import Tensor

from interpbench.core.types import ModelCard


def superpixels(x: Tensor, card: ModelCard, count: int) -> Tensor:
    """SLIC superpixels of each image, int64 [B,H,W] on the CPU: numbers 0..K-1, K of each its own.

    Of three channels or one by their CIELAB colours; of others each channel counts as much as
    lightness does (Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk, SLIC Superpixels, IEEE TPAMI
    2012).

    Parameters:
        x: float32 [B,C,H,W], normalised.
        card: of the model whose normalisation `x` has.
        count: how many are asked for; there may be fewer or more.

    Example:
        An image that is black on the left and white on the right:

        >>> from types import SimpleNamespace
        >>> card = SimpleNamespace(mean=(0.5,) * 3, std=(0.5,) * 3,
        ...     preparation=SimpleNamespace(channels="rgb"))
        >>> x = torch.ones(1, 3, 16, 16)
        >>> x[..., :8] = -1
        >>> interpbench.superpixels(x, card, 4)[0, 0]
        tensor([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    """
    from skimage.segmentation import slic

    mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (card.mean, card.std))
    pixels = (x * std + mean).clamp(0, 1).permute(0, 2, 3, 1).cpu().double().numpy()
    channels = pixels.shape[3]
    pixels = pixels[..., ::-1] if card.preparation.channels == "bgr" else pixels
    pixels = pixels.repeat(3, axis=3) if channels == 1 else pixels
    # Lightness is in 0..100, channels are in 0..1.
    compactness = 10 if channels in (1, 3) else 0.1
    found = [
        slic(image, n_segments=count, compactness=compactness, sigma=1, start_label=0)
        for image in pixels
    ]
    return torch.from_numpy(np.stack(found)).long()
