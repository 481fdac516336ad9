"""Quality against the time of one map: a point for each method, named or numbered."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpbench.drawing.point_labels import place_labels
from interpbench.drawing.style import logarithmic
from interpbench.report.scene import Scene, rows_of

_NAMED = 12  # methods that are named beside their points, if there is room; more are numbered

Points = dict[str, tuple[float, float]]


def time_plot(scene: Scene, dataset: str) -> Figure | None:
    """A panel for each metric with curves, or for all where there are none, and each model.

    Methods are named beside their points where there is room for all, else numbered and listed.
    None if no time was taken.
    """
    rows = _timed(scene, dataset)
    if rows.empty:
        return None
    if rows["method"].nunique() <= _NAMED:
        figure, points = _draw(scene, dataset, rows, numbered=False)
        if not _place(figure, points):
            return figure
    figure, points = _draw(scene, dataset, rows, numbered=True)
    _place(figure, points)  # a point without its number is still found by its colour and marker
    return figure


def _timed(scene: Scene, dataset: str) -> pd.DataFrame:
    """The leaderboard's scored rows, with a column of milliseconds, where a time was taken."""
    speed = scene.tables.milliseconds().rename("milliseconds").reset_index()
    return scene.ranked(dataset=dataset).merge(
        speed[speed["milliseconds"] > 0], on=["dataset", "model", "method"]
    )


def _draw(
    scene: Scene, dataset: str, rows: pd.DataFrame, *, numbered: bool
) -> tuple[Figure, dict[Axes, Points]]:
    """The figure without labels, and those that are to be placed in each of its panels."""
    metrics = scene.metrics(rows)
    metrics = [m for m in metrics if scene.tables.metrics[m].curve] or metrics
    models, methods = sorted(rows["model"].unique()), rows["method"].unique()
    beside = 1.0 + scene.page.character * max(map(len, methods))
    legend = (len(methods), beside) if numbered else (0, 0.0)
    figure, panels = scene.panels(len(metrics) * len(models), len(models), 4.4, 3.6, legend)
    pairs = [(metric, model) for metric in metrics for model in models]
    points = {}
    for panel, (metric, model) in zip(panels, pairs, strict=True):
        points[panel] = _panel(scene, panel, rows_of(rows, metric=metric, model=model), numbered)
        name = scene.model_label(dataset, model)
        panel.set(title=f"{name}\n{scene.heading(metric)}", xlabel="ms per image")
        panel.set_ylabel(scene.tables.metrics[metric].unit)
    scene.suptitle(figure, f"{dataset}: quality against the time of one map")
    return figure, points


def _panel(scene: Scene, panel: Axes, rows: pd.DataFrame, numbered: bool) -> Points:
    """A point with its interval for each method; the labels to be written: label -> (x, y).

    The method's name; or, if `numbered`, its number in a list beside the panel, best first.
    """
    rows = rows.fillna({"low": rows["mean"], "high": rows["mean"]})
    for number, row in enumerate(rows.itertuples(), 1):
        look = scene.looks[row.method]
        panel.plot(
            [row.milliseconds] * 2, [row.low, row.high], color=look.color, linewidth=1, alpha=0.6
        )
        label = f"{number}   {row.mean:.3f}  {row.method}"
        panel.plot(
            row.milliseconds, row.mean, look.marker, color=look.color, markersize=6, label=label
        )
    logarithmic(panel, "x")
    panel.margins(x=0.18, y=0.15)
    if numbered:
        scene.legend(panel, "number, mean, method")
    names = map(str, range(1, len(rows) + 1)) if numbered else rows["method"]
    return dict(zip(names, zip(rows["milliseconds"], rows["mean"], strict=True), strict=True))


def _place(figure: Figure, points: dict[Axes, Points]) -> list[str]:
    """Writes the labels; those for which there is no room."""
    # Labels are placed in pixels, so the panels must have their final size.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return [label for panel, named in points.items() for label in place_labels(panel, named)]
