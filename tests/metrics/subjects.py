"""Explanations whose scores are known: a linear model's closed form, maps better and worse, and single images."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from interpbench.core.batch_size import BatchSize
from interpbench.core.types import Model
from interpbench.registry.discovery import discover
from interpbench.scoring.explanation import Explanation, Reader
from interpbench.scoring.ranking import rank, tie_breakers
from tests.scores import scored
from tests.tiny_models import Linear, convolutional, wrap

REGISTRY = discover()
SIDE, COUNT = 8, 6


def subject(
    network: nn.Module, saliency: Tensor, x: Tensor, mask: Tensor | None = None, batch: int = 16
) -> Explanation:
    """Images [B,3,H,W] explained by maps [B,H,W], all for class 1; `explain` is the gradient x input's map."""
    count, side = len(x), x.shape[2]
    ids = tuple(f"image-{i}" for i in range(count))
    model = wrap(network, side)
    target = torch.ones(count, dtype=torch.int64)
    ranks, _ = rank(saliency, tie_breakers(ids, x.shape[2] * x.shape[3], 0))

    def explain(inputs: Tensor, targets: Tensor, *, model: Model | None = None) -> Tensor:
        explained = network if model is None else model.network
        leaf = inputs.detach().clone().requires_grad_()
        with torch.enable_grad():
            outputs = explained(leaf).gather(1, targets[:, None]).sum()
        return (torch.autograd.grad(outputs, leaf)[0] * leaf.detach()).sum(1)

    return Explanation(
        model=model,
        x=x,
        target=target,
        label=target,
        mask=mask,
        ids=ids,
        saliency=saliency,
        rank=ranks,
        reader=Reader(model, BatchSize(batch)),
        explainer=explain,
    )


def images(count: int = COUNT, side: int = SIDE, seed: int = 0) -> Tensor:
    """Random images [B,3,H,W]."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def weights(side: int = SIDE, seed: int = 5) -> Tensor:
    """Of a linear model with two classes, [2,3,H,W]."""
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def linear(saliency: Tensor | None = None, x: Tensor | None = None, batch: int = 16) -> Explanation:
    """Of a linear model, by its exact map unless another is given.

    The exact map is what the logit loses where a position becomes 0: sum over channels of weight x input.
    """
    x = images() if x is None else x
    exact = (weights(x.shape[2])[1] * x).sum(1)
    return subject(
        Linear(weights(x.shape[2])), exact if saliency is None else saliency, x, batch=batch
    )


def small(saliency: Tensor | None = None, x: Tensor | None = None, batch: int = 16) -> Explanation:
    """Of a small convolutional network, by random maps unless others are given."""
    x = images() if x is None else x
    return subject(
        convolutional(x.shape[2]), noise(x) if saliency is None else saliency, x, batch=batch
    )


def noise(x: Tensor, seed: int = 9) -> Tensor:
    """Maps [B,H,W] that know nothing."""
    return torch.randn(len(x), *x.shape[2:], generator=torch.Generator().manual_seed(seed))


def degraded(saliency: Tensor, share: float, seed: int = 3) -> Tensor:
    """Maps of which this share of positions have changed places."""
    flat = saliency.flatten(1).clone()
    count = round(share * flat.shape[1])
    for i, row in enumerate(flat):
        generator = torch.Generator().manual_seed(seed + i)
        places = torch.randperm(flat.shape[1], generator=generator)[:count]
        row[places] = row[places[torch.randperm(count, generator=generator)]]
    return flat.view_as(saliency)


def with_map(explanation: Explanation, saliency: Tensor) -> Explanation:
    """The same images, explained by other maps."""
    return replace(explanation, saliency=saliency, rank=explanation.ranked(saliency))


def only(explanation: Explanation, rows: list[int]) -> Explanation:
    """Some of the images, as if they had been alone; nothing that was computed is kept."""
    chosen = {
        name: getattr(explanation, name)[rows]
        for name in ("x", "target", "label", "saliency", "rank")
    }
    mask = None if explanation.mask is None else explanation.mask[rows]
    ignored = None if explanation.ignored is None else explanation.ignored[rows]
    return replace(
        explanation,
        **chosen,
        mask=mask,
        ignored=ignored,
        ids=tuple(explanation.ids[row] for row in rows),
        reader=None,
    )


def score(name: str, explanation: Explanation, batch: int = 16, **values: object) -> Tensor:
    """A bundled metric's scores, float64 [B], as a run computes them with so many images a pass."""
    metric = REGISTRY.configure("metric", name, values)
    return torch.from_numpy(scored(metric, explanation, batch).per_image)
