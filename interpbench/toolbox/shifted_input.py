"""A copy of a model that wants its images brighter or darker by a constant, and answers the same.

The shift is undone in the bias of the first layer, b' = b - w s, as Kindermans, Hooker, Adebayo,
Alber, Schütt, Dähne, Erhan, Kim do (The (Un)reliability of saliency methods, arXiv 1711.00867,
2017), and not by a layer that subtracts it before the network. To a method that only calls the
model the two are the same. One that looks into it finds the layers under their names, and at the
first one the shifted values: behind a subtraction it would see the image as it was, and pass
without having been asked. Where the first layer pads with zeros, the copy pads with the shift, so
that it answers the same at the border too.
"""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from interpbench.core.errors import ParameterError
from interpbench.core.layers import hookable
from interpbench.core.shared_passes import Shared
from interpbench.core.types import Model

TOLERANCE = 1e-3  # of the greatest logit, by which the copy's may differ


def undoing_shift(model: Model, images: Tensor, seed: int, *, shift: float) -> Model:
    """A copy of a model whose answer for x + shift is the model's for x, see `Inputs.of_model`.

    Parameters:
        model: in eval mode; stays as it is.
        images: float32 [R,C,H,W] that stand for the data; that the answers are the same is tried on
            them.
        seed: of the run; nothing here is chance.
        shift: of all channels, in the units of the model's normalised input.

    Raises:
        ParameterError: if the network does not begin with convolutions or linear layers.

    Example:
        >>> from interpbench.testing import wrap
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(256, 2))
        >>> model, x = wrap(network, size=8, classes=2), torch.rand(4, 3, 8, 8)
        >>> copied = interpbench.undoing_shift(model, x, 0, shift=-1.0)
        >>> torch.allclose(copied(x - 1), model(x), atol=1e-5)
        True
    """
    copied = copy.deepcopy(model)
    copied.shared = Shared()  # what was computed of the original is not the copy's
    for name in _first_layers(copied, images[:1]):
        layer = copied.network.get_submodule(name)
        shifted = _shifted(layer, shift)
        if shifted is None:
            _refuse(model, f"{name or 'the network'} ({type(layer).__name__}) sees the image first")
        elif not name:
            copied.network = shifted
        else:
            parent, _, child = name.rpartition(".")
            setattr(copied.network.get_submodule(parent), child, shifted)
    with torch.no_grad():
        expected, found = model(images), copied(images + shift)
    if not float((found - expected).abs().max()) <= TOLERANCE * float(expected.abs().max()):
        _refuse(model, "its answers become others")
    return copied


def _refuse(model: Model, why: str) -> None:
    raise ParameterError(
        f"A shift of the input cannot be undone in the first layer of model {model.card.name!r}, "
        f"whose network must begin with convolutions or linear layers: {why}. Leave the metric or "
        "the model out."
    )


def _first_layers(model: Model, x: Tensor) -> list[str]:
    """The names of the innermost modules that see the image itself, or its values as a vector."""
    image = x.contiguous().clone()
    seen: dict[str, None] = {}

    def is_image(values: object) -> bool:
        here = isinstance(values, Tensor) and values.untyped_storage().data_ptr()
        return here == image.untyped_storage().data_ptr()

    def note(name: str, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if inputs and is_image(inputs[0]) and not is_image(output):  # flattening changes nothing
            seen[name] = None

    modules = [(name, each) for name, each in hookable(model.network) if not [*each.children()]]
    handles = [module.register_forward_hook(partial(note, name)) for name, module in modules]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return list(seen)


def _shifted(layer: nn.Module, shift: float) -> nn.Module | None:
    """A layer that gives for a shifted input what this one gives for the input; None if unknown."""
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return None
    weight, bias = layer.weight.detach(), layer.bias
    change = (shift * weight.double().flatten(1).sum(1)).to(weight.dtype)
    new = nn.Parameter((0 if bias is None else bias.detach()) - change, requires_grad=False)
    layer.bias = new
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros":
        return layer
    padding = _padding(layer)
    layer.padding = (0, 0)
    return nn.Sequential(nn.ConstantPad2d(padding, shift), layer) if any(padding) else layer


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    """How much a convolution pads on the left, right, top and bottom."""
    sides: list[int] = []
    for axis in (1, 0):
        if isinstance(layer.padding, str):
            reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            total = reach if layer.padding == "same" else 0
            sides += [total // 2, total - total // 2]
        else:
            sides += [layer.padding[axis]] * 2
    return sides[0], sides[1], sides[2], sides[3]
