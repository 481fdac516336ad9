"""LIME, KernelSHAP, Sobol indices, extremal perturbations, segments: against closed forms and slow loops.

That LIME and KernelSHAP equal captum is tested in `test_conformance`.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import qmc
from skimage.segmentation import slic
from sklearn.linear_model import Ridge
from torch import Tensor, nn

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
    maps_of,
    small_model,
)
from tests.tiny_models import Linear, convolutional, wrap

FEW = torch.tensor([1, 0, 4])


def smooth_images(size: int) -> Tensor:
    """Without the noise that makes SLIC merge segments."""
    coarse = torch.randn(BATCH, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    return F.interpolate(coarse, size=(size, size), mode="bicubic")


def segments(model: Model, x: Tensor, count: int) -> list[np.ndarray]:
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    pixels = (x * std + mean).clamp(0, 1).permute(0, 2, 3, 1).double().numpy()
    return [
        slic(image, n_segments=count, compactness=10, sigma=1, start_label=0) for image in pixels
    ]


def seeded(name: str, image: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(0, "method", name, f"image-{image}"))


def answer(
    model: Model, image: Tensor, labels: np.ndarray, target: int, *, probability: bool
) -> Callable:
    """coalition -> the model's output, one image at a time, with zeros where segments are left out."""

    def call(z: np.ndarray | Tensor) -> float:
        kept = torch.from_numpy(np.asarray(z).astype(bool)[labels])
        logits = model((image * kept)[None])
        return float((logits.softmax(1) if probability else logits)[0, target])

    return call


def drawn_coins(count: int, samples: int, generator: torch.Generator) -> np.ndarray:
    z = (torch.rand(samples, count, generator=generator) < 0.5).numpy().astype(float)
    z[0] = 1
    return z


def test_lime_equals_scikit_learns_ridge_on_the_same_coalitions() -> None:
    model, x = small_model("resnet18", 32), smooth_images(32)
    actual = map_of("lime", model, x, samples=60, segments=12)
    for i, labels in enumerate(segments(model, x, 12)):
        z = drawn_coins(labels.max() + 1, 60, seeded("lime", i))
        y = [answer(model, x[i], labels, int(TARGET[i]), probability=True)(row) for row in z]
        distance = [1 - row.sum() / (np.linalg.norm(row) * math.sqrt(len(row)) or 1) for row in z]
        fit = Ridge(alpha=1.0).fit(
            z, y, sample_weight=np.sqrt(np.exp(-np.square(distance) / 0.25**2))
        )
        assert difference(actual[i], torch.from_numpy(fit.coef_[labels]).float()) <= 1e-4


def shapley(value: Callable, count: int) -> np.ndarray:
    """By the definition: the mean marginal contribution over all coalitions of the others."""
    worth = {z: value(np.array(z)) for z in itertools.product((0, 1), repeat=count)}
    found = np.zeros(count)
    for z, without in worth.items():
        for i in (i for i in range(count) if not z[i]):
            others = sum(z)
            share = (
                math.factorial(others) * math.factorial(count - others - 1) / math.factorial(count)
            )
            found[i] += share * (worth[(*z[:i], 1, *z[i + 1 :])] - without)
    return found


def test_kernel_shap_with_all_coalitions_gives_the_shapley_values() -> None:
    model, x = small_model("vgg11_bn", 32), smooth_images(32)
    actual = map_of("kernel-shap", model, x, samples=600, segments=8)
    for i, labels in enumerate(segments(model, x, 8)):
        assert 2 < labels.max() + 1 <= 9
        expected = shapley(
            answer(model, x[i], labels, int(TARGET[i]), probability=False), labels.max() + 1
        )
        assert difference(actual[i], torch.from_numpy(expected[labels]).float()) <= 1e-3


@pytest.mark.parametrize("samples", [100, 201])
def test_kernel_shap_of_a_linear_model_is_each_segments_contribution(samples: int) -> None:
    weight, x = images(16, 5), smooth_images(16)
    model = wrap(Linear(weight), 16)
    actual = map_of("kernel-shap", model, x, FEW, samples=samples, segments=16)
    for i, labels in enumerate(segments(model, x, 16)):
        product = (weight[FEW[i]] * x[i]).sum(0).numpy()
        sums = np.bincount(labels.ravel(), product.ravel())
        assert difference(actual[i], torch.from_numpy(sums[labels]).float()) <= 1e-3


def test_kernel_shap_is_complete_and_unbiased_in_what_it_draws() -> None:
    model, x = small_model("resnet18", 32), smooth_images(32)
    few = map_of("kernel-shap", model, x, samples=80, segments=20)
    logits = (model(x) - model(torch.zeros_like(x)))[range(BATCH), TARGET]
    for i, labels in enumerate(segments(model, x, 20)):
        first = [int(np.flatnonzero(labels.ravel() == k)[0]) for k in range(labels.max() + 1)]
        assert float(few[i].flatten()[first].sum()) == pytest.approx(float(logits[i]), abs=1e-5)


def test_one_segment_has_the_whole_difference() -> None:
    model, x = small_model("resnet18", 32), torch.zeros(1, 3, 32, 32) + 1
    found = maps_of(
        REGISTRY.configure("method", "kernel-shap", {"segments": 2}), model, x, TARGET[:1]
    )
    assert bool(found.saliency.isfinite().all())


def test_random_segments_are_constant_on_superpixels_alone() -> None:
    model, x = small_model("resnet18", 32), smooth_images(32)
    actual = map_of("random-segments", model, x, segments=12)
    for i, labels in enumerate(segments(model, x, 12)):
        values = torch.rand(labels.max() + 1, generator=seeded("random-segments", i))
        assert torch.equal(actual[i], values[torch.from_numpy(labels)])


@pytest.mark.parametrize("name", ["lime", "kernel-shap", "sobol-attribution"])
def test_black_boxes_pack_images_and_perturbations(name: str) -> None:
    model, x = small_model("resnet18", 32, batch_size=16), smooth_images(32)
    sizes: list[int] = []
    handle = model.network.register_forward_hook(lambda m, i, o: sizes.append(len(o)))
    values = (
        {"cells": 2, "designs": 32}
        if name == "sobol-attribution"
        else {"samples": 40, "segments": 8}
    )
    map_of(name, model, x, **values)
    handle.remove()
    full = [size for size in sizes if size in (15, 16)]
    assert max(sizes) <= 16
    assert len(full) >= len(sizes) - 1


def test_sobol_attribution_equals_a_loop_over_designs() -> None:
    model, x = small_model("resnet18", 32), images(32)
    actual = REGISTRY.configure("method", "sobol-attribution", {"cells": 2, "designs": 8})(
        model, x, TARGET
    )
    sequence = qmc.Sobol(8, scramble=False).random(8)
    for i in range(BATCH):
        value = grid_answer(model, x[i], int(TARGET[i]))
        plain = np.array([value(row[:4]) for row in sequence])
        total = []
        for cell in range(4):
            changed = [value(np.where(np.arange(4) == cell, row[4:], row[:4])) for row in sequence]
            total.append(np.sum((plain - changed) ** 2) / (2 * 8 * plain.var()))
        grid = torch.tensor(total).view(1, 1, 2, 2)
        expected = F.interpolate(grid, size=(32, 32), mode="bilinear", align_corners=False)[0, 0]
        assert difference(actual[i], expected.float()) <= 1e-3


def grid_answer(model: Model, image: Tensor, target: int) -> Callable:
    def call(cells: np.ndarray) -> float:
        mask = np.kron(cells.reshape(2, 2), np.ones((16, 16)))
        return float(model((image * torch.from_numpy(mask).float())[None])[0, target])

    return call


def test_sobol_indices_of_an_additive_model_tend_to_the_cells_variances() -> None:
    weight = torch.zeros(2, 3, 8, 8)
    weight[1, 0, 0, 0], weight[1, 0, 7, 7] = 1.0, 2.0  # variances 1/12 and 4/12 of uniform masks
    model, x = wrap(Linear(weight), 8, 2), torch.ones(1, 3, 8, 8)
    method = REGISTRY.configure("method", "sobol-attribution", {"cells": 2, "designs": 4096})
    found = method(model, x, torch.tensor([1]))[0]
    expected = [[0.2, 0.0], [0.0, 0.8]]
    np.testing.assert_allclose(found[::7, ::7], expected, atol=0.01)


def cells_of(
    steps: int, image: Tensor, model: Model, target: int, area: float, empty: Tensor
) -> Tensor:
    """The mask of one image and area, by loops over points and cells, at the image's size of 8 x 8."""
    values = torch.linspace(0.5, 0.51, 4, dtype=image.dtype).requires_grad_()
    optimiser = torch.optim.Adam([values], lr=0.2)
    wanted = torch.tensor(
        [0.0] * (64 - round(64 * area)) + [1.0] * round(64 * area), dtype=image.dtype
    )
    for step in range(steps):
        mask = smooth(values)
        value = model((mask * image + (1 - mask) * empty)[None])[0, target]
        loss = (
            100 * ((step + 1) / steps) ** 3 * ((mask.flatten().sort().values - wanted) ** 2).mean()
            - value
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.data.clamp_(0, 1)
    return smooth(values).detach()


def smooth(values: Tensor) -> Tensor:
    rows = []
    for row, column in itertools.product(range(8), repeat=2):
        added = []
        for cell, value in enumerate(values):
            down, right = (
                (row + 0.5) / 4 - (cell // 2 + 0.5),
                (column + 0.5) / 4 - (cell % 2 + 0.5),
            )
            added.append(value * math.exp(-2 * max(0.0, math.hypot(down, right) - 0.5) ** 2))
        stacked = torch.stack(added)
        weights = torch.exp(20 * stacked)
        rows.append((weights * stacked).sum() / weights.sum())
    return torch.stack(rows).view(8, 8)


def test_extremal_perturbation_equals_a_loop_over_areas_points_and_cells() -> None:
    model, x = wrap(convolutional()).double(), images(8).double()
    method = REGISTRY.configure(
        "method", "extremal-perturbation", {"cells": 2, "steps": 4, "fill": "white"}
    )
    actual = method(model, x, FEW)
    mean, std = (
        torch.tensor(v, dtype=x.dtype)[:, None, None] for v in (model.card.mean, model.card.std)
    )
    empty = ((1 - mean) / std).expand_as(x[0])
    for i in range(2):
        masks = [
            cells_of(4, x[i], model, int(FEW[i]), area, empty) for area in (0.05, 0.1, 0.2, 0.4)
        ]
        assert difference(actual[i], torch.stack(masks).sum(0)) <= 1e-5


def test_extremal_perturbation_finds_the_only_pixels_that_count() -> None:
    weight = torch.zeros(2, 3, 32, 32)
    weight[1, :, 8:16, 16:24] = 0.05
    model, x = wrap(Linear(weight), 32, 2), torch.ones(1, 3, 32, 32)
    found = map_of("extremal-perturbation", model, x, torch.tensor([1]), fill="zero")[0]
    row, column = divmod(int(found.argmax()), 32)
    assert 6 <= row < 18
    assert 14 <= column < 26
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[4:20, 12:28] = False
    assert float(found[9:15, 17:23].mean()) > 2 * float(found[outside].mean())


def test_input_magnitude_is_the_norm_of_the_normalised_image() -> None:
    x = images(8)
    expected = torch.tensor(
        [
            [[math.hypot(*x[i, :, r, c].tolist()) for c in range(8)] for r in range(8)]
            for i in range(3)
        ]
    )
    close(map_of("input-magnitude", wrap(nn.Identity()), x), expected)
