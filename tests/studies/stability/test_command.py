"""`stability` as a user runs it."""

import json
from pathlib import Path

import pandas as pd

from interpbench.results.finished_run import load_run
from tests.command_line import call

QUICK = ["--device", "cpu", "--method", "saliency,sobel", "--metric", "deletion:steps=3", "--quiet"]


def test_settings_are_compared_and_what_they_rest_on_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "stable"
    arguments = ["stability", *QUICK, "--vary", "sign,seed", "--images", 6, "--output", folder]
    code, said, error = call(*arguments)
    assert (code, error) == (0, "")
    assert "Of 1 pairs of methods" in said
    assert str(folder) in said
    settings = pd.read_csv(folder / "settings.csv", keep_default_na=False)
    assert settings["factor"].tolist() == ["", "sign", "seed"]
    taus = pd.read_csv(folder / "taus.csv")
    runs = {name: load_run(folder / name) for name in ("base", "seed")}
    assert runs["base"].info.settings.seed + 1 == runs["seed"].info.settings.seed
    means = pd.read_csv(folder / "means.csv").set_index(["setting", "method"])["cost"]
    for name, run in runs.items():
        scores = run.scores[run.scores["metric"] == "deletion:steps=3"]
        for method, mean in scores.groupby("method")["value"].mean().items():
            label = "deletion:steps=3" + (" seed" if name == "seed" else "")
            assert abs(means[label, method] - mean) < 1e-6
    assert len(taus) == 3
    assert json.loads((folder / "stability.json").read_text())["status"] == "finished"
    assert (folder / "taus.png").is_file()
    code, _, error = call(*arguments)
    assert code == 2
    assert "--overwrite" in error


def test_wrong_input_is_told_before_anything_runs(tmp_path: Path) -> None:
    folder = tmp_path / "stable"
    code, _, error = call("stability", *QUICK, "--vary", "basline", "--output", folder)
    assert code == 2
    assert "baseline" in error
    code, _, error = call("stability", *QUICK, "--target", "both", "--output", folder)
    assert code == 2
    assert "predicted" in error
    assert not (folder / "base" / "run.json").exists()
