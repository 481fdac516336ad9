"""Randomisation beside loops with scipy and skimage, a linear layer's closed form, and maps that ignore it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy, spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn

import interpbench
from interpbench.core.errors import ParameterError
from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.scoring.explanation import Explanation
from interpbench.toolbox.randomise import Randomiser
from tests.metrics.subjects import COUNT, SIDE, images, only, score, subject, with_map
from tests.scores import reference
from tests.studies.sanity.networks import small
from tests.tiny_models import calibrate, convolutional

ALL = ("mprt", "smooth-mprt", "efficient-mprt", "random-logit")
WHERE_EQUAL = {"mprt": 1, "smooth-mprt": 1, "efficient-mprt": 0, "random-logit": 1}
QUICK = {"smooth-mprt": {"samples": 3, "noise": 0.2}}


def explained(explanation: Explanation) -> Explanation:
    """With the maps that its method gives."""
    return with_map(explanation, explanation.explain(explanation.x))


def normed(batch: int = 16) -> Explanation:
    """Gradient x input of a network of four layers, one of them a batch norm; two of them are alike."""
    torch.manual_seed(0)
    network = calibrate(small(5, "0.1"), SIDE).requires_grad_(False)
    return explained(subject(network, torch.zeros(COUNT, SIDE, SIDE), images(), batch=batch))


def of(name: str, explanation: Explanation, batch: int = 16, **values: object) -> Tensor:
    return score(name, explanation, batch, **QUICK.get(name, {}) | values)


def slow_similarity(a: Tensor, b: Tensor, similarity: str) -> float:
    first, second = a.double().numpy(), b.double().numpy()
    if similarity == "spearman":
        return float(spearmanr(first.ravel(), second.ravel()).statistic)
    first, second = (m / np.abs(m).max() for m in (first, second))
    return float(
        structural_similarity(
            first, second, win_size=7, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=2.0 if min(first.min(), second.min()) < 0 else 1.0,
        )
    )  # fmt: skip


def signed(maps: Tensor, sign: str) -> Tensor:
    return {"signed": maps, "absolute": maps.abs(), "positive": maps.relu()}[sign]


@pytest.mark.parametrize("similarity", ["spearman", "ssim"])
@pytest.mark.parametrize("sign", ["signed", "absolute", "positive"])
@pytest.mark.parametrize("layers", ["all", "top", "cascading"])
def test_mprt_beside_loops(layers: str, sign: str, similarity: str) -> None:
    explanation = normed()
    made = list(Randomiser(explanation.model, reference((3, SIDE, SIDE)), 0).cascading())
    assert len(made) == 5
    copies = {"all": made[-1:], "top": made[:1], "cascading": made}[layers]
    found = of("mprt", explanation, layers=layers, sign=sign, similarity=similarity)
    for row in range(COUNT):
        each = []
        for copied in copies:
            after = explanation.explain(explanation.x, model=copied.model)[row]
            pair = (signed(maps, sign) for maps in (explanation.saliency[row], after))
            each.append(slow_similarity(*pair, similarity))
        assert found[row] == pytest.approx(np.mean(each), abs=1e-5)


@pytest.mark.parametrize("similarity", ["spearman", "ssim"])
def test_smooth_mprt_beside_loops(similarity: str) -> None:
    explanation = normed()
    [complete] = Randomiser(explanation.model, reference((3, SIDE, SIDE)), 0).complete()
    found = of("smooth-mprt", explanation, similarity=similarity)
    for row, chance in enumerate(explanation.generators("smooth-mprt")):
        x = explanation.x[row]
        deviation = 0.2 * (x.max() - x.min())
        noisy = [x + deviation * torch.randn(x.shape, generator=chance) for _ in range(3)]
        means = []
        for model in (None, complete.model):
            maps = [
                explanation.explain(each.expand_as(explanation.x).contiguous(), model=model)[row]
                for each in noisy
            ]
            means.append(torch.stack(maps).mean(0).abs())
        assert found[row] == pytest.approx(slow_similarity(*means, similarity), abs=1e-5)


@pytest.mark.parametrize("bins", [2, 100])
@pytest.mark.parametrize("sign", ["signed", "absolute"])
def test_efficient_mprt_is_the_relative_rise_of_numpys_and_scipys_entropy(
    sign: str, bins: int
) -> None:
    """As Quantus has it: (b - a) / a of scipy's entropy of numpy's histogram."""
    explanation = normed()
    [complete] = Randomiser(explanation.model, reference((3, SIDE, SIDE)), 0).complete()
    after = explanation.explain(explanation.x, model=complete.model)
    a, b = (
        np.array([entropy(np.histogram(m.double(), bins=bins)[0]) for m in signed(maps, sign)])
        for maps in (explanation.saliency, after)
    )
    found = of("efficient-mprt", explanation, sign=sign, bins=bins)
    assert found.tolist() == pytest.approx(((b - a) / a).tolist())


@pytest.mark.parametrize("similarity", ["spearman", "ssim"])
def test_random_logit_beside_loops(similarity: str) -> None:
    explanation = normed()
    found = of("random-logit", explanation, similarity=similarity)
    others = []
    for row, chance in enumerate(explanation.generators("random-logit")):
        drawn = int(torch.randint(4, (), generator=chance))
        others.append([0, 2, 3, 4][drawn])  # all explain class 1
        target = torch.full((COUNT,), others[-1])
        after = explanation.explain(explanation.x, target)[row].abs()
        expected = slow_similarity(explanation.saliency[row].abs(), after, similarity)
        assert found[row] == pytest.approx(expected, abs=1e-5)
    assert len(set(others)) > 1


def test_a_linear_layers_closed_form() -> None:
    """The gradient x input is w x, and that of the copy w' x, with w' of the layer's own seed."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 5)).requires_grad_(False)
    explanation = explained(subject(network, torch.zeros(COUNT, SIDE, SIDE), images()))
    torch.manual_seed(derive(0, "sanity", "1"))
    new = nn.Linear(3 * SIDE**2, 5).weight[1].detach()
    for name, values, weight in (
        ("mprt", {}, new),
        ("random-logit", {"similarity": "spearman"}, None),
    ):
        found = of(name, explanation, **values)
        for row, chance in enumerate(explanation.generators("random-logit")):
            other = [0, 2, 3, 4][int(torch.randint(4, (), generator=chance))]
            of_other = network[1].weight[other] if weight is None else weight
            x = explanation.x[row]
            maps = [(w.view_as(x) * x).sum(0).abs() for w in (network[1].weight[1], of_other)]
            assert found[row] == pytest.approx(slow_similarity(*maps, "spearman"), abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_map_that_ignores_what_changes_is_the_worst(name: str) -> None:
    plain = normed()

    def ignoring(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        return x.sum(1)

    found = of(name, explained(replace(plain, explainer=ignoring)))
    assert found.tolist() == pytest.approx([WHERE_EQUAL[name]] * COUNT)
    other = of(name, plain)
    assert (other > 0 if name == "efficient-mprt" else other < 1).any()


@pytest.mark.parametrize("name", ALL)
def test_neither_the_batch_size_nor_neighbours_count(name: str) -> None:
    whole = of(name, normed())
    for batch in (1, 4):
        torch.testing.assert_close(of(name, normed(batch), batch), whole, rtol=1e-5, atol=1e-6)
    for row in range(2):
        alone = of(name, only(normed(), [row]))
        torch.testing.assert_close(alone, whole[[row]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_another_seed_gives_other_weights_noise_or_class(name: str) -> None:
    first, again, other = (of(name, replace(normed(), seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ALL)
def test_the_scale_of_maps_means_nothing(name: str) -> None:
    plain = normed()

    def loud(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        return 1024 * plain.explain(x, target, model=model)

    found = of(name, explained(replace(plain, explainer=loud)))
    torch.testing.assert_close(found, of(name, plain), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("similarity", ["spearman", "ssim"])
def test_where_a_map_means_nothing_there_is_no_score(name: str, similarity: str) -> None:
    plain = normed()

    def broken(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        maps = plain.explain(x, target, model=model)
        if model is not None or not torch.equal(target, plain.target):
            maps[0, 0, 0], maps[1, 0, 0], maps[2] = torch.nan, -torch.inf, 3
        return maps

    values = {} if name == "efficient-mprt" else {"similarity": similarity}
    found = of(name, replace(plain, explainer=broken), **values)
    assert found.isnan().tolist() == [True] * 3 + [False] * 3


def test_copies_whose_map_means_nothing_are_left_out_of_a_cascade() -> None:
    plain = normed()

    def broken(x: Tensor, target: Tensor, *, model: Model | None = None) -> Tensor:
        maps = plain.explain(x, target, model=model)
        new = [module for module in model.network if hasattr(module, "weight")] if model else []
        several = bool(new) and not torch.equal(new[-2].weight, plain.model.network[7].weight)
        return torch.zeros_like(maps) if several else maps

    found = of("mprt", replace(plain, explainer=broken), layers="cascading")
    torch.testing.assert_close(found, of("mprt", plain, layers="top"), rtol=0, atol=0)


def test_a_model_of_one_class_has_no_other() -> None:
    network = convolutional(SIDE, 1).requires_grad_(False)
    plain = subject(network, images().sum(1), images())
    card = replace(plain.model.card, classes=1)
    object.__setattr__(plain.model, "card", card)
    with pytest.raises(AssertionError, match="needs a second class"):
        of("random-logit", plain)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ParameterError, match="bins"):
        of("efficient-mprt", normed(), bins=1)
    with pytest.raises(ParameterError, match="layers"):
        of("mprt", normed(), layers="bottom")


def test_a_run_ranks_methods(tmp_path: Path) -> None:
    run = interpbench.run(
        model="resnet18",
        dataset="planted",
        method=["gradcam", "saliency", "sobel", "eigencam"],
        metric=["mprt", "random-logit", "efficient-mprt"],
        images=8,
        device="cpu",
        output=tmp_path / "run",
        plots=False,
    )
    assert run.failed.empty
    board = run.leaderboard.set_index(["metric", "method"])
    assert set(board.loc["mprt", "better"]) == {"lower"}
    assert set(board.loc["mprt", "sign"]) == {"by magnitude"}
    assert board.loc[("mprt", "sobel"), "mean"] == pytest.approx(1)
    assert board.loc[("efficient-mprt", "sobel"), "mean"] == 0
    for agnostic in ("sobel", "eigencam"):
        assert board.loc[("random-logit", agnostic), "mean"] == pytest.approx(1)
    interval = board.loc[("random-logit", "sobel"), ["low", "high"]]
    assert interval.tolist() == pytest.approx([1, 1])  # similarities, not hits
    assert board.loc[("mprt", "gradcam"), "mean"] < 0.8
    assert board.loc[("mprt", "sobel"), "rank"] == 4
