"""What a lower precision changes in a run: areas, and the order of methods by their means."""

from collections.abc import Iterable, Mapping, Sequence
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


def notices(found: Sequence[Mapping[str, Any]], precision: str) -> list[str]:
    """What the user must know of it: how far areas are apart, and where the order of methods is another."""
    if not found:
        return []
    images = sorted({effect["images"] for effect in found})
    average = max(effect["mean_difference"] for effect in found)
    most = max(effect["greatest_difference"] for effect in found)
    others = [
        f"{effect['model']} by {effect['metric']} ({', '.join(effect['methods_fp32'])} in float32)"
        for effect in found
        if not effect["same_order"]
    ]
    order = f"is another on {'; '.join(others)}" if others else "is the same"
    return [
        f"In {precision}, areas of the {' or '.join(map(str, images))} images that were scored in float32 too differ "
        f"by up to {average:.2g} on average, {most:.2g} at most; the order of methods by their means {order}."
    ]


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
