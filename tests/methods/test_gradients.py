"""Methods that sum gradients: against loops over the papers' equations, and completeness.

That they equal captum and Google's saliency is tested in `test_conformance`.
"""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.seeding import derive
from interpbench.core.types import Model
from tests.methods.common import (
    BATCH,
    REGISTRY,
    TARGET,
    close,
    difference,
    images,
    map_of,
    small_model,
)
from tests.tiny_models import Linear, convolutional, wrap

FEW = torch.tensor([1, 0, 4])


def generators(method: str, count: int = BATCH) -> list[torch.Generator]:
    """As the runner makes them for images `image-0`, `image-1`, ..."""
    return [
        torch.Generator().manual_seed(derive(0, "method", method, f"image-{i}"))
        for i in range(count)
    ]


def test_smoothgrad_without_noise_is_the_gradient_and_has_no_variance() -> None:
    model, x = small_model("resnet18", 32), images(32)
    close(map_of("smoothgrad", model, x, noise=0, samples=2), map_of("saliency", model, x))
    assert float(map_of("vargrad", model, x, noise=0, samples=2).max()) < 1e-9
    with pytest.raises(ValueError, match="samples=1 has no variance"):
        map_of("vargrad", model, x, samples=1)


def test_integrated_gradients_from_a_blurred_image_equal_captum() -> None:
    model, x = small_model("vgg11_bn", 32), images(32)
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = torch.as_tensor(gaussian_filter(impulse, 5), dtype=torch.float32).expand(3, 1, 11, 11)
    start = F.conv2d(x, kernel, padding=5, groups=3)
    expected = (
        IntegratedGradients(model)
        .attribute(x.clone(), baselines=start, target=TARGET, n_steps=20)
        .sum(1)
    )
    assert (
        difference(map_of("integrated-gradients", model, x, reference="blur", steps=20), expected)
        <= 1e-5
    )


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
    return torch.from_numpy(
        gaussian_filter(x.double().numpy(), (0, 0, 5, 5), mode="reflect")
    ).float()


def test_blur_integrated_gradients_are_complete() -> None:
    model, x = wrap(convolutional()), images(8)
    actual = map_of("blur-integrated-gradients", model, x, FEW, steps=2000, sigma=3)
    blurred = torch.from_numpy(
        gaussian_filter(x.double().numpy(), (0, 0, 3, 3), mode="constant")
    ).float()
    expected = (model(x) - model(blurred))[range(3), FEW]
    torch.testing.assert_close(actual.sum((1, 2)), expected, rtol=2e-2, atol=2e-3)


def test_expected_gradients_of_a_linear_model_are_the_weights_times_the_distance_to_the_mean_reference() -> (
    None
):
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


@pytest.mark.parametrize(
    "architecture", ["resnet18", "vgg11_bn", "vgg11", "alexnet", "mobilenet_v2"]
)
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

    handles = [
        m.register_forward_hook(keep)
        for m in model.modules()
        if isinstance(m, nn.Conv2d | nn.BatchNorm2d)
    ]
    leaf = x.clone().requires_grad_()
    model(leaf)[range(BATCH), TARGET].sum().backward()
    for handle in handles:
        handle.remove()
    expected = []
    for i in range(BATCH):
        total = psi(leaf.grad[i] * x[i], 32)
        for module, output in outputs:
            if isinstance(module, nn.BatchNorm2d):
                bias = (
                    module.bias
                    - module.running_mean * module.weight / (module.running_var + module.eps) ** 0.5
                )
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
        F.interpolate(channel[None, None], size=(size, size), mode="bilinear", align_corners=True)[
            0, 0
        ]
        for channel in term
    )


def test_the_full_gradient_refuses_what_is_not_piecewise_linear() -> None:
    with pytest.raises(MethodError, match="no rule for the operation 'mul'"):
        map_of("full-gradient", small_model("mobilenet_v3_small", 32), images(32))
    with pytest.raises(MethodError, match="no rule for the operation 'layer_norm'"):
        map_of("full-gradient", small_model("vit_small", 32), images(32))
