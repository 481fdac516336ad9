"""Occlusion without computing again what a window cannot change: exact, and several times as fast.

A window changes a small part of the image, and with it a box of each map, which grows from layer to
layer. Only the box is computed, from the stored maps of the untouched image; where boxes cover most
of a map, whole maps go on. The logits are those of the plain network up to rounding (Nakandala,
Kumar, Papakonstantinou, Incremental and Approximate Inference for Faster Occlusion-based Deep CNN
Explanations, SIGMOD 2019).

What was chosen and why, `listening` tells:

    with listening() as choices:
        method(model, x, target)
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from interpbench.core.batch_size import is_out_of_memory
from interpbench.core.errors import ParameterError, first_line
from interpbench.core.layers import acts_otherwise
from interpbench.core.memory_format import memory_format_of
from interpbench.core.passes_counted import uncounted
from interpbench.fast.occlusion.choice import Choice, listening, tell
from interpbench.fast.occlusion.engine import Engine
from interpbench.fast.occlusion.network import trace
from interpbench.fast.occlusion.plan import cheapest

__all__ = ["Choice", "Engine", "listening", "occluded_outputs", "occluder", "plain_if_boxes_fail"]

TOLERANCE = 1e-5  # of the greatest logit
WORTHWHILE = 1.5  # gain, where windows are fewer and fewer, each time of another image
CHECKED = 2  # windows that are run by the plain model too


@torch.inference_mode()
def occluded_outputs(
    model: nn.Module, x: Tensor, baseline: Tensor, boxes: Tensor, target: Tensor, batch: int
) -> Tensor:
    """The target's logit with each window covered, float32 [B,N].

    Incrementally where that is expected to be faster: for networks whose first layers are
    convolutions, pooling, batch norm, activations, additions and concatenations, and images that
    are not small. Otherwise, and where a network cannot be traced, fails in parts or gives other
    answers in parts than as a whole, by plain forward passes.

    Parameters:
        model: gives logits [n,classes] for [n,C,H,W]; in eval mode, and left as it was.
        x: float [B,C,H,W].
        baseline: what covers a window, [B,C,H,W], or a colour [C].
        boxes: int64 [N,4] on the CPU, top, left, bottom and right of each window; what lies outside
            of the image is cut off.
        target: int64 [B], indices of logits.
        batch: images that a forward pass holds; what is kept at a time does not grow with the
            windows.

    Raises:
        ParameterError: if a window holds no pixel of the image.

    Example:
        Logits that are the mean red, green and blue of a white image; a quarter of it is covered by
        black, then all of it:

        >>> means = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten()).eval()
        >>> white, black = torch.ones(1, 3, 8, 8), torch.zeros(3)
        >>> boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 8, 8]])
        >>> red = torch.tensor([0])
        >>> interpbench.occluded_outputs(means, white, black, boxes, red, batch=16)
        tensor([[0.7500, 0.0000]])
    """
    boxes = _cut_off(boxes, x.shape[2], x.shape[3])
    baseline = (baseline[:, None, None] if baseline.ndim == 1 else baseline).expand_as(x)
    with plain_if_boxes_fail(batch):
        engine = _engine(model, x, boxes, batch)
        if isinstance(engine, Choice):
            tell(engine)
        else:
            outputs = _read(engine.logits(x, baseline), target, len(boxes))
            if _holds(engine, model, x, baseline, boxes, target, outputs):
                return outputs
    return _read(_plain_logits(model, x, baseline, boxes, batch), target, len(boxes))


@torch.inference_mode()
def occluder(
    model: nn.Module, x: Tensor, baseline: Tensor, boxes: Tensor, target: Tensor, batch: int
) -> Engine | None:
    """An engine for windows that are covered again and again, in images that change.

    None where plain passes are better. It has given the same outputs as the plain model for a few
    windows of the first image. For the arguments see `occluded_outputs`; the windows lie inside of
    the image, the baseline is images.
    """
    with plain_if_boxes_fail(batch):
        engine = _engine(model, x, boxes, batch, WORTHWHILE)
        if isinstance(engine, Choice):
            tell(engine)
            return None
        checked = _checked(len(boxes)).tolist()
        outputs = _read(engine.logits(x[:1], baseline[:1], checked), target[:1], len(boxes))
        if _holds(engine, model, x, baseline, boxes, target, outputs):
            return engine
    return None


@contextmanager
def plain_if_boxes_fail(batch: int) -> Iterator[None]:
    """Whatever an engine raises in this context ends the context, and is noted.

    What comes behind it passes whole images. A fault of the model itself shows there. Only where
    memory runs out, and fewer images a pass may help, the error goes on to whoever halves them.

    Parameters:
        batch: images that a forward pass holds.
    """
    try:
        yield
    except Exception as error:  # of many kinds
        if is_out_of_memory(error) and batch > 1:
            raise
        tell(Choice(f"boxes cannot be computed: {first_line(error)}"))


def _holds(
    engine: Engine,
    model: nn.Module,
    x: Tensor,
    baseline: Tensor,
    boxes: Tensor,
    target: Tensor,
    outputs: Tensor,
) -> bool:
    """Whether an engine's outputs [B,N] are the plain model's, up to rounding.

    A few windows of the first image are tried.
    """
    checked = _checked(len(boxes))
    with uncounted():
        ((_, _, logits),) = _plain_logits(model, x[:1], baseline[:1], boxes[checked], len(checked))
    apart = (logits[:, target[0]] - outputs[0, checked.to(x.device)]).abs().amax()
    difference = float(apart / logits.abs().amax())
    holds = difference <= TOLERANCE
    wrong = f"boxes give outputs that differ by {difference:.1g} of the greatest"
    tell(Choice("" if holds else wrong, engine.plan.cut, engine.plan.gain, difference))
    return holds


def _checked(windows: int) -> Tensor:
    """The numbers of the windows that are run by the plain model too."""
    return torch.linspace(0, windows - 1, min(CHECKED, windows)).long()


def _read(parts: Iterable[tuple[Tensor, Tensor, Tensor]], target: Tensor, windows: int) -> Tensor:
    """Each image's target of the logits that come with the numbers of images and windows."""
    outputs = torch.empty(len(target), windows, device=target.device)
    for image, window, logits in parts:
        outputs[image, window] = logits.gather(1, target[image, None])[:, 0].float()
    return outputs


def _cut_off(boxes: Tensor, height: int, width: int) -> Tensor:
    """The part of each window inside of the image."""
    limits = boxes.new_tensor([height, width, height, width])
    inner = boxes.clamp(min=0).minimum(limits)
    empty = (inner[:, 2:] <= inner[:, :2]).any(1)
    if empty.any():
        first = boxes[empty][0].tolist()
        raise ParameterError(
            f"The window {first} (top, left, bottom, right) holds no pixel of an image of "
            f"{height}x{width}. Give windows that overlap the image."
        )
    return inner


def _engine(
    model: nn.Module, x: Tensor, boxes: Tensor, batch: int, least: float = 1.0
) -> Engine | Choice:
    """The engine for these windows, or why there is none: boxes gain less, or cannot be."""
    if not len(x) or not len(boxes):
        return Choice("nothing to compute")
    for name, module in model.named_modules():
        if acts_otherwise(module):
            layer = name or "the model"
            return Choice(f"{layer} is in training mode or has a hook or a forward of its own")
    try:
        program = trace(model, x[:1])
    except Exception as error:  # of many kinds; the model's own faults show in the plain pass
        return Choice(f"torch.fx cannot trace it: {first_line(error)}")
    plan = cheapest(program, boxes.numpy(), batch)
    if plan is None:
        return Choice("there is no map of which a part can be computed")
    if plan.gain <= least:
        return Choice("boxes cost no less than whole images, or little less", plan.cut, plan.gain)
    return Engine(program, plan, boxes.numpy(), batch)


def _plain_logits(
    model: nn.Module, x: Tensor, baseline: Tensor, boxes: Tensor, batch: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The logits [n,classes] of n windows at a time, for all images.

    With the numbers of images and windows, int64 [n], before them.
    """
    order = memory_format_of(x)
    count, boxes = len(boxes), boxes.to(x.device)
    rows, columns = (torch.arange(side, device=x.device) for side in x.shape[2:])
    for pairs in torch.arange(len(x) * count, device=x.device).split(batch):
        image, window = pairs // count, pairs % count
        top, left, bottom, right = boxes[window].T[:, :, None, None]
        in_rows = (rows[:, None] >= top) & (rows[:, None] < bottom)
        covered = in_rows & (columns >= left) & (columns < right)
        occluded = torch.where(covered[:, None], baseline[image], x[image])
        yield image, window, model(occluded.contiguous(memory_format=order))
