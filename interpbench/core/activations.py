"""The activations that torch has, as functions and as modules."""

from typing import Any

from torch import nn

# Activations: the function's name (in place with an underscore) -> its module, and the arguments
# that both take after the input. Max pooling is among them since DeepLIFT has a rule for it too.
ACTIVATIONS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "relu": (nn.ReLU, ()),
    "relu6": (nn.ReLU6, ()),
    "hardtanh": (nn.Hardtanh, ("min_val", "max_val")),
    "leaky_relu": (nn.LeakyReLU, ("negative_slope",)),
    "elu": (nn.ELU, ("alpha",)),
    "celu": (nn.CELU, ("alpha",)),
    "selu": (nn.SELU, ()),
    "silu": (nn.SiLU, ()),
    "mish": (nn.Mish, ()),
    "gelu": (nn.GELU, ("approximate",)),
    "hardswish": (nn.Hardswish, ()),
    "hardsigmoid": (nn.Hardsigmoid, ()),
    "sigmoid": (nn.Sigmoid, ()),
    "tanh": (nn.Tanh, ()),
    "softplus": (nn.Softplus, ("beta", "threshold")),
    "max_pool2d": (nn.MaxPool2d, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
}


ACTIVATION_MODULES = tuple(module for module, _ in ACTIVATIONS.values())


def is_in_place(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a function of `ACTIVATIONS`, called with these arguments, overwrites its input."""
    if name.endswith("_") or kwargs.get("inplace", False):
        return True
    inplace_at = 1 + len(ACTIVATIONS[name][1])  # where `inplace` stands among the arguments
    return name != "max_pool2d" and args[inplace_at : inplace_at + 1] == (True,)
