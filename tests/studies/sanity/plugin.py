"""The networks as models, and methods whose similarity is known in advance."""

import torch

from interpbench import method, model
from tests.studies.sanity import networks


@model("small", target_layer="2")
def small(classes, size, *, odd: str = "keep"):
    """Two convolutions and two linear layers, one of them odd."""
    return networks.small(classes, odd)


@model("rigid")
def rigid(classes, size):
    """Has no parameters at all."""
    return networks.rigid()


@model("line")
def line(classes, size):
    """A single linear layer: the gradient of a logit is a row of its weights."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * size * size, classes))


@method("edges", gradients=False)
def edges(model, x, target):
    """Ignores the model and the class."""
    return (x - x.roll(1, 3)).abs().sum(1)


@method("slope")
def slope(model, x, target):
    """Signed: the gradient of the logit, summed over channels."""
    x = x.requires_grad_()
    (found,) = torch.autograd.grad(model(x).gather(1, target[:, None]).sum(), x)
    return found.sum(1)


@method("every-class")
def every_class(model, x, target):
    """Reads the model, but not the class."""
    x = x.requires_grad_()
    (found,) = torch.autograd.grad(model(x).square().sum(), x)
    return found.abs().sum(1)


@method("ramp", gradients=False)
def ramp(model, x, target):
    """A ramp along the rows, upside down for odd classes."""
    rows = torch.linspace(0.1, 1, x.shape[2])[:, None].expand(*x.shape[2:])
    return torch.where((target % 2 == 1)[:, None, None], rows.flip(0), rows)


@method("knows-one", gradients=False)
def knows_one(model, x, target):
    """Works on the model with its own weights alone."""
    if not hasattr(knows_one, "weight"):
        knows_one.weight = model.network[-1].weight.clone()
    if not torch.equal(knows_one.weight, model.network[-1].weight):
        raise RuntimeError("never saw this model")
    return x.sum(1)
