"""What is looked at to tell whether a model keeps its promises; `testing.contracts` names them."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interpbench.core.errors import InterpBenchError
from interpbench.core.layers import as_maps, find_layer, last_spatial_layer
from interpbench.core.types import Pretrained
from interpbench.loading.pretrained import offered
from interpbench.testing.case import NotApplicable, stirred
from interpbench.testing.checks import Fault
from interpbench.testing.model_case import IMAGES, ModelCase

TOLERANCE = 1e-4  # of the greatest logit; rounding makes a hundredth of it
BUFFER = "register every tensor that is no layer: nn.Parameter, or self.register_buffer(name, it)."


def builds(case: ModelCase) -> Fault | None:
    """The function gives a torch.nn.Module for any number of classes, or says why not."""
    if not case.built.failure:
        return None
    return Fault(
        f"The function {case.built.failure}.",
        "return the module, def mine(classes, size, *, ...): ...; for a size or library that it "
        "cannot do without, raise interpbench.ParameterError with the reason.",
    )


def logits(case: ModelCase) -> Fault | None:
    """It gives finite logits, float [B,classes], or an object in which they can be found."""
    network = case.network
    with torch.no_grad():
        try:
            found = network(case.x.clone())
        except Exception as error:
            return Fault(
                f"For images {list(case.x.shape)} it raised {type(error).__name__}: {error}.",
                "mend that line; `size` is the shorter side of the input.",
            )
    if not isinstance(found, Tensor):
        return Fault(
            f"It gave a {type(found).__name__} in which no logits were found.",
            "return logits [B,classes], or a dict with a key `logits`.",
        )
    wanted = (IMAGES, case.classes or found.shape[-1])
    if found.shape != wanted or not found.is_floating_point():
        return Fault(
            f"It gave {found.dtype} {list(found.shape)} for {IMAGES} images and "
            f"{wanted[1]} classes.",
            "end in a layer of `classes` outputs, such as nn.Linear(features, classes).",
        )
    if not bool(found.isfinite().all()):
        return Fault("It gave logits that are not finite.", "look for a division by 0 or a log.")
    return None


def inputs(case: ModelCase) -> Fault | None:
    """It changes nothing of the images that it is given."""
    x = case.x.clone()
    case.logits  # noqa: B018  to know that there are some
    with torch.no_grad():
        case.network(x)
    if torch.equal(x, case.x):
        return None
    return Fault(
        "It wrote into its images.", "work on a copy: x = x.clone(), or operations without a _."
    )


def determinism(case: ModelCase) -> Fault | None:
    """In eval mode the same images get the same logits again."""
    before = case.logits
    with stirred(), torch.no_grad():
        again = case.network(case.x.clone())
    if torch.equal(before, again):
        return None
    return Fault(
        f"A second pass gave other logits{_difference(again, before)}.",
        "let whatever is random look at self.training, as nn.Dropout does, and keep no state.",
    )


def neighbours(case: ModelCase) -> Fault | None:
    """An image's logits depend on that image alone."""
    together = case.logits
    with torch.no_grad():
        alone = torch.cat([case.network(image[None].clone()) for image in case.x])
    if alone.shape == together.shape and not _difference(alone, together):
        return None
    return Fault(
        f"Alone, images get other logits than beside others{_difference(alone, together)}.",
        "take no mean, maximum or deviation over the images of a batch; batch norm in eval mode "
        "does not.",
    )


def gradients(case: ModelCase) -> Fault | None:
    """Gradients of every logit reach its image, and no other; or gradients=False says otherwise."""
    together = case.logits
    if not case.choice.plugin.gradients:
        raise NotApplicable("the plugin says that no gradients flow through it")
    with torch.enable_grad():
        x = case.x.clone().requires_grad_()
        found = case.network(x)
        slopes = [_slope(found[:, k], x) for k in (0, together.shape[1] - 1)]
    remedy = (
        "let nothing in the forward pass leave the graph (.detach(), .data, numpy, torch.no_grad), "
        "or say @model(..., gradients=False); an untrained last layer must not be all zeros."
    )
    if any(slope is None for slope in slopes):
        return Fault("No gradient reaches the images.", remedy)
    found_slopes = [slope for slope in slopes if slope is not None]
    if not all(bool(slope.isfinite().all()) for slope in found_slopes):
        return Fault("Gradients of the images are not finite.", remedy)
    if not all(bool(slope.flatten(1).any(1).all()) for slope in found_slopes):
        return Fault("The gradient of a logit is 0 all over an image.", remedy)
    return None


def _slope(scores: Tensor, x: Tensor) -> Tensor | None:
    """d scores / d x, or None where there is none."""
    if not scores.requires_grad:
        return None
    (slope,) = torch.autograd.grad(scores.sum(), x, retain_graph=True, allow_unused=True)
    return None if slope is None else slope


def seeds(case: ModelCase) -> Fault | None:
    """The weights it starts from follow from torch's random state alone."""
    if case.own:
        raise NotApplicable("it brings its weights")
    first = case.network.state_dict()
    with stirred():
        same, other = case.build(0).network, case.build(1).network
    if same is None or other is None or first.keys() != same.state_dict().keys():
        raise NotApplicable("there is no model to look at, since another contract is broken")
    if _alike(first, same.state_dict()):
        if first and _alike(first, other.state_dict()):
            return Fault(
                "Another seed gave the same weights.",
                "set no seed of your own; the run sets torch's before it calls the function.",
            )
        return None
    return Fault(
        "The same seed gave other weights.",
        "draw from torch's own random state, torch.randn or nn.init, not from numpy or random.",
    )


def weights(case: ModelCase) -> Fault | None:
    """All that its logits depend on is in its state dict, which another instance can load."""
    before = case.logits
    other = case.build(1).network
    if other is None:
        raise NotApplicable("there is no model to look at, since another contract is broken")
    try:
        other.load_state_dict(case.network.state_dict(), strict=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        return Fault(f"Another instance does not take its weights: {said}.", BUFFER)
    with torch.no_grad():
        again = other(case.x.clone())
    if difference := _difference(again, before):
        return Fault(f"With its weights another instance gives other logits{difference}.", BUFFER)
    return None


def copies(case: ModelCase) -> Fault | None:
    """A copy of it gives the same logits: a run explains one and scores on another."""
    before = case.logits
    try:
        copied = copy.deepcopy(case.network)
        with torch.no_grad():
            again = copied(case.x.clone())
    except Exception as error:
        return Fault(
            f"It cannot be copied ({type(error).__name__}: {error}).",
            "keep no file, session or lambda with state on it, or give it a __deepcopy__.",
        )
    if difference := _difference(again, before):
        return Fault(f"A copy gives other logits{difference}.", BUFFER)
    return None


def target_layer(case: ModelCase) -> Fault | None:
    """The layer that CAM methods look at exists, and gives maps or a grid of tokens."""
    network, named = case.network, case.choice.plugin.target_layer
    case.logits  # noqa: B018  to know that there are some
    if not case.choice.plugin.gradients:
        raise NotApplicable("the plugin says that no gradients flow through it")
    if named is None:
        if last_spatial_layer(network, case.x) is None:
            raise NotApplicable("no layer gives maps of which more than one position matters")
        return None
    advice = "name one whose output is [B,C,h,w], or leave it out, and it is found by trying."
    try:
        layer = find_layer(network, named)
    except AttributeError:
        return Fault(f"There is no layer {named!r}.", advice)
    given = _given(layer, network, case.x)
    try:
        as_maps(given, case.shape[1:])
    except InterpBenchError as error:
        return Fault(f"Of {named!r}: {str(error).partition(';')[0]}.", advice)
    return None


def _given(layer: nn.Module, network: nn.Module, x: Tensor) -> object:
    """What a layer gives in a forward pass."""
    outputs: list[object] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        with torch.no_grad():
            network(x.clone())
    finally:
        handle.remove()
    return outputs[-1] if outputs else None


def preparation(cases: Sequence[ModelCase]) -> Fault | None:
    """Of the weights that come with it, it is stated how images become their input."""
    choice = cases[0].choice
    try:
        offer = offered(choice)
    except InterpBenchError as error:
        return Fault(f"Its weights cannot be told: {error}", "mend the function `pretrained=`.")
    if offer is None:
        raise NotApplicable("no weights come with it")
    lacking = [name for name in ("size", "mean", "std") if getattr(offer, name) is None]
    if lacking:
        return Fault(
            f"Nobody states {' and '.join(lacking)} of {offer.source}.",
            "state them, Pretrained(size=..., resize=..., mean=..., std=...), of pixels in 0..1.",
        )
    return _strange(offer)


def _strange(offer: Pretrained) -> Fault | None:
    """What is stated, and cannot be meant."""
    assert offer.mean is not None
    assert offer.std is not None
    if any(not -1 <= value <= 2 for value in (*offer.mean, *offer.std)) or min(offer.std) <= 0:
        return Fault(
            f"Mean {offer.mean} and std {offer.std} are not of pixels in 0..1.",
            "divide them by 255.",
        )
    return None


def _alike(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name])
        for name, value in first.items()
        if isinstance(value, Tensor)
    )


def _difference(found: Tensor, expected: Tensor) -> str:
    """How two sets of logits differ; "" if they are equal but for rounding."""
    difference = float((found - expected).abs().max())
    if difference <= TOLERANCE * float(expected.abs().max()) + 1e-6:
        return ""
    return f", by up to {difference:.2g}"
