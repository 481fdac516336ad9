"""Inputs cut into parts, and sets of these parts: what many metrics remove at a time.

Parts are positions, the cells of a grid, or anybody's segments. Sets are drawn by images and seed
alone, so that all methods are scored on the same ones.
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench.core.errors import ParameterError
from interpbench.core.seeding import derive, subsets
from interpbench.scoring.explanation import Inputs, Readings
from interpbench.scoring.patches import patch_map
from interpbench.scoring.perturbation import Output

# How many parts a set has; below 1, which share of them.
Size = PositiveInt | Annotated[float, Field(gt=0, lt=1)]
IN_CACHE = 2**19  # numbers that a processor multiplies before they leave its cache
FEW = 1 / 16  # the share of positions up to which sets are kept by their positions' numbers


class PartSets(NamedTuple):
    """Sets of parts of each image.

    Attributes:
        parts: int64 [B,H,W], the part that each position belongs to, 0..P-1; [1,H,W] where it is
            the same for all images; None where each position is a part of its own.
        chosen: bool [B,K,P], K sets; or int32 [B,K,n], the numbers of the n positions of each set,
            which are summed faster where they are few.
        height, width: of the images.

    Example:
        One set, the upper two of the four quarters of an image of 4x4 positions:

        >>> rows, columns = torch.arange(4)[:, None] // 2, torch.arange(4) // 2
        >>> quarters, chosen = (rows * 2 + columns)[None], torch.tensor([[[1, 1, 0, 0]]]).bool()
        >>> sets = interpbench.PartSets(quarters, chosen, 4, 4)
        >>> sets.sums(torch.ones(1, 4, 4))
        tensor([[8.]], dtype=torch.float64)
        >>> [mask.sum().item() for mask in sets.masks()]
        [8]
    """

    parts: Tensor | None
    chosen: Tensor
    height: int
    width: int

    def masks(self) -> Iterator[Tensor]:
        """Each set as positions, bool [B,H,W]."""
        parts = self._parts_of_each()
        for chosen in self.chosen.unbind(1):
            if chosen.dtype != torch.bool:
                none = chosen.new_zeros(len(chosen), self.height * self.width, dtype=torch.bool)
                chosen = none.scatter(1, chosen.long(), True)
            elif parts is not None:
                chosen = chosen.gather(1, parts)
            yield chosen.view(-1, self.height, self.width)

    def sums(self, values: Tensor) -> Tensor:
        """The sum of values [B,H,W] over the positions of each set, float64 [B,K].

        In float32 on devices that know no other.
        """
        flat = values.flatten(1).to(_widest(values.device))
        parts = self._parts_of_each()
        if parts is not None:
            flat = flat.new_zeros(len(flat), self.chosen.shape[2]).scatter_add(1, parts, flat)
        if self.chosen.dtype != torch.bool:
            return flat.gather(1, self.chosen.flatten(1).long()).view(self.chosen.shape).sum(2)
        return torch.stack([_products(*of) for of in zip(self.chosen, flat, strict=True)])

    def sizes(self) -> Tensor:
        """How many positions each set has, int64 [B,K]."""
        ones = self.chosen.new_ones(len(self.chosen), self.height, self.width, dtype=torch.float32)
        return self.sums(ones).long()

    def _parts_of_each(self) -> Tensor | None:
        return None if self.parts is None else self.parts.flatten(1).expand(len(self.chosen), -1)


def cells(inputs: Inputs, grid: int) -> Tensor:
    """The cell of a grid that each position belongs to, int64 [B,H,W].

    Parameters:
        inputs: whose positions.
        grid: cells a side; they differ by a row or column at most.

    Raises:
        ParameterError: if there are more cells than positions.

    Example:
        >>> from types import SimpleNamespace
        >>> inputs = SimpleNamespace(x=torch.zeros(1, 3, 2, 4), ids=("a",))
        >>> interpbench.cells(inputs, 2)
        tensor([[[0, 0, 1, 1],
                 [2, 2, 3, 3]]])
    """
    height, width = inputs.x.shape[2:]
    if not 1 <= grid <= min(height, width):
        raise ParameterError(
            f"grid={grid}: so many cells do not fit on {height}x{width} positions. Give a number "
            f"from 1 to {min(height, width)}."
        )
    cell = patch_map(height, width, grid).to(inputs.x.device)
    return cell[None].expand(len(inputs.ids), -1, -1)


def part_count(size: Size, parts: int) -> int:
    """How many of so many parts a size is; of a share, one at least.

    Example:
        >>> interpbench.part_count(0.2, 81), interpbench.part_count(7, 81)
        (16, 7)
    """
    return max(1, round(size * parts)) if size < 1 else int(size)


def random_sets(inputs: Inputs, sets: int, size: Size, grid: int | None = None) -> PartSets:
    """Sets of a size, drawn without putting back: the same for every method.

    Parameters:
        inputs: for each of which sets are drawn.
        sets: how many.
        size: parts a set, or a share of all.
        grid: cells a side that are parts; None for positions.

    Raises:
        ParameterError: if there are no so many parts.

    Example:
        >>> from types import SimpleNamespace
        >>> inputs = SimpleNamespace(x=torch.zeros(1, 3, 8, 8), ids=("a",), seed=0)
        >>> interpbench.random_sets(inputs, sets=3, size=10).sizes()
        tensor([[10, 10, 10]])
    """
    height, width = inputs.x.shape[2:]
    parts = height * width if grid is None else grid * grid
    count = part_count(size, parts)
    if not 1 <= count < parts:
        raise ParameterError(
            f"A set of {count} parts cannot be drawn of {parts}: give a size from 1 to "
            f"{parts - 1}, or a share of them such as 0.05."
        )
    where = None if grid is None else cells(inputs, grid)[:1]
    seeds = [derive(inputs.seed, "random sets", parts, count, name) for name in inputs.ids]
    drawn = [subsets(parts, count, sets, seed) for seed in seeds]
    if grid is None and count <= FEW * parts:
        numbers = [np.flatnonzero(chosen) % parts for chosen in drawn]
        drawn = [each.reshape(sets, count).astype(np.int32) for each in numbers]
    return PartSets(where, torch.from_numpy(np.stack(drawn)).to(inputs.x.device), height, width)


def each_part(inputs: Inputs, grid: int) -> PartSets:
    """Each cell of a grid as a set of its own: K and P are the grid's cells.

    Example:
        >>> from types import SimpleNamespace
        >>> inputs = SimpleNamespace(x=torch.zeros(1, 3, 4, 4), ids=("a",))
        >>> interpbench.each_part(inputs, 2).sums(torch.ones(1, 4, 4))
        tensor([[4., 4., 4., 4.]], dtype=torch.float64)
    """
    single = torch.eye(grid * grid, dtype=torch.bool, device=inputs.x.device)
    height, width = inputs.x.shape[2:]
    chosen = single[None].expand(len(inputs.ids), -1, -1)
    return PartSets(cells(inputs, grid)[:1], chosen, height, width)


def rank_groups(ranks: Tensor, count: int) -> PartSets:
    """Positions by their rank in groups as large as each other, up to one position.

    Parameters:
        ranks: int [B,H,W]; the first group has the least.
        count: of groups.

    Raises:
        ParameterError: if there are more groups than positions.

    Example:
        >>> ranks = torch.tensor([[[0, 3], [2, 1]]])
        >>> interpbench.rank_groups(ranks, 2).parts
        tensor([[[0, 1],
                 [1, 0]]])
    """
    height, width = ranks.shape[1:]
    if not 1 <= count <= height * width:
        raise ParameterError(
            f"{count} groups cannot be made of {height}x{width} positions. Give a number from 1 "
            f"to {height * width}."
        )
    single = torch.eye(count, dtype=torch.bool, device=ranks.device)
    parts = ranks.long() * count // (height * width)
    return PartSets(parts, single[None].expand(len(ranks), -1, -1), height, width)


def outputs_without(inputs: Inputs, sets: PartSets, fill: Tensor, output: Output) -> Tensor:
    """The output when each set takes the values of `fill`, float32 [B,K].

    Parameters:
        inputs: the images.
        sets: of their positions.
        fill: float32 [B,C,H,W], what removed positions become.
        output: what is read.

    Example:
        Anything will do that gives outputs: here it is the mean of all numbers.

        >>> from types import SimpleNamespace
        >>> inputs = SimpleNamespace(
        ...     x=torch.ones(1, 3, 4, 4),
        ...     outputs=lambda images, output: torch.stack([x.mean((1, 2, 3)) for x in images], 1))
        >>> upper = interpbench.PartSets(None, torch.tensor([[[True] * 8 + [False] * 8]]), 4, 4)
        >>> interpbench.outputs_without(inputs, upper, torch.zeros(1, 3, 4, 4), "logit")
        tensor([[0.5000]])
    """
    return inputs.outputs(_covered(inputs, sets, fill), output)


def readings_without(inputs: Inputs, sets: PartSets, fill: Tensor) -> Readings:
    """As `outputs_without`, all that can be read: what a function gives that `shared` calls.

    So metrics that read another output of the same images share their passes.

    Parameters:
        inputs, sets, fill: as of `outputs_without`.

    Example:
        Anything will do that gives readings: here all are the mean of all numbers.

        >>> from types import SimpleNamespace
        >>> def means(images):
        ...     found = torch.stack([x.mean((1, 2, 3)) for x in images], 1)
        ...     return interpbench.Readings(found, found)
        >>> inputs = SimpleNamespace(x=torch.ones(1, 3, 4, 4), readings=means)
        >>> upper = interpbench.PartSets(None, torch.tensor([[[True] * 8 + [False] * 8]]), 4, 4)
        >>> interpbench.readings_without(inputs, upper, torch.zeros(1, 3, 4, 4)).logit
        tensor([[0.5000]])
    """
    return inputs.readings(_covered(inputs, sets, fill))


def _covered(inputs: Inputs, sets: PartSets, fill: Tensor) -> Iterator[Tensor]:
    return (torch.where(mask[:, None], fill, inputs.x) for mask in sets.masks())


def drops(inputs: Inputs, sets: PartSets, fill: Tensor, output: Output) -> Tensor:
    """How much the output falls when each set takes the values of `fill`, float32 [B,K].

    Parameters are those of `outputs_without`.

    Example:
        What a metric shares among methods: the sets, and what they take from the output.

        >>> def of_cells(inputs, *, grid: int):
        ...     sets = interpbench.each_part(inputs, grid)
        ...     return sets, interpbench.drops(inputs, sets, torch.zeros_like(inputs.x), "logit")
        >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> preparation = interpbench.Preparation(
        ...     height=4, width=4, resize=4, mean=(0.5,) * 3, std=(0.25,) * 3)
        >>> card = interpbench.ModelCard(
        ...     name="mean", parameters={}, dataset="none", classes=3, preparation=preparation,
        ...     logit_of_label=(0, 1, 2), target_layer=None, weights="", weights_sha256="")
        >>> zeros = torch.zeros(1, dtype=torch.int64)
        >>> inputs = interpbench.Inputs(
        ...     model=interpbench.Model(network, card, batch_size=8), x=torch.ones(1, 3, 4, 4),
        ...     target=zeros, label=zeros, mask=None, ids=("a",))
        >>> of_cells(inputs, grid=2)[1]
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return inputs.output(output)[:, None] - outputs_without(inputs, sets, fill, output)


def _products(chosen: Tensor, values: Tensor) -> Tensor:
    """The sum of values [P] over each set of [K,P], [K].

    Some at a time, since a truth takes eight times its room as a number.
    """
    width = max(1, IN_CACHE // len(chosen)) if values.device.type == "cpu" else len(values)
    pieces = zip(chosen.split(width, 1), values.split(width), strict=True)
    return torch.stack([some.to(values.dtype) @ numbers for some, numbers in pieces]).sum(0)


def _widest(device: torch.device) -> torch.dtype:
    """The most exact floating-point numbers that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64
