"""Black-box methods: they change the image and watch the output."""

from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor

from interpbench import Baseline, Model, baseline, blocks, method, occluded_outputs, target_outputs


@method(
    "occlusion",
    gradients=False,
    reference="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014",
)
@torch.inference_mode()
def occlusion(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    window: PositiveInt | None = None,
    stride: PositiveInt | None = None,
    fill: Baseline = "zero",
) -> Tensor:
    """How far the target's logit falls when a square window is covered, averaged over the windows: -> [B,H,W].

    Equal to captum's Occlusion but for rounding. On a CPU, only the part of each map that a window changes is computed
    (Nakandala, Kumar, Papakonstantinou, SIGMOD 2019).

    Parameters:
        window: side of the window in pixels; none for an eighth of the image's width.
        stride: distance between windows in pixels; none for half the window.
        fill: what covers the window.

    Raises:
        ValueError: if the window does not fit into the image, or windows leave gaps.
    """
    height, width = x.shape[2:]
    side = window or max(1, width // 8)
    step = stride or max(1, side // 2)
    if side > min(height, width):
        raise ValueError(f"window={side} does not fit into an image of {height}x{width}")
    if step > side:
        raise ValueError(f"stride={step} leaves gaps between windows of {side}")
    rows, columns = (_windows(size, side, step) for size in (height, width))
    boxes = torch.tensor([(top, left, bottom, right) for top, bottom in rows for left, right in columns])
    covered = occluded_outputs(model, x, baseline(fill, x, model.card), boxes, target, model.batch_size)
    fall = model(x).gather(1, target[:, None]) - covered
    over_rows, over_columns = (_mean_over(spans, size).to(x) for spans, size in ((rows, height), (columns, width)))
    return torch.einsum("hr,brc,wc->bhw", over_rows, fall.unflatten(1, (len(rows), len(columns))), over_columns)


def _windows(size: int, side: int, step: int) -> list[tuple[int, int]]:
    """First position of each window along an axis, and the one after its last; the last window may be cut off."""
    count = 1 - (side - size) // step
    return [(start * step, min(start * step + side, size)) for start in range(count)]


def _mean_over(windows: list[tuple[int, int]], size: int) -> Tensor:
    """For each position the weights of the windows that cover it, [size,windows]; they add up to 1."""
    positions = torch.arange(size)[:, None]
    first, after = torch.tensor(windows).T
    covers = ((positions >= first) & (positions < after)).float()
    return covers / covers.sum(1, keepdim=True)


@method("rise", gradients=False, reference="Petsiuk, Das, Saenko, RISE, BMVC 2018")
@torch.inference_mode()
def rise(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    masks: PositiveInt = 500,
    cells: PositiveInt = 8,
    keep: float = 0.5,
    seed: int | None = None,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """The mean of random smooth masks, weighted by the probability that the model gives the target under them.

    S = sum_k p_k M_k / (N · keep), as in the reference: a coarse random grid is enlarged bilinearly by one cell more
    than the image, reflected at its border, and cropped at random; masked positions become 0 in normalised space.
    [B,C,H,W] -> [B,H,W].

    Parameters:
        masks: how many, N. The paper has 4000 to 8000 at 224 pixels.
        cells: of the coarse grid along each side.
        keep: probability that a cell is kept, in 0..1.
        seed: of the masks, which then are the same for every image, as in the reference; none for masks of each
            image's own, by the run's seed.
    """
    if not 0 < keep < 1:
        raise ValueError(f"keep={keep} must lie between 0 and 1")
    if seed is not None:
        generators = [torch.Generator().manual_seed(seed) for _ in x]
    height, width = x.shape[2:]
    drawn = [_drawn(generator, masks, cells, keep, height, width) for generator in generators]
    grids, tops, lefts = (torch.stack(parts).to(x.device, non_blocking=True) for parts in zip(*drawn, strict=True))
    enlarge_rows, enlarge_columns = (_enlarging(cells, side).to(x, non_blocking=True) for side in (height, width))
    saliency = torch.zeros_like(x[:, 0])
    for part in blocks(masks, len(x), model.batch_size):
        now = slice(part.start, part.stop)
        rows = enlarge_rows[tops[:, now, None] + torch.arange(height, device=x.device)]
        columns = enlarge_columns[lefts[:, now, None] + torch.arange(width, device=x.device)]
        smooth = rows @ grids[:, now].to(x.dtype) @ columns.mT
        probability = target_outputs(model, x[:, None] * smooth[:, :, None], target, "probability")
        saliency += torch.einsum("bk,bkhw->bhw", probability, smooth)
    return saliency / (masks * keep)


def _drawn(
    generator: torch.Generator, masks: int, cells: int, keep: float, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Binary grids [N,c,c], and where the enlarged ones are cropped: rows and columns [N]."""
    grids = torch.rand(masks, cells, cells, generator=generator) < keep
    tops, lefts = (torch.randint(-(-side // cells), (masks,), generator=generator) for side in (height, width))
    return grids, tops, lefts


def _enlarging(cells: int, side: int) -> Tensor:
    """What each of the cells counts at each position along a side that is one cell longer: [positions,cells].

    Bilinear, and reflected at the centres of the outer cells, as the reference's `skimage.transform.resize` does it.
    """
    size = (cells + 1) * -(-side // cells)
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * cells / size - 0.5
    inside = (cells - 1 - (cells - 1 - centre.abs()).abs()).clamp(min=0)
    return (1 - (inside[:, None] - torch.arange(cells)).abs()).clamp(min=0)
