"""Training: the same seed gives the same file, it learns, and its card says what was done."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from interpbench.contracts import DatasetCard, Sample
from interpbench.errors import DataError, InterpBenchError, UnreadableImageError
from interpbench.registry import Registry, model
from interpbench.training import Step, _augmented, bar, train
from interpbench.weights import read_weights, sha256


class Stripes:
    """Two classes, bright or dark, 16x16."""

    def __init__(self, count=64, unreadable=(), shape=(16, 16, 3)):
        self.card = DatasetCard("stripes", ("dark", "bright"), "stripes-1", licence="none")
        self.ids = [str(i) for i in range(count)]
        self.labels = [i % 2 for i in range(count)]
        self.unreadable, self.shape = unreadable, shape

    def __getitem__(self, index):
        if index in self.unreadable:
            raise UnreadableImageError("no image")
        noise = np.random.default_rng(index).integers(0, 120, self.shape)
        return Sample(self.ids[index], (noise + 100 * self.labels[index]).astype(np.uint8), self.labels[index])


@pytest.fixture
def tiny():
    registry = Registry()
    with registry.collecting():

        @model("tiny")
        def tiny(classes, size, *, width: int = 4):
            return nn.Sequential(
                nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
            )

    return registry.configure("model", "tiny", {"width": 6})


def run(tiny, path, **options):
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.01, "output": path} | options
    return train(tiny, Stripes(), Stripes(20), **settings)


def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path):
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        torch.rand(3)  # the global random state is no part of it
        run(tiny, path, seed=seed)
    one, two, three = (sha256(path) for path in paths)
    assert one == two != three


def test_the_global_random_state_is_left_alone(tiny, tmp_path):
    before = torch.get_rng_state()
    run(tiny, tmp_path / "w.safetensors")
    assert torch.equal(before, torch.get_rng_state())


def test_it_learns_and_tells(tiny, tmp_path):
    steps = []
    card = run(tiny, tmp_path / "w.safetensors", epochs=15, lr=0.05, progress=steps.append)
    training = [s for s in steps if s.stage == "training"]
    assert [s.done for s in training] == list(range(1, 15 * 4 + 1))
    assert {s.total for s in training} == {60}
    assert training[-1].epoch == 15
    assert training[-1].loss < training[3].loss
    assert float(card.notes["accuracy"]) > 0.9
    assert {steps[0].stage, steps[-1].stage} == {"reading train images", "reading test images"}


@pytest.mark.parametrize("half", [True, False])
def test_the_card_and_the_file_agree(tiny, tmp_path, half):
    path = tmp_path / "w.safetensors"
    card = run(tiny, path, half=half, seed=3)
    tensors, read = read_weights(path)
    assert read == card
    assert tensors["0.weight"].dtype == (torch.float16 if half else torch.float32)
    assert (card.architecture, card.parameters, card.size) == ("tiny", {"width": 6}, 16)
    assert (card.dataset, card.data_revision, card.classes) == ("stripes", "stripes-1", ("dark", "bright"))
    assert (card.notes["trained_on"], card.notes["tested_on"]) == ("64 images", "20 images")
    assert card.notes["seed"] == "3"
    assert json.loads(card.notes["recipe"])["epochs"] == 2


def test_a_loss_that_is_no_number_stops_with_advice(tiny, tmp_path):
    with pytest.raises(InterpBenchError, match="lower learning rate"):
        run(tiny, tmp_path / "w.safetensors", lr=1e30, epochs=5)
    assert not list(tmp_path.iterdir())


def test_unreadable_images_are_left_out(tiny, tmp_path):
    card = train(tiny, Stripes(), Stripes(20, unreadable={0, 7}), epochs=1, output=tmp_path / "w.safetensors")
    assert card.notes["tested_on"] == "18 images"


@pytest.mark.parametrize("data", [Stripes(0), Stripes(2, unreadable={0, 1}), Stripes(shape=(16, 20, 3))])
def test_unfit_data_are_refused(tiny, tmp_path, data):
    with pytest.raises(DataError):
        train(tiny, data, Stripes(), epochs=1, output=tmp_path / "w.safetensors")


def test_augmentation_shifts_flips_and_mirrors_the_edge():
    ramp = torch.arange(32).repeat(32, 1)[None, :, :, None].expand(200, -1, -1, 3).to(torch.uint8)
    chance = torch.Generator().manual_seed(0)
    seen = {tuple(row[0, :, 0].tolist()) for row in _augmented(ramp, chance)}
    line = np.pad(np.arange(32), 2, mode="reflect")
    shifted = [line[2 + s : 34 + s] for s in range(-2, 3)]
    assert seen == {tuple(map(int, s)) for row in shifted for s in (row, row[::-1])}


def test_the_bar_draws(capsys):
    with bar() as show:
        show(Step("reading", 1, 2))
        show(Step("training", 2, 2, 1, 0.5, 0.75))
    assert "accuracy 75.0%" in capsys.readouterr().out
