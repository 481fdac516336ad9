"""What this project does, as the benchmarks call it: the one place to change when its interface does."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import interpbench
from interpbench import baseline
from interpbench.attribution import attribute
from interpbench.contracts import Explanation, Model, Perturbation
from interpbench.guard import Guard
from interpbench.perturb import BatchSize, curve, rank, tie_breakers
from interpbench.plugin import Configured
from interpbench.runner import _fastest_format
from interpbench.scoring import Scores, evaluate


def prepared(model: Model, x: Tensor) -> tuple[Model, Tensor]:
    """A copy of the model, and the images, as a run would have them."""
    model = copy.deepcopy(model)
    memory_format = _fastest_format(model, x[:1])
    return model.to(memory_format=memory_format), x.contiguous(memory_format=memory_format)


def deletion_and_insertion(
    model: Model, x: Tensor, saliency: Tensor, target: Tensor, steps: int, precision: str = "fp32"
) -> Callable[[], Tensor]:
    """A turn of it, from maps [B,H,W] to curves [2,B,S+1]."""
    model, x = prepared(model, x)
    ties = tie_breakers(_ids(x), x.shape[2] * x.shape[3], 0).to(x.device)

    def score() -> Tensor:
        ranks, _ = rank(saliency, ties)
        paths = [
            Perturbation(x, baseline("zero", x, model.card), steps),
            Perturbation(baseline("blur", x, model.card), x, steps),
        ]
        batch_size = BatchSize(model.batch_size)
        return torch.stack([curve(model, path, ranks, target, batch_size, precision) for path in paths])

    return score


def maps(methods: Sequence[Configured], model: Model, x: Tensor, target: Tensor) -> Callable[[], Tensor]:
    """A turn of explaining images by each of the methods, as the runner does: [methods,B,H,W]."""
    model, x = prepared(model, x)
    guard, batch_size = Guard(model), BatchSize(model.batch_size)

    def explain() -> Tensor:
        return torch.stack(
            [
                attribute(
                    method, model, guard, x, target, ids=_ids(x), seed=0, batch_size=batch_size, left_behind={}
                ).saliency
                for method in methods
            ]
        )

    return explain


def metric(choice: Configured, model: Model, x: Tensor, saliency: Tensor, target: Tensor) -> Callable[[], Scores]:
    """A turn of scoring maps [B,H,W] by a metric; the evidence is the upper half of each image."""
    model, x = prepared(model, x)
    mask = torch.zeros_like(saliency, dtype=torch.bool)
    mask[:, : x.shape[2] // 2] = True
    ties = tie_breakers(_ids(x), x.shape[2] * x.shape[3], 0).to(x.device)

    def score() -> Scores:
        ranks, _ = rank(saliency, ties)
        explanation = Explanation(model, x, target, target, saliency, ranks, mask, _ids(x))
        return evaluate(choice, explanation, BatchSize(model.batch_size), "fp32")

    return score


def run(folder: Path, methods: Sequence[str], images: int) -> Callable[[], interpbench.Run]:
    """A turn of a whole small run: the shipped ResNet-18 on planted objects, all metrics, tables written."""

    def work() -> interpbench.Run:
        return interpbench.run(
            model="resnet18", method=list(methods), images=images, ceiling="none", output=folder, overwrite=True,
            plots=False,
        )  # fmt: skip

    return work


def _ids(x: Tensor) -> tuple[str, ...]:
    return tuple(str(i) for i in range(len(x)))
