"""Occlusion in boxes: the logits of a plain loop over windows, for every network, window and way of running them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import interpbench.fast.occlusion.occluded_outputs as incremental
from interpbench import occluded_outputs
from interpbench.core.errors import ParameterError
from interpbench.fast.occlusion.engine import Engine
from interpbench.fast.occlusion.network import trace
from interpbench.fast.occlusion.occluded_outputs import Choice, listening
from interpbench.fast.occlusion.plan import plans
from interpbench.registry.discovery import discover
from tests.slow_cases import with_slow
from tests.tiny_models import NARROW, calibrate, convolutional

REGISTRY = discover()
DEEPER = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet34", "vgg16", "vgg19_bn")]
BUNDLED = ["alexnet", "mobilenet_v2", "resnet18", "resnet50", "vgg11", "vgg13_bn", *DEEPER]
OTHERS = ["torchvision:densenet121", "mobilenet_v3_small", "vit_small"]
OTHERS = [
    *OTHERS,
    pytest.param("torchvision:googlenet", marks=pytest.mark.slow),
]  # concatenates, as densenet121 does
EDGES = [
    (0, 0, 8, 8),
    (56, 56, 64, 64),
    (0, 56, 8, 64),
    (30, 17, 38, 25),
    (60, 3, 64, 11),
    (20, 0, 64, 64),
]


def network(name: str, size: int, width: int = 8) -> nn.Module:
    """An architecture with random weights and norm statistics."""
    torch.manual_seed(0)
    name, _, library = name.partition(":")
    values: dict[str, Any] = {"name": library} if library else NARROW.get(name, {"width": width})
    built: nn.Module = REGISTRY.configure("model", name, values)(10, size)
    return calibrate(built, size).requires_grad_(False)


def images(size: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def loop(model: nn.Module, x: Tensor, baseline: Tensor, boxes: Tensor) -> Tensor:
    """Logits [B,N,classes], one window after the other."""
    found = []
    for top, left, bottom, right in boxes.tolist():
        covered = x.clone()
        covered[:, :, max(0, top) : bottom, max(0, left) : right] = baseline[
            :, :, max(0, top) : bottom, max(0, left) : right
        ]
        found.append(model(covered))
    return torch.stack(found, 1)


def check(found: Tensor, logits: Tensor, target: Tensor) -> None:
    """To 1e-5 of the greatest logit."""
    expected = logits.gather(2, target[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) <= 1e-5 * float(logits.abs().max())
    assert float(expected.std()) > 0


@torch.inference_mode()
def check_every_plan(
    model: nn.Module, x: Tensor, baseline: Tensor, boxes: Tensor, at_least: int = 1
) -> None:
    """For every map up to which boxes can be computed: the logits of the loop."""
    expected = loop(model, x, baseline, boxes)
    program = trace(model, x[:1])
    found = list(plans(program, boxes.numpy(), batch=3))
    assert len(found) >= at_least
    for plan in found:
        seen = torch.zeros(len(x), len(boxes))
        for image, window, logits in Engine(program, plan, boxes.numpy(), batch=3).logits(
            x, baseline
        ):
            difference = (logits - expected[image, window]).abs().max()
            assert float(difference) <= 1e-5 * float(expected.abs().max()), plan.cut
            seen[image, window] += 1
        assert bool((seen == 1).all())


@pytest.fixture
def choices() -> Iterator[list[Choice]]:
    """What the calls of a test choose."""
    with listening() as heard:
        yield heard


@pytest.mark.parametrize("name", with_slow(BUNDLED, ("mobilenet_v2", "resnet50")))
def test_every_plan_of_the_bundled_architectures_gives_the_logits_of_the_plain_network(
    name: str,
) -> None:
    x = images(64)
    check_every_plan(network(name, 64), x, images(64, 4)[2:], torch.tensor(EDGES), at_least=5)


@pytest.mark.parametrize("name", BUNDLED + OTHERS)
def test_outputs_are_those_of_the_plain_network_for_windows_on_a_grid(name: str) -> None:
    model, x, target = network(name, 64), images(64), torch.tensor([7, 2])
    starts = [0, 13, 26, 39, 52]
    boxes = torch.tensor([(top, left, top + 16, left + 16) for top in starts for left in starts])
    baseline = torch.zeros_like(x)
    check(
        occluded_outputs(model, x, baseline, boxes, target, batch=4),
        loop(model, x, baseline, boxes),
        target,
    )


@pytest.mark.parametrize(
    "name", ["alexnet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet18", "vgg11"))]
)
def test_every_plan_of_torchvisions_own_networks_at_224_pixels(name: str) -> None:
    boxes = torch.tensor([(0, 0, 16, 16), (104, 96, 120, 112), (208, 120, 224, 136)])
    x = images(224, 1)
    check_every_plan(network(name, 224, 64), x, torch.zeros_like(x), boxes, at_least=8)


class Random(nn.Module):
    """Layers one after the other, some of them with a second branch that is added or concatenated."""

    def __init__(self, layers: list[nn.Module], joins: list[str], channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.joins = joins
        self.head = nn.LazyLinear(6)
        self.squeeze = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer, join in zip(self.layers, self.joins, strict=True):
            made = layer(x)
            if join == "add":
                x = F.relu(made + x)
            elif join == "concatenate":
                x = self.squeeze(torch.cat([x, made], 1))
            else:
                x = made
        return self.head(x.flatten(1))


CHANNELS = 4


@st.composite
def layers(draw: st.DrawFn) -> nn.Module:
    """A layer that keeps the channels."""
    kernel, stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), draw(st.integers(1, 3))
    padding = draw(st.tuples(*(st.integers(0, side // 2) for side in kernel)))
    kind = draw(
        st.sampled_from(["convolution", "convolution", "same", "max", "average", "pointwise"])
    )
    if kind == "convolution":
        dilation, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 4]))
        return nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, padding, dilation, groups)
    if kind == "same":
        return nn.Conv2d(
            CHANNELS, CHANNELS, kernel, padding="same", dilation=draw(st.integers(1, 2))
        )
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding, ceil_mode=draw(st.booleans()))
    if kind == "average":
        counted, divisor = draw(st.booleans()), draw(st.sampled_from([None, 3]))
        return nn.AvgPool2d(kernel, stride, padding, draw(st.booleans()), counted, divisor)
    pointwise = [nn.ReLU(), nn.ReLU6(inplace=True), nn.BatchNorm2d(CHANNELS), nn.GELU(), nn.Dropout(), nn.Identity(),
                 nn.LocalResponseNorm(3)]  # fmt: skip
    return draw(st.sampled_from(pointwise))


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """Of what fits: layers that leave something of the map, and joins of maps of one shape."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    x = torch.randn(8, 3, 19, 22)
    chosen: list[nn.Module] = []
    joins = []
    stem = nn.Conv2d(3, CHANNELS, 3, draw(st.integers(1, 2)), draw(st.integers(0, 1)))
    for layer in [stem, *draw(st.lists(layers(), min_size=1, max_size=6))]:
        try:
            made = layer(x)
        except RuntimeError:  # the map is smaller than the kernel
            continue
        joins.append(
            draw(st.sampled_from(["", "add", "concatenate"])) if made.shape == x.shape else ""
        )
        chosen.append(layer)
        x = made
    model = Random(chosen, joins, CHANNELS)
    with torch.no_grad():
        model.train()(
            torch.randn(8, 3, 19, 22)
        )  # gives norms their statistics and the head its size
    return model.eval().requires_grad_(False)


@st.composite
def windows(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    top, left = draw(st.integers(0, 18)), draw(st.integers(0, 21))
    bottom, right = draw(st.integers(top + 1, 19)), draw(st.integers(left + 1, 22))
    return [(top, left, bottom, right)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(networks(), st.lists(windows(), min_size=1, max_size=7))
def test_every_plan_of_random_networks(
    model: nn.Module, boxes: list[list[tuple[int, int, int, int]]]
) -> None:
    x = torch.randn(2, 3, 19, 22, generator=torch.Generator().manual_seed(3))
    check_every_plan(model, x, torch.ones_like(x), torch.tensor([box for [box] in boxes]))


@torch.inference_mode()
def test_some_windows_are_run_alone() -> None:
    """Of one group, of several, and in no order."""
    model, x, boxes = (
        network("resnet18", 96),
        images(96),
        torch.tensor([*EDGES, (40, 40, 48, 48), (44, 40, 52, 48)]),
    )
    expected = loop(model, x, torch.zeros_like(x), boxes)
    program = trace(model, x[:1])
    *_, plan = plans(program, boxes.numpy(), batch=3)
    engine = Engine(program, plan, boxes.numpy(), batch=3)
    for only in ([3], [7, 0, 4, 6], list(range(len(boxes)))):
        seen = []
        for image, window, logits in engine.logits(x, torch.zeros_like(x), only):
            torch.testing.assert_close(logits, expected[image, window], rtol=0, atol=1e-5)
            seen += list(zip(image.tolist(), window.tolist(), strict=True))
        assert sorted(seen) == [(image, window) for image in range(2) for window in sorted(only)]


class Forward(nn.Module):
    """A convolutional network with something of its own in the middle."""

    def __init__(self, middle: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.middle = middle
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.second(self.middle(self, self.first(x)))).amax((2, 3)))


def overwritten(model: nn.Module, x: Tensor) -> Tensor:
    """The addition sees what the ReLU has overwritten."""
    activated = F.relu(x, inplace=True)
    return x + activated * 2


MIDDLES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "over all positions": lambda model, x: x - x.mean((2, 3), keepdim=True),
    "by position": lambda model, x: x * torch.linspace(0, 1, x.shape[3]),
    "shifted": lambda model, x: x.roll(5, dims=3),
    "overwritten": overwritten,
    "added in place": lambda model, x: x.add_(model.second(x)),
    "depends on values": lambda model, x: x if x.mean() < 100 else -x,
    "another kind of convolution": lambda model, x: F.conv2d(x, model.second.weight, padding=1),
    "added with a factor": lambda model, x: torch.add(x, F.relu(x), alpha=3),
    "concatenated along rows": lambda model, x: torch.cat([x, F.relu(x)], 2),
}


@pytest.mark.parametrize("middle", MIDDLES)
@pytest.mark.parametrize("size", [16, 96])
def test_whatever_a_network_does_its_outputs_are_right(middle: str, size: int) -> None:
    torch.manual_seed(0)
    model, x, target = Forward(MIDDLES[middle]).eval(), images(size), torch.tensor([3, 1])
    boxes = torch.tensor(
        [
            (row, column, row + 4, column + 4)
            for row in range(0, 13, 6)
            for column in range(0, 13, 6)
        ]
    )
    baseline = torch.zeros_like(x)
    check(
        occluded_outputs(model, x, baseline, boxes, target, batch=4),
        loop(model, x, baseline, boxes),
        target,
    )


def test_boxes_are_used_where_they_pay_and_only_there(choices: list[Choice]) -> None:
    starts = range(0, 209, 52)
    boxes = torch.tensor([(top, left, top + 16, left + 16) for top in starts for left in starts])
    model, x = network("alexnet", 224, 64), images(224, 1)
    baseline, target = torch.zeros_like(x), torch.tensor([4])
    with FlopCounterMode(display=False) as plain:
        expected = loop(model, x, baseline, boxes)
    with FlopCounterMode(display=False) as counted:
        check(occluded_outputs(model, x, baseline, boxes, target, batch=8), expected, target)
    assert counted.get_total_flops() < 0.6 * plain.get_total_flops()
    [boxed] = choices
    assert boxed.plain == ""
    assert str(boxed.cut).startswith("features_")
    assert boxed.gain is not None
    assert boxed.gain > 2
    assert boxed.difference is not None
    assert boxed.difference <= 1e-5
    whole = torch.tensor([[0, 0, 224, 224]])
    check_equal_to_loop(model, x, whole)
    assert choices[-1].plain == "boxes cost no less than whole images, or little less"
    assert choices[-1].gain is not None
    assert choices[-1].gain < 1


def check_equal_to_loop(model: nn.Module, x: Tensor, boxes: Tensor) -> None:
    baseline, target = images(x.shape[2], 2 * len(x))[len(x) :], torch.arange(len(x)) + 1
    found = occluded_outputs(model, x, baseline, boxes, target, batch=4)
    expected = loop(model, x, baseline, boxes).gather(
        2, target[:, None, None].expand(-1, len(boxes), 1)
    )[..., 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_transformers_and_hooked_or_training_networks_run_plainly(choices: list[Choice]) -> None:
    boxes = torch.tensor(EDGES)
    check_equal_to_loop(network("vit_small", 64), images(64), boxes)
    hooked = network("vgg16", 64)
    handle = hooked.features[3].register_forward_hook(lambda module, inputs, output: output * 0.5)
    check_equal_to_loop(hooked, images(64), boxes)
    handle.remove()
    frozen = network("vgg16", 64).train()
    check_equal_to_loop(frozen, images(64), boxes)
    assert choices == [
        Choice("there is no map of which a part can be computed"),
        Choice("features.3 is in training mode or has a hook or a forward of its own"),
        Choice("the model is in training mode or has a hook or a forward of its own"),
    ]


def test_a_network_that_answers_otherwise_in_parts_runs_plainly(
    monkeypatch: pytest.MonkeyPatch, choices: list[Choice]
) -> None:
    """The check against the plain network, of an engine that is made to be wrong."""
    original = Engine.logits
    wrong: list[int] = []

    def logits(
        self: Engine, x: Tensor, baseline: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for image, window, found in original(self, x, baseline):
            wrong.append(len(found))
            yield image, window, found * 1.001

    monkeypatch.setattr(Engine, "logits", logits)
    check_equal_to_loop(network("vgg16", 96, 16), images(96), torch.tensor(EDGES))
    assert wrong
    [choice] = choices
    assert choice.plain.startswith("boxes give outputs that differ by 0.0")
    assert choice.difference == pytest.approx(
        1e-3, rel=0.3
    )  # the target's logit need not be the greatest


def test_windows_may_reach_beyond_the_image_but_not_miss_it() -> None:
    model = network("vgg11", 64)
    check_equal_to_loop(
        model, images(64), torch.tensor([(-5, -5, 4, 4), (60, 60, 80, 99), (-9, -9, 90, 90)])
    )
    with pytest.raises(ParameterError, match=r"\[64, 0, 70, 9\].*no pixel of an image of 64x64"):
        check_equal_to_loop(model, images(64), torch.tensor([(0, 0, 8, 8), (64, 0, 70, 9)]))


def test_a_colour_is_a_baseline() -> None:
    model, x, colour = network("vgg11", 64), images(64), torch.tensor([0.5, -1.0, 2.0])
    boxes, target = torch.tensor(EDGES), torch.tensor([3, 9])
    everywhere = colour[:, None, None].expand_as(x)
    check(
        occluded_outputs(model, x, colour, boxes, target, batch=4),
        loop(model, x, everywhere, boxes),
        target,
    )


def test_no_windows_or_images_give_no_outputs() -> None:
    model, none = convolutional(16), torch.empty(0, 4, dtype=torch.int64)
    found = occluded_outputs(model, images(16), images(16), none, torch.tensor([0, 1]), batch=4)
    assert found.shape == (2, 0)
    boxes = torch.tensor([(0, 0, 4, 4)])
    assert occluded_outputs(
        model, images(16)[:0], images(16)[:0], boxes, torch.tensor([]).long(), batch=4
    ).shape == (
        0,
        1,
    )


def test_models_and_images_in_channels_last() -> None:
    model = network("resnet18", 64, 16).to(memory_format=torch.channels_last)
    check_equal_to_loop(
        model, images(64).to(memory_format=torch.channels_last), torch.tensor(EDGES)
    )


class Largest(TorchDispatchMode):
    """The most numbers in any tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.numbers = max(self.numbers, made.untyped_storage().nbytes() // 4)
        return made


@pytest.mark.parametrize("plain", [False, True])
def test_memory_is_bounded_by_the_batch_whatever_the_number_of_windows(
    plain: bool, monkeypatch: pytest.MonkeyPatch, choices: list[Choice]
) -> None:
    if plain:
        monkeypatch.setattr(incremental, "cheapest", lambda *arguments: None)
    model, x = network("resnet18", 96, 8), images(96, 1)
    found = {}
    for stride in (16, 8):
        starts = range(0, 81, stride)
        boxes = torch.tensor(
            [(top, left, top + 16, left + 16) for top in starts for left in starts]
        )
        with Largest() as largest:
            occluded_outputs(model, x, torch.zeros_like(x), boxes, torch.tensor([0]), batch=4)
        found[len(boxes)] = largest.numbers
    with Largest() as largest, torch.no_grad():
        model(x.repeat(4, 1, 1, 1))
    assert bool(choices[-1].plain) == plain
    few, many = sorted(found)
    assert found[many] <= 1.1 * found[few]
    assert found[many] <= 1.1 * largest.numbers


def test_two_runs_give_the_same_bytes() -> None:
    model, x, boxes = network("resnet18", 64, 16), images(64), torch.tensor(EDGES)
    runs = [
        occluded_outputs(model, x, torch.zeros_like(x), boxes, torch.tensor([1, 2]), batch=4)
        for _ in range(2)
    ]
    assert torch.equal(runs[0], runs[1])


class OnTheDevice(TorchDispatchMode):
    """Fails where anything is made elsewhere, so that nothing is brought there or back."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            assert not isinstance(tensor, Tensor) or tensor.device.type == "cuda", func
        return made


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("name", ["resnet18", pytest.param("vgg11", marks=pytest.mark.slow)])
@torch.no_grad()
def test_on_a_gpu_nothing_waits_for_it_or_is_moved_once_the_engine_stands(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tensors that have a device and a shape and no values: to read one, or to mix devices, is an error."""
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda self, memo: self, raising=False)
    monkeypatch.setattr(
        nn.Module, "to", lambda module, **order: module
    )  # these tensors cannot change their order
    boxes = np.array(EDGES)
    with FakeTensorMode(allow_non_fake_inputs=False):
        with torch.device("cuda"):
            model = (
                REGISTRY.configure("model", name, {"width": 8})(10, 64).eval().requires_grad_(False)
            )
            x = torch.randn(2, 3, 64, 64)
        program = trace(model, x[:1])
        found = list(plans(program, boxes, batch=3))
        assert len(found) >= 5
        for plan in (found[4], found[-1]):
            engine, count = Engine(program, plan, boxes, batch=3), 0
            with OnTheDevice():
                for image, window, logits in engine.logits(x, torch.zeros_like(x)):
                    assert len(image) == len(window) == len(logits)
                    count += len(logits)
            assert count == 2 * len(boxes)
