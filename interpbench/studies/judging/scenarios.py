"""Networks whose truth is known by construction, where removing pixels tells a metric a falsehood.

Nothing is trained: each network is a closed form of the pixels, and so is the map that is right of
it. The images are the data's, in grey, of less contrast and at 32 pixels, with marks of one colour
painted on; grey has no colour, so that a network which counts colour sees the marks alone. Beside
the right map lies a wrong one that looks as plausible, and, where there is room, the right map
somewhere else.

* `redundancy`: a red or a blue mark tells the class, each suffices, and both are there: the logit
  is 8 max(red, blue). By symmetry both have half of the effect, all else has none. Wrong: the red
  mark alone. What puts one mark back reaches the answer sooner than what puts both back by halves.
* `absence`: a lamp at a place of its own is out, and that tells the class: its red light takes up
  to 4 from the logit, the blue mark elsewhere, which is there, adds 1. How far each can move the
  answer is the right map: the lamp 1, the mark a quarter. Wrong: the mark alone. Removing a lamp
  that is out changes nothing.
* `shortcut`: the tint of the background tells the class, and a third of it suffices; the object
  says nothing. Right: the background. Wrong: the object. The network has a class of flat patches
  besides, which no image holds, but whatever is removed as a whole becomes one (missingness bias:
  Jain, Salman, Wong, Zhang, Vineet, Vemprala, Madry, ICLR 2022).

What is marked as the evidence, for metrics that need a mask, is what an annotator would mark: both
marks; the mark that is there; the object. In the last two that is not what the network looks at.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench.core.preparation import Preparation
from interpbench.core.progress import SILENT, Progress
from interpbench.core.seeding import derive
from interpbench.core.types import Model, ModelCard, normalise
from interpbench.results.statistics import bootstrap_interval
from interpbench.scoring.map_scores import LabelledImages, MapScorer
from interpbench.studies.judging.subject import Subject, better_first, how_compared

SIDE = 32  # pixels, whatever the data's: enough for marks and object, and few passes
MARK = 8  # pixels of a mark's side
GRAIN = 16  # of 255, each way
RED, BLUE = (220, 50, 50), (50, 50, 220)
COLOUR = 170 / 255  # how much redder than blue and green a red mark is, in 0..1
FAINT = COLOUR / 3  # below, a colour counts for nothing
TINT = 60  # of 255, that a background's colour is stronger than its others
FLAT = 0.01  # in 0..1: the range of values within a patch up to which it is flat
PATCH = 3  # pixels of its side
RIGHT, FOOLED, UNDECIDED, NO_SCORE = "right", "fooled", "undecided", "no score"
ELSEWHERE = "elsewhere"
_MEAN, _STD = 0.5, 0.25  # of pixels in 0..1, by which they become a network's input
COLUMNS = ["metric", "scenario", "wrong", "prefers_truth", "low", "high", "images", "verdict"]
RULE = (
    "A metric is fooled by a scenario if it prefers a wrong map to the right one: the 95 % "
    "interval of the share of images in which the right map scores better (equal scores count "
    "half) lies below 1/2; right if it lies above for every wrong map."
)


@dataclass(frozen=True, eq=False)
class Scenario:
    """Images of which it is known what a network looks at.

    Attributes:
        name: of the scenario.
        model: the network.
        images: with what an annotator marks.
        truth: float32 [N,H,W], the right map.
        wrong: name -> a wrong one, likewise.
    """

    name: str
    model: Model
    images: LabelledImages
    truth: Tensor
    wrong: Mapping[str, Tensor]


class Colours(nn.Module):
    """How red and how blue each position is, from 0 for grey to 1 for a mark: [B,2,H,W].

    Attributes:
        strong: what counts as 1.
        faint: what counts as 0, and all below.
    """

    weight: Tensor

    def __init__(self, strong: float = COLOUR, faint: float = FAINT, other: str = "blue") -> None:
        super().__init__()
        second = [-0.5, -0.5, 1.0] if other == "blue" else [-0.5, 1.0, -0.5]
        weight = torch.tensor([[1.0, -0.5, -0.5], second])
        self.register_buffer("weight", weight[:, :, None, None])
        self.strong, self.faint = strong, faint

    def forward(self, pixels: Tensor) -> Tensor:
        found = F.conv2d(pixels, self.weight)
        return ((found - self.faint) / (self.strong - self.faint)).clamp(0, 1)


class Redundancy(nn.Module):
    """Two marks, of which one suffices: logits 8 max(red, blue) and 4."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = Colours()

    def forward(self, x: Tensor) -> Tensor:
        marks = self.colours(_pixels(x)).sum((2, 3)) / MARK**2
        logit = 8 * marks.amax(1)
        return torch.stack([logit, torch.full_like(logit, 4.0)], 1)


class Absence(nn.Module):
    """A lamp that is out: logits blue - 4 red within the lamp, and -2.

    Parameters:
        lamp: bool [SIDE,SIDE], its place.
    """

    lamp: Tensor

    def __init__(self, lamp: Tensor) -> None:
        super().__init__()
        self.register_buffer("lamp", lamp.float())
        self.colours = Colours()

    def forward(self, x: Tensor) -> Tensor:
        red, blue = self.colours(_pixels(x)).unbind(1)
        light = (red * self.lamp).sum((1, 2)) / self.lamp.sum()
        logit = blue.sum((1, 2)) / MARK**2 - 4 * light
        return torch.stack([logit, torch.full_like(logit, -2.0)], 1)


class Shortcut(nn.Module):
    """The background's tint: logits 8 min(1, 3 red), 8 min(1, 3 green), and 16 times flatness."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = Colours(strong=TINT / 255, faint=TINT / 255 / 3, other="green")

    def forward(self, x: Tensor) -> Tensor:
        pixels = _pixels(x)
        tints = self.colours(pixels).mean((2, 3)).mul(3).clamp(max=1)
        spread = F.max_pool2d(pixels, PATCH, 1) + F.max_pool2d(-pixels, PATCH, 1)
        flat = (1 - spread.amax(1) / FLAT).clamp(min=0).amax((1, 2))
        return torch.cat([8 * tints, 16 * flat[:, None]], 1)


def scenarios(subject: Subject) -> list[Scenario]:
    """The scenarios, on the subject's images."""
    return [make(subject) for make in (_redundancy, _absence, _shortcut)]


def score_scenarios(subject: Subject, progress: Progress = SILENT) -> pd.DataFrame:
    """The scores of right and wrong maps.

    Returns:
        columns metric, scenario, wrong, sample_id, truth_score, wrong_score.
    """
    records = []
    for scenario in scenarios(subject):
        progress.advance(scenario.name)
        scorer = MapScorer(scenario.model, scenario.images, subject.metrics, subject.seed)
        of_truth = scorer.scores(scenario.truth)
        for wrong, maps in scenario.wrong.items():
            of_wrong = scorer.scores(maps)
            records += [
                (label, scenario.name, wrong, name, float(right), float(false))
                for label in of_wrong
                for name, right, false in zip(
                    subject.ids, of_truth[label], of_wrong[label], strict=True
                )
            ]
        progress.advance(scenario.name, len(subject.ids))
    columns = ["metric", "scenario", "wrong", "sample_id", "truth_score", "wrong_score"]
    return pd.DataFrame(records, columns=columns)


def conclude_scenarios(subject: Subject, scores: pd.DataFrame) -> pd.DataFrame:
    """A row a metric, scenario and wrong map, with COLUMNS.

    The share of images in which the right map scores better, of those that have both scores, with
    its interval; the verdict is `right`, `fooled`, `undecided`, or `no score`.

    Parameters:
        subject: whose metrics.
        scores: of `score_scenarios`.
    """
    rows = []
    for (label, name, wrong), group in scores.groupby(["metric", "scenario", "wrong"], sort=False):
        right, false = (group[f"{which}_score"].to_numpy() for which in ("truth", "wrong"))
        wins = _preferred(*(better_first(subject.metrics, str(label), s) for s in (right, false)))
        low, high = bootstrap_interval(wins, seed=derive(subject.seed, "scenarios", label, name))
        share = float(wins.mean()) if wins.size else np.nan
        rows.append((label, name, wrong, share, low, high, wins.size, _verdict(wins, low, high)))
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict_of_scenario(verdicts: pd.Series) -> str:
    """Of the verdicts on its wrong maps: fooled by one is fooled, right needs all."""
    for verdict in (FOOLED, NO_SCORE, UNDECIDED):
        if (verdicts == verdict).any():
            return verdict
    return RIGHT


def _preferred(right: np.ndarray, false: np.ndarray) -> np.ndarray:
    """For each pair of scores, higher is better: 1 if the first is better, 0 if the second."""
    wins = (1 + how_compared(right, false)) / 2
    return wins[~np.isnan(wins)]


def _verdict(wins: np.ndarray, low: float, high: float) -> str:
    if not wins.size:
        return NO_SCORE
    return RIGHT if low > 0.5 else FOOLED if high < 0.5 else UNDECIDED


def _redundancy(subject: Subject) -> Scenario:
    scenes, corners = _scenes(subject), _corners(subject, "redundancy", 4)
    red, blue, *neither = (_squares(corners[:, i]) for i in range(4))
    pixels = _painted(_painted(scenes, red, RED), blue, BLUE)
    wrong = {"one mark": red.float(), ELSEWHERE: (neither[0] | neither[1]).float()}
    model = _model("redundancy", Redundancy(), subject, 2)
    return _scenario("redundancy", model, pixels, red | blue, (red | blue).float(), wrong, subject)


def _absence(subject: Subject) -> Scenario:
    scenes, corners = _scenes(subject), _corners(subject, "absence", 3)
    lamp = _squares(torch.zeros_like(corners[:, 0]))  # in the first corner of every image
    mark, *neither = (_squares(corners[:, i]) for i in range(3))
    pixels = _painted(scenes, mark, BLUE)
    truth = lamp.float() + mark.float() / 4
    elsewhere = neither[0].float() + neither[1].float() / 4
    wrong = {"the mark": mark.float(), ELSEWHERE: elsewhere}
    model = _model("absence", Absence(lamp[0]), subject, 2)
    return _scenario("absence", model, pixels, mark, truth, wrong, subject)


def _shortcut(subject: Subject) -> Scenario:
    scenes = _scenes(subject)
    objects = _reduced(subject.masks.float()) > 0.5
    target = torch.arange(len(scenes)) % 2
    tint = torch.zeros(len(scenes), 3).scatter(1, target[:, None], TINT / 255)
    pixels = scenes + tint[:, None, None] * ~objects[..., None]
    wrong = {"the object": objects.float()}
    model = _model("shortcut", Shortcut(), subject, 3)
    truth = (~objects).float()
    return _scenario("shortcut", model, pixels, objects, truth, wrong, subject, target)


def _scenario(
    name: str,
    model: Model,
    pixels: Tensor,
    marked: Tensor,
    truth: Tensor,
    wrong: Mapping[str, Tensor],
    subject: Subject,
    target: Tensor | None = None,
) -> Scenario:
    """The scenario with all on the subject's device; the target is logit 0 unless others are."""
    device = subject.explainer.device
    x = normalise(pixels.to(device), model.card.preparation)
    target = (torch.zeros(len(x), dtype=torch.int64) if target is None else target).to(device)
    ids = tuple(f"{name}-{each}" for each in subject.ids)
    images = LabelledImages(x=x, target=target, label=target, mask=marked.to(device), ids=ids)
    maps = {each: values.to(device) for each, values in wrong.items()}
    return Scenario(name, model, images, truth.to(device), maps)


def _model(name: str, network: nn.Module, subject: Subject, classes: int) -> Model:
    """The network as metrics get it, which takes pixels by mean 0.5 and deviation 0.25."""
    preparation = Preparation(
        height=SIDE, width=SIDE, resize=None, mean=(_MEAN,) * 3, std=(_STD,) * 3
    )
    card = ModelCard(
        name=name,
        parameters={},
        dataset="none",
        classes=classes,
        preparation=preparation,
        logit_of_label=tuple(range(classes)),
        target_layer=None,
        weights="closed form",
        weights_sha256="",
    )
    size = subject.explainer.model.batch_size
    return Model(network, card, size).eval().to(subject.explainer.device)


def _pixels(x: Tensor) -> Tensor:
    return x * _STD + _MEAN


def _scenes(subject: Subject) -> Tensor:
    """The images in grey, from 80 to 176 of 255, with grain: float32 [N,SIDE,SIDE,3] in 0..1."""
    grey = _reduced(torch.from_numpy(subject.images.pictures()).float().mean(3))
    grains = []
    for name in subject.ids:
        generator = torch.Generator().manual_seed(derive(subject.seed, "grain", name))
        grains.append(torch.randint(-GRAIN, GRAIN + 1, (SIDE, SIDE), generator=generator))
    return ((80 + 0.375 * grey + torch.stack(grains)) / 255)[..., None].expand(-1, -1, -1, 3)


def _reduced(values: Tensor) -> Tensor:
    """Means over areas: [N,H,W] -> [N,SIDE,SIDE]."""
    return F.adaptive_avg_pool2d(values, SIDE)


def _corners(subject: Subject, name: str, count: int) -> Tensor:
    """Upper left corners of so many marks in other cells of a 3x3 grid: int64 [N,count,2].

    Never in the first cell, where the lamp is.
    """
    cell = SIDE // 3
    corners = []
    for each in subject.ids:
        rng = np.random.default_rng(derive(subject.seed, name, each))
        cells = 1 + rng.permutation(8)[:count]
        offsets = rng.integers(0, cell - MARK + 1, (count, 2))
        corners.append(np.stack(np.divmod(cells, 3), 1) * cell + offsets)
    return torch.from_numpy(np.stack(corners))


def _squares(corners: Tensor) -> Tensor:
    """A mark in each image from its upper left corner [N,2] on: bool [N,SIDE,SIDE]."""
    down, across = (torch.arange(SIDE) - corner[:, None] for corner in corners.unbind(1))
    rows, columns = ((each >= 0) & (each < MARK) for each in (down, across))
    return rows[:, :, None] & columns[:, None, :]


def _painted(pixels: Tensor, where: Tensor, colour: tuple[int, int, int]) -> Tensor:
    return torch.where(where[..., None], torch.tensor(colour) / 255, pixels)
