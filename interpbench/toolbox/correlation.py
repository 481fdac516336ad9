"""Correlations of rows, of each image alone."""

import torch
from torch import Tensor


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of the rows of a and b [B,K], in -1..1, float64 [B].

    NaN where a row is constant, up to the rounding of its values: it correlates with nothing.

    Example:
        >>> a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 4.0, 9.0]])
        >>> interpbench.pearson(a, b).round(decimals=4)
        tensor([0.9707], dtype=torch.float64)
    """
    (a, flat_a), (b, flat_b) = _centred(a), _centred(b)
    product = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return product.clamp(-1, 1).masked_fill(flat_a | flat_b, torch.nan)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of the rows of a and b [B,K], in -1..1, float64 [B].

    Equal values share the mean of their ranks. NaN where a row is constant, up to the rounding of
    its values, whose order is chance.

    Example:
        >>> a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 8.0, 9.0]])
        >>> interpbench.spearman(a, b).round(decimals=4)
        tensor([1.], dtype=torch.float64)
    """
    flat = _centred(a)[1] | _centred(b)[1]
    return pearson(_ranks(a), _ranks(b)).masked_fill(flat, torch.nan)


def _centred(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows without their mean, and which of them do not vary."""
    exact = rows.cpu().double()  # not every device has float64
    rounding = torch.finfo(rows.dtype if rows.is_floating_point() else torch.float64).eps
    centred = exact - exact.mean(1, keepdim=True)
    flat = centred.abs().amax(1) <= 4 * rounding * exact.abs().amax(1)
    return centred, flat


def _ranks(rows: Tensor) -> Tensor:
    """Ranks from 0, equal values as the mean of theirs, float64 [B,K]."""
    rows = rows.cpu()
    ordered = rows.contiguous().sort(1).values
    below = torch.searchsorted(ordered, rows.contiguous())
    up_to = torch.searchsorted(ordered, rows.contiguous(), right=True)
    return (below + up_to - 1).double() / 2
