"""Files of strangers are data: what is no submission is refused with a message, whatever it is."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from interpbench.core.errors import SubmissionError
from interpbench.publish import submission as format
from interpbench.publish.integrity import check
from interpbench.publish.submission import SubmissionRecord, is_written, read_submission
from interpbench.results.leaderboard import leaderboard
from tests.published import reseal


@pytest.fixture
def folder(results: Path) -> Path:
    return results / "few" / "ada"


def with_key(folder: Path, **values: Any) -> None:
    said = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(said | values))


def test_a_record_is_the_same_after_writing_and_reading(folder: Path) -> None:
    record = read_submission(folder).record
    assert SubmissionRecord.model_validate_json(record.text()) == record
    assert record.sealed() == record


def test_scores_without_bounds_are_read_as_they_were_written(folder: Path) -> None:
    def of_logits(said: dict[str, Any], *_: object) -> None:
        said["metrics"]["deletion:steps=6"] |= {"unit": "logit", "range": [-math.inf, math.inf]}

    reseal(folder, of_logits)
    record = read_submission(folder).record
    assert record.metrics["deletion:steps=6"].range == (-math.inf, math.inf)
    assert record.sealed() == record
    assert is_written(record, folder)
    assert read_submission(folder).tables.metrics["deletion:steps=6"].range_text == "(−∞, ∞)"


def test_a_record_of_before_signs_were_counted_keeps_its_bytes(folder: Path) -> None:
    def older(said: dict[str, Any], *_: object) -> None:
        for cell in said["cells"]:
            cell.pop("signed", None)

    before = leaderboard(read_submission(folder).tables)
    reseal(folder, older)
    record = read_submission(folder).record
    assert record.sealed() == record
    assert '"signed":' not in record.text()
    assert is_written(record, folder)
    assert set(before["signed"]) == {0.0}
    assert leaderboard(read_submission(folder).tables)["signed"].isna().all()


def test_every_field_counts_for_the_digest(folder: Path) -> None:
    record = read_submission(folder).record
    other = {
        "name": "eve",
        "by": "Eve",
        "comment": "x",
        "failures_declared": True,
        "device": "cuda",
        "precision": "bf16",
    }
    digests = {
        record.model_copy(update={key: value}).computed_digest for key, value in other.items()
    }
    assert len(digests | {record.digest}) == len(other) + 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema_version": 2}, "schema version 2; this InterpBench reads 1"),
        ({"name": "../../etc"}, "key 'name'"),
        ({"by": "Eve\x1b[31m"}, "key 'by'.*control characters"),
        ({"by": "\u202eevE"}, "key 'by'.*control characters"),
        ({"by": ""}, "key 'by'"),
        ({"comment": "x" * 5000}, "key 'comment'"),
        ({"surprise": 1}, "key 'surprise'"),
        ({"digest": "abc"}, "key 'digest"),
        ({"cells": []}, "key 'cells'"),
        ({"precision": "int8"}, "key 'precision'"),
        ({"started": "yesterday"}, "key 'started'"),
    ],
)
def test_a_record_that_is_none(folder: Path, values: dict[str, Any], message: str) -> None:
    with_key(folder, **values)
    with pytest.raises(SubmissionError, match=message):
        read_submission(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 200_000, '"x"', "null", "{}", "\x00"])
def test_a_file_that_is_no_record(folder: Path, text: str) -> None:
    (folder / "run.json").write_text(text)
    with pytest.raises(SubmissionError, match=r"run\.json"):
        read_submission(folder)


def test_files_that_are_missing_too_large_linked_or_unexpected(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = folder / "scores.csv"
    content = scores.read_bytes()
    monkeypatch.setitem(format.LARGEST, "scores.csv", len(content) - 1)
    with pytest.raises(SubmissionError, match="larger than"):
        read_submission(folder)
    monkeypatch.setitem(format.LARGEST, "scores.csv", len(content))
    read_submission(folder)
    (folder / "plugin.py").write_text("raise SystemExit")
    with pytest.raises(SubmissionError, match=r"plugin\.py does not belong to a submission"):
        read_submission(folder)
    (folder / "plugin.py").unlink()
    (tmp_path / "elsewhere.csv").write_bytes(content)
    scores.unlink()
    with pytest.raises(SubmissionError, match=r"scores\.csv is missing"):
        read_submission(folder)
    os.symlink(tmp_path / "elsewhere.csv", scores)
    with pytest.raises(SubmissionError, match="no plain file"):
        read_submission(folder)


def test_a_table_that_is_none(folder: Path) -> None:
    (folder / "scores.csv").write_text("model,method\na,b\n")
    with pytest.raises(SubmissionError, match=r"scores\.csv: its columns are model, method"):
        read_submission(folder)


def without_controls(said: dict[str, Any], *_: object) -> None:
    for one in [*said["methods"].values(), *said["cells"]]:
        one["role"] = one["role"].replace("control", "method")


INCONSISTENT = {
    "a row twice": (lambda said, scores, _: scores.loc[[0, *scores.index]], "a row twice"),
    "an unknown method": (
        lambda said, scores, _: scores.astype({"method": str}).replace("saliency", "other"),
        "does not know",
    ),
    "an unknown image": (lambda said, scores, _: scores.assign(sample_id="x"), "does not know"),
    "several labels": (
        lambda said, scores, _: scores.assign(label=range(len(scores))),
        "several labels or targets",
    ),
    "a wrong accuracy": (
        lambda said, *_: said["models"]["resnet18"].update(accuracy=0.123),
        "accuracy of resnet18",
    ),
    "a tie above one": (lambda said, scores, _: scores.assign(tied=1.5), "share of ties"),
    "no control": (without_controls, "no control, so no floor"),
    "another role": (
        lambda said, *_: said["methods"]["random"].update(role="method"),
        "elsewhere a method",
    ),
    "a cell twice": (lambda said, *_: said["cells"].append(said["cells"][0]), "listed twice"),
    "no ceiling": (
        lambda said, *_: said.update(cells=[c for c in said["cells"] if c["role"] != "ceiling"]),
        "ceiling of resnet18 is missing",
    ),
}


@pytest.mark.parametrize("case", INCONSISTENT)
def test_what_does_not_hold_together_is_found(case: str, folder: Path, results: Path) -> None:
    forge, message = INCONSISTENT[case]
    reseal(folder, forge)
    found = check(results)
    faults = found["few/ada"]
    assert any(message in fault for fault in faults), faults
    assert "do not hold together" in found["leaderboards/few.csv"][0]


def test_a_folder_by_another_name_and_a_leaderboard_of_nobody(folder: Path, results: Path) -> None:
    folder.rename(folder.with_name("eve"))
    (results / "leaderboards" / "other.csv").write_text("x\n")
    found = check(results)
    assert any("calls itself few/ada" in fault for fault in found["few/eve"])
    assert found["leaderboards/other.csv"] == ["no submission stands behind it"]
