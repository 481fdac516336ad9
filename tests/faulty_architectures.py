"""Models that each break a promise of models, and which they break."""

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpbench import ParameterError, Pretrained, model
from interpbench.registry.registry import Registry

FAULTY = Registry()
# Name -> contract -> what is said.
BREAKS: dict[str, dict[str, str]] = {
    "undocumented": {"documentation": "no docstring"},
    "misannotated": {"parameters": "would be refused"},
    "raises": {"builds": "raised ValueError: no"},
    "no-module": {"builds": "returned a function"},
    "misshapen": {"logits": "[3, 4] for 3 images and"},
    "crashing": {"logits": "raised RuntimeError: no"},
    "not-finite": {"logits": "not finite"},
    "infinite-slope": {"gradients": "not finite"},
    "writing": {"inputs": "wrote into its images"},
    "noisy": {
        "determinism": "other logits",
        "neighbours": "other logits",
        "weights": "other logits",
        "copies": "other logits",
    },
    "by-the-batch": {"neighbours": "Alone, images get other logits"},
    "detached": {"gradients": "No gradient reaches"},
    "zero-head": {"gradients": "0 all over"},
    "own-randomness": {"seeds": "The same seed gave other weights"},
    "own-seed": {"seeds": "Another seed gave the same weights"},
    "hidden-weight": {"weights": "another instance gives other logits"},
    "other-names": {"weights": "does not take its weights"},
    "uncopied": {"copies": "cannot be copied"},
    "no-such-layer": {"target layer": "There is no layer 'features'"},
    "flat-layer": {"target layer": "Of '3'"},
    "unstated": {"preparation": "Nobody states mean and std"},
    "in-bytes": {"preparation": "are not of pixels in 0..1"},
}
_calls = itertools.count()


def _net(classes: int, last: nn.Module | None = None) -> nn.Sequential:
    head = nn.Linear(8, classes) if last is None else last
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
    )


class _Changed(nn.Module):
    """A network whose images, or logits, are changed."""

    def __init__(self, classes: int, **changes: Any) -> None:
        super().__init__()
        self.inner = _net(classes)
        self._changes = changes

    def forward(self, x: Tensor) -> Tensor:
        x = self._changes.get("before", lambda x: x)(x)
        return self._changes.get("after", lambda y, x: y)(self.inner(x), x)


def _crash(x: Tensor) -> Tensor:
    raise RuntimeError("no")


class _Hidden(nn.Module):
    """Keeps a tensor that is no buffer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.inner, self.scale = _net(classes), torch.rand(classes) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.scale


class _Named(nn.Module):
    """Calls its layers otherwise each time."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.name = f"inner_{next(_calls)}"
        setattr(self, self.name, _net(classes))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name)(x)


class _Uncopied(_Changed):
    def __deepcopy__(self, memo: Any) -> nn.Module:
        raise TypeError("no copies")


def _drawn(generator: np.random.Generator, classes: int) -> nn.Module:
    network = _net(classes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(
                torch.from_numpy(generator.normal(size=tuple(parameter.shape), scale=0.2))
            )
    return network


def _offer(**stated: Any) -> Any:
    return lambda: Pretrained(source="mine", size=64, **stated)


with FAULTY.collecting():

    @model("undocumented", reference="none")
    def undocumented(classes: int, size: int) -> nn.Module:
        return _net(classes)

    @model("misannotated", reference="none")
    def misannotated(classes: int, size: int, *, width: int = None) -> nn.Module:  # type: ignore[assignment]  # noqa: RUF013
        """A network."""
        return _net(classes)

    @model("raises", reference="none")
    def raises(classes: int, size: int) -> nn.Module:
        """A network."""
        raise ValueError("no")

    @model("no-module", reference="none")
    def no_module(classes: int, size: int) -> Any:
        """A network."""
        return lambda x: x

    @model("misshapen", reference="none")
    def misshapen(classes: int, size: int) -> nn.Module:
        """A network."""
        return _net(4)

    @model("crashing", reference="none")
    def crashing(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Changed(classes, before=_crash)

    @model("not-finite", reference="none")
    def not_finite(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Changed(classes, after=lambda y, x: y / 0 * 0)

    @model("infinite-slope", reference="none")
    def infinite_slope(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Changed(classes, after=lambda y, x: y + (0 * x).mean((1, 2, 3)).sqrt()[:, None])

    @model("writing", reference="none")
    def writing(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Changed(classes, before=lambda x: x.clone() if x.requires_grad else x.mul_(1.0001))

    @model("noisy", reference="none")
    def noisy(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Changed(classes, after=lambda y, x: y + torch.randn(len(y), 1))

    @model("by-the-batch", reference="none")
    def by_the_batch(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Changed(classes, after=lambda y, x: y - y.mean(0) + y)

    @model("detached", reference="none")
    def detached(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Changed(classes, before=lambda x: x.detach())

    @model("zero-head", reference="none")
    def zero_head(classes: int, size: int) -> nn.Module:
        """A network."""
        head = nn.Linear(8, classes)
        nn.init.zeros_(head.weight)
        return _net(classes, head)

    @model("own-randomness", reference="none")
    def own_randomness(classes: int, size: int) -> nn.Module:
        """A network."""
        return _drawn(np.random.default_rng(), classes)

    @model("own-seed", reference="none")
    def own_seed(classes: int, size: int) -> nn.Module:
        """A network."""
        return _drawn(np.random.default_rng(0), classes)

    @model("hidden-weight", reference="none")
    def hidden_weight(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Hidden(classes)

    @model("other-names", reference="none")
    def other_names(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Named(classes)

    @model("uncopied", reference="none")
    def uncopied(classes: int, size: int) -> nn.Module:
        """A network."""
        return _Uncopied(classes)

    @model("no-such-layer", reference="none", target_layer="features")
    def no_such_layer(classes: int, size: int) -> nn.Module:
        """A network."""
        return _net(classes)

    @model("flat-layer", reference="none", target_layer="3")
    def flat_layer(classes: int, size: int) -> nn.Module:
        """A network."""
        return _net(classes)

    @model("unstated", reference="none", pretrained=_offer())
    def unstated(classes: int, size: int) -> nn.Module:
        """A network."""
        return _net(classes)

    @model("in-bytes", reference="none", pretrained=_offer(mean=(124.0,), std=(58.0,)))
    def in_bytes(classes: int, size: int) -> nn.Module:
        """A network."""
        return _net(classes)


SOUND = Registry()
with SOUND.collecting():

    @model("answers-in-a-dict", reference="unpublished", target_layer="inner.0")
    def answers_in_a_dict(classes: int, size: int) -> nn.Module:
        """Logits beside something else; images of 64 pixels alone."""
        if size != 64:
            raise ParameterError("it takes images of 64 pixels.")
        return _Changed(classes, after=lambda y, x: {"logits": y, "size": x.shape})

    @model("with-weights", reference="unpublished", gradients=False,
           pretrained=_offer(mean=(0.5,), std=(0.2,), classes=("cat", "dog", "fox")))  # fmt: skip
    def with_weights(classes: int, size: int) -> nn.Module:
        """Weights of its own, three classes, and nothing that lets gradients through."""
        return _Changed(3, before=lambda x: x.detach())
