"""A cell in the making: explains and scores one batch of images after the other.

What comes of a batch stays on the device until the cell is finished, so that nothing waits for it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.attribution.account import Account
from interpbench.attribution.attribute import Batch, Maps
from interpbench.core.batch_size import BatchSize
from interpbench.core.devices import Stopwatch
from interpbench.core.errors import MethodError
from interpbench.core.time_spent import phase
from interpbench.fast.occlusion.choice import Choice, counted, listening
from interpbench.results.cell_results import CellResult
from interpbench.results.run_info import CellRecord, PrecisionEffect, WindowsRecord
from interpbench.running.cell_tables import Scored, curve_rows, precision_effect, score_rows
from interpbench.running.prepared_model import PreparedModel
from interpbench.scoring.evaluate import BatchScores, Passes, evaluate
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS, Cell


class CellInProgress:
    """One method on one model: its maps, their scores, and what went wrong.

    Attributes:
        failures: why the cell fails; none as long as all is well.
    """

    def __init__(self, prepared: PreparedModel, cell: Cell) -> None:
        self.failures: list[str] = []
        self._prepared = prepared
        self._plan = prepared.plan
        self._cell = cell
        self._account = Account(self._plan.method(cell), BatchSize(prepared.batch_size))
        device = self._plan.computing.device
        self._attribution, self._scoring = Stopwatch(device), Stopwatch(device)
        self._forward_passes = 0
        self._tied: list[Tensor] = []
        self._values: dict[str, list[Tensor]] = defaultdict(list)
        # In both precisions.
        self._pairs: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        self._changed: dict[str, list[int]] = {}
        self._failed: dict[str, str] = {}
        self._maps: dict[str, Tensor] = {}
        self._choices: list[Choice] = []

    def add(self, rows: slice) -> None:
        """Explains and scores some images; raises what the method raises."""
        prepared = self._prepared
        with self._attribution.running(), phase("attribution"), listening() as choices:
            batch = prepared.batch(rows, gradients=self._account.method.plugin.gradients)
            maps = self._explain(batch, rows)
        self._choices += choices
        with self._scoring.running():
            explanation, tied = prepared.explanation(maps, batch, rows)
            compared = prepared.compared(rows)
            wanted = [label for label in self._metrics() if label not in self._failed]
            metrics = {label: self._plan.metrics[label] for label in wanted}
            scores = evaluate(metrics, explanation, self._passes(), compared)
        self._tied.append(tied)
        self._take(scores, compared)
        self._maps |= {
            prepared.images.ids[i]: explanation.saliency[i - rows.start]
            for i in prepared.examples()
            if rows.start <= i < rows.stop
        }

    def finish(self, changed_weights: Sequence[str]) -> None:
        """Draws the conclusions once all images are through."""
        if changed_weights:
            self._values.clear()
            self._prepared.model.shared.forget()
            raise MethodError(
                f"changed the model's weights behind its back ({changed_weights[0]}); "
                "they are restored."
            )
        account = self._account
        if account.failure:
            self.failures.append(account.failure)
        if account.constant == account.images:
            self.failures.append(f"gave a constant map for each of the {account.images} images")
        self.failures += [f"metric {label}: {reason}" for label, reason in self._failed.items()]

    def note_left_behind(self, what: Sequence[str]) -> None:
        """Takes down what was found changed after it, and is put back."""
        self._account.left_behind |= dict.fromkeys(what)

    def discard(self, reason: str) -> None:
        """Nothing that was scored counts, for this reason."""
        self._values.clear()
        self._maps.clear()
        self.failures.append(reason)

    def result(self) -> CellResult:
        """The finished cell."""
        with phase("waiting"):
            scores, curves, effect = self._tables()
        account = self._account
        record = CellRecord(
            dataset=self._cell.dataset,
            model=self._cell.model,
            method=self._cell.method,
            parameters=account.method.parameters_json,
            method_hash=account.method.plugin.source_hash,
            role=self._plan.role(self._cell),
            status="failed" if self.failures else "ok",
            reason="; ".join(self.failures),
            images=account.images,
            constant=account.constant,
            nonfinite=account.nonfinite,
            left_behind=tuple(account.left_behind),
            attribution_seconds=self._attribution.seconds,
            scoring_seconds=self._scoring.seconds,
            forward_passes=self._forward_passes,
            batch_size=account.batch_size.images,
            precision_effect=effect,
            windows=tuple(
                WindowsRecord(**asdict(choice), calls=calls)
                for choice, calls in counted(self._choices)
            ),
        )
        return CellResult(record, scores, curves, self._kept_maps())

    def _metrics(self) -> list[str]:
        """The metrics that its maps are scored by."""
        return list(self._plan.metrics)

    def _passes(self) -> Passes:
        """How scores are read off the model."""
        prepared = self._prepared
        return Passes(
            scorer=prepared.scorer,
            exact=prepared.exact,
            batch_size=self._account.batch_size,
            end_points=prepared.end_points,
            watching=lambda: prepared.examined.guard.watching(self._plan.suite.seed),
        )

    def _explain(self, batch: Batch, rows: slice) -> Maps:
        """The maps of some images."""
        attempt = self._prepared.examined.explain(batch, self._account, self._plan.suite.seed)
        if attempt.maps is None:
            assert attempt.error is not None
            raise attempt.error
        return attempt.maps

    def _take(self, scores: BatchScores, compared: slice) -> None:
        for label, values in scores.scored.items():
            self._values[label].append(values)
        for label, exact in scores.in_float32.items():
            self._pairs[label].append((scores.scored[label][compared], exact))
        self._changed |= scores.changed
        self._failed |= scores.failed

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, PrecisionEffect]]:
        """Rows of scores and of curves, and what a lower precision changed.

        Of the images with a valid map.
        """
        # Fewer than are explained, where it broke down between.
        prepared, rows = self._prepared, slice(0, sum(map(len, self._tied)))
        kept = self._account.valid[rows]
        sample_ids = [
            name for name, valid in zip(prepared.images.ids, kept.tolist(), strict=False) if valid
        ]
        if not sample_ids:
            return pd.DataFrame(columns=SCORE_COLUMNS), pd.DataFrame(columns=CURVE_COLUMNS), {}
        images: dict[str, Sequence[object]] = {
            "sample_id": sample_ids,
            "label": prepared.labels(rows)[kept].tolist(),
            "target": prepared.targets(rows)[kept].tolist(),
            "tied": torch.cat(self._tied).cpu()[kept].double().tolist(),
        }
        scores, curves, effect = [], [], {}
        for label in self._values.keys() - self._failed.keys():
            scored = Scored.of(self._values[label], kept)
            outside = scored.outside(self._plan.metrics[label].plugin.range)
            if outside:
                self.failures.append(f"metric {label}: {outside}")
                continue
            names = {
                **self._cell.as_dict(),
                "parameters": self._account.method.parameters_json,
                "metric": label,
                "protocol": self._plan.protocols[label].hash,
            }
            scores.append(score_rows(names, images, scored))
            if scored.outputs is not None:
                curves.append(curve_rows(names, sample_ids, self._changed[label], scored.outputs))
            if label in self._pairs:
                effect[label] = precision_effect(*zip(*self._pairs[label], strict=True))
        return _concat(scores, SCORE_COLUMNS), _concat(curves, CURVE_COLUMNS), effect

    def _kept_maps(self) -> dict[str, np.ndarray]:
        """The maps of the example images, as far as they are answers."""
        valid = dict(zip(self._prepared.images.ids, self._account.valid.tolist(), strict=False))
        return {
            sample_id: saliency.cpu().numpy()
            for sample_id, saliency in self._maps.items()
            if valid[sample_id]
        }


class CeilingInProgress(CellInProgress):
    """The search for one metric's ceiling: a method that may look at the metric itself."""

    def _metrics(self) -> list[str]:
        return [str(self._cell.ceiling_of)]

    def _explain(self, batch: Batch, rows: slice) -> Maps:
        prepared, account = self._prepared, self._account
        [metric] = self._metrics()
        nothing = Maps.of_search(torch.zeros_like(batch.x[:, 0]))
        blank, _ = prepared.explanation(nothing, batch, rows)
        blank = replace(blank, model=prepared.scorer.traceable())
        with prepared.examined.guard.watching(self._plan.suite.seed):
            best, passes = account.method(self._plan.metrics[metric], blank, account.batch_size)
        self._forward_passes += passes * len(batch.x)
        maps = Maps.of_search(best)
        account.note_maps(maps)
        return maps


def _concat(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
