"""Finding a network's layers."""

from torch import nn


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The submodule with a dotted name, in which a negative number counts from the last child: `encoder.layers.-1`.

    Raises:
        AttributeError: if there is none.
    """
    module = network
    for part in name.split("."):
        children = list(module.children())
        from_last = part.removeprefix("-") if part.startswith("-") else ""
        if from_last.isdecimal() and 0 < int(from_last) <= len(children):
            module = children[-int(from_last)]
        else:
            module = module.get_submodule(part)
    return module
