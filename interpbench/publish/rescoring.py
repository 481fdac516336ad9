"""Whether a submission's scores are true: some of its images are scored again.

They are explained and scored from their names alone. No code of the submission is run, for it has
none: its methods are those of that name that are installed here or that the user gives.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from interpbench.core.devices import Computing, describe
from interpbench.core.errors import ParameterError, SubmissionError
from interpbench.core.seeding import shuffled
from interpbench.publish.integrity import faults
from interpbench.publish.submission import Submission, read_submission
from interpbench.publish.suite_leaderboard import tolerance
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.registry.registry import Registry
from interpbench.results.cell_results import ModelResult
from interpbench.running.plan import Plan, make_plan
from interpbench.running.runner import run_cells
from interpbench.suite.selection import Selection
from interpbench.suite.suite import Suite, load_suite

KEY = ["model", "method", "metric", "sample_id"]
Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Verification:
    """What came of it.

    Attributes:
        submission: that was verified.
        faults: what is wrong without any scoring: hashes, plugins, data, weights, protocols.
        compared: one row per score that was made again: model, method, metric, sample_id,
            published, found, difference, tolerance, agrees. A score that only one side has is NaN
            on the other, and does not agree.
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
    wrong += _differences_here(submission, plan)
    seed = secrets.randbelow(2**31) if seed is None else seed
    plan = _part(plan, part, seed)
    return Verification(
        submission,
        wrong,
        compared=_compared(submission, _scores(plan, progress), plan),
        images=(len(plan.indices), len(submission.record.data.samples)),
        seed=seed,
        device=describe(computing.device),
        precision=computing.precision,
    )


def _refuse_unknown_methods(submission: Submission, registry: Registry) -> None:
    for name in submission.record.methods:
        if name.partition(":")[0] not in registry.names("method"):
            raise SubmissionError(
                f"Method {name!r} of this submission is not installed here, and no code is taken "
                "from a submission. Get its plugin from its author, read it, and give it with "
                "--plugin FILE."
            )


def _selection(submission: Submission, suite: Suite) -> Selection:
    """The suite's own data, models and metrics, as far as the submission ran them.

    And the methods of the submission. Whatever else the submission says is not acted upon: a
    stranger's file must not name a model that is code.
    """
    settings = submission.record.settings
    chosen = {
        "models": [model for model in suite.models if model in settings.models],
        "metrics": [metric for metric in suite.metrics if metric in settings.metrics],
        "methods": sorted(submission.record.methods),
    }
    return Selection(suite.changed(chosen))


def _differences_here(submission: Submission, plan: Plan) -> Iterator[str]:
    """What the submission was made with that is not the same here."""
    record = submission.record
    if record.data.revision != plan.dataset.card.revision:
        yield f"its data are {record.data.revision!r}; here they are {plan.dataset.card.revision!r}"
    elif list(record.data.samples) != [plan.dataset.ids[i] for i in plan.indices]:
        yield "its images are not those that the suite chooses"
    for label, (choice, model) in plan.models.items():
        theirs = record.models.get(label)
        if theirs is None:
            continue
        if theirs.weights_sha256 != model.card.weights_sha256:
            yield f"{label} has other weights here"
        if theirs.prepared_otherwise(model.card.preparation.text):
            yield (
                f"{label} got its images prepared otherwise: {theirs.preparation}; here "
                f"{model.card.preparation.text}"
            )
        if (theirs.outputs or "softmax") != model.card.outputs:
            yield (
                f"{label} has its answers read as {theirs.outputs or 'softmax'}; here as "
                f"{model.card.outputs}"
            )
        if theirs.source_hash != choice.plugin.source_hash:
            yield f"model {label} has another source here"
    for label, configured in plan.methods.items():
        if label not in record.methods:
            yield f"it does not list {label} under that name"
        elif record.methods[label].source_hash != configured.plugin.source_hash:
            yield (
                f"method {label} has another source here: it was changed after the run, or is "
                "another plugin"
            )
        elif record.methods[label].parameters != configured.parameters_json:
            yield f"method {label} has the parameters {configured.parameters_json} here"
    for label, protocol in plan.protocols.items():
        if label in record.metrics and record.metrics[label].protocol != protocol.hash:
            yield (
                f"{label} has protocol {record.metrics[label].protocol}; here it is {protocol.hash}"
            )


def _part(plan: Plan, part: float, seed: int) -> Plan:
    """The plan for some of its images."""
    ids = [plan.dataset.ids[i] for i in plan.indices]
    count = max(1, round(part * len(ids)))
    return replace(plan, indices=[plan.indices[i] for i in sorted(shuffled(ids, seed)[:count])])


def _scores(plan: Plan, progress: Progress) -> pd.DataFrame:
    """All cells of the plan; those that fail have no scores."""
    frames = []
    for result in run_cells(plan):
        if isinstance(result, ModelResult):
            continue
        progress(f"{result.record.method} on {result.record.model}")
        frames.append(result.scores)
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)


def _compared(submission: Submission, rescored: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    ids = [plan.dataset.ids[i] for i in plan.indices]
    published = pd.concat([submission.scores, submission.ceilings])
    published = published[published["sample_id"].isin(ids)]
    merged = published.merge(rescored, on=KEY, how="outer", suffixes=("", "_found"))
    merged = merged.rename(columns={"value": "published", "value_found": "found"})
    allowed = {m: _tolerance(submission, m, plan) for m in submission.record.metrics}
    merged["tolerance"] = merged["metric"].map(allowed).fillna(0.0)
    merged["difference"] = (merged["published"] - merged["found"]).abs()
    same = merged["difference"] <= merged["tolerance"]
    undefined = (
        merged["published"].isna()
        & merged["found"].isna()
        & merged["target"].notna()
        & merged["target_found"].notna()
    )
    of_same_class = (merged["target"] == merged["target_found"]) & (
        merged["label"] == merged["label_found"]
    )
    merged["agrees"] = (same | undefined) & of_same_class
    return merged[[*KEY, "published", "found", "difference", "tolerance", "agrees"]].sort_values(
        KEY, ignore_index=True
    )


def _tolerance(submission: Submission, metric: str, plan: Plan) -> float:
    here = submission.record.model_copy(
        update={"device": describe(plan.computing.device), "precision": plan.computing.precision}
    )
    submissions = (submission, Submission(here, submission.scores, submission.ceilings))
    return tolerance(submission.record.metrics[metric], *submissions)
