"""What a training says as it goes: a bar on a terminal, lines elsewhere, and notes on either."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from interpbench import api
from interpbench.commands.training_progress import shown
from interpbench.core.progress_lines import duration
from interpbench.training.data import decode
from interpbench.training.loop import TrainingStep
from tests.command_line import call
from tests.paths import TINY
from tests.training.data import Stripes, photographs


def output(steps: list[TrainingStep], terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=200, _environ={})
    with shown(console) as show:
        for step in steps:
            show(step)
    return file.getvalue()


def test_a_terminal_gets_a_bar() -> None:
    steps = [
        TrainingStep("reading", 1, 2),
        TrainingStep("starting", 0, 0, note="few images"),
        TrainingStep("training", 2, 2, 1, 0.5, 0.75, 1),
    ]
    drawn = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", output(steps, terminal=True))
    assert "Note: few images" in drawn
    assert "accuracy 75.0%" in drawn
    assert "━" in drawn


def test_elsewhere_there_is_a_line_an_epoch_and_a_tenth_of_the_rest() -> None:
    reading = [TrainingStep("reading", done, 1234) for done in [*range(100, 1234, 100), 1234]]
    training = [
        TrainingStep("training", 5 * epoch + batch, 15, epoch + 1, 1 / (epoch + 1), 0.5, 3)
        for epoch in range(3)
        for batch in range(1, 6)
    ]
    note = TrainingStep("starting", 0, 0, note="few images")
    lines = output([*reading, note, *training], terminal=False).splitlines()
    tenths = [200, 300, 400, 500, 700, 800, 900, 1000, 1200, 1234]
    assert lines == [
        *(f"reading: {done} of 1234" for done in tenths),
        "Note: few images",
        "training: epoch 1 of 3  loss 1.000  accuracy 50.0%",
        "training: epoch 2 of 3  loss 0.500  accuracy 50.0%",
        "training: epoch 3 of 3  loss 0.333  accuracy 50.0%",
    ]


def test_a_slow_epoch_says_every_half_minute_how_far_it_is_and_what_is_left() -> None:
    """Steps of 8 seconds, of which the third epoch is resumed; a line that has just been said delays the next."""
    now = 0.0
    file = io.StringIO()
    with shown(Console(file=file, width=200), clock=lambda: now) as show:
        for done in range(21, 41):
            now += 8
            show(TrainingStep("training", done, 40, 1 + (done - 1) // 10, 0.5, 0.25, 4))
    scores = "loss 0.500  accuracy 25.0%"
    assert file.getvalue().splitlines() == [
        f"training: 24 of 40  epoch 3 of 4  {scores}  {duration(16 * 8)} left",
        f"training: 28 of 40  epoch 3 of 4  {scores}  {duration(12 * 8)} left",
        f"training: epoch 3 of 4  {scores}",
        f"training: 34 of 40  epoch 4 of 4  {scores}  {duration(6 * 8)} left",
        f"training: 38 of 40  epoch 4 of 4  {scores}  {duration(2 * 8)} left",
        f"training: epoch 4 of 4  {scores}",
    ]


def test_reading_ends_where_the_last_images_cannot_be_read() -> None:
    told: list[tuple[int, int]] = []
    data = Stripes(250, unreadable=(99, 200, 249))
    assert decode(data, None, lambda *how_far: told.append(how_far)).unreadable == 3
    assert told == [(100, 250), (200, 250), (250, 250)]


def test_what_is_resumed_does_not_begin_with_a_line() -> None:
    steps = [TrainingStep("training", done, 15, 3, 1.0, 0.5, 3) for done in range(11, 16)]
    assert output(steps, terminal=False).count("\n") == 1


def test_the_command_prints_lines_in_a_pipe(tmp_path: Path) -> None:
    code, out, error = call(
        "train", "--model", "resnet18:width=2", "--dataset", "tiny", "--plugin", TINY, "--device", "cpu",
        "--epochs", "2", "--batch-size", "10", "--output", tmp_path / "w.safetensors",
    )  # fmt: skip
    assert code == 0, error
    said = [line.partition("  loss")[0] for line in out.splitlines()]
    assert [line for line in said if line.startswith("training")] == [
        "training: epoch 1 of 2",
        "training: epoch 2 of 2",
    ]
    assert [line for line in said if line.startswith("testing")] == [
        "testing: 40 of 40",
        "testing on train images: 39 of 39",
    ]


@pytest.mark.parametrize(
    ("each", "validation", "expected"),
    [
        (40, 0.2, "16 images: with fewer than 20 that is mostly chance. Hold out more of them (`validation = 0.25`)"),
        (15, 0.2, "6 images: with fewer than 20 that is mostly chance. Give more images, or"),
        (40, 0.25, None),
        (15, 0.0, None),
    ],
)  # fmt: skip
def test_few_images_to_choose_the_epoch_by_are_warned_of(
    tmp_path: Path, each: int, validation: float, expected: str | None
) -> None:
    for part, count in (("train", each), ("test", 2)):
        photographs(tmp_path / "photos" / part, each=count)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f"epochs = 1\nvalidation = {validation}\n")
    heard: list[str] = []
    trained = api.train(
        "resnet18:width=2", dataset=f"imagefolder:root={tmp_path / 'photos'}", recipe=recipe,
        device="cpu", output=tmp_path / "w.safetensors", progress=lambda step: heard.append(step.note),
    )  # fmt: skip
    warned = [note for note in trained.notices if "best epoch" in note]
    assert len(warned) == (expected is not None)
    assert all(expected in note and "(`validation = 0`)" in note for note in warned)
    assert [note for note in heard if note] == list(trained.notices)
