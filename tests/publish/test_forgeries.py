"""Forgeries, each as somebody makes it who edits a file, and as somebody who makes all hashes fit: what finds it.

The first kind is always found by `leaderboard --check`. Of the second, `--check` finds what contradicts itself, and
`verify --part 1` whatever can be computed; the rest is on the list of hearsay that both print.
"""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from pydantic import ValidationError

from interpbench.core.errors import InterpBenchError, SubmissionError
from interpbench.publish import hearsay, rescoring
from interpbench.publish.integrity import check, faults
from interpbench.publish.publishing import publish
from interpbench.publish.submission import (
    CellOf,
    DataOf,
    MethodOf,
    MetricOf,
    ModelOf,
    SubmissionRecord,
    SuiteOf,
    read_submission,
    write_tables,
)
from interpbench.results.finished_run import Run
from interpbench.suite.suite import Suite
from tests.command_line import call
from tests.published import copy_of

DELETION, POINTING = "deletion:steps=6", "pointing-game"
GONE = -1.0  # the value of ceilings that an edit removes
Said = dict[str, Any]
Edit = Callable[[Said, pd.DataFrame, pd.DataFrame], Any]
Finder = Literal["--check", "verify", "hearsay"]


@dataclass(frozen=True)
class Forgery:
    """An edit of a submission, and what finds it once all hashes fit.

    The edit changes what it gets, or gives other scores.
    """

    edit: Edit
    finder: Finder
    message: str


def put(value: Any, *path: Any) -> Edit:
    """Another value at a place of the record."""

    def edit(said: Said, *_: object) -> None:
        section: Any = said
        for name in path[:-1]:
            section = section[name]
        assert section.get(path[-1]) != value
        section[path[-1]] = value

    return edit


def both(*edits: Edit) -> Edit:
    def edit(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> Any:
        for one in edits:
            changed = one(said, scores, ceilings)
            scores = scores if changed is None else changed
        return scores

    return edit


def moved(by: float, **of: str) -> Edit:
    """Another score of all images, of some method and metric, within 0..1."""

    def edit(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        rows = (scores[list(of)] == pd.Series(of)).all(axis=1)
        assert rows.any()
        scores.loc[rows, "value"] = (scores.loc[rows, "value"] + by).clip(0, 1)

    return edit


def one(column: str, change: Callable[[Any], Any], row: int = 17) -> Edit:
    """One value of the scores."""

    def edit(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        scores.loc[row, column] = change(scores.loc[row, column])

    return edit


def extremes(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
    """The best score everywhere, in a range so wide that nothing matters."""
    put([0.0, 1e6], "metrics", DELETION, "range")(said, scores, ceilings)
    scores.loc[scores["metric"] == DELETION, "value"] = 0.0


def role(method: str, new: str) -> Edit:
    def edit(said: Said, *_: object) -> None:
        said["methods"][method]["role"] = new
        for cell in said["cells"]:
            cell["role"] = new if cell["method"] == method else cell["role"]

    return edit


def renamed(kind: str, old: str, new: str, column: str) -> Edit:
    """Another name of a method, model or metric, wherever it stands."""

    def edit(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        said[kind][new] = said[kind].pop(old)
        said["settings"][kind] = [name.replace(old, new) for name in said["settings"][kind]]
        for cell in said["cells"]:
            cell.update({key: cell[key].replace(old, new) for key in ("model", "method")})
        for frame in (scores, ceilings):
            for name in (column, "method"):
                frame[name] = frame[name].str.replace(old, new, regex=False)

    return edit


def without(kind: str, label: str, column: str) -> Edit:
    """A method, model or metric is left out, but for the settings, which still name it."""

    def edit(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> pd.DataFrame:
        del said[kind][label]
        said["cells"] = [
            cell
            for cell in said["cells"]
            if label
            not in (cell["model"], cell["method"], cell["method"].removeprefix("(ceiling) "))
        ]
        gone = ceilings.index[ceilings[column] == label]
        ceilings.loc[gone, "value"] = GONE
        return scores[scores[column] != label]

    return edit


def first_image_is_gone(said: Said, *_: object) -> None:
    said["data"]["samples"].pop(0)


def cell_of(said: Said, model: str, method: str) -> Said:
    return next(c for c in said["cells"] if (c["model"], c["method"]) == (model, method))


def rows_of(scores: pd.DataFrame, model: str, method: str) -> pd.Series:
    return (scores["model"] == model) & (scores["method"] == method)


def no_cell(said: Said, scores: pd.DataFrame, _: object) -> pd.DataFrame:
    """Where a method is bad it did not run."""
    said["cells"].remove(cell_of(said, "alexnet", "saliency"))
    return scores[~rows_of(scores, "alexnet", "saliency")]


def failed(said: Said, scores: pd.DataFrame, _: object) -> pd.DataFrame:
    """Where a method is bad it failed."""
    cell_of(said, "alexnet", "saliency").update(status="failed", reason="out of memory")
    said["failures_declared"] = True
    return scores[~rows_of(scores, "alexnet", "saliency")]


def failed_with_scores(said: Said, *_: object) -> None:
    cell_of(said, "alexnet", "center").update(status="failed", reason="out of memory")
    said["failures_declared"] = True


def called(kind: str) -> Edit:
    """The worst image had no valid map."""

    def edit(said: Said, scores: pd.DataFrame, _: object) -> pd.DataFrame:
        cell_of(said, "resnet18", "saliency")[kind] += 1
        image = scores["sample_id"] == said["data"]["samples"][0]
        return scores[~(rows_of(scores, "resnet18", "saliency") & image)]

    return edit


def counted(said: Said, *_: object) -> None:
    cell_of(said, "resnet18", "saliency").update(constant=1)


def swapped_methods(said: Said, scores: pd.DataFrame, _: object) -> None:
    """Two methods' scores change places."""
    rows = [scores.index[scores["method"] == name] for name in ("center", "saliency")]
    scores.loc[rows[0].append(rows[1]), "value"] = scores.loc[
        rows[1].append(rows[0]), "value"
    ].to_numpy()


def swapped_images(said: Said, scores: pd.DataFrame, _: object) -> None:
    """Two images of one cell do: no mean and no interval changes."""
    rows = scores.index[rows_of(scores, "resnet18", "saliency") & (scores["metric"] == DELETION)][
        :2
    ]
    scores.loc[rows, "value"] = scores.loc[rows[::-1], "value"].to_numpy()


def ceiling(by: float) -> Edit:
    def edit(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
        ceilings["value"] = (ceilings["value"] + by).clip(0, 1)

    return edit


def other_labels(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
    """The models are right but on one image."""
    for frame in (scores, ceilings):
        frame["label"] = frame["target"].where(frame["sample_id"] != said["data"]["samples"][0], 99)
    for model in said["models"].values():
        model["accuracy"] = 0.75


def other_target(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
    """Classes are others, and each is right as often as before."""
    for frame in (scores, ceilings):
        frame["target"] = (frame["target"] + 1) % 10
        frame["label"] = (frame["label"] + 1) % 10


def other_images(said: Said, scores: pd.DataFrame, ceilings: pd.DataFrame) -> None:
    old = said["data"]["samples"][0]
    said["data"]["samples"][0] = "planted-test-000000"
    for frame in (scores, ceilings):
        frame["sample_id"] = frame["sample_id"].astype(str).replace(old, "planted-test-000000")


def own_protocol(old: str, new: str) -> Edit:
    """A metric was another one, and its protocol's hash is right."""

    def edit(said: Said, *_: object) -> None:
        text = said["metrics"][DELETION]["protocol_text"]
        assert old in text
        text = text.replace(old, new)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        said["metrics"][DELETION] |= {"protocol_text": text, "protocol": digest}

    return edit


def own_suite(key: str, value: Any) -> Edit:
    """The suite was another one, and its hash is right."""

    def edit(said: Said, *_: object) -> None:
        said["settings"][key] = value
        settings = Suite(**said["settings"])
        said["suite"] |= {"version": settings.version, "frame": settings.frame}

    return edit


def half_precision(by: float) -> Edit:
    """Scores are moved, and the precision is said to be one with much rounding."""
    return both(put("bf16", "precision"), moved(by, metric=DELETION, method="saliency"))


SALIENCY, RESNET, METRIC = ("methods", "saliency"), ("models", "resnet18"), ("metrics", DELETION)
DATE = "2024-01-01T00:00:00Z"
# Other values of the fields that are no text.
OTHER = {
    **dict.fromkeys(["images", "constant", "nonfinite", "signed", "accuracy_images", "version", "steps", "seed"], 77),
    **dict.fromkeys(["methods", "models", "metrics", "samples"], ("other",)),
    "ceiling": 16, "accuracy": 0.123, "range": (0.0, 77.0), "curve": None, "parameters": {"other": 1},
}  # fmt: skip
FORGERIES: dict[str, Forgery] = {
    # what a metric is
    "zeros in a wide range": Forgery(extremes, "verify", "range"),
    "a wider range": Forgery(put([0.0, 100.0], *METRIC, "range"), "verify", "range"),
    "a narrower range": Forgery(
        put([0.0, 0.01], *METRIC, "range"), "--check", "its range is 0 to 0.01"
    ),
    "an empty range": Forgery(put([1.0, 0.0], *METRIC, "range"), "--check", "a lower number"),
    "the other direction": Forgery(put("higher", *METRIC, "better"), "verify", "better"),
    "another unit": Forgery(put("logit", *METRIC, "unit"), "verify", "unit"),
    "another summary": Forgery(put("The truth.", *METRIC, "summary"), "verify", "summary"),
    "no curve": Forgery(put(False, *METRIC, "curve"), "--check", "knows no such model or method"),
    "another protocol": Forgery(
        own_protocol("most salient first", "least salient first"), "verify", "protocol_text"
    ),
    "a protocol without its text": Forgery(
        put("0" * 12, *METRIC, "protocol"), "--check", "does not have the hash"
    ),
    "a metric's source": Forgery(put("0" * 64, *METRIC, "source_hash"), "verify", "source_hash"),
    "a metric under another name": Forgery(
        renamed("metrics", POINTING, "pointing-game:tolerance=9", "metric"),
        "verify",
        "pointing-game",
    ),
    "a metric left out": Forgery(
        without("metrics", POINTING, "metric"), "verify", "metrics: .*does not say|pointing"
    ),
    # what a method is
    "a method as a control": Forgery(role("saliency", "control"), "verify", "role"),
    "a control as a method": Forgery(role("center", "method"), "verify", "role"),
    "a role in one cell": Forgery(
        lambda said, *_: cell_of(said, "alexnet", "center").update(role="method"),
        "--check",
        "elsewhere a control",
    ),
    "a method's source": Forgery(put("0" * 64, *SALIENCY, "source_hash"), "verify", "source_hash"),
    "a method's parameters": Forgery(
        put('{"power":2}', *SALIENCY, "parameters"), "verify", "parameters"
    ),
    "a method's paper": Forgery(put("Eve, 2026", *SALIENCY, "reference"), "verify", "reference"),
    "a method under another name": Forgery(
        renamed("methods", "saliency", "eves-method", "method"), "verify", "not installed here"
    ),
    "a method under another's name": Forgery(
        both(renamed("methods", "saliency", "sobel", "method")), "verify", "sobel"
    ),
    "a method left out": Forgery(
        without("methods", "saliency", "method"), "verify", "saliency: it does not say so"
    ),
    "a method left out on one model": Forgery(no_cell, "verify", "saliency on alexnet"),
    "a method that is said to fail": Forgery(failed, "verify", "status"),
    "a method that fails with scores": Forgery(failed_with_scores, "verify", "status"),
    "a failure that is not declared": Forgery(
        both(failed, put(False, "failures_declared")), "--check", "not declared"
    ),
    "a reason without a failure": Forgery(
        lambda said, *_: cell_of(said, "alexnet", "saliency").update(reason="slow"),
        "--check",
        "did not fail",
    ),
    "an image called constant": Forgery(called("constant"), "verify", "constant"),
    "an image called not finite": Forgery(called("nonfinite"), "verify", "nonfinite"),
    "maps called signed": Forgery(
        lambda said, *_: cell_of(said, "resnet18", "saliency").update(signed=3),
        "verify",
        "saliency on resnet18 signed is 3; here it is 0",
    ),
    "more signed maps than there are": Forgery(
        lambda said, *_: cell_of(said, "resnet18", "saliency").update(signed=5),
        "--check",
        "has 5 signed maps; 4 were valid",
    ),
    "a count without its image": Forgery(counted, "--check", "had a valid map"),
    # what a model is, and what it saw
    "other weights": Forgery(put("0" * 64, *RESNET, "weights_sha256"), "verify", "weights"),
    "weights by another name": Forgery(
        put("mine.safetensors", *RESNET, "weights"), "verify", "weights"
    ),
    "a model's source": Forgery(put("0" * 64, *RESNET, "source_hash"), "verify", "source_hash"),
    "a model's parameters": Forgery(
        put({"width": 512}, *RESNET, "parameters"), "verify", "parameters"
    ),
    "another preparation": Forgery(
        put("none at all", *RESNET, "preparation"), "verify", "preparation"
    ),
    "answers read otherwise": Forgery(put("sigmoid", *RESNET, "outputs"), "verify", "outputs"),
    "other pixels": Forgery(put("0" * 64, *RESNET, "pixels_sha256"), "verify", "pixels"),
    "another accuracy": Forgery(put(0.123, *RESNET, "accuracy"), "--check", "accuracy of resnet18"),
    "no accuracy": Forgery(put(None, *RESNET, "accuracy"), "verify", "accuracy"),
    "an accuracy on more images": Forgery(
        put(5000, *RESNET, "accuracy_images"), "verify", "accuracy_images"
    ),
    "other labels, and the accuracy that they give": Forgery(other_labels, "verify", "its class"),
    "other predictions": Forgery(other_target, "verify", "its class"),
    "a model left out": Forgery(
        without("models", "alexnet", "model"), "verify", "alexnet: it does not say so"
    ),
    # data and suite
    "another revision": Forgery(put("planted-2", "data", "revision"), "verify", "revision"),
    "other data": Forgery(put("imagenet", "data", "name"), "verify", "data name"),
    "the data's source": Forgery(put("0" * 64, "data", "source_hash"), "verify", "source_hash"),
    "other images": Forgery(other_images, "verify", "samples"),
    "an image less": Forgery(first_image_is_gone, "--check", "lists 3 images"),
    "another seed": Forgery(own_suite("seed", 4), "verify", "changed the suite: seed"),
    "another target": Forgery(own_suite("target", "label"), "verify", "changed the suite: target"),
    "another ceiling": Forgery(own_suite("ceiling", 3), "verify", "changed the suite: ceiling"),
    "another version": Forgery(own_suite("version", 2), "verify", "ran version 2"),
    "another description": Forgery(
        put("The best.", "settings", "description"), "verify", "description"
    ),
    "a suite's hash": Forgery(
        put("0" * 12, "suite", "frame"), "--check", "not those of its settings"
    ),
    "a method that the settings do not name": Forgery(
        put(["random", "center"], "settings", "methods"),
        "verify",
        "methods saliency: there is none here",
    ),
    # scores
    "one score": Forgery(one("value", lambda value: abs(value - 0.01)), "verify", "its score"),
    "no score": Forgery(one("value", lambda value: float("nan")), "verify", "its score"),
    "a score beyond its range": Forgery(
        one("value", lambda value: 1.5), "--check", "its range is 0 to 1"
    ),
    "a score below its range": Forgery(
        one("value", lambda value: -0.5), "--check", "its range is 0 to 1"
    ),
    "an infinite score": Forgery(one("value", lambda value: float("inf")), "--check", "not finite"),
    "all scores a little better": Forgery(
        moved(-0.0009, metric=DELETION, method="saliency"), "verify", "moved together"
    ),
    "scores of logits, which have no range": Forgery(
        both(own_protocol("output: probability", "output: logit"), one("value", lambda value: 1.5)),
        "verify",
        "protocol_text",
    ),
    "scores that another device would excuse": Forgery(
        both(
            put("cuda:0 NVIDIA H200", "device"), moved(-0.0009, metric=DELETION, method="saliency")
        ),
        "hearsay",
        "greater for another kind of device",
    ),
    "scores that no device excuses": Forgery(
        both(
            put("cuda:0 NVIDIA H200", "device"), moved(-0.004, metric=DELETION, method="saliency")
        ),
        "verify",
        "moved together",
    ),
    "scores in half precision": Forgery(half_precision(-0.015), "verify", "its score"),
    "two methods' scores": Forgery(swapped_methods, "verify", "its score"),
    "two images' scores": Forgery(swapped_images, "verify", "its score"),
    "a lower ceiling": Forgery(ceiling(0.05), "verify", "its score"),
    "a higher ceiling": Forgery(ceiling(-0.02), "verify", "its score"),
    "fewer ties": Forgery(
        lambda said, scores, _: scores.assign(tied=0.5), "verify", "its share of ties"
    ),
    "more ties than there are": Forgery(
        lambda said, scores, _: scores.assign(tied=1.5), "--check", "share of ties"
    ),
    "a row twice": Forgery(
        lambda said, scores, _: scores.loc[[0, *scores.index]], "--check", "a row twice"
    ),
    # what nobody can compute
    "another author": Forgery(put("Eve", "by"), "hearsay", "by (who made it)"),
    "another comment": Forgery(put("The first.", "comment"), "hearsay", "comment"),
    "superseding": Forgery(put(["0" * 64], "supersedes"), "hearsay", "supersedes"),
    "failures declared": Forgery(put(True, "failures_declared"), "hearsay", "failures_declared"),
    "older": Forgery(both(put(DATE, "started"), put(DATE, "finished")), "hearsay", "finished"),
    "finished before it began": Forgery(put(DATE, "finished"), "--check", "dates cannot be"),
    "in the future": Forgery(put("2999-01-01T00:00:00Z", "finished"), "--check", "dates cannot be"),
    "a date of no zone": Forgery(put("2024-01-01T00:00:00", "started"), "--check", "started"),
    "another device": Forgery(put("cpu Apple M9", "device"), "hearsay", "device"),
    "other packages": Forgery(put({"torch": "3.0"}, "versions"), "hearsay", "versions"),
    "another commit": Forgery(put({"commit": "0" * 40}, "git"), "hearsay", "git"),
    "scores that move within their tolerance": Forgery(
        moved(1e-5, metric=DELETION, method="saliency"), "hearsay", "less than its tolerance"
    ),
    "a smaller run": Forgery(
        both(
            without("models", "alexnet", "model"),
            put(["resnet18"], "settings", "models"),
        ),
        "hearsay",
        "a smaller run",
    ),
    # how it is written
    "a key that there is not": Forgery(put(1, "rank"), "--check", "key 'rank'"),
    "a key of a cell that there is not": Forgery(
        lambda said, *_: said["cells"][0].update(rank=1), "--check", "key 'cells.0.rank'"
    ),
    "escapes in a name": Forgery(put("Eve\x1b[31m", "by"), "--check", "control characters"),
    "a commit with escapes": Forgery(
        put({"commit": "\x1b[31m"}, "git"), "--check", "control characters"
    ),
}


def forge(folder: Path, edit: Edit, *, sealed: bool) -> None:
    """Edits a submission; with all hashes made to fit, as far as it still is one."""
    submission = read_submission(folder)
    said = submission.record.model_dump(mode="json")
    scores, ceilings = submission.scores.copy(), submission.ceilings.copy()
    changed = edit(said, scores, ceilings)
    scores = scores if changed is None else changed
    digests = write_tables(scores, ceilings[ceilings["value"] != GONE], folder)
    text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
    if sealed:
        with suppress(ValidationError):  # what is no record has no digest
            text = SubmissionRecord.model_validate(said | {"files": digests}).sealed().text()
    (folder / "run.json").write_text(text, encoding="utf-8")


def found_by_check(folder: Path) -> list[str]:
    """What `leaderboard --check` says of a submission whose leaderboard was written again."""
    try:
        return faults(read_submission(folder), folder)
    except SubmissionError as error:
        return [str(error)]


def found_by_verify(folder: Path, suite_file: Path) -> list[str]:
    try:
        found = rescoring.verify(folder, part=1.0, seed=0, suite=str(suite_file), device="cpu")
    except InterpBenchError as error:
        return [str(error)]
    assert found.holds == (not found.faults and found.compared["agrees"].all())
    return [*found.faults, *found.compared["wrong"][found.compared["wrong"] != ""].unique()]


def test_the_table_is_long_enough() -> None:
    assert len(FORGERIES) >= 40


@pytest.mark.parametrize("name", FORGERIES)
def test_an_edited_file_is_found_by_check(name: str, results: Path) -> None:
    folder = results / "few" / "ada"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    forge(folder, FORGERIES[name].edit, sealed=False)
    assert before != {file.name: file.read_bytes() for file in folder.iterdir()}
    assert check(results)["few/ada"]


@pytest.mark.usefixtures("scored_once")
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_whose_hashes_fit(name: str, results: Path, suite_file: Path) -> None:
    forgery, folder = FORGERIES[name], results / "few" / "ada"
    forge(folder, forgery.edit, sealed=True)
    checked = found_by_check(folder)
    if forgery.finder == "--check":
        assert any(re.search(forgery.message, fault) for fault in checked), checked
        return
    assert checked == []
    verified = found_by_verify(folder, suite_file)
    if forgery.finder == "verify":
        assert any(re.search(forgery.message, fault) for fault in verified), verified
    else:
        assert verified == []
        assert forgery.message in hearsay.hearsay()


def test_a_key_that_stands_there_twice(results: Path) -> None:
    file = results / "few" / "ada" / "run.json"
    file.write_text(
        file.read_text().replace('"unit": "probability"', '"unit": "x",\n"unit": "probability"', 1)
    )
    [fault] = found_by_check(file.parent)
    assert "the key 'unit' stands there twice" in fault


def test_a_record_that_is_written_otherwise(results: Path) -> None:
    file = results / "few" / "ada" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text())))
    [fault] = found_by_check(file.parent)
    assert "not written as `publish` writes it" in fault


def test_every_field_of_a_record_is_compared_or_on_the_list(results: Path) -> None:
    """So that a field that is added is thought of."""
    record = read_submission(results / "few" / "ada").record
    compared = {"suite", "settings", "data", "models", "methods", "metrics", "cells"}
    assert compared | {*hearsay.FIELDS} | {*hearsay.SEALS} == set(SubmissionRecord.model_fields)
    assert list(hearsay.differences(record, record)) == []
    for name, model in (
        ("cells", CellOf),
        ("data", DataOf),
        ("suite", SuiteOf),
        ("settings", Suite),
    ):
        section = getattr(record, name)
        for field in model.model_fields:
            first = section[0] if name == "cells" else section
            other = first.model_copy(update={field: OTHER.get(field, "other")})
            changed = (other, *section[1:]) if name == "cells" else other
            assert list(hearsay.differences(record.model_copy(update={name: changed}), record)), (
                name,
                field,
            )
    for name, model in (("models", ModelOf), ("methods", MethodOf), ("metrics", MetricOf)):
        section = getattr(record, name)
        for label in section:
            for field in model.model_fields:
                other = section[label].model_copy(update={field: OTHER.get(field, "other")})
                changed = {**section, label: other}
                assert list(
                    hearsay.differences(record.model_copy(update={name: changed}), record)
                ), (name, field)


def test_older_records_leave_out_what_they_did_not_know(results: Path) -> None:
    record = read_submission(results / "few" / "ada").record
    older = record.models | {
        "resnet18": record.models["resnet18"].model_copy(update={"preparation": ""})
    }
    cells = tuple(cell.model_copy(update={"signed": None}) for cell in record.cells)
    before = record.model_copy(update={"models": older, "cells": cells})
    assert list(hearsay.differences(before, record)) == []


def test_both_commands_print_what_they_have_to_believe(results: Path, suite_file: Path) -> None:
    said = hearsay.hearsay()
    assert said in call("leaderboard", "--check", "--results", results)[1]
    assert (
        said in call("verify", results / "few" / "ada", "--suite", suite_file, "--part", "0.01")[1]
    )


def test_submissions_whose_metrics_differ_do_not_stand_on_one_board(
    finished_with_mine: Run, suite: Suite, results: Path, tmp_path: Path
) -> None:
    for name, value in (("better", "higher"), ("range", [0.0, 2.0]), ("unit", "logit")):
        run = copy_of(
            finished_with_mine,
            tmp_path / name,
            lambda info, name=name, value=value: info["metrics"][DELETION].update({name: value}),
        )
        with pytest.raises(SubmissionError, match=f"the {name} of {DELETION} is"):
            publish(run, "Grace", results=results, suite=suite)
