"""Is what is said of a leaderboard in words what its rows say?"""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench.report.verdict.answer import Answer, answer
from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.findings import findings, leading
from interpbench.results.comparison import comparisons
from tests.report.page.pages import board_evidence, run_evidence

NAN = float("nan")


def said(*rows: tuple[str, str, str, float, int, str], **columns: object) -> Answer:
    return answered(board_evidence(*rows, **columns))


def answered(evidence: Evidence) -> Answer:
    return answer(evidence, findings(evidence))


def test_who_leads_is_whom_no_comparison_finds_worse_where_no_control_is_so_too() -> None:
    evidence = run_evidence(
        models=("a", "b"), images=12, methods=("gradcam", "random", "saliency"), ceiling=False,
        metrics=("deletion", "insertion"),
    )  # fmt: skip
    assert evidence.tables is not None
    pairs = comparisons(evidence.tables)
    lines = {line.method: line for line in answered(evidence).glance}
    assert set(lines) == set(evidence.methods)
    led = 0
    for i, metric in enumerate(evidence.metrics):
        unbeaten = {}
        for model in ("a", "b"):
            block = pairs[(pairs["metric"] == metric) & (pairs["model"] == model)]
            lost = {
                loser
                for pair in block.itertuples()
                for loser in {pair.method, pair.other} - {pair.better}
                if pair.better
            }
            unbeaten[model] = set(evidence.methods) - lost
        for method, line in lines.items():
            leads = sum(method in u and not u & evidence.controls for u in unbeaten.values())
            assert line.cells[i][:2] == (leads, 2)
            led += leads
    assert led > 0


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_control_never_leads_and_nothing_leads_beside_one(data: st.DataObject) -> None:
    methods = data.draw(st.lists(st.sampled_from("uvwxyz"), min_size=1, unique=True))
    count = len(methods)
    places = st.one_of(st.none(), st.integers(1, count))
    board = pd.DataFrame(
        {
            "dataset": "planted",
            "model": "a",
            "metric": "deletion",
            "method": methods,
            "n": data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)),
            "rank": data.draw(st.lists(places, min_size=count, max_size=count)),
        }
    ).astype({"rank": "Int64"})
    controls = data.draw(st.sets(st.sampled_from(methods)))
    leads = leading(board, controls)
    assert not leads[board["method"].isin(controls)].any()
    assert (board.loc[leads, "rank"] == 1).all()
    assert (board.loc[leads, "n"] > 1).all()
    control = board["method"].isin(controls) & (board["n"] > 1)
    if (board.loc[control, "rank"] == 1).any():
        assert not leads.any()


@pytest.mark.parametrize("models", [("a",), ("a", "b")])
def test_the_place_by_score_is_that_of_the_mean_with_one_model_as_with_several(
    models: tuple[str, ...],
) -> None:
    evidence = run_evidence(
        models=models, images=12, ceiling=False, metrics=("deletion", "insertion"),
        methods=("center", "gradcam", "random", "saliency"),
    )  # fmt: skip
    lines = {line.method: line for line in answered(evidence).glance}
    for i, (_, rows) in enumerate(evidence.by_metric()):
        for method, line in lines.items():
            places = []
            for model in models:
                means = dict(
                    rows.loc[rows["model"] == model, ["method", "mean"]].itertuples(index=False)
                )
                lower = (rows["better"] == "lower").all()
                ahead = sum(
                    m < means[method] if lower else m > means[method] for m in means.values()
                )
                level = sum(m == means[method] for m in means.values())
                places.append(ahead + (level + 1) / 2)
            assert line.cells[i][2] == pytest.approx(sum(places) / len(places))
    mean_ranks = evidence.ranks.set_index(["metric", "method"])["mean_rank"]
    for (metric, method), rank in mean_ranks.items():
        assert lines[method].cells[list(evidence.metrics).index(metric)][2] == pytest.approx(rank)


def test_a_method_without_a_score_somewhere_has_no_mean_place() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b"), ("b", "deletion", "x", 0.1, 1, "a"),
    )  # fmt: skip
    places = {line.method: line.cells[0][2] for line in found.glance}
    assert places["x"] == 1
    assert places["y"] != places["y"]


def test_one_method_that_beats_all_others_everywhere() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b"),
        ("b", "deletion", "x", 0.1, 1, "a"), ("b", "deletion", "y", 0.3, 2, "b"),
    )  # fmt: skip
    assert found.headline == "x was shown to be better than every other method"
    assert found.lede == "By 1 metric on 2 models, 100 images of planted each."
    [metric] = found.metrics
    assert metric.line == "deletion: x. Shown to be better than every other method on all 2 models."
    assert [one.standing for one in metric.findings] == ["shown to be better than all 1 others"] * 2


def test_methods_that_share_the_first_place_are_no_winners() -> None:
    found = said(
        ("a", "insertion", "x", 0.8, 1, "a"),
        ("a", "insertion", "y", 0.7, 1, "a"),
        ("a", "insertion", "z", 0.1, 3, "b"),
    )
    assert found.headline == "x and y lead, and were not told apart"
    [metric] = found.metrics
    assert metric.line == "insertion: x. No method was shown to be better; not told apart from y."
    assert metric.findings[0].beside == ("y",)
    assert not metric.findings[0].alone


def test_a_leader_that_is_level_with_a_method_that_another_beats() -> None:
    """x is not told apart from z, though y, whose scores vary less, is."""
    found = said(
        ("a", "insertion", "x", 0.8, 1, "ab"),
        ("a", "insertion", "y", 0.7, 1, "a"),
        ("a", "insertion", "z", 0.6, 2, "b"),
    )
    assert found.metrics[0].sentence.endswith("not told apart from y and z.")


def test_rivals_are_counted_by_model() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 1, "a"), ("a", "deletion", "z", 0.3, 1, "a"),
        ("b", "deletion", "x", 0.1, 1, "a"), ("b", "deletion", "y", 0.2, 1, "a"), ("b", "deletion", "z", 0.3, 3, "b"),
    )  # fmt: skip
    assert found.headline == "x and y lead, and were not told apart"
    assert (
        found.metrics[0].sentence == "Leads on all 2 models; not told apart from y and z (1 of 2)."
    )


def test_where_none_leads_throughout_the_headline_says_how_often() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b"),
        ("a", "insertion", "x", 0.1, 2, "b"), ("a", "insertion", "y", 0.2, 1, "a"),
        ("b", "deletion", "x", 0.1, 1, "a"), ("b", "deletion", "y", 0.2, 2, "b"),
    )  # fmt: skip
    assert found.headline == "x leads most often, in 2 of 3 comparisons"
    assert found.lede == "By 2 metrics on 2 models, 100 images of planted each. Next: y (1)."


def test_a_lead_in_one_comparison_is_said_with_its_place() -> None:
    rows = [("a", "deletion", "flat", 0.1, 1, "a"), ("a", "deletion", "x", 0.2, 2, "b")]
    rows += [("a", "insertion", "x", 0.9, 1, "a"), ("a", "insertion", "flat", 0.2, 2, "b")]
    assert said(*rows, control="flat").headline == "x leads by insertion"
    assert said(*rows).headline == "flat and x lead in 1 of 2 comparisons each"


def test_a_leader_that_loses_on_some_model_leads_on_the_others() -> None:
    rows = [(model, "deletion", "x", 0.1, 1, "a") for model in "ab"] + [
        ("c", "deletion", "x", 0.3, 2, "b")
    ]
    rows += [(model, "deletion", "y", 0.2, 2, "b") for model in "ab"] + [
        ("c", "deletion", "y", 0.2, 1, "a")
    ]
    [metric] = said(*rows).metrics
    assert metric.leader == "x"
    assert metric.sentence == "Shown to be better than every other method on 2 of 3 models."


@pytest.mark.parametrize(
    ("letters", "headline", "standing"),
    [
        ("aa", "No method was shown to be better than the control flat", "not shown to be better than flat"),
        ("ab", "Every method was shown to be worse than the control flat", "shown to be worse than flat"),
    ],
)  # fmt: skip
def test_a_control_ahead_is_never_a_winner(letters: str, headline: str, standing: str) -> None:
    first, second = letters[0], letters[1]
    found = said(
        ("a", "deletion", "flat", 0.1, 1, first),
        ("a", "deletion", "x", 0.2, 1 + (first != second), second),
        control="flat",
    )
    assert found.headline == headline
    assert found.metrics[0].line == f"deletion: {headline}."
    assert found.metrics[0].findings[0].standing == standing
    assert all(line.ahead == 0 for line in found.glance)


def test_a_control_that_is_level_on_one_model_of_three_is_named_with_it() -> None:
    rows = [(model, "deletion", "x", 0.1, 1, "a") for model in "abc"]
    rows += [("a", "deletion", "flat", 0.2, 1, "a")]
    rows += [(model, "deletion", "flat", 0.2, 2, "b") for model in "bc"]
    [metric] = said(*rows, control="flat").metrics
    assert metric.line == (
        "deletion: x. Shown to be better than every other method on 2 of 3 models. "
        "On a no method was shown to be better than the control flat."
    )


def test_the_share_of_the_achievable_is_told() -> None:
    rows = [
        ("a", "deletion", "x", 0.1, 1, "a"),
        ("b", "deletion", "x", 0.1, 1, "a"),
        ("a", "deletion", "y", 0.2, 2, "b"),
        ("b", "deletion", "y", 0.2, 2, "b"),
    ]
    sentence = said(*rows, share=[0.5, 0.58, 0.1, 0.1]).metrics[0].sentence
    assert "It goes 50\u202f% to 58\u202f% of the way from the best control" in sentence
    assert "It goes 50\u202f% of" in said(*rows[::2], share=[0.5, 0.1]).metrics[0].sentence


def test_what_cannot_be_tested_is_not_called_shown() -> None:
    rows = [("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 1, "a")]
    untested = [
        (said(*rows, n=1, low=NAN, high=NAN), "One image: no test can tell methods apart."),
        (said(rows[0]), "No other method was scored."),
        (said(*rows, rank=pd.NA), "Not tested: "),
    ]
    for found, why in untested:
        assert found.headline == "Nothing can be told apart here"
        assert found.metrics[0].sentence.startswith(why)
        assert why in found.lede
        assert all(line.ahead == 0 for line in found.glance)


def test_without_scores_there_is_no_answer() -> None:
    found = said(("a", "deletion", "x", NAN, 1, ""), n=0, status="failed", reason="it broke")
    assert found.headline == "Nothing was scored"
    assert found.metrics == ()


def test_the_lede_names_what_could_not_be_scored() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"),
        ("a", "deletion", "y", 0.2, 2, "b"),
        ("a", "deletion", "z", NAN, 1, ""),
        n=[9, 9, 0],
    )
    assert found.headline == "x was shown to be better than every other method"
    assert found.lede.endswith("9 images of planted each; scores of z are missing.")


def test_controls_alone_are_no_comparison_of_methods() -> None:
    found = said(
        ("a", "deletion", "flat", 0.1, 1, "a"), ("a", "deletion", "x", 0.2, 2, "b"), role="control"
    )
    assert found.headline == "Only controls were scored"


def test_a_part_of_a_leaderboard_without_its_first_has_no_leader() -> None:
    evidence = board_evidence(
        ("a", "deletion", "x", 0.2, 2, "b"), ("a", "deletion", "y", 0.3, 3, "c")
    )
    found = answered(evidence)
    assert found.headline == "None of these methods leads"
    assert found.metrics[0].line == (
        "deletion: Others, which are not here, take the first place or share it."
    )
    assert findings(evidence)[0].leader == "x"
