"""Does the map find what was put into the image to change the prediction? A patch that is known to have done so."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from interpbench import Explanation, Inputs, MethodError, ParameterError, Sign, metric

Share = Annotated[float, Field(gt=0, le=0.5)]
Towards = Literal["random", "runner-up"]
CONFIDENT = math.log(9)  # the logit of a probability of 0.9, at which a patch is good enough
STEP = 0.05  # of a pixel's range 0..1, that a step changes each value of the patch by


@metric(
    "impact-coverage",
    better="higher",
    unit="overlap",
    reference="Lin, Shafiee, Bochkarev, St. Jules, Wang, Wong, Do Explanations Reflect Decisions? A Machine-centric "
    "Strategy to Quantify the Performance of Explainability Algorithms, arXiv 1910.07387, 2019; patches: Brown, Mané, "
    "Roy, Abadi, Gilmer, Adversarial Patch, arXiv 1712.09665, 2017",
)
def impact_coverage(
    explanation: Explanation,
    *,
    size: Share = 0.1,
    steps: PositiveInt = 50,
    towards: Towards = "random",
    sign: Sign = "signed",
) -> Tensor:
    """The overlap of the most salient positions with an adversarial patch that made the model predict another class.

    |T and P| / |T or P|, P the positions of the patch, T as many, the most salient ones of the map for that class that
    the method makes of the patched image; in 0..1, higher is better. The patch is why the class is predicted, on images
    of any kind, without a mask. A map that knows nothing has s / (2 - s) for a patch of the share s. NaN where the
    patch does not make the model predict the class, or where the map of the patched image is not finite or the same
    everywhere.

    The patch is made for the image itself: it lies at a place drawn by the image's id, begins as noise, and each step
    moves its pixels, by the sign of the gradient and within what a pixel can be, towards the class, until that has
    a probability of 0.9. So a score depends on no other image; the patches are made once and shared by all methods. The
    paper trains one patch for all images. Where something else in the image speaks for the class as well, a map that
    says so loses by it.

    Parameters:
        size: of the patch, a square on square images: its share of the area. A smaller one leaves less in doubt, and
            makes fewer models predict the class.
        steps: at most, that it is made in; each costs a forward and a backward pass of the image.
        towards: the class that it is made for: one that is drawn, or the one that the model finds most likely after
            the explained one.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    x, target, patch, fooled = explanation.shared(_patched, size=size, steps=steps, towards=towards)
    maps = explanation.values(sign, explanation.explain(x, target))
    flat = maps.flatten(1)
    is_answer = fooled & flat.isfinite().all(1) & (flat.amax(1) > flat.amin(1))
    ranks = explanation.ranked(maps.nan_to_num()).flatten(1)
    patch = patch.flatten(1)
    count = patch.sum(1)
    common = ((ranks < count[:, None]) & patch).sum(1).double()
    return (common / (2 * count - common)).where(is_answer, torch.nan)


def _patched(inputs: Inputs, *, size: float, steps: int, towards: Towards) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Patched images [B,C,H,W], the classes [B] that they are to be, where [B,H,W] patches lie, if they succeed [B]."""
    model = inputs.model
    if not model.gradients:
        raise MethodError("needs gradients to make a patch with, and none flow through this model. Leave it out.")
    if model.card.classes < 2:
        raise ParameterError("impact-coverage needs a model of several classes, and this has one. Leave it out.")
    logits = inputs.logits([inputs.x])[:, 0].cpu()
    made, classes, patches, fooled = [], [], [], []
    # One at a time: a sum over a batch may round otherwise, and steps by signs make much of little.
    for index, generator in enumerate(inputs.generators("impact-coverage")):
        explained = int(inputs.target[index])
        order = [label for label in logits[index].argsort(descending=True).tolist() if label != explained]
        drawn = int(torch.randint(len(order), (), generator=generator))
        wanted = sorted(order)[drawn] if towards == "random" else order[0]
        where = _place(inputs.x.shape[2:], size, generator)
        image, success = _with_patch(inputs, index, wanted, where, steps, generator)
        made.append(image)
        classes.append(wanted)
        patches.append(where)
        fooled.append(success)
    device = inputs.x.device
    return (
        torch.cat(made),
        torch.tensor(classes, device=device),
        torch.stack(patches).to(device),
        torch.tensor(fooled, device=device),
    )


def _place(shape: torch.Size, size: float, generator: torch.Generator) -> Tensor:
    """Where a patch of that share of the area lies, bool [H,W]: anywhere as a whole."""
    where = torch.zeros(shape, dtype=torch.bool)
    spans = []
    for side in shape:
        length = max(1, round(math.sqrt(size) * side))
        first = int(torch.randint(side - length + 1, (), generator=generator))
        spans.append(slice(first, first + length))
    where[tuple(spans)] = True
    return where


@torch.enable_grad()
def _with_patch(
    inputs: Inputs, index: int, wanted: int, where: Tensor, steps: int, generator: torch.Generator
) -> tuple[Tensor, bool]:
    """An image with a patch [1,C,H,W] for a class, and whether the model then predicts it."""
    model, image = inputs.model, inputs.x[index : index + 1].contiguous()
    colours = (model.card.mean, model.card.std)
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in colours)
    where = where.to(image.device)
    pixels = torch.rand(image.shape, generator=generator).to(image.device)
    for step in range(steps + 1):
        pixels.requires_grad_()
        patched = torch.where(where, (pixels - mean) / std, image)
        logits = model(patched)[0].float()
        others = torch.cat([logits[:wanted], logits[wanted + 1 :]])
        lead = logits[wanted] - others.logsumexp(0)
        if step == steps or float(lead.detach()) >= CONFIDENT:
            break
        (gradient,) = torch.autograd.grad(lead, pixels)
        pixels = (pixels.detach() + STEP * gradient.sign()).clamp(0, 1)
    return patched.detach(), int(logits.argmax()) == wanted
