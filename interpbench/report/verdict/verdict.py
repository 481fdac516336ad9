"""The verdict on a run or a leaderboard, from which every place takes its sentences."""

from dataclasses import dataclass

from interpbench.report.verdict.answer import Answer, answer
from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.findings import findings
from interpbench.report.verdict.trust import Remark, Trust, trust

_SHOWN = (
    "Shown: significant at {} % on the same images, corrected for the number of comparisons. What "
    "was not shown may be so all the same: more images may tell."
)


@dataclass(frozen=True)
class Verdict:
    """What is said of a run or a leaderboard: in the terminal, on pages, in papers and notebooks.

    Attributes:
        headline: the most important sentence, without its stop: what most speaks against the
            answer where that is serious, else the answer's own.
        lede: what the headline rests on; the answer where the headline is not it.
        answer: who leads.
        trust: what speaks against that, and what for it.
        shown: what it means that something was shown, or was not; "" where nothing was tested.
    """

    headline: str
    lede: str
    answer: Answer
    trust: Trust
    shown: str

    @property
    def cautions(self) -> tuple[Remark, ...]:
        """What nobody may leave out who passes the result on: the serious remarks and cautions."""
        return tuple(r for r in self.trust.remarks if r.level in ("serious", "caution"))

    @property
    def note(self) -> tuple[str, ...]:
        """What a table may not go without: the headline, the lede, the cautions."""
        return (f"{self.headline}.", self.lede, *map(self._line, self.cautions))

    def _line(self, remark: Remark) -> str:
        """A remark in a line; the headline is not said twice."""
        said = remark.title == self.headline
        return f"{remark.level.capitalize()}: {remark.text}" if said else remark.line

    @property
    def lines(self) -> tuple[str, ...]:
        """What must be said, as text: the headline, the lede, a line a metric, the cautions."""
        return (
            f"{self.headline}.",
            self.lede,
            *(metric.line for metric in self.answer.metrics),
            *map(self._line, self.cautions),
            *([self.shown] if self.shown else []),
        )


def verdict(evidence: Evidence) -> Verdict:
    """The verdict that the evidence leaves; the same evidence gives the same sentences."""
    found = findings(evidence)
    answered, trusted = answer(evidence, found), trust(evidence, found)
    headline = trusted.remarks[0].title if trusted.level == "serious" else answered.headline
    lede = answered.lede
    if headline != answered.headline:
        lede = f"{answered.headline}. {lede}"
    level = f"{100 * evidence.level:.2g}"
    shown = _SHOWN.format(level) if any(one.tested for one in found) else ""
    return Verdict(headline, lede, answered, trusted, shown)
