"""A cell in the making: explains and scores one batch of images after the other, and draws the conclusions.

What is found stays on the device until the cell is finished, so that nothing waits for it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.attribution.attribute import Maps, attribute
from interpbench.core.batch_size import BatchSize
from interpbench.core.devices import Stopwatch
from interpbench.core.errors import MethodError
from interpbench.core.time_spent import phase
from interpbench.fast.occlusion.occluded_outputs import Choice, listening, summarised
from interpbench.running.prepared_model import ModelRun
from interpbench.scoring.evaluate import Scored, curve_rows, evaluate, precision_effect, score_rows
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS, Cell, CellResult


class CellWork:
    """One method on one model: its maps, their scores, counts, and what went wrong."""

    def __init__(self, run: ModelRun, cell: Cell) -> None:
        self.failures: list[str] = []
        self._run = run
        self._cell = cell
        self._method = run.plan.method(cell)
        self._batch_size = BatchSize(run.batch_size)
        self._left_behind: dict[str, None] = {}
        self._attribution, self._scoring = Stopwatch(run.plan.device), Stopwatch(run.plan.device)
        self._forward_passes = 0
        self._images = 0
        self._constant: list[Tensor] = []
        self._nonfinite: list[Tensor] = []
        self._tied: list[Tensor] = []
        self._values: dict[str, list[Tensor]] = defaultdict(list)
        self._pairs: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)  # in both precisions
        self._changed: dict[str, list[int]] = {}
        self._failed: dict[str, str] = {}
        self._maps: dict[str, Tensor] = {}
        self._choices: list[Choice] = []

    def batch(self, rows: slice) -> None:
        """Explains and scores some images."""
        run = self._run
        with self._attribution.running(), phase("attribution"), listening() as choices:
            maps, x, target = self._explain(rows)
        self._choices += choices
        with self._scoring.running():
            explanation, tied = run.explanation(maps, x, target, rows)
            metrics = {label: run.plan.metrics[label] for label in self._metrics() if label not in self._failed}
            compared = run.compared(rows)
            scores = evaluate(
                metrics, explanation, run.scorer, self._batch_size, run.ends,
                lambda: run.guard.watching(run.plan.suite.seed), run.exact, compared,
            )  # fmt: skip
        self._images += rows.stop - rows.start
        self._constant.append(maps.constant)
        self._nonfinite.append(maps.nonfinite)
        self._tied.append(tied)
        for label, values in scores.found.items():
            self._values[label].append(values)
        for label, exact in scores.in_float32.items():
            self._pairs[label].append((scores.found[label][compared], exact))
        self._changed |= scores.changed
        self._failed |= scores.failed
        self._maps |= {
            run.images.ids[i]: explanation.saliency[i - rows.start]
            for i in run.examples()
            if rows.start <= i < rows.stop
        }

    def finish(self, changed_weights: list[str]) -> None:
        """Draws the conclusions once all images are through."""
        if changed_weights:
            self._values.clear()
            self._run.model.shared.forget()
            raise MethodError(f"changed the model's weights behind its back ({changed_weights[0]}); they are restored.")
        constant, nonfinite = _count(self._constant), _count(self._nonfinite)
        if nonfinite:
            self.failures.append(f"gave NaN or infinite maps for {nonfinite} of {self._images} images")
        if constant == self._images:
            self.failures.append(f"gave a constant map for each of the {self._images} images")
        self.failures += [f"metric {label}: {reason}" for label, reason in self._failed.items()]

    def result(self) -> CellResult:
        """The finished cell."""
        with phase("waiting"):
            scores, curves, effect = self._tables()
        return CellResult(
            cell=self._cell,
            parameters=self._method.parameters_json,
            method_hash=self._method.plugin.source_hash,
            status="failed" if self.failures else "ok",
            reason="; ".join(self.failures),
            role=self._run.plan.role(self._cell),
            images=self._images,
            constant=_count(self._constant),
            nonfinite=_count(self._nonfinite),
            left_behind=tuple(self._left_behind),
            attribution_seconds=self._attribution.seconds,
            scoring_seconds=self._scoring.seconds,
            forward_passes=self._forward_passes,
            batch_size=self._batch_size.images,
            precision_effect=effect,
            windows=summarised(self._choices),
            scores=scores,
            curves=curves,
            maps=self._kept_maps(),
        )

    def _metrics(self) -> list[str]:
        """The metrics that its maps are scored by."""
        return list(self._run.plan.metrics)

    def _explain(self, rows: slice) -> tuple[Maps, Tensor, Tensor]:
        """The maps of some images, the images normalised, and their targets, on the device."""
        run = self._run
        x, target = run.inputs(rows)
        maps = attribute(
            self._method, run.model, run.guard, x, target, ids=run.images.ids[rows], seed=run.plan.suite.seed,
            batch_size=self._batch_size, left_behind=self._left_behind, shared_as=(rows.start, rows.stop),
        )  # fmt: skip
        return maps, x, target

    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict[str, float]]]:
        """Rows of scores and of curves of the images with a valid map, and what a lower precision changed."""
        run, rows = self._run, slice(0, self._images)
        if not self._images:
            return pd.DataFrame(columns=SCORE_COLUMNS), pd.DataFrame(columns=CURVE_COLUMNS), {}
        kept = ~(torch.cat(self._constant) | torch.cat(self._nonfinite)).cpu()
        sample_ids = [sample_id for sample_id, valid in zip(run.images.ids, kept.tolist(), strict=False) if valid]
        images: dict[str, Sequence[object]] = {
            "sample_id": sample_ids,
            "label": run.labels(rows)[kept].tolist(),
            "target": run.targets(rows)[kept].tolist(),
            "tied": torch.cat(self._tied).cpu()[kept].double().tolist(),
        }
        scores, curves, effect = [], [], {}
        for label in self._values.keys() - self._failed.keys() if sample_ids else ():
            scored = Scored.of(self._values[label], kept)
            names = {
                **self._cell.as_dict(),
                "parameters": self._method.parameters_json,
                "metric": label,
                "protocol": run.plan.protocols[label].hash,
            }
            scores.append(score_rows(names, images, scored))
            if scored.outputs is not None:
                curves.append(curve_rows(names, sample_ids, self._changed[label], scored.outputs))
            if label in self._pairs:
                effect[label] = precision_effect(*zip(*self._pairs[label], strict=True))
        return _concat(scores, SCORE_COLUMNS), _concat(curves, CURVE_COLUMNS), effect

    def _kept_maps(self) -> dict[str, np.ndarray]:
        """The maps of the example images, as far as they are answers."""
        if not self._images:
            return {}
        valid = ~(torch.cat(self._constant) | torch.cat(self._nonfinite)).cpu()
        known = dict(zip(self._run.images.ids, valid.tolist(), strict=False))
        return {sample_id: saliency.cpu().numpy() for sample_id, saliency in self._maps.items() if known[sample_id]}


class CeilingWork(CellWork):
    """The search for one metric's ceiling: a method that may look at the metric itself."""

    def _metrics(self) -> list[str]:
        return [str(self._cell.ceiling_of)]

    def _explain(self, rows: slice) -> tuple[Maps, Tensor, Tensor]:
        run = self._run
        x, target = run.inputs(rows)
        [metric] = self._metrics()
        blank, _ = run.explanation(Maps.sound(torch.zeros_like(x[:, 0])), x, target, rows)
        blank = replace(blank, model=run.scorer.traceable())
        with run.guard.watching(run.plan.suite.seed):
            found, passes = self._method(run.plan.metrics[metric], blank, self._batch_size)
        self._forward_passes += passes * len(x)
        return Maps.sound(found), x, target


def _count(flags: list[Tensor]) -> int:
    return int(torch.cat(flags).sum()) if flags else 0


def _concat(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
