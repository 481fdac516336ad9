"""Progress on the command line where there is no terminal: lines on stderr, and nothing where it is to be quiet."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from interpbench.commands.run_progress import Outlook, ProgressBar
from interpbench.commands.training_progress import shown
from interpbench.core.progress_lines import Lines
from interpbench.running.execute import Loss, Reporter
from interpbench.suite.cells import Cell
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


LOSS = Loss(
    2,
    "was killed by SIGKILL",
    "random on net, block 3 of 8",
    "its block is tried again on a fresh one",
)
TOLD = "worker 2 was killed by SIGKILL (at random on net, block 3 of 8): its block is tried again on a fresh one"


@pytest.mark.parametrize("terminal", [True, False])
def test_who_is_dead_and_who_is_alive_is_said(terminal: bool) -> None:
    file = io.StringIO()
    with ProgressBar(Console(file=file, width=200, force_terminal=terminal)) as bar:
        bar._task = bar._progress.add_task("starting", total=4, workers="")
        bar.workers(3)
        bar.lost(LOSS)
        bar.waiting("1 worker cannot begin yet")
    assert TOLD in file.getvalue()
    assert "1 worker cannot begin yet" in file.getvalue()
    assert ("3 workers" in file.getvalue()) == terminal
    silent = io.StringIO()
    with ProgressBar(Console(file=silent), quiet=True) as bar:
        bar.lost(LOSS)
        bar.waiting("1 worker cannot begin yet")
    assert silent.getvalue() == ""


def test_lines_say_how_many_workers_are_alive_and_keep_who_is_dead() -> None:
    stream = io.StringIO()
    lines = Lines(stream, unit="maps", in_place=True, clock=lambda: 0.0)
    lines.begin(8)
    reporter = Reporter(lines)
    reporter.workers(1)
    lines._every = 0.0
    reporter.images(Cell("planted", "net", "random"), 4)
    reporter.lost(LOSS)
    shown = stream.getvalue().split("\r")
    assert shown[1] == "4/8 maps, 50 %, 0 s left: net random, 1 worker"
    assert shown[-1] == f"{TOLD}\n"


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
