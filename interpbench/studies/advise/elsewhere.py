"""An answer held against images that it did not see: which of its statements they bear out."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from interpbench.core.errors import ParameterError
from interpbench.studies.advise.bench import Bench, Round
from interpbench.studies.advise.findings import (
    CONTROL,
    METHODS,
    PAIRS,
    SETTINGS,
    SUMMARY,
    SURVIVAL,
    Findings,
    Measured,
    find,
    images_needed,
)
from interpbench.studies.advise.race import WORSE
from interpbench.studies.advise.rounds import FOLDER, Rounds, cells_of, metrics_of, scores_of
from interpbench.studies.advise.rules import Rules
from interpbench.studies.advise.wins import rival_row

STATEMENTS = "statements.csv"
FEWEST = 2  # images that say anything of differences


class Statement(NamedTuple):
    """A sentence of an answer, or a part of one.

    Attributes:
        statement: what it says.
        holds: whether the other images say so too.
        there: what they say.
    """

    statement: str
    holds: bool
    there: str


def refuse_too_many(bench: Bench, count: int) -> None:
    """Refuses to look for more images than there can be.

    Raises:
        ParameterError: if there cannot be so many.
    """
    most = len(bench.ids(None)) - FEWEST
    if not FEWEST <= count <= most:
        raise ParameterError(
            f"--others {count}: expected a number from {FEWEST} to {most}, since an answer rests "
            f"on {FEWEST} of the data's {most + FEWEST} images at least."
        )


def measured_elsewhere(measured: Measured, rounds: Rounds, rules: Rules, count: int) -> Measured:
    """The same methods on images that no round has seen.

    All that were scored take part, whoever was left behind: finalists, their rivals and controls
    under all settings, the others by the metrics of the race. It goes on where it was interrupted.

    Parameters:
        measured, rounds, rules: of the answer.
        count: images, or all that are left; the next of the order that rounds took theirs in.

    Raises:
        ParameterError: if there are none.
    """
    bench = rounds.bench
    seen = {name for record in rounds.records for name in record.images}
    asked = tuple(name for name in bench.ids(None) if name not in seen)[:count]
    if len(asked) < FEWEST:
        raise ParameterError(
            "The answer has seen all images, so that there are no others to hold it against. It "
            "stands in its folder; with --images it takes fewer."
        )
    near = [*measured.controls, *measured.rivals]
    rest = [name for name in measured.scores["method"].unique() if name not in near]
    metrics = tuple(measured.settings) or None
    folder = rounds.folder.path / FOLDER
    tables = [
        bench.score(Round(tuple(names), asked, by, float("inf")), folder / name)
        for name, names, by in (("others-near", near, metrics), ("others-rest", rest, None))
        if names
    ]
    return Measured(
        scores=scores_of(tables),
        metrics=metrics_of(tables),
        cells=cells_of(tables, {}),
        finalists=measured.finalists,
        rivals=measured.rivals,
        dropped={},
        settings=measured.settings,
        seed=measured.seed,
    )


def with_statements(said: Findings, elsewhere: Measured, rules: Rules) -> Findings:
    """The findings with a table of statements, and how many of these hold.

    Parameters:
        said: of the answer.
        elsewhere: of `measured_elsewhere`.
        rules: of the answer.
    """
    rows = list(statements(said, find(elsewhere, rules)))
    table = pd.DataFrame(rows, columns=Statement._fields)
    table.insert(0, "row", [str(number) for number in range(1, len(table) + 1)])
    counts = {
        "other images": int(elsewhere.scores["sample_id"].nunique()),
        "statements": len(table),
        "statements that hold": int(table["holds"].sum()),
    }
    more = [{"key": key, "value": value, "text": ""} for key, value in counts.items()]
    summary = pd.concat([said.tables[SUMMARY], pd.DataFrame(more)], ignore_index=True)
    tables = {**said.tables, SUMMARY: summary, STATEMENTS: table}
    return Findings(tables, said.recommended, said.leader)


def statements(said: Findings, there: Findings) -> Iterator[Statement]:
    """What an answer says of methods that other images can bear out or not.

    A share holds if theirs lies in its interval; how many settings a method is first under, if
    theirs is the same or the next number; whatever was shown, if they show it too; "cannot be told
    apart", if they cannot either.

    Parameters:
        said: of the answer.
        there: of the other images.
    """
    claims = _Claims(said, there)
    if claims.leader:
        yield from claims.of_the_recommended()
        yield from claims.of_shares()
        yield from claims.of_settings()
        yield from claims.of_the_rest()
        yield from claims.of_more_images()


class _Claims:
    def __init__(self, said: Findings, there: Findings) -> None:
        self.leader = said.leader
        self._said, self._there = said, there
        self._methods = said.tables[METHODS].set_index("method")
        self._others = there.tables[METHODS].set_index("method")
        self._controls = self._others.index[self._others["role"] == "control"].tolist()
        summary = said.tables[SUMMARY].set_index("key")["text"]
        self._best = str(summary["best control"])

    def of_the_recommended(self) -> Iterator[Statement]:
        for name in self._said.recommended:
            found = [(self._pair(name, control), control) for control in self._controls]
            (better, p), nearest = max(found, key=lambda it: (it[0][0] != name, it[0][1]))
            text = f"{name} is better than every control"
            yield Statement(text, better == name, f"against {nearest}, p = {p:.2g}")
        for name in self._said.recommended:
            if name != self.leader:
                better, p = self._pair(name, self.leader)
                text = f"{name} cannot be told apart from {self.leader}"
                level = not better and not math.isnan(p)  # NaN: they were not compared
                yield Statement(text, level, f"p = {p:.2g}" + (better and f", {better} leads"))

    def of_shares(self) -> Iterator[Statement]:
        for name in filter(None, (self.leader, self._best)):
            row, share = self._methods.loc[name], self._others.loc[name, "wins"]
            text = f"{name} wins {row['wins']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"
            yield Statement(text, bool(row["low"] <= share <= row["high"]), f"{share:.1%}")
        if self._best:
            best = str(self._others.loc[self._controls, "wins"].idxmax())
            text = f"no control wins more than {self._best}"
            yield Statement(text, best == self._best, f"{best} wins most")

    def of_settings(self) -> Iterator[Statement]:
        count = len(self._said.tables[SETTINGS])
        if not count:
            return
        firsts = self._methods["first_under"]
        for name in firsts.index[firsts > 0]:
            here, there = int(firsts[name]), int(self._others.loc[name, "first_under"])
            text = f"{name} ranks first under {here} of {count} settings"
            yield Statement(text, abs(here - there) <= 1, f"{there}")
        shown = _between(self._said, self.leader, self._best)
        found = _between(self._there, self.leader, self._best)
        if shown and found:
            text = (
                f"{shown[0]} settings show {self.leader} better than {self._best}, {shown[1]} worse"
            )
            holds = found[0] >= shown[0] and found[1] == shown[1]
            yield Statement(text, holds, f"{found[0]} better, {found[1]} worse")

    def of_the_rest(self) -> Iterator[Statement]:
        advice = self._methods["advice"]
        for name in advice.index[advice == WORSE]:
            better, p = self._pair(name, self.leader)
            text = f"{name} is worse than {self.leader}"
            yield Statement(text, better == self.leader, f"p = {p:.2g}")
        out = ~advice.isin([CONTROL, WORSE]) & ~advice.index.isin(self._said.recommended)
        others = [name for name in advice.index[out] if name in self._others.index]
        ahead = [name for name in others if self._pair(name, self.leader)[0] == name]
        if others:
            text = f"none of the {len(others)} others is better than {self.leader}"
            yield Statement(text, not ahead, ", ".join(ahead) or "none is shown to be")

    def of_more_images(self) -> Iterator[Statement]:
        needed = images_needed(self._said.tables[METHODS])
        for name in dict.fromkeys(needed.index[[0, -1]] if len(needed) else ()):
            if name not in self._others.index:
                continue
            better, p = self._pair(name, self.leader)
            images = int(self._others.loc[name, "images"])
            text = (
                f"{name} would be told apart from {self.leader} by about {needed[name]:.0f} images"
            )
            holds = bool(better) == (needed[name] <= images)
            yield Statement(text, holds, f"p = {p:.2g} on {images} images")

    def _pair(self, method: str, other: str) -> tuple[str, float]:
        """Who of two is shown to be better, or nobody, on the other images; and p."""
        row = rival_row(self._there.tables[PAIRS], method, other)
        return ("", float("nan")) if row is None else (str(row["better"]), float(row["p_holm"]))


def _between(found: Findings, method: str, other: str) -> tuple[int, int] | None:
    """Settings that show the first to be better than the other, and worse."""
    table = found.tables[SURVIVAL]
    for better, worse, (first, second) in (
        ("better", "worse", (method, other)),
        ("worse", "better", (other, method)),
    ):
        rows = table[(table["method"] == first) & (table["other"] == second)]
        if len(rows):
            return int(rows.iloc[0][better]), int(rows.iloc[0][worse])
    return None
