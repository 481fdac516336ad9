"""Each remark appears where it must, and only there."""

from dataclasses import replace
from typing import Any

import pytest

from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.trust import Remark, trust
from interpbench.results.run_info import RunInfo
from interpbench.suite.suite import load_suite
from tests.report.page.pages import board_evidence, run_evidence

FAIR = [
    ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b"), ("a", "deletion", "flat", 0.3, 3, "c"),
]  # fmt: skip
INFO = {"suite": {"name": "quick", "changed": False}, "status": "finished"}
CHANGED = {"suite": {"name": "quick", "changed": True}}
QUICK = load_suite("quick").model_dump(mode="json")


def evidence(info: dict[str, Any] | None = None, rows: Any = FAIR, **columns: Any) -> Evidence:
    return replace(
        board_evidence(*rows, **({"control": "flat"} | columns)),
        info=RunInfo.model_validate(INFO | (info or {})),
    )


def remark(found: Evidence, title: str) -> Remark | None:
    return next((remark for remark in trust(found).remarks if remark.title == title), None)


def test_a_fair_run_has_nothing_worse_than_notes() -> None:
    found = trust(evidence())
    assert {one.level for one in found.remarks} == {"note", "good"}
    assert found.verdict == "Nothing serious speaks against it"


@pytest.mark.parametrize(
    ("title", "level", "says", "changes"),
    [
        ("The run is not finished", "serious", "places may change", {"info": {"status": "running"}}),
        ("a is untrained", "serious", "nothing that a map", {"weights": "random"}),
        ("Low accuracy", "caution", "a (42\u202f%)", {"accuracy": 0.42}),
        ("Failures", "caution", "1 cell of 3 failed: y on a", {"status": ["ok", "failed", "ok"]}),
        ("Maps that say nothing", "caution", "x on a (3)", {"constant": [2, 0, 0], "nonfinite": [1, 0, 0]}),
        ("Few images", "caution", "30 images", {"n": 30}),
        ("Coarse maps", "note", "of y share", {"tied": [0.4, 0.6, 1.0]}),
        ("Skipped images", "caution", "not be read: truncated.", {"info": {"skipped": {"image-1": "truncated"}}}),
        ("Changed suite", "caution", "quick", {"info": CHANGED | {"settings": QUICK | {"images": 9}}}),
        ("Changed suite", "caution", "quick", {"info": CHANGED | {"settings": {"of": "another version"}}}),
        ("Changed suite", "caution", "mine", {"info": {"suite": {"name": "mine", "changed": True}}}),
        ("Own selection", "note", "quick", {"info": CHANGED | {"settings": QUICK | {"models": ["alexnet"]}}}),
        ("Own selection", "note", "quick", {"info": CHANGED | {"settings": QUICK | {"methods": ["mine", "random"]}}}),
        ("Own selection", "note", "quick", {"info": CHANGED | {"settings": QUICK | {"metrics": ["deletion"]}}}),
        ("Uncommitted changes", "note", "commit", {"info": {"git": {"commit": "0", "changed": True}}}),
        ("Notice", "note", "mind the gap", {"info": {"notices": ["mind the gap"]}}),
        ("Left behind", "note", "x left", {"info": {"left_behind": [{"method": "x", "model": "a", "what": ["hook"]}]}}),
    ],
)  # fmt: skip
def test_each_reason_for_doubt_is_named(
    title: str, level: str, says: str, changes: dict[str, Any]
) -> None:
    assert remark(evidence(), title) is None
    found = remark(evidence(**changes), title)
    assert found is not None
    assert found.level == level
    assert says in found.text


def test_a_selection_of_the_suite_is_no_changed_suite() -> None:
    found = evidence(
        info=CHANGED | {"settings": QUICK | {"models": ["alexnet"], "metrics": ["deletion"]}}
    )
    assert remark(found, "Changed suite") is None
    assert trust(found).verdict == "Nothing serious speaks against it"


@pytest.mark.parametrize(
    ("models", "title"),
    [
        ("a", "No method was shown to be better than the control flat"),
        ("ab", "No method was shown to be better than the control flat by deletion on a"),
        ("abcd", "No method was shown to be better than the control flat in 2 of 4 comparisons"),
    ],
)
def test_a_control_that_no_method_beats_is_the_headline(models: str, title: str) -> None:
    """On the first half of the models, or the only one, x is level with the control."""
    rows = []
    for i, model in enumerate(models):
        level = i < max(1, len(models) // 2)
        rows += [(model, "deletion", "x", 0.1, 1, "a")]
        rows += [(model, "deletion", "flat", 0.2, 1 if level else 2, "a" if level else "b")]
    found = trust(evidence(rows=rows))
    assert found.verdict == "Not as it stands"
    assert found.remarks[0].title == title
    assert "flat by deletion on a" in found.remarks[0].text
    assert "more images may tell" in found.remarks[0].text


def test_a_control_that_was_shown_to_be_better_is_not_called_undecided() -> None:
    rows = [("a", "deletion", "flat", 0.1, 1, "a"), ("a", "deletion", "x", 0.2, 2, "b")]
    [serious] = [one for one in trust(evidence(rows=rows)).remarks if one.level == "serious"]
    assert serious.title == "Every method was shown to be worse than the control flat"
    assert "more images" not in serious.text


def test_a_first_place_that_shares_a_letter_with_a_control_is_doubtful() -> None:
    rows = [
        ("a", "deletion", "x", 0.1, 1, "a"),
        ("a", "deletion", "y", 0.2, 1, "ab"),
        ("a", "deletion", "flat", 0.3, 2, "b"),
    ]
    found = remark(evidence(rows=rows), "Level with a control")
    assert found is not None
    assert "y from flat by deletion on a" in found.text
    assert "x from" not in found.text


def test_rankings_that_disagree_are_a_caution() -> None:
    order = {"a": tuple(range(1, 8)), "b": tuple(range(7, 0, -1))}
    rows = [
        (model, "deletion", method, 0.1 * place, place, "abcdefg"[place - 1])
        for model, places in order.items()
        for method, place in zip("tuvwxyz", places, strict=True)
    ]
    found = remark(evidence(rows=rows, control=""), "Models disagree")
    assert found is not None
    assert found.level == "caution"
    assert "deletion -1.00 [-1.00, -0.68]" in found.text
    same = [(model, *row) for model in "ab" for _, *row in rows[:7]]
    assert remark(evidence(rows=same, control=""), "Models agree") is not None
    few = [(model, *row) for model in "ab" for _, *row in rows[:4]]
    unsure = remark(evidence(rows=few, control=""), "Models may agree or not")
    assert unsure is not None
    assert unsure.level == "caution"


def test_remarks_are_worst_first() -> None:
    levels = [
        one.level
        for one in trust(evidence(info={"status": "running", "notices": ["n"]}, n=30)).remarks
    ]
    assert levels == sorted(levels, key=["serious", "caution", "note", "good"].index)


def test_a_run_knows_its_controls_by_their_role() -> None:
    found = run_evidence(images=24)
    assert found.controls == {"center", "random", "sobel"}


def test_a_method_that_fails_often_is_named_once() -> None:
    rows = [(model, "deletion", method, 0.1, 1, "a") for model in "abc" for method in "xy"]
    found = remark(evidence(rows=rows, control="", status=["failed", "ok"] * 3), "Failures")
    assert found is not None
    assert found.text.startswith("3 cells of 6 failed: x (3 times).")
