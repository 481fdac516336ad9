"""A path between two images, which positions change along in an order, and what is read off it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Output = Literal["probability", "logit"]
Sign = Literal["signed", "absolute", "positive"]
First = Literal["most", "least"]
# Which network says what becomes of an image without parts, see `Inputs.asking`.
Network = Literal["explained", "in-domain"]


@dataclass(frozen=True)
class Perturbation:
    """A path between two images: positions change from `start` to `end`, in the map's order.

    Attributes:
        start, end: float32 [B,C,H,W], normalised.
        steps: how many steps; None means the image's width in positions a step.
        output: what is read off the model for the target class: its probability or its logit.
        first: whether the most or the least salient position changes first.
        sign: what of the map orders positions: its values as they are, so that negative ones count
            as small; their magnitudes; or the positive ones alone, all others as 0.
        rank: int [B,H,W], an order of its own, 0 changes first; `first` and `sign` then mean
            nothing. Positions of the same number change together.
        points: at how many changed ranks the output is read, rising; instead of `steps`.

    Example:
        Deletion to 0 in normalised space:

        >>> x = torch.ones(2, 3, 32, 32)
        >>> path = interpbench.Perturbation(start=x, end=torch.zeros_like(x), steps=16)
        >>> path.output, path.first
        ('probability', 'most')
    """

    start: Tensor
    end: Tensor
    steps: int | None = None
    output: Output = "probability"
    first: First = "most"
    sign: Sign = "signed"
    rank: Tensor | None = None
    points: Sequence[int] | None = None

    @property
    def by_saliency(self) -> bool:
        """Whether positions change in the order of the map as it is, most salient first."""
        return self.rank is None and self.first == "most" and self.sign == "signed"
