"""The critical-difference diagram: mean ranks of methods across models.

Those are joined that cannot be told apart.
"""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpbench.drawing.style import SCREEN, Page
from interpbench.results.comparison import agreement, judges_text, mean_ranks


def critical_differences(
    board: pd.DataFrame, headings: Mapping[str, str], page: Page = SCREEN
) -> Figure | None:
    """A panel for each metric with two models or more (Demšar, JMLR 2006), or None.

    Bars join methods that Nemenyi's test does not tell apart. Where there are too few models to
    test, there are no bars, and the panel says so.

    Parameters:
        board: the leaderboard.
        headings: a panel's title for each metric.
        page: where the picture is to stand. In one column all labels stand on the left.
    """
    ranks, tests = mean_ranks(board), agreement(board).set_index("metric")
    metrics = [metric for metric in headings if metric in set(ranks["metric"])]
    if not metrics:
        return None
    sides = 1 if page.columns == 1 else 2
    heights = [
        1.5 + 1.3 * page.line * (len(of_metric) / sides + _bars(of_metric))
        for _, of_metric in ranks.groupby("metric", sort=False)
    ]
    longest = ranks["method"].str.len().max()
    width = page.width or 5.5 + 2 * 1.1 * page.character * longest
    figure = Figure(figsize=(width, sum(heights) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(metrics), squeeze=False, height_ratios=heights)[:, 0]
    room = width - sides * page.character * longest
    for panel, metric in zip(axes, metrics, strict=True):
        of_metric = ranks[ranks["metric"] == metric].set_index("method")
        _panel(panel, of_metric, tests.loc[metric], left_only=sides == 1)
        judges = page.wrap(judges_text(tests.loc[metric]), room)
        panel.set_title(f"{headings[metric]}\n{judges}", fontsize="medium", pad=14)
    title = "Mean rank across models: 1 is best; bars join methods that cannot be told apart"
    figure.suptitle(page.wrap(title, width))
    return figure


def _bars(ranks: pd.DataFrame) -> int:
    """How many groups of methods cannot be told apart."""
    return len(set("".join(ranks["letters"])))


def _panel(panel: Axes, ranks: pd.DataFrame, test: pd.Series, *, left_only: bool) -> None:
    from scikit_posthocs import critical_difference_diagram

    groups = {method: set(letters) for method, letters in ranks["letters"].items()}
    joined = {a: {b: float(bool(groups[a] & groups[b])) for b in groups} for a in groups}
    drawn = critical_difference_diagram(
        ranks["mean_rank"],
        pd.DataFrame(joined),
        ax=panel,
        label_fmt_left="{label}  {rank:.2f} ",
        label_fmt_right=" {rank:.2f}  {label}",
        label_props={"fontsize": "small"},
        text_h_margin=0.06,
        left_only=left_only,
        marker_props={"s": 18},
        elbow_props={"color": "0.25", "linewidth": 0.9},
        crossbar_props={"color": "C0", "linewidth": 3, "solid_capstyle": "butt"},
    )
    # A bar is drawn through its methods in the order of a set, another in each process.
    for (bar,) in drawn["crossbars"]:
        x, y = bar.get_data()
        bar.set_data([min(x), max(x)], y[:2])
    panel.set_xlim(0.9, len(ranks) + 0.1)
    panel.grid(visible=False)
    critical = test["critical_difference"]
    if pd.notna(critical):
        panel.plot(
            [1, 1 + critical], [1.5, 1.5], color="0.25", linewidth=1.5, marker="|", markersize=6
        )
        panel.text(
            1.1 + critical,
            1.5,
            f"critical difference {critical:.2f}",
            va="center",
            fontsize="small",
        )
