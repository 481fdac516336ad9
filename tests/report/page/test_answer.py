"""Is what the page says in words what the tables say?"""

import pytest

from interpbench.report.page.answer import Answer, answer
from interpbench.results.comparison import comparisons
from tests.report.page.pages import board_evidence, run_evidence

NAN = float("nan")


def said(*rows: tuple[str, str, str, float, int, str], **columns: object) -> Answer:
    return answer(board_evidence(*rows, **columns))


def test_unbeaten_is_whom_no_comparison_finds_worse() -> None:
    evidence = run_evidence(models=("a", "b"), images=12)
    assert evidence.tables is not None
    pairs = comparisons(evidence.tables)
    lines = {line.method: line for line in answer(evidence).glance}
    assert set(lines) == set(evidence.methods)
    for i, metric in enumerate(evidence.metrics):
        for method, line in lines.items():
            lost = [
                model
                for model in ("a", "b")
                for pair in pairs[
                    (pairs["metric"] == metric) & (pairs["model"] == model)
                ].itertuples()
                if method in (pair.method, pair.other) and pair.better not in ("", method)
            ]
            assert line.cells[i][:2] == (2 - len(set(lost)), 2)


@pytest.mark.parametrize("models", [("a",), ("a", "b", "c")])
def test_the_place_by_score_is_that_of_the_mean_with_one_model_as_with_several(
    models: tuple[str, ...],
) -> None:
    evidence = run_evidence(models=models, images=12, ceiling=False)
    lines = {line.method: line for line in answer(evidence).glance}
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


def test_verdicts_name_the_best_mean_of_each_model() -> None:
    evidence = run_evidence(models=("a", "b"), images=12)
    assert evidence.tables is not None
    means = evidence.tables.scores.groupby(["metric", "model", "method"])["value"].mean()
    for verdict in answer(evidence).verdicts:
        for winner in verdict.winners:
            mine = means[verdict.metric, winner.model]
            assert winner.method == (mine.idxmin() if verdict.better == "lower" else mine.idxmax())
            assert winner.others == len(mine) - 1


def test_one_method_that_beats_all_others_everywhere() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b"),
        ("b", "deletion", "x", 0.1, 1, "a"), ("b", "deletion", "y", 0.3, 2, "b"),
    )  # fmt: skip
    assert found.headline == "x is significantly best throughout"
    assert (
        found.verdicts[0].sentence
        == "Significantly better than every other method on all 2 models."
    )
    assert all(winner.alone for winner in found.verdicts[0].winners)


def test_methods_that_share_rank_1_are_no_winners() -> None:
    found = said(
        ("a", "insertion", "x", 0.8, 1, "a"),
        ("a", "insertion", "y", 0.7, 1, "a"),
        ("a", "insertion", "z", 0.1, 3, "b"),
    )
    assert found.headline == "Nothing here beats x and y"
    [verdict] = found.verdicts
    assert verdict.leader == "x"
    assert (
        verdict.sentence == "No method is significantly better, but it cannot be told apart from y."
    )
    assert verdict.winners[0].ties == ("y",)
    assert not verdict.winners[0].alone


def test_rivals_are_counted_by_model() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 1, "a"), ("a", "deletion", "z", 0.3, 1, "a"),
        ("b", "deletion", "x", 0.1, 1, "a"), ("b", "deletion", "y", 0.2, 1, "a"), ("b", "deletion", "z", 0.3, 3, "b"),
    )  # fmt: skip
    assert found.verdicts[0].sentence.endswith("told apart from y and z (1 of 2 models).")


def test_where_none_is_best_throughout_the_headline_says_so() -> None:
    found = said(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b"),
        ("a", "insertion", "x", 0.1, 2, "b"), ("a", "insertion", "y", 0.2, 1, "a"),
        ("b", "deletion", "x", 0.1, 1, "a"), ("b", "deletion", "y", 0.2, 2, "b"),
    )  # fmt: skip
    assert found.headline == "No single method is best; x is beaten least often"
    assert "In 2 of 3 comparisons (2 metrics on 2 models)" in found.lede
    assert found.lede.endswith("Next come y (1).")


def test_a_best_mean_may_be_beaten_by_rank() -> None:
    [verdict] = said(
        ("a", "deletion", "x", 0.1, 2, "b"), ("a", "deletion", "y", 0.2, 1, "a")
    ).verdicts
    assert verdict.leader == "y"
    assert verdict.winners[0].method == "x"
    assert verdict.winners[0].beaten
    assert verdict.winners[0].unbeaten == ("y",)


def test_a_leader_that_loses_on_some_model_says_on_how_many() -> None:
    rows = [(model, "deletion", "x", 0.1, 1, "a") for model in "ab"] + [
        ("c", "deletion", "x", 0.3, 2, "b")
    ]
    rows += [(model, "deletion", "y", 0.2, 2, "b") for model in "ab"] + [
        ("c", "deletion", "y", 0.2, 1, "a")
    ]
    [verdict] = said(*rows).verdicts
    assert verdict.leader == "x"
    assert verdict.sentence == "Beaten significantly on 1 of 3 models."


def test_the_share_of_the_achievable_is_told() -> None:
    rows = [
        ("a", "deletion", "x", 0.1, 1, "a"),
        ("b", "deletion", "x", 0.1, 1, "a"),
        ("a", "deletion", "y", 0.2, 2, "b"),
    ]
    sentence = said(*rows, share=[0.5, 0.58, 0.1]).verdicts[0].sentence
    assert "It goes 50\u202f% to 58\u202f% of the way from the best control" in sentence
    assert "It goes 50\u202f% of" in said(*rows[::2], share=[0.5, 0.1]).verdicts[0].sentence


def test_what_cannot_be_tested_is_not_called_significant() -> None:
    rows = [("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 1, "a")]
    for found in (said(*rows, n=1, low=NAN, high=NAN), said(rows[0])):
        assert found.headline == "Nothing can be told apart here"
    assert said(*rows, n=1).verdicts[0].sentence == "One image: no test can tell methods apart."
    assert said(rows[0]).verdicts[0].sentence == "No other method was scored."


def test_without_scores_there_is_no_answer() -> None:
    found = said(("a", "deletion", "x", NAN, 1, ""), n=0, status="failed", reason="it broke")
    assert found.headline == "Nothing was scored"
    assert found.verdicts == ()


def test_a_control_is_called_one() -> None:
    found = said(
        ("a", "deletion", "flat", 0.1, 1, "a"), ("a", "deletion", "x", 0.2, 1, "a"), control="flat"
    )
    assert found.headline == "Nothing here beats flat (a control) and x"
