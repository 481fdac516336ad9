"""What became of the logits of a randomised copy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpbench.core.types import Model

ROUNDING = 1e-6  # share of the logits' magnitude: what varies by less does not vary


@dataclass(frozen=True)
class CopyLogits:
    """The logits of a copy beside those of the original.

    Attributes:
        note: what is wrong with them: not finite, dead (they do not depend on the image), or
            unchanged.
        spread: how much they vary over the images, as a share of what the original's do.
        same: for what share of the images the copy predicts the same class.
    """

    note: str
    spread: float
    same: float

    @classmethod
    def of(cls, copied: Model, x: Tensor, before: Tensor) -> "CopyLogits":
        """Looks at a copy.

        Parameters:
            copied: the copy.
            x: float32 [N,C,H,W], the images that are explained, normalised, on its device.
            before: the original's logits of these, float32 [N,classes].
        """
        logits = logits_of(copied, x)
        same = float((logits.argmax(1) == before.argmax(1)).double().mean())
        if not bool(logits.isfinite().all()):
            return cls("logits not finite", float("nan"), same)
        spread, of_original, note = _spread(logits), _spread(before), ""
        if bool((logits == before).all()):
            note = "logits unchanged"
        elif len(logits) > 1 and spread <= ROUNDING * float(logits.abs().max()):
            note = "logits dead"
        return cls(note, spread / of_original if of_original else float("nan"), same)


@torch.no_grad()
def logits_of(model: Model, x: Tensor) -> Tensor:
    """A model's logits of images, float32 [N,classes]."""
    return torch.cat([model(part) for part in x.split(model.batch_size)]).float()


def _spread(logits: Tensor) -> float:
    """How much the logits [N,K] vary over the images: the greatest range of one of them."""
    return float((logits.amax(0) - logits.amin(0)).max())
