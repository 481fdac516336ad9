"""CAM methods against loops; that they equal pytorch-grad-cam is tested in `test_conformance`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench.core.errors import MethodError
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
from tests.tiny_models import wrap


class Scaled(nn.Module):
    """Logits times a number, so that Grad-CAM++ has gradients of some size."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner = inner
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.factor


def scaled(name: str, size: int) -> Model:
    model = small_model(name, size)
    return wrap(
        Scaled(model.network, 1000.0), size, 10, target_layer=f"inner.{model.card.target_layer}"
    )


@pytest.mark.parametrize("architecture", ["resnet18", "vgg11_bn"])
def test_eigencam_is_the_projection_on_the_first_singular_vector(architecture: str) -> None:
    model, x = small_model(architecture, 32), images(32)
    maps: list[Tensor] = []
    handle = model.target_layer.register_forward_hook(
        lambda m, i, o: maps.append(o.detach().clone())
    )
    model(x)
    handle.remove()
    actual = REGISTRY.configure("method", "eigencam")(model, x, TARGET)
    for image, ours in zip(maps[0].double().numpy(), actual, strict=True):
        matrix = image.reshape(len(image), -1).T
        eigenvalues, vectors = np.linalg.eigh(matrix.T @ matrix)
        expected = np.abs(matrix @ vectors[:, eigenvalues.argmax()])
        close(ours.flatten(), torch.from_numpy(expected).float())


@pytest.mark.parametrize(
    "name", ["gradcam", "gradcam-plus-plus", "xgradcam", "layercam", "hirescam"]
)
def test_equals_a_loop_over_channels_and_positions(name: str) -> None:
    model, x = scaled("resnet18", 32), images(32)
    kept: dict[str, Tensor] = {}

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        kept["maps"] = output
        output.retain_grad()

    handle = model.target_layer.register_forward_hook(keep)
    model(x.requires_grad_())[range(BATCH), TARGET].sum().backward()
    handle.remove()
    maps, slopes = kept["maps"].detach().double(), kept["maps"].grad.double()
    expected = torch.zeros(BATCH, *maps.shape[2:])
    for i in range(BATCH):
        total = sum(WEIGHTED[name](a, g) for a, g in zip(maps[i], slopes[i], strict=True))
        expected[i] = torch.as_tensor(total).clamp(min=0)
    close(REGISTRY.configure("method", name)(model, x.detach(), TARGET), expected)


def _plus_plus(a: Tensor, g: Tensor) -> Tensor:
    weight = 0.0
    for slope in g.flatten().tolist():
        if slope > 0:
            weight += slope * slope**2 / (2 * slope**2 + float(a.sum()) * slope**3)
    return weight * a


WEIGHTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": lambda a, g: g.mean() * a,
    "gradcam-plus-plus": _plus_plus,
    "xgradcam": lambda a, g: (g * a / a.sum()).sum() * a if a.sum() else 0 * a,
    "layercam": lambda a, g: g.clamp(min=0) * a,
    "hirescam": lambda a, g: g * a,
}


def test_hirescam_is_gradcam_where_only_pooling_and_a_linear_layer_follow() -> None:
    model, x = small_model("resnet18", 32), images(32)
    close(map_of("hirescam", model, x), map_of("gradcam", model, x))


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_only_the_channels_that_vary_most(name: str) -> None:
    model, x = small_model("resnet18", 32), images(32)
    whole = map_of(name, model, x)
    close(map_of(name, model, x, channels=64), whole)
    close(map_of(name, model, x, channels=1000), whole)
    few = map_of(name, model, x, channels=1)
    maps: list[Tensor] = []
    handle = model.target_layer.register_forward_hook(
        lambda m, i, o: maps.append(o.detach().clone())
    )
    model(x)
    handle.remove()
    for image, ours in zip(maps[0], few, strict=True):
        widest = F.interpolate(
            image[image.std((1, 2)).argmax()][None, None], size=(32, 32), mode="bilinear"
        )[0, 0]
        assert ours.abs().max() == 0 or difference(ours / ours.max(), widest / widest.max()) < 1e-5


def test_scorecam_packs_images_and_channels() -> None:
    model, x = small_model("resnet18", 32, batch_size=12), images(32)
    sizes: list[int] = []
    handle = model.network.register_forward_hook(lambda m, i, o: sizes.append(len(o)))
    for name in ("scorecam", "ablationcam"):
        REGISTRY.configure("method", name)(model, x, TARGET)
        assert max(sizes) == 12
        assert sum(sizes) <= BATCH * (64 + 2)
        sizes.clear()
    handle.remove()


@pytest.mark.parametrize(
    "name",
    [
        "eigencam",
        "scorecam",
        "ablationcam",
        "gradcam-plus-plus",
        "xgradcam",
        "layercam",
        "hirescam",
    ],
)
def test_takes_another_layer_and_refuses_one_without_maps(name: str) -> None:
    model, x = small_model("resnet18", 32), images(32)
    early = REGISTRY.configure("method", name, {"layer": "layer2"})(model, x, TARGET)
    assert early.shape == (BATCH, 16, 16)
    assert not torch.equal(
        F.adaptive_avg_pool2d(early, 8), REGISTRY.configure("method", name)(model, x, TARGET)
    )
    with pytest.raises(MethodError, match=r"the layer gives a tensor \[3, 10\]; expected maps"):
        map_of(name, model, x, layer="fc")
    with pytest.raises(MethodError, match="no layer 'layer9'"):
        map_of(name, model, x, layer="layer9")
