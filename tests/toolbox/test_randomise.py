"""Randomised copies: which layers in which order, the same weights in every copy, and batch norms."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interpbench.core.errors import ParameterError
from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.toolbox.randomise import Randomiser
from tests.studies.sanity.networks import rigid, small
from tests.tiny_models import calibrate, convolutional, wrap


def images(size: int = 8, count: int = 6) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def normed(odd: str = "keep") -> Model:
    torch.manual_seed(0)
    return wrap(calibrate(small(5, odd), 8))


def state(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


class Backwards(nn.Module):
    """Registers its layers the other way round than it calls them, and one that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 5)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.first = nn.Linear(3, 4)
        self.token = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x.flatten(2).transpose(1, 2)) + self.token
        return self.last(self.attention(tokens, tokens, tokens)[0].mean(1))


def test_layers_stand_in_the_order_in_which_the_network_calls_them() -> None:
    assert Randomiser(wrap(convolutional()), images(), 0).layers == ["6", "2", "0"]
    assert Randomiser(normed(), images(), 0).layers == ["8", "7", "3", "1", "0"]
    found = Randomiser(wrap(Backwards()), images(), 0)
    assert found.layers == ["last", "attention.out_proj", "attention", "first"]
    assert found.left_out == ["model"]  # the token has no way to be initialised again


def test_a_layer_gets_the_weights_of_its_own_seed_in_every_copy() -> None:
    model = wrap(convolutional())
    randomiser = Randomiser(model, images(), 3)
    cascade, alone = list(randomiser.cascading()), list(randomiser.independent())
    assert [made.layer for made in cascade] == [made.layer for made in alone] == ["6", "2", "0"]
    assert [made.index for made in cascade] == [1, 2, 3]
    expected = {}
    for name in randomiser.layers:
        layer = copy.deepcopy(model.network.get_submodule(name))
        torch.manual_seed(derive(3, "sanity", name))
        layer.reset_parameters()
        expected |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
    trained = state(model)
    for place in range(3):
        new = {name for name in trained if name.split(".")[0] in randomiser.layers[: place + 1]}
        only = {name for name in trained if name.split(".")[0] == randomiser.layers[place]}
        for made, changed in ((cascade[place], new), (alone[place], only)):
            for name, tensor in state(made.model).items():
                assert torch.equal(tensor, (expected if name in changed else trained)[name])
    [complete] = randomiser.complete()
    assert all(
        torch.equal(tensor, expected[name]) for name, tensor in state(complete.model).items()
    )


def test_other_seeds_give_other_weights_and_the_callers_chance_is_left_alone() -> None:
    model = wrap(convolutional())
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    weights = [
        state(next(Randomiser(model, images(), seed).complete()).model)["0.weight"]
        for seed in (0, 1)
    ]
    assert torch.rand(1) == expected
    assert not torch.equal(*weights)


def test_the_model_itself_stays_as_it_is() -> None:
    model = normed()
    before, x = state(model), images()
    logits = model(x)
    randomiser = Randomiser(model, x, 0)
    for made in [*randomiser.cascading(), *randomiser.independent()]:
        assert not any(module.training for module in made.model.modules())
        assert not any(parameter.requires_grad for parameter in made.model.parameters())
        assert made.model.network[1].momentum == model.network[1].momentum
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(model).items())
    assert torch.equal(model(x), logits)


def test_batch_norms_behind_new_weights_measure_what_they_see() -> None:
    model, x = normed(), images()
    [*_, complete] = Randomiser(model, x, 0).cascading()
    seen = complete.model.network[0](x).double().numpy()
    norm = complete.model.network[1]
    np.testing.assert_allclose(norm.running_mean, seen.mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(norm.running_var, seen.var(axis=(0, 2, 3), ddof=1), rtol=1e-5)
    assert norm.weight.tolist() == [1] * 6


def test_batch_norms_that_see_what_they_always_saw_keep_their_statistics() -> None:
    model = normed()
    copies = list(Randomiser(model, images(), 0).cascading())
    for made in copies[:3]:  # down to the second convolution
        assert torch.equal(made.model.network[1].running_mean, model.network[1].running_mean)
        assert torch.equal(made.model.network[1].running_var, model.network[1].running_var)
    assert not torch.equal(copies[4].model.network[1].running_var, model.network[1].running_var)


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ParameterError, match="no layer that can be initialised again"):
        Randomiser(wrap(rigid(), classes=4), images(), 0)
