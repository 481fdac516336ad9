"""The order in which positions change: by saliency, ties by a seeded order."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from interpbench.core.seeding import derive, permutation


def tie_breakers(ids: Sequence[str], positions: int, seed: int) -> Tensor:
    """A seeded random order of the positions for each image, int64 [B,positions].

    It is the same for every method.
    """
    orders = [permutation(positions, derive(seed, "ties", sample_id)) for sample_id in ids]
    return torch.from_numpy(np.stack(orders))


def rank(saliency: Tensor, tie_breaker: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks positions by saliency; equal values fall in the order of the tie breaker.

    Parameters:
        saliency: [B,H,W], finite.
        tie_breaker: int64 [B,H·W], from `tie_breakers`.

    Returns:
        int32 [B,H,W], 0 for the most salient position; and float32 [B], the share of positions
        whose value another position has too.
    """
    flat = saliency.flatten(1)
    values, order = flat.gather(1, tie_breaker).sort(dim=1, descending=True, stable=True)
    positions = torch.arange(flat.shape[1], dtype=torch.int32, device=flat.device)
    ranks = torch.empty_like(flat, dtype=torch.int32)
    ranks.scatter_(1, tie_breaker.gather(1, order), positions.expand_as(ranks))
    same = values[:, 1:] == values[:, :-1]
    tied = torch.zeros_like(flat, dtype=torch.bool)
    tied[:, 1:] |= same
    tied[:, :-1] |= same
    return ranks.view_as(saliency), tied.float().mean(dim=1)
