"""The study as a whole: from the command to the table, its pictures and the scores behind it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import interpbench
from interpbench.core.errors import DataError, UnknownNameError
from interpbench.registry.discovery import discover
from interpbench.studies.chosen_tests import choose_tests
from interpbench.studies.judging.study import TESTS
from interpbench.suite.protocol import protocol_of
from tests.command_line import call, refused
from tests.picture_commands import content

ASK = ["judge", "--images", "6", "--method", "saliency,sobel,random", "--device", "cpu"]
METRICS = ["--metric", "roc-auc,entropy,average-drop,max-sensitivity"]
SCORES = {
    "degradation_scores.csv",
    "method_scores.csv",
    "perturbation_scores.csv",
    "scenario_scores.csv",
}
TABLES = {"judged.csv", "orders.csv", "consistency.csv", "agreement.csv", "scenarios.csv"}
PICTURES = {"judged.png", "judged-light.svg", "judged-dark.svg"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder, and what the command printed."""
    folder = tmp_path_factory.mktemp("judged") / "one"
    code, out, error = call(*ASK, *METRICS, "--output", folder)
    assert code == 0, error
    return folder, out


def table(judged: tuple[Path, str], name: str = "judged") -> pd.DataFrame:
    return pd.read_csv(judged[0] / f"{name}.csv")


def test_all_is_written_and_listed(judged: tuple[Path, str]) -> None:
    record: dict[str, Any] = json.loads((judged[0] / "judge.json").read_text(encoding="utf-8"))
    assert set(record["files"]) == SCORES | TABLES | PICTURES
    assert set(content(judged[0])) == SCORES | TABLES | PICTURES | {"judge.json"}
    assert record["status"] == "finished"
    assert record["tests"] == list(TESTS)
    assert set(record["methods"]) == {"saliency", "sobel", "random"}
    assert len(record["sample_ids"]) + record["left_out"] == 6


def test_a_metric_is_a_row_with_the_protocol_of_its_default(judged: tuple[Path, str]) -> None:
    rows = table(judged).set_index("metric")
    assert set(rows.index) == {"roc-auc", "entropy", "average-drop", "max-sensitivity"}
    for name, row in rows.iterrows():
        metric = discover().configure("metric", str(name), {})
        assert row["protocol"] == protocol_of(metric, "predicted").hash
        assert row["source_hash"] == metric.plugin.source_hash
    assert rows.loc["max-sensitivity", "status"] == "not asked"
    assert "asked again" in rows.loc["max-sensitivity", "reason"]
    assert (
        rows.loc["max-sensitivity"]
        .drop(["protocol", "source_hash", "version", "status", "reason"])
        .isna()
        .all()
    )


def test_what_needs_no_model_is_judged_as_one_knows_it(judged: tuple[Path, str]) -> None:
    """The area under the ROC curve is 1 for the exact mask alone; entropy cannot see where a map lies."""
    rows = table(judged).set_index("metric")
    assert rows.loc["roc-auc", ["shift", "dilation", "permutation"]].tolist() == [1, 1, 1]
    assert rows.loc["entropy", ["dilation", "blur"]].tolist() == [1, 1]
    orders = table(judged, "orders").set_index(["metric", "degradation"])
    assert orders.loc[("roc-auc", "shift"), "ordered"] == 1
    assert orders.loc[("entropy", "shift"), ["tau", "orders"]].tolist() == [0, False]
    scores = table(judged, "degradation_scores")
    exact = scores[(scores["metric"] == "roc-auc") & (scores["step"] == 0)]
    assert (exact["score"] == 1).all()


def test_the_terminal_has_the_table_and_the_rules(judged: tuple[Path, str]) -> None:
    out = judged[1]
    assert "orders a degradation if" in out
    assert "fooled by a scenario if" in out
    assert "not asked: max-sensitivity: needs a method" in out
    orders = int(table(judged).set_index("metric").loc["roc-auc", "orders"])
    [line] = [line.split() for line in out.splitlines() if line.strip().startswith("roc-auc")]
    assert line[:2] == ["roc-auc", f"{orders}/5"]


def test_a_metric_has_the_same_scores_again_and_alone(
    judged: tuple[Path, str], tmp_path: Path
) -> None:
    asked = [*ASK, "--metric", "roc-auc", "--test", "orders,scenarios", "--output", tmp_path]
    assert call(*asked)[0] == 0
    for name in ("degradation_scores", "scenario_scores", "orders", "scenarios"):
        beside = table(judged, name)
        beside = beside[beside["metric"] == "roc-auc"].reset_index(drop=True)
        alone = pd.read_csv(tmp_path / f"{name}.csv")
        pd.testing.assert_frame_equal(alone, beside, check_exact=True, check_dtype=False)


def test_a_metric_that_breaks_down_makes_exit_code_1(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from interpbench import metric\n"
        "@metric('broken', better='higher')\n"
        "def broken(explanation):\n"
        '    """Breaks down."""\n'
        "    raise ValueError('no')\n",
        encoding="utf-8",
    )
    asked = [*ASK, "--plugin", plugin, "--metric", "broken,entropy", "--test", "orders"]
    code, out, _ = call(*asked, "--output", tmp_path / "out")
    assert code == 1
    assert "failed: broken: ValueError: no" in out


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    ask = [*ASK, "--output", tmp_path / "out"]
    assert "Did you mean 'orders'" in refused(*ask, "--test", "order")
    assert "Did you mean 'roc-auc'" in refused(*ask, "--metric", "roc-au")
    pixels = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(DataError, match="has no masks"):
        interpbench.judge((pixels, [0, 1]), metric="entropy", weights="random", device="cpu")
    with pytest.raises(UnknownNameError):
        choose_tests(["everything"], TESTS)
    assert choose_tests(["scenarios, orders"], TESTS) == ("orders", "scenarios")
