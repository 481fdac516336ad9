"""Each remark appears where it must, and only there."""

from dataclasses import replace
from typing import Any

import pytest

from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.findings import findings
from interpbench.report.verdict.trust import Remark, Trust
from interpbench.report.verdict.trust import trust as trust_of
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


def trust(found: Evidence) -> Trust:
    return trust_of(found, findings(found))


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
        ("Few images", "caution", "30 images a model tell 3 of 3 pairs apart", {"n": 30}),
        ("No control", "caution", "may do as well", {"control": ""}),
        ("Nothing to compare with", "caution", "One method alone", {"rows": FAIR[:1]}),
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
        ("Left behind", "note", "hook.", {"info": {"left_behind": [{"method": "x", "model": "a", "what": ["hook"]}]}}),
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
    assert "flat by deletion" in found.remarks[0].text
    assert "Which is better is open. More images may tell." in found.remarks[0].text


def test_a_control_that_was_shown_to_be_better_is_not_called_undecided() -> None:
    rows = [("a", "deletion", "flat", 0.1, 1, "a"), ("a", "deletion", "x", 0.2, 2, "b")]
    [serious] = [one for one in trust(evidence(rows=rows)).remarks if one.level == "serious"]
    assert serious.title == "Every method was shown to be worse than the control flat"
    assert "ore images" not in serious.text


def test_a_first_place_that_shares_a_letter_with_a_control_is_doubtful() -> None:
    rows = [
        ("a", "deletion", "x", 0.1, 1, "a"),
        ("a", "deletion", "y", 0.2, 1, "ab"),
        ("a", "deletion", "flat", 0.3, 2, "b"),
    ]
    found = remark(evidence(rows=rows), "Not told apart from a control")
    assert found is not None
    assert "y from flat by deletion." in found.text
    assert "x from" not in found.text


@pytest.mark.parametrize(
    ("agreement", "title", "level"),
    [
        ((0.9, 0.7, 0.98), "Models agree", "good"),
        ((0.3, 0.1, 0.6), "Models agree in part", "note"),
        ((0.4, -0.1, 0.8), "Models may agree or not", "caution"),
        ((-0.8, -0.9, -0.6), "Models disagree", "caution"),
    ],
)
def test_agreement_is_said_by_the_interval_of_the_rank_correlation(
    agreement: tuple[float, float, float], title: str, level: str
) -> None:
    rows = [(model, *row[1:]) for model in "ab" for row in FAIR]
    found = evidence(rows=rows)
    numbers = dict(zip(("correlation", "low", "high"), agreement, strict=True))
    across_models = found.agreement[found.agreement["across"] == "models"].assign(**numbers)
    said = remark(replace(found, agreement=across_models), title)
    assert said is not None
    assert said.level == level
    assert "Kendall" not in said.text
    assert f"deletion {agreement[0]:.2f} [{agreement[1]:.2f}, {agreement[2]:.2f}]" in said.text


def many(images: int) -> Evidence:
    """Nine methods, told apart by none of their letters at 10 images, by all at 200."""
    names = [*"qrstuvwx", "flat"]
    letters = "aaaaaaaaa" if images == 10 else "abcdefghi"
    rows = [
        ("r", "deletion", name, 0.1 * i, 1 if images == 10 else i + 1, letters[i])
        for i, name in enumerate(names)
    ]
    return evidence(rows=rows, n=images)


def test_ten_images_and_nine_methods_are_too_few_whatever_the_scores() -> None:
    [first, second] = [one for one in trust(many(10)).remarks if one.level == "serious"]
    assert first.title == "With 10 images and 9 methods no difference can be shown"
    assert first.text == "However great it is: 36 comparisons ask for at least 11 images."
    assert second.title == "No method was shown to be better than the control flat"
    at_eleven = replace(many(10), board=many(10).board.assign(n=11))
    assert not [one for one in trust(at_eleven).remarks if one.title.startswith("With 11")]


def test_too_few_images_of_one_metric_alone_are_a_caution() -> None:
    rows = [("a", metric, *row[2:]) for metric in ("deletion", "insertion") for row in FAIR]
    found = remark(evidence(rows=rows, n=[100, 100, 100, 5, 5, 5]), "Too few images")
    assert found is not None
    assert found.text == "So few that no difference can be shown by insertion (5 images)."
    sample = remark(evidence(rows=rows, n=[100, 100, 100, 5, 5, 5]), "Sample")
    assert sample is not None
    assert sample.text.startswith("5 to 100 images a model tell 6 of 6 pairs apart.")


def test_two_hundred_images_say_how_much_they_tell_apart() -> None:
    found = remark(many(200), "Sample")
    assert found is not None
    assert found.level == "good"
    assert found.text.startswith("200 images a model tell 36 of 36 pairs apart.")


@pytest.mark.parametrize(
    ("half", "said"), [(0.02, "±0.020"), (0.0004, "less than ±0.001"), (0, "±0.000")]
)
def test_no_interval_is_called_none_that_is_one(half: float, said: str) -> None:
    found = many(200)
    board = found.board.assign(low=found.board["mean"] - half, high=found.board["mean"] + half)
    sample = remark(replace(found, board=board), "Sample")
    assert sample is not None
    assert f"interval by deletion is {said}." in sample.text


def test_how_many_images_would_do_is_said_where_the_run_knows() -> None:
    methods = ("gradcam", "occlusion:stride=8,window=16", "random")
    run = run_evidence(images=12, methods=methods, metrics=("deletion",), ceiling=False)
    assert run.resolution is not None
    [row] = run.resolution.to_dict("records")
    open_rivals = run.resolution.assign(
        control_told_apart=False, next_told_apart=False, control_images_needed=234.0, next_images_needed=1240.0
    )  # fmt: skip
    board = run.board.assign(rank=1, rank_to=3, letters="a")
    said = trust(replace(run, board=board, resolution=open_rivals)).remarks
    texts = " ".join(one.text for one in said)
    assert f"{row['best']} and {row['control']} by deletion (about 240 images)." in texts
    assert f"{row['best']} and {row['next']} by deletion (about 1,300 images)." in texts


def test_remarks_are_worst_first() -> None:
    levels = [
        one.level
        for one in trust(evidence(info={"status": "running", "notices": ["n"]}, n=30)).remarks
    ]
    assert levels == sorted(levels, key=["serious", "caution", "note", "good"].index)


def test_a_run_knows_its_controls_by_their_role() -> None:
    found = run_evidence(images=10, metrics=("deletion",), ceiling=False)
    assert found.controls == {"center", "random", "sobel"}


def test_a_method_that_fails_often_is_named_once() -> None:
    rows = [(model, "deletion", method, 0.1, 1, "a") for model in "abc" for method in "xy"]
    found = remark(evidence(rows=rows, control="", status=["failed", "ok"] * 3), "Failures")
    assert found is not None
    assert found.text.startswith("3 cells of 6 failed: x (3 times).")
