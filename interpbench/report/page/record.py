"""Protocol and provenance: all that run.json holds, in an order for reading, and how to repeat the run."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpbench.report.page.evidence import Evidence
from interpbench.report.page.words import percent

Facts = tuple[tuple[str, str], ...]
_PROGRAM = "python -m interpbench"
_PLACE = {"--output": 1, "--resume": 0, "--overwrite": 0}  # where the tables went, and how many words follow
_SETTINGS = {
    "dataset": "--dataset", "models": "--model", "methods": "--method", "metrics": "--metric", "images": "--images",
    "steps": "--steps", "target": "--target", "ceiling": "--ceiling", "seed": "--seed",
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """What makes a metric's scores comparable."""

    metric: str
    hash: str
    text: str
    facts: Facts


@dataclass(frozen=True)
class Entry:
    """A model, a plugin or another thing with a name, and what is known of it."""

    name: str
    facts: Facts


@dataclass(frozen=True)
class Record:
    """Everything that somebody else needs to check a result; parts are empty where there is only a CSV."""

    repeat: str
    facts: Facts
    protocols: tuple[Protocol, ...]
    submissions: tuple[Mapping[str, str], ...]
    models: tuple[Entry, ...]
    plugins: tuple[Entry, ...]
    samples: tuple[str, ...]
    incidents: Facts


def record(evidence: Evidence) -> Record:
    """The record of a run."""
    info = evidence.info
    return Record(
        repeat=repeat(info) if "command" in info else "",
        facts=_facts(evidence) if info else (),
        protocols=tuple(_protocol(metric, about) for metric, about in evidence.metrics.items()),
        submissions=tuple(info.get("submissions", ())),
        models=tuple(_model(name, about, info) for name, about in info.get("models", {}).items()),
        plugins=tuple(_entry(name, plugin) for name, plugin in info.get("plugins", {}).items()),
        samples=tuple(map(str, info.get("identity", {}).get("data", {}).get("samples", ()))),
        incidents=tuple(_incidents(info)),
    )


def repeat(info: Mapping[str, Any]) -> str:
    """A command line that does the run again, into a folder of its own.

    The recorded one, less where it wrote to; of a run that Python started, one made from its settings.
    """
    words = [str(word) for word in info.get("command", ())]
    if words[1:2] != ["run"]:
        return shlex.join([*_PROGRAM.split(), "run", *_flags(info.get("settings", {}))])
    kept, skip = [], 0
    for word in words[1:]:
        if skip:
            skip -= 1
        elif word.partition("=")[0] not in _PLACE:
            kept.append(word)
        elif "=" not in word:
            skip = _PLACE[word]
    return shlex.join([*_PROGRAM.split(), *kept])


def _flags(settings: Mapping[str, Any]) -> list[str]:
    flags = []
    for key, flag in _SETTINGS.items():
        value = settings.get(key)
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            flags += [flag, str(item)]
    return flags


def _facts(evidence: Evidence) -> Facts:
    info = evidence.info
    suite, git, data = info.get("suite", {}), info.get("git", {}), info.get("identity", {}).get("data", {})
    changed = {"": "", "selection": ", of an own selection", "settings": ", with settings changed"}[evidence.change]
    commit = str(git.get("commit", "")) + (", with uncommitted changes" if git.get("changed") else "")
    found = {
        "suite": f"{suite.get('name', '')} version {suite.get('version', '')}, hash {suite.get('hash', '')}{changed}",
        "data revision": data.get("revision", ""),
        "seed": info.get("seed", ""),
        "command": shlex.join(map(str, info.get("command", ()))),
        "started": info.get("started", ""),
        "finished": info.get("finished", ""),
        "device": info.get("device", ""),
        "precision": info.get("precision", ""),
        "git commit": commit,
        "versions": ", ".join(f"{name} {version}" for name, version in info.get("versions", {}).items()),
        "settings": _json(info["settings"]) if "settings" in info else "",
        "forward passes of the search for ceilings": info.get("forward_passes_of_ceilings", ""),
        "schema version": info.get("schema_version", ""),
    }
    return _known(found)


def _protocol(metric: str, about: Mapping[str, Any]) -> Protocol:
    low, high = about.get("range", ("", ""))
    facts = {
        "better": about["better"],
        "range": f"{low} to {high}" if low != "" else "",
        "unit": about.get("unit", ""),
        "what it is": about.get("summary", ""),
    }
    return Protocol(metric, str(about.get("protocol", "")), str(about.get("protocol_text", "")).strip(), _known(facts))


def _model(name: str, model: Mapping[str, Any], info: Mapping[str, Any]) -> Entry:
    card = dict(model.get("card", {}))
    images = model.get("accuracy_images")
    found = {
        "weights": card.pop("weights", ""),
        "weights' sha256": card.pop("weights_sha256", ""),
        "accuracy in this run": f"{percent(model.get('accuracy'))} of {images} images" if images else "",
        "pixels' sha256": model.get("pixels_sha256", ""),
        **{key: _text(value) for key, value in sorted(card.items())},
    }
    for finding in model.get("findings", []):
        places = ", ".join(finding["where"]) or "the model as a whole"
        repaired = ", repaired" if finding["repaired"] else ""
        state = _consequence(name, finding, info.get("notices", ()))
        found[f"doctor: {finding['kind']}{repaired}"] = f"{finding['what']}: {places}. {state}"
    for i, mended in enumerate(model.get("repairs", []), 1):
        found[f"repair {i}"] = _text(mended)
    return Entry(name, _known(found))


def _consequence(name: str, finding: Mapping[str, Any], notices: Sequence[str]) -> str:
    """What a finding means for the run's scores: a notice of the run names the methods that it rules out."""
    if finding["repaired"]:
        return "The scores are those of a copy that is free of it."
    if not finding["rules_out"]:
        return "Recorded; it rules out no method."
    said = [notice.partition(": ") for notice in notices]
    if any(name.endswith(f" {model}") and what.startswith(finding["what"]) for model, _, what in said):
        return "It concerns methods of this run: see the notice."
    return f"Recorded, since it matters to {finding['rules_out']}; no method of this run is known to be affected."


def _entry(name: str, plugin: Mapping[str, Any]) -> Entry:
    return Entry(name, _known({key.replace("_", " "): _text(value) for key, value in plugin.items()}))


def _incidents(info: Mapping[str, Any]) -> Facts:
    failures = [(f"failed: {f['method']} on {f['model']}", str(f["reason"])) for f in info.get("failures", [])]
    left = [(f"left behind: {x['method']} on {x['model']}", ", ".join(x["what"])) for x in info.get("left_behind", [])]
    skipped = [(f"skipped: {sample}", str(why)) for sample, why in info.get("skipped", {}).items()]
    return (*failures, *left, *skipped)


def _known(found: Mapping[str, Any]) -> Facts:
    return tuple((key, str(value)) for key, value in found.items() if value not in ("", None))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
