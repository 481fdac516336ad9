"""Does the map point at the evidence? For data whose samples carry the exact mask of it.

What a mask marks as ignored, such as the border of an object, counts neither as evidence nor as its surroundings.
Where nothing that counts is evidence, or all of it, every map would score alike: such an image has no score, NaN.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor

from interpbench import Explanation, Sign, metric

Share = Annotated[float, Field(gt=0, le=1)]
Amount = Literal["positive", "absolute"]  # a share of signed values would not stay within 0..1
ARRAS = "Arras, Osman, Samek, CLEVR-XAI, Information Fusion 2022"


@metric(
    "pointing-game",
    better="higher",
    unit="share of hits",
    needs_mask=True,
    reference="Zhang, Bargal, Lin, Brandt, Shen, Sclaroff, Top-down Neural Attention by Excitation Backprop, IJCV 2018",
)
def pointing_game(explanation: Explanation, *, tolerance: NonNegativeInt = 0, sign: Sign = "signed") -> Tensor:
    """1 if the most salient position lies on the evidence, else 0.

    Without the original's tolerance of 15 pixels, since the masks are exact; what they ignore is left out. Where
    several positions share the maximum, the seeded tie order decides. NaN where nothing or all is evidence.

    Parameters:
        tolerance: in pixels of the input: evidence nearer than this to the position is a hit too.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    evidence, _ = _marks(explanation)
    first = _order(explanation, sign).argmin(1)
    height, width = explanation.saliency.shape[1:]
    rows, columns = (torch.arange(side, device=first.device) for side in (height, width))
    down, across = rows - (first // width)[:, None], columns - (first % width)[:, None]
    near = down[:, :, None] ** 2 + across[:, None] ** 2 < max(tolerance, 1) ** 2
    return _meaning((near.flatten(1) & evidence).any(1), explanation)


@metric(
    "energy-inside",
    better="higher",
    unit=lambda sign: f"share of {sign} saliency",
    needs_mask=True,
    reference="Wang et al., Score-CAM (energy-based pointing game), CVPR workshops 2020",
)
def energy_inside(explanation: Explanation, *, sign: Amount = "positive") -> Tensor:
    """The share of the positive saliency that lies on the evidence, in 0..1.

    Negative saliency counts as none, and so does what the mask ignores. A map without any positive value puts none on
    the evidence: 0. NaN where nothing or all is evidence.

    Parameters:
        sign: `absolute` counts negative saliency by its magnitude.
    """
    return _meaning(_inside(explanation, sign), explanation)


@metric(
    "relevance-mass",
    better="higher",
    unit=lambda sign: f"share of {sign} saliency",
    needs_mask=True,
    reference=ARRAS,
)
def relevance_mass(explanation: Explanation, *, sign: Amount = "absolute") -> Tensor:
    """The share of all saliency, by magnitude, that lies on the evidence, in 0..1.

    Sum of |a| over the evidence / sum of |a|; higher is better, a uniform map has the evidence's share of the area.
    With `sign=positive` it is energy-inside. NaN where nothing or all is evidence.

    Parameters:
        sign: `positive` counts negative saliency as none.
    """
    return _meaning(_inside(explanation, sign), explanation)


@metric(
    "attribution-localisation",
    better="higher",
    range=lambda weighted: (0.0, float("inf")) if weighted else (0.0, 1.0),
    unit=lambda weighted: "times the area's share" if weighted else "share of saliency",
    needs_mask=True,
    reference="Kohlbrenner, Bauer, Nakajima, Binder, Samek, Lapuschkin, Towards Best Practice in Explaining Neural "
    "Network Decisions with LRP, IJCNN 2020",
)
def attribution_localisation(explanation: Explanation, *, weighted: bool = True, sign: Amount = "positive") -> Tensor:
    """How many times as much positive saliency lies on the evidence as its share of the area would have.

    (positive sum over the evidence / positive sum) x (area / area of the evidence), from 0; 1 for a uniform map; higher
    is better. The greatest possible is the area / that of the evidence, so that small evidence counts most in a mean. A
    map without any positive value puts none on the evidence: 0. NaN where nothing or all is evidence.

    Parameters:
        weighted: whether the share of the saliency is divided by that of the area.
        sign: `absolute` counts negative saliency by its magnitude.
    """
    evidence, counted = (marks.sum(1).cpu().double() for marks in _marks(explanation))
    return _meaning(_inside(explanation, sign) * (counted / evidence if weighted else 1), explanation)


@metric(
    "top-k",
    better="higher",
    unit="share of positions",
    needs_mask=True,
    reference="Theiner, Mueller-Budack, Ewerth, Interpretable Semantic Photo Geolocation, WACV 2022",
)
def top_k(explanation: Explanation, *, share: Share = 0.02, sign: Sign = "signed") -> Tensor:
    """The share of the most salient positions that lie on the evidence, in 0..1.

    |top k and evidence| / k; higher is better, a random map has the evidence's share of the area in the mean. 1
    cannot be reached where the evidence has fewer than k positions. Ties are broken by the seeded order. NaN where
    nothing or all is evidence.

    Parameters:
        share: k as a share of the positions that count, rounded, and one at least.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    _, counted = _marks(explanation)
    k = (share * counted.sum(1)).round().clamp(min=1)
    return _meaning(_among_first(explanation, sign, k) / k, explanation)


@metric("relevance-rank", better="higher", unit="share of positions", needs_mask=True, reference=ARRAS)
def relevance_rank(explanation: Explanation, *, sign: Sign = "signed") -> Tensor:
    """The share of the most salient positions, as many as the evidence has, that lie on it, in 0..1.

    |top k and evidence| / k with k = |evidence|; higher is better, 1 if no position outside is more salient than one
    inside; a random map has the evidence's share of the area in the mean. Ties are broken by the seeded order. NaN
    where nothing or all is evidence.

    Parameters:
        sign: whether negative values count as small, by magnitude, or as none.
    """
    k = _marks(explanation)[0].sum(1)
    return _meaning(_among_first(explanation, sign, k) / k, explanation)


@metric(
    "roc-auc",
    better="higher",
    unit="probability",
    needs_mask=True,
    reference="Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 2006",
)
def roc_auc(explanation: Explanation, *, sign: Sign = "signed") -> Tensor:
    """The probability that a position of the evidence is more salient than one of its surroundings, in 0..1.

    The area under the ROC curve of the map as a classifier of positions; equal values count half. Higher is better, 1/2
    is chance. NaN where nothing or all is evidence.

    Parameters:
        sign: whether negative values count as small, by magnitude, or as none.
    """
    evidence, counted = _marks(explanation)
    values = _counting(explanation, sign)
    ordered = values.sort(1).values
    # Over all positions: how many are less, and how many are not greater. Twice what is won, pairs within the evidence
    # and with what is ignored included.
    won = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    inside, count = evidence.sum(1), counted.sum(1)
    doubled = (won * evidence).sum(1) - inside**2 - 2 * inside * (counted.shape[1] - count)
    return _meaning(doubled.cpu().double() / (2 * inside * (count - inside)).cpu(), explanation)


@metric(
    "iou",
    better="higher",
    unit="intersection over union",
    needs_mask=True,
    reference="Zhou, Khosla, Lapedriza, Oliva, Torralba, Learning Deep Features for Discriminative Localization, CVPR "
    "2016 (thresholds); Choe, Oh, Lee, Chun, Akata, Shim, Evaluating Weakly Supervised Object Localization Methods "
    "Right, CVPR 2020 (why to choose them with care)",
)
def iou(
    explanation: Explanation, *, threshold: Literal["size", "best"] | Share = "size", sign: Sign = "signed"
) -> Tensor:
    """Intersection over union of the evidence and what the map marks by a threshold, in 0..1.

    |marked and evidence| / |marked or evidence|; higher is better. NaN where nothing or all is evidence.

    Parameters:
        threshold: `size`: as many positions are marked as the evidence has, ties by the seeded order; `best`: all
            positions from that value on for which the score is greatest, in hindsight and for each image; or a share of
            the map's greatest value, from which on positions are marked: none if no value is positive.
        sign: whether negative values count as small, by magnitude, or as none.
    """
    evidence, _ = _marks(explanation)
    values, size = _counting(explanation, sign), evidence.sum(1)
    if threshold == "best":
        ordered, positions = values.sort(1, descending=True)
        inside = evidence.gather(1, positions).cumsum(1)
        marked = torch.arange(1, values.shape[1] + 1, device=values.device)
        tied = torch.zeros_like(evidence)  # with the next: equal values are marked together
        tied[:, :-1] = ordered[:, :-1] == ordered[:, 1:]
        found = (inside / (marked + size[:, None] - inside)).masked_fill(tied, 0).amax(1)
        return _meaning(found, explanation)
    if threshold == "size":
        chosen = _order(explanation, sign) < size[:, None]
    else:
        greatest = values.amax(1, keepdim=True)
        chosen = (values >= threshold * greatest) & (greatest > 0)
    return _meaning((chosen & evidence).sum(1) / (chosen | evidence).sum(1), explanation)


def _marks(explanation: Explanation) -> tuple[Tensor, Tensor]:
    """What is evidence and what counts at all, bool [B,H·W]."""
    mask, ignored = explanation.mask, explanation.ignored
    assert mask is not None  # promised by needs_mask
    counted = torch.ones_like(mask) if ignored is None else ~ignored
    return (mask & counted).flatten(1), counted.flatten(1)


def _meaning(scores: Tensor, explanation: Explanation) -> Tensor:
    """Scores [B] as float64, NaN where nothing or all that counts is evidence."""
    evidence, counted = (marks.sum(1) for marks in _marks(explanation))
    meaningless = (evidence == 0) | (evidence == counted)
    return scores.cpu().double().masked_fill(meaningless.cpu(), torch.nan)  # not every device has float64


def _counting(explanation: Explanation, sign: Sign) -> Tensor:
    """The maps' values, float32 [B,H·W]; what does not count is less than all others."""
    return explanation.values(sign).flatten(1).masked_fill(~_marks(explanation)[1], -torch.inf)


def _order(explanation: Explanation, sign: Sign) -> Tensor:
    """Ranks, int [B,H·W], 0 for the most salient position; what does not count comes last."""
    if sign == "signed" and explanation.ignored is None:
        return explanation.rank.flatten(1)
    return explanation.ranked(_counting(explanation, sign).view_as(explanation.saliency)).flatten(1)


def _among_first(explanation: Explanation, sign: Sign, k: Tensor) -> Tensor:
    """How many of the k most salient positions are evidence, int [B]."""
    return ((_order(explanation, sign) < k[:, None]) & _marks(explanation)[0]).sum(1)


def _inside(explanation: Explanation, sign: Amount) -> Tensor:
    """The share of the saliency that lies on the evidence, float64 [B]; 0 where there is no saliency."""
    evidence, counted = (marks.cpu() for marks in _marks(explanation))
    values = explanation.values(sign).flatten(1).cpu().double() * counted
    return (values * evidence).sum(1) / values.sum(1).clamp(min=torch.finfo(torch.float64).tiny)
