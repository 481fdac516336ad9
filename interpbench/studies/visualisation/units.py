"""What is to answer as much as it can: a channel of a layer, one of its neurons, or a class."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpbench.core.errors import InterpBenchError, MethodError, ParameterError, in_one_line
from interpbench.core.layers import as_maps
from interpbench.core.types import Model

CHANNEL, NEURON, LOGIT = "channel", "neuron", "logit"
OBJECTIVES = (CHANNEL, NEURON)  # of a layer


@dataclass(frozen=True)
class Unit:
    """Something of a network that answers to images.

    Attributes:
        layer: its dotted name; None for the logits.
        index: of the channel, or of the logit.
        name: as people read it, `channel 3` or a class.
        objective: what of it is meant: the mean of a `channel` over all positions, the `neuron` in
            its middle, or a `logit`.
    """

    layer: str | None
    index: int
    name: str
    objective: str

    @property
    def slug(self) -> str:
        """For the name of a file."""
        return f"class-{self.index}-{self.name}" if self.layer is None else f"channel-{self.index}"


class _Reached(Exception):
    """The layer has answered; what comes behind it need not be computed."""


class Answering:
    """What a network's layer, or its logits, say of images.

    A layer that is called several times is meant as it is called last.
    """

    def __init__(self, model: Model, layer: str | None) -> None:
        """Nothing is called yet.

        Parameters:
            model: is left as it was.
            layer: dotted name; None for the logits.

        Raises:
            MethodError: if there is no such layer.
        """
        self.model = model
        self.layer = layer
        self._module = None if layer is None else model.layer(layer)
        self._calls = 0  # of the layer in a pass; 0 where that is not known yet

    def size(self, x: Tensor) -> int:
        """How many channels, or logits, there are, found with images [B,C,H,W].

        Raises:
            MethodError: if the layer gives nothing that has channels.
            ParameterError: if the network fails with such images.
        """
        with torch.no_grad():
            try:
                return self._outputs(x).shape[1]
            except InterpBenchError:
                raise
            except Exception as error:
                height, width = x.shape[2:]
                raise ParameterError(
                    f"Model {self.model.card.name!r} fails with images of {height}x{width}: "
                    f"{in_one_line(error)}. Leave out --size, or give one that it takes."
                ) from error

    def of(self, units: Sequence[Unit], x: Tensor) -> Tensor:
        """What each of B units says of its image, float32 [B], with a gradient.

        Parameters:
            units: of this layer.
            x: float32 [B,C,H,W], normalised.
        """
        outputs = self._outputs(x)
        indices = torch.tensor([unit.index for unit in units], device=x.device)
        own = outputs[torch.arange(len(units), device=x.device), indices]
        middle = own[:, own.shape[1] // 2, own.shape[2] // 2]
        is_neuron = torch.tensor([unit.objective == NEURON for unit in units], device=x.device)
        return torch.where(is_neuron, middle, own.mean((1, 2)))

    def _outputs(self, x: Tensor) -> Tensor:
        """[B,K,h,w]; of a vector, and of logits, h and w are 1."""
        if self._module is None:
            logits: Tensor = self.model.network(x)
            return logits[:, :, None, None]
        outputs: list[Tensor] = []
        with self._listening(outputs, x.shape[2:]), suppress(_Reached):
            self.model.network(x)
        if not outputs:
            raise MethodError(
                f"Layer {self.layer!r} of model {self.model.card.name!r} is not called for an "
                "image. Name another with --layer."
            )
        self._calls = self._calls or len(outputs)
        return outputs[-1]

    @contextmanager
    def _listening(self, outputs: list[Tensor], image: Sequence[int]) -> Iterator[None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            is_vector = isinstance(output, Tensor) and output.ndim == 2
            maps = output[:, :, None, None] if is_vector else as_maps(output, image)
            outputs.append(maps.clone())  # what follows may work in place
            if len(outputs) == self._calls:
                raise _Reached

        assert self._module is not None
        handle = self._module.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
