"""What a removed pixel becomes, against scipy and by definition."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from interpbench import Baseline, baseline
from interpbench.registry.discovery import discover
from tests.paths import ROOT
from tests.reference import rise
from tests.tiny_models import card

REGISTRY = discover()
CARD = card(24, 5)
X = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", get_args(Baseline))
def test_has_the_images_shape_and_type_and_leaves_it_alone(name: Baseline) -> None:
    before = X.clone()
    out = baseline(name, X, CARD)
    assert (out.shape, out.dtype) == (X.shape, X.dtype)
    assert torch.equal(X, before)


def test_zero_is_the_colour_that_the_model_is_normalised_by() -> None:
    assert not baseline("zero", X, CARD).any()
    grey, unit = (
        replace(CARD, preparation=replace(CARD.preparation, mean=(mean,) * 3, std=(std,) * 3))
        for mean, std in ((0.5, 0.5), (0.0, 1.0))
    )
    halves = (baseline("white", X, grey) + baseline("black", X, grey)) / 2
    assert torch.equal(baseline("zero", X, grey), halves)
    assert torch.equal(baseline("zero", X, unit), baseline("black", X, unit))


def test_no_text_calls_it_the_mean_colour_whatever_the_card() -> None:
    plugins = [plugin for kind in ("method", "metric") for plugin in REGISTRY.plugins(kind)]
    texts = {plugin.name: plugin.doc for plugin in plugins}
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts |= {str(page): page.read_text(encoding="utf-8") for page in pages}
    assert [name for name, text in texts.items() if "mean colour" in text] == []


@pytest.mark.parametrize(("name", "pixel"), [("black", 0.0), ("white", 1.0)])
def test_black_and_white_are_pixel_values(name: Baseline, pixel: float) -> None:
    colours = baseline(name, X, CARD)[0, :, 0, 0] * torch.tensor(CARD.std) + torch.tensor(CARD.mean)
    torch.testing.assert_close(colours, torch.full((3,), pixel), rtol=0, atol=1e-6)


def test_mean_is_each_images_own() -> None:
    torch.testing.assert_close(baseline("mean", X, CARD)[1, 2, 5, 7], X[1, 2].mean())


def test_blur_is_the_rise_references_nearly_a_box() -> None:
    expected = np.stack([rise.blur(image) for image in X.double().numpy()])
    np.testing.assert_allclose(baseline("blur", X, CARD).numpy(), expected, atol=1e-6)
    impulse = torch.zeros(1, 3, 24, 24)
    impulse[:, :, 12, 12] = 1
    kernel = baseline("blur", impulse, CARD)[0, 0, 7:18, 7:18]
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert float(kernel[0, 0] / kernel[5, 5]) == pytest.approx(0.876, abs=5e-4)


@pytest.mark.parametrize("side", [7, 24, 64])
def test_gaussian_blur_is_scipys(side: int) -> None:
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    expected = gaussian_filter(x.double().numpy(), sigma=(0, 0, 5, 5), mode="reflect", truncate=4.0)
    np.testing.assert_allclose(baseline("gaussian-blur", x, CARD).numpy(), expected, atol=1e-6)
