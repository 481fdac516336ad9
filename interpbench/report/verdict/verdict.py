"""The verdict on a run or a leaderboard, from which every place takes its sentences."""

from dataclasses import dataclass

from interpbench.report.verdict.answer import Answer, answer
from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.trust import Remark, Trust, trust


@dataclass(frozen=True)
class Verdict:
    """What is said of a run or a leaderboard: in the terminal, on pages, in papers and notebooks.

    Attributes:
        headline: the most important sentence, without its stop: what most speaks against the
            answer where that is serious, else the answer's own.
        lede: what the headline rests on; the answer where the headline is not it.
        answer: who leads.
        trust: what speaks against that, and what for it.
    """

    headline: str
    lede: str
    answer: Answer
    trust: Trust

    @property
    def cautions(self) -> tuple[Remark, ...]:
        """What nobody may leave out who passes the result on: the serious remarks and cautions."""
        return tuple(r for r in self.trust.remarks if r.level in ("serious", "caution"))

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole verdict as text: the headline, the lede, a line a metric, the cautions."""
        return (
            f"{self.headline}.",
            self.lede,
            *(metric.line for metric in self.answer.metrics),
            *(remark.line for remark in self.cautions),
        )


def verdict(evidence: Evidence) -> Verdict:
    """The verdict that the evidence leaves; the same evidence gives the same sentences."""
    found, trusted = answer(evidence), trust(evidence)
    headline = trusted.remarks[0].title if trusted.level == "serious" else found.headline
    lede = found.lede if headline == found.headline else f"{found.headline}. {found.lede}"
    return Verdict(headline, lede, found, trusted)
