"""What run.json says of a run."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from interpbench.core.errors import RunFolderError
from interpbench.results.run_folder import RunFolder
from interpbench.scoring import precision as precisions
from interpbench.suite.cells import Cell

if TYPE_CHECKING:
    from interpbench.running.plan import Plan


MODEL_INFO = ("card", "accuracy", "accuracy_images", "pixels_sha256", "findings", "repairs", "scoring")  # in run.json


def outcome(folder: RunFolder) -> dict[str, Any]:
    """What run.json says of a finished run: the models, what failed, what was left behind, what could not be read."""
    cells, models = folder.cell_records(), folder.model_records()
    return {
        "models": {f"{m['dataset']} {m['model']}": {k: m[k] for k in MODEL_INFO if k in m} for m in models},
        "failures": [cell for cell in cells if cell["status"] != "ok"],
        "windows": [
            {"model": cell["model"], "method": cell["method"], **choice}
            for cell in cells
            for choice in cell.get("windows", ())
        ],
        "precision_effect": precisions.effects(cells),
        "forward_passes_of_ceilings": sum(cell.get("forward_passes", 0) for cell in cells),
        "left_behind": [
            {"method": cell["method"], "model": cell["model"], "what": cell["left_behind"]}
            for cell in cells
            if cell["left_behind"]
        ],
        "skipped": {sample: why for model in models for sample, why in model["skipped"].items()},
    }


def finished_cells(folder: RunFolder, plan: "Plan", identity: Mapping[str, Any]) -> set[Cell]:
    """The cells that need not run again; failed ones do, in case their plugin was mended.

    Raises:
        RunFolderError: if the folder's run is another one, or a finished method's plugin has changed since.
    """
    recorded = folder.info()["identity"]
    differing = sorted(key for key in identity if recorded.get(key) != identity[key])
    if differing:
        raise RunFolderError(
            f"{folder.path} holds another run: {', '.join(differing)} differ. Resume with the command that began it, "
            "or start afresh with --overwrite or another --output."
        )
    finished, planned = set(), set(plan.cells)
    for record in folder.cell_records():
        cell = Cell(record["dataset"], record["model"], record["method"])
        if record["status"] != "ok" or cell not in planned:
            continue
        if record["method_hash"] != plan.method(cell).plugin.source_hash:
            raise RunFolderError(
                f"Method {cell.method!r} has changed since its cells in {folder.path} were finished. Start afresh with "
                "--overwrite or another --output."
            )
        finished.add(cell)
    return finished


def identity_of(plan: "Plan") -> dict[str, Any]:
    """Everything that must be the same for two runs to write the same tables."""
    from interpbench.files.versions import versions

    return {
        "suite": plan.suite.model_dump(mode="json"),
        "data": {"revision": plan.dataset.card.revision, "samples": [plan.dataset.ids[i] for i in plan.indices]},
        "weights": {label: model.card.weights_sha256 for label, (_, model) in plan.models.items()},
        "plugins": {
            label: choice.plugin.source_hash
            for label, choice in {
                plan.dataset_choice.name: plan.dataset_choice,
                **{label: choice for label, (choice, _) in plan.models.items()},
                **plan.metrics,
            }.items()
        },
        "device": plan.device.type,
        "precision": plan.precision,
        "batch_size": {label: model.batch_size for label, (_, model) in plan.models.items()},
        "versions": {k: v for k, v in versions().items() if k in ("interpbench", "torch", "captum")},
    }


def first_info(plan: "Plan") -> dict[str, Any]:
    """The first version of run.json."""
    from interpbench.core.devices import describe
    from interpbench.files.versions import git_state, versions

    choices = [plan.dataset_choice, *(c for c, _ in plan.models.values()), *plan.methods.values()]
    # A model's weights may have decided on parameters that the user left out.
    parameters = {label: model.card.parameters for label, (_, model) in plan.models.items()}
    return {
        "suite": {
            "name": plan.suite.name,
            "version": plan.suite.version,
            "hash": plan.suite.hash,
            "changed": plan.changed,
        },
        "settings": plan.suite.model_dump(mode="json"),
        "command": sys.argv,
        "started": now(),
        "seed": plan.suite.seed,
        "device": describe(plan.device),
        "precision": plan.precision,
        "versions": versions(),
        "git": git_state(),
        "notices": list(plan.notices),
        "metrics": {label: _metric_info(plan, label) for label in plan.metrics},
        "plugins": {
            f"{c.plugin.kind} {c.label}": {
                "origin": c.plugin.origin,
                "source_hash": c.plugin.source_hash,
                "reference": c.plugin.reference,
                "parameters": parameters.get(c.label, dict(c.values)) if c.plugin.kind == "model" else dict(c.values),
            }
            for c in [*choices, *plan.metrics.values(), *([plan.ceiling] if plan.ceiling else [])]
        },
    }


def _metric_info(plan: "Plan", label: str) -> dict[str, Any]:
    plugin = plan.metrics[label].plugin
    protocol = plan.protocols[label]
    return {
        "summary": plugin.summary,
        "better": plugin.better,
        "range": list(plugin.range),
        "unit": plugin.unit,
        "curve": plugin.curve,
        "protocol": protocol.hash,
        "protocol_text": protocol.text,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
