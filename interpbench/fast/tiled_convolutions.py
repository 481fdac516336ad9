"""3x3 convolutions of many channels with 36 multiply-adds where their definition takes 144.

Minimal filtering F(4x4, 3x3) of Lavin and Gray, Fast Algorithms for Convolutional Neural Networks,
CVPR 2016 (after Winograd): 16 outputs from a tile of 6x6 inputs, Y = A^T [(G g G^T) * (B^T d B)] A,
summed over channels by a matrix product for each of the 36 positions. B and A are applied as matrix
products too, to all tiles of a column or row at once: they hold mostly zeros, but that takes less
than their few additions would, with a pass over memory for each.

The points decide how much it errs (Barabasz, Anderson, Soodhalter and Gregg, Error Analysis and
Improving the Accuracy of Winograd Convolution, ACM TOMS 2020): with these by about 3e-6 of the
greatest output on float32, a third of what it errs with 0, 1, -1, 2 and -2. Where there are few
channels, A and B cost more than is saved.
"""

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # and infinity
TILE = 4  # outputs a side
READ = TILE + 2  # inputs a side
# In multiply-adds of the direct way: of a product, which runs at a lower rate; and for a channel of
# a position, of moving it to and fro, and of applying A and B along a line of so many positions.
PER_PRODUCT, PER_MOVE, PER_LINE = 1.25, 220.0, 2.0
CLEARLY = 0.8  # of the direct way's work


@dataclass(frozen=True)
class Convolution:
    """A convolution, directly or by tiles, as is quicker for the size of what it is given.

    Attributes:
        module: with a kernel of 3x3, a stride and dilation of 1, and one group.
        kernels: G g G^T, float32 [36,C,K].
    """

    module: nn.Conv2d
    kernels: Tensor

    @classmethod
    def of(cls, module: nn.Conv2d) -> "Convolution | None":
        """None if it is another convolution, or tiles never pay."""
        weight = module.weight
        plain = (
            module.kernel_size == (3, 3)
            and module.stride == (1, 1)
            and module.dilation == (1, 1)
            and module.groups == 1
        )
        on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
        if not plain or not on_cpu or not _pays(weight, TILE, TILE):
            return None
        outputs, inputs = weight.shape[:2]
        spread = torch.from_numpy(_transforms()[1])
        kernels = torch.kron(spread, spread) @ weight.double().permute(2, 3, 1, 0).reshape(9, -1)
        return cls(module, kernels.view(READ * READ, inputs, outputs).float())

    def work(self, height: int, width: int) -> float:
        """What an output of this size takes, in multiply-adds of the direct way."""
        take = _by_tiles if self.pays(height, width) else _directly
        return take(self.module.weight, height, width)

    def pays(self, height: int, width: int) -> bool:
        """Whether tiles are clearly cheaper for an output of this size."""
        return _pays(self.module.weight, height, width)

    def outputs(self, x: Tensor, padding: tuple[int, int] = (0, 0)) -> tuple[int, int]:
        """Height and width of the output."""
        return x.shape[2] + 2 * padding[0] - 2, x.shape[3] + 2 * padding[1] - 2

    def __call__(self, x: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
        """[n,C,H,W] -> [n,K,H',W'], in channels_last order.

        Parameters:
            x: in any memory format.
            padding: zeros to add on each side along rows and columns.
        """
        height, width = self.outputs(x, padding)
        module, count, channels = self.module, len(x), x.shape[1]
        if not self.pays(height, width):
            return F.conv2d(x, module.weight, module.bias, padding=padding)
        rows, columns, outputs = -(-height // TILE), -(-width // TILE), self.kernels.shape[2]
        into_rows, from_rows = _bands(x.shape[2], padding[0])
        into_columns, from_columns = _bands(x.shape[3], padding[1])
        lines = x.permute(0, 2, 3, 1).reshape(count, x.shape[2], -1)
        strips = (into_rows @ lines).view(count * READ * rows, x.shape[3], channels)
        tiles = (into_columns @ strips).view(count, READ, rows, READ, columns, channels)
        tiles = tiles.permute(1, 3, 0, 2, 4, 5)
        products = torch.bmm(tiles.reshape(READ * READ, -1, channels), self.kernels)
        tiles = products.view(READ, READ, count, rows, columns, outputs).permute(2, 0, 3, 1, 4, 5)
        strips = from_columns @ tiles.reshape(count * READ * rows, READ * columns, outputs)
        lines = from_rows @ strips.view(count, READ * rows, width * outputs)
        maps = lines.view(count, height, width, outputs)
        if module.bias is not None:
            maps += module.bias
        return maps.permute(0, 3, 1, 2)


def _pays(weight: Tensor, height: int, width: int) -> bool:
    """Whether tiles are clearly cheaper for an output of this size."""
    return _by_tiles(weight, height, width) <= CLEARLY * _directly(weight, height, width)


def _directly(weight: Tensor, height: int, width: int) -> float:
    """The multiply-adds of an output of this size."""
    return float(weight.numel() * height * width)


def _by_tiles(weight: Tensor, height: int, width: int) -> float:
    """What it takes by tiles, in multiply-adds of the direct way."""
    outputs, inputs = weight.shape[:2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    products = PER_PRODUCT * READ * READ * inputs * outputs
    a_position = (inputs + outputs) * (PER_MOVE + PER_LINE * TILE * (rows + columns))
    return rows * columns * (products + TILE * TILE * a_position)


@cache
def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T [4,6], G [6,3] and B^T [6,6], float64.

    Values of polynomials at the points, and their inverse.
    """

    def values(count: int) -> np.ndarray:
        return np.vstack([np.vander(POINTS, count, increasing=True), np.eye(count)[-1]])

    back, spread, inverse = values(TILE).T, values(3), np.linalg.inv(values(READ)).T
    scale = np.array([np.abs(row[np.abs(row) > 1e-9]).min() for row in inverse])[:, None]
    return back, spread * scale, inverse / scale


@lru_cache(maxsize=256)
def _bands(size: int, padding: int) -> tuple[Tensor, Tensor]:
    """B^T for all tiles of a line of inputs, float32 [6·tiles,size], and A^T, [outputs,6·tiles].

    Tiles vary fastest.
    """
    back, _, inverse = _transforms()
    outputs = size + 2 * padding - 2
    tiles = -(-outputs // TILE)
    into = np.zeros((READ, tiles, TILE * tiles + 2 + padding + size))
    out = np.zeros((TILE * tiles, READ, tiles))
    for tile in range(tiles):
        start = TILE * tile
        into[:, tile, start : start + READ] = inverse
        out[start : start + TILE, :, tile] = back
    inside = into[:, :, padding : padding + size].reshape(READ * tiles, size)
    outside = out[:outputs].reshape(outputs, -1)
    with torch.inference_mode(False):  # they are kept for whoever comes next
        return torch.from_numpy(inside).float(), torch.from_numpy(outside).float()
