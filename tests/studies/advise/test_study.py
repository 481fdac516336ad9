"""A whole race on the embedded data: what it leaves behind, that it goes on, and what it refuses."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import interpbench
from interpbench.core.errors import DataError, ParameterError, RunFolderError
from interpbench.studies.advise.study import Advice
from tests.command_line import call
from tests.studies.advise.test_answer import check_claims

METHODS = ["gradcam", "saliency", "attention-rollout"]
CONTROLS = {"center", "input-magnitude", "random", "random-segments", "sobel"}


def ask(output: Path, **asked: object) -> Advice:
    given = {"method": METHODS, "budget": "5h", "images": 3, "device": "cpu", "output": output}
    return interpbench.advise("planted", model="resnet18", **(given | asked))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def advice(tmp_path_factory: pytest.TempPathFactory) -> Advice:
    return ask(tmp_path_factory.mktemp("advice") / "out")


def test_what_it_leaves_behind(advice: Advice) -> None:
    record = json.loads((advice.folder / "advice.json").read_text())
    assert record["status"] == "finished"
    assert record["lines"] == list(advice.lines)
    assert {
        "methods.csv",
        "pairs.csv",
        "settings.csv",
        "rounds.csv",
        "summary.csv",
        "advice.csv",
        "cost.png",
    } < set(record["files"])
    page = advice.page.read_text()
    assert all(part in page for part in ("Which method", "data:image/png;base64,", "advice.json"))
    assert "http" not in page.replace("http-equiv", "")
    images = [it["images"] for it in record["rounds"]]
    assert [len(ids) for ids in images] == [
        2,
        1,
        3,
    ]  # the settings are asked of images that were seen
    assert set(images[0]) | set(images[1]) == set(images[2])
    assert record["rounds"][1]["ended"] == "all images were used"


def test_each_number_of_a_real_answer_is_in_its_cell(advice: Advice) -> None:
    assert 0 < len(advice.lines) <= 10
    check_claims(advice.claims, advice.lines, advice.folder)
    written = pd.read_csv(advice.folder / "advice.csv", dtype=str, keep_default_na=False)
    assert written["text"].tolist() == advice.claims["text"].tolist()


def test_controls_stay_and_what_does_not_apply_is_out(advice: Advice) -> None:
    methods = advice.tables["methods.csv"].set_index("method")
    assert set(methods.index[methods["role"] == "control"]) == CONTROLS
    assert (methods.loc[list(CONTROLS), "images"] == 3).all()
    assert methods.loc["attention-rollout", "advice"] == "failed"
    assert "attention" in methods.loc["attention-rollout", "reason"]
    assert methods.loc["gradcam", ["ms", "forward_passes", "backward_passes"]].tolist()[1:] == [
        1,
        1,
    ]
    assert methods.loc["gradcam", "ms"] > 0


def test_finalists_are_asked_under_all_settings_and_by_the_sanity_checks(advice: Advice) -> None:
    places = advice.tables["places.csv"]
    assert places.groupby("setting").size().eq(len(CONTROLS) + 2).all()
    assert places["setting"].nunique() == 5 + len(advice.record.rules.settings)
    methods = advice.tables["methods.csv"].set_index("method")
    assert (methods.loc[["gradcam", "saliency"], "new_weights"] < 1).all()
    sanity = pd.read_csv(advice.folder / "sanity" / "verdicts.csv").set_index("method")
    assert methods.loc["gradcam", "new_weights"] == pytest.approx(
        sanity.loc["gradcam", "all_layers"]
    )


def test_it_goes_on_from_the_rounds_that_are_finished(advice: Advice, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(advice.folder, again)
    for name in ("advice.csv", "advice.html", "methods.csv"):
        (again / name).unlink()
    went_on = ask(again, resume=True)
    rounds = [it.model_dump(exclude={"elapsed"}) for it in advice.record.rounds]
    assert [it.model_dump(exclude={"elapsed"}) for it in went_on.record.rounds] == rounds
    assert went_on.tables["settings.csv"].equals(advice.tables["settings.csv"])
    assert went_on.tables["pairs.csv"].equals(advice.tables["pairs.csv"])
    with pytest.raises(RunFolderError, match="seed differ"):
        ask(again, resume=True, seed=1)
    with pytest.raises(RunFolderError, match="--overwrite"):
        ask(again)
    with pytest.raises(RunFolderError, match="missing or not valid"):
        ask(tmp_path / "nothing", resume=True)


def test_it_is_held_against_images_that_it_has_not_seen(advice: Advice, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(advice.folder, again)
    held = ask(again, resume=True, others=3)
    assert held.lines[: len(advice.lines)] == advice.lines
    assert held.lines[-1].startswith("Held against 3 other images, ")
    assert len(held.lines) <= 10
    check_claims(held.claims, held.lines, held.folder)
    table = pd.read_csv(again / "statements.csv")
    assert f"{table['holds'].sum()} of {len(table)} statements hold" in held.lines[-1]
    assert "Held against" in held.page.read_text()
    seen = {name for record in held.record.rounds for name in record.images}
    scores = interpbench.load_run(again / "rounds" / "others-near").scores
    assert scores["method"].nunique() == len(CONTROLS) + 2
    assert scores["metric"].nunique() == 5 + len(advice.record.rules.settings)
    assert scores["sample_id"].nunique() == 3
    assert seen.isdisjoint(scores["sample_id"])


def test_no_more_other_images_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="--others 1000000: expected a number from 2 to"):
        ask(tmp_path / "out", others=10**6)
    assert not (tmp_path / "out").exists()


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="10m"):
        ask(tmp_path / "out", budget="soon")
    with pytest.raises(DataError):
        ask(tmp_path / "out", images=10**6)
    assert not (tmp_path / "out").exists()


def test_too_small_a_budget_is_an_answer_or_says_what_to_do(tmp_path: Path) -> None:
    code, _, error = call(
        "advise",
        "--budget",
        "0.001s",
        "--method",
        "saliency",
        "--device",
        "cpu",
        "--output",
        tmp_path / "out",
    )
    assert code == 2
    assert "raise --budget" in error
