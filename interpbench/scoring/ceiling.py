"""The ceiling of a curve metric: about the best score that any order of positions can reach.

A greedy search over a coarse grid of patches, in the spirit of Wang and Wang, Benchmarking Deletion
Metrics with the Principled Explanations, ICML 2024. It begins at the image, where the model has
something to say, and asks again and again which of the patches that are left is best removed next.
For deletion these come first; for insertion the answers are read backwards, since what is removed
first without harm is inserted last. Patches that matter are taken one at a time, the others by the
third of what is left. The order becomes a map that is scored like any other: the same baseline,
output, steps, ties and area.

Each round tries every patch that is left, unless it is the only one. With P patches these are about
3 P forward passes an image for insertion, and no more than P log_1.5 P for deletion, whose rounds
begin small:

    grid           2     4     6     8    12    16
    deletion       9    93   285   630  1718  3320
    insertion      9    50   110   201   441   775

On large images most of a convolutional network is not computed again for a patch more
(`fast.occlusion`): the outputs are the same but for rounding, and come several times as
fast.

It is no bound. Greedy choices can be wrong, and single pixels can be ordered better than patches; a
method that does so has a share of the achievable above one.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from interpbench.core.batch_size import BatchSize
from interpbench.fast.occlusion.occluded_outputs import Engine, occluder, plain_if_boxes_fail
from interpbench.registry.plugin import Configured, MethodPlugin, Parameter
from interpbench.scoring.curves import outputs
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.patches import patch_map, rectangles
from interpbench.scoring.perturbation import Perturbation
from interpbench.suite.cells import CEILING


def ceiling(grid: int) -> Configured:
    """The search as a plan knows it, beside its methods.

    With its parameter and the hash of its source.
    """
    source = Path(__file__)
    plugin = MethodPlugin(
        name=CEILING,
        call=best_map,
        parameters=(Parameter("grid", int),),
        doc=__doc__ or "",
        reference=(
            "Wang and Wang, Benchmarking Deletion Metrics with the Principled Explanations, "
            "ICML 2024"
        ),
        licence="",
        origin=str(source),
        source_hash=hashlib.sha256(source.read_bytes().replace(b"\r\n", b"\n")).hexdigest(),
        takes=frozenset(),
        gradients=False,
    )
    return plugin.configure({"grid": grid})


def best_map(
    metric: Configured, explanation: Explanation, batch_size: BatchSize, *, grid: int
) -> tuple[Tensor, int]:
    """The map that the search finds best for a metric, float32 [B,H,W].

    And how many forward passes an image it took. All positions of a patch are equal, so the seeded
    order of ties decides within it.

    Parameters:
        metric: a curve metric.
        explanation: the images, their targets and the model; its map is not looked at.
        batch_size: of the forward passes.
        grid: patches a side.
    """
    with torch.no_grad():
        path = metric(explanation)
    lower = metric.plugin.direction(metric.values) == "lower"
    order, passes = best_order(explanation, path, lower, grid, batch_size)
    height, width = explanation.x.shape[2:]
    places = order.argsort(1)[:, patch_map(height, width, grid)].float()
    return places if path.first == "least" else places.neg(), passes


def best_order(
    explanation: Explanation, path: Perturbation, lower: bool, grid: int, batch_size: BatchSize
) -> tuple[Tensor, int]:
    """The order in which each image's patches change along a path, int64 [B,P].

    Patches are given by their numbers, row by row. And how many forward passes an image the search
    took.

    Parameters:
        explanation: the images, their targets and the model.
        path: what the metric makes of them.
        lower: whether a lower output is better.
        grid: patches a side; P is its square.
        batch_size: of the forward passes.
    """
    backwards = torch.equal(path.end, explanation.x)
    if backwards:
        path = replace(path, start=path.end, end=path.start)
    count, device = len(explanation.ids), explanation.x.device
    patch_of = patch_map(explanation.x.shape[2], explanation.x.shape[3], grid).to(device)
    changed = torch.zeros(count, grid * grid, dtype=torch.bool, device=device)
    boxes = _Boxes(explanation, path, grid) if explanation.model.dtype == torch.float32 else None
    rounds: list[Tensor] = []
    passes = 0
    for patches_taken in sizes(grid * grid, grow=not backwards):
        candidates = (~changed).nonzero()[:, 1].view(count, -1)
        patches_left = candidates.shape[1]
        if patches_left > 1:
            passes += patches_left
            values = boxes.outputs(changed, candidates, batch_size) if boxes else None
            if values is None:
                trials = (
                    changed[:, None]
                    .repeat(1, patches_left, 1)
                    .scatter(2, candidates[:, :, None], True)
                )
                values = _outputs(explanation, path, trials[:, :, patch_of], batch_size)
            candidates = candidates.gather(
                1, values.argsort(dim=1, descending=not lower, stable=True)
            )
        rounds.append(candidates[:, :patches_taken])
        changed.scatter_(1, rounds[-1], True)
    order = torch.cat(rounds, dim=1)
    return order.flip(1) if backwards else order, passes


def sizes(patches: int, grow: bool) -> list[int]:
    """How many patches each round takes: a third of what is left, but one at least.

    The other way round to `grow`.
    """
    counts = []
    while patches:
        counts.append(max(1, patches // 3))
        patches -= counts[-1]
    return counts[::-1] if grow else counts


class _Boxes:
    """The outputs with one patch more, from the parts of the maps that it changes.

    Parameters:
        explanation: the images, their targets and the model.
        path: from where to where they change.
        grid: patches a side.
    """

    def __init__(self, explanation: Explanation, path: Perturbation, grid: int) -> None:
        height, width = explanation.x.shape[2:]
        self._explanation = explanation
        self._path = path
        self._patch_of = patch_map(height, width, grid).to(explanation.x.device)
        self._patches = rectangles(height, width, grid)
        self._engines: dict[int, Engine | None] = {}

    def outputs(self, changed: Tensor, candidates: Tensor, batch_size: BatchSize) -> Tensor | None:
        """For what has changed, bool [B,P], and patches that are left, int64 [B,K]: float32 [B,K].

        None where plain passes are expected to be as fast.
        """
        return batch_size.attempt(lambda images: self._outputs(changed, candidates, images))

    @torch.inference_mode()
    def _outputs(self, changed: Tensor, candidates: Tensor, images: int) -> Tensor | None:
        engine, patches_left = self._engine(images), candidates.shape[1]
        # The untouched image takes a pass.
        if engine is None or patches_left * (1 - 1 / engine.plan.gain) < 1:
            return None
        with plain_if_boxes_fail(images):
            return self._by_boxes(engine, changed, candidates)
        self._engines[images] = None
        return None

    def _by_boxes(self, engine: Engine, changed: Tensor, candidates: Tensor) -> Tensor:
        path, target = self._path, self._explanation.target
        state = torch.where(changed[:, self._patch_of][:, None], path.end, path.start)
        values = torch.empty(changed.shape, device=state.device)
        for i, wanted in enumerate(candidates.tolist()):
            for _, patch, logits in engine.logits(state[i : i + 1], path.end[i : i + 1], wanted):
                read = logits.float()
                if path.output == "probability":
                    read = self._explanation.model.probabilities(read)
                values[i, patch] = read.index_select(1, target[i : i + 1])[:, 0]
        return values.gather(1, candidates)

    def _engine(self, images: int) -> Engine | None:
        """For so many images a forward pass."""
        if images not in self._engines:
            model, target = self._explanation.model, self._explanation.target
            self._engines[images] = occluder(
                model, self._path.start, self._path.end, self._patches, target, images
            )
        return self._engines[images]


def _outputs(
    explanation: Explanation, path: Perturbation, changed: Tensor, batch_size: BatchSize
) -> Tensor:
    """The model's output for each image with each set of changes -> float32 [B,K].

    The changed positions are bool [B,K,H,W].
    """
    values = []
    sets = changed.shape[1]
    for rows in torch.arange(len(changed), device=changed.device).split(
        max(1, batch_size.images // sets)
    ):
        repeated = rows.repeat_interleave(sets)
        repeated_path = replace(path, start=path.start[repeated], end=path.end[repeated])
        ranks = (~changed[rows]).flatten(0, 1).int()
        [outputs_of_sets] = outputs(
            explanation.model,
            [repeated_path],
            [[1]],
            ranks,
            explanation.target[repeated],
            batch_size,
        )
        values.append(outputs_of_sets.view(len(rows), sets))
    return torch.cat(values)
