"""plan -> finished cells, one after the other. Knows nothing of disks or screens.

For each model its images stay in memory at its input size. For each method the maps of a batch are made, ranked and
scored where they lie; one transfer a batch brings the numbers back.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.attribution import Maps, attribute
from interpbench.cells import CURVE_COLUMNS, SCORE_COLUMNS, Cell, CellResult, ModelResult
from interpbench.contracts import Explanation, Model, normalise
from interpbench.devices import exact_arithmetic, synchronise
from interpbench.errors import InterpBenchError, MethodError
from interpbench.guard import Guard
from interpbench.images import load_images
from interpbench.perturb import BatchSize, rank, tie_breakers
from interpbench.plan import Plan
from interpbench.plugin import Configured, blaming
from interpbench.repair import sound
from interpbench.scoring import curve_rows, evaluate, score_rows

EXAMPLES = 4  # images a model whose maps are kept for the pictures
Progress = Callable[[Cell, int], None]


def run_cells(
    plan: Plan, *, done: Collection[Cell] = (), progress: Progress = lambda cell, images: None
) -> Iterator[ModelResult | CellResult]:
    """Runs the plan's cells that are not done; before a model's first cell comes what was measured of the model.

    A method or metric that fails, fails its own cell; the others go on.
    """
    with exact_arithmetic():
        for label in plan.models:
            todo = [cell for cell in plan.cells if cell.model == label and cell not in done]
            if todo:
                yield from _run_model(plan, label, todo, progress)


def _run_model(plan: Plan, label: str, todo: list[Cell], progress: Progress) -> Iterator[ModelResult | CellResult]:
    with blaming(plan.dataset_choice):
        run = ModelRun(plan, label, progress)
    try:
        measured = run.measure()
    except Exception as error:
        reason = f"the model itself fails: {type(error).__name__}: {error}"
        for cell in todo:
            method, role = plan.method(cell), plan.role(cell)
            yield CellResult(cell, method.parameters_json, method.plugin.source_hash, "failed", reason, role)
    else:
        yield measured
        for cell in todo:
            yield run.cell(cell)
    run.model.to("cpu")  # the next model needs the room


class ModelRun:
    """One model on the device, with its images."""

    def __init__(self, plan: Plan, label: str, progress: Progress) -> None:
        self.plan = plan
        self.label = label
        self.model = plan.models[label][1].to(plan.device)
        self.images = load_images(plan.dataset, plan.indices, self.model.card)
        self._progress = progress
        self._batch_size = self.model.batch_size
        self._memory_format = _fastest_format(self.model, self._normalised(slice(0, 2)))
        self.model.to(memory_format=self._memory_format)
        self.guard = Guard(self.model)
        self._examine()
        self._logit_of_label = torch.tensor(self.model.card.logit_of_label)
        self._predicted = torch.empty(0, dtype=torch.int64)

    def measure(self) -> ModelResult:
        """Predictions for the untouched images; from here on the batch size is one that fits."""
        batch_size = BatchSize(self._batch_size)
        self._predicted = batch_size.attempt(self._predict)
        self._batch_size = batch_size.images
        labels = self._logit_of_label[self.images.labels]
        examples = _spread(len(self.images.ids), EXAMPLES)
        return ModelResult(
            dataset=self.plan.dataset.card.name,
            model=self.label,
            info={
                "card": self.model.card.as_dict(),
                "weights": self.model.card.weights,
                "accuracy": (self._predicted == labels).double().mean().item(),
                "accuracy_images": len(labels),
                "sample_ids": list(self.images.ids),
                "pixels_sha256": self.images.sha256,
                "skipped": self.images.skipped,
                "findings": [finding.as_dict() for finding in self.diagnosis.findings],
                "repairs": [repair.as_dict() for repair in self.repairs],
                "notices": self._notices(),
            },
            example_ids=tuple(self.images.ids[i] for i in examples),
            images=self.images.images[examples].numpy(),
            masks=None if self.images.masks is None else self.images.masks[examples].numpy(),
            true_classes=tuple(self._class_name(int(labels[i])) for i in examples),
            predicted_classes=tuple(self._class_name(int(self._predicted[i])) for i in examples),
        )

    def cell(self, cell: Cell) -> CellResult:
        """Explains and scores every image with one method, or searches the best map for one metric."""
        kind = _CeilingWork if cell.ceiling_of else _CellWork
        work = kind(self, cell, self.plan.method(cell), BatchSize(self._batch_size))
        try:
            for rows in self._batches(self._batch_size):
                work.batch(rows)
                self._progress(cell, rows.stop - rows.start)
            work.finish(self.guard.changed_weights())
        except InterpBenchError as error:
            work.failures.append(str(error))
        except (Exception, SystemExit) as error:  # a plugin may call sys.exit; it fails alone all the same
            work.failures.append(f"{type(error).__name__}: {error}")
        if work.failures:
            self.guard.changed_weights()
        return work.result()

    def maps(
        self, method: Configured, rows: slice, batch_size: BatchSize, left_behind: dict[str, None]
    ) -> tuple[Maps, Tensor, Tensor]:
        """The method's maps of some images, the images normalised, and their targets, on the device."""
        x, target = self.inputs(rows)
        ids = self.images.ids[rows]
        maps = attribute(
            method, self.model, self.guard, x, target, ids=ids, seed=self.plan.suite.seed, batch_size=batch_size,
            left_behind=left_behind,
        )  # fmt: skip
        return maps, x, target

    def inputs(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Some images normalised, and their targets, on the device."""
        x = self._x(rows)
        return x, self._targets(rows).to(x.device)

    def explanation(self, maps: Maps, x: Tensor, target: Tensor, rows: slice) -> tuple[Explanation, Tensor]:
        """The images that have a valid map, with their maps ranked; and the share of tied positions of each."""
        valid = maps.valid
        kept = torch.arange(rows.start, rows.stop)[valid.cpu()]
        ids = tuple(self.images.ids[i] for i in kept.tolist())
        ties = tie_breakers(ids, x.shape[2] * x.shape[3], self.plan.suite.seed).to(x.device)
        ranks, tied = rank(maps.saliency[valid], ties)
        masks = None if self.images.masks is None else self.images.masks[kept].to(x.device)
        labels = self._logit_of_label[self.images.labels[kept]].to(x.device)
        return (
            Explanation(self.model, x[valid], target[valid], labels, maps.saliency[valid], ranks, masks, ids),
            tied,
        )

    def _examine(self) -> None:
        """Looks for what makes methods go wrong; from here on the model may be a repaired copy, see `repair.sound`."""
        found = sound(self.model, self._x(slice(0, 2)), self.plan.suite.seed, self.guard)
        mended, self.diagnosis, self.repairs = found
        if mended is not self.model:
            self.model.to("cpu")
            self.model, self.guard = mended, Guard(mended)

    def _notices(self) -> list[str]:
        """What the user must know of the model: which of the run's methods cannot be trusted on it, and why."""
        notices = []
        run = [cell.method for cell in self.plan.cells if cell.model == self.label and not cell.ceiling_of]
        for finding in self.diagnosis.findings:
            methods = [label for label in run if finding.concerns(self.plan.methods[label])]
            if methods:
                where = f" ({', '.join(finding.where[:3])})" if finding.where else ""
                reason = f"{self.label}: {finding.what}{where}, which rules out {', '.join(methods)}"
                notices.append(f"{reason}. {finding.advice} See `python -m interpbench doctor`.")
        return notices

    @torch.inference_mode()
    def _predict(self, images: int) -> Tensor:
        """The logit that is greatest for each image, int64 [N]."""
        logits = torch.cat([self.model(self._x(rows)).float().cpu() for rows in self._batches(images)])
        if not bool(logits.isfinite().all()):
            raise ValueError("its logits are not all finite for the untouched images")
        return logits.argmax(1)

    def _x(self, rows: slice) -> Tensor:
        return self._normalised(rows).contiguous(memory_format=self._memory_format)

    def _normalised(self, rows: slice) -> Tensor:
        return normalise(self.images.images[rows].to(self.plan.device), self.model.card)

    def _targets(self, rows: slice) -> Tensor:
        if self.plan.suite.target == "predicted":
            return self._predicted[rows]
        return self._logit_of_label[self.images.labels[rows]]

    def _batches(self, images: int) -> Iterator[slice]:
        count = len(self.images.ids)
        for first in range(0, count, images):
            yield slice(first, min(first + images, count))

    def _class_name(self, logit: int) -> str:
        names = dict(zip(self.model.card.logit_of_label, self.plan.dataset.card.classes, strict=True))
        return names.get(logit, f"logit {logit}")


@dataclass
class _CellWork:
    """A cell in the making: rows of scores and curves, counts, and what went wrong."""

    run: ModelRun
    cell: Cell
    method: Configured
    batch_size: BatchSize
    failures: list[str] = field(default_factory=list)
    images: int = 0
    constant: int = 0
    nonfinite: int = 0
    left_behind: dict[str, None] = field(default_factory=dict)
    attribution_seconds: float = 0.0
    scoring_seconds: float = 0.0
    forward_passes: int = 0
    scores: list[pd.DataFrame] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)
    kept_maps: dict[str, np.ndarray] = field(default_factory=dict)
    failed_metrics: dict[str, str] = field(default_factory=dict)

    def batch(self, rows: slice) -> None:
        """Explains and scores some images."""
        device = self.run.plan.device
        started = time.perf_counter()
        maps, x, target = self._maps(rows)
        synchronise(device)
        explained = time.perf_counter()
        self.attribution_seconds += explained - started
        self.images += rows.stop - rows.start
        self.constant += int(maps.constant.sum())
        self.nonfinite += int(maps.nonfinite.sum())
        if bool(maps.valid.any()):
            explanation, tied = self.run.explanation(maps, x, target, rows)
            for label in self._metrics():
                if label not in self.failed_metrics:
                    self._score(label, explanation, tied)
            self._keep_maps(explanation)
        synchronise(device)
        self.scoring_seconds += time.perf_counter() - explained

    def finish(self, changed_weights: list[str]) -> None:
        """Draws the conclusions once all images are through."""
        if changed_weights:
            self.scores, self.curves = [], []
            raise MethodError(f"changed the model's weights behind its back ({changed_weights[0]}); they are restored.")
        if self.nonfinite:
            self.failures.append(f"gave NaN or infinite maps for {self.nonfinite} of {self.images} images")
        if self.constant == self.images:
            self.failures.append(f"gave a constant map for each of the {self.images} images")
        self.failures += [f"metric {label}: {reason}" for label, reason in self.failed_metrics.items()]
        self.scores = [frame for frame in self.scores if frame["metric"].iloc[0] not in self.failed_metrics]

    def result(self) -> CellResult:
        """The finished cell."""
        return CellResult(
            cell=self.cell,
            parameters=self.method.parameters_json,
            method_hash=self.method.plugin.source_hash,
            status="failed" if self.failures else "ok",
            reason="; ".join(self.failures),
            role=self.run.plan.role(self.cell),
            images=self.images,
            constant=self.constant,
            nonfinite=self.nonfinite,
            left_behind=tuple(self.left_behind),
            attribution_seconds=self.attribution_seconds,
            scoring_seconds=self.scoring_seconds,
            forward_passes=self.forward_passes,
            batch_size=self.batch_size.images,
            scores=_concat(self.scores, SCORE_COLUMNS),
            curves=_concat(self.curves, CURVE_COLUMNS),
            maps=self.kept_maps,
        )

    def _metrics(self) -> list[str]:
        """The metrics that its maps are scored by."""
        return list(self.run.plan.metrics)

    def _maps(self, rows: slice) -> tuple[Maps, Tensor, Tensor]:
        return self.run.maps(self.method, rows, self.batch_size, self.left_behind)

    def _score(self, label: str, explanation: Explanation, tied: Tensor) -> None:
        """One metric; if it raises, the other metrics' scores stay."""
        plan = self.run.plan
        try:
            with self.run.guard.watching(plan.suite.seed):
                scores = evaluate(plan.metrics[label], explanation, self.batch_size, plan.precision)
        except Exception as error:
            self.failed_metrics[label] = f"{type(error).__name__}: {error}"
            return
        names = {
            **self.cell.as_dict(),
            "parameters": self.method.parameters_json,
            "metric": label,
            "protocol": plan.protocols[label].hash,
        }
        self.scores.append(score_rows(names, explanation, tied, scores))
        self.curves.append(curve_rows(names, explanation, scores))

    def _keep_maps(self, explanation: Explanation) -> None:
        wanted = {self.run.images.ids[i] for i in _spread(len(self.run.images.ids), EXAMPLES)}
        for i, sample_id in enumerate(explanation.ids):
            if sample_id in wanted:
                self.kept_maps[sample_id] = explanation.saliency[i].cpu().numpy()


class _CeilingWork(_CellWork):
    """The search for one metric's ceiling: a method that may look at the metric itself."""

    def _metrics(self) -> list[str]:
        return [str(self.cell.ceiling_of)]

    def _maps(self, rows: slice) -> tuple[Maps, Tensor, Tensor]:
        plan = self.run.plan
        x, target = self.run.inputs(rows)
        [metric] = self._metrics()
        blank, _ = self.run.explanation(Maps.sound(torch.zeros_like(x[:, 0])), x, target, rows)
        with self.run.guard.watching(plan.suite.seed):
            found, passes = self.method(plan.metrics[metric], blank, self.batch_size, plan.precision)
        self.forward_passes += passes * len(x)
        return Maps.sound(found), x, target


def _fastest_format(model: Model, x: Tensor) -> torch.memory_format:
    """`channels_last`, if the model takes it and answers the same (a network that calls `view` does not).

    The passes are then cheaper, on a CPU by a tenth to a third, and equal but for rounding.
    """
    plain = torch.contiguous_format
    answers = []
    try:
        for memory_format in (plain, torch.channels_last):
            model.to(memory_format=memory_format)  # outside of inference mode, which would mark its weights for good
            with torch.inference_mode():
                answers.append(model(x.contiguous(memory_format=memory_format)))
    except Exception:  # the model's own faults show when it is measured
        return plain
    finally:
        model.to(memory_format=plain)
    expected, answer = answers
    return torch.channels_last if torch.allclose(answer, expected, rtol=1e-4, atol=1e-5) else plain


def _concat(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def _spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` of the indices 0..count-1, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted)).tolist()})
