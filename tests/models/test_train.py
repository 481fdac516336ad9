"""Every bundled architecture trains, is saved, loads as it was, and is explained by every method that applies."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interpbench.attribution.attribute import Batch, attribute
from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import MethodError
from interpbench.core.model_guard import Guard
from interpbench.core.types import DatasetCard, Model, Sample, normalise
from interpbench.loading.model import load_model
from interpbench.loading.weights import read_weights
from interpbench.registry.plugin import Configured
from interpbench.training.recipe import Recipe
from interpbench.training.splits import Splits
from interpbench.training.start import Start
from interpbench.training.train import train
from tests.methods.common import QUICK
from tests.slow_cases import with_slow
from tests.sources import REGISTRY, choose
from tests.tiny_models import NARROW

SIZE, IMAGES = 32, 2
RECIPE = Recipe(epochs=1, batch_size=16)
OTHERS = [
    "alexnet:lrn=true,width=8",
    "resnet18:norm=group,width=8",
    "resnet18:norm=layer,width=8",
    "torchvision:shufflenet_v2_x0_5",
    "timm:test_vit",
    "timm:test_convnext",
]
HUGE = ["vit_b_16"]
LONG = [
    "efficientnet_lite0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet50",
    "torchvision:shufflenet_v2_x0_5",
]
# The same layers as a sister has, only more of them; that they are built as they should be is tested without training.
# Group norm is layer norm with another number of groups.
DEEPER = [
    "resnet18:norm=group,width=8",
    "mobilenet_v3_large",
    "resnet34",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
TRANSFORMERS = ["vit_b_16", "vit_small", "timm:test_vit"]
NEED_ATTENTION = {"attention-gradient", "attention-rollout"}
# Have products of activations, or norms other than batch norm: no rules of DeepLIFT's, LRP's and the full gradient's.
WITHOUT_RULES = [
    *TRANSFORMERS,
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    *(name for name in OTHERS if "shufflenet" not in name),
]
NEED_RULES = {
    "deeplift",
    "deepshap",
    "full-gradient",
    "lrp-epsilon",
    "lrp-epsilon-plus-flat",
    "lrp-z-plus",
}


class Corners:
    """Four classes: which corner of a noisy image is bright; 32x32."""

    def __init__(self, count: int, first: int) -> None:
        self.card = DatasetCard(
            "corners", ("a", "b", "c", "d"), f"corners-{first}-{count}", size=SIZE
        )
        self.ids = [str(first + i) for i in range(count)]
        self.labels = [(first + i) % 4 for i in range(count)]

    def __getitem__(self, index: int) -> Sample:
        label = self.labels[index]
        image = np.random.default_rng(int(self.ids[index])).integers(
            0, 100, (SIZE, SIZE, 3), dtype=np.uint8
        )
        row, column = 16 * (label // 2), 16 * (label % 2)
        image[row : row + 16, column : column + 16] += 120
        return Sample(self.ids[index], image, label)


TRAIN, TEST = Corners(96, 0), Corners(32, 1000)


def inputs(model: Model) -> Tensor:
    return normalise(
        torch.from_numpy(np.stack([TEST[i].image for i in range(len(TEST.ids))])),
        model.card.preparation,
    )


def architectures() -> list[object]:
    bundled = [p.name for p in REGISTRY.plugins("model") if not p.required]
    return with_slow([*bundled, *OTHERS], [*HUGE, *DEEPER, *LONG])


def narrow(name: str) -> Configured:
    if ":" in name or name in HUGE:
        return choose(name)
    return REGISTRY.configure("model", name, NARROW.get(name, {"width": 8}))


def maps(method: Configured, model: Model, x: Tensor, target: Tensor) -> Tensor:
    batch = Batch(x, target, [str(i) for i in range(len(x))])
    attempt = attribute(method, model, Guard(model), batch, 0, BatchSize(16))
    assert not attempt.left_behind
    if attempt.maps is None:
        raise attempt.error
    return attempt.maps.saliency


@pytest.mark.parametrize("name", architectures())
def test_it_trains_loads_and_is_explained(name: str, tmp_path: Path) -> None:
    choice, path = narrow(name), tmp_path / "w.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = choice(4, SIZE).state_dict()
    card = train(Start(choice), Splits(TRAIN, TEST), recipe=RECIPE, output=path, half=False)

    model = load_model(choice, TEST.card, weights=str(path))
    state, _ = read_weights(path)
    twin = choice(4, SIZE)
    twin.load_state_dict(state)
    x, labels = inputs(model), torch.tensor(TEST.labels)
    with torch.inference_mode():
        logits = model(x)
        torch.testing.assert_close(logits, twin.eval()(x))
    assert logits.std() > 0
    assert float((logits.argmax(1) == labels).float().mean()) == pytest.approx(
        float(card.notes["accuracy"]), abs=1e-4
    )
    moved = [
        key
        for key, value in untrained.items()
        if value.is_floating_point() and not value.equal(state[key])
    ]
    assert len(moved) > len(untrained) / 2

    x, target = x[:IMAGES], logits[:IMAGES].argmax(1)
    refused = set()
    for method in (REGISTRY.configure("method", n, QUICK.get(n)) for n in REGISTRY.names("method")):
        if method.plugin.rectifiers and not any(
            isinstance(m, nn.ReLU | nn.ReLU6) for m in model.modules()
        ):
            continue  # is not defined there
        try:
            saliency = maps(method, model, x, target)
        except MethodError:
            refused.add(method.name)
            continue
        assert saliency.shape == (IMAGES, SIZE, SIZE), method.name
        assert bool(saliency.isfinite().all()), method.name
    needs_attention = set() if name in TRANSFORMERS else NEED_ATTENTION
    assert refused == needs_attention | (NEED_RULES if name in WITHOUT_RULES else set())
