"""The pictures of the sanity checks.

Similarity over layers, and bars for the tests that give one number a method.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpbench.drawing.fitted_text import HEADING
from interpbench.drawing.method_colours import MethodLook, method_looks
from interpbench.drawing.style import DPI, style
from interpbench.studies.sanity.comparing import ABSOLUTE, RISE, SIGNED, SPEARMAN, SSIM
from interpbench.studies.sanity.verdict import THRESHOLD

_OVER_LAYERS = {
    "cascading": "cascading: from the top down to this layer",
    "independent": "independent: this layer alone",
}
_MEASURES = {SPEARMAN: "rank correlation (Spearman)", SSIM: "SSIM"}
_BARS = {
    "random-logit": "another class: similarity to the map for the target",
    "complete": "complete: similarity to the map of a model with all layers new",
    "smooth": "smooth: all layers new, maps averaged over noise",
}
_RISE = "efficient: rise in complexity, all layers new (more is better)"
_RULED = "threshold of the verdict"  # on the rank correlation of absolute maps
_TICKS = 45  # layers that are named below a panel, at most
_CHARACTER = 0.068  # inches that a character of a label takes
_LAYER = 0.115  # inches that a layer's name takes across
_FAINT: dict[str, Any] = {"color": "0.35", "linewidth": 1, "linestyle": "--", "zorder": 1}


def draw_layers(table: pd.DataFrame, kind: str, title: str, path: Path) -> None:
    """Writes a PNG with the similarity over layers: a line a method, with its 95 % interval.

    Columns of panels are the tests `cascading` and `independent`, rows the measures.

    Parameters:
        table: of the checks.
        kind: of the maps, `absolute` or `signed`.
        title: the heading.
        path: the file.
    """
    _save(_layers(table, kind, title), path)


def draw_bars(table: pd.DataFrame, test: str, title: str, path: Path) -> None:
    """Writes a PNG with a bar a method.

    `random-logit`, `complete` and `smooth` show both similarities, `efficient` its rise.
    """
    _save(_bars(table, test, title), path)


def layer_kinds(table: pd.DataFrame) -> list[str]:
    """The kinds of map for which there is something to draw over layers."""
    kinds = set(_scored(table, list(_OVER_LAYERS))["map"])
    return [kind for kind in (ABSOLUTE, SIGNED) if kind in kinds]


def bar_tests(table: pd.DataFrame) -> list[str]:
    """The tests for which there are bars to draw."""
    return [test for test in (*_BARS, "efficient") if len(_scored(table, [test]))]


def _layers(table: pd.DataFrame, kind: str, title: str) -> Figure:
    rows = _scored(table, list(_OVER_LAYERS))
    rows = rows[rows["map"] == kind]
    looks = method_looks(sorted(table["method"].unique()))
    tests = [test for test in _OVER_LAYERS if test in set(rows["test"])]
    names = _layer_names(rows)
    legend = 0.8 + _CHARACTER * max(map(len, looks))
    width = len(tests) * max(3.6, _LAYER * min(len(names), _TICKS) + 0.8) + legend
    with style():
        figure = Figure(figsize=(width, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(
            len(_MEASURES), len(tests), sharex=True, sharey="row", squeeze=False
        )
        for line, measure in zip(panels, _MEASURES, strict=True):
            for panel, test in zip(line, tests, strict=True):
                plotted = rows[(rows["test"] == test) & (rows["measure"] == measure)]
                _lines(panel, plotted, looks)
                if test == "cascading" and measure == SPEARMAN and kind == ABSOLUTE:
                    _mark_rule(panel, len(names))
            line[0].set_ylabel(_MEASURES[measure])
        for panel, test in zip(panels[0], tests, strict=True):
            panel.set_title(_OVER_LAYERS[test], fontsize="medium")
        for panel in panels[-1]:
            _name_layers(panel, names)
        labelled = [
            pair
            for panel in panels.flat
            for pair in zip(*panel.get_legend_handles_labels(), strict=True)
        ]
        handles = {text: handle for handle, text in labelled}
        figure.legend(
            handles.values(), handles, loc="outside right center", frameon=False, handlelength=3.2
        )
        _head(figure, title, f"{kind} maps, mean and 95 % interval over images")
    return figure


def _head(figure: Figure, title: str, note: str) -> None:
    """Two lines above all panels; the first names the data, by a path perhaps."""
    shown = HEADING.shorten(title, figure.get_figwidth() - 0.4)
    figure.suptitle(f"{shown}\n{note}", fontsize=HEADING.size)


def _lines(panel: Axes, rows: pd.DataFrame, looks: Mapping[str, MethodLook]) -> None:
    for method, of_method in rows.groupby("method", sort=True):
        of_method, look = of_method.sort_values("layer_index"), looks[str(method)]
        panel.fill_between(
            of_method["layer_index"],
            of_method["low"],
            of_method["high"],
            color=look.color,
            alpha=0.15,
            linewidth=0,
        )
        panel.plot(
            of_method["layer_index"],
            of_method["mean"],
            color=look.color,
            linestyle=look.dashes,
            marker=look.marker,
            markersize=4,
            markeredgecolor="white",
            markeredgewidth=0.4,
            linewidth=1.3,
            label=method,
        )
    panel.grid(visible=False, axis="x")
    low = min(-0.05, float(rows["mean"].min()) - 0.1)  # wide intervals may leave the panel
    panel.set_yticks(np.arange(np.ceil(5 * low), 6) / 5)
    panel.set_ylim(low, 1.05)


def _mark_rule(panel: Axes, layers: int) -> None:
    """The threshold of the verdict, over the half of the layers whose mean it is about."""
    panel.plot([0.5, np.ceil(layers / 2) + 0.5], [THRESHOLD] * 2, label=_RULED, **_FAINT)


def _layer_names(rows: pd.DataFrame) -> dict[int, str]:
    """index -> name of the layers, from the top."""
    layers = rows[["layer_index", "layer"]].drop_duplicates().sort_values("layer_index")
    return dict(zip(layers["layer_index"], layers["layer"], strict=True))


def _name_layers(panel: Axes, names: Mapping[int, str]) -> None:
    shown = list(names)[:: -(-len(names) // _TICKS)]
    panel.set_xticks(shown, [names[index] for index in shown], rotation=90, fontsize="x-small")
    panel.set_xlabel("layer, the one at the top first")


def _bars(table: pd.DataFrame, test: str, title: str) -> Figure:
    rows = _scored(table, [test])
    pairs = [(ABSOLUTE, SPEARMAN), (ABSOLUTE, SSIM), (SIGNED, SPEARMAN), (SIGNED, SSIM)]
    names = {pair: f"{_MEASURES[pair[1]]}, {pair[0]} maps" for pair in pairs}
    if test == "efficient":
        names = {("as given", RISE): "rise in complexity"}
    present = set(zip(rows["map"], rows["measure"], strict=True))
    names = {pair: name for pair, name in names.items() if pair in present}
    methods = sorted(rows["method"].unique())
    with style():
        width = 6 + _CHARACTER * max(map(len, methods))
        figure = Figure(
            figsize=(width, 1.5 + 0.16 * len(methods) * max(2, len(names))), layout="constrained"
        )
        FigureCanvasAgg(figure)
        panel = figure.subplots()
        _draw_bars(panel, rows, methods, names)
        panel.set_xlabel(_RISE if test == "efficient" else _BARS[test])
        if test == "random-logit":
            panel.axvline(THRESHOLD, label=_RULED, **_FAINT)
        if len(names) > 1:
            figure.legend(loc="outside lower center", ncols=2, frameon=False)
        _head(figure, title, "mean and 95 % interval over images")
    return figure


def _draw_bars(
    panel: Axes, rows: pd.DataFrame, methods: Sequence[str], names: Mapping[tuple[str, str], str]
) -> None:
    """A lane a method, in it a bar for each kind of map and measure."""
    height = 0.8 / len(names)
    looks = list(method_looks(list(names.values())).values())
    for i, (kind, measure) in enumerate(names):
        plotted = rows[(rows["map"] == kind) & (rows["measure"] == measure)]
        lanes = plotted["method"].map(methods.index) + height * (i - (len(names) - 1) / 2)
        spread = [
            (plotted["mean"] - plotted["low"]).fillna(0),
            (plotted["high"] - plotted["mean"]).fillna(0),
        ]
        panel.barh(
            lanes,
            plotted["mean"],
            height,
            color=looks[i].color,
            alpha=0.8,
            label=names[kind, measure],
        )
        panel.errorbar(plotted["mean"], lanes, xerr=spread, linestyle="", color="0.2", elinewidth=1)
    panel.axvline(0, color="0.2", linewidth=0.8)
    low, high = panel.get_xlim()
    panel.set_xticks([tick for tick in panel.get_xticks() if low <= tick <= high])
    panel.set_yticks(range(len(methods)), methods)
    panel.set_ylim(len(methods) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")


def _scored(table: pd.DataFrame, tests: Sequence[str]) -> pd.DataFrame:
    """The rows of these tests that have a number."""
    return table[table["test"].isin(tests) & table["mean"].notna()]


def _save(figure: Figure, path: Path) -> None:
    with style():
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")
