"""A cell, the unit of work, of resume and of failure; and the columns of the cells' tables."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from interpbench.files.names import unreserved

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
CURVE_COLUMNS = [
    "dataset",
    "model",
    "method",
    "metric",
    "protocol",
    "sample_id",
    "fraction",
    "value",
]
CEILING = "(ceiling)"  # no plugin's name may have brackets
Role = Literal["method", "control", "ceiling"]


@dataclass(frozen=True, order=True)
class Cell:
    """One method on one model and data set, all by their labels.

    Or the search for a metric's ceiling there.
    """

    dataset: str
    model: str
    method: str

    @classmethod
    def ceiling(cls, dataset: str, model: str, metric: str) -> "Cell":
        """The search for a metric's ceiling."""
        return cls(dataset, model, search_for(metric))

    @property
    def ceiling_of(self) -> str | None:
        """The metric whose ceiling it searches, or None where it is a method's cell."""
        return searched_metric(self.method)

    @property
    def folder(self) -> str:
        """A file name that is safe on every system and unique to this cell."""
        return safe_name(self.dataset, self.model, self.method)

    def as_dict(self) -> dict[str, str]:
        """The columns that name it."""
        return {"dataset": self.dataset, "model": self.model, "method": self.method}


def search_for(metric: str) -> str:
    """What the search for a metric's ceiling is called where a method's label stands."""
    return f"{CEILING} {metric}"


def searched_metric(label: str) -> str | None:
    """The metric whose ceiling is searched for; None where the label is a method's."""
    return label.removeprefix(f"{CEILING} ") if label.startswith(f"{CEILING} ") else None


def safe_name(*labels: str) -> str:
    """Labels as one file name: readable, and unique through a short hash."""
    together = "\x1f".join(labels).encode(errors="backslashreplace")  # of lone surrogates
    digest = hashlib.sha256(together).hexdigest()[:8]
    readable = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", label)[:40] for label in labels)
    return unreserved(f"{readable}-{digest}")
