"""What a run says of itself in a submission, without the paths of the machine that it ran on.

`publishing` writes it of a run that is finished, `rescoring` makes it again and compares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from interpbench.core.errors import SubmissionError
from interpbench.files.records import first_problem
from interpbench.publish.submission import CellOf, SubmissionRecord
from interpbench.results.run_info import CellRecord, MetricInfo, ModelRecord, RunInfo
from interpbench.suite.suite import Suite

OF_THE_RUN = ("started", "finished", "device", "precision", "versions")


@dataclass(frozen=True)
class Signed:
    """What a run does not know: see `SubmissionRecord`.

    Attributes:
        files: the hashes of its tables, as `write_tables` gives them.
    """

    name: str
    by: str
    comment: str
    failures_declared: bool
    supersedes: tuple[str, ...]
    files: dict[str, str]

    @classmethod
    def of(cls, record: SubmissionRecord) -> "Signed":
        """What the author of a submission says."""
        return cls(
            record.name,
            record.by,
            record.comment,
            record.failures_declared,
            record.supersedes,
            record.files.model_dump(),
        )


def record_of(
    info: RunInfo,
    models: Sequence[ModelRecord],
    cells: Sequence[CellRecord],
    signed: Signed,
) -> SubmissionRecord:
    """The record of a run, sealed.

    Parameters:
        info: its run.json.
        models: what it measured of its models.
        cells: what became of its cells, one at least.
        signed: what its author says.

    Raises:
        SubmissionError: if something in it cannot be published, such as a name that is too long.
    """
    settings = info.settings
    if not isinstance(settings, Suite):
        raise SubmissionError(
            "The run was made by another version of InterpBench, which has to publish it."
        )
    try:
        contents = {
            **_of_run(info, settings),
            "data": _data(info, settings, cells[0].dataset),
            **_of_plugins(info, models, cells),
            **vars(signed),
        }
        return SubmissionRecord.model_validate(contents).sealed()
    except KeyError as missing:
        raise SubmissionError(
            f"The run cannot be published: it says nothing of {missing}. Run it again."
        ) from None
    except ValidationError as invalid:
        key, reason, value = first_problem(invalid)
        raise SubmissionError(
            f"The run cannot be published: {key}: {reason} (got {str(value)[:200]!r})."
        ) from None


def _of_run(info: RunInfo, settings: Suite) -> dict[str, Any]:
    return {
        "suite": {"name": settings.name, "version": settings.version, "frame": settings.frame},
        "settings": settings,
        "git": info.git.contents(),
        **{name: getattr(info, name) for name in OF_THE_RUN},
    }


def _data(info: RunInfo, settings: Suite, name: str) -> dict[str, Any]:
    return {
        "name": name,
        **info.identity.data.contents(),
        "source_hash": info.identity.plugins[settings.dataset.partition(":")[0]],
    }


def _of_plugins(
    info: RunInfo, models: Sequence[ModelRecord], cells: Sequence[CellRecord]
) -> dict[str, Any]:
    return {
        "models": {
            model.model: _model(info, model) for model in sorted(models, key=lambda m: m.model)
        },
        "methods": {
            cell.method: {
                "source_hash": info.plugins[f"method {cell.method}"].source_hash,
                "reference": info.plugins[f"method {cell.method}"].reference,
                "parameters": cell.parameters,
                "role": cell.role,
            }
            for cell in sorted(cells, key=lambda cell: cell.method)
            if not cell.is_search
        },
        "metrics": {
            label: _metric(metric, info.plugins[f"metric {label}"].source_hash)
            for label, metric in sorted(info.metrics.items())
        },
        "cells": [{key: getattr(cell, key) for key in CellOf.model_fields} for cell in cells],
    }


def _metric(metric: MetricInfo, source_hash: str) -> dict[str, object]:
    """What makes its scores; its aspect is the plugin's to say, whose hash is here."""
    said = {name: value for name, value in metric.contents().items() if name != "aspect"}
    return {**said, "source_hash": source_hash}


def _model(info: RunInfo, measured: ModelRecord) -> dict[str, object]:
    label = measured.model
    return {
        "source_hash": info.identity.plugins[label],
        "parameters": info.plugins[f"model {label}"].parameters,
        "weights": measured.weights,
        "weights_sha256": info.identity.weights[label],
        "preparation": measured.card.prepared,
        "outputs": info.identity.outputs.get(label, ""),
        "pixels_sha256": measured.pixels_sha256,
        "accuracy": measured.accuracy,
        "accuracy_images": measured.accuracy_images,
    }
