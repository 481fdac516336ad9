"""Controls: maps that know nothing of the model. A method that does not beat them explains nothing.

The best of those in a run is the floor of the other methods' share of the achievable.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from interpbench import Model, method


@method("random", gradients=False, control=True)
def random(model: Model, x: Tensor, target: Tensor, *, generators: Sequence[torch.Generator]) -> Tensor:
    """Uniform noise in 0..1, from one seeded generator an image: [B,C,H,W] -> [B,H,W]."""
    return torch.stack([torch.rand(x.shape[2:], generator=g) for g in generators])


@method(
    "sobel",
    gradients=False,
    control=True,
    reference="Sobel and Feldman 1968; as a control: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018",
)
def sobel(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Edges of the image: the norm of the Sobel gradient of the channels' mean: [B,C,H,W] -> [B,H,W]."""
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], device=x.device) / 8
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(grey, torch.stack([kernel, kernel.T])[:, None]).norm(dim=1)


@method(
    "center",
    gradients=False,
    control=True,
    reference="Judd, Ehinger, Durand, Torralba, Learning to predict where humans look, ICCV 2009",
)
def center(model: Model, x: Tensor, target: Tensor, *, sigma: float = 0.25) -> Tensor:
    """A Gaussian in the middle of the image, the same for every image: [B,C,H,W] -> [B,H,W].

    Parameters:
        sigma: standard deviation as a share of each side.
    """
    rows, columns = (torch.linspace(-0.5, 0.5, side, device=x.device) / sigma for side in x.shape[2:])
    bump = torch.exp(-0.5 * (rows[:, None] ** 2 + columns[None, :] ** 2))
    return bump.expand(len(x), -1, -1)


@method(
    "input-magnitude",
    gradients=False,
    control=True,
    reference="Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, appendix on the input's part",
)
def input_magnitude(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """How far each pixel is from 0 in normalised space, the card's `mean`: the norm over its channels: -> [B,H,W]."""
    return x.norm(dim=1)
