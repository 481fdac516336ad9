"""Does the map depend on what the model has learnt, and on the class? None of these asks whether it is right.

A map that ignores the model, as one of edges, or the class, is the worst by each, and one that changes for no reason is
the best: read them beside a metric that asks the model. A method's own chance is the same for both maps.

The method is asked about copies of the model in which layers are initialised again, one made for all images and
methods. Their batch norms are measured again, as training would, on images of the data set that the run's seed draws,
whichever are scored: measured on the batch, an image's score would depend on its neighbours, and with statistics of
noise, or of the trained model, the signal dies away from layer to layer.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from interpbench import (
    Explanation,
    Inputs,
    Model,
    ParameterError,
    Sign,
    histogram_entropy,
    metric,
    randomisable_layers,
    randomised,
    spearman,
    ssim,
)

Layers = Literal["all", "top", "cascading"]
Similarity = Literal["spearman", "ssim"]
Bins = Annotated[int, Field(ge=2)]
BOTH = (-1.0, 1.0)
UNITS = {"spearman": "rank correlation", "ssim": "SSIM"}
HEDSTROEM = (
    "Hedström, Weber, Lapuschkin, Höhne, Sanity Checks Revisited: An Exploration to Repair the Model Parameter "
    "Randomisation Test, XAI in Action at NeurIPS 2023"
)


@metric(
    "mprt",
    better="lower",
    range=BOTH,
    unit=lambda similarity: UNITS[similarity],
    reference="Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, Sanity Checks for Saliency Maps, NeurIPS 2018",
    aspect="randomisation",
)
def mprt(
    explanation: Explanation,
    *,
    layers: Layers = "all",
    similarity: Similarity = "spearman",
    sign: Sign = "absolute",
) -> Tensor:
    """How similar the map stays when layers of the model are initialised again: parameter randomisation, MPRT.

    mean over the copies of similarity(e(x), e'(x)), both for the class that was explained; lower is better, in -1..1; 1
    for a map that ignores the model, and 0 for one that has nothing in common with that of the copy, be it noise.
    Copies whose map is constant or not finite are left out; NaN where all are.

    Parameters:
        layers: `all` are new in a single copy; or the one at the `top` alone; or `cascading`, the paper's series of
            copies in which the uppermost, the two uppermost, and so on to all are new, an explanation for each.
        similarity: Spearman's rank correlation, or SSIM of maps divided by their greatest magnitude.
        sign: whether maps are compared by magnitude, as they are, or by their positive values. By magnitude, since a
            new top layer may turn the sign of a map about and move nothing in it.
    """
    copies = _copies(explanation, layers)
    maps = (explanation.explain(explanation.x, model=copied) for copied in copies)
    found = [_similarity(explanation, explanation.saliency, after, similarity, sign) for after in maps]
    return torch.stack(found, 1).nanmean(1)


@metric(
    "smooth-mprt",
    better="lower",
    range=BOTH,
    unit=lambda similarity: UNITS[similarity],
    reference=HEDSTROEM,
    aspect="randomisation",
)
def smooth_mprt(
    explanation: Explanation,
    *,
    samples: PositiveInt = 50,
    noise: PositiveFloat = 0.1,
    similarity: Similarity = "spearman",
    sign: Sign = "absolute",
) -> Tensor:
    """As mprt with all layers new, but of maps that are averaged over noisy copies of the image: sMPRT.

    similarity(mean e(x'), mean e'(x')), x' the image with Gaussian noise, the same for both; lower is better, in -1..1;
    1 for a map that ignores the model. What is noise in a map does not lower its score, as it does in mprt: it is
    averaged away before. Each image is explained twice as often as there are samples. NaN where a mean map is constant
    or not finite.

    Parameters:
        samples: noisy copies of the image.
        noise: the deviation, as a share of the difference between the image's greatest and least value.
        similarity: Spearman's rank correlation, or SSIM of maps divided by their greatest magnitude.
        sign: whether mean maps are compared by magnitude, as they are, or by their positive values.
    """
    [copied] = _copies(explanation, "all")
    before, after = (_mean_map(explanation, samples, noise, model) for model in (None, copied))
    return _similarity(explanation, before, after, similarity, sign)


@metric(
    "efficient-mprt",
    better="higher",
    range=(-1.0, float("inf")),
    unit="relative rise",
    reference=HEDSTROEM,
    aspect="randomisation",
)
def efficient_mprt(explanation: Explanation, *, bins: Bins = 100, sign: Sign = "signed") -> Tensor:
    """How much more complex the map gets when all layers of the model are initialised again: eMPRT.

    (H(e') - H(e)) / H(e), H the entropy of the histogram of a map's values; higher is better, from -1; 0 for a map that
    ignores the model. A map that reads the model is to lose its structure with it. NaN where a map is constant or not
    finite.

    Parameters:
        bins: of the histogram, equal from the map's least to its greatest value.
        sign: whether the histogram is of the map's values as they are, of their magnitudes, or of the positive ones.
    """
    [copied] = _copies(explanation, "all")
    after = explanation.explain(explanation.x, model=copied)
    before, after = (
        histogram_entropy(explanation.values(sign, maps), bins) for maps in (explanation.saliency, after)
    )
    return (after - before) / before


@metric(
    "random-logit",
    better="lower",
    range=BOTH,
    unit=lambda similarity: UNITS[similarity],
    reference="Sixt, Granz, Landgraf, When Explanations Lie: Why Many Modified BP Attributions Fail, ICML 2020",
    aspect="randomisation",
)
def random_logit(explanation: Explanation, *, similarity: Similarity = "ssim", sign: Sign = "absolute") -> Tensor:
    """How similar the map is to that for another class, which is drawn for each image.

    similarity(e(x, target), e(x, other)); lower is better, in -1..1; 1 for a map that ignores the class, as
    class-agnostic methods do by intention. NaN where a map is constant or not finite.

    Parameters:
        similarity: SSIM, as in the paper, of maps divided by their greatest magnitude; or Spearman's rank correlation.
        sign: whether maps are compared by magnitude, as they are, or by their positive values. By magnitude, since
            what speaks for one class speaks against the other.
    """
    other = explanation.shared(_other_class)
    after = explanation.explain(explanation.x, other)
    return _similarity(explanation, explanation.saliency, after, similarity, sign)


def _copies(explanation: Explanation, layers: Layers) -> Iterator[Model]:
    """The randomised copies of the model."""
    count = len(explanation.of_model(randomisable_layers))
    for new in {"all": [count], "top": [1], "cascading": range(1, count + 1)}[layers]:
        yield explanation.of_model(randomised, down_to=new)


def _similarity(
    explanation: Explanation, before: Tensor, after: Tensor, similarity: Similarity, sign: Sign
) -> Tensor:
    """Of each pair of maps [B,H,W], float64 [B] on the CPU; NaN where one is constant or not finite."""
    a, b = (explanation.values(sign, maps.where(maps.isfinite(), torch.nan)).cpu() for maps in (before, after))
    found = ssim(a, b) if similarity == "ssim" else spearman(a.flatten(1), b.flatten(1))
    meaningless = torch.stack([maps.flatten(1).amax(1) == maps.flatten(1).amin(1) for maps in (a, b)]).any(0)
    return found.masked_fill(meaningless | (a + b).isnan().flatten(1).any(1), torch.nan)


def _mean_map(explanation: Explanation, samples: int, noise: float, model: Model | None) -> Tensor:
    """The mean of the maps of noisy copies of the images, [B,H,W]."""
    x, generators = explanation.x, explanation.generators("smooth-mprt")
    deviation = noise * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    total = torch.zeros_like(explanation.saliency)
    for _ in range(samples):
        drawn = torch.stack([torch.randn(x.shape[1:], generator=g) for g in generators]).to(x.device)
        total += explanation.explain(x + deviation * drawn, model=model)
    return total / samples


def _other_class(inputs: Inputs) -> Tensor:
    """For each image a logit that is not its target, each as likely, int64 [B]."""
    classes = inputs.model.card.classes
    if classes < 2:
        raise ParameterError("needs a second class to explain, and the model has one. Leave the metric out.")
    drawn = [torch.randint(classes - 1, (), generator=g) for g in inputs.generators("random-logit")]
    other = torch.stack(drawn).to(inputs.target.device)
    return other + (other >= inputs.target)
