"""Which methods are best, and is that significant? In words, from a leaderboard alone."""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from interpbench.report.page.evidence import Evidence
from interpbench.report.page.words import count, listing, number, percent


@dataclass(frozen=True)
class Winner:
    """The best mean of a data set, model and metric.

    Attributes:
        low, high: its 95 % interval; NaN for a single image.
        share, share_low, share_high: of the achievable; NaN where it was not measured.
        ties: methods besides it that no method is better than, best mean first. From none of them,
            if it has rank 1 itself, can it be told apart.
        others: how many methods it is compared with.
        beaten: whether some method is better than it for all its mean, since the test weighs ranks.
    """

    dataset: str
    model: str
    method: str
    mean: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float
    n: int
    ties: tuple[str, ...]
    others: int
    beaten: bool

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """All methods that no method is better than."""
        return self.ties if self.beaten else (self.method, *self.ties)

    @property
    def alone(self) -> bool:
        """Whether it is significantly better than every other method."""
        return bool(self.others) and not self.ties and not self.beaten


@dataclass(frozen=True)
class Verdict:
    """What a metric says: who leads over all of its models, and how sure that is."""

    metric: str
    better: str
    summary: str
    leader: str
    sentence: str
    winners: tuple[Winner, ...]


@dataclass(frozen=True)
class Line:
    """A method at a glance.

    For each metric, on how many models nobody beats it, and its mean place by score.
    """

    method: str
    control: bool
    unbeaten: int
    cells: tuple[tuple[int, int, float], ...]  # unbeaten, models, mean place


@dataclass(frozen=True)
class Answer:
    """The page's first lines: a heading, what it rests on, and a verdict for each metric."""

    headline: str
    lede: str
    verdicts: tuple[Verdict, ...]
    glance: tuple[Line, ...]


def answer(evidence: Evidence) -> Answer:
    """What the leaderboard says, in words."""
    verdicts = tuple(_verdict(evidence, metric, rows) for metric, rows in evidence.by_metric())
    glance = tuple(_glance(evidence))
    headline, lede = _headline(evidence, verdicts, glance)
    return Answer(headline, lede, verdicts, glance)


def blocks(rows: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Rows of one metric by data set and model, best mean first."""
    lower = (rows["better"] == "lower").all()
    rows = rows.sort_values("mean", ascending=lower, kind="stable")
    return [
        ((str(dataset), str(model)), block)
        for (dataset, model), block in rows.groupby(["dataset", "model"])
    ]


def _verdict(evidence: Evidence, metric: str, rows: pd.DataFrame) -> Verdict:
    winners = tuple(_winner(key, block) for key, block in blocks(rows))
    leader = _leader(evidence, metric, winners)
    info = evidence.metrics[metric]
    sentence = f"{_significance(leader, rows, winners)} {_way_to_ceiling(leader, rows)}".strip()
    return Verdict(metric, info.better, info.summary, leader, sentence, winners)


def _winner(key: tuple[str, str], rows: pd.DataFrame) -> Winner:
    first = rows.iloc[0]
    ties = rows.loc[rows["rank"] == 1, "method"]
    return Winner(
        dataset=key[0],
        model=key[1],
        method=first["method"],
        mean=float(first["mean"]),
        low=float(first["low"]),
        high=float(first["high"]),
        share=float(first["share"]),
        share_low=float(first["share_low"]),
        share_high=float(first["share_high"]),
        n=int(first["n"]),
        ties=tuple(ties[ties != first["method"]]),
        others=len(rows) - 1,
        beaten=bool(first["rank"] > 1),
    )


def _leader(evidence: Evidence, metric: str, winners: tuple[Winner, ...]) -> str:
    """The method that is unbeaten on most models.

    Of several, the one of the best mean rank, or of the best mean.
    """
    ranks = evidence.ranks[evidence.ranks["metric"] == metric].set_index("method")["mean_rank"]
    unbeaten = Counter(name for winner in winners for name in winner.unbeaten)
    best = Counter(winner.method for winner in winners)
    return min(
        unbeaten,
        key=lambda name: (-unbeaten[name], ranks.get(name, float("inf")), -best[name], name),
    )


def _significance(leader: str, rows: pd.DataFrame, winners: tuple[Winner, ...]) -> str:
    """In how far the leader is better than the others, by the test on the same images."""
    total = len(winners)
    everywhere = "" if total == 1 else f" on all {total} models"
    if max(winner.others for winner in winners) == 0:
        return "No other method was scored."
    if max(winner.n for winner in winners) < 2:
        return "One image: no test can tell methods apart."
    if all(winner.alone and winner.method == leader for winner in winners):
        return f"Significantly better than every other method{everywhere}."
    of_leader = rows[rows["method"] == leader]
    lost = int((of_leader["rank"] > 1).sum())
    beaten = (
        f"Beaten significantly on {lost} of {total} models."
        if total > 1
        else "Beaten in spite of its best mean."
    )
    rivals = _rivals(leader, rows)
    if not rivals:
        return beaten if lost else f"Significantly better than every other method{everywhere}."
    names = [
        name if total == 1 or k == total else f"{name} ({k} of {total} models)"
        for name, k in rivals.items()
    ]
    if lost:
        return f"{beaten} Cannot be told apart from {listing(names)}."
    return f"No method is significantly better, but it cannot be told apart from {listing(names)}."


def _rivals(leader: str, rows: pd.DataFrame) -> dict[str, int]:
    """Methods that share rank 1 with the leader, on how many models.

    Most often first, then by name.
    """
    rivals: Counter[str] = Counter()
    for _, unbeaten in rows[rows["rank"] == 1].groupby(["dataset", "model"]):
        if leader in set(unbeaten["method"]):
            rivals.update(set(unbeaten["method"]) - {leader})
    return dict(sorted(rivals.items(), key=lambda item: (-item[1], item[0])))


def _way_to_ceiling(leader: str, rows: pd.DataFrame) -> str:
    """How far the leader is between floor and ceiling."""
    shares = rows.loc[rows["method"] == leader, "share"].dropna()
    if shares.empty:
        return ""
    low, high = percent(shares.min()), percent(shares.max())
    span = low if low == high else f"{low} to {high}"
    return (
        f"It goes {span} of the way from the best control to what "
        "a search for the best score reaches."
    )


def _glance(evidence: Evidence) -> list[Line]:
    by_metric = [(rows, _places(rows)) for _, rows in evidence.by_metric()]
    lines = []
    for method in evidence.methods:
        cells = []
        for rows, places in by_metric:
            of_method = rows[rows["method"] == method]
            cells.append(
                (
                    int((of_method["rank"] == 1).sum()),
                    len(of_method),
                    places.get(method, float("nan")),
                )
            )
        lines.append(
            Line(method, method in evidence.controls, sum(cell[0] for cell in cells), tuple(cells))
        )

    def order(line: Line) -> tuple[int, float]:
        finite = [place for *_, place in line.cells if place == place]
        return -line.unbeaten, sum(finite) / len(finite) if finite else float("inf")

    return sorted(lines, key=order)


def _places(rows: pd.DataFrame) -> dict[str, float]:
    """Where a method's mean stands among all means, averaged over the models.

    Only of methods that were scored on all of them. With several models these are the mean ranks of
    `comparison.mean_ranks`.
    """
    costs = rows["mean"].where(rows["better"] == "lower", -rows["mean"])
    table = rows.assign(cost=costs).pivot_table(
        index=["dataset", "model"], columns="method", values="cost"
    )
    return table.dropna(axis="columns").rank(axis="columns").mean().to_dict()


def _headline(
    evidence: Evidence, verdicts: tuple[Verdict, ...], glance: tuple[Line, ...]
) -> tuple[str, str]:
    winners = [winner for verdict in verdicts for winner in verdict.winners]
    if not winners:
        return (
            "Nothing was scored",
            "Every method failed, or no metric applied. The reasons stand below.",
        )
    total = len(winners)
    models = len(evidence.scored[["dataset", "model"]].drop_duplicates())
    scope = f"{count(len(verdicts), 'metric')} on {count(models, 'model')}"
    methods = [line for line in glance if line.unbeaten]
    top = [line.method for line in methods if line.unbeaten == methods[0].unbeaten]
    names = [f"{method} (a control)" if method in evidence.controls else method for method in top]
    alone = Counter(winner.method for winner in winners if winner.alone)
    if max(winner.n for winner in winners) < 2 or max(winner.others for winner in winners) == 0:
        best = winners[0].method
        return (
            "Nothing can be told apart here",
            f"By {scope}, {best} has the best mean, but nothing was there to test.",
        )
    if alone[top[0]] == total:
        return (
            f"{names[0]} is significantly best throughout",
            f"By {scope}, it is better than every other method.",
        )
    comparisons = f"In {methods[0].unbeaten} of {count(total, 'comparison')} ({scope})"
    runners = [f"{line.method} ({line.unbeaten})" for line in methods[len(top) :]]
    rest = f" Next come {listing(runners, 4)}." if runners else ""
    sole = (
        f"; in {alone[top[0]]} it is better than all others"
        if len(top) == 1 and alone[top[0]]
        else ""
    )
    lede = f"{comparisons} no method is significantly better than {listing(names)}{sole}.{rest}"
    if methods[0].unbeaten == total:
        return f"Nothing here beats {listing(names, 4)}", lede
    return (
        f"No single method is best; {listing(names, 4)} {'is' if len(top) == 1 else 'are'} "
        "beaten least often",
        lede,
    )


def interval(low: float, high: float) -> str:
    """`[0.091, 0.138]`, or nothing where there is no interval."""
    return "" if low != low or high != high else f"[{number(low)}, {number(high)}]"
