"""What an answer says, held against other made-up scores: the same world bears it out, another one does not."""

import pandas as pd
import pytest

from interpbench.studies.advise.answer import Answer
from interpbench.studies.advise.elsewhere import statements, with_statements
from interpbench.studies.advise.findings import SUMMARY, Findings, find
from interpbench.studies.advise.race import TIME, WORSE, Dropped
from tests.studies.advise.test_answer import CLEAR, GOOD, LEVEL, RULES, measured

LEFT = (Dropped("b2", WORSE, "shown to be worse than a1"), Dropped("c3", TIME, "for time"))
SOUND = {"a1": GOOD, "b2": GOOD, "c3": GOOD}


def told(said: Findings, there: Findings) -> pd.Series:
    return pd.Series({it.statement: it.holds for it in statements(said, there)}, dtype=bool)


def of(merit: dict[str, float], images: int = 40, dropped: tuple[Dropped, ...] = ()) -> Findings:
    return find(measured(merit, images=images, dropped=dropped, verdicts=SOUND), RULES)


def test_the_same_world_bears_out_what_is_clear() -> None:
    said, there = of(CLEAR, dropped=LEFT), of(CLEAR, images=200, dropped=LEFT)
    found = told(said, there)
    assert found["a1 is better than every control"]
    assert found["b2 is worse than a1"]
    assert found["none of the 1 others is better than a1"]
    assert found["a1 ranks first under 7 of 7 settings"]
    assert found["no control wins more than sobel"]
    assert found["7 settings show a1 better than sobel, 0 worse"]


def test_another_world_does_not() -> None:
    turned = {"a1": -3.0, "b2": 1.5, "c3": 3.0, "random": 0.0, "sobel": 0.5}
    found = told(of(CLEAR, dropped=LEFT), of(turned, images=200, dropped=LEFT))
    assert not found["a1 is better than every control"]
    assert not found["b2 is worse than a1"]
    assert not found["none of the 1 others is better than a1"]
    assert not found["a1 ranks first under 7 of 7 settings"]
    assert not found["7 settings show a1 better than sobel, 0 worse"]
    assert not found[[text for text in found.index if text.startswith("a1 wins ")]].any()


@pytest.mark.parametrize(("merit", "holds"), [(2.0, True), (-1.0, False)])
def test_what_cannot_be_told_apart_may_be_by_others(merit: float, holds: bool) -> None:
    said = of({"a1": 2.0, "b2": 2.0, "random": -3.0, "sobel": -2.0})
    [other] = {"a1", "b2"} - {said.leader}
    there = of({"a1": 2.0, "b2": 2.0, "random": -3.0, "sobel": -2.0} | {other: merit}, images=100)
    assert told(said, there)[f"{other} cannot be told apart from {said.leader}"] == holds


def test_the_answer_ends_with_how_much_holds() -> None:
    said = of(LEVEL)
    found = with_statements(said, measured(LEVEL, images=100), RULES)
    summary = found.tables[SUMMARY].set_index("key")["value"]
    table = found.tables["statements.csv"]
    assert summary["other images"] == 100
    assert summary["statements"] == len(table)
    assert summary["statements that hold"] == table["holds"].sum()
    assert Answer(found).lines[-1] == (
        f"Held against 100 other images, {table['holds'].sum()} of {len(table)} statements hold."
    )
    assert len(Answer(said).lines) == len(Answer(found).lines) - 1


def test_without_anything_usable_nothing_is_said() -> None:
    insensitive = {"a1": ("INSENSITIVE", "sensitive")}
    said = find(measured({"a1": 3.0, "random": 0.0, "sobel": 0.0}, verdicts=insensitive), RULES)
    assert not said.leader
    assert told(said, said).empty
