"""Occlusion in boxes for networks that hold bare parameters, and plain passes wherever boxes fail."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import interpbench
from interpbench import occluded_outputs
from interpbench.core.batch_size import BatchSize
from interpbench.fast.occlusion.network import trace
from interpbench.fast.occlusion.occluded_outputs import Choice, listening
from interpbench.scoring import ceiling
from tests.fast.test_occlusion import EDGES, check, check_every_plan, images, loop, network
from tests.scoring.test_ceiling import explanation, metric, noise

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element")

BOXES = torch.tensor(
    [(row, column, row + 8, column + 8) for row in range(0, 89, 22) for column in range(0, 89, 22)]
)
LIBRARIES = ["convnext_tiny", "swin_t", "swin_v2_t", "vit_b_32"]


@pytest.fixture
def choices() -> Iterator[list[Choice]]:
    with listening() as heard:
        yield heard


class Bare(nn.Module):
    """Convolutions with parameters and buffers beside them, each of another shape and used in another place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.middle, self.last = (nn.Conv2d(c, 16, 3, padding=1) for c in (3, 16, 16))
        self.layer_scale = nn.Parameter(torch.randn(16, 1, 1))
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.shift = nn.Parameter(torch.randn(1, 16, 1, 1))
        self.register_buffer("mean", torch.randn(3, 1, 1))
        self.columns = nn.Parameter(torch.randn(12))
        self.position = nn.Parameter(torch.randn(1, 16, 12, 12))
        self.class_token = nn.Parameter(torch.randn(1, 1, 16))
        self.temperature = nn.Parameter(torch.tensor([0.3]))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        temperature = torch.exp(self.temperature)  # is needed at the end alone
        x = F.relu(self.stem(0.5 * x + self.mean)) * self.gain
        x = F.relu(
            x + self.layer_scale * self.middle(x) + self.shift + self.class_token.view(16, 1, 1)
        )
        x = F.max_pool2d(self.last(x), 8) * self.columns + self.position
        tokens = x.flatten(2).transpose(1, 2) + self.class_token
        return temperature * self.head(tokens.mean(1) * self.gain)


def test_bare_parameters_are_carried_through_boxes_and_whole_maps(choices: list[Choice]) -> None:
    model, x, target = Bare().eval(), images(96), torch.tensor([3, 1])
    check_every_plan(model, x, images(96, 4)[2:], BOXES[::3], at_least=3)
    found = occluded_outputs(model, x, torch.zeros(3), BOXES, target, batch=4)
    check(found, loop(model, x, torch.zeros_like(x), BOXES), target)
    [choice] = choices
    assert choice.plain == ""  # by boxes


def test_what_is_the_same_at_each_position_takes_no_step_of_its_own() -> None:
    steps = trace(Bare().eval(), images(96, 1)).steps.values()
    merged = {step.name: len(step.then) for step in steps}
    assert merged == {
        "add": 1,
        "mul_1": 2,
        "mul_2": 1,
        "add_2": 1,
    }  # up to where a parameter is reshaped


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_transformers_and_convnext_give_the_logits_of_the_plain_network(name: str) -> None:
    model, x, target = network(f"torchvision:{name}", 64), images(64), torch.tensor([3, 1])
    for parameter in model.parameters():  # heads and scales that start near zero tell nothing
        parameter.add_(
            torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.01
        )
    check_every_plan(
        model, x, torch.zeros_like(x), torch.tensor(EDGES), at_least=name != "vit_b_32"
    )
    found = occluded_outputs(model, x, torch.zeros(3), torch.tensor(EDGES), target, batch=4)
    check(found, loop(model, x, torch.zeros_like(x), torch.tensor(EDGES)), target)


class Breaking(nn.Module):
    """A network that boxes would pay for, with something that they cannot deal with before its end."""

    def __init__(self, end: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            *(layer for c in (3, 16, 16) for layer in (nn.Conv2d(c, 16, 3, padding=1), nn.ReLU()))
        )
        self.pool, self.head, self.none = (
            nn.MaxPool2d(8),
            nn.Linear(16 * 144, 5),
            nn.Linear(16 * 144, 0),
        )
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.end(self, self.pool(self.body(x))).flatten(1))


@fx.wrap
def contiguous_alone(x: Tensor) -> Tensor:
    if not x.is_contiguous():
        raise ValueError("give me contiguous maps")
    return x


@fx.wrap
def few_at_a_time(x: Tensor) -> Tensor:
    if len(x) > 4:
        raise IndexError("give me four maps at most")
    return x


def of_no_classes(model: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(model.none, nn.Module)
    return torch.cat([x.flatten(1), model.none(x.flatten(1))], 1)


def by_value(model: nn.Module, x: Tensor) -> Tensor:
    return x if x.mean() < 100 else -x


BREAKS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "tracing": (by_value, "torch.fx cannot trace it: TraceError"),
    "planning": (of_no_classes, "boxes cannot be computed: ZeroDivisionError"),
    "computing": (lambda model, x: few_at_a_time(x), "boxes cannot be computed: IndexError: give me four"),
    "first pass": (lambda model, x: contiguous_alone(x), "ValueError: give me contiguous"),
}  # fmt: skip


@pytest.mark.parametrize("phase", BREAKS)
def test_where_boxes_fail_whole_images_are_passed_and_it_is_noted(
    phase: str, choices: list[Choice]
) -> None:
    end, reason = BREAKS[phase]
    model, x, target = Breaking(end).eval(), images(96), torch.tensor([3, 1])
    found = occluded_outputs(model, x, torch.zeros(3), BOXES, target, batch=4)
    check(found, loop(model, x, torch.zeros_like(x), BOXES), target)
    assert len(choices) == 1
    assert reason in choices[0].plain


@pytest.mark.parametrize("phase", BREAKS)
def test_the_search_for_a_ceiling_goes_on_with_whole_images(
    phase: str, choices: list[Choice], monkeypatch: pytest.MonkeyPatch
) -> None:
    end, reason = BREAKS[phase]
    subject, chosen = explanation(Breaking(end).eval(), noise(2, 3, 96, 96)), metric("deletion")
    found, passes = ceiling.best_map(chosen, subject, BatchSize(4), grid=4)
    assert reason in choices[-1].plain
    heard = len(choices)
    monkeypatch.setattr(ceiling, "occluder", lambda *arguments: None)
    expected, counted = ceiling.best_map(chosen, subject, BatchSize(4), grid=4)
    assert len(choices) == heard <= 2
    assert counted == passes
    assert torch.equal(found, expected)


@fx.wrap
def in_little_memory(x: Tensor) -> Tensor:
    if len(x) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return x


def test_where_memory_runs_out_fewer_images_are_tried_before_whole_ones(
    choices: list[Choice],
) -> None:
    model, x = Breaking(lambda model, x: in_little_memory(x)).eval(), images(96)
    target, batch = torch.tensor([3, 1]), BatchSize(4)
    found = batch.attempt(
        lambda images: occluded_outputs(model, x, torch.zeros(3), BOXES, target, images)
    )
    assert batch.images == 1
    check(found, loop(model, x, torch.zeros_like(x), BOXES), target)
    assert choices == [Choice("boxes cannot be computed: OutOfMemoryError: CUDA out of memory")]


PLUGIN = """
from torch import fx, nn
from interpbench import model

@fx.wrap
def few_at_a_time(x):
    if len(x) > 2:
        raise IndexError("give me two maps at most")
    return x

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.pool, self.head = nn.MaxPool2d(8), nn.Linear(16 * 64, 10)

    def forward(self, x):
        return self.head(few_at_a_time(self.pool(self.body(x))).flatten(1))

@model("picky")
def picky(classes: int, size: int):
    return Network()
"""


def test_no_cell_of_a_run_fails_and_the_record_says_why_it_took_longer(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(PLUGIN)
    finished = interpbench.run(
        dataset="planted", model="picky", method=["occlusion:window=8,stride=8", "random"], metric="deletion", steps=4,
        images=1, ceiling=4, weights="random", plugin=tmp_path / "picky.py", device="cpu", batch_size=2, plots=False,
        output=tmp_path / "run",
    )  # fmt: skip
    assert finished.failed.empty
    noted = {windows.method: windows.plain for windows in finished.info.windows if windows.plain}
    reason = "boxes cannot be computed: IndexError: give me two maps at most"
    assert noted == dict.fromkeys(
        ["(ceiling) deletion:steps=4", "occlusion:stride=8,window=8"], reason
    )
