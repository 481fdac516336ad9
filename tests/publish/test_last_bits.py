"""Scores that hang on the last bits of what a network computes, as another processor would compute it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from interpbench import api
from interpbench.publish.publishing import publish
from interpbench.publish.rescoring import Verification, verify
from interpbench.suite.suite import Suite
from tests.published import reseal

# Which of two opposite maps it gives, nobody can say who adds in another order.
EDGE = '''
from interpbench import method

@method("edge")
def edge(model, x, target):
    """The images' own values, or their opposite."""
    odd = (model(x).double() * 2**23).sum(1).round().long() % 2
    return x.abs().amax(1) * (1 - 2 * odd)[:, None, None]
'''


@pytest.fixture(scope="module")
def edge_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "edge.py"
    path.write_text(EDGE)
    return path


@pytest.fixture(scope="module")
def published(
    suite: Suite, suite_file: Path, edge_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = api.run(
        str(suite_file), plugin=edge_file, method=["random", "center", "edge", "saliency"], model="resnet18",
        output=tmp_path_factory.mktemp("runs") / "edge", device="cpu", plots=False,
    )  # fmt: skip
    results = tmp_path_factory.mktemp("results")
    publish(run, "Ada", results=results, suite=suite)
    return results / "few" / "ada"


def moved(
    published: Path, method: str, by: float, suite_file: Path, edge_file: Path
) -> Verification:
    """What is said of the submission with one of its scores of deletion moved; it is put back."""

    def move(scores: pd.DataFrame, by: float) -> None:
        row = scores.index[(scores["method"] == method) & (scores["metric"] == "deletion:steps=6")][
            0
        ]
        scores.loc[row, "value"] += by

    def change(by: float) -> None:
        def forge(said: dict[str, Any], scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
            move(scores, by)

        reseal(published, forge)

    change(by)
    try:
        return verify(published, part=1.0, suite=str(suite_file), plugin=[edge_file], device="cpu")
    finally:
        change(-by)


def test_where_a_map_hangs_on_the_last_bits_its_score_may_be_what_these_make_of_it(
    published: Path, suite_file: Path, edge_file: Path
) -> None:
    found = moved(published, "edge", 0.01, suite_file, edge_file)
    assert found.holds
    row = found.compared[found.compared["difference"] > 0.005]
    assert row["method"].tolist() == ["edge"]
    assert row["tolerance"].iloc[0] > 0.01
    others = found.compared.drop(row.index)
    assert others["tolerance"].max() <= 0.001  # no other is asked about


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saliency", "center"])
def test_where_it_does_not_the_same_change_is_found(
    method: str, published: Path, suite_file: Path, edge_file: Path
) -> None:
    found = moved(published, method, 0.01, suite_file, edge_file)
    assert not found.holds
    assert found.compared.loc[~found.compared["agrees"], "method"].tolist() == [method]


def test_and_where_many_are_wrong_none_is_excused(
    published: Path, suite_file: Path, edge_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interpbench.publish.rescoring.RARE", 0.0)

    def forge(said: dict[str, Any], scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        scores.loc[
            (scores["method"] == "edge") & (scores["metric"] == "deletion:steps=6"), "value"
        ] += 0.01

    reseal(published, forge)
    found = verify(published, part=1.0, suite=str(suite_file), plugin=[edge_file], device="cpu")
    assert (~found.compared["agrees"]).sum() == 4
