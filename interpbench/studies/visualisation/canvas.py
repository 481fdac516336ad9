"""Images as waves in decorrelated colours, which a gradient paints without high-frequency noise.

A picture is the inverse Fourier transform of coefficients that are divided by their frequency, as
the amplitudes of photographs are, in colours of which each is independent of the others in
photographs. So a step of the same length in each coefficient is a step towards something like a
photograph (Olah, Mordvintsev, Schubert, Feature Visualization, Distill 2017; their code, Lucid).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from interpbench.core.errors import PreparationError
from interpbench.core.preparation import NUMBER_OF, Preparation

SPREAD = 0.01  # of the coefficients that a canvas begins with
CONTRAST = 0.25  # of a canvas, before the logistic function; both as in Lucid
# A root of the covariance of ImageNet's colours: a row for each of red, green and blue, a column
# for brightness, for blue against yellow, and for green against purple. From Lucid
# (`lucid.optvis.param.color`, Apache 2.0), where it was measured on ImageNet's photographs.
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


def frequencies(height: int, width: int) -> Tensor:
    """Cycles a pixel of each coefficient of a real image, float32 [height, width // 2 + 1]."""
    up, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    return torch.hypot(up, across)


def colour_matrix(channels: int) -> Tensor:
    """What makes colours of independent numbers, float32 [channels,channels].

    For three channels `COLOURS`, so scaled that its longest column has length 1; else each channel
    is on its own.
    """
    if channels != len(COLOURS):
        return torch.eye(channels)
    root = torch.tensor(COLOURS)
    return root / root.norm(dim=0).max()


def canvas_channels(preparation: Preparation) -> int:
    """How many channels a picture of a model's input has: 3, as RGB, or 1.

    Raises:
        PreparationError: if the input is no picture.
    """
    channels = len(preparation.mean)
    if preparation.channels == "own" and channels not in (1, 3):
        raise PreparationError(
            f"The model takes {channels} channels of its own, which are no picture: an input can "
            "be drawn in grey or in colours."
        )
    return NUMBER_OF.get(preparation.channels, channels)


class Canvas:
    """B images in 0..1, of which the coefficients are what a gradient changes.

    Attributes:
        coefficients: float32 [B,C,height,width // 2 + 1,2], real and imaginary parts.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        generators: Sequence[torch.Generator],
        device: torch.device,
    ) -> None:
        """Nearly grey images.

        Parameters:
            channels: 3 for RGB, 1 for grey.
            height, width: in pixels.
            generators: on the CPU, one for each image.
            device: where the images are.
        """
        self._size = height, width
        shape = (channels, height, width // 2 + 1, 2)
        drawn = [torch.randn(shape, generator=generator) for generator in generators]
        self.coefficients = (SPREAD * torch.stack(drawn)).to(device).requires_grad_()
        lowest = 1 / max(height, width)  # the mean counts as much as the longest wave
        self._scale = (1 / frequencies(height, width).clamp(min=lowest)).to(device)
        self._colours = colour_matrix(channels).to(device)

    def images(self) -> Tensor:
        """The images as they are now, float32 [B,C,height,width] in 0..1."""
        waves = torch.view_as_complex(self.coefficients) * self._scale
        independent = CONTRAST * torch.fft.irfft2(waves, s=self._size, norm="ortho")
        return torch.einsum("bihw,ci->bchw", independent, self._colours).sigmoid()
