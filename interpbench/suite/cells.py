"""A cell, the unit of work, of resume and of failure; and what comes out of running one."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

SCORE_COLUMNS = [
    "dataset",
    "model",
    "method",
    "parameters",
    "metric",
    "protocol",
    "sample_id",
    "label",
    "target",
    "tied",
    "value",
]
CURVE_COLUMNS = ["dataset", "model", "method", "metric", "protocol", "sample_id", "step", "fraction", "value"]
CEILING = "(ceiling)"  # no plugin's name may have brackets
Role = Literal["method", "control", "ceiling"]


@dataclass(frozen=True, order=True)
class Cell:
    """One method on one model and data set, all by their labels; or the search for a metric's ceiling there."""

    dataset: str
    model: str
    method: str

    @classmethod
    def ceiling(cls, dataset: str, model: str, metric: str) -> "Cell":
        """The search for a metric's ceiling."""
        return cls(dataset, model, f"{CEILING} {metric}")

    @property
    def ceiling_of(self) -> str | None:
        """The metric whose ceiling it searches, or None where it is a method's cell."""
        return self.method.removeprefix(f"{CEILING} ") if self.method.startswith(f"{CEILING} ") else None

    @property
    def folder(self) -> str:
        """A file name that is safe on every system and unique to this cell."""
        return safe_name(self.dataset, self.model, self.method)

    def as_dict(self) -> dict[str, str]:
        """The columns that name it."""
        return {"dataset": self.dataset, "model": self.model, "method": self.method}


@dataclass(frozen=True, eq=False)
class CellResult:
    """A finished cell.

    Attributes:
        cell: which.
        parameters: of the method, canonical JSON.
        method_hash: sha256 of the method's source file.
        role: what the method is: one to be judged, a control, or the search for a ceiling.
        status: `ok`, or `failed` with a reason.
        images: how many were given; `constant` and `nonfinite` count those whose map was so, and is not scored.
        left_behind: what the method left on the model, which was undone.
        attribution_seconds, scoring_seconds: time taken.
        forward_passes: of the search for a ceiling, besides those that score what it found.
        batch_size: images a forward pass in the end, after halving.
        windows: how windows that cover parts of images were computed, see `incremental.summarised`.
        precision_effect: metric -> what a lower precision changed, see `scoring.precision_effect`.
        scores, curves: rows with SCORE_COLUMNS and CURVE_COLUMNS.
        maps: sample id -> float32 [H,W], of the example images.
    """

    cell: Cell
    parameters: str
    method_hash: str
    status: str
    reason: str = ""
    role: Role = "method"
    images: int = 0
    constant: int = 0
    nonfinite: int = 0
    left_behind: tuple[str, ...] = ()
    attribution_seconds: float = 0.0
    scoring_seconds: float = 0.0
    forward_passes: int = 0
    batch_size: int = 0
    precision_effect: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    windows: Sequence[Mapping[str, Any]] = ()
    scores: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SCORE_COLUMNS))
    curves: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CURVE_COLUMNS))
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """All but the tables and maps, for JSON."""
        return {
            **self.cell.as_dict(),
            "parameters": self.parameters,
            "method_hash": self.method_hash,
            "role": self.role,
            "status": self.status,
            "reason": self.reason,
            "images": self.images,
            "constant": self.constant,
            "nonfinite": self.nonfinite,
            "left_behind": list(self.left_behind),
            "attribution_seconds": self.attribution_seconds,
            "scoring_seconds": self.scoring_seconds,
            "forward_passes": self.forward_passes,
            "batch_size": self.batch_size,
            "precision_effect": self.precision_effect,
            "windows": list(self.windows),
        }


@dataclass(frozen=True, eq=False)
class ModelResult:
    """What a run measured of a model before any method, and the example images.

    Attributes:
        dataset, model: labels.
        info: the model's card, its accuracy and on how many images, the samples' ids, and those skipped.
        example_ids: of the example images.
        images: uint8 [K,size,size,3] of the examples.
        masks: bool [K,size,size] or None.
        true_classes, predicted_classes: names, one an example.
    """

    dataset: str
    model: str
    info: Mapping[str, Any]
    example_ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray | None
    true_classes: tuple[str, ...]
    predicted_classes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """A file name that is safe on every system and unique to this model."""
        return safe_name(self.dataset, self.model)


def safe_name(*labels: str) -> str:
    """Labels as one file name: readable, and unique through a short hash."""
    digest = hashlib.sha256("\x1f".join(labels).encode()).hexdigest()[:8]
    readable = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", label)[:40] for label in labels)
    return f"{readable}-{digest}"
