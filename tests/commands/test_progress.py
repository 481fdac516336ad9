"""Progress on the command line where there is no terminal: lines on stderr, and nothing where it is to be quiet."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from interpbench.commands.run_progress import Outlook
from interpbench.commands.training_progress import shown
from interpbench.training.loop import TrainingStep
from tests.command_line import call
from tests.picture_commands import draw_coarsely, photo

MODEL = ("--model", "resnet18", "--method", "saliency,random", "--device", "cpu")
SMALL = ("--metric", "pointing-game", "--ceiling", "none")


@pytest.fixture(autouse=True)
def at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interpbench.core.progress_lines.EVERY", 0.0)
    draw_coarsely(monkeypatch)


def commands(folder: Path) -> dict[str, list[object]]:
    photo(folder / "a.png", 0)
    return {
        "run": ["run", "--dataset", "planted", *MODEL, *SMALL, "--images", 2],
        "explain": ["explain", folder / "a.png", "--dataset", "planted", *MODEL],
        "gallery": [
            "gallery",
            "--dataset",
            "planted",
            *MODEL,
            "--images",
            2,
            "--count",
            1,
            "--only",
            "all",
        ],
        "sanity": ["sanity", *MODEL, "--images", 2, "--test", "random-logit"],
    }


@pytest.mark.parametrize(
    "name",
    [
        "explain",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("run", "gallery", "sanity")),
    ],
)
def test_a_pipe_gets_lines_and_quiet_ones_none(name: str, tmp_path: Path) -> None:
    command = commands(tmp_path)[name]
    code, out, err = call(*command, "--output", tmp_path / "shown")
    assert code == 0, err
    assert any("100 %, 0 s left" in line for line in err.splitlines()), err
    assert "left" not in out
    code, quiet, err = call(*command, "--output", tmp_path / "quiet", "--quiet")
    assert (code, err) == (0, "")
    if name == "run":
        assert "forward passes of scoring" in out
        assert "forward passes of scoring" not in quiet


def test_a_quiet_training_says_its_notes_alone() -> None:
    file = io.StringIO()
    with shown(Console(file=file, width=200), quiet=True) as show:
        show(TrainingStep("training", 1, 1, 1, 0.5, 0.5, 1))
        show(TrainingStep("training", 1, 1, note="few images"))
    assert file.getvalue() == "Note: few images\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.5, ""),
        (2.0, "About 3 min at the rate of the first batches."),
        (20.0, "About 30 min at the rate of the first batches. Cheaper: fewer --images, --steps"),
    ],
)
def test_how_long_a_run_takes_is_said_once_and_what_makes_it_cheaper(
    seconds: float, said: str
) -> None:
    now = 0.0
    outlook = Outlook(920, clock=lambda: now)
    assert outlook.after(10) == ""
    now += seconds
    text = outlook.after(10)
    assert text.startswith(said)
    assert bool(text) == bool(said)
    now += 1000
    assert outlook.after(10) == ""
