"""Training: the same recipe gives the same files, it learns, it can be killed, and its card says what was done."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from interpbench.core.errors import DataError, TrainingError
from interpbench.loading.fitting import load_state
from interpbench.loading.weights import WeightsCard, read_weights, sha256
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry, model
from interpbench.training.data import Batches, Images, decode, hold_out
from interpbench.training.loop import Training, TrainingStep, evaluate, layout_of
from interpbench.training.recipe import Recipe
from interpbench.training.splits import Splits
from interpbench.training.start import Start
from interpbench.training.train import train
from tests.paths import ROOT
from tests.training.data import Stripes, train_stripes

CPU = torch.device("cpu")
QUICK = {"epochs": 2, "batch_size": 16, "lr": 0.01, "validation": 0.1}
EVERYTHING = {
    "ema": 0.9,
    "dropout": 0.3,
    "clip": 0.5,
    "size": 16,
    "augmentation": {
        "crop": 0,
        "resized_crop": 0.4,
        "rotation": 5,
        "erasing": 0.5,
        "mixup": 0.3,
        "cutmix": 1.0,
        "pairing": 0.3,
    },
}


def quiet(done: int, total: int) -> None:
    """Hears nothing."""


def run(
    tiny: Configured, path: Path, options: dict | None = None, **arguments: object
) -> WeightsCard:
    recipe = Recipe().changed(QUICK | (options or {}))
    return train(
        Start(tiny), Splits(Stripes(), Stripes(20)), recipe=recipe, output=path, **arguments
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.with_suffix(".training.csv").open() as file:
        return list(csv.DictReader(file))


def files(path: Path) -> list[str]:
    return [
        sha256(path.with_suffix(suffix))
        for suffix in (".safetensors", ".training.csv", ".training.png")
    ]


def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path):
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        torch.rand(3)  # the global random state is no part of it
        run(tiny, path, EVERYTHING | {"seed": seed})
    one, two, three = map(files, paths)
    assert one == two
    assert one[0] != three[0]


def test_the_global_random_state_is_left_alone(tiny, tmp_path):
    before = torch.get_rng_state()
    run(tiny, tmp_path / "w.safetensors")
    assert torch.equal(before, torch.get_rng_state())


def test_it_learns_and_tells(tiny, tmp_path):
    steps: list[TrainingStep] = []
    card = run(
        tiny,
        tmp_path / "w.safetensors",
        {"epochs": 15, "lr": 0.05, "validation": 0},
        progress=steps.append,
    )
    training = [s for s in steps if s.stage == "training"]
    assert [s.done for s in training] == list(range(1, 15 * 4 + 1))
    assert {s.total for s in training} == {60}
    assert training[-1].epoch == 15
    assert training[-1].loss < training[3].loss
    assert float(card.notes["accuracy"]) > 0.9
    stages = list(dict.fromkeys(s.stage for s in steps))
    assert stages == [
        "reading train images",
        "training",
        "reading test images",
        "testing",
        "testing on train images",
    ]


@pytest.mark.parametrize("half", [True, False])
def test_the_card_says_what_is_in_the_file_and_how_it_came_to_be(tiny, tmp_path, half):
    path = tmp_path / "w.safetensors"
    card = run(tiny, path, {"seed": 3}, half=half)
    tensors, read = read_weights(path)
    assert read == card
    assert tensors["0.weight"].dtype == (torch.float16 if half else torch.float32)
    assert (card.architecture, card.parameters, card.size) == ("tiny", {"width": 6}, 16)
    assert (card.dataset, card.data_revision, card.classes) == (
        "stripes",
        "stripes-1",
        ("dark", "bright"),
    )
    notes = card.notes
    assert (notes["trained_on"], notes["validated_on"], notes["tested_on"]) == (
        "58 images",
        "6 images",
        "20 images",
    )
    assert (notes["seed"], notes["data"], notes["torch"]) == ("3", "made here", torch.__version__)
    assert "cpu" in notes["device"]
    assert Recipe.model_validate(json.loads(notes["recipe"])) == Recipe().changed(
        QUICK | {"seed": 3}
    )


def test_the_accuracies_on_the_card_are_those_of_the_stored_weights(tiny, tmp_path):
    card = run(tiny, tmp_path / "w.safetensors", {"epochs": 4, "validation": 0})
    network = tiny(2, 16).eval()
    load_state(network, read_weights(tmp_path / "w.safetensors")[0], "")
    for notes, data in (("accuracy", Stripes(20)), ("train_accuracy", Stripes())):
        right = 0
        for i, label in enumerate(data.labels):
            pixels = torch.from_numpy(data[i].image).permute(2, 0, 1).float() / 255
            right += network(((pixels - 0.5) / 0.25)[None]).argmax().item() == label
        assert float(card.notes[notes]) == pytest.approx(right / len(data.labels), abs=1e-4)


def test_the_record_has_a_row_an_epoch(tiny, tmp_path):
    run(
        tiny,
        tmp_path / "w.safetensors",
        {"epochs": 3, "schedule": {"name": "step", "every": 1, "factor": 0.5}},
    )
    table = rows(tmp_path / "w.safetensors")
    assert list(table[0]) == [
        "epoch",
        "lr",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
    ]
    assert [row["epoch"] for row in table] == ["1", "2", "3"]
    assert [float(row["lr"]) for row in table] == [0.01, 0.005, 0.0025]
    assert Image.open(tmp_path / "w.training.png").size == (1500, 480)


@pytest.mark.parametrize(("epochs", "batch", "warmup"), [(4, 16, 0.25), (5, 64, 0.4), (3, 20, 0.0)])
def test_the_record_has_the_rate_of_each_epoch_s_last_step(tiny, epochs, batch, warmup):
    """By the closed form of torch's OneCycleLR, and as the optimiser took it."""
    recipe = Recipe(epochs=epochs, batch_size=batch, validation=0).changed(
        {"schedule": {"warmup": warmup}, "optimiser": {"name": "sgd", "lr": 0.5}}
    )
    training = Training(tiny(2, 16), decode(Stripes(), None, quiet), recipe, CPU)
    taken: list[float] = []
    training._optimiser.register_step_pre_hook(
        lambda optimiser, *_: taken.append(optimiser.param_groups[0]["lr"])
    )
    training.run(lambda step: None, lambda t: None)

    steps = 64 // batch
    top, last = warmup * epochs * steps - 1, epochs * steps - 1
    expected = []
    for step in range(steps - 1, last + 1, steps):
        start, end, share = (
            (0.5 / 25, 0.5, step / top)
            if step <= top
            else (0.5, 0.5 / 25e4, (step - top) / (last - top))
        )
        expected.append(end + (start - end) * (1 + np.cos(np.pi * share)) / 2)
    rates = [row["lr"] for row in training.rows]
    assert rates == pytest.approx(expected)
    assert rates == taken[steps - 1 :: steps]
    assert rates[-1] == pytest.approx(0.5 / 25e4)


def test_the_best_epoch_is_kept(tiny, tmp_path):
    data = decode(Stripes(), None, quiet)
    # The rate grows until the weights are spoiled, so that the last epoch is not the best.
    training = Training(tiny(2, 16), data, Recipe(epochs=6, batch_size=16, validation=0.25), CPU)
    accuracies: list[float] = []
    states: list[dict[str, torch.Tensor]] = []

    def spoil(t: Training) -> None:
        states.append({k: v.clone() for k, v in t.network.state_dict().items()})
        accuracies.append(t.rows[-1]["validation_accuracy"])
        if len(accuracies) == 4:
            nn.init.zeros_(t.network[-1].weight)

    training.run(lambda step: None, spoil)
    best = max(i for i, accuracy in enumerate(accuracies) if accuracy == max(accuracies))
    assert all(torch.equal(training.result[name], states[best][name]) for name in states[best])
    assert training.validated_on is not None
    network = tiny(2, 16)
    load_state(network, training.result, "")
    assert evaluate(network, training.validated_on, CPU)[1] == max(accuracies)


def test_validation_images_are_not_trained_on():
    data = decode(Stripes(40), None, quiet)
    train_part, held = hold_out(data, 0.25, seed=0)
    everything = torch.cat([train_part.images, held.images]).flatten(1)
    assert len(held) == 10
    assert len({row.numpy().tobytes() for row in everything}) == 40
    assert not torch.equal(held.images, hold_out(data, 0.25, seed=1)[1].images)


def test_every_image_is_drawn_once_an_epoch_in_a_new_order():
    data = Images(
        torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 2, 2),
        torch.arange(10),
        None,
    )
    batches = Batches(data, 5, lambda image: image, seed=0, workers=0)
    epochs = [[batch[1].tolist() for batch in batches.epoch(e)] for e in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert [len(b) for b in epochs[0]] == [5, 5]
    assert all(sorted(itertools.chain(*batches)) == list(range(10)) for batches in epochs)


def test_batches_are_the_same_however_many_processes_make_them():
    data = decode(Stripes(24), None, quiet)

    def noisy(image: torch.Tensor) -> torch.Tensor:
        return image + torch.randint(0, 9, image.shape, dtype=torch.uint8)

    made = [
        torch.cat(
            [images for images, _ in Batches(data, 8, noisy, seed=0, workers=workers).epoch(3)]
        )
        for workers in (0, 2)
    ]
    assert torch.equal(*made)


def test_the_average_of_the_weights_is_the_result(tiny):
    data = decode(Stripes(), None, quiet)
    training = Training(
        tiny(2, 16), data, Recipe(epochs=1, batch_size=16, validation=0, ema=0.6), CPU
    )
    seen: list[torch.Tensor] = []
    step = training._step

    def watched(*batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = step(*batch)
        seen.append(training.network[0].weight.detach().clone())
        return result

    training._step = watched
    training.run(lambda step: None, lambda t: None)
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.6 * expected + 0.4 * weight
    torch.testing.assert_close(training.result["0.weight"], expected)


def test_dropout_acts_in_training_only_and_leaves_nothing_behind(tiny):
    data = decode(Stripes(), None, quiet)
    network = tiny(2, 16)
    inputs: dict[bool, list[float]] = {True: [], False: []}
    training = Training(
        network, data, Recipe(epochs=1, validation=0.1, dropout=0.9, batch_size=16), CPU
    )

    def record(
        module: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> None:
        inputs[module.training].append((arguments[0] == 0).float().mean().item())

    network[-1].register_forward_hook(record)
    training.run(lambda step: None, lambda t: None)
    assert np.mean(inputs[True]) > 0.8
    assert np.mean(inputs[False]) < 0.7
    assert not network[-1]._forward_pre_hooks


def test_the_gradient_is_clipped(tiny):
    data = decode(Stripes(), None, quiet)
    training = Training(tiny(2, 16), data, Recipe(epochs=1, clip=1e-3, batch_size=16), CPU)
    norms: list[float] = []

    def watched(*_: object) -> None:
        norms.append(
            torch.cat([p.grad.flatten() for p in training.network.parameters()]).norm().item()
        )

    training._optimiser.register_step_pre_hook(watched)
    training.run(lambda step: None, lambda t: None)
    assert norms
    assert max(norms) <= 1e-3 * 1.001


def test_a_loss_that_is_no_number_stops_with_advice(tiny, tmp_path):
    with pytest.raises(TrainingError, match="lower learning rate"):
        run(tiny, tmp_path / "w.safetensors", {"lr": 1e30, "epochs": 5})
    assert not (tmp_path / "w.safetensors").exists()


def test_unreadable_images_are_left_out_and_counted(tiny, tmp_path):
    recipe = Recipe(epochs=1)
    test = Stripes(20, unreadable=(0, 7))
    card = train(
        Start(tiny), Splits(Stripes(), test), recipe=recipe, output=tmp_path / "w.safetensors"
    )
    assert (card.notes["tested_on"], card.notes["unreadable"]) == ("18 images", "2 images")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Stripes(0), "no readable image"),
        (Stripes(2, unreadable=(0, 1)), "no readable image"),
        (Stripes(shape=(16, 20, 3)), "--size"),
        (Stripes(1), "too few"),
    ],
)
def test_unfit_data_are_refused(tiny, tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        train(
            Start(tiny),
            Splits(data, Stripes()),
            recipe=Recipe(epochs=1),
            output=tmp_path / "w.safetensors",
        )


def test_images_of_any_shape_are_resized_and_cropped(tiny, tmp_path):
    data = Stripes(shape=(20, 33, 3))
    card = train(
        Start(tiny),
        Splits(data, data),
        recipe=Recipe(epochs=1, size=12),
        output=tmp_path / "w.safetensors",
    )
    assert card.size == 12
    small = decode(data, 12, quiet).images[0].permute(1, 2, 0).numpy()
    resized = np.asarray(Image.fromarray(data[0].image).resize((19, 12), Image.Resampling.BILINEAR))
    assert np.array_equal(small, resized[:, 4:16])


def test_the_card_says_what_sizes_the_images_had(tiny, tmp_path):
    class Several(Stripes):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            cut = {3: np.s_[:, :18], 5: np.s_[:14]}.get(index, np.s_[:])
            return replace(sample, image=sample.image[cut])

    splits = Splits(Several(shape=(20, 33, 3)), Stripes(20, shape=(17, 30, 3)))
    card = train(
        Start(tiny), splits, recipe=Recipe(epochs=1, size=12), output=tmp_path / "w.safetensors"
    )
    assert card.notes["images"] == "18x20 to 33x20 pixels"
    assert card.notes["test_images"] == "30x17 pixels"


def test_resized_crops_are_cut_from_larger_images_and_all_else_has_the_size(tiny, tmp_path):
    shapes: dict[bool, set[tuple[int, ...]]] = {True: set(), False: set()}

    def build(classes: int, size: int) -> nn.Module:
        network = tiny(classes, size)
        network.register_forward_pre_hook(
            lambda module, inputs: shapes[module.training].add(tuple(inputs[0].shape[1:]))
        )
        return network

    registry = Registry()
    with registry.collecting():
        model("watched")(build)
    data = Stripes(shape=(50, 60, 3))
    recipe = Recipe(epochs=2, batch_size=16, validation=0.1).changed(
        {"size": 20, "augmentation": {"crop": 0, "resized_crop": 0.4}}
    )
    start = Start(registry.configure("model", "watched"))
    card = train(start, Splits(data, data), recipe=recipe, output=tmp_path / "w.safetensors")
    assert card.size == 20
    assert shapes == {True: {(3, 20, 20)}, False: {(3, 20, 20)}}

    kept = decode(data, recipe.kept_at, quiet)
    training = Training(tiny(2, 20), kept, recipe, CPU)
    assert (kept.size, training.trained_on.size) == (25, 25)
    assert training.validated_on.size == training.size == 20
    # What is held out is as it would have been decoded, but for being resized in two steps.
    held_out = hold_out(decode(data, 20, quiet), 0.1, recipe.seed)[1]
    assert torch.equal(training.validated_on.labels, held_out.labels)
    difference = training.validated_on.images.float() - held_out.images.float()
    assert difference.abs().mean() < 8  # of noise, the hardest; of others' images it is over 15
    others = held_out.images.roll(2, 0).float()
    assert (training.validated_on.images.float() - others).abs().mean() > 15


def test_images_of_floats_are_learned_from_at_eight_bits_and_other_channels_refused():
    class Floats(Stripes):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return replace(sample, image=sample.image.astype(np.float32) / 255)

    assert torch.equal(decode(Floats(), None, quiet).images, decode(Stripes(), None, quiet).images)
    assert torch.equal(
        decode(Floats(), 12, quiet)
        .images.int()
        .sub(decode(Stripes(), 12, quiet).images)
        .abs()
        .amax(),
        torch.tensor(1),  # of the rounding between two passes of the resizing
    )
    with pytest.raises(
        DataError, match="Image '0' has 5 channels: training is for images of three"
    ):
        decode(Stripes(shape=(16, 16, 5)), None, quiet)


def test_what_was_interrupted_resumes_to_the_same_bytes(tiny, tmp_path):
    options = EVERYTHING | {
        "epochs": 4,
        "schedule": {"name": "cosine"},
        "optimiser": {"name": "adamw"},
    }
    run(tiny, tmp_path / "whole.safetensors", options)

    def stop(step: TrainingStep) -> None:
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "parts.safetensors", options, progress=stop)
    epochs: list[int | None] = []
    run(
        tiny,
        tmp_path / "parts.safetensors",
        options,
        resume=True,
        progress=lambda s: epochs.append(s.epoch),
    )
    assert set(epochs) == {None, 3, 4}
    assert files(tmp_path / "parts.safetensors") == files(tmp_path / "whole.safetensors")
    assert not list(tmp_path.glob("*.unfinished"))


def test_another_training_is_not_resumed(tiny, tmp_path):
    def stop(step: TrainingStep) -> None:
        if step.epoch == 2:
            raise KeyboardInterrupt

    path = tmp_path / "w.safetensors"
    with pytest.raises(TrainingError, match="no unfinished training"):
        run(tiny, path, resume=True)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, path, progress=stop)
    with pytest.raises(TrainingError, match="another recipe"):
        run(tiny, path, {"seed": 5}, resume=True)
    (tmp_path / "w.safetensors.unfinished").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="damaged"):
        run(tiny, path, resume=True)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the process that is killed has it: sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow  # what is interrupted within a process resumes to the same bytes above
def test_a_killed_process_loses_at_most_an_epoch(tmp_path, one_thread):
    """kill -9 after the second epoch; what is resumed ends in the bytes of what was never killed."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "import torch; torch.set_num_threads(1)\n"
        "from tests.training.data import train_stripes\n"
        "train_stripes(Path(sys.argv[1]), progress=lambda s: (print(s.epoch, flush=True), time.sleep(0.2)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.safetensors")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.strip() == "3":
            killed.send_signal(signal.SIGKILL)
            break
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "a.safetensors").exists()
    epochs: set[int] = set()
    train_stripes(
        tmp_path / "a.safetensors", resume=True, progress=lambda step: epochs.add(step.epoch)
    )
    assert {epoch for epoch in epochs if epoch} == {3, 4}
    train_stripes(tmp_path / "b.safetensors")
    assert files(tmp_path / "a.safetensors") == files(tmp_path / "b.safetensors")


@pytest.mark.slow
def test_a_compiled_step_learns_the_same(tiny, tmp_path):
    cards = [
        run(tiny, tmp_path / f"{c}.safetensors", {"compile": c, "epochs": 3}) for c in (False, True)
    ]
    plain, compiled = (
        [float(row["loss"]) for row in rows(tmp_path / f"{c}.safetensors")] for c in (False, True)
    )
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert cards[0].notes["accuracy"] == cards[1].notes["accuracy"]


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "device", "layout"),
    [
        (8, 1, 2, "cpu", torch.contiguous_format),
        (8, 1, 1, "cpu", torch.channels_last),
        (8, 3, 2, "cpu", torch.channels_last),
        (16, 1, 2, "cpu", torch.channels_last),
        (8, 1, 2, "meta", torch.channels_last),
    ],
)
def test_the_layout_keeps_off_a_fault_of_narrow_strided_convolutions(
    channels: int, kernel: int, stride: int, device: str, layout: torch.memory_format
) -> None:
    network = nn.Sequential(nn.Conv2d(channels, 8, kernel, stride))
    assert layout_of(network, torch.device(device)) == layout
