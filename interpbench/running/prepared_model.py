"""One model of a run on the device, with its images, ready to explain and to be scored."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.attribute import Batch, Maps
from interpbench.attribution.examined_model import ExaminedModel
from interpbench.core.batch_size import BatchSize
from interpbench.core.time_spent import phase
from interpbench.core.types import UNKNOWN, Explanation, Model, normalise
from interpbench.fast.scoring_copy import Scorer, prepare
from interpbench.fast.tuning import tune
from interpbench.loading.images import ImageSet
from interpbench.results.cell_results import ModelResult
from interpbench.results.run_info import (
    CardRecord,
    FindingRecord,
    ModelRecord,
    RepairRecord,
    ScoringRecord,
)
from interpbench.running.plan import Plan
from interpbench.scoring.evaluate import EndPoints
from interpbench.scoring.ranking import rank, tie_breakers

EXAMPLES = 4  # images a model whose maps are kept for the pictures
COMPARED = 16  # one image in so many is compared with float32,
AT_LEAST = 8  # and this many at least, if there are so many
PROVEN = 8  # images whose logits the scoring copy must give too


class PreparedModel:
    """One model on the device, with its images.

    Attributes:
        plan, label: what is run, and the model's label in it.
        examined: the model as methods get it, and who watches over it.
        images: of the run, on the CPU.
        scorer: the copy that scores are read off; `exact` is one in float32 where that is of a
            lower precision.
        batch_size: images a forward pass.
        end_points: what is known of the ends of paths.
    """

    scorer: Scorer
    exact: Scorer | None = None

    def __init__(self, plan: Plan, label: str, images: ImageSet) -> None:
        self.plan = plan
        self.label = label
        self.images = images
        self.end_points = EndPoints()
        self._device = plan.computing.device
        self._pixels = images.images.pin_memory() if self._device.type == "cuda" else images.images
        model = plan.models[label][1].to(self._device)
        self.batch_size = model.batch_size
        x = self._normalised(slice(0, 2), model)
        self._fastest_format = fastest_format(model, x)
        self.examined = ExaminedModel.of(model, x, plan.suite.seed)
        logits = (*self.model.card.logit_of_label, UNKNOWN)  # the last is that of no label
        self._logit_of_label = torch.tensor(logits)
        self._predicted = torch.empty(0, dtype=torch.int64)

    @property
    def model(self) -> Model:
        """As methods get it."""
        return self.examined.model

    def measure(self) -> ModelResult:
        """Predictions for the untouched images; then the scoring copy is made."""
        batch_size = BatchSize(self.batch_size)
        self._predicted = batch_size.attempt(self._predict)
        self.batch_size = batch_size.images
        scoring = self._prepare_scoring(halved=batch_size.halved > 0)
        labels = self.labels(slice(None))
        right = (self._predicted == labels)[labels != UNKNOWN]
        examples = self.examples()
        record = ModelRecord(
            dataset=self.plan.dataset.card.name,
            model=self.label,
            card=CardRecord.of(self.model.card),
            weights=self.model.card.weights,
            accuracy=right.double().mean().item() if len(right) else None,
            accuracy_images=len(right),
            sample_ids=self.images.ids,
            pixels_sha256=self.images.sha256,
            skipped=self.images.skipped,
            findings=tuple(FindingRecord(**asdict(finding)) for finding in self.examined.findings),
            repairs=tuple(RepairRecord(**asdict(repair)) for repair in self.examined.repairs),
            scoring=scoring,
            notices=tuple(self._notices()),
            example_ids=tuple(self.images.ids[i] for i in examples),
            true_classes=tuple(self._class_name(int(labels[i])) for i in examples),
            predicted_classes=tuple(self._class_name(int(self._predicted[i])) for i in examples),
        )
        return ModelResult(
            record,
            images=self.images.pictures(examples),
            masks=None if self.images.masks is None else self.images.masks[examples].numpy(),
        )

    def forget(self) -> None:
        """Nothing counts any more that was computed for one cell and kept for the next."""
        self.model.shared.forget()
        self.end_points = EndPoints()

    def examples(self) -> list[int]:
        """The numbers of the images whose maps are kept, evenly spread."""
        count = len(self.images.ids)
        return sorted({round(i) for i in np.linspace(0, count - 1, min(count, EXAMPLES)).tolist()})

    def compared(self, rows: slice) -> slice:
        """Which images are scored in float32 too: evenly spread, under a lower precision."""
        stride = max(1, min(COMPARED, len(self.images.ids) // AT_LEAST))
        return slice(-rows.start % stride, None, stride)

    def batches(self, images: int) -> Iterator[slice]:
        """The images, so many at a time."""
        count = len(self.images.ids)
        for first in range(0, count, images):
            yield slice(first, min(first + images, count))

    def batch(self, rows: slice, *, gradients: bool) -> Batch:
        """Some images and their targets, on the device.

        Parameters:
            rows: which images.
            gradients: whether gradients will be asked for. The images are then contiguous: in
                another memory format sums are rounded otherwise, and where max pooling or a ReLU
                is at a tie, as on an area of one colour, the subgradient is another than that of
                an ordinary tensor. Whoever only calls the model gets its fastest format.
        """
        with phase("transfers"):
            target = self.targets(rows).to(self._device, non_blocking=True)
            x = self._normalised(rows, self.model) if gradients else self._fastest(rows)
            name = (rows.start, rows.stop, gradients)
            return Batch(x, target, self.images.ids[rows], name)

    def targets(self, rows: slice) -> Tensor:
        """The logits that are explained for some images, int64 [B], on the CPU."""
        if self.plan.suite.target == "predicted":
            return self._predicted[rows]
        return self.labels(rows)

    def labels(self, rows: slice) -> Tensor:
        """The logits of the true classes of some images, int64 [B], on the CPU.

        UNKNOWN where an image has no label.
        """
        return self._logit_of_label[self.images.labels[rows]]

    def explanation(self, maps: Maps, batch: Batch, rows: slice) -> tuple[Explanation, Tensor]:
        """Some images with their maps ranked, and the share of tied positions of each.

        A map that is no answer counts as one of zeros, so that nobody waits for which these are;
        see `Maps.valid`.
        """
        x, ids = batch.x.contiguous(memory_format=self._fastest_format), self.images.ids[rows]
        saliency = maps.saliency.where(maps.valid[:, None, None], 0)
        with phase("ranking"):
            ties = tie_breakers(ids, x.shape[2] * x.shape[3], self.plan.suite.seed).to(
                x.device, non_blocking=True
            )
            ranks, tied = rank(saliency, ties)
        with phase("transfers"):
            masks = (
                None
                if self.images.masks is None
                else self.images.masks[rows].to(x.device, non_blocking=True)
            )
            labels = self.labels(rows).to(x.device, non_blocking=True)
        return Explanation(self.model, x, batch.target, labels, saliency, ranks, masks, ids), tied

    def _prepare_scoring(self, *, halved: bool) -> ScoringRecord:
        """Makes the scoring copy; what was done, for the record.

        What is worth its while is judged by all cells of the model, so that a run that is resumed
        scores as it began.

        Parameters:
            halved: whether the device has run out of memory already.
        """
        cells = [cell for cell in self.plan.cells if cell.model == self.label]
        x, computing = self._fastest(slice(0, PROVEN)), self.plan.computing
        self.scorer = prepare(self.model, x, computing.precision)
        wished_batch_size = self.batch_size if halved or computing.batch_size is not None else None
        tuning = tune(
            self.scorer,
            x,
            self.plan.scored_images(cells),
            given=wished_batch_size,
            wish=computing.compile,
        )
        self.batch_size = self.model.batch_size = tuning.batch_size
        if computing.precision != "fp32":
            self.exact = prepare(self.model, x)
        report = {
            name: value for name, value in asdict(self.scorer.report).items() if value is not None
        }
        return ScoringRecord(**report, **asdict(tuning))

    def _notices(self) -> list[str]:
        """Which of the run's methods cannot be trusted on the model, and why."""
        run = [
            cell.method
            for cell in self.plan.cells
            if cell.model == self.label and not cell.ceiling_of
        ]
        methods = {label: self.plan.methods[label] for label in run}
        notices = [
            f"{self.label}: {notice} See `python -m interpbench doctor`."
            for notice in self.examined.notices(methods)
        ]
        if self.images.shown:
            notices.append(f"{self.plan.dataset.card.name}: {self.images.shown}.")
        if self.images.too_dark:
            notices.append(self.images.too_dark)
        precision = self.plan.computing.precision
        lowered = self.scorer.report.precision or precision
        if lowered != precision:
            notices.append(f"{self.label}: scores are computed in {lowered}.")
        return notices

    @torch.inference_mode()
    def _predict(self, images: int) -> Tensor:
        """The logit that is greatest for each image, int64 [N]."""
        logits = torch.cat(
            [self.model(self._fastest(rows)).float() for rows in self.batches(images)]
        ).cpu()
        if not bool(logits.isfinite().all()):
            raise ValueError("its logits are not all finite for the untouched images")
        return logits.argmax(1)

    def _fastest(self, rows: slice) -> Tensor:
        return self._normalised(rows, self.model).contiguous(memory_format=self._fastest_format)

    def _normalised(self, rows: slice, model: Model) -> Tensor:
        return normalise(
            self._pixels[rows].to(self._device, non_blocking=True), model.card.preparation
        )

    def _class_name(self, logit: int) -> str:
        names = dict(
            zip(self.model.card.logit_of_label, self.plan.dataset.card.classes, strict=True)
        )
        return "" if logit == UNKNOWN else names.get(logit, f"logit {logit}")


@torch.inference_mode()
def fastest_format(model: Model, x: Tensor) -> torch.memory_format:
    """`channels_last`, if the model takes such images and gives the same logits.

    A network that calls `view` does not. Forward passes are then cheaper, on a CPU by a tenth to a
    third, and equal but for rounding.
    """
    try:
        expected = model(x)
        found = model(x.contiguous(memory_format=torch.channels_last))
    except Exception:  # the model's own faults show when it is measured
        return torch.contiguous_format
    same = torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    return torch.channels_last if same else torch.contiguous_format
