"""Meta-consistency: does a metric keep its scores under minor noise, and give them up otherwise?

After MetaQuantus (Hedström, Bommer, Wickstrøm, Samek, Lapuschkin, Höhne, The Meta-Evaluation
Problem in Explainable AI: Identifying Reliable Estimators with MetaQuantus, TMLR 2023). Images, or
the model's weights, are perturbed a little (minor) or beyond recognition (disruptive), several
methods explain them anew, and their maps' scores are compared with those of before:

* IAC_NR, intra-consistency under noise: the mean p of Wilcoxon's signed-rank test between the
  scores of before and after, of the images whose predicted class stays under a minor perturbation;
* IAC_AR, under disruption: the mean of 1 - p, of the images whose class changes;
* IEC_NR, inter-consistency under noise: the share of places in the methods' ranking of an image
  that the same method keeps;
* IEC_AR, under disruption: the share of images and methods whose score gets worse;
* MC, meta-consistency: the mean of the four, in 0..1; higher is better.

Taken from the paper: the tests and their conditions; its perturbations, uniform noise within
0.001 and 1 of the pixels' range, clipped to it, and weights times normal numbers of mean 1 and
deviation 0.001 and 2; both tests, of images and of weights, whose MC are averaged. Otherwise than
there: p is exact, with Pratt's treatment of zeros; maps are made anew also of perturbed images, as
its equations have it, where the authors' code keeps those of the images as they were; the class
that is explained is that of before. Left out: the repetition over iterations, more than a few
perturbations (`perturbations`), and the choice of other methods than those that are given.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.core.progress import SILENT, Progress
from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.results.statistics import signed_rank
from interpbench.studies.judging.subject import Subject, better_first, tidy

Test = Literal["images", "weights"]
Kind = Literal["minor", "disruptive"]
PIXELS: dict[Kind, float] = {"minor": 0.001, "disruptive": 1.0}  # of their range
WEIGHTS: dict[Kind, float] = {"minor": 0.001, "disruptive": 2.0}  # deviation of their factors
FIGURES = ["iac_nr", "iac_ar", "iec_nr", "iec_ar"]
COLUMNS = ["metric", "test", *FIGURES, "mc"]
_WHERE = ["metric", "method", "test", "kind", "number", "sample_id"]


class Perturbed(NamedTuple):
    """A perturbation, and what is judged under it."""

    test: Test
    kind: Kind
    number: int
    subject: Subject


def perturbations(subject: Subject, count: int) -> Iterator[Perturbed]:
    """The perturbations of both tests and kinds, `count` of each."""
    for kind in PIXELS:
        for number in range(count):
            noisy = _with_noise(subject, kind, number)
            yield Perturbed("images", kind, number, subject.changed(pixels=noisy))
            model = _with_other_weights(subject, kind, number)
            explained = replace(subject.explainer.explained, model=model)
            explainer = Explainer(explained, subject.explainer.device, subject.seed)
            yield Perturbed("weights", kind, number, subject.changed(explainer=explainer))


def score_perturbed(
    subject: Subject, methods: Sequence[str], count: int, progress: Progress = SILENT
) -> pd.DataFrame:
    """The scores of methods' maps under each perturbation.

    Parameters:
        subject: the model and images as they are.
        methods: labels of methods.
        count: perturbations of each test and kind.
        progress: told which perturbation is on.

    Returns:
        columns metric, method, test, kind, number, same (whether the model's class stays),
        sample_id, score.
    """
    records = []
    for test, kind, number, perturbed in perturbations(subject, count):
        progress.advance(f"{kind} noise on {test}")
        same = _predicted(perturbed) == subject.target
        scorer = perturbed.scorer()
        for method in methods:
            maps = perturbed.maps(method)
            if maps is not None:
                scores = scorer.scores(torch.from_numpy(maps).to(subject.explainer.device))
                found = tidy(
                    subject.ids, scores, method=method, test=test, kind=kind, number=number
                )
                stays = dict(zip(subject.ids, same.tolist(), strict=True))
                records += [{**row, "same": stays[row["sample_id"]]} for row in found]
            progress.advance(f"{kind} noise on {test}", len(subject.ids))
    return pd.DataFrame(records, columns=[*_WHERE[:5], "same", "sample_id", "score"])


def conclude_consistency(
    subject: Subject, before: pd.DataFrame, after: pd.DataFrame
) -> pd.DataFrame:
    """A row a metric and test, with COLUMNS; a figure for which there are no images is NaN.

    Parameters:
        subject: whose metrics.
        before: columns metric, method, sample_id, score, of the model and images as they are.
        after: of `score_perturbed`.
    """
    paired = after.merge(before, on=["metric", "method", "sample_id"], suffixes=("", "_before"))
    rows = []
    for (label, test), group in paired.groupby(["metric", "test"], sort=False):
        counted = group[group["same"] == (group["kind"] == "minor")].copy()
        for column in ("score", "score_before"):
            counted[column] = better_first(subject.metrics, str(label), counted[column])
        minor, disruptive = (counted[counted["kind"] == kind] for kind in PIXELS)
        figures = (
            _mean(_p_values(minor)),
            _mean(1 - _p_values(disruptive)),
            _mean(_kept_places(minor)),
            _mean(_worse(disruptive)),
        )
        rows.append((label, test, *figures, float(np.mean(figures))))
    return pd.DataFrame(rows, columns=COLUMNS)


def _predicted(subject: Subject) -> Tensor:
    return subject.explainer.answers(subject.images.images).predicted


def _with_noise(subject: Subject, kind: Kind, number: int) -> Tensor:
    """The images with uniform noise, float32 [N,H,W,C] in 0..1."""
    noise = []
    for name in subject.ids:
        seed = derive(subject.seed, "noise on images", kind, number, name)
        generator = torch.Generator().manual_seed(seed)
        noise.append(torch.rand(subject.pixels.shape[1:], generator=generator) * 2 - 1)
    return (subject.pixels + PIXELS[kind] * torch.stack(noise)).clamp(0, 1)


def _with_other_weights(subject: Subject, kind: Kind, number: int) -> Model:
    """A copy of the model whose parameters are multiplied by normal numbers about 1."""
    model = copy.deepcopy(subject.explainer.model)
    seed = derive(subject.seed, "noise on weights", kind, number)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            factors = 1 + WEIGHTS[kind] * torch.randn(parameter.shape, generator=generator)
            parameter.mul_(factors.to(parameter.device))
    return model


def _p_values(paired: pd.DataFrame) -> np.ndarray:
    """p of Wilcoxon's test for each method and perturbation; without images none."""
    found = []
    for _, group in paired.groupby(["method", "number"], sort=False):
        differences = (group["score"] - group["score_before"]).dropna().to_numpy()
        if differences.size:
            found.append(signed_rank(differences).p)
    return np.array(found)


def _kept_places(paired: pd.DataFrame) -> np.ndarray:
    """For each perturbation, image and place among the methods: whether the same method has it."""
    before, after = (
        paired.pivot_table(
            index=["number", "sample_id"], columns="method", values=column, dropna=False, sort=False
        ).to_numpy()
        for column in ("score_before", "score")
    )
    whole = ~(np.isnan(before) | np.isnan(after)).any(axis=1)
    orders = [np.argsort(-values[whole], axis=1, kind="stable") for values in (before, after)]
    return np.asarray(orders[0] == orders[1], dtype=float).ravel()


def _worse(paired: pd.DataFrame) -> np.ndarray:
    """For each perturbation, image and method: whether the score is worse than before."""
    scored = paired.dropna(subset=["score", "score_before"])
    return (scored["score"] < scored["score_before"]).to_numpy(dtype=float)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
