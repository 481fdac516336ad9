"""What passes models is counted where somebody asks, whichever way a gradient is asked for."""

import torch
from torch import Tensor, nn

from interpbench.core.passes_counted import PassCount, count_windows, counting, uncounted
from interpbench.core.types import Model
from interpbench.testing import wrap

X, TARGET = torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 1])


def the_model() -> Model:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return wrap(network, size=8, classes=2)


def score(model: Model, x: Tensor) -> Tensor:
    return model(x).gather(1, TARGET[:, None]).sum()


def test_images_are_counted_forwards_and_backwards() -> None:
    model = the_model()
    with counting() as count:
        model(X)
        x = X.clone().requires_grad_()
        assert torch.autograd.grad(score(model, x), x)[0].shape == X.shape
        count_windows(7)
    assert count == PassCount(forwards=6, backwards=3, windows=7)


def test_backward_passes_are_counted_as_often_as_they_are_made() -> None:
    model, x = the_model(), X.clone().requires_grad_()
    with counting() as count:
        whole = score(model, x)
        for _ in range(2):
            torch.autograd.grad(whole, x, retain_graph=True)
    assert (count.forwards, count.backwards) == (3, 6)


def test_gradients_by_torch_func_are_counted() -> None:
    model = the_model()
    with counting() as count:
        torch.func.grad(lambda x: score(model, x))(X)
    assert (count.forwards, count.backwards) == (3, 3)


def test_tracing_is_no_pass() -> None:
    model = the_model()
    with counting() as count:
        traced = torch.fx.symbolic_trace(model)
    assert count == PassCount()
    assert torch.equal(traced(X), model(X))


def test_who_counts_outside_counts_what_is_counted_inside() -> None:
    model, x = the_model(), X.clone().requires_grad_()
    with counting() as outside:
        model(X)
        with counting() as inside:
            torch.autograd.grad(score(model, x), x)
            count_windows(2)
        with uncounted():
            model(X)
            count_windows(5)
        model(X)
    assert inside == PassCount(forwards=3, backwards=3, windows=2)
    assert outside == PassCount(forwards=9, backwards=3, windows=2)


def test_outside_nothing_is_counted() -> None:
    model = the_model()
    with counting() as count:
        pass
    model(X)
    count_windows(1)
    assert count == PassCount()
