"""The table "which metric can be believed": a row a metric with all that was found of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from interpbench.files.versions import __version__
from interpbench.registry.plugin import Configured
from interpbench.studies.judging.consistency import FIGURES
from interpbench.studies.judging.degradations import DEGRADATIONS
from interpbench.studies.judging.scenarios import FOOLED, RIGHT, verdict_of_scenario
from interpbench.suite.protocol import protocol_of

ASKED, NOT_ASKED, FAILED = "asked", "not asked", "failed"


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found of the metrics, by test; None for a test that was not asked for.

    Attributes:
        orders, consistency, agreement, scenarios: see the modules of these names.
        failures: metric -> why it gave no score to a map.
    """

    orders: pd.DataFrame | None
    consistency: pd.DataFrame | None
    agreement: pd.DataFrame | None
    scenarios: pd.DataFrame | None
    failures: Mapping[str, str]


def judged_table(metrics: Mapping[str, Configured], found: Findings) -> pd.DataFrame:
    """A row a metric, those that order most degradations and are fooled least first.

    Parameters:
        metrics: label -> metric.
        found: of them.

    Returns:
        columns metric, protocol (of the predicted class as target), source_hash, version, status,
        reason; `orders` of so many `degradations`; `fooled` by so many `scenarios`, and `right` in
        so many: in the rest it cannot tell the maps apart, or has no score; `mc` and its parts,
        means over both tests; then Kendall's tau of each degradation, the correlation with each
        metric of localisation, and for each wrong map the share of images whose right map scores
        better.
    """
    table = pd.DataFrame([_identity(label, metrics[label], found.failures) for label in metrics])
    table = table.set_index("metric")
    asked = table.index[table["status"] == ASKED]
    parts = [
        None if found.orders is None else _orders(found.orders),
        None if found.scenarios is None else _fooled(found.scenarios),
        None if found.consistency is None else _consistency(found.consistency),
        None if found.orders is None else _wide(found.orders, ["degradation"], "tau"),
        None
        if found.agreement is None
        else _wide(found.agreement, ["localisation"], "correlation", "agreement "),
        None
        if found.scenarios is None
        else _wide(found.scenarios, ["scenario", "wrong"], "prefers_truth", "prefers "),
    ]
    for part in parts:
        if part is not None:
            table = table.join(part.reindex(asked))
    ranked = table.assign(
        label=table.index,
        down=-table["orders"] if "orders" in table else 0,
        up=table.get("fooled", 0),
        right=-table["right"] if "right" in table else 0,
        consistency=-table["mc"] if "mc" in table else 0,
    ).sort_values(["status", "down", "up", "right", "consistency", "label"])
    return table.loc[ranked.index].reset_index()


def _identity(
    label: str, metric: Configured, failures: Mapping[str, str]
) -> dict[str, str | float]:
    kind, _, why = failures.get(label, "").partition(": ")
    status = ASKED if label not in failures else NOT_ASKED if kind == "MethodError" else FAILED
    return {
        "metric": label,
        "protocol": protocol_of(metric, "predicted").hash,
        "source_hash": metric.plugin.source_hash,
        "version": __version__,
        "status": status,
        "reason": why if status == NOT_ASKED else failures.get(label, ""),
    }


def _orders(orders: pd.DataFrame) -> pd.DataFrame:
    counts = orders.groupby("metric")["orders"].sum()
    return pd.DataFrame({"orders": counts, "degradations": len(DEGRADATIONS)})


def _fooled(scenarios: pd.DataFrame) -> pd.DataFrame:
    verdicts = scenarios.groupby(["metric", "scenario"])["verdict"].agg(verdict_of_scenario)
    fooled, right = ((verdicts == said).groupby("metric").sum() for said in (FOOLED, RIGHT))
    count = scenarios["scenario"].nunique()
    return pd.DataFrame({"fooled": fooled, "right": right, "scenarios": count})


def _consistency(consistency: pd.DataFrame) -> pd.DataFrame:
    """Means over the tests; NaN where one of them could not tell."""
    return consistency.groupby("metric")[["mc", *FIGURES]].agg(lambda of: of.mean(skipna=False))


def _wide(rows: pd.DataFrame, by: list[str], value: str, before: str = "") -> pd.DataFrame:
    """One column for each kind of row, in the order in which they come."""
    names = rows[by].agg(": ".join, axis=1).map(lambda name: f"{before}{name}")
    wide = rows.assign(name=names).pivot_table(
        index="metric", columns="name", values=value, dropna=False, sort=False, observed=True
    )
    assert isinstance(wide, pd.DataFrame)
    return wide[list(dict.fromkeys(names))].astype(np.float64)
