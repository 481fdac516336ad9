"""The order in which the numbers of images lie in memory."""

import torch
from torch import Tensor


def memory_format_of(x: Tensor) -> torch.memory_format:
    """`channels_last` for images [B,C,H,W] that lie so, else contiguous."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
