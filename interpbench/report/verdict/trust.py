"""What speaks against an answer, and what for it: remarks, worst first."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from interpbench.report.verdict.answer import images_of, named, none_better, where
from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.findings import Finding
from interpbench.report.verdict.sign import sign_text
from interpbench.report.verdict.words import count, listing, number, percent
from interpbench.results.comparison import GROUP, agreement_texts, agreement_word
from interpbench.results.mean_difference import fewest_images

Level = Literal["serious", "caution", "note", "good"]
_LEVELS: tuple[Level, ...] = ("serious", "caution", "note", "good")
_FEW_IMAGES = 50  # with fewer, only large differences can be told apart
_FEW_PAIRS = 0.5  # share of the pairs below which few are told apart
_LOW_ACCURACY = 0.5
_AGREEING = 0.5  # mean rank correlation from which rankings are said to agree
_MOSTLY_TIED = 0.5


@dataclass(frozen=True)
class Remark:
    """One reason to trust a result less, or more.

    Attributes:
        level: how much it weighs.
        title: a few words; of a serious one a sentence without its stop, which is the headline of
            everything that shows the result.
        text: a sentence or two.
    """

    level: Level
    title: str
    text: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        title = f"{self.title}. " if self.level == "serious" else ""
        return f"{self.level.capitalize()}: {title}{self.text}"


@dataclass(frozen=True)
class Trust:
    """A verdict in words and the remarks that it rests on, worst first."""

    level: Level
    verdict: str
    remarks: tuple[Remark, ...]


def trust(evidence: Evidence, found: Sequence[Finding]) -> Trust:
    """Can the answer be trusted? `found` are the evidence's findings."""
    unsorted = [
        *_completeness(evidence),
        *_models(evidence),
        *_images(evidence, found),
        *_company(evidence),
        *_controls(evidence, [finding for finding in found if finding.judges]),
        *_agreement(evidence),
        *_ties(evidence),
        *_sign(evidence),
        *_circumstances(evidence),
    ]
    remarks = tuple(sorted(unsorted, key=lambda remark: _LEVELS.index(remark.level)))
    level = remarks[0].level if remarks else "good"
    cautions = sum(remark.level == "caution" for remark in remarks)
    verdict = {
        "serious": "Not as it stands",
        "caution": f"With care: {count(cautions, 'caution')}",
        "note": "Nothing serious speaks against it",
        "good": "Nothing speaks against it",
    }[level]
    return Trust(level, verdict, remarks)


def _completeness(evidence: Evidence) -> Iterator[Remark]:
    if not evidence.info.is_finished:
        planned, tables = len(evidence.info.cells), evidence.tables
        done = f" ({len(tables.timings)} of {planned} are there)" if planned and tables else ""
        text = f"Some cells are missing{done}, and places may change."
        yield Remark("serious", "The run is not finished", text)
    rows = evidence.board.drop_duplicates(["dataset", "model", "method"])
    failed = rows[rows["status"] == "failed"]
    if not failed.empty:
        names = _grouped([(row.method, f"on {row.model}") for row in failed.itertuples()])
        text = (
            f"{count(len(failed), 'cell')} of {len(rows)} failed: {listing(names)}. "
            "Those have no score."
        )
        yield Remark("caution", "Failures", text)
    invalid = rows[(rows["constant"] > 0) | (rows["nonfinite"] > 0)]
    if not invalid.empty:
        counts = [
            (row.method, f"on {row.model} ({row.constant + row.nonfinite})")
            for row in invalid.itertuples()
        ]
        text = (
            "Constant, NaN or infinite maps are left out of the means, which may flatter: "
            f"{listing(_grouped(counts))}."
        )
        yield Remark("caution", "Maps that say nothing", text)
    skipped = evidence.info.skipped
    if skipped:
        reasons = listing(list(skipped.values()), 3)
        text = f"{count(len(skipped), 'image')} could not be read: {reasons}."
        yield Remark("caution", "Skipped images", text)


def _grouped(places: Sequence[tuple[str, str]]) -> list[str]:
    """Methods and where: `x on a`, or `x (6 times)` where that is shorter."""
    places_of: dict[str, list[str]] = {}
    for method, place in places:
        places_of.setdefault(method, []).append(place)
    return [
        f"{method} {' and '.join(known)}" if len(known) <= 2 else f"{method} ({len(known)} times)"
        for method, known in places_of.items()
    ]


def _models(evidence: Evidence) -> Iterator[Remark]:
    rows = evidence.board.drop_duplicates(["dataset", "model"])
    untrained = rows.loc[rows["weights"] == "random", "model"]
    if len(untrained):
        verb = "is" if len(untrained) == 1 else "are"
        text = "There is nothing that a map of an untrained model could be right about."
        yield Remark("serious", f"{listing(list(untrained))} {verb} untrained", text)
    poor = rows[(rows["accuracy"] < _LOW_ACCURACY) & (rows["weights"] != "random")]
    if not poor.empty:
        names = [f"{row.model} ({percent(row.accuracy)})" for row in poor.itertuples()]
        text = f"{listing(names)}: most of the explained predictions are wrong."
        yield Remark("caution", "Low accuracy", text)


def _images(evidence: Evidence, found: Sequence[Finding]) -> Iterator[Remark]:
    """Whether so many images can tell methods apart, and how many would."""
    compared = [finding for finding in found if finding.others]
    few = [finding for finding in compared if finding.images < _fewest(finding, evidence)]
    if few and len(few) == len(compared):
        yield _nothing_can_be_shown(evidence, few)
    elif few:
        places = [f"{where(one, found)} ({count(one.images, 'image')})" for one in few]
        text = f"So few that no difference can be shown {listing(places)}."
        yield Remark("caution", "Too few images", text)
    if len(few) < len(compared):
        yield _sample(evidence, compared)


def _nothing_can_be_shown(evidence: Evidence, few: Sequence[Finding]) -> Remark:
    images = count(max(finding.images for finding in few), "image")
    methods = count(max(finding.others + 1 for finding in few), "method")
    most = max(finding.pairs for finding in few)
    pairs = f"{count(most, 'comparison')} {'asks' if most == 1 else 'ask'}"
    needed = count(max(_fewest(finding, evidence) for finding in few), "image")
    text = f"However great it is: {pairs} for at least {needed}."
    return Remark("serious", f"With {images} and {methods} no difference can be shown", text)


def _sample(evidence: Evidence, compared: Sequence[Finding]) -> Remark:
    images = max(finding.images for finding in compared)
    known = [finding for finding in compared if finding.told_apart is not None]
    pairs = sum(finding.pairs for finding in known)
    apart = sum(finding.told_apart or 0 for finding in known)
    tell = f" tell {apart} of {count(pairs, 'pair')} apart" if known else ""
    said = f"{images_of(compared)} a model{tell}."
    text = f"{said} {_typical_interval(evidence)} {_would_do(evidence, compared, 'next')}".strip()
    if images < _FEW_IMAGES or apart < _FEW_PAIRS * pairs:
        return Remark("caution", "Few images", text)
    return Remark("good", "Sample", text)


def _fewest(finding: Finding, evidence: Evidence) -> int:
    """Images from which on a difference can be significant, with so many comparisons."""
    return fewest_images(evidence.level / finding.pairs)


def _typical_interval(evidence: Evidence) -> str:
    metric, rows = evidence.by_metric()[0]
    half = ((rows["high"] - rows["low"]) / 2).median()
    if pd.isna(half):
        return ""
    width = f"±{number(half)}" if half == 0 or half >= 0.001 else "less than ±0.001"
    return f"A typical 95 % interval by {metric} is {width}."


def _would_do(
    evidence: Evidence, found: Sequence[Finding], rival: Literal["control", "next"]
) -> str:
    """How many images would tell the best methods from rivals that they were not told apart from.

    Nothing where only a leaderboard is known, or all were.
    """
    rows = evidence.resolution
    if rows is None:
        return ""
    place = {(one.dataset, one.model, one.metric): where(one, found) for one in found}
    known = [key in place for key in zip(*(rows[column] for column in GROUP), strict=True)]
    rows = rows[pd.Series(known, rows.index, dtype=bool)]
    rows = rows[(rows[rival] != "") & ~rows[f"{rival}_told_apart"].astype(bool)]
    rows = rows.dropna(subset=f"{rival}_images_needed").sort_values(f"{rival}_images_needed")
    needed = [
        f"{row['best']} and {row[rival]} {place[row['dataset'], row['model'], row['metric']]} "
        f"({_about(row[f'{rival}_images_needed'])} images)"
        for _, row in rows.iterrows()
    ]
    if not needed:
        return ""
    return f"More images would tell apart, if they differ as measured: {listing(needed, 3)}."


def _about(images: float) -> str:
    """Two digits of a number, rounded up: `about 340`."""
    unit = 10 ** max(0, len(str(int(images))) - 2)
    return f"about {unit * math.ceil(images / unit):,}"


def _company(evidence: Evidence) -> Iterator[Remark]:
    """Is there anything that methods can be compared with?"""
    methods = set(evidence.scored["method"])
    if methods and not methods & evidence.controls:
        text = "No control here: a map that ignores the model may do as well."
        yield Remark("caution", "No control", text)
    if len(methods) == 1:
        text = "One method alone: nothing says which score is good."
        yield Remark("caution", "Nothing to compare with", text)


def _controls(evidence: Evidence, found: Sequence[Finding]) -> Iterator[Remark]:
    """A lead over other methods is no success where a map that ignores the model is level."""
    unbeaten = [finding for finding in found if finding.controls and finding.leader]
    if unbeaten:
        places = [(control, where(f, found)) for f in unbeaten for control in f.controls]
        text = f"A control ignores the model. Level or ahead: {listing(_grouped(places))}."
        if not all(finding.lost for finding in unbeaten):
            more = _would_do(evidence, found, "control") or "More images may tell."
            text += f" Which is better is open. {more}"
        yield Remark("serious", _unbeaten(unbeaten, found), text)
    near = [
        (method, f"from {control} {where(finding, found)}")
        for finding in found
        for method, control in finding.open
    ]
    if near:
        text = f"May be first, yet not told apart from a control: {listing(_grouped(near))}."
        yield Remark("caution", "Not told apart from a control", text)
    scored = sorted(evidence.controls & set(evidence.scored["method"]))
    if scored and not unbeaten and not near and any(finding.tested for finding in found):
        text = f"All that lead were shown to be better than {named(scored)}."
        yield Remark("good", "Controls", text)


def _unbeaten(unbeaten: Sequence[Finding], found: Sequence[Finding]) -> str:
    """The headline where in some of what was found no method beats a control."""
    if len(unbeaten) == len(found):
        return none_better(unbeaten)
    if len(unbeaten) == 1:
        return f"{none_better(unbeaten)} {where(unbeaten[0], found)}"
    places = f"in {len(unbeaten)} of {count(len(found), 'comparison')}"
    return f"{none_better(unbeaten)} {places}"


def _agreement(evidence: Evidence) -> Iterator[Remark]:
    """The mean rank correlation across models (a metric's) and across metrics (a model's)."""
    texts = agreement_texts(evidence.agreement)
    known = evidence.agreement.dropna(subset=["correlation", "low", "high"])
    for across, rows in known.groupby("across", sort=False):
        word, level = _agree(rows)
        text = (
            f"{str(across).capitalize()} {word} on the order of the methods: the mean rank "
            f"correlation (1 is the same order, 0 nothing in common) is {listing(texts[across])}."
        )
        yield Remark(level, f"{str(across).capitalize()} {word}", text)
    if evidence.agreement["note"].str.contains("too few").any():
        text = "Too few for a test across models: what was shown was shown on each for itself."
        yield Remark("note", "Few models", text)


def _agree(rows: pd.DataFrame) -> tuple[str, Level]:
    """What intervals of rank correlations say, the least of them first."""
    words = {agreement_word(row.low, row.high) for row in rows.itertuples()}
    if "disagree" in words:
        return "disagree", "caution"
    if "undecided" in words:
        return "may agree or not", "caution"
    return (
        ("agree", "good") if (rows["correlation"] >= _AGREEING).all() else ("agree in part", "note")
    )


def _ties(evidence: Evidence) -> Iterator[Remark]:
    tied = evidence.scored.groupby("method")["tied"].max()
    names = [
        str(name) for name in tied.index[tied >= _MOSTLY_TIED] if name not in evidence.controls
    ]
    if names:
        text = (
            f"At least half of the positions of {listing(names)} share their value; their order is "
            "drawn by lot."
        )
        yield Remark("note", "Coarse maps", text)


def _sign(evidence: Evidence) -> Iterator[Remark]:
    text = sign_text(evidence.scored)
    if text:
        yield Remark("note", "Signed maps", text)


def _circumstances(evidence: Evidence) -> Iterator[Remark]:
    if evidence.tables is None:
        origin = (
            ". How it was made stands at the end"
            if evidence.submissions
            else ", nor how it was made"
        )
        text = f"The CSV holds no scores of single images{origin}."
        yield Remark("note", "Only a leaderboard", text)
    suite = evidence.info.suite.name
    if evidence.change == "settings":
        text = (
            f"Settings of the suite {suite} were changed: do not compare "
            "with results of the suite as it is."
        )
        yield Remark("caution", "Changed suite", text)
    if evidence.change == "selection":
        text = (
            f"Methods, models or metrics were chosen; what the suite {suite} has too can be "
            "compared with it."
        )
        yield Remark("note", "Own selection", text)
    if evidence.info.git.changed:
        yield Remark("note", "Uncommitted changes", "The code that ran differs from its commit.")
    for left in evidence.info.left_behind:
        what = listing(left.what, 3)
        text = f"{left.method} left something behind on {left.model}, which was undone: {what}."
        yield Remark("note", "Left behind", text)
    for notice in evidence.info.notices:
        yield Remark("note", "Notice", notice)
