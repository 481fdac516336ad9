"""LIME and KernelSHAP over superpixels, and a control that knows the superpixels but not the model.

Superpixels are scikit-image's SLIC of each image: K segments, about as many as are asked for. A coalition z of segments
keeps their pixels; the others become the `fill`.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from interpbench import Baseline, Model, baseline, blocks, method, superpixels, target_outputs

Segments = Annotated[int, Field(ge=2)]
Generators = Sequence[torch.Generator]


@method(
    "lime",
    gradients=False,
    reference="Ribeiro, Singh, Guestrin, 'Why Should I Trust You?': Explaining the Predictions of Any Classifier, "
    "KDD 2016",
)
@torch.inference_mode()
def lime(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    generators: Generators,
    samples: PositiveInt = 500,
    segments: Segments = 50,
    fill: Baseline = "zero",
    kernel: PositiveFloat = 0.25,
    ridge: PositiveFloat = 1.0,
) -> Tensor:
    """Weights of a linear model of the probability in terms of superpixels kept, painted over them: -> [B,H,W].

    Ridge regression with an intercept on coalitions drawn by fair coins; a coalition z of K counts sqrt(exp(-d² /
    kernel²)), d the cosine distance between z and the whole image, as in the authors' `lime_image`. Signed.

    Parameters:
        samples: coalitions; the authors' code has 1000.
        segments: superpixels that are asked for.
        fill: what a pixel becomes whose superpixel is left out.
        kernel: width of the kernel.
        ridge: the penalty on the squared weights.
    """
    parts = _segments(model, x, segments)
    coalitions = [_coins(int(p.max()) + 1, samples, g) for p, g in zip(parts, generators, strict=True)]
    answers = _answers(model, x, target, parts, coalitions, fill, "probability")
    weights = []
    for z, y in zip(coalitions, answers, strict=True):
        distance = 1 - (z.mean(1)).sqrt()  # of z and a row of ones
        importance = (-(distance**2) / kernel**2).exp().sqrt()
        weights.append(_ridge(z, y, importance, ridge))
    return _painted(weights, parts, x)


@method(
    "kernel-shap",
    gradients=False,
    reference="Lundberg, Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017",
)
@torch.inference_mode()
def kernel_shap(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    generators: Generators,
    samples: PositiveInt = 500,
    segments: Segments = 50,
    fill: Baseline = "zero",
) -> Tensor:
    """Shapley values of the superpixels for the logit, by weighted least squares, painted over them: -> [B,H,W].

    Where `samples` allow it all coalitions are used and the values are exact. Else their sizes are drawn with the
    Shapley kernel's probability, each coalition together with its complement (Covert, Lee, AISTATS 2021). Signed, and
    complete: the superpixels' values sum to logit(x) - logit(fill).

    Parameters:
        samples: coalitions.
        segments: superpixels that are asked for.
        fill: what a pixel becomes whose superpixel is left out.
    """
    parts = _segments(model, x, segments)
    coalitions, importances = [], []
    for p, generator in zip(parts, generators, strict=True):
        z, importance = _shapley_coalitions(int(p.max()) + 1, samples, generator)
        ends = z.new_tensor([[0.0], [1.0]]).expand(-1, z.shape[1])
        coalitions.append(torch.cat([ends, z]))
        importances.append(importance)
    answers = _answers(model, x, target, parts, coalitions, fill, "logit")
    weights = [
        _shapley_values(z[2:], y[2:], importance, float(y[0]), float(y[1]))
        for z, y, importance in zip(coalitions, answers, importances, strict=True)
    ]
    return _painted(weights, parts, x)


@method(
    "random-segments",
    gradients=False,
    control=True,
    reference="superpixels: Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk, SLIC Superpixels, IEEE TPAMI 2012",
)
def random_segments(
    model: Model, x: Tensor, target: Tensor, *, generators: Generators, segments: Segments = 50
) -> Tensor:
    """Uniform noise in 0..1, one value for each superpixel of the image: [B,C,H,W] -> [B,H,W].

    Parameters:
        segments: superpixels that are asked for.
    """
    parts = _segments(model, x, segments)
    values = [torch.rand(int(p.max()) + 1, generator=g).double() for p, g in zip(parts, generators, strict=True)]
    return _painted(values, parts, x)


def _segments(model: Model, x: Tensor, count: int) -> list[Tensor]:
    """Superpixels of each image, int64 [H,W] in 0..K-1."""
    return list(superpixels(x, model.card, count))


def _coins(segments: int, samples: int, generator: torch.Generator) -> Tensor:
    """Coalitions [samples,K] of zeros and ones, the first of them whole."""
    z = (torch.rand(samples, segments, generator=generator) < 0.5).double()
    z[0] = 1
    return z


def _shapley_coalitions(segments: int, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coalitions [N,K], neither empty nor whole, and how much each counts [N]."""
    if 2**segments - 2 <= samples:
        every = torch.arange(1, 2**segments - 1)
        z = (every[:, None] >> torch.arange(segments) & 1).double()
        return z, _shapley_kernel(segments)[z.sum(1).long() - 1]
    sizes = torch.arange(1, segments)
    chance = (segments - 1) / (sizes * (segments - sizes)).double()
    drawn = 1 + chance.multinomial((samples + 1) // 2, replacement=True, generator=generator)
    order = torch.rand(len(drawn), segments, generator=generator).argsort(1).argsort(1)
    z = (order < drawn[:, None]).double()
    z = torch.stack([z, 1 - z], 1).flatten(0, 1)[:samples]
    return z, torch.ones(len(z), dtype=torch.float64)


def _shapley_kernel(segments: int) -> Tensor:
    """(K-1) / (binom(K,s) · s · (K-s)) for the sizes s = 1..K-1."""
    sizes = range(1, segments)
    weights = [(segments - 1) / (math.comb(segments, s) * s * (segments - s)) for s in sizes]
    return torch.tensor(weights, dtype=torch.float64)


def _answers(
    model: Model,
    x: Tensor,
    target: Tensor,
    parts: list[Tensor],
    coalitions: list[Tensor],
    fill: Baseline,
    output: Literal["logit", "probability"],
) -> list[Tensor]:
    """The model's output for each image's coalitions, float64 [N] each; images and coalitions share full batches."""
    empty = baseline(fill, x, model.card)
    found: list[list[Tensor]] = [[] for _ in coalitions]
    for images, columns in _batches([len(z) for z in coalitions], model.batch_size):
        rows = torch.stack([coalitions[i][c][parts[i]] for i, c in zip(images, columns, strict=True)])
        kept = rows.bool()[:, None].to(x.device, non_blocking=True)
        variants = torch.where(kept, x[images], empty[images])
        values = target_outputs(model, variants[:, None], target[images], output)[:, 0].double().cpu()
        for i, value in zip(images, values, strict=True):
            found[i].append(value)
    return [torch.stack(values) for values in found]


def _batches(counts: list[int], batch_size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Every (image, coalition), in full batches."""
    pairs = [(i, c) for i, count in enumerate(counts) for c in range(count)]
    for part in blocks(len(pairs), 1, batch_size):
        images, columns = zip(*(pairs[k] for k in part), strict=True)
        yield list(images), list(columns)


def _ridge(z: Tensor, y: Tensor, importance: Tensor, penalty: float) -> Tensor:
    """Weights [K] of ridge regression with an intercept that is not penalised."""
    total = importance.sum()
    z = z - importance @ z / total
    y = y - importance @ y / total
    square = z.T * importance @ z + penalty * torch.eye(z.shape[1], dtype=z.dtype)
    return torch.linalg.solve(square, z.T @ (importance * y))


def _shapley_values(z: Tensor, y: Tensor, importance: Tensor, empty: float, whole: float) -> Tensor:
    """Weighted least squares for y = empty + z · values, under the constraint that the values sum to whole - empty."""
    if z.shape[1] == 1:
        return torch.tensor([whole - empty], dtype=z.dtype)
    square = z.T * importance @ z
    free = torch.linalg.lstsq(
        square, torch.stack([z.T @ (importance * (y - empty)), torch.ones_like(z[0])], 1), driver="gelsd"
    ).solution
    values, shift = free.unbind(1)
    return values - shift * (values.sum() - (whole - empty)) / shift.sum()


def _painted(weights: list[Tensor], parts: list[Tensor], x: Tensor) -> Tensor:
    """Each segment's weight on its pixels, [B,H,W]."""
    return torch.stack([w[p] for w, p in zip(weights, parts, strict=True)]).to(x)
