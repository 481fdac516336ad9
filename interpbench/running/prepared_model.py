"""One model of a run on the device, with its images: predictions, the scoring copy, and explanations ready to score."""

import math
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.attribute import Maps
from interpbench.core.batch_size import BatchSize
from interpbench.core.model_guard import Guard
from interpbench.core.time_spent import phase
from interpbench.core.types import Explanation, Model, normalise
from interpbench.diagnosis.repair import sound
from interpbench.fast.scoring_copy import Scorer, prepare
from interpbench.fast.tuning import tune
from interpbench.loading.images import ImageSet
from interpbench.running.plan import Plan
from interpbench.scoring.evaluate import Ends
from interpbench.scoring.ranking import rank, tie_breakers
from interpbench.suite.cells import Cell, ModelResult

EXAMPLES = 4  # images a model whose maps are kept for the pictures
COMPARED, AT_LEAST = 16, 8  # one image in 16 is compared with float32, and eight if there are so many
PROVEN = 8  # images whose logits the scoring copy must give too


class ModelRun:
    """One model on the device, with its images.

    Attributes:
        plan, label: what is run, and the model's label in it.
        model: as methods get it; a repaired copy where the plan's could not be used as it is.
        guard: watches over the model.
        images: of the run, on the CPU.
        scorer: the copy that scores are read off; `exact` is one in float32 where that is of a lower precision.
        batch_size: images a forward pass.
        ends: what is known of the ends of paths.
    """

    scorer: Scorer
    exact: Scorer | None = None

    def __init__(self, plan: Plan, label: str, images: ImageSet) -> None:
        self.plan = plan
        self.label = label
        self.model = plan.models[label][1].to(plan.device)
        self.images = images
        self.batch_size = self.model.batch_size
        self.ends = Ends()
        self._pixels = images.images.pin_memory() if plan.device.type == "cuda" else images.images
        self._memory_format = fastest_format(self.model, self._normalised(slice(0, 2)))
        self.model.to(memory_format=self._memory_format)
        self.guard = Guard(self.model)
        self._examine()
        self._logit_of_label = torch.tensor(self.model.card.logit_of_label)
        self._predicted = torch.empty(0, dtype=torch.int64)

    def measure(self, cells: list[Cell]) -> ModelResult:
        """Predictions for the untouched images; then the scoring copy is made, for the cells that will be scored."""
        batch_size = BatchSize(self.batch_size)
        self._predicted = batch_size.attempt(self._predict)
        self.batch_size = batch_size.images
        scoring = self._prepare_scoring(cells, halved=batch_size.halved > 0)
        labels = self._logit_of_label[self.images.labels]
        examples = self.examples()
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
                "scoring": scoring,
                "notices": self._notices(),
            },
            example_ids=tuple(self.images.ids[i] for i in examples),
            images=self.images.images[examples].numpy(),
            masks=None if self.images.masks is None else self.images.masks[examples].numpy(),
            true_classes=tuple(self._class_name(int(labels[i])) for i in examples),
            predicted_classes=tuple(self._class_name(int(self._predicted[i])) for i in examples),
        )

    def examples(self) -> list[int]:
        """The numbers of the images whose maps are kept, evenly spread."""
        count = len(self.images.ids)
        return sorted({round(i) for i in np.linspace(0, count - 1, min(count, EXAMPLES)).tolist()})

    def compared(self, rows: slice) -> slice:
        """Which of some images are scored in float32 too, where a lower precision is asked for: evenly spread."""
        stride = max(1, min(COMPARED, len(self.images.ids) // AT_LEAST))
        return slice(-rows.start % stride, None, stride)

    def batches(self, images: int) -> Iterator[slice]:
        """The images, so many at a time."""
        count = len(self.images.ids)
        for first in range(0, count, images):
            yield slice(first, min(first + images, count))

    def inputs(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Some images normalised, float32 [B,C,H,W], and their targets, int64 [B], on the device."""
        with phase("transfers"):
            return self._x(rows), self.targets(rows).to(self.plan.device, non_blocking=True)

    def targets(self, rows: slice) -> Tensor:
        """The logits that are explained for some images, int64 [B], on the CPU."""
        if self.plan.suite.target == "predicted":
            return self._predicted[rows]
        return self.labels(rows)

    def labels(self, rows: slice) -> Tensor:
        """The logits of the true classes of some images, int64 [B], on the CPU."""
        return self._logit_of_label[self.images.labels[rows]]

    def explanation(self, maps: Maps, x: Tensor, target: Tensor, rows: slice) -> tuple[Explanation, Tensor]:
        """Some images with their maps ranked, and the share of tied positions of each.

        A map that is no answer counts as one of zeros, so that nobody waits for which these are; see `Maps.valid`.
        """
        ids, device = self.images.ids[rows], x.device
        saliency = maps.saliency.where(maps.valid[:, None, None], 0)
        with phase("ranking"):
            ties = tie_breakers(ids, x.shape[2] * x.shape[3], self.plan.suite.seed).to(device, non_blocking=True)
            ranks, tied = rank(saliency, ties)
        with phase("transfers"):
            masks = None if self.images.masks is None else self.images.masks[rows].to(device, non_blocking=True)
            labels = self.labels(rows).to(device, non_blocking=True)
        return Explanation(self.model, x, target, labels, saliency, ranks, masks, ids), tied

    def _prepare_scoring(self, cells: list[Cell], *, halved: bool) -> dict[str, object]:
        """Makes the scoring copy; what was done, for the record.

        Args:
            cells: that will be scored.
            halved: whether the device has run out of memory already.
        """
        x = self._x(slice(0, PROVEN))
        precision = self.plan.precision
        self.scorer = prepare(self.model, x, precision)
        given = self.batch_size if halved or self.plan.batch_size is not None else None
        found = tune(self.scorer, x, self._passes(cells), given=given, wish=self.plan.compile)
        self.batch_size = self.model.batch_size = found.batch_size
        if precision != "fp32":
            self.exact = prepare(self.model, x)
        return self.scorer.record | asdict(found)

    def _passes(self, cells: list[Cell]) -> int:
        """About how many images the cells score."""
        width, grid = self.model.card.size, self.plan.suite.ceiling
        curves = [metric for metric in self.plan.metrics.values() if metric.plugin.curve]
        points = sum(metric.values.get("steps") or width for metric in curves)
        patches = 0 if isinstance(grid, str) else grid * grid
        search = 3 * patches * max(1, round(math.log2(max(1, patches))))  # of a ceiling, about
        return len(self.images.ids) * sum(search if cell.ceiling_of else points for cell in cells)

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
        lowered = self.scorer.record.get("precision", self.plan.precision)
        if lowered != self.plan.precision:
            notices.append(f"{self.label}: scores are computed in {lowered}.")
        return notices

    @torch.inference_mode()
    def _predict(self, images: int) -> Tensor:
        """The logit that is greatest for each image, int64 [N]."""
        logits = torch.cat([self.model(self._x(rows)).float() for rows in self.batches(images)]).cpu()
        if not bool(logits.isfinite().all()):
            raise ValueError("its logits are not all finite for the untouched images")
        return logits.argmax(1)

    def _x(self, rows: slice) -> Tensor:
        return self._normalised(rows).contiguous(memory_format=self._memory_format)

    def _normalised(self, rows: slice) -> Tensor:
        return normalise(self._pixels[rows].to(self.plan.device, non_blocking=True), self.model.card)

    def _class_name(self, logit: int) -> str:
        names = dict(zip(self.model.card.logit_of_label, self.plan.dataset.card.classes, strict=True))
        return names.get(logit, f"logit {logit}")


def fastest_format(model: Model, x: Tensor) -> torch.memory_format:
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
