"""What a page says was run: the suite's own words only of the suite as it is."""

from typing import Any

import pytest

from interpbench.report.page.changes import about_the_run, changes
from interpbench.report.page.render import page
from interpbench.results.run_info import RunInfo
from interpbench.suite.suite import load_suite
from tests.report.page.pages import run_evidence

QUICK = load_suite("quick")


def info(**settings: Any) -> dict[str, Any]:
    suite = QUICK.changed(settings)
    return {
        "suite": {"name": "quick", "version": 2, "hash": suite.hash, "changed": suite != QUICK},
        "settings": suite.model_dump(mode="json"),
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        ({"images": 24}, "images 24, not 30"),
        ({"steps": 8, "ceiling": "none"}, "steps 8, not the default; ceiling none, not 5"),
        ({"models": ["resnet18"]}, "models without vgg11_bn and alexnet"),
        ({"metrics": ["deletion", "insertion", "pointing-game", "energy-inside", "mine"]}, "metrics with mine"),
        ({"models": ["vit_small"], "seed": 3},
         "seed 3, not 0; models vit_small instead of its own"),
    ],
)  # fmt: skip
def test_what_was_changed_is_said(settings: dict[str, Any], expected: str) -> None:
    assert changes(RunInfo.model_validate(info(**settings))) == expected


def test_of_another_version_and_of_a_file_the_changes_are_not_known() -> None:
    for other in ({"version": 1}, {"name": "mine"}):
        said = info(images=24)
        assert changes(RunInfo.model_validate(said | {"settings": said["settings"] | other})) == ""


def test_a_suite_as_it_is_speaks_for_itself() -> None:
    text = about_the_run(run_evidence(info=info(), images=12))
    assert text == f"The suite quick: {QUICK.description}"


@pytest.mark.parametrize("settings", [{"images": 12}, {"models": ["resnet18"]}])
def test_a_changed_suite_is_not_described_by_the_suite_s_words(settings: dict[str, Any]) -> None:
    evidence = run_evidence(info=info(**settings), images=12)
    text = about_the_run(evidence)
    assert text.startswith(
        "12 images of planted, 1 model, 9 methods: not the suite quick as it is."
    )
    assert text.endswith(f"Changed: {changes(evidence.info)}.")
    html = page(evidence)
    assert QUICK.description not in html
    assert text in html
