"""Networks to measure on, how much of them fits into a turn, and the limit: what their plain forward passes cost."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from interpbench.core.devices import default_batch_size
from interpbench.core.types import Model
from interpbench.registry.discovery import discover
from tests.bench.timing import DEVICE, Contender, seconds
from tests.tiny_models import wrap

REGISTRY = discover()
LARGE = 224  # pixels


@dataclass(frozen=True)
class Workload:
    """A network, and for how many seconds of plain forward passes it is measured at a time."""

    title: str
    network: str
    size: int
    seconds: float
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def classes(self) -> int:
        return 1000 if self.size == LARGE else 10

    def turn(self, quick: bool) -> float:
        """How many seconds of plain forward passes a turn should be worth: a fifth in a quick table."""
        return self.seconds / 5 if quick else self.seconds


CIFAR10 = Workload("ResNet-18 of width 32 at 32 pixels", "resnet18", 32, 2, {"width": 32})
PLANTED = Workload("ResNet-18 of width 10 at 64 pixels", "resnet18", 64, 1, {"width": 10})
RESNET18 = Workload("ResNet-18 at 224 pixels", "resnet18", LARGE, 5)
ALEXNET = Workload("AlexNet at 224 pixels", "alexnet", LARGE, 1.5)
VIT = Workload("small ViT at 32 pixels", "vit_small", 32, 1)
VGG16 = Workload("VGG-16 at 224 pixels", "vgg16", LARGE, 2)
MOBILENET = Workload("MobileNet V2 at 224 pixels", "mobilenet_v2", LARGE, 2)
SMALL_VGG = Workload("VGG-11 of width 32 at 32 pixels", "vgg11_bn", 32, 1, {"width": 32})
SMALL = [CIFAR10, PLANTED]
WORKLOADS = [*SMALL, RESNET18, ALEXNET, VGG16]


@lru_cache(maxsize=2)
def plain(workload: Workload) -> Model:
    """The network as it comes, fp32, contiguous; untrained, but with logits of deviation 3, so that answers differ."""
    torch.manual_seed(0)
    choice = REGISTRY.configure("model", workload.network, workload.parameters)
    network = choice(workload.classes, workload.size)
    batch_size = default_batch_size(workload.size, DEVICE)
    model = wrap(
        network, workload.size, workload.classes, batch_size, choice.plugin.target_layer
    ).to(DEVICE)
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        deviation = model(images(workload, 4)).std()
        last.weight *= 3 / deviation
        last.bias *= 3 / deviation
    return model


def images(workload: Workload, count: int) -> Tensor:
    """float32 [count,3,size,size], normalised noise."""
    shape = (count, 3, workload.size, workload.size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)


@torch.no_grad()
def predicted(model: Model, x: Tensor) -> Tensor:
    """int64 [B], the classes that the model answers."""
    return torch.cat([model(part).argmax(1) for part in x.split(model.batch_size)])


def maps_without_ties(workload: Workload, count: int) -> Tensor:
    """float32 [count,size,size], a random order of the positions."""
    generator = torch.Generator().manual_seed(2)
    positions = workload.size**2
    orders = [torch.randperm(positions, generator=generator) for _ in range(count)]
    return (
        (torch.stack(orders).float() / positions)
        .view(count, workload.size, workload.size)
        .to(DEVICE)
    )


@dataclass(frozen=True, eq=False)
class Limit:
    """One way to make plain forward passes, at the batch size that suits it best.

    Attributes:
        seconds: for an image.
        tried: the ways that it is the fastest of.
    """

    title: str
    network: nn.Module
    batch: Tensor
    seconds: float
    tried: str = ""

    def turn(self, lasting: float) -> Contender:
        """Plain forward passes for about so many seconds."""
        batches = math.ceil(lasting / (self.seconds * len(self.batch)))

        @torch.inference_mode()
        def forwards() -> None:
            for _ in range(batches):
                self.network(self.batch)

        name = f"plain forwards, {self.title}, batch {len(self.batch)}"
        return Contender(name, "limit", forwards, units=batches * len(self.batch), note=self.tried)


@lru_cache(maxsize=2)
def eager(workload: Workload) -> Limit:
    """The limit that the table divides by: fp32, contiguous, as the network comes."""
    return _at_its_best("eager fp32", plain(workload).network, images(workload, 1))


@lru_cache(maxsize=2)
def limits(workload: Workload, quick: bool) -> list[Limit]:
    """The eager limit, the fastest way in fp32, and the fastest in bf16; a quick table does without compiling."""
    fp32 = [eager(workload), *_ways(workload, torch.float32, compiling=not quick)]
    # On a CPU a compilation takes ten seconds or more, and gains a few per cent.
    bf16 = list(_ways(workload, torch.bfloat16, compiling=not quick and DEVICE.type == "cuda"))
    return [eager(workload), _fastest("fp32", fp32), _fastest("bf16", bf16)]


def fitting(workload: Workload, quick: bool) -> tuple[int, int]:
    """Images, and steps of deletion and of insertion, whose forward passes fill a turn.

    As many steps as RISE takes, a width of positions each, for as many images as a turn affords; where it does not
    afford one image, fewer steps, which divide the width.
    """
    affordable = int(workload.turn(quick) / eager(workload).seconds)
    width = workload.size
    most = len(eager(workload).batch) if workload in SMALL else 256
    count = max(1, min(most, affordable // (2 * (width + 1))))
    steps = max(
        n
        for n in range(1, width + 1)
        if width % n == 0 and (n <= 2 or 2 * count * (n + 1) <= affordable)
    )
    return count, steps


def _ways(workload: Workload, dtype: torch.dtype, *, compiling: bool) -> Iterator[Limit]:
    """Forward passes in another memory format, with batch norms folded into convolutions, and compiled."""
    x = images(workload, 1).to(dtype).contiguous(memory_format=torch.channels_last)

    def ready(network: nn.Module) -> nn.Module:
        return network.to(dtype).to(memory_format=torch.channels_last)

    yield _at_its_best("channels_last", ready(copy.deepcopy(plain(workload).network)), x)
    folded = _at_its_best("folded", ready(fuse(plain(workload).network)), x)
    yield folded
    yield (
        _compiled(folded) if compiling else replace(folded, title="not compiled", seconds=math.inf)
    )


def _compiled(folded: Limit) -> Limit:
    """Compiled for its batch; never the fastest where there is no compiler."""
    try:
        return _at("compiled", torch.compile(folded.network, dynamic=False), folded.batch)
    except Exception as error:  # whatever a compiler that is missing or fails raises
        return replace(folded, title=f"no compiler ({type(error).__name__})", seconds=math.inf)


def _at_its_best(title: str, network: nn.Module, x: Tensor) -> Limit:
    """At the batch size of the usual one, its half and its double at which an image takes least."""
    usual = default_batch_size(x.shape[-1], DEVICE)
    sizes = [usual, 2 * usual, max(1, usual // 2)]
    return min(
        (_at(title, network, _repeated(x, count)) for count in sizes),
        key=lambda limit: limit.seconds,
    )


@torch.inference_mode()
def _at(title: str, network: nn.Module, batch: Tensor) -> Limit:
    network(batch)
    took = min(seconds(lambda: network(batch)) for _ in range(3))
    return Limit(title, network, batch, took / len(batch))


def _repeated(x: Tensor, count: int) -> Tensor:
    return x.expand(count, -1, -1, -1).clone(memory_format=torch.preserve_format)


def _fastest(precision: str, ways: Sequence[Limit]) -> Limit:
    found = min(ways, key=lambda limit: limit.seconds)
    tried = ", ".join(
        f"{w.title} {1000 * w.seconds:.3g}" if w.seconds < math.inf else w.title for w in ways
    )
    return replace(found, title=f"fastest {precision} ({found.title})", tried=f"ms tried: {tried}")
