"""Methods that sum gradients: against captum, Google's saliency, loops over the papers' equations, and completeness."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import saliency
import torch
import torch.nn.functional as F
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from interpbench.contracts import Model
from interpbench.errors import MethodError
from interpbench.seeding import derive
from tests.methods.common import BATCH, REGISTRY, TARGET, close, difference, images, map_of, small_model
from tests.tiny_models import Linear, convolutional, wrap

MODELS = [("resnet18", 32), ("vgg11_bn", 32), ("alexnet", 64), ("mobilenet_v2", 32)]
FEW = torch.tensor([1, 0, 4])


def generators(method: str, count: int = BATCH) -> list[torch.Generator]:
    """As the runner makes them for images `image-0`, `image-1`, ..."""
    return [torch.Generator().manual_seed(derive(0, "method", method, f"image-{i}")) for i in range(count)]


def noisy(method: str, x: Tensor, samples: int, noise: float) -> Tensor:
    """The noisy copies, [B,S,C,H,W]."""
    copies = []
    for image, generator in zip(x, generators(method), strict=True):
        deviation = noise * (image.max() - image.min())
        copies.append([image + deviation * torch.randn(image.shape, generator=generator) for _ in range(samples)])
    return torch.stack([torch.stack(row) for row in copies])


REDUCED: dict[str, Callable[[Tensor], Tensor]] = {  # gradients [S,C,H,W] -> [H,W]
    "smoothgrad": lambda g: g.mean(0).abs().amax(0),
    "smoothgrad-squared": lambda g: g.square().mean(0).amax(0),
    "vargrad": lambda g: g.double().var(0, correction=0).amax(0),
}


@pytest.mark.parametrize(("architecture", "size"), MODELS)
@pytest.mark.parametrize("name", REDUCED)
def test_smoothgrads_equal_captums_gradient_of_each_noisy_copy(name: str, architecture: str, size: int) -> None:
    model, x = small_model(architecture, size), images(size)
    actual = map_of(name, model, x, samples=5, noise=0.1)
    for i, copies in enumerate(noisy(name, x, 5, 0.1)):
        target = TARGET[i].expand(len(copies))
        gradients = Saliency(model).attribute(copies.requires_grad_(), target=target, abs=False)
        assert difference(actual[i], REDUCED[name](gradients)) <= 2e-4  # of a variance; ReLUs flip by rounding


KINDS = {"smoothgrad": "smoothgrad", "smoothgrad-squared": "smoothgrad_sq", "vargrad": "vargrad"}


@pytest.mark.parametrize("name", KINDS)
def test_smoothgrads_equal_captums_noise_tunnel_for_the_same_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small_model("vgg11_bn", 32), images(32, 1)
    drawn = (noisy(name, x.repeat(BATCH, 1, 1, 1), 6, 1.0)[0] - x) / (x.max() - x.min())
    deviation = 0.1 * float(x.max() - x.min())
    monkeypatch.setattr(torch, "normal", lambda mean, std, **_: drawn * std)
    expected = NoiseTunnel(Saliency(model)).attribute(
        x, nt_type=KINDS[name], nt_samples=6, stdevs=deviation, target=TARGET[:1], abs=False
    )
    monkeypatch.undo()
    reduced = expected.abs() if name == "smoothgrad" else expected
    assert difference(map_of(name, model, x, TARGET[:1], samples=6, noise=0.1), reduced.amax(1)) <= 1e-4


def test_smoothgrad_without_noise_is_the_gradient_and_has_no_variance() -> None:
    model, x = small_model("resnet18", 32), images(32)
    close(map_of("smoothgrad", model, x, noise=0, samples=2), map_of("saliency", model, x))
    assert float(map_of("vargrad", model, x, noise=0, samples=2).max()) < 1e-9
    with pytest.raises(ValueError, match="samples=1 has no variance"):
        map_of("vargrad", model, x, samples=1)


@pytest.mark.parametrize(("architecture", "size"), MODELS)
def test_gradient_x_input_equals_captum(architecture: str, size: int) -> None:
    model, x = small_model(architecture, size), images(size)
    expected = InputXGradient(model).attribute(x.clone().requires_grad_(), target=TARGET).sum(1)
    close(map_of("gradient-x-input", model, x), expected)


def baselines(x: Tensor, model: Model) -> dict[str, Tensor]:
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    drawn = torch.stack([torch.rand(x.shape[1:], generator=g) for g in generators("integrated-gradients")])
    kernel = torch.as_tensor(_rise_kernel(), dtype=torch.float32).expand(3, 1, 11, 11)
    return {"uniform": (drawn - mean) / std, "blur": F.conv2d(x, kernel, padding=5, groups=3)}


def _rise_kernel() -> np.ndarray:
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    return gaussian_filter(impulse, 5)


@pytest.mark.parametrize("reference", ["uniform", "blur"])
@pytest.mark.parametrize(("architecture", "size"), MODELS)
def test_integrated_gradients_from_other_baselines_equal_captum(reference: str, architecture: str, size: int) -> None:
    model, x = small_model(architecture, size), images(size)
    start = baselines(x, model)[reference]
    expected = IntegratedGradients(model).attribute(x.clone(), baselines=start, target=TARGET, n_steps=20).sum(1)
    assert difference(map_of("integrated-gradients", model, x, reference=reference, steps=20), expected) <= 1e-5


def answers(model: Model) -> Callable[..., dict[str, np.ndarray]]:
    """The model as Google's saliency calls it: images [N,H,W,C] of which the gradient is asked."""

    def call(values: np.ndarray, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, np.ndarray]:
        x = torch.from_numpy(np.asarray(values)).permute(0, 3, 1, 2)
        x = x.to(next(model.parameters()).dtype).requires_grad_()
        (gradient,) = torch.autograd.grad(model(x)[:, call_model_args].sum(), x)
        return {"INPUT_OUTPUT_GRADIENTS": gradient.permute(0, 2, 3, 1).double().numpy()}

    return call


@pytest.mark.parametrize(("architecture", "size"), MODELS)
def test_blur_integrated_gradients_equal_googles_saliency(architecture: str, size: int) -> None:
    model, x = small_model(architecture, size), images(size)
    model, x = model.double(), x.double()  # in single precision ReLUs flip by rounding
    actual = map_of("blur-integrated-gradients", model, x, steps=12, sigma=6)
    for image, target, ours in zip(x, TARGET.tolist(), actual, strict=True):
        expected = saliency.core.BlurIG().GetMask(
            image.permute(1, 2, 0).double().numpy(), answers(model), target, max_sigma=6, steps=12, grad_step=1e-5
        )
        assert difference(ours, torch.from_numpy(expected.sum(2))) <= 1e-4


def quantile_as_before(values: np.ndarray, q: float, interpolation: str) -> np.floating:
    """numpy's quantile took its `method` under this name when Google's saliency was written."""
    return np.percentile(values, 100 * q, method=interpolation)


@pytest.mark.parametrize(("architecture", "size"), MODELS)
def test_guided_integrated_gradients_equal_googles_saliency(
    architecture: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = small_model(architecture, size), images(size)
    actual = map_of("guided-integrated-gradients", model, x, steps=6, fraction=0.3, distance=0.1)
    monkeypatch.setattr(np, "quantile", quantile_as_before)
    for image, target, ours in zip(x, TARGET.tolist(), actual, strict=True):
        expected = saliency.core.GuidedIG().GetMask(
            image.permute(1, 2, 0).double().numpy(), answers(model), target, x_steps=6, fraction=0.3, max_dist=0.1
        )
        assert difference(ours, torch.from_numpy(expected.sum(2)).float()) <= 1e-4


def test_guided_integrated_gradients_on_the_straight_line_are_a_riemann_sum() -> None:
    model, x = wrap(convolutional()), images(8)
    actual = map_of("guided-integrated-gradients", model, x, FEW, steps=10, distance=0.0)
    expected = torch.zeros_like(x)
    for step in range(10):
        point = (x * step / 10).requires_grad_()
        (gradient,) = torch.autograd.grad(model(point)[range(3), FEW].sum(), point)
        expected += x / 10 * gradient
    assert difference(actual, expected.sum(1)) <= 1e-5


def test_guided_integrated_gradients_of_an_image_that_is_the_baseline_are_zero() -> None:
    model, x = wrap(convolutional()), images(8)
    x[1] = 0
    actual = map_of("guided-integrated-gradients", model, x, FEW, steps=5)
    assert float(actual[1].abs().max()) == 0
    assert float(actual[0].abs().max()) > 0


@pytest.mark.parametrize("reference", ["zero", "gaussian-blur"])
def test_guided_integrated_gradients_are_complete(reference: str) -> None:
    model, x = wrap(convolutional()), images(8)
    start = torch.zeros_like(x) if reference == "zero" else gaussian_blur(x)
    actual = map_of("guided-integrated-gradients", model, x, FEW, steps=400, reference=reference)
    expected = (model(x) - model(start))[range(3), FEW]
    torch.testing.assert_close(actual.sum((1, 2)), expected, rtol=2e-2, atol=2e-3)


def gaussian_blur(x: Tensor) -> Tensor:
    return torch.from_numpy(gaussian_filter(x.double().numpy(), (0, 0, 5, 5), mode="reflect")).float()


def test_blur_integrated_gradients_are_complete() -> None:
    model, x = wrap(convolutional()), images(8)
    actual = map_of("blur-integrated-gradients", model, x, FEW, steps=2000, sigma=3)
    blurred = torch.from_numpy(gaussian_filter(x.double().numpy(), (0, 0, 3, 3), mode="constant")).float()
    expected = (model(x) - model(blurred))[range(3), FEW]
    torch.testing.assert_close(actual.sum((1, 2)), expected, rtol=2e-2, atol=2e-3)


def test_expected_gradients_equal_a_loop_and_captum_for_the_same_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, name = small_model("resnet18", 32), images(32), "expected-gradients"
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    actual = map_of(name, model, x, samples=4)
    for i, generator in enumerate(generators(name)):
        references, shares, expected = [], [], torch.zeros_like(x[i])
        for _ in range(4):
            references.append((torch.rand(x.shape[1:], generator=generator) - mean) / std)
            shares.append(torch.rand(1, generator=generator))
            point = (references[-1] + shares[-1] * (x[i] - references[-1]))[None].requires_grad_()
            (gradient,) = torch.autograd.grad(model(point)[0, TARGET[i]], point)
            expected += (x[i] - references[-1]) * gradient[0] / 4
        assert difference(actual[i], expected.sum(0)) <= 1e-5
        monkeypatch.setattr(np.random, "choice", lambda n, size: np.arange(size))
        drawn = torch.cat(shares).double().numpy()
        monkeypatch.setattr(np.random, "uniform", lambda low, high, size, drawn=drawn: drawn)
        captum = GradientShap(model).attribute(
            x[i : i + 1], baselines=torch.stack(references), n_samples=4, stdevs=0.0, target=TARGET[i : i + 1]
        )
        monkeypatch.undo()
        assert difference(actual[i], captum[0].sum(0)) <= 1e-5


def test_expected_gradients_of_a_linear_model_are_the_weights_times_the_distance_to_the_mean_reference() -> None:
    weight, x = images(8, 5), images(8)
    model = wrap(Linear(weight))
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    drawn = []
    for generator in generators("expected-gradients"):
        rows = []
        for _ in range(20):
            rows.append((torch.rand(x.shape[1:], generator=generator) - mean) / std)
            torch.rand(1, generator=generator)
        drawn.append(torch.stack(rows).mean(0))
    expected = (weight[FEW] * (x - torch.stack(drawn))).sum(1)
    close(map_of("expected-gradients", model, x, FEW, samples=20), expected)


def terms(model: Model, x: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What the plugin sums: found in its module, since the map itself keeps no signs."""
    return REGISTRY.get("method", "full-gradient").call.__globals__["_terms"](model, x, target)


@pytest.mark.parametrize("architecture", ["resnet18", "vgg11_bn", "vgg11", "alexnet", "mobilenet_v2"])
def test_the_full_gradient_sums_to_the_logit(architecture: str) -> None:
    model, x = small_model(architecture, 32), images(32)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(3))
    image, layers = terms(model, x, TARGET)
    total = image.flatten(1).sum(1) + sum(layer.flatten(1).sum(1) for layer in layers)
    torch.testing.assert_close(total, model(x)[range(BATCH), TARGET], rtol=1e-4, atol=1e-5)
    assert len(layers) > 5


def test_the_full_gradient_equals_a_loop_with_hooks() -> None:
    model, x = small_model("vgg11_bn", 32), images(32)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(3))
        if isinstance(norm, nn.ReLU):
            norm.inplace = False
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append((module, output))

    handles = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    leaf = x.clone().requires_grad_()
    model(leaf)[range(BATCH), TARGET].sum().backward()
    for handle in handles:
        handle.remove()
    expected = []
    for i in range(BATCH):
        total = psi(leaf.grad[i] * x[i], 32)
        for module, output in outputs:
            if isinstance(module, nn.BatchNorm2d):
                bias = module.bias - module.running_mean * module.weight / (module.running_var + module.eps) ** 0.5
            else:
                bias = module.bias
            total = total + psi(output.grad[i] * bias[:, None, None], 32)
        expected.append(total)
    assert difference(map_of("full-gradient", model, x), torch.stack(expected)) <= 1e-5


def psi(term: Tensor, size: int) -> Tensor:
    """Absolute value, stretched to 0..1 over all channels, each channel enlarged, and their sum."""
    term = term.abs()
    term = (term - term.min()) / (term.max() - term.min())
    return sum(
        F.interpolate(channel[None, None], size=(size, size), mode="bilinear", align_corners=True)[0, 0]
        for channel in term
    )


def test_the_full_gradient_refuses_what_is_not_piecewise_linear() -> None:
    with pytest.raises(MethodError, match="no rule for the operation 'mul'"):
        map_of("full-gradient", small_model("mobilenet_v3_small", 32), images(32))
    with pytest.raises(MethodError, match="no rule for the operation 'layer_norm'"):
        map_of("full-gradient", small_model("vit_small", 32), images(32))
