"""What this project does, as the benchmarks call it: the one place to change when its interface does."""

import contextlib
import copy
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

import interpbench
from interpbench import baseline, linear_imputation
from interpbench.attribution.attribute import Batch, attribute
from interpbench.core.batch_size import BatchSize
from interpbench.core.devices import memory_kept
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.fast.method_copies import stand_ins
from interpbench.fast.scoring_copy import prepare
from interpbench.fast.tuning import tune
from interpbench.registry.plugin import Configured
from interpbench.running.prepared_model import fastest_format
from interpbench.scoring.curves import curves
from interpbench.scoring.evaluate import BatchScores, EndPoints, Passes, evaluate
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.perturbation import Perturbation
from interpbench.scoring.ranking import rank, tie_breakers

Result = TypeVar("Result")
LONG = 10**9  # forward passes of a run that is long enough for the best batch size to be measured


def prepared(model: Model, x: Tensor) -> tuple[Model, Tensor]:
    """A copy of the model, and the images for whoever only calls it, as a run would have them."""
    model = copy.deepcopy(model)
    return model, x.contiguous(memory_format=fastest_format(model, x[:1]))


def deletion_and_insertion(
    model: Model,
    x: Tensor,
    saliency: Tensor,
    target: Tensor,
    steps: int,
    precision: str = "fp32",
    compile: bool = False,
) -> Callable[[], Tensor]:
    """A turn of it, from maps [B,H,W] to curves [2,B,S+1]; end points are known, as for all methods but the first.

    In batches of the size that a long run would measure to be best.
    """
    model, x = prepared(model, x)
    scorer = prepare(model, x, precision)
    size = tune(scorer, x, LONG, wish="always" if compile else "never").batch_size
    ties = tie_breakers(_ids(x), x.shape[2] * x.shape[3], 0).to(x.device)
    ends: list[tuple[Tensor, Tensor] | None] = []

    def score() -> Tensor:
        ranks, _ = rank(saliency, ties)
        paths = [
            Perturbation(x, baseline("zero", x, model.card), steps),
            Perturbation(baseline("blur", x, model.card), x, steps),
        ]
        found = curves(scorer, paths, ranks, target, BatchSize(size), ends)
        ends[:] = [(values[:, 0], values[:, -1]) for values in found]
        return torch.stack(found)

    return _in_a_run(score)


def maps(
    methods: Sequence[Configured], model: Model, x: Tensor, target: Tensor
) -> Callable[[], Tensor]:
    """A turn of explaining images by each of the methods, as the runner does: [methods,B,H,W]."""
    model, fastest = prepared(model, x)
    copies, _ = stand_ins(model, prepare(model, fastest), x.contiguous(), fastest)
    guard, batch_size = Guard(model), BatchSize(model.batch_size)
    turns = itertools.count()

    def explain() -> Tensor:
        turn = next(
            turns
        )  # methods share what they compute within a turn, and nothing of the turn before
        model.shared.forget()
        batches = {
            gradients: Batch(images, target, _ids(x), name=(turn, gradients))
            for gradients, images in ((True, x.contiguous()), (False, fastest))
        }
        attempts = [
            attribute(method, model, guard, batches[method.plugin.gradients], 0, batch_size, copies)
            for method in methods
        ]
        return torch.stack(
            [attempt.maps.saliency for attempt in attempts if attempt.maps is not None]
        )

    return explain


def metric(
    choice: Configured, model: Model, x: Tensor, saliency: Tensor, target: Tensor
) -> Callable[[], BatchScores]:
    """A turn of scoring maps [B,H,W] by a metric; the evidence is the upper half of each image."""
    work = metric_of_methods(choice, model, x, saliency[None], target)
    return lambda: work()[0]


def metric_of_methods(
    choice: Configured, model: Model, x: Tensor, maps: Tensor, target: Tensor
) -> Callable[[], list[BatchScores]]:
    """A turn of scoring the maps [M,B,H,W] of several methods by a metric, which share what no map decides.

    In batches of the size that a long run would measure to be best.
    """
    model, x = prepared(model, x)
    scorer = prepare(model, x)
    size = tune(scorer, x, LONG, wish="never").batch_size
    mask = torch.zeros_like(maps[0], dtype=torch.bool)
    mask[:, : x.shape[2] // 2] = True
    ties = tie_breakers(_ids(x), x.shape[2] * x.shape[3], 0).to(x.device)

    def score() -> list[BatchScores]:
        passes = Passes(scorer, BatchSize(size), EndPoints(), contextlib.nullcontext)
        found = []
        for saliency in maps:
            ranks, _ = rank(saliency, ties)
            explanation = Explanation(
                model=model,
                x=x,
                target=target,
                label=target,
                mask=mask,
                ids=_ids(x),
                saliency=saliency,
                rank=ranks,
            )
            found.append(evaluate({"it": choice}, explanation, passes))
        return found

    return _in_a_run(score)


def imputations(x: Tensor, removed: Tensor, tolerance: Tensor) -> Callable[[], Tensor]:
    """A turn of linear imputation of K sets of removed positions, bool [K,B,1,H,W]: [K,B,C,H,W]."""

    def impute() -> Tensor:
        return torch.stack([linear_imputation(x, holes, tolerance) for holes in removed])

    return _in_a_run(impute)


def run(folder: Path, methods: Sequence[str], images: int) -> Callable[[], interpbench.Run]:
    """A turn of a whole small run: the shipped ResNet-18 on planted objects, all metrics, tables written."""

    def work() -> interpbench.Run:
        return interpbench.run(
            model="resnet18", method=list(methods), images=images, ceiling="none", output=folder, overwrite=True,
            plots=False,
        )  # fmt: skip

    return work


def _in_a_run(work: Callable[[], Result]) -> Callable[[], Result]:
    """A turn in the circumstances of a run."""

    def turn() -> Result:
        with memory_kept():
            return work()

    return turn


def _ids(x: Tensor) -> tuple[str, ...]:
    return tuple(str(i) for i in range(len(x)))
