"""`visualise`: its parametrisation against numpy's, its optimum against closed forms, its files, what it refuses."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import affine_transform
from torch import Tensor, nn

import interpbench
from interpbench.attribution.model_and_methods import load_model_and_methods
from interpbench.core.types import Model, normalise
from interpbench.loading.dataset import open_dataset
from interpbench.loading.image_files import read_image
from interpbench.registry.choosing import choose_dataset
from interpbench.registry.discovery import discover
from interpbench.studies.pictures.images import find_files
from interpbench.studies.visualisation import picture
from interpbench.studies.visualisation.ascent import Ascent, Climbed, _slope, as_input, climb
from interpbench.studies.visualisation.canvas import (
    COLOURS,
    CONTRAST,
    Canvas,
    colour_matrix,
    frequencies,
)
from interpbench.studies.visualisation.units import CHANNEL, LOGIT, NEURON, Answering, Unit
from interpbench.studies.visualisation.views import Views, seen
from tests.command_line import call, refused
from tests.paths import TINY
from tests.picture_commands import content, record, save_quadrants
from tests.tiny_models import wrap

CPU = torch.device("cpu")
STILL = Views(0, 0, 0)


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def made(
    model: Model, unit: Unit, steps: int = 200, views: Views = STILL, size: int = 16
) -> Climbed:
    ascent = Ascent(steps, size, size, 0.05, views, 0)
    [found] = climb(Answering(model, unit.layer), [unit], ascent, CPU)
    return found


@pytest.mark.parametrize("size", [(8, 8), (7, 12), (16, 9)])
def test_canvas_is_numpy_s_inverse_transform_of_scaled_coefficients(size: tuple[int, int]) -> None:
    height, width = size
    canvas = Canvas(3, height, width, generators(2), CPU)
    pairs = canvas.coefficients.detach().numpy().astype(float)
    up, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    cycles = np.sqrt(up**2 + across**2)
    np.testing.assert_allclose(frequencies(height, width), cycles, rtol=1e-6)
    waves = (pairs[..., 0] + 1j * pairs[..., 1]) / np.maximum(cycles, 1 / max(size))
    # numpy's divides by the number of pixels, Lucid multiplies the scale with its root.
    flat = np.fft.irfft2(waves * math.sqrt(height * width), s=size) * CONTRAST
    root = np.array(COLOURS) / np.linalg.norm(COLOURS, axis=0).max()
    expected = 1 / (1 + np.exp(-np.einsum("bihw,ci->bchw", flat, root)))
    np.testing.assert_allclose(canvas.images().detach().numpy(), expected, rtol=1e-5)


def test_colours_are_those_of_photographs() -> None:
    """Independent numbers get the correlations and deviations that colours have in photographs."""
    root = np.array(COLOURS)
    covariance = root @ root.T
    deviations = np.sqrt(np.diag(covariance))
    # Of ImageNet's pixels, as measured by others: 0.2770, 0.2691, 0.2821.
    np.testing.assert_allclose(deviations, [0.277, 0.269, 0.282], rtol=0.03)
    # The columns are principal axes: orthogonal.
    np.testing.assert_allclose(root.T @ root, np.diag(np.diag(root.T @ root)), atol=2e-3)
    pixels = np.concatenate(
        [
            read_image(path, path.name).reshape(-1, 3)[::50]
            for path in find_files(
                [Path(n) for n in ("astronaut", "cat", "coffee", "rocket")]
            ).values()
        ]
    )
    # And so are those of four photographs: brightness, blue against yellow, green against purple.
    _, axes = np.linalg.eigh(np.cov(pixels.T))
    columns = root / np.linalg.norm(root, axis=0)
    assert (np.abs((columns * axes[:, ::-1]).sum(0)) > 0.97).all()


def test_independent_numbers_get_the_covariance_of_the_colours() -> None:
    drawn = torch.randn(100_000, 3, generator=torch.Generator().manual_seed(0)) @ colour_matrix(3).T
    root = np.array(COLOURS) / np.linalg.norm(COLOURS, axis=0).max()
    np.testing.assert_allclose(np.cov(drawn.numpy().T), root @ root.T, atol=0.01)
    assert torch.equal(colour_matrix(1), torch.eye(1))


def test_a_view_without_change_is_the_image() -> None:
    images = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen(images, STILL, generators(2)), images)


@pytest.mark.parametrize(
    "views", [Views(0.2, 0, 0), Views(0, 0.3, 0), Views(0, 0, 40), Views(0.1, 0.2, 30)]
)
def test_views_are_scipy_s(views: Views) -> None:
    """Also of images that are no squares: a turn is one of pixels."""
    images = torch.rand(3, 2, 8, 14, generator=torch.Generator().manual_seed(0))
    views_of_images = seen(images, views, generators(3)).numpy()
    for i, generator in enumerate(generators(3)):
        turn, scale, right, down = (2 * torch.rand(4, generator=generator) - 1).tolist()
        angle, factor = math.radians(views.turn * turn), 1 + views.scale * scale
        matrix = factor * np.array(
            [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        )
        centre = np.array([3.5, 6.5])
        shift = views.shift * np.array([8 * down, 14 * right])
        for channel in range(2):
            expected = affine_transform(
                images[i, channel].numpy() - 0.5, matrix, centre + shift - matrix @ centre, order=1,
                mode="grid-constant",
            )  # fmt: skip
            np.testing.assert_allclose(views_of_images[i, channel], expected + 0.5, atol=1e-5)


def linear(filter_: Tensor) -> Model:
    """A network whose only layer answers by one filter [3,h,w], at all positions."""
    convolution = nn.Conv2d(3, 1, filter_.shape[1], padding=filter_.shape[1] // 2, bias=False)
    convolution.weight.data[0] = filter_
    return wrap(
        nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten()), size=16, classes=1
    )


def test_a_neuron_of_one_filter_sees_that_filter() -> None:
    """The greatest answer is known: each pixel white where the filter is positive, black where it is negative."""
    rows = torch.arange(5.0) - 2
    bars = torch.cos(rows * math.pi / 2.6)[:, None] * torch.exp(-(rows[None] ** 2) / 4)
    filter_ = bars * torch.tensor([1.0, 0.6, -0.4])[:, None, None]
    model = linear(filter_)
    found = made(model, Unit("0", 0, "bars", NEURON), steps=300)
    patch = torch.tensor(found.image[6:11, 6:11]).permute(2, 0, 1)
    together = torch.stack([patch.flatten(), filter_.flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.6
    best = as_input((filter_ > 0).float()[None], model.card.preparation)
    assert 0.8 < found.reached / float((best[0] * filter_).sum()) <= 1
    # And no image that is only noise comes near.
    noise = as_input(torch.rand(500, 3, 5, 5, generator=generators(1)[0]), model.card.preparation)
    assert found.reached > (noise * filter_).sum((1, 2, 3)).max()


def test_a_channel_is_its_mean_a_neuron_its_middle_and_a_class_its_logit() -> None:
    model = linear(torch.ones(3, 1, 1))
    x = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    channel, neuron = Unit("0", 0, "", CHANNEL), Unit("0", 0, "", NEURON)
    said = Answering(model, "0").of([channel, neuron, neuron], x)
    total = x.sum(1)
    torch.testing.assert_close(said, torch.stack([total[0].mean(), total[1, 2, 3], total[2, 2, 3]]))
    torch.testing.assert_close(
        Answering(model, None).of([Unit(None, 0, "", LOGIT)], x[:1]), total[0].mean()[None]
    )


class _Twice(nn.Module):
    """A layer that is called twice, and overwrites what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(3, 3, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shrink.weight.data = -torch.eye(3)[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.shrink(x))
        return self.relu(x - 1).mean((2, 3))


def test_what_follows_in_place_changes_nothing_and_the_last_call_counts() -> None:
    model = wrap(_Twice(), size=4, classes=3)
    x = torch.stack([torch.full((3, 4, 4), -5.0), torch.full((3, 4, 4), 2.0)])
    units = [Unit("", i, "", CHANNEL) for i in (0, 0)]
    before, after = Answering(model, "shrink"), Answering(model, "relu")
    assert before.size(x) == after.size(x) == 3
    assert before.of(units, x).tolist() == [5, -2]
    assert after.of(units, x).tolist() == [4, 0]
    assert after.of(units, x).tolist() == [4, 0]  # when it is known how often it is called
    assert not model.network.relu._forward_hooks


def test_a_unit_that_says_nothing_begins_to() -> None:
    """Behind a ReLU that no grey image passes there is no gradient."""
    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network[0].weight.data.fill_(1)
    network[0].bias.data.fill_(-2.0)  # the greatest sum of normalised colours is more
    model = wrap(network, size=8, classes=1)
    found = made(model, Unit("1", 0, "", CHANNEL), steps=100, size=8)
    assert found.start == 0
    assert found.by_step[0] == 0
    assert found.reached > 0.5


def test_only_the_rectifier_that_stops_everything_lets_more_through() -> None:
    """The gradient of a silent unit is that of what stands before its ReLU, through the others as they are."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 1, 3))
    inner[2].bias.data.fill_(-100)
    model = wrap(nn.Sequential(*inner, nn.ReLU(inplace=True), nn.Flatten()), size=8, classes=16)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    unit = Unit("3", 0, "", CHANNEL)
    said, slope = _slope(Answering(model, "3"), [unit, unit], x, x)
    assert said.tolist() == [0, 0]
    (expected,) = torch.autograd.grad(inner(x).mean((1, 2, 3)).sum(), x)
    torch.testing.assert_close(slope, expected)


def test_images_raise_trained_channels_above_noise_and_data(tmp_path: Path) -> None:
    """More than the data set's images of shapes do, of a network that was trained on them."""
    found = interpbench.visualise(
        "alexnet", dataset="planted", layer="features.3", channel="0,5", steps=150,
        device="cpu", output=tmp_path / "out",
    )  # fmt: skip
    registry = discover()
    loaded = load_model_and_methods(registry, "alexnet", (), "planted").model
    data = open_dataset(choose_dataset(registry, "planted"))
    x = normalise(
        torch.stack([torch.from_numpy(data[i].image) for i in range(32)]), loaded.card.preparation
    )
    noise = as_input(torch.rand(32, 3, 64, 64, generator=generators(1)[0]), loaded.card.preparation)
    with torch.no_grad():
        for unit in found.units:
            asked = [Unit(unit.layer, unit.index, unit.name, unit.objective)] * 32
            answering = Answering(loaded, unit.layer)
            assert unit.reached > max(
                answering.of(asked, x).max(), answering.of(asked, noise).max()
            )
            assert unit.reached > 2 * unit.start


def test_units_are_made_alike_alone_and_together() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = wrap(network, size=8, classes=4)
    units = [Unit("0", i, "", CHANNEL) for i in range(3)]
    ascent = Ascent(10, 8, 8, 0.05, Views(), 0)
    together = climb(Answering(model, "0"), units, ascent, CPU)
    [alone] = climb(Answering(model, "0"), units[1:2], ascent, CPU)
    np.testing.assert_allclose(alone.image, together[1].image, atol=1e-3)
    assert not np.allclose(together[0].image, together[1].image, atol=0.05)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    monkeypatch.setattr(picture, "DPI", 80)
    weights = save_quadrants(tmp_path)
    return [
        "visualise",
        "--model",
        "quadrants",
        "--weights",
        weights,
        "--plugin",
        TINY,
        "--device",
        "cpu",
    ]


def test_the_command_writes_the_same_bytes_each_time(tmp_path: Path, base: list[object]) -> None:
    asked = [
        *base,
        "--layer",
        "0",
        "--channel",
        "0",
        "--class",
        "ne,3",
        "--class",
        "sw",
        "--steps",
        "5",
    ]
    contents = []
    for name in ("a", "b"):
        code, out, _ = call(*asked, "--size", "12,20", "--output", tmp_path / name)
        assert code == 0
        assert "channel 0: " in out
        assert "sw: " in out
        contents.append(content(tmp_path / name))
    for file in set(contents[0]) - {"visualise.json"}:  # which holds the command itself
        assert contents[0][file] == contents[1][file], file
    written = record(tmp_path / "a", "visualise")
    names = [image["file"] for image in written["images"]]
    assert names == ["channel-0.png", "class-1-ne.png", "class-3-se.png", "class-2-sw.png"]
    assert {*names, "grid.png", "reached.csv", "steps.csv", "visualise.json"} == set(contents[0])
    assert (written["steps"], written["seed"]) == (5, 0)
    with Image.open(tmp_path / "a" / "class-1-ne.png") as image:
        assert image.size == (20, 12)
    steps = pd.read_csv(tmp_path / "a" / "steps.csv")
    assert steps["unit"].tolist() == [n for n in ("channel 0", "ne", "se", "sw") for _ in range(5)]
    reached = pd.read_csv(tmp_path / "a" / "reached.csv")
    assert (reached["reached"] > reached["start"]).all()


def test_another_seed_is_another_image(tmp_path: Path, base: list[object]) -> None:
    for seed in (0, 1):
        call(
            *base, "--class", "ne", "--steps", "1", "--seed", seed, "--output", tmp_path / str(seed)
        )
    first, second = (np.asarray(Image.open(tmp_path / s / "class-1-ne.png")) for s in ("0", "1"))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "9", "--channel", "0"], "Unknown layer '9'. Known: 0, "),
        (["--channel", "0,7"], "has no channel '7': it has 1, from 0 to 0"),
        (["--channel", "x"], "has no channel 'x'"),
        (["--class", "nex"], "Unknown class 'nex'. Did you mean 'ne'"),
        ([], "What is to be visualised? Name channels with --channel"),
        (["--class", "ne", "--objective", "nuron"], "Did you mean 'neuron'?"),
        (["--class", "ne", "--size", "3"], "expected sides from 8 to"),
    ],
)
def test_what_cannot_be_visualised_is_refused(
    base: list[object], arguments: list[object], message: str
) -> None:
    assert message in refused(*base, *arguments)


def test_a_notebook_shows_the_grid(tmp_path: Path) -> None:
    """Of a network that sees in grey."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made_so = interpbench.Preparation(
        height=8, width=8, resize=8, mean=(0.5,), std=(0.25,), channels="grey"
    )
    found = interpbench.visualise(
        network, layer="0", channel=[0, 1], steps=2, preparation=made_so, device="cpu",
        output=tmp_path / "out",
    )  # fmt: skip
    assert found.image().shape == (8, 8)
    assert "data:image/png;base64," in found._repr_html_()
    assert found.table["name"].tolist() == ["channel 0", "channel 1"]
    assert "channel 1: " in repr(found)
