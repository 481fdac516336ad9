"""What the project itself publishes holds together, and a part of it is scored again."""

from interpbench.publish.integrity import check
from interpbench.publish.rescoring import verify
from interpbench.publish.suite_leaderboard import suites
from tests.paths import ROOT

RESULTS = ROOT / "results"


def test_everything_published_holds_together() -> None:
    assert {"quick", "cifar10"} <= set(suites(RESULTS))
    assert {name: faults for name, faults in check(RESULTS).items() if faults} == {}


def test_a_part_of_the_quick_submission_is_true() -> None:
    found = verify(RESULTS / "quick" / "interpbench", part=0.01, seed=1, device="cpu")
    assert found.faults == []
    assert found.compared["agrees"].all()
    assert found.images == (1, 30)
