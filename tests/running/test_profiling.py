"""Where a run's time goes: phases add up, and what runs within another is not counted twice."""

import json
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import interpbench
from interpbench.core.time_spent import phase, profiled
from tests.paths import TINY

CPU = torch.device("cpu")


def test_time_within_a_phase_is_charged_to_the_innermost() -> None:
    with profiled(CPU) as clock, phase("attribution"):
        time.sleep(0.02)
        for _ in range(3):
            with phase("forwards"):
                time.sleep(0.03)
    assert clock.calls == {"attribution": 1, "forwards": 3}
    assert clock.seconds["forwards"] >= 0.09
    assert 0.02 <= clock.seconds["attribution"] < 0.06


def test_a_phase_that_raises_is_ended() -> None:
    with profiled(CPU) as clock:
        with pytest.raises(ValueError, match="no"), phase("ranking"):
            raise ValueError("no")
        time.sleep(0.02)
    assert clock.seconds["ranking"] < 0.02


def test_outside_of_a_profile_nothing_is_kept() -> None:
    with phase("forwards"):
        pass
    with profiled(CPU) as clock:
        pass
    assert clock.calls == {}


def test_a_run_writes_where_its_time_went_and_a_trace(tmp_path: Path) -> None:
    settings = {
        "dataset": "tiny",
        "model": "quadrants",
        "method": ["gradient", "random"],
        "metric": "deletion",
    }
    finished = interpbench.run(
        **settings, images=8, batch_size=2, weights="random", plugin=TINY, device="cpu", output=tmp_path / "run",
        plots=False, profile=True, ceiling="none",
    )  # fmt: skip
    table = pd.read_csv(finished.folder / "profile.csv").set_index("phase")
    assert table["share"].sum() == pytest.approx(1, abs=1e-6)
    assert (table["seconds"] >= 0).all()
    # Two methods, four batches each; end points once for each batch; each curve of two images and 15 inner points in
    # passes of two.
    assert table.loc["ranking", "calls"] == 2 * 4 + 4
    assert (
        table.loc["forwards", "calls"] == table.loc["perturbation", "calls"] == 2 * 4 * 15 + 4 * 2
    )
    assert table.loc["canary", "calls"] == 2 + 2  # twice before any method, and after each
    names = {
        event.get("name")
        for event in json.loads((finished.folder / "trace.json").read_text())["traceEvents"]
    }
    assert "interpbench: forwards" in names
    again = interpbench.run(
        **settings, images=8, weights="random", plugin=TINY, device="cpu", output=finished.folder, plots=False,
        overwrite=True, ceiling="none",
    )  # fmt: skip
    assert not (again.folder / "profile.csv").exists()
