"""A network as layers of which a part can be computed.

It is traced by torch.fx, and batch norms are folded into convolutions. A `NetworkStep` makes one
map from others. It reads a known neighbourhood of each position, so that a box of its output needs
but a box of its inputs with a margin. Steps reach from the image as far as every layer is of a kind
that is known here; what comes behind stays a graph of torch.fx and runs on whole maps.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from interpbench.fast.occlusion.layers import Layer, layer, parameters


@dataclass(frozen=True)
class NetworkStep:
    """One map: a layer, and what is done to each position of its output.

    Attributes:
        name: of the map.
        inputs: the maps that the layer reads.
        shape: of the map, [C,H,W].
        layer: which makes it.
        then: further functions, position by position.
    """

    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, int, int]
    layer: Layer
    then: tuple[Callable[[Tensor], Tensor], ...] = ()

    def __call__(self, *patches: Tensor) -> Tensor:
        """The map, or a part of it, from the parts [n,C,h,w] that it reads."""
        values = self.layer.call(*patches)
        for function in self.then:
            values = function(values)
        return values


@dataclass(frozen=True)
class Program:
    """A network, traced.

    Attributes:
        graph: the whole of it; each node has the shape of its output for one image in
            `meta["shape"]`.
        image: the name of its input.
        steps: map -> how it is made, in order.
        cuts: maps through which alone the image reaches the logits, in order.
        shapes: map -> [C,H,W], the image's too.
        device: where all of it is.
    """

    graph: fx.GraphModule
    image: str
    steps: dict[str, NetworkStep]
    cuts: tuple[str, ...]
    shapes: dict[str, tuple[int, int, int]]
    device: torch.device

    @property
    def largest(self) -> int:
        """The most numbers that a plain pass keeps of an image: those of the largest map."""
        return largest(self.graph)

    def until(self, cut: str) -> list[NetworkStep]:
        """The steps from the image to a map, that map's included."""
        names = list(self.steps)
        return [self.steps[name] for name in names[: names.index(cut) + 1]]


def trace(model: nn.Module, x: Tensor) -> Program:
    """The program of a model in eval mode, which is left as it is.

    Parameters:
        model: gives logits [B,classes].
        x: [1,C,H,W], an image.

    Raises:
        Exception: of many kinds, if it cannot be traced.
    """
    root = copy.copy(model)  # constants that tracing finds become attributes of the root
    graph = fx.GraphModule(root, fx.Tracer().trace(root))
    _give_own_convolutions(graph)
    graph = cast(fx.GraphModule, fuse(graph, inplace=True, no_trace=True))
    _Shapes(graph).run(x.clone())
    image = next(node.name for node in graph.graph.nodes if node.op == "placeholder")
    steps = _steps(graph, image)
    cuts = tuple(node.name for node in bottlenecks(graph.graph) if node.name in steps)
    shapes = {image: (x.shape[1], x.shape[2], x.shape[3])} | {
        name: step.shape for name, step in steps.items()
    }
    return Program(graph, image, steps, cuts, shapes, x.device)


def largest(graph: fx.GraphModule) -> int:
    """The most numbers that any node gives for an image; parameters are there once for all."""
    own = [node for node in graph.graph.nodes if node.op != "get_attr" and "shape" in node.meta]
    return max(math.prod(node.meta["shape"]) for node in own)


def linear_weights(graph: fx.GraphModule) -> int:
    """How many numbers its linear layers hold."""
    return sum(module.weight.numel() for module in graph.modules() if isinstance(module, nn.Linear))


def split(graph: fx.GraphModule, cuts: Sequence[str]) -> list[fx.GraphModule]:
    """The parts of a graph behind each of the cuts, up to the next.

    Each takes one tensor and gives one. What is no function of the image, such as a bare parameter,
    is in every part that reads it.
    """
    ends = [*cuts[1:], next(node.name for node in graph.graph.nodes if node.op == "output")]
    return [_part(graph, cut, end) for cut, end in zip(cuts, ends, strict=True)]


def _part(graph: fx.GraphModule, cut: str, end: str) -> fx.GraphModule:
    """The nodes behind one up to another, with the constants that they read."""
    nodes = list(graph.graph.nodes)
    names = [node.name for node in nodes]
    constant = set(nodes) - of_the_image(graph.graph)
    part, copies = fx.Graph(), dict[fx.Node, fx.Node]()

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:
            for source in node.all_input_nodes:
                copied(source)
            copies[node] = part.node_copy(node, copies.__getitem__)
        return copies[node]

    copies[nodes[names.index(cut)]] = part.placeholder(cut)
    for node in nodes[names.index(cut) + 1 : names.index(end) + 1]:
        if node not in constant:
            copied(node)
    if nodes[-1].name != end:
        part.output(copies[nodes[names.index(end)]])
    return fx.GraphModule(graph, part)


def of_the_image(graph: fx.Graph) -> set[fx.Node]:
    """The nodes that depend on the input, and the output."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op in ("placeholder", "output") or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def bottlenecks(graph: fx.Graph) -> Iterator[fx.Node]:
    """The nodes through which alone the input reaches the output, in order.

    What is no function of the input counts for nothing.
    """
    image = of_the_image(graph)
    nodes = [node for node in graph.nodes if node in image and node.op != "output"]
    position = {node: i for i, node in enumerate(graph.nodes)}
    furthest = -1
    for node in nodes:
        if furthest <= position[node]:
            yield node
        furthest = max([furthest, *(position[user] for user in node.users)])


def _give_own_convolutions(graph: fx.GraphModule) -> None:
    """A convolution of its own for each call, since two calls may be followed by different norms.

    Their weights lie in the order of the maps.
    """
    for node in graph.graph.nodes:
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            own = copy.deepcopy(module).to(memory_format=torch.channels_last)
            node.target = f"own_{node.name}"
            graph.add_submodule(node.target, own)


def _steps(graph: fx.GraphModule, image: str) -> dict[str, NetworkStep]:
    """Map -> the step that makes it, as far as `layer` knows every layer on the way."""
    steps: dict[str, NetworkStep] = {}
    of_image = of_the_image(graph.graph)
    for node in graph.graph.nodes:
        sources = [source for source in node.all_input_nodes if source in of_image]
        inputs = tuple(source.name for source in sources)
        shape = node.meta.get("shape", ())
        is_map = len(shape) == 4 and shape[0] == 1
        if not is_map or not inputs or any(name not in (*steps, image) for name in inputs):
            continue
        computed = len(node.all_input_nodes) > len(sources) + len(parameters(node))
        own = None if computed else layer(graph, node)
        if own is None:
            continue
        before = steps.get(inputs[0]) if len(sources[0].users) == 1 else None
        if own.in_place and not (before and before.layer.fresh):
            continue  # what it overwrites may be read elsewhere
        if before and own.pointwise and len(inputs) == 1:
            del steps[before.name]
            then = (*before.then, own.call)
            steps[node.name] = replace(before, name=node.name, shape=shape[1:], then=then)
        else:
            steps[node.name] = NetworkStep(node.name, inputs, shape[1:], own)
    return steps


class _Shapes(fx.Interpreter):
    """Notes the shape of what each node gives."""

    def run_node(self, n: fx.Node) -> object:
        output = super().run_node(n)
        if isinstance(output, Tensor):
            n.meta["shape"] = tuple(output.shape)
        return output
