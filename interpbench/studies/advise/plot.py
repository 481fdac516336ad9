"""The picture: wins against the time of a map, and who is beaten by nobody in both."""

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.point_labels import place_labels
from interpbench.drawing.style import DPI, SMALL, logarithmic, style
from interpbench.studies.advise.findings import CONTROL, METHODS, ONE_OF, USE, Findings

_GOOD, _OTHER, _CONTROL = "#00694e", "0.45", "#b34700"
_WIDTH, TITLE = 7.2, Font(9.6, "bold")  # inches, and of the heading
_FEW = 14  # methods that are all named


def front(methods: pd.DataFrame) -> list[str]:
    """The methods that no other beats in both wins and time, the fastest first.

    Parameters:
        methods: columns method, wins and ms, without controls.
    """
    on_it, best = [], -1.0
    ordered = methods.sort_values(["ms", "wins"], ascending=[True, False], kind="stable")
    for row in ordered.itertuples():
        if row.wins > best:
            on_it.append(str(row.method))
            best = row.wins
    return on_it


def heading(title: str) -> str:
    """What was asked, on two lines at most: a data set's name may hold a path."""
    text = f"{title}: wins against the time of a map"
    return TITLE.fold(text, _WIDTH - 1, lines=2)


def draw(found: Findings, title: str, path: Path) -> None:
    """Writes a PNG: a point a method that was scored, with its 95 % interval."""
    methods = found.tables[METHODS]
    timed = methods[(methods["ms"] > 0) & methods["wins"].notna()]
    with style():
        figure = Figure(figsize=(_WIDTH, 5.0), layout="constrained")
        FigureCanvasAgg(figure)
        panel = figure.add_subplot()
        points = {}
        judged = timed[timed["advice"] != CONTROL]
        best = front(judged)
        named = set(timed["method"]) if len(timed) <= _FEW else {
            *best, *found.recommended, *timed.loc[timed["advice"] == CONTROL, "method"],
            *judged["method"][:6],
        }  # fmt: skip
        for row in timed.itertuples():
            chosen = row.advice in (USE, ONE_OF)
            colour = _GOOD if chosen else _CONTROL if row.advice == CONTROL else _OTHER
            panel.plot([row.ms] * 2, [row.low, row.high], color=colour, linewidth=1, alpha=0.5)
            marker = "D" if chosen else "x" if row.advice == CONTROL else "o"
            panel.plot(row.ms, row.wins, marker, color=colour, markersize=6 if chosen else 4.5)
            if row.method in named:
                points[str(row.method)] = (row.ms, row.wins)
        line = judged.set_index("method").loc[best]
        panel.step(
            line["ms"], line["wins"], where="post", color="0.6", linewidth=1, linestyle="--",
            zorder=1,
        )  # fmt: skip
        logarithmic(panel, "x")
        panel.margins(x=0.15, y=0.08)
        panel.set(
            xlabel="ms a map",
            ylabel="share of comparisons won",
        )
        panel.set_title(heading(title), fontsize=TITLE.size)
        figure.supxlabel(
            "comparisons with the best rivals and the controls; green: recommended; "
            "crosses: controls; dashed: no other is both faster and better",
            fontsize=SMALL,
        )
        if points:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            place_labels(panel, points)
        figure.savefig(path, dpi=DPI, metadata={"Software": None}, format="png")
