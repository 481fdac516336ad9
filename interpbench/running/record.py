"""What run.json says of a run: before it starts, and at its end."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from interpbench.core.devices import describe
from interpbench.files.versions import git_state, versions
from interpbench.registry.plugin import Configured
from interpbench.results import looks, precision
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import (
    CellRecord,
    DataInfo,
    Identity,
    LeftBehind,
    MetricInfo,
    ModelRecord,
    PluginInfo,
    RunInfo,
    SuiteInfo,
    WindowsOfCell,
)
from interpbench.results.tables import RunTables
from interpbench.running.plan import Plan

# Packages of which another version may give other numbers.
DECISIVE = ("interpbench", "torch", "captum")


def begun(plan: Plan, isolation: str = "none") -> RunInfo:
    """run.json of a run that starts.

    Parameters:
        plan: what is run.
        isolation: where its cells run, see `RunInfo`.
    """
    suite = plan.suite
    plugins = [
        plan.dataset_choice,
        *(choice for choice, _ in plan.models.values()),
        *plan.methods.values(),
        *plan.metrics.values(),
        *([plan.ceiling] if plan.ceiling else []),
    ]
    return RunInfo(
        schema_version=1,
        suite=SuiteInfo(
            name=suite.name, version=suite.version, hash=suite.hash, changed=plan.changed
        ),
        settings=suite,
        command=tuple(sys.argv),
        started=now(),
        seed=suite.seed,
        device=", ".join(dict.fromkeys(map(describe, plan.computing.devices))),
        precision=plan.computing.precision,
        **_of_maps(plan),
        isolation=isolation,
        threads=torch.get_num_threads(),
        looks=plan.looks,
        versions=versions(),
        git=git_state(),
        notices=plan.notices,
        metrics=metrics(plan),
        plugins={
            f"{choice.plugin.kind} {choice.label}": _plugin(plan, choice) for choice in plugins
        },
        identity=identity_of(plan),
        cells=tuple(sorted(cell.folder for cell in plan.cells)),
        status="running",
    )


def ended(info: RunInfo, plan: Plan, folder: RunFolder, tables: RunTables) -> RunInfo:
    """run.json of the same run once its cells are finished."""
    cells, models = folder.cell_records(), folder.model_records()
    found = found_notices(models, cells, lowered(info))
    if plan.looks:
        found += looks.said(tables, plan.looks)
    notices = [*info.notices, *(notice for notice in found if notice not in info.notices)]
    return info.model_copy(
        update={
            "status": "finished",
            "finished": now(),
            "device": ", ".join(devices) if len(devices := _devices(cells)) > 1 else info.device,
            "notices": tuple(notices),
            "models": {f"{model.dataset} {model.model}": model.measured() for model in models},
            "failures": tuple(cell.without_checksums() for cell in cells if cell.status != "ok"),
            "windows": tuple(
                WindowsOfCell(model=cell.model, method=cell.method, **windows.contents())
                for cell in cells
                for windows in cell.windows
            ),
            "precision_effect": precision.compared(cells),
            "forward_passes_of_ceilings": sum(cell.forward_passes for cell in cells),
            "left_behind": tuple(
                LeftBehind(method=cell.method, model=cell.model, what=cell.left_behind)
                for cell in cells
                if cell.left_behind
            ),
            "skipped": {sample: why for model in models for sample, why in model.skipped.items()},
        }
    )


def metrics(plan: Plan) -> dict[str, MetricInfo]:
    """What the plan's metrics are, by their labels."""
    return {label: _metric(plan, label) for label in plan.metrics}


def found_notices(
    models: Sequence[ModelRecord], cells: Sequence[CellRecord], wished: str
) -> list[str]:
    """What the user should know of a run that only its models and cells could tell.

    Parameters:
        models, cells: that are finished.
        wished: what was computed in a lower precision, see `lowered`.
    """
    notices = [notice for model in models for notice in model.notices]
    devices = _devices(cells)
    if len(devices) > 1:
        notices.append(
            f"Computed on devices of several kinds ({', '.join(devices)}), whose last digits and "
            "times differ: each cell's record says which were its own."
        )
    return notices + precision.notices(precision.compared(cells), wished)


def identity_of(plan: Plan) -> Identity:
    """Everything that must be the same for two runs to write the same tables."""
    models = plan.models.items()
    choices = {
        plan.dataset_choice.name: plan.dataset_choice,
        **{label: choice for label, (choice, _) in models},
        **plan.metrics,
    }
    identity = Identity(
        suite=plan.suite,
        data=DataInfo(
            revision=plan.dataset.card.revision,
            samples=tuple(plan.dataset.ids[i] for i in plan.indices),
        ),
        weights={label: model.card.weights_sha256 for label, (_, model) in models},
        plugins={label: choice.plugin.source_hash for label, choice in choices.items()},
        device=plan.computing.device.type,
        precision=plan.computing.precision,
        batch_size={label: model.batch_size for label, (_, model) in models},
        versions={
            package: version for package, version in versions().items() if package in DECISIVE
        },
        preparation={label: model.card.preparation.text for label, (_, model) in models},
        outputs={
            label: model.card.outputs
            for label, (_, model) in models
            if model.card.outputs != "softmax"
        },
    )
    twins = {label: twin.card.weights_sha256 for label, twin in plan.in_domain.items()}
    where_there_are = {"looks": plan.looks, "in_domain": twins, **_of_maps(plan)}
    return identity.model_copy(
        update={name: value for name, value in where_there_are.items() if value}
    )


def _of_maps(plan: Plan) -> dict[str, Any]:
    """The precision of the maps' passes, where it is a lower one."""
    precision = plan.computing.map_precision
    return {} if precision == "fp32" else {"map_precision": precision}


def lowered(info: RunInfo) -> str:
    """What is computed in a lower precision, in words; "" where nothing is."""
    if not info.map_precision:
        return "" if info.precision == "fp32" else info.precision
    if info.precision == info.map_precision:
        return f"{info.precision}, maps too"
    scores = "" if info.precision == "fp32" else f"{info.precision} and "
    return f"{scores}{info.map_precision} for maps"


def differing_from(plan: Plan, identity: Identity) -> list[str]:
    """What a plan would compute otherwise than a run, but for the device where kinds may mix."""
    mixed = {"device"} if plan.computing.mix_devices else set()
    return [what for what in identity_of(plan).differences(identity) if what not in mixed]


def _devices(cells: Sequence[CellRecord]) -> list[str]:
    """What cells were computed on."""
    return sorted({device for cell in cells for device in cell.devices if device})


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _plugin(plan: Plan, choice: Configured) -> PluginInfo:
    parameters = dict(choice.values)
    if choice.plugin.kind == "model":
        # Its weights may have decided on parameters that the user left out.
        parameters = plan.models[choice.label][1].card.parameters
    plugin = choice.plugin
    return PluginInfo(
        origin=choice.origin,
        source_hash=plugin.source_hash,
        reference=plugin.reference,
        parameters=parameters,
    )


def _metric(plan: Plan, label: str) -> MetricInfo:
    choice, protocol = plan.metrics[label], plan.protocols[label]
    plugin, scale = choice.plugin, choice.plugin.scale(choice.values)
    return MetricInfo(
        summary=plugin.summary,
        better=plugin.direction(choice.values),
        range=scale.range,
        unit=scale.unit,
        curve=plugin.curve,
        aspect=plugin.aspect,
        protocol=protocol.hash,
        protocol_text=protocol.text,
    )
