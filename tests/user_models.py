"""The kinds of modules that users bring, each as a small network for `tiny` (16x16 pixels, four classes).

`KINDS` is the table: what a user's `FILE.py:build` returns, and what is expected of it. Another kind is another line.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

CLASSES, SIZE = 4, 16


@dataclass(frozen=True)
class Kind:
    """A module that a user brings.

    Attributes:
        build: makes it, with the same weights each time.
        notices: parts of what must be said of it.
        blind: whether no gradients flow through it, so that methods which need them are left out.
        layerless: a part of why CAM methods fail on it; empty where they work.
        fails: a part of what is said if it cannot be explained; empty where it can.
        plain: the same function as an ordinary module, for the same logits; None if there is none.
    """

    build: Callable[[], object]
    notices: tuple[str, ...] = ()
    blind: bool = False
    layerless: str = ""
    fails: str = ""
    plain: Callable[[], nn.Module] | None = None


class Network(nn.Module):
    """Two convolutions, a batch norm, a ReLU that is used twice, and a head."""

    def __init__(self, width: int = 6, classes: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.relu(self.norm(self.conv1(x))), 2)
        x = self.relu(self.conv2(x))
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Ensemble(nn.Module):
    """The mean of several networks."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([Network(4), Network(5)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).mean(0)


class Shared(Network):
    """The same weights in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.again.weight = self.conv2.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.again(self.relu(self.conv2(self.norm(self.conv1(x))))))
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Quantisable(nn.Module):
    """As torch.ao wants it for static quantisation."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = (
            torch.ao.quantization.QuantStub(),
            torch.ao.quantization.DeQuantStub(),
        )
        self.net = Network().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.dequant(self.net(self.quant(x)))


class Raising(Network):
    """Raises an error of two lines when `where` is called."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def _raise(self, where: str) -> None:
        if self.where == where:
            raise RuntimeError(f"no luck\nin {where}")

    def forward(self, x: Tensor) -> Tensor:
        self._raise("forward")
        return super().forward(x)

    def state_dict(self, *arguments, **named):
        self._raise("state_dict")
        return super().state_dict(*arguments, **named)

    def requires_grad_(self, requires_grad: bool = True) -> "Raising":
        self._raise("requires_grad_")
        return super().requires_grad_(requires_grad)

    def train(self, mode: bool = True) -> "Raising":
        self._raise("train")
        return super().train(mode)

    def __deepcopy__(self, memo):
        self._raise("__deepcopy__")
        twin = Raising(self.where).eval().requires_grad_(False)
        twin.load_state_dict(super().state_dict())
        return twin

    def _apply(self, fn, recurse=True):
        if "where" in vars(self):
            self._raise("to")
        return super()._apply(fn, recurse)


def quiet(make: Callable[[], object]) -> Callable[[], object]:
    """Without what torch warns of: that quantisation moves elsewhere, and that TorchScript is old."""

    def build() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()

    return build


def images() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def network() -> Network:
    """In eval mode, its batch norm with statistics of its own."""
    made = Network()
    made.norm.running_mean.fill_(0.1)
    return made.eval()


def compiled_inside() -> nn.Module:
    made = network()
    made.conv2 = torch.compile(made.conv2)
    return made


def compiled_in_place() -> nn.Module:
    made = network()
    made.compile()
    return made


def lazy() -> nn.Module:
    return nn.Sequential(
        nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)
    )


def static_quantised() -> nn.Module:
    made = Quantisable().eval()
    made.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    prepared = torch.ao.quantization.prepare(made)
    prepared(images())
    return torch.ao.quantization.convert(prepared)


def dynamic_quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})


def parametrized() -> nn.Module:
    made = network()
    nn.utils.parametrizations.weight_norm(made.conv1)
    nn.utils.parametrizations.spectral_norm(made.conv2)
    return made


def old_weight_norm() -> nn.Module:
    made = network()
    nn.utils.weight_norm(made.conv1)
    return made


def inference_tensors() -> nn.Module:
    with torch.inference_mode():
        return network()


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Network()


SCRIPT = ("TorchScript",)
HOOKLESS = "is TorchScript, in whose layers nobody can look"
KINDS: dict[str, Kind] = {
    "frozen": Kind(lambda: network().requires_grad_(False), plain=network),
    "compiled": Kind(lambda: torch.compile(network()), ("Unwrapped from OptimizedModule",), plain=network),
    "compiled inside": Kind(compiled_inside, ("Unwrapped inside: 'conv2'",), plain=network),
    "compiled in place": Kind(compiled_in_place, ("Unwrapped inside: 'the module itself'",), plain=network),
    "DataParallel": Kind(lambda: nn.DataParallel(network()), ("Unwrapped from DataParallel",), plain=network),
    "averaged and compiled": Kind(
        lambda: AveragedModel(torch.compile(network())), ("Unwrapped from AveragedModel",), plain=network
    ),
    "scripted": Kind(quiet(lambda: torch.jit.script(network())), SCRIPT, layerless=HOOKLESS, plain=network),
    "traced": Kind(quiet(lambda: torch.jit.trace(network(), images())), SCRIPT, layerless=HOOKLESS, plain=network),
    "frozen script": Kind(
        quiet(lambda: torch.jit.freeze(torch.jit.script(network()))), SCRIPT, layerless=HOOKLESS, plain=network
    ),
    "half": Kind(lambda: network().half(), ("Its float16 weights are brought to float32",)),
    "bfloat16": Kind(lambda: network().bfloat16(), ("Its bfloat16 weights are brought to float32",)),
    "double": Kind(lambda: network().double(), ("Its float64 weights are brought to float32",), plain=network),
    "lazy": Kind(lazy, ("Lazy layers ('0', '1', '4') are initialised at [3, 16, 16]",)),
    "dynamically quantised": Kind(quiet(dynamic_quantised), blind=True),
    "scripted and quantised": Kind(
        quiet(lambda: torch.jit.script(dynamic_quantised())), SCRIPT, blind=True
    ),
    "statically quantised": Kind(quiet(static_quantised), blind=True),
    "parametrized": Kind(parametrized),
    "weight-normed": Kind(quiet(old_weight_norm)),
    "shared weights": Kind(Shared),
    "reused ReLU": Kind(network),
    "ensemble": Kind(Ensemble, layerless="names no target layer"),
    "inference tensors": Kind(inference_tensors, plain=network),
    "uncopyable": Kind(lambda: Raising("__deepcopy__"), plain=Network),
    "raises in forward": Kind(lambda: Raising("forward"), fails="RuntimeError: no luck in forward"),
    "raises when hashed": Kind(lambda: Raising("state_dict"), fails="RuntimeError: no luck in state_dict"),
    "raises when frozen": Kind(lambda: Raising("requires_grad_"), fails="RuntimeError: no luck in requires_grad_"),
    "raises in eval": Kind(lambda: Raising("train"), fails="RuntimeError: no luck in train"),
    "raises when moved": Kind(lambda: Raising("to"), fails="RuntimeError: no luck in to"),
    "meta": Kind(on_meta, fails="parameters on the device `meta`"),
    "exported": Kind(
        lambda: torch.export.export(network(), (images(),)), fails="not ExportedProgram: return the module"
    ),
    "class": Kind(lambda: Network, fails="not the class Network: call it"),
    "nothing": Kind(lambda: None, fails="not None: end the function with `return`"),
    "state dict": Kind(lambda: network().state_dict(), fails="give it these weights with load_state_dict"),
    "with transforms": Kind(lambda: (network(), None), fails="not tuple of 2: return the module of them alone"),
}  # fmt: skip


def write_model(folder: Path, kind: str) -> str:
    """Writes a file as a user has it; the model's name."""
    file = folder / "mine.py"
    file.write_text(
        f"from tests.user_models import KINDS\n\n\ndef build():\n    return KINDS[{kind!r}].build()\n"
    )
    return f"{file}:build"


def logits_of_plain(kind: Kind, x: Tensor) -> Tensor:
    """What the ordinary module gives for x."""
    assert kind.plain is not None
    with torch.no_grad():
        return copy.deepcopy(kind.plain()).eval()(x)
