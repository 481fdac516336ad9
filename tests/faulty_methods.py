"""A sound method, and variants with one planted fault each: what is wrong, and which contracts that breaks."""

import random
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from interpbench import MethodError, Model, method, target_gradients
from interpbench.registry.registry import Registry

SOUND = Registry()
FAULTY = Registry()
BREAKS: dict[str, dict[str, str]] = {}  # name -> contract -> words of what is found


def sound(**traits: object):
    return lambda function: _registered(SOUND, function, traits)


def faulty(breaks: dict[str, str], **traits: object):
    def decorate(function):
        BREAKS[_name(function)] = breaks
        return _registered(FAULTY, function, traits)

    return decorate


def _registered(registry: Registry, function, traits):
    with registry.collecting():
        return method(_name(function), **{"reference": "unpublished", **traits})(function)


def _name(function) -> str:
    return function.__name__.replace("_", "-")


def gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    return target_gradients(model, x[:, None], target)[:, 0].abs().amax(1)


@sound()
def plain(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """|gradient|."""
    return gradient(model, x, target)


@sound()
def double(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Of double precision."""
    return gradient(model, x, target).double()


@sound()
def single_alone(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Works in single precision alone."""
    return gradient(model, x, target) + torch.zeros(x.shape[2:], dtype=torch.float32)


@sound(coarse=True)
def small(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Smaller than the image."""
    return nn.functional.avg_pool2d(gradient(model, x, target), 4)


@sound(gradients=False, control=True)
def from_generators(
    model: Model, x: Tensor, target: Tensor, *, generators: Sequence[torch.Generator]
) -> Tensor:
    """Noise."""
    return torch.stack([torch.rand(x.shape[2:], generator=g) for g in generators])


@sound()
def signs(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Single precision makes one image's map another: the sign of what is zero but for rounding."""
    alone = 1e-3 * (x.mean(1) - x.flip(0).mean(1).flip(0)).sign() if x.dtype == torch.float32 else 0
    return gradient(model, x, target) + alone


@sound()
def choosy(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Refuses two models of three."""
    if not any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
        raise MethodError("the model has no batch norm.")
    return gradient(model, x, target)


@faulty({"documentation": "no docstring"})
def undocumented(model: Model, x: Tensor, target: Tensor) -> Tensor:
    return gradient(model, x, target)


@faulty({"documentation": "no reference"}, reference="")
def anonymous(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Nobody's."""
    return gradient(model, x, target)


@faulty({"parameters": "samples=None is not valid: expected int"})
def default(model: Model, x: Tensor, target: Tensor, *, samples: int = None) -> Tensor:  # type: ignore[assignment]  # noqa: RUF013
    """Annotated as what it is not."""
    return gradient(model, x, target)


@faulty({"applies": "plain: not today; residual: not today; tokens: not today."})
def refuses(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Explains nothing."""
    raise MethodError("not today.")


@faulty({"runs": "ZeroDivisionError: division by zero (faulty_methods.py:"})
def raises(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Fails on images of 16 pixels."""
    return x.mean(1) * (1 / (x.shape[2] // 17))


@faulty({"runs": "SystemExit: 3 (faulty_methods.py:"})
def exits(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Wants to end the program."""
    raise SystemExit(3)


@faulty({"shape": "returned a tensor [3, 3, 16, 16]; expected a tensor [3,16,16]"})
def all_channels(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Forgets to reduce the channels."""
    return target_gradients(model, x[:, None], target)[:, 0]


@faulty({"shape": "register the method with coarse=True"})
def small_unsaid(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Smaller than the image."""
    return nn.functional.avg_pool2d(gradient(model, x, target), 4)


@faulty({"shape": "returned ndarray"})
def array(model: Model, x: Tensor, target: Tensor) -> np.ndarray:
    """An array of numpy."""
    return gradient(model, x, target).numpy()


@faulty({"dtype": "torch.float16"})
def half(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Of half precision."""
    return gradient(model, x, target).half()


@faulty({"dtype": "torch.bool"})
def mask(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Yes or no."""
    return gradient(model, x, target) > 0.01


@faulty({"values": "image 1 has NaN or infinite values"})
def nan(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """NaN for the target 3, which is image 1's."""
    return gradient(model, x, target) * torch.where(target == 3, torch.nan, 1.0)[:, None, None].to(
        x
    )


@faulty({"values": "constant", "target": "the same whatever the target"})
def constant(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """The same everywhere."""
    return torch.ones_like(x[:, 0])


@faulty({"inputs": "wrote into its images"})
def writes(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Halves its images."""
    return gradient(model, x.div_(2), target)


@faulty({"clean model": "hook left behind", "exceptions": "hook left behind"})
def hook(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Leaves a hook."""
    model.network.register_forward_hook(lambda *arguments: None)
    return gradient(model, x, target)


@faulty({"clean model": "gradient left behind", "exceptions": "requires_grad changed"})
def backward(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Leaves gradients on the weights."""
    model.requires_grad_(True)
    x = x.detach().requires_grad_()
    model(x).gather(1, target[:, None]).sum().backward()
    model.requires_grad_(False)
    assert x.grad is not None
    return x.grad.abs().amax(1)


@faulty(
    {"clean model": "value changed", "exceptions": "value changed", "batch": "model.batch_size = 1"}
)
def behind_autograds_back(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Changes a weight where no version counter sees it."""
    next(model.parameters()).data.mul_(2)
    return gradient(model, x, target)


@faulty({"exceptions": "After an exception in forward pass 1 this was left on the model: network"})
def hook_without_finally(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Removes its hook only if all goes well."""
    handle = model.network.register_forward_hook(lambda *arguments: None)
    found = gradient(model, x, target)
    handle.remove()
    return found


@faulty({"exceptions": "forward pass 2 this was left on the model: global grad mode changed"})
def later(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Is careful with its first forward pass, not with the second."""
    found = gradient(model, x, target)
    torch.set_grad_enabled(False)
    confidence = model(x).softmax(1).amax(1)
    torch.set_grad_enabled(True)
    return found * confidence[:, None, None]


@faulty({"exceptions": "raised in forward pass 1, and the method returned a map all the same"})
def swallows(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Thinks that nothing goes wrong if nobody is told."""
    try:
        return gradient(model, x, target)
    except Exception:
        return x.mean(1)


@faulty({"exceptions": "made a MethodError of it"})
def renames(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Takes every failure for a model that it is not defined for."""
    try:
        return gradient(model, x, target)
    except RuntimeError as error:
        raise MethodError(f"does not work: {error}") from error


@faulty({"determinism": "Two calls with the same seed"})
def clock(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Follows the time."""
    generator = torch.Generator().manual_seed(time.perf_counter_ns())
    return gradient(model, x, target) * torch.rand(x.shape[2:], generator=generator)


@faulty({"determinism": "global random state of torch", "batch": "differs"})
def global_torch(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Follows torch's global state."""
    return gradient(model, x, target) * torch.rand(x.shape[0], *x.shape[2:])


@faulty({"determinism": "global random state"})
def global_numpy(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Follows numpy's global state, but too little for other contracts to see."""
    return gradient(model, x, target) * (1 + 1e-4 * np.random.rand())  # noqa: NPY002


@faulty({"determinism": "global random state"})
def global_python(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Follows Python's, as little."""
    return gradient(model, x, target) * (1 + 1e-4 * random.random())


@faulty({"batch": "when it is alone, with model.batch_size = 1", "target": "In a batch of targets"})
def whole_batch(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Divides by the greatest value of the batch."""
    found = gradient(model, x, target)
    return found / found.max()


@faulty({"batch": "in another order"})
def by_place(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Treats the last of three images unlike the others."""
    weight = torch.ones(len(x), dtype=x.dtype)
    weight[2:] = 2
    return gradient(model, x, target) * weight[:, None, None]


@faulty({"batch": "differs by"})
def by_batch_size(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Forgets how many passes it made."""
    return gradient(model, x, target) * model.batch_size


@faulty({"target": "In a batch of targets [1, 3, 0]", "batch": "in another order"})
def first_target(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Explains the first image's target for all."""
    return gradient(model, x, target[:1].expand(len(x)))


@faulty({"target": "the same whatever the target"})
def predicted(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Explains what the model predicts."""
    return gradient(model, x, model(x).argmax(1))


@faulty({"target": "registered with class_agnostic=True"}, class_agnostic=True)
def not_agnostic(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Says that it knows no class."""
    return gradient(model, x, target)


@faulty({"memory": "With model.batch_size = 16 and 3 images a forward pass held 30."})
def unpacked(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Ten variants at once."""
    variants = x[:, None] * torch.linspace(0.1, 1, 10)[:, None, None, None].to(x)
    return target_gradients(model, variants, target).mean(1).abs().amax(1)


@faulty({"memory": "With model.batch_size = 3 and 3 images a forward pass held 6."})
def pairs(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Two variants at once."""
    return target_gradients(model, torch.stack([x, x / 2], 1), target).mean(1).abs().amax(1)


@faulty({"black box": "NotImplementedError: gradients of a black box"}, gradients=False)
def no_black_box(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Says that it needs no gradients."""
    return gradient(model, x, target)


@faulty({"black box": "for a model that shows its logits alone"}, gradients=False)
@torch.no_grad()
def peeks(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Looks at the weights."""
    weight = sum(float(p.abs().sum()) for p in model.parameters())
    return x.mean(1) * (model(x).gather(1, target[:, None]) + weight)[:, :, None]
