"""Runs whose metrics ask a twin of the model: which weights it has, what is recorded, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import interpbench
from interpbench.core.errors import RunFolderError, SubmissionError
from interpbench.loading.weights import WeightsCard, save_weights, sha256
from interpbench.publish.publishing import publish
from interpbench.report.run import Run
from tests.command_line import refused
from tests.paths import TINY

CLASSES = ("nw", "ne", "sw", "se")
MEAN, STD = (0.5,) * 3, (0.25,) * 3
BASE = [
    "run", "--plugin", TINY, "--dataset", "tiny", "--model", "quadrants", "--device", "cpu", "--images", "4",
    "--method", "gradient,random", "--ceiling", "none", "--batch-size", "2", "--compile", "never",
]  # fmt: skip
TWIN = "single-deletion:network=in-domain"


def weights(file: Path, *colours: float, classes: tuple[str, ...] = CLASSES, mean=MEAN) -> Path:
    """Of the model `quadrants`, which weighs the colours so."""
    card = WeightsCard("quadrants", {"gain": 4.0}, "tiny", "tiny-1", classes, 16, mean, STD)
    save_weights(
        file, {"0.weight": torch.tensor(colours, dtype=torch.float32).view(1, 3, 1, 1)}, card
    )
    return file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {
        "own": weights(folder / "own.safetensors", 4, 4, 4),
        "twin": weights(folder / "twin.safetensors", 3, -1, -2),
        "other": weights(folder / "other.safetensors", 2, 0, 1),
        "mean": weights(folder / "mean.safetensors", 1, 0, 0, mean=(0.4,) * 3),
        "order": weights(folder / "order.safetensors", 1, 0, 0, classes=CLASSES[::-1]),
    }


def run(files: dict[str, Path], metric: str, output: Path, **asked: Any) -> Run:
    """Of the own weights, for the label; in Python, which draws nothing."""
    return interpbench.run(
        dataset="tiny", model="quadrants", method="gradient,random", metric=metric, images=4, target="label",
        ceiling="none", device="cpu", batch_size=2, compile="never", plugin=TINY, plots=False, output=output,
        **{"weights": str(files["own"]), **asked},
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return run(files, f"single-deletion,{TWIN}", folder, in_domain=str(files["twin"]))


def scores(finished: Run, metric: str) -> pd.Series:
    table = finished.scores.set_index(["method", "metric", "sample_id"])["value"]
    return table.xs(metric, level="metric")


def test_the_twin_is_asked_and_recorded(
    finished: Run, files: dict[str, Path], tmp_path: Path
) -> None:
    identity = json.loads((finished.folder / "run.json").read_text())["identity"]
    assert identity["in_domain"] == {"quadrants": sha256(files["twin"])}
    assert identity["weights"] == {"quadrants": sha256(files["own"])}
    assert "parameter network: in-domain" in finished.info.metrics[TWIN].protocol_text
    said = (
        "quadrants: metrics with network=in-domain ask twin.safetensors, not the explained model."
    )
    assert said in finished.info.notices
    # `random` knows nothing of the model: where the twin itself is explained, its maps and so its scores are the same.
    of_twin = run(files, "single-deletion", tmp_path / "run", weights=str(files["twin"]))
    own, by_twin = scores(finished, "single-deletion"), scores(finished, TWIN)
    assert not own["random"].equals(by_twin["random"])
    expected = scores(of_twin, "single-deletion")
    assert by_twin["random"].tolist() == pytest.approx(expected["random"].tolist())
    assert by_twin["gradient"].tolist() != pytest.approx(expected["gradient"].tolist())
    assert "in_domain" not in json.loads((of_twin.folder / "run.json").read_text())["identity"]


def test_it_goes_on_with_the_same_twin_alone(finished: Run, files: dict[str, Path]) -> None:
    folder, metric = finished.folder, f"single-deletion,{TWIN}"
    before = (folder / "scores.csv").read_bytes()
    with pytest.raises(RunFolderError, match="holds another run: in_domain differ"):
        run(files, metric, folder, resume=True, in_domain=str(files["other"]))
    run(files, metric, folder, resume=True, in_domain=f"quadrants={files['twin']}")
    assert (folder / "scores.csv").read_bytes() == before
    with pytest.raises(SubmissionError, match="ask other networks than the explained ones"):
        publish(finished, "Ada")


def test_what_is_no_twin_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    asked = [*BASE, "--weights", files["own"], "--metric", TWIN, "--output", tmp_path / "run"]
    assert (
        "there are no such weights for it on 'tiny'. Give a file of weights with --in-domain FILE"
        in refused(*asked)
    )
    assert "no such weights" in refused(*asked, "--in-domain", "random")
    assert "holds the weights of 'quadrants' itself" in refused(*asked, "--in-domain", files["own"])
    assert "is for another preparation than 'quadrants'" in refused(
        *asked, "--in-domain", files["mean"]
    )
    assert "is for another logit of label than 'quadrants'" in refused(
        *asked, "--in-domain", files["order"]
    )
    assert "There is no weights' file gone" in refused(*asked, "--in-domain", "gone")
    assert "Unknown model in --in-domain: 'quadrant'" in refused(
        *asked, "--in-domain", f"quadrant={files['twin']}"
    )
    unasked = [
        *BASE,
        "--weights",
        files["own"],
        "--metric",
        "single-deletion",
        "--in-domain",
        files["twin"],
    ]
    assert "--in-domain is for metrics that ask that network, and none does" in refused(*unasked)
