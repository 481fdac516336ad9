"""What a lower precision changes in a run: areas, and the order of methods by their means."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any


def effects(cells: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each data set, model and metric, from the images that were scored in float32 too.

    Args:
        cells: records of finished cells, with `precision_effect` (see `scoring.precision_effect`).

    Returns:
        images; mean_difference and greatest_difference, absolute, over the methods; methods by their means as they
        were scored and as they are in float32; and whether these two orders are the same.
    """
    rows = [
        {"dataset": cell["dataset"], "model": cell["model"], "metric": metric, "method": cell["method"], **effect}
        for cell in cells
        if cell["role"] != "ceiling"
        for metric, effect in cell.get("precision_effect", {}).items()
    ]

    def key(row: Mapping[str, Any]) -> tuple[str, str, str]:
        return row["dataset"], row["model"], row["metric"]

    return [_effect(list(group)) for _, group in groupby(sorted(rows, key=key), key)]


def notices(found: Iterable[Mapping[str, Any]], precision: str) -> list[str]:
    """What the user must know of it, a sentence for each model and metric."""
    said = []
    for effect in found:
        order = "the order of methods is the same"
        if not effect["same_order"]:
            order = f"the order of methods is another: {', '.join(effect['methods_fp32'])} in float32"
        average, most = (f"{effect[f'{which}_difference']:.2g}" for which in ("mean", "greatest"))
        said.append(
            f"{effect['model']}, {effect['metric']}: in {precision}, areas of {effect['images']} images differ from "
            f"float32's by {average} on average, {most} at most; {order}."
        )
    return said


def _effect(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by_mean, by_mean_fp32 = (
        [row["method"] for row in sorted(rows, key=lambda row: (row[mean], row["method"]))]
        for mean in ("mean", "mean_fp32")
    )
    images = sum(row["images"] for row in rows)
    return {
        **{name: rows[0][name] for name in ("dataset", "model", "metric")},
        "images": rows[0]["images"],
        "mean_difference": sum(row["mean_difference"] * row["images"] for row in rows) / images,
        "greatest_difference": max(row["greatest_difference"] for row in rows),
        "methods": by_mean,
        "methods_fp32": by_mean_fp32,
        "same_order": by_mean == by_mean_fp32,
    }
