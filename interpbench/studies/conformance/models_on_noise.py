"""What is explained: an untrained model and smooth noise.

The model is in general position, and each image has another target.
"""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench.core.errors import ParameterError
from interpbench.core.preparation import Preparation
from interpbench.core.seeding import derive
from interpbench.core.types import DatasetCard, Model, ModelCard
from interpbench.loading.chosen_weights import RANDOM
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import offered
from interpbench.registry.plugin import Configured

CLASSES = 10
SIZE = 32  # pixels
SCALES = {4: 1.0, 8: 0.5, SIZE: 0.25}  # cells along a side of the images' noise -> its deviation
CALIBRATION = 32  # images
LINEAR = "linear"


@dataclass(frozen=True)
class ModelOnNoise:
    """A model with what is explained of it: images of noise, and a class for each.

    Attributes:
        label: of the model.
        model: in double precision.
        x: float64 [B,3,S,S], normalised.
        target: int64 [B], the classes that are most probable on the whole, another for each image.
        seed: of all chance.
    """

    label: str
    model: Model
    x: Tensor
    target: Tensor
    seed: int


def default_models(of: str = "methods") -> list[str]:
    """What `methods` or `metrics` are compared on where the user names no model."""
    settings = tomllib.loads((Path(__file__).parent / "models.toml").read_text(encoding="utf-8"))
    return [str(model) for model in settings[of]]


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in the same order on every machine.

    Networks this small gain nothing from more threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def build_model_on_noise(choice: Configured, images: int = 3, seed: int = 0) -> ModelOnNoise:
    """A small model with random weights and so many images of smooth noise.

    Parameters:
        choice: the architecture, at 32 pixels and 10 classes.
        images: how many, 1 to 10.
        seed: of weights, images and all chance.

    Raises:
        ParameterError: if the model brings its own weights, or has no gradients.
    """
    offer = offered(choice)
    if not choice.plugin.gradients or (offer is not None and offer.load is None):
        raise ParameterError(
            f"Methods are compared on untrained networks of {SIZE} pixels, which {choice.label!r} "
            "is not: it is a black box, or brings weights of its own. Choose an architecture: see "
            "`list models`."
        )
    card = DatasetCard("noise", tuple(map(str, range(CLASSES))), revision="", size=SIZE)
    model = load_model(choice, card, weights=RANDOM, batch_size=lambda size: 16, seed=seed)
    generator = torch.Generator().manual_seed(derive(seed, "conformance", choice.label))
    _prepare_norms(model.network, _noise(CALIBRATION, generator), generator)
    model.double()
    x = _noise(images, generator).double()
    with torch.no_grad():
        target = model(x).mean(0).argsort(descending=True)[:images]
    return ModelOnNoise(choice.label, model, x, target, seed)


@one_thread()
def build_linear_on_noise(images: int = 3, seed: int = 0) -> ModelOnNoise:
    """Logits that are linear in the pixels, where much has a closed form, and smooth noise.

    Parameters are those of `build_model_on_noise`.
    """
    generator = torch.Generator().manual_seed(derive(seed, "conformance", LINEAR))
    layer = nn.Linear(3 * SIZE * SIZE, CLASSES)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=layer.in_features**-0.5, generator=generator)
    card = ModelCard(
        name=LINEAR, parameters={}, dataset="noise", classes=CLASSES, target_layer="0",
        preparation=Preparation(
            height=SIZE, width=SIZE, resize=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        logit_of_label=tuple(range(CLASSES)), weights=RANDOM, weights_sha256="",
    )  # fmt: skip
    network = nn.Sequential(nn.Identity(), nn.Flatten(), layer)
    model = Model(network, card, batch_size=16).eval().requires_grad_(False).double()
    x = _noise(images, generator).double()
    with torch.no_grad():
        target = model(x).mean(0).argsort(descending=True)[:images]
    return ModelOnNoise(LINEAR, model, x, target, seed)


def _noise(count: int, generator: torch.Generator) -> Tensor:
    """Normal noise of several scales, float32 [count,3,S,S]."""
    layers = []
    for cells, deviation in SCALES.items():
        grid = deviation * torch.randn(count, 3, cells, cells, generator=generator)
        layers.append(F.interpolate(grid, size=(SIZE, SIZE), mode="bicubic"))
    return torch.stack(layers).sum(0)


def _prepare_norms(network: nn.Module, x: Tensor, generator: torch.Generator) -> None:
    """Gives norms parameters other than 0 and 1, and batch norms the statistics of images.

    Otherwise a deep untrained network answers almost nothing, and what a method does with a bias
    would not show.
    """
    norms = [
        m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm)
    ]
    for norm in norms:
        if norm.weight is not None and norm.bias is not None:
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, std=0.1, generator=generator)
    _calibrate([norm for norm in norms if isinstance(norm, nn.BatchNorm2d)], network, x)


def _calibrate(norms: Sequence[nn.BatchNorm2d], network: nn.Module, x: Tensor) -> None:
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        network(x)
    for norm in norms:
        norm.eval()
