"""Protocol and provenance: complete, and a command line that repeats the run."""

from dataclasses import replace

import pytest

from interpbench.report.page.record import record, repeat
from interpbench.results.run_info import RunInfo
from tests.report.page.pages import INFO, run_evidence


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run"], "run"),
        (["run", "--images", "24", "--output", "a b", "--overwrite"], "run --images 24"),
        (["run", "--output=here", "--method", "rise:masks=8"], "run --method rise:masks=8"),
        (["run", "--resume", "--output", "here", "--dataset", "imagefolder:root=my photos"],
         "run --dataset 'imagefolder:root=my photos'"),
        (["run", "--method", "$(rm x); y"], "run --method '$(rm x); y'"),
    ],
)  # fmt: skip
def test_the_command_is_repeated_into_a_folder_of_its_own(words: list[str], expected: str) -> None:
    assert (
        repeat(RunInfo(command=("/somewhere/interpbench", *words)))
        == f"python -m interpbench {expected}"
    )


def test_a_run_that_python_started_is_repeated_from_its_settings() -> None:
    settings = {
        "dataset": "planted",
        "models": ["a", "b"],
        "methods": ["rise:masks=8,cells=4"],
        "steps": None,
        "seed": 0,
    }
    assert repeat(RunInfo.model_validate({"command": ["script.py"], "settings": settings})) == (
        "python -m interpbench run --dataset planted --model a --model b --method rise:masks=8,cells=4 --seed 0"
    )


def test_what_is_recorded_is_told() -> None:
    found = record(run_evidence(images=12))
    facts = dict(found.facts)
    assert facts["suite"] == "quick version 2, hash f0f1ad08dfed"
    assert facts["data revision"] == "planted-1"
    assert (facts["seed"], facts["device"], facts["precision"]) == ("7", "cpu x86_64", "fp32")
    assert facts["git commit"] == INFO["git"]["commit"]
    assert facts["versions"] == "python 3.12.1, torch 2.15.0"
    assert found.samples == ("image-000", "image-001")
    assert dict(found.models[0].facts)["weights' sha256"] == "171d67bf"
    assert dict(found.plugins[0].facts)["source hash"] == "23fa977d"
    assert [p.metric for p in found.protocols] == [
        "deletion",
        "insertion",
        "energy-inside",
        "pointing-game",
    ]
    for protocol in found.protocols:
        assert protocol.text.startswith(f"metric: {protocol.metric}\norder: most salient first")


@pytest.mark.parametrize(
    ("changes", "notices", "says"),
    [
        ({}, [], "no method of this run is known to be affected"),
        (
            {},
            ["resnet50: no gradient (relu), which rules out gradcam."],
            "no method of this run is known to be",
        ),
        (
            {},
            ["resnet18: no gradient (relu), which rules out gradcam."],
            "concerns methods of this run",
        ),
        ({"repaired": True}, [], "a copy that is free of it"),
        ({"rules_out": ""}, [], "rules out no method"),
    ],
)
def test_a_finding_says_whether_it_concerns_the_run(
    changes: dict[str, object], notices: list[str], says: str
) -> None:
    finding = {"kind": "no gradient", "where": ["relu"], "what": "no gradient", "rules_out": "gradient methods",
               "repaired": False} | changes  # fmt: skip
    models = {"planted resnet18": {"card": {}, "findings": [finding]}}
    [model] = record(run_evidence(info={"models": models, "notices": notices}, images=12)).models
    [(_, text)] = model.facts
    assert text.startswith("no gradient: relu. ")
    assert says in text


def test_changes_and_incidents_are_told() -> None:
    info = {
        "suite": INFO["suite"] | {"changed": True},
        "git": {"commit": "d58f", "changed": True},
        "failures": [
            {
                "dataset": "d",
                "model": "m",
                "method": "x",
                "status": "failed",
                "reason": "ValueError: no ReLU",
            }
        ],
        "left_behind": [{"method": "y", "model": "m", "what": ["a hook", "train mode"]}],
        "skipped": {"image-9": "truncated"},
    }
    found = record(run_evidence(info=info, images=12))
    assert dict(found.facts)["suite"].endswith(", with settings changed")
    assert dict(found.facts)["git commit"] == "d58f, with uncommitted changes"
    assert found.incidents == (
        ("failed: x on m", "ValueError: no ReLU"),
        ("left behind: y on m", "a hook, train mode"),
        ("skipped: image-9", "truncated"),
    )


def test_a_csv_has_no_more_than_its_protocols() -> None:
    evidence = replace(run_evidence(images=12), tables=None, info=RunInfo())
    found = record(evidence)
    assert (found.repeat, found.facts, found.models, found.samples) == ("", (), (), ())
    assert len(found.protocols) == 4
