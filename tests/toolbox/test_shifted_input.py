"""A model whose first layer undoes a shift of its input answers the same, whatever that layer is."""

import pytest
import torch
from torch import Tensor, nn

from interpbench.core.errors import ParameterError
from interpbench.testing.models import MODELS
from interpbench.toolbox.shifted_input import undoing_shift
from tests.tiny_models import convolutional, wrap

SIDE, CLASSES = 9, 5


def images(side: int = SIDE) -> Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))


class Branches(nn.Module):
    """Two layers see the image, one of them its values as a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, CLASSES, 3, stride=2, padding=1, bias=False)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x).relu().mean((2, 3)) + self.head(x)


class Normalising(nn.Module):
    """Does something to the image before its first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = convolutional(SIDE, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x * x)


def first(layer: nn.Module) -> nn.Module:
    return nn.Sequential(
        layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)
    )


NETWORKS = {
    "plain": lambda: convolutional(SIDE, CLASSES),
    "no bias": lambda: first(nn.Conv2d(3, 6, 3, padding=2, bias=False)),
    "uneven": lambda: first(nn.Conv2d(3, 6, (4, 2), padding="same", dilation=(1, 2))),
    "two paddings": lambda: first(nn.Conv2d(3, 6, 3, padding=(0, 2), stride=2)),
    "groups": lambda: first(nn.Conv2d(3, 6, 3, groups=3)),
    "replicate": lambda: first(nn.Conv2d(3, 6, 3, padding=1, padding_mode="replicate")),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, CLASSES)),
    "branches": Branches,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shift", [-1.0, 0.5])
def test_the_answers_and_gradients_are_the_same(name: str, shift: float) -> None:
    torch.manual_seed(0)
    model, x = wrap(NETWORKS[name](), SIDE, CLASSES), images()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    copied = undoing_shift(model, x[:2], 0, shift=shift)
    answers = []
    for network, image in ((model, x.clone()), (copied, x + shift)):
        image.requires_grad_()
        logits = network(image)
        answers.append((logits.detach(), torch.autograd.grad(logits[:, 1].sum(), image)[0]))
    for expected, found in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(copied(x), answers[0][0], atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_layers_behind_the_first_stand_under_their_names(name: str) -> None:
    model = MODELS[name]()
    x = images(16)
    copied = undoing_shift(model, x, 0, shift=-1.0)
    torch.testing.assert_close(copied(x - 1), model(x), rtol=0, atol=1e-4)
    assert type(copied.target_layer) is type(model.target_layer)
    names = [name for name, _ in model.network.named_modules()]
    assert set(names) <= {name for name, _ in copied.network.named_modules()}


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Normalising(), "its answers become others"),
        (
            nn.Sequential(nn.ReLU(), *convolutional(SIDE, CLASSES)),
            r"0 \(ReLU\) sees the image first",
        ),
    ],
)
def test_where_it_cannot_be_undone_it_is_refused(network: nn.Module, why: str) -> None:
    with pytest.raises(ParameterError, match=f"{why}. Leave the metric"):
        undoing_shift(wrap(network, SIDE, CLASSES), images(), 0, shift=-1.0)
