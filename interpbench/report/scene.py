"""What the pictures of a run share: its tables, the looks of its methods, panels and titles."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpbench.drawing.method_colours import MethodLook, method_looks
from interpbench.drawing.style import SCREEN, Page
from interpbench.results.leaderboard import rank_texts
from interpbench.results.tables import ARROWS, RunTables

_FLATTER = 0.65  # of a panel's height on a screen, in a paper
# Where a legend stands: beside its panel, or below.
_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1.02)}
_BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22)}


@dataclass(frozen=True)
class Scene:
    """What every picture is drawn from.

    Attributes:
        tables, board: of the run.
        page: where the pictures are to stand.
    """

    tables: RunTables
    board: pd.DataFrame
    page: Page = SCREEN

    @cached_property
    def looks(self) -> dict[str, MethodLook]:
        """How each method is drawn."""
        return method_looks(sorted(set(self.tables.cells["method"])))

    def ranked(self, **labels: str) -> pd.DataFrame:
        """Rows of the leaderboard with these labels and a mean, best first."""
        rows = rows_of(self.board, **labels)
        return rows[rows["n"] > 0]

    def metrics(self, rows: pd.DataFrame) -> list[str]:
        """Metrics that occur in `rows`, in the order of the run."""
        present = set(rows["metric"])
        return [name for name in self.tables.metrics if name in present]

    def places(self, row: Any) -> str:
        """The places that the data leave to a row of the leaderboard."""
        rows = self.ranked(dataset=row.dataset, model=row.model, metric=row.metric)
        return str(rank_texts(rows)[rows["method"] == row.method].iloc[0])

    def heading(self, metric: str) -> str:
        """A panel's title: the metric and which direction is better."""
        better = self.tables.metrics[metric].better
        return f"{metric}  {ARROWS[better]} {better} is better"

    def title(self, dataset: str, model: str) -> str:
        """A model, its data set and its accuracy."""
        weights = "RANDOM WEIGHTS, " if self.tables.is_untrained(dataset, model) else ""
        return f"{model} on {dataset} ({weights}{self.tables.accuracy_text(dataset, model)})"

    def model_label(self, dataset: str, model: str) -> str:
        """A model, and that its weights are random if they are."""
        random = self.tables.is_untrained(dataset, model)
        return f"{model} (random weights)" if random else model

    def panels(
        self,
        count: int,
        across: int,
        width: float,
        height: float,
        legend: tuple[int, float] = (0, 0),
    ) -> tuple[Figure, list[Axes]]:
        """A figure of so many panels.

        Parameters:
            count: of the panels.
            across: how many stand beside each other on a screen; in a paper, as many as it has
                columns.
            width, height: of a panel on a screen, in inches.
            legend: lines and width in inches of the legend that each panel gets, beside it or, in a
                paper, below.
        """
        lines, beside = legend
        if self.page.width is None:
            width, height = width + beside, max(height, lines * self.page.line + 0.8)
        else:
            across = min(count, self.page.columns or 1)
            width = self.page.width / across
            height = _FLATTER * height + (lines + 2) * self.page.line * (lines > 0)
        down = -(-count // across)
        figure = Figure(figsize=(across * width, down * height + 0.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(down, across, squeeze=False).flat)
        for panel in axes[count:]:
            panel.set_axis_off()
        return figure, axes[:count]

    def legend(self, panel: Axes, title: str) -> None:
        """A panel's legend, beside it or, in a paper, below."""
        place = _BESIDE if self.page.width is None else _BELOW
        panel.legend(title=title, handlelength=3.2, frameon=False, alignment="left", **place)

    def suptitle(self, figure: Figure, text: str) -> None:
        """The title of a whole picture, on as many lines as it takes."""
        figure.suptitle(self.page.wrap(text, figure.get_figwidth()))


def rows_of(frame: pd.DataFrame, **labels: str) -> pd.DataFrame:
    """The rows with these labels."""
    for column, label in labels.items():
        frame = frame[frame[column] == label]
    return frame
