"""What CAM methods look at: a layer's maps, their gradients, and logits with changed channels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from interpbench.core.batch_size import is_out_of_memory
from interpbench.core.layers import as_maps
from interpbench.core.passes_counted import count_pass
from interpbench.core.stand_ins import stand_in_with_layer
from interpbench.core.types import Model


def activations_and_gradients(
    model: Model, layer: str | None, x: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """A layer's maps [B,K,h,w] and d logit_target / d maps, of the same shape.

    By one forward pass, and one backward pass to the layer only. Tokens come as maps, see
    `as_maps`. Methods that ask for the same layer and images share the passes.

    Parameters:
        model: is left as it was.
        layer: dotted name; None for the one that the model's card names.
        x: float32 [B,C,H,W], normalised.
        target: int64 [B].

    Raises:
        MethodError: if there is no such layer, or it gives no maps.

    Example:
        A network that pools 4x4 pixels and adds up what comes of it, for either class:

        >>> from interpbench.testing import wrap
        >>> network = torch.nn.Sequential(
        ...     torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(12, 2, bias=False))
        >>> _ = torch.nn.init.ones_(network[2].weight)
        >>> model = wrap(network, size=8, classes=2)
        >>> x, target = torch.full((1, 3, 8, 8), 5.0), torch.tensor([1])
        >>> maps, gradients = interpbench.activations_and_gradients(model, "0", x, target)
        >>> maps.shape, gradients.shape
        (torch.Size([1, 3, 2, 2]), torch.Size([1, 3, 2, 2]))
        >>> maps.unique(), gradients.unique()
        (tensor([5.]), tensor([1.]))
    """
    module, image = _module(model, layer), x.shape[2:]

    def make() -> tuple[Tensor, Tensor]:
        outputs: list[Tensor] = []

        def cut(output: Tensor) -> Tensor:
            outputs.append(output.detach().requires_grad_())
            return outputs[-1].clone()  # what follows may work in place

        with torch.enable_grad():
            score = _logits(model, module, cut, x).gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, outputs[-1])
        return _maps(outputs[-1].detach(), image), _maps(gradient, image)

    activations, gradients = model.shared.once(
        ("activations and gradients", module), model, x, target, make
    )
    return activations, gradients


def layer_activations(model: Model, layer: str | None, x: Tensor) -> Tensor:
    """A layer's maps [B,K,h,w], without gradients.

    Arguments and errors are those of `activations_and_gradients`.

    Example:
        >>> from interpbench.testing import wrap
        >>> network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten())
        >>> model = wrap(network, size=8, classes=12, target_layer="0")
        >>> x = torch.full((1, 3, 8, 8), 5.0)
        >>> interpbench.layer_activations(model, None, x)[0, 0]  # of the card's layer
        tensor([[5., 5.],
                [5., 5.]])
    """
    module = _module(model, layer)

    def make() -> tuple[Tensor]:
        outputs: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            outputs.append(output.detach().clone())
            return output

        with torch.no_grad():
            _logits(model, module, keep, x)
        return (_maps(outputs[-1], x.shape[2:]),)

    # A pass that went on to the gradients has made the activations too.
    with_gradients = model.shared.computed(("activations and gradients", module), model, x)
    if with_gradients:
        return with_gradients[0]
    return model.shared.once(("activations", module), model, x, None, make)[0]


def logits_with_scaled_channels(
    model: Model, layer: str | None, x: Tensor, factors: Tensor
) -> Tensor:
    """The logits [B,classes] when the channels of a layer's maps are scaled.

    Of several variants of each image, [B,S,classes]: then the layers before only see the image
    once, unless what follows goes back to what they gave and takes no more images than that.

    Parameters:
        model: is left as it was.
        layer: dotted name; None for the one that the model's card names.
        x: float32 [B,C,H,W], normalised.
        factors: float [B,K], what each of the K channels is multiplied by; or [B,S,K], for S
            variants of each image.

    Raises:
        MethodError: if there is no such layer, or it gives no maps.

    Example:
        The network adds up 3 channels of 4 positions, all of them 5. Without the first channel:

        >>> from interpbench.testing import wrap
        >>> network = torch.nn.Sequential(
        ...     torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(12, 2, bias=False))
        >>> _ = torch.nn.init.ones_(network[2].weight)
        >>> model = wrap(network, size=8, classes=2)
        >>> x, factors = torch.full((1, 3, 8, 8), 5.0), torch.tensor([[0.0, 1.0, 1.0]])
        >>> model(x)
        tensor([[60., 60.]])
        >>> interpbench.logits_with_scaled_channels(model, "0", x, factors)
        tensor([[40., 40.]])
    """
    module = _module(model, layer)
    if factors.ndim == 2:
        return _scaled(model, module, x, factors)
    pairs = zip(x, factors, strict=True)
    return torch.stack([_variants(model, module, image[None], its) for image, its in pairs])


def _variants(model: Model, module: nn.Module, image: Tensor, factors: Tensor) -> Tensor:
    """The logits [S,classes] of variants of an image [1,C,H,W], by factors [S,K]."""
    try:
        logits = _scaled(model, module, image, factors)
        if len(logits) == len(factors):
            return logits
    except Exception as error:  # what follows has another number of images before its eyes
        if is_out_of_memory(error):
            raise
    return _scaled(model, module, image.expand(len(factors), -1, -1, -1), factors)


def _scaled(model: Model, module: nn.Module, x: Tensor, factors: Tensor) -> Tensor:
    """The logits [S,classes] of S images, or of one that becomes S at the layer."""

    def scale(output: Tensor) -> Tensor:
        count = max(len(output), len(factors))
        output = output.expand(count, *output.shape[1:]).clone()
        as_maps(output, x.shape[2:]).mul_(factors[:, :, None, None])  # a view
        return output

    with torch.no_grad():
        return _logits(model, module, scale, x)


def _logits(
    model: Model, module: nn.Module, change: Callable[[Tensor], Tensor], x: Tensor
) -> Tensor:
    """The logits when a layer's output is changed: the model's, or of who stands in for it."""
    stand_in = stand_in_with_layer(model, module, x)
    ask, layer = (model, module) if stand_in is None else stand_in
    with changed(layer, change, x.shape[2:]):
        logits: Tensor = ask(x)
    if stand_in is not None:  # a model counts its own
        count_pass(logits)
    return logits


def _maps(output: Tensor, image: Sequence[int]) -> Tensor:
    """As maps, contiguous whatever format they were computed in."""
    return as_maps(output, image).contiguous()


@contextmanager
def changed(
    module: nn.Module, change: Callable[[Tensor], Tensor], image: Sequence[int]
) -> Iterator[None]:
    """Within this context the layer's output is `change(output)`, for images of a height and width.

    Raises:
        MethodError: if the output is no maps, before `change` sees it.
    """

    def hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        as_maps(output, image)
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _module(model: Model, layer: str | None) -> nn.Module:
    return model.target_layer if layer is None else model.layer(layer)
