"""Whether a submission is true: some of its images are scored again.

They are explained and scored from their names alone. No code of the submission is run, for it has
none: its methods are those of that name that are installed here or that the user gives. Its record
is made again as `publish` would make it here, and compared field by field; what a score may differ
by follows from the plugins here, not from what the record says of them.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from interpbench.core.devices import Computing, describe
from interpbench.core.errors import ParameterError, SubmissionError
from interpbench.core.seeding import shuffled
from interpbench.publish.hearsay import differences
from interpbench.publish.integrity import faults
from interpbench.publish.last_bits import moved_by_last_bits
from interpbench.publish.run_record import Signed, record_of
from interpbench.publish.submission import (
    KEY,
    CellOf,
    Submission,
    SubmissionRecord,
    read_submission,
)
from interpbench.publish.suite_leaderboard import RARE, same_kind, tolerance
from interpbench.registry.choosing import ALL, Sources
from interpbench.registry.discovery import discover
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs
from interpbench.results.cell_results import ModelResult
from interpbench.results.run_info import CellRecord, ModelRecord
from interpbench.running.plan import Plan, make_plan
from interpbench.running.record import begun
from interpbench.running.runner import run_cells, shown_pixels
from interpbench.suite.cells import SCORE_COLUMNS
from interpbench.suite.selection import Selection
from interpbench.suite.suite import Suite, load_suite

COMPARED = [*KEY, "published", "found", "difference", "tolerance", "wrong", "agrees"]
TIED = 0.01  # how far two shares of tied positions may be apart, on one kind of device
_SCORE, _TIES = "its score", "its share of ties"
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Verification:
    """What came of it.

    Attributes:
        submission: that was verified.
        faults: what is wrong besides single scores: hashes, and whatever field of the record is not
            what it is here.
        compared: one row per score that was made again: model, method, metric, sample_id,
            published, found, difference, tolerance, wrong, agrees. A score that only one side has
            is NaN on the other, and does not agree; `wrong` says what does not, or is empty.
        images: how many were scored again, of how many.
        seed: which chose them.
        device, precision: of the scoring here.
    """

    submission: Submission
    faults: list[str]
    compared: pd.DataFrame
    images: tuple[int, int]
    seed: int
    device: str
    precision: str

    @property
    def holds(self) -> bool:
        """Whether nothing was found against it."""
        return not self.faults and bool(self.compared["agrees"].all())


def verify(
    folder: str | Path,
    *,
    part: float = 0.05,
    seed: int | None = None,
    suite: str | None = None,
    plugin: Sequence[str | Path] = (),
    device: str = "auto",
    sources: Sources = Sources(),
    progress: Progress = lambda what: None,
) -> Verification:
    """Scores a random part of a submission again, with every method on the same images.

    Parameters:
        folder: of the submission.
        part: of the images, in 0..1; one at least.
        seed: that chooses them; by default a new one each time, so that nobody can know beforehand.
        suite: the file of the suite, where it is not a bundled one.
        plugin: files or folders with plugins, besides what is installed.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        sources: of the data, and of weights where the suite's models have none of their own.
        progress: told which cell was scored.

    Raises:
        SubmissionError: if it cannot be read.
        InterpBenchError: if a plugin, data or weights that it names are missing here.
    """
    if not 0 < part <= 1:
        raise ParameterError(
            f"part={part:g}: expected a share of the images, more than 0 and at most 1."
        )
    submission = read_submission(Path(folder))
    chosen = load_suite(suite or submission.record.suite.name)
    wrong = faults(submission, Path(folder), chosen)
    registry = discover(list(plugin))
    _refuse_unknown_methods(submission, registry)
    computing = Computing.of(device, submission.record.precision)
    plan = make_plan(_selection(submission, chosen), registry, computing, sources)
    seed = secrets.randbelow(2**31) if seed is None else seed
    part_of_plan = _part(plan, part, seed)
    made = _Made.of(part_of_plan, progress)
    here = _record_here(submission.record, plan, made, whole=part_of_plan.indices == plan.indices)
    wrong += differences(submission.record, here)
    compared = _compared(submission, made, part_of_plan)
    compared = _excused(compared, part_of_plan)
    return Verification(
        submission,
        [*wrong, *_mean_faults(compared)],
        compared=compared[COMPARED],
        images=(len(part_of_plan.indices), len(submission.record.data.samples)),
        seed=seed,
        device=describe(computing.device),
        precision=computing.precision,
    )


def _refuse_unknown_methods(submission: Submission, registry: Registry) -> None:
    record = submission.record
    written = [name for name, _ in parse_specs(record.settings.methods) if name != ALL]
    for name in (*record.methods, *written):
        if name.partition(":")[0] not in registry.names("method"):
            raise SubmissionError(
                f"Method {name!r} of this submission is not installed here, and no code is taken "
                "from a submission. Get its plugin from its author, read it, and give it with "
                "--plugin FILE."
            )


def _selection(submission: Submission, suite: Suite) -> Selection:
    """The suite's own data, models and metrics, as far as the submission ran them.

    And the methods of the submission. Whatever else the submission says is not acted upon: a
    stranger's file must not name a model that is code. Where it ran `all` methods, these are the
    ones that it lists, for others may be installed here.
    """
    record = submission.record
    everything = ALL in (name for name, _ in parse_specs(record.settings.methods))
    chosen = {
        "models": [model for model in record.settings.models if model in suite.models],
        "metrics": [metric for metric in record.settings.metrics if metric in suite.metrics],
        "methods": sorted(record.methods) if everything else record.settings.methods,
    }
    return Selection(suite.changed(chosen))


def _part(plan: Plan, part: float, seed: int) -> Plan:
    """The plan for some of its images."""
    ids = [plan.dataset.ids[i] for i in plan.indices]
    count = max(1, round(part * len(ids)))
    return replace(plan, indices=[plan.indices[i] for i in sorted(shuffled(ids, seed)[:count])])


@dataclass(frozen=True, eq=False)
class _Made:
    """What a plan gives here: of its models and of its cells, and all scores."""

    models: list[ModelRecord]
    cells: list[CellRecord]
    scores: pd.DataFrame

    @classmethod
    def of(cls, plan: Plan, progress: Progress) -> "_Made":
        models, cells, frames = [], [], [pd.DataFrame(columns=SCORE_COLUMNS)]
        for result in run_cells(plan):
            if isinstance(result, ModelResult):
                models.append(result.record)
                continue
            progress(f"{result.record.method} on {result.record.model}")
            cells.append(result.record)
            frames.append(result.scores)
        filled = [frame for frame in frames if len(frame)]
        scores = pd.concat(filled, ignore_index=True) if filled else frames[0]
        return cls(models, cells, scores)


def _record_here(
    theirs: SubmissionRecord, plan: Plan, made: _Made, *, whole: bool
) -> SubmissionRecord:
    """The record that `publish` would write here, but for what is hearsay.

    Parameters:
        theirs: the record that was published.
        plan: for all images.
        made: what was made here.
        whole: whether it was made of all images. If not, accuracies and what became of the cells
            are taken over as well; what they count is then compared row by row.
    """
    info = begun(plan)
    settings = plan.suite.changed({"methods": theirs.settings.methods})
    pixels = shown_pixels(plan)
    models = [
        _seen_whole(model, theirs, whole).model_copy(update={"pixels_sha256": pixels[model.model]})
        for model in made.models
    ]
    published = {(cell.model, cell.method): cell for cell in theirs.cells}
    cells = [
        _as_published(cell, published.get((cell.model, cell.method)), whole) for cell in made.cells
    ]
    return record_of(
        info.model_copy(update={"settings": settings, "finished": info.started}),
        models,
        cells,
        Signed.of(theirs),
    )


def _seen_whole(model: ModelRecord, theirs: SubmissionRecord, whole: bool) -> ModelRecord:
    published = theirs.models.get(model.model)
    if whole or published is None:
        return model
    return model.model_copy(
        update={"accuracy": published.accuracy, "accuracy_images": published.accuracy_images}
    )


def _as_published(cell: CellRecord, published: CellOf | None, whole: bool) -> CellRecord:
    """A cell made here, with what of it cannot be compared as it was published."""
    if published is None:
        return cell
    taken = ["reason"] if whole else ["status", "reason", "images", "constant", "nonfinite"]
    if whole and (cell.status, published.status) != ("failed", "failed"):
        taken = []
    update = {name: getattr(published, name) for name in taken}
    return cell.model_copy(update={**update, "signed": _signed(cell, published)})


def _signed(made: CellRecord, published: CellOf) -> int | None:
    """How many maps of a cell are signed: as published, or the nearest number that can be.

    Of some images' maps, made here, follow the least and the greatest number among all.
    """
    if published.signed is None or made.signed is None:
        return None
    unsigned = made.images - made.constant - made.nonfinite - made.signed
    return max(made.signed, min(published.signed, published.valid - unsigned))


def _compared(submission: Submission, made: _Made, plan: Plan) -> pd.DataFrame:
    """Both sides' rows of the plan's images, with what each may differ by, and what is wrong."""
    ids = [plan.dataset.ids[i] for i in plan.indices]
    parts = (submission.scores, submission.ceilings)
    published = pd.concat([rows[rows["sample_id"].isin(ids)] for rows in parts])
    published = published.astype(dict.fromkeys(KEY, str))
    merged = published.merge(made.scores, on=KEY, how="outer", suffixes=("", "_found"))
    merged = merged.rename(columns={"value": "published", "value_found": "found"})
    devices = (submission.record.device, describe(plan.computing.device))
    scales = {label: choice.plugin.scale(choice.values) for label, choice in plan.metrics.items()}
    exact = {label: tolerance(scale.range, *devices) for label, scale in scales.items()}
    rounding = _rounding(submission, made)
    merged["exact"] = merged["metric"].map(exact).fillna(0.0)
    merged["rounding"] = [
        rounding.get(key, 0.0) for key in zip(merged["model"], merged["metric"], strict=True)
    ]
    merged["tolerance"] = merged["exact"] + merged["rounding"]
    merged["difference"] = (merged["published"] - merged["found"]).abs()
    merged["tied_tolerance"] = TIED if same_kind(*devices) else 1.0
    merged["wrong"] = _wrong(merged)
    merged["agrees"] = merged["wrong"] == ""
    return merged.sort_values(KEY, ignore_index=True)


def _excused(compared: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The rows with more tolerance where a map's score hangs on the last bits of a sum.

    Only where few rows are wrong, one in twenty: where many are, it is not for their last bits.
    """
    wrong = compared[compared["wrong"].isin([_SCORE, _TIES])]
    if not 0 < len(wrong) <= max(1, RARE * len(compared)):
        return compared
    moved = moved_by_last_bits(plan, wrong, KEY)
    excused = compared.copy()
    for column in ("rounding", "tolerance"):
        excused.loc[wrong.index, column] += moved["score"]
    excused.loc[wrong.index, "tied_tolerance"] += moved["ties"]
    excused["wrong"] = _wrong(excused)
    excused["agrees"] = excused["wrong"] == ""
    return excused


def _wrong(merged: pd.DataFrame) -> np.ndarray:
    """What of each row is not what was found, in words, or an empty text."""
    both = merged["target"].notna() & merged["target_found"].notna()
    of_same_class = (merged["target"] == merged["target_found"]) & (
        merged["label"] == merged["label_found"]
    )
    undefined = merged["published"].isna() & merged["found"].isna()
    same = (merged["difference"] <= merged["tolerance"]) | undefined
    tied_apart = (merged["tied"] - merged["tied_found"]).abs()
    problems = {
        "only one side has it": ~both,
        "its class": ~of_same_class,
        _SCORE: ~same,
        _TIES: ~(tied_apart <= merged["tied_tolerance"]),
    }
    return np.select(list(problems.values()), list(problems), default="").astype(object)


def _rounding(submission: Submission, made: _Made) -> dict[tuple[str, str], float]:
    """(model, metric) -> how far scores of half precision may be apart besides; empty in float32.

    Twice the greatest difference from float32 that is found here: either side may be so far from
    it.

    Raises:
        SubmissionError: if the precision does not work here.
    """
    precision = submission.record.precision
    if precision == "fp32":
        return {}
    for model in made.models:
        if model.scoring is not None and model.scoring.precision != precision:
            raise SubmissionError(
                f"The submission was scored in {precision}, which does not work here on "
                f"{model.model} ({model.scoring.precision}). Verify it on another --device."
            )
    greatest: dict[tuple[str, str], float] = defaultdict(float)
    for cell in made.cells:
        for metric, effect in cell.precision_effect.items():
            key = (cell.model, metric)
            greatest[key] = max(greatest[key], 2 * effect.greatest_difference)
    return dict(greatest)


def _mean_faults(compared: pd.DataFrame) -> Iterator[str]:
    """Methods all of whose scores are moved a little, each within its tolerance.

    What rounding does to scores has no direction, so that means agree better than scores do: by the
    root of the number of images.
    """
    both = compared.dropna(subset=["published", "found"])
    for (model, method, metric), rows in both.groupby(KEY[:3]):
        off = abs((rows["published"] - rows["found"]).mean())
        allowed = rows["exact"].iloc[0] / np.sqrt(len(rows)) + rows["rounding"].mean()
        if off > allowed and rows["agrees"].all():
            yield (
                f"{metric} of {method} on {model} is off by {off:.2g} in the mean of {len(rows)} "
                f"images, {allowed:.2g} is allowed: its scores were moved together"
            )
