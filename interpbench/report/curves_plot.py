"""Mean perturbation curves of methods."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from interpbench.drawing.method_colours import MethodLook
from interpbench.drawing.style import logarithmic
from interpbench.report.scene import Scene, rows_of
from interpbench.results.mean_curve import MeanCurve

# The axis of shares is logarithmic where that brings the lines so many times as far apart.
_WORTH_A_LOG = 1.5


def curves_plot(scene: Scene, dataset: str, model: str) -> Figure | None:
    """A panel for each metric with curves: each method's mean curve and 95 % band over images.

    Where the lines part at the left and lie on each other in the rest, the axis of shares is
    logarithmic: see `parts_early`. None if there are no curves of this data set and model.
    """
    scored = scene.ranked(dataset=dataset, model=model)
    keys = zip(scored["metric"], scored["method"], strict=True)
    scored = scored[[(dataset, model, *key) in scene.tables.curves for key in keys]]
    if scored.empty:
        return None
    metrics, methods = scene.metrics(scored), scored["method"].unique()
    beside = 0.9 + scene.page.character * max(map(len, methods))
    figure, panels = scene.panels(len(metrics), len(metrics), 3.6, 3.2, (len(methods), beside))
    for panel, metric in zip(panels, metrics, strict=True):
        of_metric = rows_of(scored, metric=metric)
        _panel(scene, panel, of_metric)
        panel.set_title(scene.heading(metric))
        panel.set_ylabel(scene.tables.metrics[metric].unit)
        scene.legend(panel, "mean AUC, places, method")
    scene.suptitle(figure, f"{scene.title(dataset, model)}: mean and 95 % band over images")
    return figure


def _panel(scene: Scene, panel: Axes, scored: pd.DataFrame) -> None:
    """The curves of one data set, model and metric, whose rows `scored` are, best first."""
    curves = {
        row.method: scene.tables.curves[row.dataset, row.model, row.metric, row.method]
        for row in scored.itertuples()
    }
    for rank, row in enumerate(scored.itertuples()):
        label = f"{row.mean:.3f}  {scene.places(row)}  {row.method}"
        _curve(panel, curves[row.method], scene.looks[row.method], rank, label)
    methods = scored.loc[scored["role"] == "method", "method"]
    compared = methods if len(methods) > 1 else scored["method"]
    fraction = next(iter(curves.values())).fraction
    means = pd.DataFrame({method: curves[method].mean for method in compared}, index=fraction)
    first = fraction[fraction > 0].min()
    if parts_early(means):
        logarithmic(panel, "x")
        panel.set(xlabel="share of positions changed, logarithmic", xlim=(first, 1))
        ticks = [t for t in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1) if t >= first]
        panel.set_xticks(ticks)
        panel.xaxis.set_minor_locator(NullLocator())
    else:
        panel.set(xlabel="share of positions changed", xlim=(0, 1))


def parts_early(means: pd.DataFrame) -> bool:
    """Whether the lines of methods are further apart on a logarithmic axis.

    How far they are apart at a share of positions is the standard deviation over methods; it is
    averaged along the axis, as long as it is drawn. Where that gives half as much again for the
    logarithm, the lines part among the first few positions, and lie on each other after.

    Parameters:
        means: mean curves, a column a method; the index is the share of positions changed, 0..1.
    """
    means = means[means.index > 0].dropna()
    if means.shape[1] < 2 or len(means) < 2:
        return False
    apart = means.std(axis=1, ddof=0).to_numpy()
    linear, logarithmic = means.index.to_numpy(), np.log(means.index.to_numpy())

    def along(axis: np.ndarray) -> float:
        return float(np.trapezoid(apart, axis) / (axis[-1] - axis[0]))

    return along(logarithmic) > _WORTH_A_LOG * along(linear)


def _curve(panel: Axes, curve: MeanCurve, look: MethodLook, rank: int, label: str) -> None:
    """One method's mean curve over images with its 95 % band.

    The better its rank, the further in front.
    """
    order = 3 - rank / 100
    panel.fill_between(
        curve.fraction,
        curve.low,
        curve.high,
        color=look.color,
        alpha=0.15,
        linewidth=0,
        zorder=order - 1,
    )
    panel.plot(
        curve.fraction,
        curve.mean,
        color=look.color,
        linestyle=look.dashes,
        marker=look.marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        markevery=(0.02 + 0.012 * (rank % 10), 0.14),
        linewidth=1.4,
        zorder=order,
        label=label,
    )
