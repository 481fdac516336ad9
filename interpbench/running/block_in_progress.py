"""A cell on a block of images in the making: one batch after the other is explained and scored.

What comes of a batch stays on the device until the block is finished, so that nothing waits for it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.account import Account
from interpbench.attribution.attribute import Batch, Maps
from interpbench.attribution.examined_model import ExaminedModel
from interpbench.core.batch_size import BatchSize
from interpbench.core.devices import PeakMemory, Stopwatch, hardware
from interpbench.core.errors import MethodError
from interpbench.core.time_spent import phase
from interpbench.core.types import Model
from interpbench.fast.occlusion.choice import Choice, counted, listening
from interpbench.results.block_files import BlockResult
from interpbench.results.run_info import WindowsRecord
from interpbench.running.image_block import ImageBlock
from interpbench.running.prepared_model import PreparedModel
from interpbench.scoring.evaluate import BatchScores, evaluate
from interpbench.scoring.explanation import Explanation
from interpbench.suite.cells import Cell


class BlockInProgress:
    """One method on one model and some images: maps, their scores, and what went wrong.

    Attributes:
        failures: why the cell fails; none as long as all is well.
    """

    def __init__(self, prepared: PreparedModel, images: ImageBlock, cell: Cell) -> None:
        self.failures: list[str] = []
        self._prepared, self._images, self._cell = prepared, images, cell
        self._plan = prepared.plan
        self._account = Account(self._plan.method(cell), BatchSize(prepared.batch_size))
        device = self._plan.computing.device
        self._attribution, self._scoring = Stopwatch(device), Stopwatch(device)
        self._memory = PeakMemory(device)
        self._forward_passes = 0
        self._tied: list[Tensor] = []
        self._values: dict[str, list[Tensor]] = defaultdict(list)
        # In both precisions.
        self._lowered: dict[str, list[Tensor]] = defaultdict(list)
        self._exact: dict[str, list[Tensor]] = defaultdict(list)
        self._changed: dict[str, list[int]] = {}
        self._failed: dict[str, str] = {}
        self._maps: dict[str, Tensor] = {}
        self._choices: list[Choice] = []
        self._discarded = False
        self._explained_again = 0

    def add(self, rows: slice) -> None:
        """Explains and scores some images; raises what the method raises."""
        self._score(rows, *self.explain(rows))

    def explain(self, rows: slice) -> tuple[Batch, Maps]:
        """Some images and their maps, which are not scored yet; raises what the method raises."""
        images, gradients = self._images, self._account.method.plugin.gradients
        with self._attribution.running(), phase("attribution"), listening() as choices:
            batch = images.batch(rows, gradients=gradients)
            with self._memory.running():
                maps = self._explain(batch, rows)
        self._choices += choices
        return batch, maps

    def _score(self, rows: slice, batch: Batch, maps: Maps) -> None:
        images = self._images
        with self._scoring.running():
            self._prepared.know_end_points(images, rows)
            explanation, tied = images.explanation(maps, batch, rows)
            explanation = self._asked_again(explanation, batch)
            compared = images.compared(rows)
            wanted = [label for label in self._metrics() if label not in self._failed]
            metrics = {label: self._plan.metrics[label] for label in wanted}
            passes = self._prepared.passes(self._account.batch_size)
            exact = self._in_float32(rows, batch, compared)
            scores = evaluate(metrics, explanation, passes, compared, exact)
        self._tied.append(tied)
        self._take(scores, compared)
        self._maps |= {
            sample_id: explanation.saliency[i]
            for i, sample_id in enumerate(batch.ids)
            if self._prepared.is_example(sample_id)
        }

    def finish(self, changed_weights: Sequence[str]) -> None:
        """Draws the conclusions once all images are through.

        Raises:
            MethodError: if the method has changed the model.
        """
        if changed_weights:
            self._discarded = True
            self._prepared.forget()  # copies of the model may have been made meanwhile
            _refuse_changed(changed_weights)

    def note_left_behind(self, what: Sequence[str]) -> None:
        """Takes down what was found changed after it, and is put back."""
        self._account.left_behind |= dict.fromkeys(what)

    def discard(self, reason: str) -> None:
        """Nothing that was scored counts, for this reason."""
        self._discarded = True
        self.failures.append(reason)

    def result(self) -> BlockResult:
        """What came of the block."""
        with phase("waiting"):
            return self._result()

    def _result(self) -> BlockResult:
        account, images = self._account, self._images
        # Fewer are scored than are explained, where it broke down between.
        scored = slice(0, sum(map(len, self._tied)))
        constant, nonfinite = (flags.numpy() for flags in account.flags)
        valid = dict(zip(images.images.ids, account.valid.tolist(), strict=False))
        return BlockResult(
            cell=self._cell,
            number=images.block.number,
            count=images.block.count,
            sample_ids=images.images.ids[scored],
            labels=images.labels(scored).numpy(),
            targets=images.targets(scored).numpy(),
            constant=constant,
            nonfinite=nonfinite,
            signed=account.signed,
            tied=_joined(self._tied).astype(np.float64),
            scored=_by_metric(self._values),
            changed=self._changed,
            lowered=_by_metric(self._lowered),
            exact=_by_metric(self._exact),
            maps={
                sample_id: saliency.cpu().numpy()
                for sample_id, saliency in self._maps.items()
                if valid[sample_id]
            },
            failures=tuple(self.failures),
            failed_metrics=self._failed,
            discarded=self._discarded,
            left_behind=tuple(account.left_behind),
            attribution_seconds=self._attribution.seconds,
            scoring_seconds=self._scoring.seconds,
            peak_memory=self._memory.bytes,
            forward_passes=self._forward_passes,
            explained_again=self._explained_again,
            batch_size=account.batch_size.images,
            method_hash=account.method.plugin.source_hash,
            windows=tuple(
                WindowsRecord(**asdict(choice), calls=calls)
                for choice, calls in counted(self._choices)
            ),
            device=hardware(self._plan.computing.device),
        )

    def _metrics(self) -> list[str]:
        """The metrics that its maps are scored by."""
        return list(self._plan.metrics)

    def _explain(self, batch: Batch, rows: slice) -> Maps:
        """The maps of some images."""
        attempt = self._prepared.examined.explain(batch, self._account, self._plan.suite.seed)
        if attempt.maps is None:
            assert attempt.error is not None
            raise attempt.error
        return attempt.maps

    def _in_float32(self, rows: slice, batch: Batch, compared: slice) -> Explanation | None:
        """The maps that are compared, made in float32; None where all are.

        Parameters:
            rows: the images of the batch.
            compared: which of these.
        """
        some = range(rows.start, rows.stop)[compared]
        if self._prepared.examined.in_float32 is None or not some:
            return None
        few = Batch(batch.x[compared], batch.target[compared], batch.ids[compared])
        account = Account(self._account.method, self._account.batch_size)
        with torch.enable_grad():
            attempt = self._prepared.examined.explain(
                few, account, self._plan.suite.seed, in_float32=True
            )
        if attempt.maps is None:
            assert attempt.error is not None
            raise attempt.error
        these = slice(some.start, some.stop, some.step)
        return self._images.explanation(attempt.maps, few, these)[0]

    def _asked_again(self, explanation: Explanation, batch: Batch) -> Explanation:
        """Lets metrics ask the method again, about other inputs, models, or an image alone.

        Not where its maps were made elsewhere: it would give the same whatever the input.
        """
        if not self._account.method.plugin.can_be_asked_again:
            return explanation

        def explain(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
            return self._explain_again(Batch(x, target, batch.ids), model)

        def alone(row: int) -> Tensor:
            x, target = batch.x[[row]], batch.target[[row]]
            return self._explain_again(Batch(x, target, [batch.ids[row]]))

        return replace(explanation, explainer=explain, alone=alone)

    def _explain_again(self, batch: Batch, model: Model | None = None) -> Tensor:
        """The maps of a batch, of which nothing is shared, or of another model."""
        account = Account(self._account.method, self._account.batch_size)
        seed, gradients = self._plan.suite.seed, account.method.plugin.gradients
        examined = self._prepared.examined if model is None else ExaminedModel(model)
        x = self._images.as_methods_like(batch.x, gradients=gradients)
        with torch.enable_grad():
            attempt = examined.explain(Batch(x, batch.target, batch.ids), account, seed)
        self._account.left_behind |= account.left_behind
        self._explained_again += len(x)
        if model is not None:  # of the run's own it is found out at the end
            _refuse_changed(examined.guard.changed_weights())
        if attempt.maps is None:
            assert attempt.error is not None
            raise attempt.error
        return attempt.maps.saliency

    def _take(self, scores: BatchScores, compared: slice) -> None:
        for label, values in scores.scored.items():
            self._values[label].append(values)
        for label, exact in scores.in_float32.items():
            self._lowered[label].append(scores.scored[label][compared])
            self._exact[label].append(exact)
        self._changed |= scores.changed
        self._failed |= scores.failed


class CeilingInProgress(BlockInProgress):
    """The search for one metric's ceiling: a method that may look at the metric itself."""

    def _asked_again(self, explanation: Explanation, batch: Batch) -> Explanation:
        """A search explains nothing else."""
        return explanation

    def _in_float32(self, rows: slice, batch: Batch, compared: slice) -> None:
        """A search is read off the scoring copy alone."""

    def _metrics(self) -> list[str]:
        return [str(self._cell.ceiling_of)]

    def _explain(self, batch: Batch, rows: slice) -> Maps:
        prepared, account = self._prepared, self._account
        [metric] = self._metrics()
        nothing = Maps.of_search(torch.zeros_like(batch.x[:, 0]))
        blank, _ = self._images.explanation(nothing, batch, rows)
        blank = replace(blank, model=prepared.scorer.traceable())
        with prepared.examined.guard.watching(self._plan.suite.seed):
            best, passes = account.method(self._plan.metrics[metric], blank, account.batch_size)
        self._forward_passes += passes * len(batch.x)
        maps = Maps.of_search(best)
        account.note_maps(maps)
        return maps


def _refuse_changed(weights: Sequence[str]) -> None:
    """Refuses a method that has changed these weights without a trace.

    Raises:
        MethodError: if there are any.
    """
    if weights:
        raise MethodError(
            f"changed the model's weights behind its back ({weights[0]}); they are restored."
        )


def _joined(batches: Sequence[Tensor]) -> np.ndarray:
    return torch.cat(list(batches)).cpu().numpy() if batches else np.zeros(0)


def _by_metric(batches: Mapping[str, Sequence[Tensor]]) -> dict[str, np.ndarray]:
    return {label: _joined(of_metric) for label, of_metric in batches.items()}
