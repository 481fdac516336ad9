"""Protocols give the numbers of the libraries that they are called after: these themselves where they are installed,
else twins written out from their code, slowly: one image, one step, one value at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from captum import metrics as captum_metrics
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from scipy.stats import spearmanr
from torch import Tensor
from torchvision.transforms import GaussianBlur

from interpbench.core.errors import ParameterError, UnknownNameError
from interpbench.registry.choosing import choose_plugins
from interpbench.registry.metric_protocol import load_protocol, protocol_names
from interpbench.scoring.explanation import Explanation
from tests.command_line import call
from tests.metrics.subjects import REGISTRY, images, linear, noise, small, with_map
from tests.metrics.subjects import subject as subject_of
from tests.scores import scored
from tests.tiny_models import Linear

SIDE, COUNT = 16, 3
IMPUTED = "noise of imputed pixels"  # what ours draws it for


@cache
def subject() -> Explanation:
    """Random images and maps without ties."""
    return small(x=images(COUNT, SIDE))


def ours(protocol: str, explanation: Explanation, most: int = 3) -> list[np.ndarray]:
    """The scores [B] of the first of a protocol's metrics."""
    chosen = [*choose_plugins(REGISTRY, "metric", [f"protocol:{protocol}"]).plugins.values()]
    return [scored(choice, explanation).per_image for choice in chosen[:most]]


def logits(explanation: Explanation, i: int, image: np.ndarray | Tensor) -> float:
    """The target's logit."""
    x = torch.as_tensor(np.asarray(image), dtype=torch.float32)[None]
    return float(explanation.model(x)[0, explanation.target[i]])


def probability(explanation: Explanation, i: int, image: np.ndarray | Tensor) -> float:
    x = torch.as_tensor(np.asarray(image), dtype=torch.float32)[None]
    return float(explanation.model(x).softmax(1)[0, explanation.target[i]])


def of_each(explanation: Explanation, score: Callable[[int], float]) -> np.ndarray:
    with torch.no_grad():
        return np.array([score(i) for i in range(len(explanation.ids))])


def xplique(explanation: Explanation, i: int, mode: str) -> float:
    image, saliency = explanation.x[i].permute(1, 2, 0).numpy(), explanation.saliency[i].numpy()
    flat, empty = image.reshape(-1, 3), np.zeros((SIDE * SIDE, 3), np.float32)
    order = np.argsort(saliency.reshape(-1))[::-1]
    start, end = (flat, empty) if mode == "deletion" else (empty, flat)
    values = []
    for step in np.linspace(0, SIDE * SIDE, 10 + 1, dtype=np.int32):
        changed = start.copy()
        changed[order[:step]] = end[order[:step]]
        values.append(logits(explanation, i, changed.reshape(SIDE, SIDE, 3).transpose(2, 0, 1)))
    curve = np.array(values)
    return float(np.mean(curve[:-1] + curve[1:]) * 0.5)


def latec(explanation: Explanation, i: int, mode: str) -> float:
    x, order = explanation.x[i], explanation.saliency[i].flatten().argsort(descending=True)
    if mode == "deletion":
        current, end = x.clone(), torch.zeros_like(x)
    else:
        current, end = GaussianBlur(15, 5.0)(x), x
    values, replaced = [], 0
    while replaced < len(order):
        for position in order[replaced : replaced + 50].tolist():
            row, column = divmod(position, SIDE)
            current[:, row, column] = end[:, row, column]
        replaced += min(50, len(order) - replaced)
        if replaced == len(order):
            break
        values.append(probability(explanation, i, current))
    return float(np.trapezoid(values, dx=1 / len(values)))


def pixel_flipping(explanation: Explanation, i: int) -> float:
    current = explanation.x[i].numpy().copy().reshape(-1)
    black = current.min()
    values = np.broadcast_to(explanation.saliency[i].numpy(), (3, SIDE, SIDE)).reshape(-1)
    order = np.argsort(-values, kind="stable")
    said = []
    for first in range(0, len(order), 224):
        for value in order[first : first + 224]:
            current[value] = black
        said.append(probability(explanation, i, current.reshape(3, SIDE, SIDE)))
    return float(np.trapezoid(said, dx=1))


def idsds(explanation: Explanation, i: int) -> float:
    x, saliency, cell = explanation.x[i], explanation.saliency[i], SIDE // 4
    sums, drops = [], []
    for row in range(4):
        for column in range(4):
            here = (slice(row * cell, (row + 1) * cell), slice(column * cell, (column + 1) * cell))
            without = x.clone()
            without[:, *here] = 0
            sums.append(float(saliency[here].double().sum()))
            drops.append(logits(explanation, i, x) - logits(explanation, i, without))
    return float(spearmanr(sums, drops)[0])


def incremental(explanation: Explanation, i: int) -> float:
    order = explanation.saliency[i].flatten().argsort()
    said = []
    for alpha in np.linspace(0, 1.0, num=32, endpoint=False):
        changed = explanation.x[i].clone().reshape(3, -1)
        changed[:, order[: int(len(order) * alpha)]] = 0
        said.append(probability(explanation, i, changed.view(3, SIDE, SIDE)))
    return float(np.mean(said))


def imputed(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """[C,H,W] with removed positions as the mean of their neighbours, by a direct solver."""
    weights = {(0, 1): 1 / 6, (0, -1): 1 / 6, (1, 0): 1 / 6, (-1, 0): 1 / 6}
    weights |= {(a, b): 1 / 12 for a in (-1, 1) for b in (-1, 1)}
    places = np.argwhere(removed)
    number = {tuple(place): k for k, place in enumerate(places)}
    matrix, right = lil_matrix((len(places), len(places))), np.zeros((len(places), 3))
    for k, (row, column) in enumerate(places):
        for (down, across), weight in weights.items():
            there = (row + down, column + across)
            if not (0 <= there[0] < SIDE and 0 <= there[1] < SIDE):
                continue
            matrix[k, k] += weight
            if there in number:
                matrix[k, number[there]] = -weight
            else:
                right[k] += weight * image[:, *there]
    out = image.copy()
    out[:, removed] = spsolve(matrix.tocsc(), right).T
    return out


def road(explanation: Explanation, i: int, first: str) -> float:
    mean, std = (
        np.array(v)[:, None, None]
        for v in (explanation.model.card.mean, explanation.model.card.std)
    )
    pixels = explanation.x[i].double().numpy() * std + mean
    drawn = 0.01 * torch.randn(3, SIDE, SIDE, generator=explanation.generators(IMPUTED)[i]).numpy()
    order = np.argsort(-explanation.saliency[i].numpy().reshape(-1))
    hits = []
    for p in range(1, 10):
        removed = np.zeros(SIDE * SIDE, bool)
        if first == "most":
            removed[order[: p * SIDE * SIDE // 10]] = True
        else:  # p is the share that is kept: the mean is over the same shares
            removed[order[SIDE * SIDE - p * SIDE * SIDE // 10 :]] = True
        removed = removed.reshape(SIDE, SIDE)
        filled = imputed(pixels, removed)
        filled[:, removed] += drawn[:, removed]
        x = torch.from_numpy((filled - mean) / std).float()[None]
        hits.append(explanation.model(x).argmax(1).item() == explanation.target[i].item())
    return float(np.mean(hits))


def predicted(explanation: Explanation) -> Explanation:
    """The same, for the classes that are predicted: accuracy of others is mostly 0."""
    with torch.no_grad():
        return replace(explanation, target=explanation.model(explanation.x).argmax(1), reader=None)


TWINS: dict[str, list[Callable[[Explanation, int], float]]] = {
    "xplique": [lambda e, i: xplique(e, i, "deletion"), lambda e, i: xplique(e, i, "insertion")],
    "latec": [
        lambda e, i: latec(e, i, "deletion"),
        lambda e, i: latec(e, i, "insertion"),
        pixel_flipping,
    ],
    "idsds": [idsds],
    "idsds-incremental": [incremental],
    "quantus-pixel-flipping": [pixel_flipping],
}


@pytest.mark.parametrize("protocol", TWINS)
def test_a_protocol_gives_the_numbers_of_its_library(protocol: str) -> None:
    explanation = subject()
    for found, twin in zip(ours(protocol, explanation), TWINS[protocol], strict=False):
        expected = of_each(explanation, lambda i, twin=twin: twin(explanation, i))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert np.ptp(expected) > 1e-4  # the images differ: a constant would pass otherwise


def test_road_gives_its_authors_accuracy() -> None:
    x = images(6, SIDE)
    explanation = predicted(linear(noise(x), x))
    for found, first in zip(ours("road", explanation), ("most", "least"), strict=True):
        expected = of_each(explanation, lambda i, first=first: road(explanation, i, first))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert len(set(expected)) > 1


@pytest.mark.parametrize("with_ties", [False, True])
def test_road_gradcam_gives_pytorch_grad_cam_s(with_ties: bool) -> None:
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    explanation, impute = subject(), NoisyLinearImputer.__call__
    maps = explanation.saliency - explanation.saliency.amin((1, 2), keepdim=True)
    maps = maps / maps.amax((1, 2), keepdim=True)
    if with_ties:
        maps = (maps * 40).round() / 40
        explanation = with_map(explanation, maps)
    expected = []
    for i, generator in enumerate(explanation.generators(IMPUTED)):
        drawn = torch.randn(explanation.x.shape[1:], generator=generator).flatten(1)

        def with_noise(
            self: NoisyLinearImputer, image: Tensor, mask: Tensor, drawn: Tensor = drawn
        ) -> Tensor:
            with patch.object(torch, "randn_like", lambda _: drawn[:, mask.flatten() == 0]):
                return impute(self, image, mask)

        target = [ClassifierOutputTarget(int(explanation.target[i]))]
        with patch.object(NoisyLinearImputer, "__call__", with_noise):
            here = slice(i, i + 1)
            expected += list(
                ROADCombined()(explanation.x[here], maps[here].numpy(), target, explanation.model)
            )
    [found] = ours("road-gradcam", explanation)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_where_equal_values_leave_nothing_there_is_no_score() -> None:
    explanation = subject()
    sparse = torch.zeros_like(explanation.saliency)
    sparse[:, :2] = explanation.saliency[
        :, :2
    ].abs()  # 86 % are 0, so that the lowest percentiles are
    [found] = ours("road-gradcam", with_map(explanation, sparse))
    assert np.isnan(found).all()


def test_captum_s_numbers() -> None:
    explanation = subject()
    generators = explanation.generators("gaussian noise")
    drawn = [
        torch.stack([torch.randn(SIDE, SIDE, generator=g) for g in generators]) for _ in range(10)
    ]
    added = 0.2 * torch.stack(drawn, 1).flatten(0, 1)[:, None]

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        return added.expand_as(x), x - added

    near = explanation.generators("neighbours")

    def neighbours(x: Tensor) -> Tensor:
        return x + torch.stack(
            [torch.empty(x.shape[1:]).uniform_(-0.02, 0.02, generator=g) for g in near]
        )

    def explain(x: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        return (explanation.explain(x[0] if isinstance(x, tuple) else x),)

    of_channels = (explanation.saliency / 3)[:, None].expand_as(explanation.x)
    expected = [
        captum_metrics.infidelity(
            explanation.model,
            perturb,
            explanation.x,
            of_channels,
            target=explanation.target,
            normalize=normalize,
        )
        for normalize in (True, False)
    ]
    first = with_map(
        explanation, explanation.explain(explanation.x)
    )  # captum asks for the map itself
    expected.append(
        captum_metrics.sensitivity_max(explain, first.x, neighbours, max_examples_per_batch=COUNT)
    )
    found = [*ours("captum", explanation)[:2], ours("captum", first)[2]]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5)


@contextmanager
def sorting(kind: str) -> Iterator[None]:
    """numpy sorts in this way where it is not told how."""
    sort = np.argsort
    with patch.object(
        np, "argsort", lambda a, axis=-1, **how: sort(a, axis=axis, **{"kind": kind, **how})
    ):
        yield


def quantus_pixel_flipping(explanation: Explanation, kind: str) -> np.ndarray:
    """Quantus itself, with a sort of this kind."""
    quantus = pytest.importorskip("quantus")
    with (
        patch.object(np, "trapz", np.trapezoid, create=True),
        sorting(kind),
        patch.object(
            quantus.helpers.asserts, "assert_features_in_step"
        ),  # for 224 on so small an image
    ):
        flipping = quantus.PixelFlipping(
            features_in_step=224, return_auc_per_sample=True, disable_warnings=True
        )
        found = flipping(
            explanation.model, explanation.x.numpy(), explanation.target.numpy(), explanation.saliency[:, None].numpy(),
            channel_first=True, device="cpu",
        )  # fmt: skip
    return np.array(found)


def test_quantus_pixel_flipping_is_quantus_s_but_for_its_order_of_equal_values() -> None:
    explanation = subject()
    [found] = ours("quantus-pixel-flipping", explanation)
    np.testing.assert_allclose(
        found, quantus_pixel_flipping(explanation, "stable"), rtol=0, atol=1e-5
    )
    # As it comes, the channels of a position fall in an order of chance where a step ends within them.
    as_it_comes = quantus_pixel_flipping(explanation, "quicksort")
    assert np.abs(found - as_it_comes).max() < 0.05
    print(f"by its own sort: {np.abs(found - as_it_comes).max():.1e}")


def test_latec_s_complexity_is_quantus_s() -> None:
    quantus = pytest.importorskip("quantus")
    explanation = subject()
    chosen = choose_plugins(REGISTRY, "metric", ["protocol:latec"]).plugins.values()
    found = {choice.name: scored(choice, explanation).per_image for choice in [*chosen][-3:]}
    for i in range(COUNT):  # alone, since Quantus divides by the greatest value of the batch
        for name, mine, scale in (
            ("Sparseness", "sparseness", 1),
            ("Complexity", "entropy", 1),
            ("EffectiveComplexity", "effective-complexity", SIDE * SIDE),
        ):
            more = {"eps": 0.01} if scale > 1 else {}
            metric = getattr(quantus, name)(disable_warnings=True, **more)
            here = slice(i, i + 1)
            [theirs] = metric(
                None, explanation.x[here].numpy(), explanation.target[here].numpy(),
                explanation.saliency[here, None].double().numpy(), channel_first=True,
            )  # fmt: skip
            assert found[mine][i] * scale == pytest.approx(theirs, rel=1e-5)


def test_directions_follow_what_is_done_in_which_order() -> None:
    for by, first, better in (
        ("removing", "most", "lower"), ("removing", "least", "higher"), ("inserting", "most", "higher"),
        ("inserting", "least", "lower"),
    ):  # fmt: skip
        plugin = REGISTRY.get("metric", "pixel-flipping")
        assert plugin.direction(plugin.configure({"by": by, "first": first}).values) == better


def test_pixel_flipping_is_deletion_where_their_rules_are_the_same() -> None:
    explanation = subject()
    with_rise_s = {"per_step": SIDE}
    flipping = scored(
        REGISTRY.configure("metric", "pixel-flipping", with_rise_s), explanation
    ).per_image
    deletion = scored(REGISTRY.configure("metric", "deletion"), explanation).per_image
    np.testing.assert_allclose(flipping, deletion, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"intervals": SIDE * SIDE + 1}, "intervals=257 are more than an image's 256 features"),
        ({"per_step": 200, "ends": "neither"}, "1 points are no curve: an image has 256 features"),
    ],
)
def test_wrong_steps_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        REGISTRY.configure("metric", "pixel-flipping", values)(subject())


class TestNames:
    """`--metric protocol:NAME`."""

    def test_every_protocol_says_what_it_is_and_its_metrics_are_there(self) -> None:
        assert {
            "captum", "idsds", "idsds-incremental", "latec", "quantus-pixel-flipping", "road", "road-gradcam", "xplique"
        } == set(protocol_names())  # fmt: skip
        for name in protocol_names():
            protocol = load_protocol(name)
            assert protocol.description
            assert protocol.reference
            chosen = choose_plugins(REGISTRY, "metric", [f"protocol:{name}"])
            assert len(chosen.plugins) == len(protocol.metrics)

    def test_it_stands_for_its_metrics_beside_others(self) -> None:
        chosen = choose_plugins(REGISTRY, "metric", ["deletion,protocol:xplique", "protocol:idsds"])
        assert list(chosen.plugins) == [
            "deletion", "pixel-flipping:output=logit", "pixel-flipping:by=inserting,output=logit", "single-deletion"
        ]  # fmt: skip

    def test_ones_own_is_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        empty = "".join(f'{key} = ""\n' for key in ("description", "reference", "source", "fixes"))
        file.write_text(f'{empty}metrics = ["deletion:steps=4"]\n')
        assert list(choose_plugins(REGISTRY, "metric", [f"protocol:{file}"]).plugins) == [
            "deletion:steps=4"
        ]

    @pytest.mark.parametrize("text", ["protocol", "protocol:latec,steps=3", "protocol:name=latec"])
    def test_it_has_a_name_and_no_parameters(self, text: str) -> None:
        with pytest.raises(
            ParameterError, match="A protocol is written protocol:NAME, without parameters"
        ):
            choose_plugins(REGISTRY, "metric", [text])
        with pytest.raises(
            UnknownNameError, match=r"Unknown protocol 'latex'. Did you mean 'latec'"
        ):
            choose_plugins(REGISTRY, "metric", ["protocol:latex"])

    def test_list_and_show_know_it(self) -> None:
        assert "Deletion and insertion as Xplique scores them." in " ".join(
            call("list", "protocols")[1].split()
        )
        code, out, _ = call("show", "xplique")
        assert code == 0
        assert "pixel-flipping:by=inserting,output=logit" in out
        assert out.startswith("protocol xplique")


def test_the_exact_map_of_a_linear_model_correlates_with_what_its_values_take() -> None:
    """Where channels count alike, a map's value says of each channel's what it takes: then all correlations are 1."""
    weight = torch.randn(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).expand(
        -1, 3, -1, -1
    )
    x = 1 + torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2)).expand(
        -1, 3, -1, -1
    )
    exact = weight[1, 0] * (x[:, 0] - x.amin((1, 2, 3))[:, None, None])
    explanation = subject_of(Linear(weight.contiguous()), exact, x.contiguous())
    for name in ("faithfulness-correlation-of-values", "faithfulness-estimate-of-values"):
        found = scored(REGISTRY.configure("metric", name), explanation).per_image
        np.testing.assert_allclose(found, 1, atol=1e-5)
    with pytest.raises(ParameterError, match="size=768: an image has 768 values"):
        REGISTRY.configure("metric", "faithfulness-correlation-of-values", {"size": 768})(
            explanation
        )
    with pytest.raises(
        ParameterError, match="per_step=3136 makes one group of an image's 768 values"
    ):
        REGISTRY.configure("metric", "monotonicity-correlation-of-values", {"per_step": 3136})(
            explanation
        )
