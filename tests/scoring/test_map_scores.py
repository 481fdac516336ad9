"""Maps that are scored outside of a run get the scores of a run."""

from pathlib import Path

import numpy as np
import pytest
import torch

import interpbench
from interpbench.attribution.explainer import Explainer
from interpbench.core.devices import Computing
from interpbench.core.types import normalise
from interpbench.loading.dataset import open_dataset
from interpbench.loading.images import choose, load_images
from interpbench.registry.choosing import Sources, choose_dataset, choose_plugins
from interpbench.registry.discovery import discover
from interpbench.scoring.map_scores import LabelledImages, MapScorer
from tests.tiny_models import convolutional, wrap

METRICS = [
    "deletion:steps=4",
    "insertion:steps=4",
    "mu-fidelity:grid=4,sets=20",
    "saco",
    "roc-auc",
    "entropy",
]
COUNT, SIDE = 5, 16


def scorer(*metrics: str) -> tuple[MapScorer, torch.Tensor]:
    """Of noise, with maps of noise."""
    generator = torch.Generator().manual_seed(0)
    model = wrap(convolutional(SIDE), SIDE)
    target = torch.arange(COUNT) % 3
    masks = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.bool)
    masks[:, 2:9, 3:8] = True
    images = LabelledImages(
        x=torch.randn(COUNT, 3, SIDE, SIDE, generator=generator),
        target=target,
        label=target,
        mask=masks,
        ids=tuple(map(str, range(COUNT))),
    )
    plugins = choose_plugins(discover(), "metric", metrics).plugins
    return MapScorer(model, images, plugins, 0), torch.randn(COUNT, SIDE, SIDE, generator=generator)


def test_scores_are_those_of_a_run(tmp_path: Path) -> None:
    registry = discover()
    run = interpbench.run(
        dataset="planted", model="resnet18", method="random", metric=METRICS, images=4,
        ceiling="none", device="cpu", plots=False, output=tmp_path / "run",
    )  # fmt: skip
    data = open_dataset(choose_dataset(registry, "planted"))
    explainer = Explainer.load(
        registry, "resnet18", ["random"], data.card, Sources(), Computing.of("cpu"), 0
    )
    images = load_images(data, choose(data, 4, 0), explainer.model.card.preparation)
    target = explainer.answers(images.images).predicted
    maps = explainer.maps("random", images.images, target, images.ids)
    assert images.masks is not None
    assert maps is not None
    labelled = LabelledImages(
        x=normalise(images.images, explainer.model.card.preparation),
        target=target,
        label=images.labels,
        mask=images.masks,
        ids=images.ids,
    )
    plugins = choose_plugins(registry, "metric", METRICS).plugins
    found = MapScorer(explainer.model, labelled, plugins, 0).scores(torch.from_numpy(maps))
    expected = run.scores.pivot_table(index="sample_id", columns="metric", values="value")
    for metric in METRICS:
        of_run = expected.loc[list(images.ids), metric]
        np.testing.assert_allclose(found[metric], of_run, rtol=1e-4, atol=1e-6)


def test_maps_that_are_no_answer_have_no_score() -> None:
    scoring, maps = scorer("deletion:steps=4", "roc-auc")
    maps[1], maps[3, 0, 0] = 2.0, torch.nan
    for scores in scoring.scores(maps).values():
        assert np.isnan(scores).tolist() == [False, True, False, True, False]


def test_a_metric_that_fails_is_named_and_others_go_on() -> None:
    scoring, maps = scorer("max-sensitivity", "roc-auc", "irof")
    assert list(scoring.scores(maps)) == ["roc-auc", "irof"]
    assert "needs a method that can be asked again" in scoring.failures["max-sensitivity"]
    assert list(scoring.scores(maps)) == ["roc-auc", "irof"]


def test_an_image_s_score_is_its_own() -> None:
    metrics = ("deletion:steps=4", "mu-fidelity:grid=4,sets=20", "saco")
    scoring, maps = scorer(*metrics)
    before = scoring.scores(maps)
    maps[0] = -maps[0]
    after = scoring.scores(maps)
    for metric in before:
        assert before[metric][0] != pytest.approx(after[metric][0])
        np.testing.assert_array_equal(before[metric][1:], after[metric][1:])


def test_a_metric_that_asks_the_method_says_that_there_is_none() -> None:
    """Though it asks for reference images first, which the scored ones stand for."""
    scoring, maps = scorer("mprt", "roc-auc")
    assert list(scoring.scores(maps)) == ["roc-auc"]
    assert "needs a method that can be asked again" in scoring.failures["mprt"]
