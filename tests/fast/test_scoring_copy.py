"""The scoring copy of a model: the same logits, cheaper; and refused where they are not the same."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interpbench.core.types import Model
from interpbench.fast.scoring_copy import CopyReport, compiled, prepare
from tests.tiny_models import fuses_bfloat16, wrap

SIDE = 16


def images(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def normed(seed: int = 0) -> nn.Sequential:
    """A network with batch norms whose statistics are anything but neutral."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.2, 3)
    return network.eval().requires_grad_(False)


def model(network: nn.Module) -> Model:
    return wrap(network, SIDE, 5).eval()


def test_batch_norms_are_folded_and_the_logits_stay() -> None:
    network = nn.Sequential(
        normed()
    )  # one within another, as torch.fx makes modules of its own to hold them
    scorer = prepare(model(network), images())
    assert not any(
        isinstance(module, nn.BatchNorm2d) or module.training for module in scorer.modules()
    )
    assert scorer.report.batch_norms == "2 of 2 folded"
    x = images(7, seed=1)  # not those that it was proven on
    difference = (scorer(x) - network.double()(x.double())).abs().max()
    assert difference <= 1e-5 * network(x.double()).abs().max()
    assert scorer.report.greatest_difference <= 1e-5 * scorer.report.greatest_logit


def test_the_model_itself_is_left_as_it_is() -> None:
    network = normed()
    before = copy.deepcopy(network.state_dict())
    scorer = prepare(model(network), images(), "bf16")
    assert scorer.network is not network
    assert isinstance(network[1], nn.BatchNorm2d)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == before[name].dtype


def test_convolutions_of_many_channels_are_tiled_and_the_logits_stay() -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(
        nn.Conv2d(3, 256, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 5),
    )  # fmt: skip
    scorer = prepare(model(wide), images())
    assert scorer.report.tiled_convolutions == 2
    assert scorer.report.fused_convolutions == 2
    assert (
        sum(isinstance(module, nn.Conv2d) for module in scorer.traceable().network.modules()) == 3
    )
    assert not any(module.training for module in scorer.traceable().modules())
    x = images(3, seed=1)
    for candidate in (scorer, scorer.traceable()):
        difference = (candidate(x) - copy.deepcopy(wide).double()(x.double())).abs().max()
        assert difference <= 1e-5 * scorer.report.greatest_logit
    lowered = prepare(model(wide), images().to(memory_format=torch.channels_last), "bf16").report
    fused = 2 if fuses_bfloat16() else 0
    assert (lowered.tiled_convolutions, lowered.fused_convolutions) == (0, fused)


def test_a_fused_network_whose_logits_differ_is_not_taken() -> None:
    class Forgetful(nn.Module):
        """Its activation overwrites what its convolution is to read, if that is computed as late as the addition."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x, other = x * 1, x * 2
            made = self.conv(x)
            rectified = torch.relu_(x)
            return (made + other + rectified).mean((2, 3))

    network = Forgetful().eval().requires_grad_(False)
    scorer = prepare(model(network), images())
    assert scorer.report.fused_convolutions == 0
    assert scorer.report.convolutions.startswith("kept: its logits differ by up to")
    assert torch.equal(scorer(images(3, seed=1)), network(images(3, seed=1)))


class Doubled(nn.Module):
    """Its convolution's output is also read beside the norm, which folding would change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)
        nn.init.constant_(self.norm.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        return (self.norm(maps) + maps).mean((2, 3))


class Branching(nn.Module):
    """What torch.fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = normed()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > -1e9 else self.inner(-x)


@pytest.mark.parametrize("kind", [Doubled, Branching])
def test_norms_that_cannot_be_folded_are_kept(kind: type[nn.Module]) -> None:
    network = kind().eval().requires_grad_(False)
    scorer = prepare(model(network), images())
    torch.testing.assert_close(
        scorer(images(3, seed=2)), network(images(3, seed=2)), rtol=1e-5, atol=1e-6
    )
    expected = "kept: the network cannot be traced" if kind is Branching else "0 of 1 folded"
    assert scorer.report.batch_norms.startswith(expected)


def test_a_hook_counts_in_the_copy_too() -> None:
    network = nn.Sequential(normed(), nn.Identity())
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    scorer = prepare(model(network.eval()), images())
    x = images(3, seed=1)
    torch.testing.assert_close(scorer(x), network(x), rtol=1e-5, atol=1e-6)


class Uncopied(nn.Module):
    """A black box that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = normed()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Uncopied":
        raise RuntimeError("a session has no copy")


def test_a_network_that_cannot_be_copied_is_used_itself_and_the_record_says_so() -> None:
    network = Uncopied().eval()
    scorer = prepare(model(network), images())
    assert scorer.network is network
    assert scorer.report == CopyReport(copy="none: RuntimeError: a session has no copy")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_lower_precision_is_close_and_not_equal(precision: str, dtype: torch.dtype) -> None:
    exact, low = (prepare(model(normed()), images(), p) for p in ("fp32", precision))
    assert low.dtype == dtype
    difference = (low(images().to(dtype)).float() - exact(images())).abs().max()
    assert 0 < difference < 0.05 * exact(images()).abs().max()


class Overflowing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).repeat(1, 2)[:, :5] * 1e6


def test_logits_that_overflow_in_a_lower_precision_are_read_in_float32() -> None:
    scorer = prepare(model(Overflowing()), images(), "fp16")
    assert scorer.dtype == torch.float32
    assert scorer.report.precision == "fp32: its logits are not finite in fp16"


@pytest.mark.slow
def test_a_compiled_copy_gives_the_same_logits() -> None:
    scorer = prepare(model(normed()), images())
    expected = scorer(images())
    assert compiled(scorer, images()) == ""
    assert scorer.fixed_shape
    with torch.inference_mode():
        torch.testing.assert_close(scorer(images()), expected, rtol=0, atol=1e-5)


def test_a_compiled_copy_takes_batches_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda network, **options: nn.Sequential(network))
    scorer = prepare(model(normed()), images())
    expected = scorer(images())
    assert compiled(scorer, images()) == ""
    assert scorer.fixed_shape
    assert isinstance(scorer.network, nn.Sequential)
    with torch.inference_mode():
        torch.testing.assert_close(scorer(images()), expected, rtol=0, atol=1e-5)


def test_a_copy_compiled_to_other_logits_or_not_at_all_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = prepare(model(normed()), images())
    plain = scorer.network
    monkeypatch.setattr(torch, "compile", lambda network, **options: lambda x: network(x) * 1.01)
    assert "differ" in compiled(scorer, images())

    def failing(network: nn.Module, **options: object) -> Any:
        def compile_at_the_first_batch(x: Tensor) -> Tensor:
            raise RuntimeError("no C++ compiler\nand a long trace")

        return compile_at_the_first_batch

    monkeypatch.setattr(torch, "compile", failing)
    assert compiled(scorer, images()) == "it fails: RuntimeError: no C++ compiler"
    assert scorer.network is plain
    assert not scorer.fixed_shape
