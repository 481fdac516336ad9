"""`--until decided`: images are added in blocks until the best is told apart from all others."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import interpbench
from interpbench.core.errors import UnknownNameError
from interpbench.results import looks
from interpbench.results.run_folder import RunFolder
from interpbench.running import plan as planning
from interpbench.running.execute import Listener, execute
from interpbench.running.plan import Plan
from tests.paths import TINY

TWINS = """
from interpbench import method

@method("castor", reference="none")
def castor(model, x, target):
    "The brightness."
    return x.mean(1)

@method("pollux", reference="none")
def pollux(model, x, target):
    "The brightness."
    return x.mean(1)
"""


@pytest.fixture(autouse=True)
def early_looks() -> Iterator[None]:
    """After 8, 16, 32 ... images, so that little has to be computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looks, "FIRST", 8)
        patch.setattr(planning, "FIRST", 8)
        yield


def planned(tmp_path: Path, most: int, methods: list[str]) -> Plan:
    from interpbench.core.devices import Computing
    from interpbench.registry.choosing import Sources
    from interpbench.registry.discovery import discover
    from interpbench.suite.selection import Selection
    from interpbench.suite.suite import load_suite

    file = tmp_path / "twins.py"
    file.write_text(TWINS)
    asked = {
        "dataset": "tiny", "models": ["quadrants"], "methods": methods, "images": most,
        "metrics": ["deletion", "pointing-game"], "steps": 3, "ceiling": "none",
    }  # fmt: skip
    return planning.make_plan(
        Selection.of(load_suite("quick"), asked, "decided"),
        discover([TINY, file]),
        Computing.of("cpu", batch_size=4),
        Sources(weights=("random",)),
    )


def run(folder: Path, plan: Plan, mode: Any = "new", listener: Listener | None = None) -> Any:
    return execute(plan, RunFolder(folder), mode, False, listener or Listener())


def test_equal_methods_are_looked_at_to_the_end(tmp_path: Path) -> None:
    """Two that give the same map can never be told apart."""
    plan = planned(tmp_path, 24, ["castor", "pollux"])
    finished = run(tmp_path / "run", plan)
    assert plan.looks == (8, 16, 24)
    assert set(finished.tables.cells["images"]) == {24}
    assert finished.tables.level == pytest.approx(0.05 / 3)
    [notice] = [notice for notice in finished.info.notices if "looks" in notice]
    assert notice.startswith("quadrants: undecided after 24 of at most 24 images (3 of 3 looks")


def test_another_end_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="decided"):
        interpbench.run(dataset="tiny", until="tired", plugin=TINY)


def test_the_first_images_are_a_sample_of_all_classes(tmp_path: Path) -> None:
    plan = planned(tmp_path, 24, ["center"])
    labels = [plan.dataset.labels[i] for i in plan.indices]
    classes = len(set(plan.dataset.labels))
    assert all(sorted(labels[i : i + classes]) == sorted(set(labels)) for i in (0, classes))


def test_a_run_ends_as_soon_as_all_are_told_apart_and_resumes_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decided by a stand-in that is content with the second look, as the real one asks for more."""
    from interpbench.running import gathering

    asked = []

    def content(tables: Any) -> list[str]:
        images = tables.scores["sample_id"].nunique()
        asked.append((images, tables.level))
        return [] if images >= 16 else ["someone"]

    monkeypatch.setattr(gathering, "undecided", content)
    plan = planned(tmp_path, 40, ["center", "gradient", "random"])
    finished = run(tmp_path / "whole", plan)
    assert set(finished.tables.cells["images"]) == {16}
    assert asked == [(8, 0.0125), (16, 0.0125)]
    assert not (tmp_path / "whole" / "blocks").exists()

    class Stop(Listener):
        left = 5

        def images(self, cell: Any, count: int) -> None:
            self.left -= count == 0
            if self.left < 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", plan, listener=Stop())
    run(tmp_path / "broken", plan, "resume")
    again = (tmp_path / "broken" / "scores.csv").read_bytes()
    assert again == (tmp_path / "whole" / "scores.csv").read_bytes()


def test_a_cell_that_is_lost_afterwards_is_computed_on_as_many_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from interpbench.running import gathering

    monkeypatch.setattr(gathering, "undecided", lambda tables: [])
    plan = planned(tmp_path, 40, ["center", "gradient"])
    run(tmp_path / "run", plan)
    before = (tmp_path / "run" / "scores.csv").read_bytes()
    shutil.rmtree(next((tmp_path / "run" / "cells").glob("*gradient*")))
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(said | {"status": "running"}))
    run(tmp_path / "run", plan, "resume")
    assert (tmp_path / "run" / "scores.csv").read_bytes() == before
