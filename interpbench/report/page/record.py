"""Protocol and provenance: all that run.json holds, and how to repeat the run."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from interpbench.files.records import contents_of
from interpbench.report.page.changes import changes
from interpbench.report.verdict.evidence import Evidence, SubmissionSaid
from interpbench.report.verdict.words import percent
from interpbench.results.run_info import (
    FindingRecord,
    MeasuredModel,
    MetricInfo,
    PluginInfo,
    RunInfo,
)

Facts = tuple[tuple[str, str], ...]
_PROGRAM = "python -m interpbench"
# Where the tables went, and how many words follow.
_PLACE = {"--output": 1, "--resume": 0, "--overwrite": 0}
_SETTINGS = {
    "dataset": "--dataset",
    "models": "--model",
    "methods": "--method",
    "metrics": "--metric",
    "images": "--images",
    "steps": "--steps",
    "target": "--target",
    "ceiling": "--ceiling",
    "seed": "--seed",
}


@dataclass(frozen=True)
class MetricProtocol:
    """What makes a metric's scores comparable."""

    metric: str
    hash: str
    text: str
    facts: Facts


@dataclass(frozen=True)
class NamedFacts:
    """A model, a plugin or another thing with a name, and what is known of it."""

    name: str
    facts: Facts


@dataclass(frozen=True)
class PageRecord:
    """All that somebody else needs to check a result; partly empty for a mere CSV."""

    repeat: str
    facts: Facts
    protocols: tuple[MetricProtocol, ...]
    submissions: tuple[SubmissionSaid, ...]
    models: tuple[NamedFacts, ...]
    plugins: tuple[NamedFacts, ...]
    samples: tuple[str, ...]
    incidents: Facts


def record(evidence: Evidence) -> PageRecord:
    """The record of a run."""
    info = evidence.info
    return PageRecord(
        repeat=repeat(info) if info.command else "",
        facts=_facts(evidence) if info.given else (),
        protocols=tuple(_protocol(metric, about) for metric, about in evidence.metrics.items()),
        submissions=evidence.submissions,
        models=tuple(_model(name, about, info.notices) for name, about in info.models.items()),
        plugins=tuple(_plugin(name, about) for name, about in info.plugins.items()),
        samples=info.identity.data.samples,
        incidents=_incidents(info),
    )


def repeat(info: RunInfo) -> str:
    """A command line that does the run again, into a folder of its own.

    The recorded one, less where it wrote to; of a run that Python started, one made from its
    settings.
    """
    if info.command[1:2] != ("run",):
        return shlex.join([*_PROGRAM.split(), "run", *_flags(info.settings)])
    words_kept, skip = [], 0
    for word in info.command[1:]:
        if skip:
            skip -= 1
        elif word.partition("=")[0] not in _PLACE:
            words_kept.append(word)
        elif "=" not in word:
            skip = _PLACE[word]
    return shlex.join([*_PROGRAM.split(), *words_kept])


def _flags(settings: BaseModel) -> list[str]:
    flags = []
    for key, flag in _SETTINGS.items():
        value = getattr(settings, key, None)
        for item in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            flags += [flag, str(item)]
    return flags


def _facts(evidence: Evidence) -> Facts:
    info = evidence.info
    suite, given = info.suite, info.given
    changed = {"": "", "selection": ", of an own selection", "settings": ", with settings changed"}[
        evidence.change
    ]
    if how := changes(info):
        changed += f": {how}"
    facts = {
        "suite": f"{suite.name} version {suite.version}, hash {suite.hash}{changed}",
        "data revision": info.identity.data.revision,
        "seed": info.seed if "seed" in given else "",
        "command": shlex.join(info.command),
        "started": info.started,
        "finished": info.finished,
        "device": info.device,
        "workers lost": "; ".join(info.workers_lost),
        "precision": info.precision,
        "precision of maps": info.map_precision,
        "git commit": info.git.commit + (", with uncommitted changes" if info.git.changed else ""),
        "versions": ", ".join(f"{name} {version}" for name, version in info.versions.items()),
        "settings": _json(_settings(evidence)) if "settings" in given else "",
        "forward passes of the search for ceilings": info.forward_passes_of_ceilings,
        "schema version": info.schema_version if "schema_version" in given else "",
    }
    return _facts_given(facts)


def _settings(evidence: Evidence) -> dict[str, Any]:
    """The settings of the run; a changed suite's description is of something else."""
    settings: dict[str, Any] = contents_of(evidence.info.settings)
    unfit = ("description",) if evidence.change else ()
    return {key: value for key, value in settings.items() if key not in unfit}


def _protocol(metric: str, about: MetricInfo) -> MetricProtocol:
    facts = {
        "better": about.better,
        "range": about.range_text if "range" in about.given else "",
        "unit": about.unit,
        "sign": about.sign,
        "what it is": about.summary,
    }
    return MetricProtocol(metric, about.protocol, about.protocol_text.strip(), _facts_given(facts))


def _model(name: str, model: MeasuredModel, notices: Sequence[str]) -> NamedFacts:
    card, images = model.card.contents(), model.accuracy_images
    facts = {
        "weights": card.pop("weights", ""),
        "weights' sha256": card.pop("weights_sha256", ""),
        "accuracy in this run": f"{percent(model.accuracy)} of {images} images" if images else "",
        "pixels' sha256": model.pixels_sha256,
        **{key: _text(value) for key, value in sorted(card.items())},
    }
    for finding in model.findings:
        places = ", ".join(finding.where) or "the model as a whole"
        repaired = ", repaired" if finding.repaired else ""
        state = _consequence(name, finding, notices)
        facts[f"doctor: {finding.kind}{repaired}"] = f"{finding.what}: {places}. {state}"
    for i, mended in enumerate(model.repairs, 1):
        facts[f"repair {i}"] = _json(mended.contents())
    return NamedFacts(name, _facts_given(facts))


def _consequence(name: str, finding: FindingRecord, notices: Sequence[str]) -> str:
    """What a finding means for the run's scores.

    A notice of the run names the methods that it rules out.
    """
    if finding.repaired:
        return "The scores are those of a copy that is free of it."
    if not finding.rules_out:
        return "Recorded; it rules out no method."
    parts = [notice.partition(": ") for notice in notices]
    if any(
        name.endswith(f" {model}") and what.startswith(finding.what) for model, _, what in parts
    ):
        return "It concerns methods of this run: see the notice."
    return (
        f"Recorded, since it matters to {finding.rules_out}; no method "
        "of this run is known to be affected."
    )


def _plugin(name: str, plugin: PluginInfo) -> NamedFacts:
    contents = plugin.contents()
    return NamedFacts(
        name, _facts_given({key.replace("_", " "): _text(value) for key, value in contents.items()})
    )


def _incidents(info: RunInfo) -> Facts:
    failures = [(f"failed: {cell.method} on {cell.model}", cell.reason) for cell in info.failures]
    leftovers = [
        (f"left behind: {left.method} on {left.model}", ", ".join(left.what))
        for left in info.left_behind
    ]
    skipped = [(f"skipped: {sample}", why) for sample, why in info.skipped.items()]
    return (*failures, *leftovers, *skipped)


def _facts_given(facts: Mapping[str, Any]) -> Facts:
    return tuple((key, str(value)) for key, value in facts.items() if value not in ("", None))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
