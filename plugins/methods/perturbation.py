"""Black-box methods: they change the image and watch the output."""

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor

from interpbench import Baseline, Model, baseline, method, occluded_outputs


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
    seed: int = 0,
) -> Tensor:
    """The mean of random smooth masks, weighted by the probability that the model gives the target under them.

    S = sum_k p_k M_k / (N · keep), as in the reference: a coarse random grid is enlarged bilinearly by one cell more
    than the image and cropped at random; masked positions become 0 in normalised space. The same masks serve every
    image. [B,C,H,W] -> [B,H,W].

    Parameters:
        masks: how many, N. The paper has 4000 to 8000 at 224 pixels.
        cells: of the coarse grid along each side.
        keep: probability that a cell is kept, in 0..1.
        seed: of the masks.
    """
    if not 0 < keep < 1:
        raise ValueError(f"keep={keep} must lie between 0 and 1")
    height, width = x.shape[2:]
    generator = torch.Generator().manual_seed(seed)
    grids = (torch.rand(masks, 1, cells, cells, generator=generator) < keep).float()
    tops, lefts = (torch.randint(-(-side // cells), (masks,), generator=generator) for side in (height, width))
    saliency = torch.zeros_like(x[:, 0])
    block = max(1, model.batch_size // len(x))
    for first in range(0, masks, block):
        part = slice(first, first + block)
        smooth = _smooth_masks(grids[part], tops[part], lefts[part], height, width).to(x.device, non_blocking=True)
        masked = x[:, None] * smooth[None, :, None]
        probability = model(masked.flatten(0, 1)).softmax(dim=1).unflatten(0, (len(x), len(smooth)))
        weight = probability.gather(2, target[:, None, None].expand(-1, len(smooth), 1))[..., 0]
        saliency += torch.einsum("bk,khw->bhw", weight, smooth)
    return saliency / (masks * keep)


def _smooth_masks(grids: Tensor, tops: Tensor, lefts: Tensor, height: int, width: int) -> Tensor:
    """Binary grids [N,1,c,c] enlarged bilinearly by one cell more than the image, and cropped: [N,H,W] in 0..1."""
    cells = grids.shape[-1]
    size = [(cells + 1) * -(-side // cells) for side in (height, width)]
    large = F.interpolate(grids, size=size, mode="bilinear", align_corners=False)[:, 0]
    corners = zip(large, tops.tolist(), lefts.tolist(), strict=True)
    return torch.stack([mask[top : top + height, left : left + width] for mask, top, left in corners])
