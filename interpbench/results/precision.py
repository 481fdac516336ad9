"""What a lower precision changes in a run: areas, and the order of methods by their means."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from interpbench.results.run_info import CellRecord, PrecisionComparison, PrecisionEffect

Row = tuple[str, str, str, str, PrecisionEffect]  # data set, model, metric, method


def compared(cells: Iterable[CellRecord]) -> tuple[PrecisionComparison, ...]:
    """What it changes for each data set, model and metric.

    Told from the images that were scored in float32 too.
    """
    rows: list[Row] = [
        (cell.dataset, cell.model, metric, cell.method, effect)
        for cell in cells
        if not cell.is_search
        for metric, effect in cell.precision_effect.items()
    ]
    rows.sort(key=lambda row: row[:3])
    return tuple(_comparison(list(group)) for _, group in groupby(rows, lambda row: row[:3]))


def notices(comparisons: Sequence[PrecisionComparison], precision: str) -> list[str]:
    """How far areas are apart, and where the order of methods is another.

    Parameters:
        comparisons: of `compared`.
        precision: the lower one, in words.
    """
    if not comparisons:
        return []
    images = sorted({comparison.images for comparison in comparisons})
    average = max(comparison.mean_difference for comparison in comparisons)
    most = max(comparison.greatest_difference for comparison in comparisons)
    others = [
        f"{comparison.model} by {comparison.metric} "
        f"({', '.join(comparison.methods_fp32)} in float32)"
        for comparison in comparisons
        if not comparison.same_order
    ]
    order = f"is another on {'; '.join(others)}" if others else "is the same"
    return [
        f"In {precision}, areas of the {' or '.join(map(str, images))} images that were computed "
        f"in float32 too differ by up to {average:.2g} on average, {most:.2g} at most; the order "
        f"of methods by their means {order}."
    ]


def _comparison(rows: Sequence[Row]) -> PrecisionComparison:
    dataset, model, metric, *_ = rows[0]
    effects = {method: effect for *_, method, effect in rows}
    by_mean = tuple(sorted(effects, key=lambda method: (effects[method].mean, method)))
    by_mean_fp32 = tuple(sorted(effects, key=lambda method: (effects[method].mean_fp32, method)))
    images = sum(effect.images for effect in effects.values())
    return PrecisionComparison(
        dataset=dataset,
        model=model,
        metric=metric,
        images=rows[0][-1].images,
        mean_difference=sum(effect.mean_difference * effect.images for effect in effects.values())
        / images,
        greatest_difference=max(effect.greatest_difference for effect in effects.values()),
        methods=by_mean,
        methods_fp32=by_mean_fp32,
        same_order=by_mean == by_mean_fp32,
    )
