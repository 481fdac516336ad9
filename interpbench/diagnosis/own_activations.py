"""Gives activations modules of their own where a layer calls them as functions or several times.

torch.fx traces the forward of that layer alone; the layers below it stay as they are, so that all
keep their names, their hooks and their keys in the state dict. Control flow is fixed as it went: in
eval mode, for this kind of input.
"""

import copy
import inspect
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from interpbench.core.activations import ACTIVATION_MODULES, ACTIVATIONS, is_in_place


class Rewritten(nn.Module):
    """A layer with another forward; children, parameters, buffers and hooks are the original's."""

    def __init__(self, original: nn.Module, graph: fx.Graph) -> None:
        super().__init__()
        vars(self).update(vars(original))
        stubs: dict[str, Any] = {}
        for node in graph.nodes:
            if node.op == "call_module":
                stubs[str(node.target)] = nn.Identity()
            elif node.op == "get_attr":
                stubs[str(node.target)] = torch.empty(0)
        # Of this GraphModule only the code is used, since copies of a GraphModule lose the layers
        # that it does not call. It is in a tuple so that it is no child.
        self._code = (fx.GraphModule(stubs, graph, type(original).__name__),)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """What the original returns."""
        return type(self._code[0]).forward(self, *arguments, **named)


class _OneLevel(fx.Tracer):
    """Traces into no layer below."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def with_own_activations(layer: nn.Module, arguments: Mapping[str, Any] | None = None) -> Rewritten:
    """The layer with a module for each call of an activation.

    `layer` itself must not be used any more. New modules are called after what they stand for
    (`relu`, `relu_1`), and stand before the other children, so that a layer which is counted from
    the last stays the same. They do not overwrite their input.

    Parameters:
        layer: in eval mode.
        arguments: what it is called with, see `calling`; numbers, texts and None among them are
            fixed to what they are. None for the defaults.

    Raises:
        Exception: of many kinds, if the forward cannot be traced: control flow that depends on
            values, layers that are not registered.
    """
    if "forward" in vars(layer):
        raise ValueError("its forward is patched onto the instance, where torch.fx does not see it")
    before = set(vars(layer))
    graph = _trace(layer, arguments)
    for constant in set(vars(layer)) - before:  # of tracing; as buffers they follow to(device)
        layer.register_buffer(constant, vars(layer).pop(constant), persistent=False)
    children = dict(layer._modules)
    _separate(layer, graph)
    _make_modules(layer, graph)
    added = {name: module for name, module in layer._modules.items() if name not in children}
    layer._modules = added | children
    graph.lint()
    return Rewritten(layer, graph)


def calling(network: nn.Module, names: Iterable[str], x: Tensor) -> dict[str, dict[str, Any]]:
    """What layers are called with in a forward pass: layer -> parameter -> value.

    Raises what the network raises.
    """
    arguments: dict[str, dict[str, Any]] = {}

    def note(name: str, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = inspect.signature(layer.forward).bind(*args, **kwargs)
        call.apply_defaults()
        arguments[name] = dict(call.arguments)

    layers = {name: network.get_submodule(name) for name in names}
    handles = [
        layer.register_forward_pre_hook(partial(note, name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return arguments


def _trace(layer: nn.Module, arguments: Mapping[str, Any] | None) -> fx.Graph:
    """The graph of the layer's forward."""
    parameters = list(inspect.signature(layer.forward).parameters.values())
    if arguments is None:
        arguments = {p.name: p.default for p in parameters if p.default is not p.empty}
    fixed = {
        name: value
        for name, value in arguments.items()
        if isinstance(value, int | float | str | None)
    }
    graph = _OneLevel().trace(layer, concrete_args=fixed)
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, parameter in zip(placeholders, parameters, strict=True):
        if parameter.name in fixed:  # torch.fx gives these other names, and callers may use them
            node.target = parameter.name
    # Once a copy with torch's own function is unpickled, torch.fx traces nothing any more.
    for node in graph.nodes:
        if getattr(node.target, "__name__", "") == "_assert_is_none":
            node.target = must_be_none
            node.meta.pop("is_wrapped", None)
    return graph


def must_be_none(value: Any, message: str) -> None:
    """Raises AssertionError if an argument is given that tracing fixed to None."""
    if isinstance(value, fx.Proxy):  # traced once more, as a copy is unpickled
        value.tracer.create_proxy("call_function", must_be_none, (value, message), {})
    elif value is not None:
        raise AssertionError(message)


def _separate(layer: nn.Module, graph: fx.Graph) -> None:
    """Every call of an activation module but its last, the one hooks saw, goes to a copy of it."""
    calls: dict[nn.Module, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op == "call_module":
            calls[layer.get_submodule(str(node.target))].append(node)
    for module, nodes in calls.items():
        if isinstance(module, ACTIVATION_MODULES):
            for node in nodes[:-1]:
                name = str(node.target).rpartition(".")[2]
                node.target = _add(layer, name, copy.deepcopy(module))


def _make_modules(layer: nn.Module, graph: fx.Graph) -> None:
    """Every activation that is called as a function becomes a module."""
    position = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(position):
        name = _activation(node)
        if name is None:
            continue
        source = node.args[0] if node.args else node.kwargs["input"]
        module = _module(name, node).train(layer.training)
        with graph.inserting_after(node):
            call = graph.call_module(_add(layer, name.rstrip("_"), module), (source,))
        position[call] = position[node]
        node.replace_all_uses_with(call)
        if is_in_place(name, node.args, node.kwargs):  # who reads the input later meant the output
            for user in list(source.users):
                if position[user] > position[node]:
                    user.replace_input_with(source, call)
        graph.erase_node(node)


def _activation(node: fx.Node) -> str | None:
    """The name of the activation that a node calls as a function, if it does."""
    if node.op not in ("call_function", "call_method"):
        return None
    if isinstance(node.target, str):  # a method of a tensor
        name, home = node.target, "torch"
    else:
        name = getattr(node.target, "__name__", "")
        home = getattr(node.target, "__module__", None) or "torch"
    return name if home.startswith("torch") and name.rstrip("_") in ACTIVATIONS else None


def _module(name: str, node: fx.Node) -> nn.Module:
    """The module that does what the function does with these arguments."""
    module, arguments = ACTIVATIONS[name.rstrip("_")]
    values = dict(zip(arguments, node.args[1:], strict=False))
    values |= {key: value for key, value in node.kwargs.items() if key in arguments}
    computed = any(isinstance(value, fx.Node) for value in values.values())
    if computed or node.kwargs.get("return_indices"):
        raise ValueError(f"{name} is called with arguments that no module takes")
    return module(**values)


def _add(layer: nn.Module, name: str, module: nn.Module) -> str:
    """Adds a child by that name, or that name with a number; the name."""
    number, free = 0, name
    while hasattr(layer, free):
        number += 1
        free = f"{name}_{number}"
    layer.add_module(free, module)
    return free
