"""Where boxes lie on the maps, and how what a layer reads is put together from them.

All of it is worked out on the host, from shapes; what a device needs of it is brought there once,
before the first image.

A map of the untouched image is kept as rows, [H·W+2,C]: one for each position, and two for what
lies outside of the map, of zeros and of minus infinity.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from interpbench.fast.occlusion.intervals import Reach

Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Place:
    """A rectangle of the same size for each of n windows; it may reach beyond the map.

    Attributes:
        top, left: int64 [n].
        height, width: in positions.
    """

    top: np.ndarray
    left: np.ndarray
    height: int
    width: int

    @classmethod
    def whole(cls, size: Size, windows: int) -> "Place":
        """The map itself, for each window."""
        return cls(origin := np.zeros(windows, dtype=np.int64), origin, *size)

    def read(self, reach: tuple[Reach, Reach]) -> "Place":
        """What a layer reads to make this place of its output."""
        top, height = reach[0].read(self.top, self.height)
        left, width = reach[1].read(self.left, self.width)
        return Place(top, left, height, width)

    def same(self, other: "Place") -> bool:
        """Whether it is the other one."""
        if (self.height, self.width) != (other.height, other.width):
            return False
        return np.array_equal(self.top, other.top) and np.array_equal(self.left, other.left)

    def around(self, other: "Place") -> "Place":
        """The smallest that holds both, at the same distance from this one for every window."""
        above, below = _overhang(self.top, self.height, other.top, other.height)
        before, behind = _overhang(self.left, self.width, other.left, other.width)
        return Place(
            self.top - above,
            self.left - before,
            self.height + above + below,
            self.width + before + behind,
        )

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows [n,height,1] and the columns [n,1,width] that it covers."""
        rows = self.top[:, None, None] + np.arange(self.height)[:, None]
        columns = self.left[:, None, None] + np.arange(self.width)
        return rows, columns


@dataclass(frozen=True)
class Index:
    """Numbers of rows [n,H,W], kept as sums: what a position's row and its column add to it.

    Attributes:
        rows, columns: int64 [n,H,1] and [n,1,W].
        last: what is greater becomes this.
    """

    rows: Tensor
    columns: Tensor
    last: int

    @classmethod
    def stored(cls, place: Place, size: Size, fill: float, device: torch.device) -> "Index":
        """Where a place lies among the rows of a map.

        What is outside of the map is filled with zero or minus infinity.
        """
        height, width = size
        outside = height * width + 1
        rows, columns = place.grid()
        rows = np.where((rows >= 0) & (rows < height), rows * width, outside)
        columns = np.where((columns >= 0) & (columns < width), columns, outside)
        return cls(_moved(rows, device), _moved(columns, device), outside - (fill == 0))

    @classmethod
    def within(cls, outer: Place, place: Place, device: torch.device) -> "Index":
        """Where a place lies among the positions of one around it, [n,height,width]."""
        rows, columns = place.grid()
        above = rows - outer.top[:, None, None] + np.arange(len(rows))[:, None, None] * outer.height
        before = columns - outer.left[:, None, None]
        last = len(rows) * outer.height * outer.width - 1
        return cls(_moved(above * outer.width, device), _moved(before, device), last)

    def gather(self, rows: Tensor) -> Tensor:
        """These rows: [n,H,W,C]."""
        index = self._numbers()
        return rows.index_select(0, index.flatten()).view(*index.shape, -1)

    def paste(self, values: Tensor, over: Tensor) -> None:
        """Writes values [n,C,h,w] over these positions of [n,H,W,C]."""
        channels = over.shape[3]
        positions = values.permute(0, 2, 3, 1).reshape(-1, channels)
        over.view(-1, channels).index_copy_(0, self._numbers().flatten(), positions)

    def _numbers(self) -> Tensor:
        return (self.rows + self.columns).clamp_(max=self.last)


@dataclass(frozen=True)
class Patch:
    """What is read of a map: its values in the box, what is stored around it.

    Attributes:
        stored: where the box and its surroundings are among the map's rows; None where the box is
            all that is read.
        box: where the box lies in these surroundings; None if nowhere.
        part: rows and columns of what is read, in the surroundings.
    """

    stored: Index | None
    box: Index | None
    part: tuple[slice, slice]

    @classmethod
    def of(
        cls, read: Place, box: Place | None, size: Size, fill: float, device: torch.device
    ) -> "Patch":
        """For a place that is read of a map of that size, of which a box is new; or nothing."""
        outer = read if box is None else read.around(box)
        above, before = int(read.top[0] - outer.top[0]), int(read.left[0] - outer.left[0])
        part = (slice(above, above + read.height), slice(before, before + read.width))
        if box is not None and box.same(read):
            return cls(None, None, part)
        within = None if box is None else Index.within(outer, box, device)
        return cls(Index.stored(outer, size, fill, device), within, part)

    def __call__(self, rows: Tensor, values: Tensor | None = None) -> Tensor:
        """What is read, [n,C,height,width] in channels_last order.

        Parameters:
            rows: of the map of the untouched image.
            values: of the box, [n,C,h,w].
        """
        if self.stored is None:
            assert values is not None
            return values
        patch = self.stored.gather(rows)
        if self.box is not None and values is not None:
            self.box.paste(values, over=patch)
        return patch[:, *self.part].permute(0, 3, 1, 2)


def as_rows(maps: Tensor) -> Tensor:
    """The rows of a map [1,C,H,W]."""
    rows = F.pad(maps[0].flatten(1).T, (0, 0, 0, 2))
    rows[-1].fill_(-math.inf)
    return rows


def inside(boxes: np.ndarray, place: Place) -> np.ndarray:
    """Which positions of a place lie in its window's box, bool [n,height,width].

    Parameters:
        boxes: int64 [n,4] of top, left, bottom, right.
        place: one rectangle for each of the n windows.
    """
    top, left, bottom, right = boxes.T[:, :, None, None]
    rows, columns = place.grid()
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def _overhang(
    start: np.ndarray, length: int, other_start: np.ndarray, other_length: int
) -> tuple[int, int]:
    """How far the other intervals reach beyond these at most, before and behind them."""
    before = int((start - other_start).max())
    behind = int((other_start - start).max()) + other_length - length
    return max(0, before), max(0, behind)


def _moved(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
