"""Forgeries: each is found by the hashes, or, where all hashes have been made to fit, by scoring again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from interpbench import api
from interpbench.core.errors import ParameterError, SubmissionError
from interpbench.fast import scoring_copy
from interpbench.publish.integrity import check
from interpbench.publish.publishing import publish
from interpbench.publish.rescoring import Verification, verify
from interpbench.publish.submission import read_submission
from interpbench.publish.suite_leaderboard import read_leaderboard, write_leaderboard
from interpbench.results.finished_run import Run
from interpbench.suite.suite import Suite
from tests.command_line import call, refused
from tests.published import MINE, reseal


def edited(path: Path, change: Callable[[str], str]) -> None:
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


def verified(results: Path, suite_file: Path, part: float = 1.0, **options: Any) -> Verification:
    return verify(
        results / "few" / "ada", part=part, suite=str(suite_file), device="cpu", **options
    )


def test_what_is_true_holds(results: Path, suite_file: Path) -> None:
    found = verified(results, suite_file)
    assert found.holds
    assert found.images == (4, 4)
    assert (
        len(found.compared) == 2 * (3 * 2 + 1) * 4
    )  # two models; three methods with two metrics and a ceiling
    assert found.compared["difference"].max() < 1e-5


@pytest.mark.usefixtures("scored_once")
def test_a_part_is_chosen_by_the_seed_and_scored_with_every_method(
    results: Path, suite_file: Path
) -> None:
    first, again = (verified(results, suite_file, part=0.5, seed=1) for _ in range(2))
    assert first.holds
    assert first.compared["sample_id"].nunique() == first.images[0] == 2
    assert first.compared["sample_id"].tolist() == again.compared["sample_id"].tolist()
    others = {
        frozenset(verified(results, suite_file, part=0.01, seed=s).compared["sample_id"])
        for s in range(3)
    }
    assert len(others) > 1  # nobody can know beforehand which image it will be
    assert all(len(one) == 1 for one in others)


def one_value(scores: pd.DataFrame) -> None:
    scores.loc[17, "value"] += 0.01


def swapped_rows(scores: pd.DataFrame) -> None:
    """Two images of one cell: no mean and no interval changes."""
    rows = scores.index[
        (scores["method"] == "saliency") & scores["metric"].str.startswith("deletion")
    ][:2]
    scores.loc[rows, "value"] = scores.loc[rows[::-1], "value"].to_numpy()


def target(scores: pd.DataFrame) -> None:
    rows = scores["sample_id"] == scores["sample_id"][0]
    scores.loc[rows, "target"] = (scores.loc[rows, "target"] + 1) % 10


ON_VALUES = [one_value, swapped_rows]


@pytest.mark.usefixtures("scored_once")
@pytest.mark.parametrize("forge", ON_VALUES)
def test_an_edited_value_is_found_by_its_hash(
    forge: Callable[[pd.DataFrame], None], results: Path, suite_file: Path
) -> None:
    path = results / "few" / "ada" / "scores.csv"
    scores = pd.read_csv(path)
    forge(scores)
    scores.to_csv(path, index=False)
    assert any("not the file that was published" in fault for fault in check(results)["few/ada"])
    assert not verified(results, suite_file, part=0.01).holds


@pytest.mark.usefixtures("scored_once")
@pytest.mark.parametrize("forge", ON_VALUES)
def test_an_edited_value_whose_hashes_fit_is_found_by_scoring_again(
    forge: Callable[[pd.DataFrame], None], results: Path, suite_file: Path
) -> None:
    reseal(results / "few" / "ada", lambda said, scores, ceilings: forge(scores))
    write_leaderboard(results, "few")
    assert not any(check(results).values())  # nobody can tell from the files alone
    found = verified(results, suite_file)
    assert not found.holds
    wrong = found.compared[~found.compared["agrees"]]
    assert len(wrong) == (1 if forge is one_value else 2)
    assert found.faults == []


def test_an_image_that_was_dropped_is_missed(results: Path, suite_file: Path) -> None:
    path = results / "few" / "ada" / "scores.csv"
    image = read_submission(path.parent).record.data.samples[0]
    edited(
        path,
        lambda text: "".join(line for line in text.splitlines(keepends=True) if image not in line),
    )
    assert check(results)["few/ada"]


@pytest.mark.usefixtures("scored_once")
def test_an_image_that_was_dropped_and_called_constant_is_found_by_scoring_again(
    results: Path, suite_file: Path
) -> None:
    def drop(said: dict[str, Any], scores: pd.DataFrame, ceilings: pd.DataFrame) -> pd.DataFrame:
        for cell in said["cells"]:
            cell["constant"] += (cell["model"], cell["method"]) == ("resnet18", "saliency")
        mine = (scores["model"] == "resnet18") & (scores["method"] == "saliency")
        return scores[~(mine & (scores["sample_id"] == said["data"]["samples"][0]))]

    reseal(results / "few" / "ada", drop)
    write_leaderboard(results, "few")
    assert not any(check(results).values())
    found = verified(results, suite_file)
    wrong = found.compared[~found.compared["agrees"]]
    assert len(wrong) == 2  # one a metric
    assert wrong["published"].isna().all()


@pytest.mark.usefixtures("scored_once")
def test_an_image_left_out_altogether_is_not_what_the_suite_chooses(
    results: Path, suite_file: Path
) -> None:
    def drop(said: dict[str, Any], scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        said["data"]["samples"][0] = "planted-test-000000"
        for frame in (scores, ceilings):
            ids = frame["sample_id"].astype(str)
            frame["sample_id"] = ids.where(ids.isin(said["data"]["samples"]), "planted-test-000000")

    reseal(results / "few" / "ada", drop)
    found = verified(results, suite_file, part=0.25).faults
    assert any("its images are not those that the suite chooses" in fault for fault in found)


@pytest.mark.parametrize(
    ("column", "by"), [("mean", 1e-4), ("low", -1e-3), ("high", 1e-3), ("share", 0.01)]
)
def test_an_edited_mean_or_interval_is_not_what_the_scores_give(
    column: str, by: float, results: Path
) -> None:
    path = results / "leaderboards" / "few.csv"
    board = pd.read_csv(path)
    board.loc[board[column].first_valid_index(), column] += by
    board.to_csv(path, index=False)
    [fault] = check(results)["leaderboards/few.csv"]
    assert f": {column} of" in fault


@pytest.mark.parametrize(
    ("column", "value"), [("rank", 3), ("date", "2020-01-01T00:00:00+00:00"), ("by", "Eve")]
)
def test_nor_is_any_other_edit_of_the_leaderboard(
    column: str, value: object, results: Path
) -> None:
    path = results / "leaderboards" / "few.csv"
    board = pd.read_csv(path)
    board.loc[0, column] = value
    board.to_csv(path, index=False)
    assert check(results)["leaderboards/few.csv"]


def test_a_hash_that_was_not_made_to_fit(results: Path) -> None:
    edited(
        results / "few" / "ada" / "run.json",
        lambda text: text.replace('"by": "Ada"', '"by": "Eve"'),
    )
    assert check(results)["few/ada"] == [
        "run.json was changed after it was published: its digest does not fit"
    ]


def test_an_edited_date(results: Path) -> None:
    file = results / "few" / "ada" / "run.json"
    finished = json.loads(file.read_text())["finished"]
    original = file.read_text()
    edited(file, lambda text: text.replace(finished, "2024-01-01T00:00:00Z"))
    assert any("digest" in fault for fault in check(results)["few/ada"])
    file.write_text(original)
    reseal(file.parent, lambda said, scores, ceilings: said.update(finished="2024-01-01T00:00:00Z"))
    assert any("dates cannot be" in fault for fault in check(results)["few/ada"])
    reseal(
        file.parent,
        lambda said, *_: said.update(
            started="2024-01-01T00:00:00Z", finished="2024-01-01T01:00:00Z"
        ),
    )
    assert check(results)["few/ada"] == []
    assert "date of" in check(results)["leaderboards/few.csv"][0]  # the leaderboard remembers


def test_a_plugin_that_was_changed_after_the_run(
    finished_with_mine: Run, suite: Suite, suite_file: Path, plugin_file: Path, tmp_path: Path
) -> None:
    publish(finished_with_mine, "Ada", results=tmp_path, suite=suite)
    assert verified(tmp_path, suite_file, part=0.01, plugin=[plugin_file]).holds
    changed = tmp_path / "changed.py"
    changed.write_text(MINE.replace("x.abs()", "(-x.abs())"))
    found = verified(tmp_path, suite_file, plugin=[changed])
    assert any("methods mine source_hash is" in fault for fault in found.faults)
    assert set(found.compared[~found.compared["agrees"]]["method"]) == {"mine"}
    with pytest.raises(
        SubmissionError, match=r"'mine' of this submission is not installed here.*--plugin FILE"
    ):
        verified(tmp_path, suite_file)


def test_no_code_runs_that_a_submission_names(
    results: Path, suite_file: Path, tmp_path: Path
) -> None:
    evil, ran = tmp_path / "evil.py", tmp_path / "ran"
    evil.write_text(f"open({str(ran)!r}, 'w')\ndef build(): pass\n")

    def forge(said: dict[str, Any], scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        name = f"{evil}:build"
        said["settings"]["models"] = [name, "resnet18", "alexnet"]
        said["models"][name] = said["models"]["resnet18"]
        said["settings"]["dataset"] = name

    reseal(results / "few" / "ada", forge)
    found = verified(results, suite_file, part=0.01)
    assert any("no models of few" in fault for fault in found.faults)
    reseal(
        results / "few" / "ada",
        lambda said, *_: said["methods"].update({f"{evil}:build": said["methods"]["random"]}),
    )
    with pytest.raises(SubmissionError, match="no code is taken from a submission"):
        verified(results, suite_file)
    assert not ran.exists()


def test_a_part_that_is_none(results: Path, suite_file: Path) -> None:
    for part in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ParameterError, match="share of the images"):
            verified(results, suite_file, part=part)


def test_verify_as_a_user_runs_it(results: Path, suite_file: Path) -> None:
    folder = str(results / "few" / "ada")
    code, out, error = call("verify", folder, "--suite", suite_file, "--part", "0.5", "--seed", "7")
    assert code == 0, error
    assert "28 of 28 scores agree, of 2 of 4 images (seed 7)" in out
    assert "It holds." in out
    reseal(results / "few" / "ada", lambda said, scores, ceilings: one_value(scores))
    code, out, _ = call("verify", folder, "--suite", suite_file, "--part", "1")
    assert code == 1
    assert "55 of 56 scores agree" in out
    assert "Wrong: " in out
    assert "It does not hold." in out
    assert "Unknown suite 'few'" in refused("verify", folder)
    assert "there is no such folder" in refused("verify", folder + "x")


def test_everything_of_the_suite_is_scored_though_a_run_was_of_one_model(
    finished_with_mine: Run, suite: Suite, suite_file: Path, plugin_file: Path, tmp_path: Path
) -> None:
    publish(finished_with_mine, "Ada", results=tmp_path, suite=suite)
    found = verified(tmp_path, suite_file, part=0.25, plugin=[plugin_file])
    assert set(found.compared["model"]) == {"resnet18"}
    board = read_leaderboard(tmp_path / "leaderboards" / "few.csv")
    assert len(found.compared) == board["metric"].nunique() * 3 + 1
    assert api.load_run(finished_with_mine.folder).info["status"] == "finished"


def test_a_true_submission_in_half_precision_holds(
    suite_file: Path, suite: Suite, tmp_path: Path
) -> None:
    run = api.run(
        str(suite_file), model="resnet18", method=["random", "saliency"], metric="deletion", precision="bf16",
        output=tmp_path / "run", device="cpu", plots=False,
    )  # fmt: skip
    publish(run, "Ada", results=tmp_path, suite=suite)
    found = verified(tmp_path, suite_file)
    assert found.holds
    assert 0.001 < found.compared["tolerance"].max() < 0.02


def test_a_precision_that_does_not_work_here(
    results: Path, suite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No verdict: the scores can be compared where it works."""
    reseal(results / "few" / "ada", lambda said, *_: said.update(precision="bf16"))
    monkeypatch.setattr(scoring_copy, "_lower", lambda *_: "fp32: it does not work in bf16")
    with pytest.raises(SubmissionError, match=r"scored in bf16, which does not work here"):
        verified(results, suite_file, part=0.25)


@pytest.mark.usefixtures("scored_once")
def test_a_part_finds_what_all_images_are_not_needed_for(results: Path, suite_file: Path) -> None:
    def forge(said: dict[str, Any], scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        said["models"]["resnet18"]["pixels_sha256"] = "0" * 64
        said["metrics"]["deletion:steps=6"]["better"] = "higher"
        said["methods"]["center"]["role"] = "method"
        for cell in said["cells"]:
            if (cell["model"], cell["method"]) == ("resnet18", "saliency"):
                cell["signed"] = 4  # of 4 images, and the one that is made again is not

    folder = results / "few" / "ada"
    assert verified(results, suite_file, part=0.25).holds
    reseal(folder, forge)
    found = "\n".join(verified(results, suite_file, part=0.25).faults)
    for fault in (
        "resnet18 pixels_sha256",
        "deletion:steps=6 better",
        "methods center role",
        "saliency on resnet18 signed is 4; here it is 3",
    ):
        assert fault in found
