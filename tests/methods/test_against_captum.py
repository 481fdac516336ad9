"""Bundled methods: equal to captum called directly, to slow twins where captum has none, and to closed forms."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, IntegratedGradients, LayerGradCam, Occlusion, Saliency
from scipy.ndimage import sobel as scipy_sobel
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.types import Model
from tests.methods.common import (
    BATCH,
    REGISTRY,
    TARGET,
    close,
    images,
    map_of,
    maps_of,
    small_model,
)
from tests.reference import rise
from tests.slow_cases import with_slow
from tests.tiny_models import Constant, Linear, convolutional, wrap

# On other architectures of 32 pixels the conformance test compares them, through the table of references.
SMALL_MODELS = [("mobilenet_v3_small", 32), ("vgg16_bn", 32), ("resnet18", 64), ("alexnet", 64)]


def captum_saliency(model: Model, x: Tensor) -> Tensor:
    return Saliency(model).attribute(x.clone().requires_grad_(), target=TARGET).amax(1)


def captum_guided(model: Model, x: Tensor) -> Tensor:
    return GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=TARGET).abs().amax(1)


def captum_integrated(model: Model, x: Tensor) -> Tensor:
    return IntegratedGradients(model).attribute(x.clone(), target=TARGET, n_steps=50).sum(1)


def captum_gradcam(model: Model, x: Tensor) -> Tensor:
    cam = LayerGradCam(model, model.target_layer).attribute(
        x.clone(), target=TARGET, relu_attributions=True
    )
    return F.interpolate(cam, size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def captum_occlusion(model: Model, x: Tensor) -> Tensor:
    side = x.shape[3] // 8
    return Occlusion(model).attribute(
        x.clone(),
        sliding_window_shapes=(3, side, side),
        strides=(3, side // 2, side // 2),
        target=TARGET,
    )[:, 0]


CAPTUM = {
    "saliency": captum_saliency,
    "guided-backprop": captum_guided,
    "integrated-gradients": captum_integrated,
    "gradcam": captum_gradcam,
    "occlusion": captum_occlusion,
}


@pytest.mark.parametrize(("architecture", "size"), SMALL_MODELS)
@pytest.mark.parametrize("name", with_slow(CAPTUM, ("occlusion", "integrated-gradients")))
def test_equals_captum_called_directly_on_every_model_with_mixed_targets(
    name: str, architecture: str, size: int
) -> None:
    model, x = small_model(architecture, size), images(size)
    if name != "occlusion":  # by rounding alone a ReLU may open, and the gradients be others
        model, x = model.double(), x.double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = CAPTUM[name](model, x).float()
    found = map_of(name, model, x)
    if name == "occlusion":  # differences between logits, each of which is rounded
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(model(x).abs().max()))
    else:
        close(found, expected)


@pytest.mark.parametrize(("architecture", "size"), [("resnet18", 224), ("alexnet", 224)])
@pytest.mark.parametrize("name", ["saliency", "guided-backprop", "gradcam"])
def test_equals_captum_on_torchvisions_own_models(name: str, architecture: str, size: int) -> None:
    choice = REGISTRY.configure("model", architecture)
    torch.manual_seed(0)
    model = wrap(choice(1000, size), size, 1000, target_layer=choice.plugin.target_layer)
    x = images(size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = CAPTUM[name](model, x)
    close(map_of(name, model, x), expected)


class Functional(nn.Module):
    """The same function as `convolutional()`, its activations called as functions, one of each spelling."""

    def __init__(self, spelling: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.twin = convolutional()
        self.spelling = spelling

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.twin:
            x = self.spelling(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "F.relu inplace": lambda x: F.relu(x, inplace=True),
    "F.relu positional inplace": lambda x: F.relu(x, True),
    "torch.relu": torch.relu,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "torch.relu_": torch.relu_,
    "clamp after": lambda x: F.relu(input=x),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_guided_backprop_is_right_on_functional_relus(spelling: str) -> None:
    x = images(8)
    target = torch.tensor([1, 0, 4])
    expected = map_of("guided-backprop", wrap(convolutional()), x, target)
    functional = wrap(Functional(SPELLINGS[spelling]))
    close(map_of("guided-backprop", functional, x, target), expected)
    plain = map_of("saliency", functional, x, target)
    assert not torch.allclose(plain, expected)  # what captum's guided backprop gives here


def test_gradcam_costs_one_forward_and_no_backward_below_the_layer() -> None:
    model = small_model("resnet18", 32)
    forwards, backwards = [], []
    handles = [
        model.network.register_forward_hook(lambda *a: forwards.append(1)),
        model.network.layer3.register_full_backward_hook(lambda *a: backwards.append("layer3")),
        model.network.fc.register_full_backward_hook(lambda *a: backwards.append("fc")),
    ]
    map_of("gradcam", model, images(32))
    for handle in handles:
        handle.remove()
    assert forwards == [1]
    assert backwards == ["fc"]


def test_gradcam_takes_another_layer_and_names_the_layers_if_there_is_none() -> None:
    model = small_model("resnet18", 32)
    assert not torch.equal(
        map_of("gradcam", model, images(32), layer="layer2"), map_of("gradcam", model, images(32))
    )
    with pytest.raises(Exception, match=r"no layer 'layer9'.*layer4"):
        map_of("gradcam", model, images(32), layer="layer9")


@pytest.mark.parametrize("size", [32, 64])
def test_gradcam_of_a_transformer_equals_loops_over_its_tokens(size: int) -> None:
    model, x = small_model("vit_small", size), images(size)
    network, side = model.network, 8
    actual = REGISTRY.configure("method", "gradcam")(model, x, TARGET)
    blocks = list(network.encoder.layers)
    tokens = torch.cat([network.class_token.expand(BATCH, -1, -1), network._process_input(x)], 1)
    tokens = tokens + network.encoder.pos_embedding
    for block in blocks[:-1]:
        tokens = block(tokens)
    normed = blocks[-1].ln_1(tokens).detach().requires_grad_()
    attended = blocks[-1].self_attention(normed, normed, normed)[0] + tokens
    last = attended + blocks[-1].mlp(blocks[-1].ln_2(attended))
    logits = network.heads(network.encoder.ln(last)[:, 0])
    (gradient,) = torch.autograd.grad(logits[range(BATCH), TARGET].sum(), normed)
    expected = torch.zeros(BATCH, side, side)
    for i in range(BATCH):
        weight = gradient[i, 1:].mean(0)
        for row in range(side):
            for column in range(side):
                expected[i, row, column] = torch.relu(weight @ normed[i, 1 + side * row + column])
    close(actual, expected)


def test_gradcam_refuses_a_layer_that_gives_no_maps() -> None:
    model = small_model("resnet18", 32)
    with pytest.raises(
        MethodError, match=r"the layer gives a tensor \[3, 10\]; expected maps \[B,C,h,w\]"
    ):
        map_of("gradcam", model, images(32), layer="fc")


def test_occlusion_of_a_linear_model_is_the_mean_contribution_of_the_windows_over_a_position() -> (
    None
):
    weight, x, target = images(8, 5), images(8), torch.tensor([1, 0, 4])
    actual = map_of("occlusion", wrap(Linear(weight)), x, target, window=3, stride=1)
    contribution = (x * weight[target]).sum(1)
    windows = F.conv2d(contribution[:, None], torch.ones(1, 1, 3, 3))
    total = F.conv_transpose2d(windows, torch.ones(1, 1, 3, 3))
    count = F.conv_transpose2d(torch.ones_like(windows), torch.ones(1, 1, 3, 3))
    torch.testing.assert_close(actual, (total / count)[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"), [({"window": 9}, "does not fit"), ({"window": 2, "stride": 3}, "gaps")]
)
def test_occlusion_refuses_windows_that_do_not_cover_the_image(
    values: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        map_of("occlusion", wrap(convolutional()), images(8), **values)


def test_integrated_gradients_are_complete() -> None:
    model, x, target = wrap(convolutional()), images(8), torch.tensor([1, 0, 4])
    attribution = map_of("integrated-gradients", model, x, target, steps=300)
    index = torch.arange(3)
    difference = model(x)[index, target] - model(torch.zeros_like(x))[index, target]
    torch.testing.assert_close(attribution.sum((1, 2)), difference, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("size", "cells"), [((8, 8), 4), ((30, 21), 7), ((12, 12), 1)])
def test_rise_equals_the_references_loop_over_masks(size: tuple[int, int], cells: int) -> None:
    """With the masks that scikit-image enlarges for it, border and all."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model, target = wrap(network.eval()), torch.tensor([1, 0, 4])
    x = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))
    actual = map_of("rise", model, x, target, masks=50, cells=cells, keep=0.5, seed=3)
    generator = torch.Generator().manual_seed(3)
    grids = (torch.rand(50, cells, cells, generator=generator) < 0.5).float().numpy()
    tops, lefts = (
        torch.randint(-(-side // cells), (50,), generator=generator).tolist() for side in size
    )
    expected = torch.zeros(3, *size)
    for grid, top, left in zip(grids, tops, lefts, strict=True):
        mask = torch.from_numpy(rise.mask(grid, top, left, *size)).float()
        with torch.no_grad():
            probability = model(x * mask).softmax(1).gather(1, target[:, None])
        expected += probability[:, :, None] * mask / (50 * 0.5)
    assert float(expected.std()) > 0
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [56, 252])
def test_a_mask_of_rise_is_the_references_at_every_position(size: int) -> None:
    """The map of a model whose probability is the share of cells that are kept, for one mask, is the mask."""
    model, x, target = wrap(Constant([0.0, 0.0])), images(size, 1), torch.tensor([1])
    actual = map_of("rise", model, x, target, masks=1, cells=8, seed=5)
    generator = torch.Generator().manual_seed(5)
    grid = (torch.rand(8, 8, generator=generator) < 0.5).float().numpy()
    top, left = (int(torch.randint(-(-size // 8), (1,), generator=generator)) for _ in range(2))
    expected = rise.mask(grid, top, left, size, size)
    assert expected.std() > 0.2
    np.testing.assert_allclose(actual[0].numpy(), expected, atol=1e-6)


def test_the_masks_of_rise_follow_the_runs_seed_unless_one_is_given() -> None:
    model, x, target = wrap(convolutional()), images(8), torch.tensor([1, 0, 4])

    def found(run_seed: int, **values: int) -> Tensor:
        method = REGISTRY.configure("method", "rise", {"masks": 20, **values})
        return maps_of(method, model, x, target, seed=run_seed).saliency

    assert torch.equal(found(1), found(1))
    assert not torch.allclose(found(1), found(2))
    assert torch.equal(found(1, seed=3), found(2, seed=3))
    assert not torch.allclose(found(1, seed=3), found(1, seed=4))


def test_rise_finds_the_only_pixels_that_count() -> None:
    weight = torch.zeros(2, 3, 16, 16)
    weight[1, :, 4:8, 8:12] = 0.05
    x = torch.ones(1, 3, 16, 16)
    saliency = map_of("rise", wrap(Linear(weight), 16, 2), x, torch.tensor([1]), masks=4000)[0]
    row, column = divmod(int(saliency.argmax()), 16)
    assert 4 <= row < 8
    assert 8 <= column < 12


def test_sobel_is_scipys_on_the_mean_over_channels() -> None:
    x = images(8)
    grey = x.mean(1).double().numpy()
    expected = [
        np.hypot(*(scipy_sobel(image, axis=axis, mode="nearest") / 8 for axis in (0, 1)))
        for image in grey
    ]
    np.testing.assert_allclose(
        map_of("sobel", wrap(convolutional()), x).numpy(), expected, atol=1e-6
    )


def test_center_is_a_symmetric_gaussian() -> None:
    saliency = map_of("center", wrap(convolutional(), 9), images(9), sigma=0.25)[0]
    assert int(saliency.argmax()) == 40
    torch.testing.assert_close(saliency, saliency.flip(0))
    torch.testing.assert_close(saliency, saliency.T)
    assert float(saliency[4, 6]) == pytest.approx(
        np.exp(-0.5), abs=1e-6
    )  # a quarter of the side off


def test_random_maps_differ_between_images_and_seeds_and_repeat() -> None:
    model, x, method = wrap(convolutional()), images(8), REGISTRY.configure("method", "random")
    first = maps_of(method, model, x, TARGET % 5).saliency
    assert torch.equal(first, maps_of(method, model, x, TARGET % 5).saliency)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, maps_of(method, model, x, TARGET % 5, seed=1).saliency)
