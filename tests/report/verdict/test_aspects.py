"""Metrics that do not ask which map is right stand beside those that do, and crown nobody."""

from typing import get_args

import pytest

from interpbench.registry.discovery import discover
from interpbench.registry.plugin import Aspect
from interpbench.report.page.render import page
from interpbench.report.verdict.aspects import BESIDE
from interpbench.report.verdict.evidence import Evidence, of_board
from interpbench.report.verdict.verdict import verdict
from interpbench.results.run_info import MetricInfo
from tests.report.page.pages import board_evidence


def evidence(aspect: str, *, with_deletion: bool) -> Evidence:
    """`stable` and the control come first by `still`, `right` by deletion, which is scored if asked."""
    still = [
        ("m", "still", "control", 0.9, 1, "a"),
        ("m", "still", "stable", 0.8, 2, "b"),
        ("m", "still", "right", 0.1, 3, "c"),
    ]
    deletion = [
        ("m", "deletion", "right", 0.1, 1, "a"),
        ("m", "deletion", "stable", 0.5, 2, "b"),
        ("m", "deletion", "control", 0.9, 3, "c"),
    ]
    made = board_evidence(*still, *(deletion if with_deletion else []), control="control")
    return of_board(made.board, aspects={"still": aspect})


@pytest.mark.parametrize("aspect", BESIDE)
def test_nobody_is_crowned_by_them_alone(aspect: str) -> None:
    alone = evidence(aspect, with_deletion=False)
    found = verdict(alone)
    assert found.headline == "Which map is right was not asked"
    assert "still does not ask it: add a metric of faithfulness" in found.lede
    [answer] = found.answer.metrics
    assert answer.sentence.endswith(BESIDE[aspect])
    assert all(line.ahead == 0 for line in found.answer.glance)
    assert BESIDE[aspect].replace("'", "&#39;") in page(alone)


@pytest.mark.parametrize("aspect", BESIDE)
def test_beside_others_they_decide_nothing(aspect: str) -> None:
    both = evidence(aspect, with_deletion=True)
    found = verdict(both)
    assert found.headline == "right was shown to be better than every other method"
    assert [line.method for line in found.answer.glance] == ["right", "stable", "control"]
    assert not any(remark.level == "serious" for remark in found.trust.remarks)  # the control leads
    assert both.agreement.query("across == 'metrics'").empty  # one metric judges


def test_those_that_ask_which_map_is_right_crown() -> None:
    for aspect in ("", "faithfulness", "localisation"):
        found = verdict(evidence(aspect, with_deletion=True))
        assert "control" in found.headline
    assert {*get_args(Aspect)} == {"faithfulness", "localisation", *BESIDE}
    assert all(
        MetricInfo(better="lower", aspect=each).judges != (each in BESIDE)
        for each in get_args(Aspect)
    )


def test_a_metric_with_a_mask_asks_where() -> None:
    plugins = discover().plugins("metric")
    assert {plugin.aspect for plugin in plugins if plugin.needs_mask} == {"localisation"}
    by_name = {plugin.name: plugin.aspect for plugin in plugins}
    assert by_name["deletion"] == "faithfulness"
    assert by_name["max-sensitivity"] == "robustness"
    assert by_name["entropy"] == "complexity"
    assert by_name["completeness"] == "axiom"
    assert discover().aspects == by_name
