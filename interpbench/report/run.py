"""A finished run as it shows itself in Python: a line, a table in a notebook, a figure."""

import io
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from interpbench.core.calls import checked
from interpbench.report.verdict.evidence import of_run
from interpbench.report.verdict.findings import leading
from interpbench.report.verdict.legend import legend
from interpbench.report.verdict.verdict import verdict
from interpbench.results import finished_run
from interpbench.results.leaderboard import rank_texts
from interpbench.results.run_folder import PAGE
from interpbench.results.tables import ARROWS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTICES = 10  # that a notebook shows
WARNINGS = 3  # lines of what went wrong, in print


@dataclass(frozen=True, eq=False, repr=False)
class Run(finished_run.Run):
    """A run and its tables.

    In a notebook it shows its leaderboard.

    Attributes:
        folder: where it lies.
        info: run.json.
        tables: scores, curves, cells, timings, examples.
        conclusions: what follows from the scores, by the name of its file: see
            `leaderboard.conclude`.

    Example:
        >>> import interpbench
        >>> finished = interpbench.run(
        ...     dataset="planted", model="resnet18", method="saliency,random",
        ...     metric="pointing-game", images=2, ceiling="none", device="cpu", plots=False,
        ...     output="saliency-or-chance",
        ... )
        >>> set(finished.scores["metric"])
        {'pointing-game'}
        >>> finished.leaderboard.set_index("method").loc["random", "role"]
        'control'
        >>> finished.comparisons[["n"]].to_dict("records")
        [{'n': 2}]
        >>> finished.plot().get_size_inches().shape
        (2,)
    """

    @classmethod
    def of(cls, run: finished_run.Run) -> "Run":
        """The same run, which shows itself."""
        return cls(run.folder, run.info, run.tables, run.conclusions)

    def plot(
        self, kind: str = "scores", *, dataset: str | None = None, model: str | None = None
    ) -> "Figure":
        """One of the run's pictures.

        Parameters:
            kind: `scores`, `curves`, `maps`, `shares`, `quality-time` or `critical-difference`.
            dataset, model: of which; the first by default.

        Raises:
            UnknownNameError: if there is no such kind.
            ParameterError: if the run has no data for it.
        """
        from interpbench.report.plots import figure_of

        wanted = {"dataset": dataset, "model": model}
        labels = {name: label for name, label in wanted.items() if label is not None}
        figure = figure_of(self.tables, self.leaderboard, kind, **labels)
        # A notebook shows it even where pyplot is not imported.
        figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
        return figure

    def __repr__(self) -> str:
        """What was run and where it lies, the verdict, and what went wrong."""
        failed = f", {len(self.failed)} of them failed" if len(self.failed) else ""
        cells = f"{len(self.tables.cells)} cells{failed}"
        first = f"Run of {self.info.suite.name}: {cells}, in {self.folder}"
        return "\n".join([first, *verdict(of_run(self)).lines, *self._warnings()])

    def _warnings(self) -> list[str]:
        """Why cells failed and which methods a model rules out, the first few."""
        lines = [f"failed: {row.method}: {row.reason}" for row in self.failed.itertuples()]
        lines += [f"note: {notice}" for notice in self.info.notices if "rules out" in notice]
        more = [f"and {len(lines) - WARNINGS} more: run.failed, run.info.notices"]
        return lines[:WARNINGS] + more * (len(lines) > WARNINGS)

    def _repr_html_(self) -> str:
        """The verdict, the leaderboard as a table a data set and model, notices and links."""
        evidence = of_run(self)
        headline, *others = verdict(evidence).lines
        board = self.leaderboard.assign(
            rank_text=rank_texts(self.leaderboard),
            leads=leading(self.leaderboard, evidence.controls),
        )
        parts = [
            f"<p><b>{escape(headline)}</b></p>",
            *(f"<p>{escape(line)}</p>" for line in others),
        ]
        parts += [
            self._table(str(d), str(m), rows)
            for (d, m), rows in board.groupby(["dataset", "model"], sort=False)
        ]
        parts.append(f"<p><small>{escape(legend(board))}</small></p>")
        notices = [f"<li>{escape(notice)}</li>" for notice in self.info.notices[:NOTICES]]
        more = len(self.info.notices) - NOTICES
        notices += [f"<li>and {more} more, see run.json</li>"] if more > 0 else []
        parts += [f"<ul>{''.join(notices)}</ul>"] if notices else []
        for row in self.failed.itertuples():
            why = f"{row.method} on {row.model} failed: {row.reason}"
            parts.append(f"<p>{escape(why)}</p>")
        return "".join([*parts, f"<p>{self._links()}</p>"])

    def _table(self, dataset: str, model: str, rows: pd.DataFrame) -> str:
        metrics = [name for name in self.tables.metrics if name in set(rows["metric"])]
        heads = [f"{name} {ARROWS[self.tables.metrics[name].better]}" for name in metrics]
        lines = []
        for method in rows.loc[rows["metric"] == metrics[0], "method"]:
            of_method = rows[rows["method"] == method].set_index("metric")
            cells = [_cell(of_method.loc[name]) for name in metrics]
            lines.append(f"<tr><th>{escape(str(method))}</th>{''.join(cells)}</tr>")
        text = f"{model} on {dataset}, {self.tables.accuracy_text(dataset, model)}"
        head = "".join(f"<th>{escape(name)}</th>" for name in ["method", *heads])
        return (
            f"<table><caption>{escape(text)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table>"
        )

    def _links(self) -> str:
        links = f"<code>{escape(str(self.folder))}</code>"
        page = self.folder / PAGE
        if page.is_file():
            links += f' <a href="{escape(page.resolve().as_uri())}">{PAGE}</a>'
        return links


@checked
def load_run(folder: str | Path) -> Run:
    """Opens a run; neither torch nor plugins are needed.

    Raises:
        RunFolderError: if there is none.

    Example:
        >>> import interpbench
        >>> finished = interpbench.run(
        ...     dataset="planted", model="resnet18", method="saliency,random",
        ...     metric="pointing-game", images=2, ceiling="none", device="cpu", plots=False,
        ...     output="saliency-or-chance",
        ... )
        >>> again = interpbench.load_run("saliency-or-chance")
        >>> again.leaderboard.equals(finished.leaderboard)
        True
    """
    return Run.of(finished_run.load_run(folder))


def _cell(row: pd.Series) -> str:
    """Places, mean, interval and share; what leads is bold."""
    if row["n"] == 0:
        return "<td>–</td>"
    text = f"{row['rank_text']} {row['mean']:.3f}"
    if row["n"] > 1:
        text += f" [{row['low']:.3f}, {row['high']:.3f}]"
    if pd.notna(row["share"]):
        text += f" {round(row['share'], 2) + 0:.0%}"  # no -0
    return f"<td><b>{escape(text)}</b></td>" if row["leads"] else f"<td>{escape(text)}</td>"


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
