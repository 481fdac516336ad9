"""What a device does in the time of a multiply-add: the constants of the model of costs."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Costs:
    """In the time of so many multiply-adds at full speed a device ...

    Attributes:
        number: writes a number and reads it again,
        moved: gathers a number of a box or pastes it,
        position: finds where a position of a box lies,
        weight: brings a weight into the order that a batch needs,
        call: calls a layer,
        box: calls it for boxes.
    """

    number: float
    moved: float
    position: float
    weight: float
    call: float
    box: float


CPU = Costs(10, 20, 400, 30, 2e6, 10e6)  # measured on a core that does 70 billion multiply-adds a second
# Not measured: 10^13 multiply-adds and 2·10^12 bytes a second, 5 µs a kernel, all rounded to the disadvantage of boxes.
GPU = Costs(80, 200, 400, 40, 50e6, 600e6)


def costs_of(device: torch.device) -> Costs:
    """Those of the kind of device."""
    return CPU if device.type == "cpu" else GPU
