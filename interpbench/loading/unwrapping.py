"""A usable module, made of what a user's builder returned.

Wrappers for training and speed are taken off, lazy layers are initialised, weights are brought to
float32; what cannot be explained at all is refused in one sentence. What was done is said.
"""

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim.swa_utils import AveragedModel

from interpbench.core.errors import PluginError
from interpbench.core.layers import hookable, is_scripted

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
LAZY = (UninitializedParameter, UninitializedBuffer)
SHOWN = 3  # names in a message
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Unwrapped:
    """A module as it can be explained.

    Attributes:
        network: with parameters of float32, and without wrappers.
        notices: what was done to get it, a sentence each.
    """

    network: nn.Module
    notices: tuple[str, ...]


class TorchScript(nn.Module):
    """A scripted or traced module behind a module that torch lets one hook and freeze.

    Its layers take no hooks, and its operations are not seen from Python.
    """

    def __init__(self, script: nn.Module) -> None:
        super().__init__()
        self.script = script

    def forward(self, x: Tensor) -> Tensor:
        """What the scripted module gives for x."""
        output: Tensor = self.script(x)
        return output


def unwrapped(built: object, what: str, shape: Shape) -> Unwrapped:
    """A module that can be explained; parts of the one given are changed.

    Parameters:
        built: what the builder returned.
        what: it is called in errors, such as `FILE.py:12: model 'FILE.py:build'`.
        shape: channels, height and width of its images, by which lazy layers are initialised.

    Raises:
        PluginError: if it is no module, or one that cannot be explained. What the module itself
            raises passes as it is.
    """
    if not isinstance(built, nn.Module):
        raise PluginError(f"{what} must return a torch.nn.Module, not {_instead(built)}.")
    network = _bare(built)
    notices = []
    if network is not built:
        notices.append(f"Unwrapped from {type(built).__name__}.")
    inner = list(_bare_inside(network))
    if inner:
        notices.append(f"Unwrapped inside: {_listed(inner)}.")
    if isinstance(network, torch.jit.ScriptModule):
        network = TorchScript(network)
    if is_scripted(network):
        notices.append(
            "Is TorchScript, in whose layers no method can look: CAM methods and those with rules "
            "for layers need the Python module that it was made from."
        )
    _refuse_unusable(network, what)
    notices += _initialise(network, shape)
    notices += _in_float32(network)
    if any(tensor.is_inference() for _, tensor in _tensors(network)):
        network = copy.deepcopy(network)  # its tensors may then be frozen and watched
    return Unwrapped(network, tuple(notices))


def lets_gradients_through(network: nn.Module, shape: Shape) -> bool:
    """Whether gradients can reach the image: not through quantised layers.

    Tried only where the layers do not tell. An ordinary network is taken at its word: why a
    gradient does not arrive is then for an examination to say.

    Parameters:
        network: in eval mode, its parameters frozen.
        shape: channels, height and width of its images.
    """
    if any(map(_is_quantised, network.modules())):  # of some, torch gives a wrong gradient
        return False
    if not any(map(_tells_nothing, network.modules())):
        return True
    x = torch.rand(1, *shape).requires_grad_()
    try:
        with torch.no_grad():
            network(x.detach())
    except Exception:  # its own fault, which shows when it is measured
        return True
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what is found here
            (gradient,) = torch.autograd.grad(network(x).sum(), x, allow_unused=True)
    except (RuntimeError, NotImplementedError):
        return False
    return gradient is not None


def _is_quantised(module: nn.Module) -> bool:
    """Whether torch.ao has quantised it."""
    home = type(module).__module__
    return home.startswith("torch.ao.nn") and "quantized" in home


def _tells_nothing(module: nn.Module) -> bool:
    """Whether it is scripted, or has weights of a class of their own, as torchao's."""
    own_class = any(type(tensor.data) is not Tensor for tensor in module.parameters(recurse=False))
    return own_class or isinstance(module, torch.jit.ScriptModule)


def _instead(built: object) -> str:
    """What a builder returned instead of a module, and what to do about it."""
    kind = type(built).__name__
    if built is None:
        return "None: end the function with `return`"
    if inspect.isclass(built) and issubclass(built, nn.Module):
        return f"the class {built.__name__}: call it, {built.__name__}(...)"
    if isinstance(built, torch.export.ExportedProgram):
        return f"{kind}: return the module that was exported, before torch.export"
    if isinstance(built, Mapping):
        return f"{kind}: build the network, and give it these weights with load_state_dict"
    if isinstance(built, tuple | list) and any(isinstance(item, nn.Module) for item in built):
        return f"{kind} of {len(built)}: return the module of them alone"
    return kind


def _bare(module: nn.Module) -> nn.Module:
    """The module that wrappers are around."""
    if isinstance(module, WRAPPERS):
        return _bare(module.module)
    if type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules:
        return _bare(module._modules["_orig_mod"] or module)
    return module


def _bare_inside(network: nn.Module) -> Iterator[str]:
    """Takes wrappers off the layers in it; their names."""
    for owner, module in hookable(network):
        if getattr(module, "_compiled_call_impl", None) is not None:  # by `module.compile()`
            module._compiled_call_impl = None
            yield owner or "the module itself"
        for name, child in module._modules.items():
            bare = child if child is None else _bare(child)
            if bare is not child:
                module._modules[name] = bare
                yield f"{owner}.{name}".removeprefix(".")


def _refuse_unusable(network: nn.Module, what: str) -> None:
    meta = [name for name, tensor in _tensors(network) if tensor.is_meta]
    if meta:
        raise PluginError(
            f"{what} has parameters on the device `meta`, which hold no numbers "
            f"({_listed(meta)}). Build it on the CPU and load its weights."
        )
    sparse = [name for name, tensor in _tensors(network) if tensor.layout is not torch.strided]
    if sparse:
        raise PluginError(
            f"{what} holds sparse tensors ({_listed(sparse)}). Make them dense with to_dense()."
        )


def _initialise(network: nn.Module, shape: Shape) -> Iterator[str]:
    """Gives lazy layers their shapes by a forward pass."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    lazy = [name for name, tensor in tensors if isinstance(tensor, LAZY)]
    if not lazy:
        return
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    layers = dict.fromkeys(name.rpartition(".")[0] or "the module itself" for name in lazy)
    yield (
        f"Lazy layers ({_listed(list(layers))}) are initialised at {list(shape)}: their weights "
        "are random unless a file of weights has them."
    )


def _in_float32(network: nn.Module) -> Iterator[str]:
    """Brings parameters and buffers to float32."""
    others = {
        str(tensor.dtype).removeprefix("torch.")
        for _, tensor in _tensors(network)
        if tensor.is_floating_point() and tensor.dtype != torch.float32
    }
    if others:
        network.float()
        yield f"Its {' and '.join(sorted(others))} weights are brought to float32."


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers that have a shape already."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not isinstance(tensor, LAZY):
            yield name, tensor


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
