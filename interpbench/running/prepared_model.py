"""One model of a run on its device: what is measured and decided of it once, for all its blocks."""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from interpbench.attribution.attribute import Maps
from interpbench.attribution.examined_model import ExaminedModel
from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import RunFolderError
from interpbench.core.types import UNKNOWN, Model, normalise
from interpbench.fast.method_copies import stand_ins
from interpbench.fast.scoring_copy import Scorer, prepare
from interpbench.fast.tuning import tune
from interpbench.loading.class_names import class_names
from interpbench.loading.images import (
    ImageSet,
    choose,
    kept_in_words,
    load_images,
    refuse_none,
    too_dark,
)
from interpbench.registry.plugin import blaming
from interpbench.results.cell_results import ModelResult
from interpbench.results.run_info import (
    CardRecord,
    FindingRecord,
    ModelRecord,
    RepairRecord,
    ScoringRecord,
)
from interpbench.running.blocks import Block, block_size, blocks
from interpbench.running.examples import one_a_class
from interpbench.running.image_block import ImageBlock
from interpbench.running.image_stream import ImageStream
from interpbench.running.plan import Plan
from interpbench.scoring.evaluate import EndPoints, Passes, know_end_points
from interpbench.scoring.shared_results import SharedResults

PROVEN = 8  # images whose logits the scoring copy must give too
REFERENCE = 32  # images that stand for the data


@dataclass
class _Seen:
    """What was seen of all the images, a block at a time.

    Attributes:
        ids: of those that could be read; `skipped` says of the others why not.
        labels, predicted: logits, int64, of each block.
        pixels: sha256 of each block.
        brightest: value of all, as a share of what their type can hold.
        shown: which channels pictures show.
        kept: how many were neither resized nor cropped where others would be.
    """

    ids: list[str] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    pixels: list[str] = field(default_factory=list)
    brightest: float = 0.0
    shown: str = ""
    kept: int = 0

    def take(self, part: ImageBlock, predicted: Tensor) -> None:
        images = part.images
        self.ids += images.ids
        self.labels.append(part.labels(slice(None)))
        self.predicted.append(predicted)
        self.pixels.append(images.sha256)
        self.skipped |= images.skipped
        self.kept += images.kept
        if images.ids:
            self.brightest = max(self.brightest, images.brightest)
            self.shown = images.shown


class PreparedModel:
    """One model on the device.

    Attributes:
        plan, label: what is run, and the model's label in it.
        examined: the model as methods get it, and who watches over it.
        probe: the first images, which are asked about whenever a model has to answer for itself.
        scorer: the copy that scores are read off; `exact` is one in float32 where that is of a
            lower precision.
        in_domain: such a copy, in float32, of the twin that metrics may ask; None without any.
        maps_are_in: the precision of passes of methods that only call the model, or why it is not
            the one that was asked for.
        batch_size: images a forward pass.
        end_points: what is known of the ends of paths.
        shared: what metrics computed of the images or of the model alone.
        result: what was measured.
    """

    scorer: Scorer
    exact: Scorer | None = None
    in_domain: Scorer | None = None
    maps_are_in: str = "fp32"
    result: ModelResult

    def __init__(
        self, plan: Plan, label: str, stream: ImageStream, decided: ModelResult | None = None
    ) -> None:
        """The model, measured unless it has been before.

        Parameters:
            plan, label: what is run, and which of its models.
            stream: the plan's images.
            decided: what was measured and decided where the run began, if not here.

        Raises:
            DataError: if no image can be read.
        """
        self.plan = plan
        self.label = label
        self._stream = stream
        self._block_size = 0 if decided is None else decided.record.block_size
        model = plan.models[label][1].to(plan.computing.device)
        self.batch_size = model.batch_size
        first = self._first_images(model)
        self._fastest_format = fastest_format(model, first.contiguous(slice(0, 2)))
        self.examined = ExaminedModel.of(model, first.contiguous(slice(0, 2)), plan.suite.seed)
        self.probe = self._block(first.block, first.images)
        scoring = self._prepare_scoring(decided)
        self.result = decided or self._measure(scoring)
        names = self.result.record.sample_ids
        self._predicted = dict(zip(names, self.result.predicted.tolist(), strict=True))
        self.probe.predict_as(self._predicted)
        self.forget()
        self._examples = frozenset(self.result.record.example_ids)

    @property
    def model(self) -> Model:
        """As methods get it."""
        return self.examined.model

    def blocks(self) -> list[Block]:
        """The plan's images cut into blocks."""
        size = self._block_size or block_size(self.batch_size, self.plan.computing.block_size)
        return blocks(len(self.plan.indices), size)

    def open(self, block: Block, following: Block | None = None) -> ImageBlock:
        """The images of a block, as methods and metrics get them.

        Parameters:
            block: which.
            following: whose images are decoded meanwhile.

        Raises:
            RunFolderError: if these are not the images that the model was measured on.
        """
        framing, record = self.model.card.preparation.framing, self.result.record
        images = self._stream.part(framing, block.first, block.last)
        if following is not None:
            self._stream.begin(framing, following.first, following.last)
        skipped = {name: why for name, why in record.skipped.items() if name in self._ids(block)}
        if images.sha256 != record.pixels_of_blocks[block.number] or images.skipped != skipped:
            raise RunFolderError(
                f"The images are not those that {self.label!r} saw when its finished cells were "
                "computed: the files have changed, or are read otherwise. Bring them back, or "
                "start afresh with --overwrite or another --output."
            )
        self.forget()
        return self._block(block, images).predict_as(self._predicted)

    def forget(self) -> None:
        """Nothing counts any more that was computed for one cell and kept for the next."""
        self.model.shared.forget()
        self.end_points = EndPoints()
        self.shared = SharedResults()
        self._known: set[tuple[str, ...]] = set()

    def know_end_points(self, images: ImageBlock, rows: slice) -> None:
        """Finds out what the ends of paths are for some images, unless it is known.

        For all metrics at once, so that it does not depend on which cell comes first.
        """
        ids = images.images.ids[rows]
        if ids not in self._known:
            self._known.add(ids)
            batch = images.batch(rows, gradients=False)
            some = Maps.of_search(batch.x.abs().sum(1))
            explanation, _ = images.explanation(some, batch, rows)
            passes = self.passes(BatchSize(self.batch_size))
            know_end_points(self.plan.metrics, explanation, passes)

    def passes(self, batch_size: BatchSize) -> Passes:
        """How scores are read off the model."""
        return Passes(
            scorer=self.scorer,
            exact=self.exact,
            batch_size=batch_size,
            end_points=self.end_points,
            watching=lambda: self.examined.guard.watching(self.plan.suite.seed),
            shared=self.shared,
            reference=lambda: self.reference,
            in_domain=self.in_domain,
        )

    @cached_property
    def reference(self) -> Tensor:
        """Images that stand for the data, float32 [R,C,H,W], see `Inputs.reference`.

        Of the whole data set, so that a score stays the same when more or fewer images, a shard, or
        an image alone is scored.

        Raises:
            DataError: if none of them can be read.
        """
        dataset, framing = self.plan.dataset, self.model.card.preparation.framing
        indices = choose(dataset, min(REFERENCE, len(dataset.ids)), self.plan.suite.seed)
        with blaming(self.plan.dataset_choice):
            images = load_images(dataset, indices, framing)
        pixels = images.images.to(self.plan.computing.device)
        return normalise(pixels, self.model.card.preparation)

    def is_example(self, sample_id: str) -> bool:
        """Whether an image's maps are kept for the pictures."""
        return sample_id in self._examples

    def _block(self, block: Block, images: ImageSet) -> ImageBlock:
        return ImageBlock(self.plan, self.model, block, images, self._fastest_format)

    def _ids(self, block: Block) -> set[str]:
        return {self.plan.dataset.ids[i] for i in block.of(self.plan.indices)}

    def _first_images(self, model: Model) -> ImageBlock:
        """The first images that can be read, `PROVEN` of them at most."""
        framing, skipped = model.card.preparation.framing, dict[str, str]()
        for block in self.blocks():
            images = self._stream.part(framing, block.first, block.last)
            if images.ids:
                few = replace(
                    images,
                    ids=images.ids[:PROVEN],
                    images=images.images[:PROVEN],
                    labels=images.labels[:PROVEN],
                    masks=None if images.masks is None else images.masks[:PROVEN],
                )
                return ImageBlock(self.plan, model, block, few, torch.contiguous_format)
            skipped |= images.skipped
        refuse_none(self.plan.dataset, 0, skipped)
        raise AssertionError("unreachable")

    def _measure(self, scoring: ScoringRecord) -> ModelResult:
        """Predictions for the untouched images, and all that is recorded of the model."""
        batch_size = BatchSize(self.batch_size)
        seen = batch_size.attempt(self._see)
        if batch_size.halved:
            scoring = scoring.model_copy(update={"batch_size": self.batch_size})
        self.model.batch_size = self.batch_size
        refuse_none(self.plan.dataset, len(seen.ids), seen.skipped)
        labels, predicted = torch.cat(seen.labels), torch.cat(seen.predicted)
        right = (predicted == labels)[labels != UNKNOWN]
        numbers = one_a_class(labels.tolist())
        places = {self.plan.dataset.ids[i]: i for i in self.plan.indices}
        framing = self.model.card.preparation.framing
        examples = load_images(self.plan.dataset, [places[seen.ids[i]] for i in numbers], framing)
        record = ModelRecord(
            dataset=self.plan.dataset.card.name,
            model=self.label,
            card=CardRecord.of(self.model.card),
            weights=self.model.card.weights,
            accuracy=right.double().mean().item() if len(right) else None,
            accuracy_images=len(right),
            sample_ids=tuple(seen.ids),
            pixels_sha256=self._stream.sha256[framing],
            block_size=block_size(self.batch_size, self.plan.computing.block_size),
            pixels_of_blocks=tuple(seen.pixels),
            skipped=seen.skipped,
            findings=tuple(FindingRecord(**asdict(finding)) for finding in self.examined.findings),
            repairs=tuple(RepairRecord(**asdict(repair)) for repair in self.examined.repairs),
            scoring=scoring,
            notices=tuple(self._notices(seen)),
            example_ids=tuple(seen.ids[i] for i in numbers),
            true_classes=self._names(labels[numbers]),
            predicted_classes=self._names(predicted[numbers]),
        )
        return ModelResult(
            record,
            images=examples.pictures(),
            masks=None if examples.masks is None else examples.masks.numpy(),
            predicted=predicted.numpy(),
        )

    def _see(self, batch_size: int) -> _Seen:
        """All images once, so many a forward pass."""
        self.batch_size = batch_size
        framing, seen = self.model.card.preparation.framing, _Seen()
        several = len(self.blocks()) > 1  # of one, the pixels' hash is that of all
        unknown = framing not in self._stream.sha256
        pixels = hashlib.sha256() if several and unknown else None
        for block in self.blocks():
            images = self._stream.part(framing, block.first, block.last, pixels)
            part = self._block(block, images)
            seen.take(part, self._predict(part))
        if unknown:
            self._stream.sha256[framing] = pixels.hexdigest() if pixels else images.sha256
        return seen

    def _prepare_scoring(self, decided: ModelResult | None) -> ScoringRecord:
        """Makes the scoring copy; what was done, for the record.

        What is worth its while is judged by all cells of the model, and once for a run: where it
        was decided before, it is done again.
        """
        cells = self.plan.cells_of(self.label)
        x, computing = self.probe.fastest(slice(0, PROVEN)), self.plan.computing
        self.scorer = prepare(self.model, x, computing.precision)
        given = self.batch_size if computing.batch_size is not None else None
        wish = computing.compile
        if decided is not None and decided.record.scoring is not None:
            given = decided.record.scoring.batch_size
            wish = "always" if decided.record.scoring.is_compiled else "never"
        tuning = tune(self.scorer, x, self.plan.scored_images(cells), given=given, wish=wish)
        self.batch_size = self.model.batch_size = tuning.batch_size
        if computing.precision != "fp32":
            self.exact = prepare(self.model, x)
        if self.label in self.plan.in_domain:
            self.in_domain = prepare(self.plan.in_domain[self.label].to(computing.device), x)
        report = {
            name: value for name, value in asdict(self.scorer.report).items() if value is not None
        }
        before = decided.record.scoring if decided is not None else None
        gradients = self._give_stand_ins(x, before.gradients if before is not None else "")
        return ScoringRecord(**report, **asdict(tuning), gradients=gradients)

    def _give_stand_ins(self, x: Tensor, decided: str) -> str:
        """Lets copies answer for the model as long as methods only call it.

        Parameters:
            x: the first images, as the scoring copy likes them.
            decided: where gradients come from, if that was decided before.

        Returns:
            Where gradients come from.
        """
        contiguous, wish = self.probe.contiguous(slice(0, PROVEN)), self.plan.computing
        exact = self.exact or self.scorer
        if wish.map_precision == "fp32":
            self.examined.stand_ins, gradients = stand_ins(
                self.model, exact, contiguous, x, decided
            )
            return gradients
        lower = self.scorer
        if wish.precision != wish.map_precision:
            lower = prepare(self.model, x, wish.map_precision)
        self.maps_are_in = lower.report.precision or wish.map_precision
        self.examined.stand_ins, gradients = stand_ins(self.model, lower, contiguous, x, decided)
        self.examined.in_float32, _ = stand_ins(self.model, exact, contiguous, x)
        return gradients

    def _notices(self, seen: _Seen) -> list[str]:
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
        if seen.shown:
            notices.append(f"{self.plan.dataset.card.name}: {seen.shown}.")
        framing = self.model.card.preparation.framing
        if kept := kept_in_words(seen.kept, len(seen.ids), framing):
            notices.append(f"{self.label}: {kept}")
        if dark := too_dark(seen.brightest):
            notices.append(dark)
        precision = self.plan.computing.precision
        lowered = self.scorer.report.precision or precision
        if lowered != precision:
            notices.append(f"{self.label}: scores are computed in {lowered}.")
        if self.maps_are_in != self.plan.computing.map_precision:
            notices.append(f"{self.label}: maps are computed in {self.maps_are_in}.")
        return notices

    @torch.inference_mode()
    def _predict(self, part: ImageBlock) -> Tensor:
        """The logit that is greatest for each image, int64 [N]."""
        predicted = [torch.zeros(0, dtype=torch.int64)]
        for rows in part.batches(self.batch_size):
            logits = self.model(part.fastest(rows)).float().cpu()
            if not bool(logits.isfinite().all()):
                raise ValueError("its logits are not all finite for the untouched images")
            predicted.append(logits.argmax(1))
        return torch.cat(predicted)

    def _names(self, logits: Tensor) -> tuple[str, ...]:
        """What the classes of some logits are called; "" where no logit is known."""
        names = class_names(self.plan.models[self.label][0], self.model, self.plan.dataset.card)
        return tuple("" if logit == UNKNOWN else names[logit] for logit in logits.tolist())


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
