"""3x3 convolutions of many channels with 16 multiply-adds where their definition takes 36.

Minimal filtering F(2x2, 3x3) of Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016 (after
Winograd): four outputs from a tile of 4x4 inputs, Y = A^T [(G g G^T) * (B^T d B)] A, summed over channels by a matrix
product for each of the 16 positions. The same sums in another order: on float32 the error is no larger than that of the
direct way. Where there are few channels, the additions cost more than is saved.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# In multiply-adds of the direct way: of a product, which runs at a lower rate, and of the additions for a channel of an
# input or output.
PER_PRODUCT = 1.25
PER_ADDITION = 180
CLEARLY = 0.8  # of the direct way's work
G = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Convolution:
    """A convolution, directly or by tiles, as is quicker for the size of what it is given.

    Attributes:
        module: with a kernel of 3x3, a stride and dilation of 1, and one group.
        kernels: G g G^T, float32 [16,C,K].
    """

    module: nn.Conv2d
    kernels: Tensor

    @classmethod
    def of(cls, module: nn.Conv2d) -> "Convolution | None":
        """None if it is another convolution, or tiles never pay."""
        plain = (module.kernel_size, module.stride, module.dilation, module.groups) == ((3, 3), (1, 1), (1, 1), 1)
        weight = module.weight
        if not plain or weight.device.type != "cpu" or weight.dtype != torch.float32 or _tiled(weight, 2, 2) is None:
            return None
        outputs, inputs = weight.shape[:2]
        spread = torch.tensor(G, device=weight.device)
        kernels = torch.kron(spread, spread) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
        return cls(module, kernels.view(16, inputs, outputs))

    def work(self, height: int, width: int) -> float:
        """What an output of this size takes, in multiply-adds of the direct way."""
        return _tiled(self.module.weight, height, width) or self.module.weight.numel() * height * width

    def __call__(self, x: Tensor) -> Tensor:
        """[n,C,h+2,w+2], which holds the padding already -> [n,K,h,w], in channels_last order."""
        height, width = x.shape[2] - 2, x.shape[3] - 2
        if _tiled(self.module.weight, height, width) is None:
            return F.conv2d(x, self.module.weight, self.module.bias)
        tiles = _tiles(F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, width % 2, 0, height % 2)))
        products = torch.bmm(tiles.flatten(2, 4).flatten(0, 1), self.kernels)
        made = _untiled(products.view(*tiles.shape[:5], -1))[:, :height, :width].contiguous()
        if self.module.bias is not None:
            made += self.module.bias
        return made.permute(0, 3, 1, 2)


class Tiled(nn.Module):
    """A convolution of a network, by tiles.

    Args:
        convolution: with padding of zeros.
    """

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self.convolution = convolution
        rows, columns = (int(side) for side in convolution.module.padding)
        self.padding = (columns, columns, rows, rows)

    def forward(self, x: Tensor) -> Tensor:
        """[n,C,H,W] -> [n,K,H',W'], in channels_last order."""
        return self.convolution(F.pad(x, self.padding))


def use_tiles(network: nn.Module) -> int:
    """Puts tiles in the place of the convolutions that they make clearly cheaper; how many these are."""
    count = 0
    for name, module in list(network.named_modules()):
        if not isinstance(module, nn.Conv2d) or isinstance(module.padding, str) or module.padding_mode != "zeros":
            continue
        convolution = Convolution.of(module)
        if convolution is not None and convolution.work(2, 2) <= CLEARLY * 4 * module.weight.numel():
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, Tiled(convolution))
            count += 1
    return count


def _tiled(weight: Tensor, height: int, width: int) -> float | None:
    """The work by tiles, if it is less than the direct way's."""
    outputs, inputs = weight.shape[:2]
    a_position = PER_PRODUCT * 4 * inputs * outputs + PER_ADDITION * (inputs + outputs)
    work = a_position * (height + height % 2) * (width + width % 2)
    return work if work < weight.numel() * height * width else None


def _tiles(maps: Tensor) -> Tensor:
    """B^T d B of each tile: [n,2·R+2,2·S+2,C] -> [4,4,n,R,S,C]."""
    count, rows, columns, channels = maps.shape
    made = maps.new_empty(4, 4, count, rows // 2 - 1, columns // 2 - 1, channels)
    for i, strip in enumerate(_differences([maps[:, i : rows - 2 + i : 2][:, : rows // 2 - 1] for i in range(4)])):
        _differences([strip[:, :, j : columns - 2 + j : 2][:, :, : columns // 2 - 1] for j in range(4)], made[i])
    return made


def _differences(d: list[Tensor], out: Tensor | None = None) -> list[Tensor]:
    """B^T d."""
    into = [None] * 4 if out is None else list(out)
    return [
        torch.sub(d[0], d[2], out=into[0]),
        torch.add(d[1], d[2], out=into[1]),
        torch.sub(d[2], d[1], out=into[2]),
        torch.sub(d[1], d[3], out=into[3]),
    ]


def _untiled(m: Tensor) -> Tensor:
    """A^T m A of each tile, put together: [4,4,n,R,S,K] -> [n,2·R,2·S,K]."""
    _, _, count, rows, columns, channels = m.shape
    made = m.new_empty(count, rows, 2, columns, 2, channels)
    for i, strip in enumerate(((m[0] + m[1]).add_(m[2]), (m[1] - m[2]).sub_(m[3]))):
        torch.add(strip[0] + strip[1], strip[2], out=made[:, :, i, :, 0])
        torch.sub(strip[1] - strip[2], strip[3], out=made[:, :, i, :, 1])
    return made.view(count, 2 * rows, 2 * columns, channels)
