"""Which methods lead, and was that shown? In words, from a leaderboard alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from interpbench.report.verdict.aspects import BESIDE
from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.findings import Finding
from interpbench.report.verdict.words import count, listing, percent


@dataclass(frozen=True)
class MetricAnswer:
    """What a metric says: who leads over all of its models, and how sure that is.

    Attributes:
        metric, better, summary: what it is.
        leader: the method that leads on most models; "" where none leads.
        sentence: how sure that is.
        findings: of each data set and model.
    """

    metric: str
    better: str
    summary: str
    leader: str
    sentence: str
    findings: tuple[Finding, ...]

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.metric}: {self.leader + '. ' if self.leader else ''}{self.sentence}"


@dataclass(frozen=True)
class Line:
    """A method at a glance.

    For each metric on how many models it leads, of how many, and its mean place by score. `ahead`
    is how often it leads by a metric that judges.
    """

    method: str
    control: bool
    ahead: int
    cells: tuple[tuple[int, int, float], ...]  # leads, models, mean place


@dataclass(frozen=True)
class Answer:
    """Who leads, over everything: a heading, what it rests on, and an answer of each metric."""

    headline: str
    lede: str
    metrics: tuple[MetricAnswer, ...]
    glance: tuple[Line, ...]


def answer(evidence: Evidence, found: Sequence[Finding]) -> Answer:
    """What the leaderboard says, in words; `found` are its findings."""
    metrics = tuple(
        _metric(evidence, metric, rows, tuple(f for f in found if f.metric == metric))
        for metric, rows in evidence.by_metric()
    )
    headline, lede = _headline(found, _unscored(evidence))
    return Answer(headline, lede, metrics, tuple(_glance(evidence, found)))


def where(finding: Finding, found: Sequence[Finding]) -> str:
    """`by deletion`, with model and data set where there are several: `on alexnet, planted`."""
    model = f" on {finding.model}" if len({other.model for other in found}) > 1 else ""
    data = f", {finding.dataset}" if len({other.dataset for other in found}) > 1 else ""
    return f"by {finding.metric}{model}{data}"


def _metric(
    evidence: Evidence, metric: str, rows: pd.DataFrame, found: tuple[Finding, ...]
) -> MetricAnswer:
    leader = _leader(evidence, metric, found)
    info = evidence.metrics[metric]
    beside = BESIDE.get(info.aspect, "")
    said = (_how_sure(leader, found), _way_to_ceiling(leader, rows), beside)
    sentence = " ".join(filter(None, said))
    return MetricAnswer(metric, info.better, info.summary, leader, sentence, found)


def _leader(evidence: Evidence, metric: str, found: tuple[Finding, ...]) -> str:
    """The method that leads on most models; of several, the one of the best mean rank, or mean."""
    ranks = evidence.ranks[evidence.ranks["metric"] == metric].set_index("method")["mean_rank"]
    leads = Counter(name for finding in found for name in finding.ahead)
    best = Counter(finding.leader for finding in found)
    return min(
        leads,
        key=lambda name: (-leads[name], ranks.get(name, float("inf")), -best[name], name),
        default="",
    )


def _how_sure(leader: str, found: tuple[Finding, ...]) -> str:
    """Whether the leader was shown to be better than the others, by the test on the same images."""
    if not any(finding.tested for finding in found):
        return _why_untested(found)
    return " ".join([*_lead(leader, found), *_no_better_than_a_control(found)])


def _why_untested(found: Sequence[Finding]) -> str:
    if all(finding.others == 0 for finding in found):
        return "No other method was scored."
    if max(finding.images for finding in found) < 2:
        return "One image: no test can tell methods apart."
    return (
        "Not tested: the rows come from several files, and a test needs the scores of each image."
    )


def _lead(leader: str, found: tuple[Finding, ...]) -> list[str]:
    ahead = [finding for finding in found if leader in finding.ahead]
    if not ahead:
        missing = not any(finding.controls for finding in found)
        return ["Others, which are not here, take the first place or share it."] * missing
    alone = sum(finding.alone for finding in ahead)
    many = f"{'all ' if len(ahead) == len(found) else f'{len(ahead)} of '}{len(found)} models"
    if alone == len(ahead):
        on = "" if len(found) == 1 else f" on {many}"
        return [f"Shown to be better than every other method{on}."]
    beside: Counter[str] = Counter()
    for finding in ahead:
        known = finding.beside if finding.leader == leader else finding.ahead
        beside.update({*known, *(control for name, control in finding.open if name == leader)})
    del beside[leader]
    names = [
        name if times == len(found) else f"{name} ({times} of {len(found)})"
        for name, times in sorted(beside.items(), key=lambda item: (-item[1], item[0]))
    ]
    level = f"; not told apart from {listing(names)}" if names else ""
    if len(found) == 1:
        return [f"No method was shown to be better{level}."]
    sole = f", on {alone} of them shown to be better than every other method" if alone else ""
    return [f"Leads on {many}{sole}{level}."]


def _no_better_than_a_control(found: Sequence[Finding]) -> list[str]:
    """What must be said of findings of one metric in which no method beats some control."""
    models_of: dict[tuple[str, bool], list[str]] = {}
    for finding in found:
        if finding.controls:
            key = (named(finding.controls), finding.lost)
            models_of.setdefault(key, []).append(finding.model)
    said = {key: _against(*key) for key in models_of}
    if len(found) == 1:
        return [f"{sentence}." for sentence in said.values()]
    return [
        f"On {listing(models_of[key])} {sentence[0].lower()}{sentence[1:]}."
        for key, sentence in said.items()
    ]


def _against(controls: str, lost: bool) -> str:
    """How methods do against controls that none was shown to be better than."""
    if lost:
        return f"Every method was shown to be worse than {controls}"
    return f"No method was shown to be better than {controls}"


def named(controls: Sequence[str]) -> str:
    """`the control random`, `the controls center and random`."""
    return f"the control{'s' if len(controls) > 1 else ''} {listing(controls)}"


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


def _glance(evidence: Evidence, found: Sequence[Finding]) -> list[Line]:
    leads = Counter((finding.metric, name) for finding in found for name in finding.ahead)
    by_metric = [(metric, rows, _places(rows)) for metric, rows in evidence.by_metric()]
    judging = [metric in evidence.judging for metric, *_ in by_metric]
    lines = []
    for method in evidence.methods:
        cells = tuple(
            (
                leads[metric, method],
                int((rows["method"] == method).sum()),
                places.get(method, float("nan")),
            )
            for metric, rows, places in by_metric
        )
        control = method in evidence.controls
        ahead = sum(cell[0] for cell, judges in zip(cells, judging, strict=True) if judges)
        lines.append(Line(method, control, ahead, cells))

    def order(line: Line) -> tuple[int, float]:
        judged = zip(line.cells, judging, strict=True)
        finite = [place for (*_, place), judges in judged if judges and place == place]
        return -line.ahead, sum(finite) / len(finite) if finite else float("inf")

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


def _unscored(evidence: Evidence) -> list[str]:
    """The methods that lack a score somewhere."""
    return sorted(set(evidence.board.loc[evidence.board["n"] == 0, "method"]))


def _headline(found: Sequence[Finding], unscored: Sequence[str]) -> tuple[str, str]:
    """The heading of the answer, and what it rests on; `unscored` methods lack a score."""
    if not found:
        return "Nothing was scored", "Every method failed, or no metric applied."
    asked, found = found, [finding for finding in found if finding.judges]
    if not found:
        metrics = sorted({finding.metric for finding in asked})
        verb = "does" if len(metrics) == 1 else "do"
        return (
            "Which map is right was not asked",
            f"By {_scope(asked)}. {listing(metrics)} {verb} not ask it: add a metric of "
            "faithfulness, such as deletion or insertion.",
        )
    missing = f"; scores of {listing(unscored)} are missing" if unscored else ""
    rests = f"By {_scope(found)}{missing}."
    if not any(finding.leader for finding in found):
        return "Only controls were scored", f"{rests} There is no method to compare them with."
    if not any(finding.tested for finding in found):
        return "Nothing can be told apart here", f"{rests} {_why_untested(found)}"
    leads = Counter(name for finding in found for name in finding.ahead)
    if not leads and any(finding.controls for finding in found):
        return none_better(found), rests
    if not leads:  # of a part of a leaderboard
        return "None of these methods leads", rests
    most = max(leads.values())
    top = sorted(name for name in leads if leads[name] == most)
    names, verb = listing(top, 4), "leads" if len(top) == 1 else "lead"
    if most == len(found):
        return _throughout(names, verb, found), rests
    next_best = [f"{name} ({times})" for name, times in leads.most_common() if times < most]
    rest = f" Next: {listing(next_best, 4)}." if next_best else ""
    return f"{names} {verb} {_how_often(top, most, found)}", rests + rest


def _how_often(top: Sequence[str], most: int, found: Sequence[Finding]) -> str:
    """In how many comparisons those lead that do so most often; where, if it is one."""
    together = [finding for finding in found if set(top) <= set(finding.ahead)]
    total = count(len(found), "comparison")
    if most > 1:
        return f"most often, in {most} of {total}"
    return where(together[0], found) if together else f"in 1 of {total} each"


def _scope(found: Sequence[Finding]) -> str:
    metrics = {finding.metric for finding in found}
    models = {(finding.dataset, finding.model) for finding in found}
    data = listing(sorted({finding.dataset for finding in found}))
    what = f"{count(len(metrics), 'metric')} on {count(len(models), 'model')}"
    return f"{what}, {images_of(found)} of {data} each"


def images_of(found: Sequence[Finding]) -> str:
    """On how many images findings rest: `30 images`, `30 to 200 images`."""
    least, most = (pick(finding.images for finding in found) for pick in (min, max))
    return count(most, "image") if least == most else f"{least:,} to {most:,} images"


def none_better(found: Sequence[Finding]) -> str:
    """What findings say together in which no method was shown to be better than some control."""
    controls = {finding.controls for finding in found}
    which = named(next(iter(controls))) if len(controls) == 1 else "a control"
    return _against(which, all(finding.lost for finding in found))


def _throughout(names: str, verb: str, found: Sequence[Finding]) -> str:
    """Of the method or the methods that lead in every comparison."""
    if verb == "lead":
        return f"{names} lead, and were not told apart"
    if all(finding.alone for finding in found):
        return f"{names} was shown to be better than every other method"
    return f"{names} leads, but was not shown to be better than every other method"
