"""The perturbation engine against a slow obvious twin, closed forms and properties."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from interpbench.core.batch_size import BatchSize
from interpbench.scoring.curves import area, curves, thresholds
from interpbench.scoring.perturbation import Perturbation
from interpbench.scoring.ranking import rank, tie_breakers
from tests.reference import rise
from tests.tiny_models import Constant, Linear, convolutional, wrap
from tests.user_inputs import KINDS, Kind, corner, wrapped

SIDE = 8


def images(count: int, seed: int = 0, side: int = SIDE) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def maps(count: int, seed: int = 1, side: int = SIDE) -> Tensor:
    """Maps without ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack(
        [torch.randperm(side * side, generator=generator).float() for _ in range(count)]
    ).view(count, side, side)


def ranks_of(saliency: Tensor, seed: int = 0) -> Tensor:
    ids = [f"image-{i}" for i in range(len(saliency))]
    return rank(saliency, tie_breakers(ids, saliency[0].numel(), seed))[0]


def scores(
    model: nn.Module, path: Perturbation, saliency: Tensor, target: Tensor, batch: int = 32
) -> Tensor:
    return curves(wrap(model, SIDE), [path], ranks_of(saliency), target, BatchSize(batch))[0]


class Network(nn.Module):
    """A function as a network."""

    def __init__(self, logits: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = logits


def probability_in_numpy(network: nn.Sequential) -> rise.Callable[[np.ndarray], np.ndarray]:
    """The network's softmax output for one image, in float64."""
    exact = network.double().eval()

    def predict(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return exact(torch.from_numpy(image)[None]).softmax(1)[0].numpy()

    return predict


def test_equals_the_slow_twin_on_200_random_image_map_pairs() -> None:
    x, saliency = images(200), maps(200)
    target = torch.arange(200) % 5
    network = convolutional(SIDE)
    blurred = torch.from_numpy(np.stack([rise.blur(image) for image in x.double().numpy()]))
    deletion = scores(network, Perturbation(x, torch.zeros_like(x)), saliency, target)
    insertion = scores(network, Perturbation(blurred.float(), x), saliency, target)
    predict = probability_in_numpy(convolutional(SIDE))
    for i in range(200):
        image, order = x[i].double().numpy(), rise.salient_order(saliency[i].numpy())
        expected = rise.causal_curve(
            predict, image, np.zeros_like(image), order, int(target[i]), SIDE
        )
        np.testing.assert_allclose(deletion[i], expected, rtol=0, atol=1e-6)
        assert float(area(deletion[i])) == pytest.approx(rise.area(expected), abs=1e-6)
        expected = rise.causal_curve(
            predict, blurred[i].numpy(), image, order, int(target[i]), SIDE
        )
        np.testing.assert_allclose(insertion[i], expected, rtol=0, atol=1e-6)
        assert float(area(insertion[i])) == pytest.approx(rise.area(expected), abs=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 63, 64])
def test_any_number_of_steps_equals_the_twin(steps: int) -> None:
    x, saliency, target = images(3), maps(3), torch.tensor([0, 1, 2])
    values = scores(
        convolutional(SIDE), Perturbation(x, torch.zeros_like(x), steps=steps), saliency, target
    )
    predict = probability_in_numpy(convolutional(SIDE))
    stride = int(np.ceil(64 / min(steps, 64)))
    for i in range(3):
        image, order = x[i].double().numpy(), rise.salient_order(saliency[i].numpy())
        expected = rise.causal_curve(
            predict, image, np.zeros_like(image), order, int(target[i]), stride
        )
        np.testing.assert_allclose(values[i], expected, rtol=0, atol=1e-6)


def test_insertion_is_the_reversed_deletion_of_the_negated_map() -> None:
    x, saliency, target = images(6), maps(6), torch.arange(6) % 5
    network, zero = convolutional(SIDE), torch.zeros(6, 3, SIDE, SIDE)
    insertion = scores(network, Perturbation(zero, x), saliency, target)
    deletion = scores(network, Perturbation(x, zero), -saliency, target)
    torch.testing.assert_close(insertion, deletion.flip(1), rtol=0, atol=1e-6)


def test_a_model_that_ignores_its_input_has_its_constant_as_area() -> None:
    x = images(4)
    model = Constant([1.0, 2.0, 0.5])
    values = scores(
        model, Perturbation(x, torch.zeros_like(x)), maps(4), torch.tensor([0, 1, 2, 1])
    )
    expected = torch.tensor([1.0, 2.0, 0.5]).softmax(0)[[0, 1, 2, 1]].double()
    torch.testing.assert_close(area(values), expected, rtol=0, atol=1e-7)


def test_a_linear_models_deletion_curve_has_a_closed_form() -> None:
    x, saliency = images(4), maps(4)
    weight = images(2, seed=5)
    values = scores(
        Linear(weight),
        Perturbation(x, torch.zeros_like(x), output="logit"),
        saliency,
        torch.tensor([0, 1, 0, 1]),
    )
    for i in range(4):
        contribution = (x[i] * weight[i % 2]).sum(0).flatten().double()
        order = saliency[i].flatten().argsort(descending=True)
        kept = torch.cat(
            [contribution[order].sum()[None], contribution.sum() - contribution[order].cumsum(0)]
        )[::SIDE]
        torch.testing.assert_close(values[i].double(), kept, rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 16, 1000])
def test_scores_do_not_depend_on_the_batch_size(batch: int) -> None:
    x, saliency, target = images(5), maps(5), torch.arange(5)
    path = Perturbation(x, torch.zeros_like(x))
    reference = scores(convolutional(SIDE), path, saliency, target, batch=64)
    torch.testing.assert_close(
        scores(convolutional(SIDE), path, saliency, target, batch), reference, rtol=0, atol=1e-6
    )


def test_forward_passes_are_full_and_no_more_than_needed() -> None:
    sizes: list[int] = []
    network = convolutional(SIDE)
    network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    x = images(6)
    scores(
        network,
        Perturbation(x, torch.zeros_like(x)),
        maps(6),
        torch.zeros(6, dtype=torch.int64),
        batch=4,
    )
    assert sum(sizes) == 6 * (SIDE + 1)
    assert sizes == [4] * 13 + [2]


def test_paths_through_the_same_images_take_the_same_passes() -> None:
    """Another output, or an order that comes to the same; not other steps, another end, or another order."""
    passed: list[int] = []
    network = convolutional(SIDE)
    network.register_forward_pre_hook(lambda module, inputs: passed.append(len(inputs[0])))
    x, ranks, target = images(5), ranks_of(maps(5)), torch.arange(5) % 4
    first = Perturbation(x, torch.zeros_like(x))
    same = [
        replace(first, output="logit"),
        replace(first, start=x.clone(), end=torch.zeros_like(x), rank=ranks.clone()),
    ]
    others = [
        replace(first, steps=4),
        replace(first, end=torch.ones_like(x)),
        replace(first, rank=ranks.flip(1), output="logit"),
    ]
    paths = [first, *same, *others]
    found = curves(wrap(network, SIDE), paths, ranks, target, BatchSize(7))
    assert sum(passed) == 5 * (3 * (SIDE + 1) + 5)
    for path, values in zip(paths, found, strict=True):
        [alone] = curves(wrap(network, SIDE), [path], ranks, target, BatchSize(7))
        torch.testing.assert_close(values, alone, rtol=0, atol=1e-6)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


@given(
    transform=st.sampled_from(["3 * s + 2", "s ** 3", "torch.exp(s / 20)", "torch.atan(s / 9)"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_a_strictly_increasing_transform_changes_no_rank(transform: str, seed: int) -> None:
    saliency = maps(2, seed).double()
    transformed = eval(transform, {"s": saliency, "torch": torch})
    assert torch.equal(ranks_of(saliency), ranks_of(transformed))


@given(
    values=st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.25, 3.0]), min_size=16, max_size=16),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None)
def test_ranks_are_a_permutation_that_sorts_the_map(values: list[float], seed: int) -> None:
    saliency = torch.tensor(values).view(1, 4, 4)
    ranks, tied = rank(saliency, tie_breakers(["a"], 16, seed))
    assert sorted(ranks.flatten().tolist()) == list(range(16))
    in_order = saliency.flatten()[ranks.flatten().argsort()]
    assert (in_order.diff() <= 0).all()
    assert float(tied) == sum(values.count(v) > 1 for v in values) / 16


def test_ties_are_broken_by_chance_the_same_for_every_method_and_batch() -> None:
    flat = torch.zeros(2, 32, 32)
    ranks = rank(flat, tie_breakers(["a", "b"], 1024, seed=0))[0]
    again = rank(torch.ones(1, 32, 32), tie_breakers(["b"], 1024, seed=0))[0]
    assert torch.equal(ranks[1:], again)
    assert not torch.equal(ranks[0], ranks[1])
    rows = torch.arange(32).repeat_interleave(32).double()
    correlation = torch.corrcoef(torch.stack([ranks[0].flatten().double(), rows]))[0, 1]
    assert abs(float(correlation)) < 0.15  # raster order would give 1


def test_the_tie_order_is_pinned_across_machines_and_versions() -> None:
    """Recorded once: a change would silently change every score of a map with ties."""
    assert tie_breakers(["planted-test-000007"], 12, seed=3)[0].tolist() == [
        8,
        1,
        3,
        2,
        5,
        11,
        10,
        4,
        9,
        7,
        0,
        6,
    ]


def test_thresholds_count_both_ends_and_a_smaller_last_step() -> None:
    assert thresholds((2, 3), None) == [0, 3, 6]
    assert thresholds((3, 3), 2) == [0, 5, 9]
    assert thresholds((2, 2), 4) == [0, 1, 2, 3, 4]


def test_more_steps_than_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="steps=5 are more than the 4 positions"):
        thresholds((2, 2), 5)


@pytest.mark.parametrize("ends", ["both", "start", "end"])
def test_batches_keep_the_images_memory_format_and_the_scores(ends: str) -> None:
    x, target = images(5), torch.arange(5)
    last = x.to(memory_format=torch.channels_last)
    zero = torch.zeros_like(x)
    formats = []
    network = convolutional(SIDE)
    expected = scores(network, Perturbation(x, zero), maps(5), target)
    network.register_forward_pre_hook(
        lambda module, inputs: formats.append(
            inputs[0].is_contiguous(memory_format=torch.channels_last)
        )
    )
    path = Perturbation(
        x if ends == "end" else last, zero if ends == "start" else torch.zeros_like(last)
    )
    torch.testing.assert_close(scores(network, path, maps(5), target), expected, rtol=0, atol=1e-6)
    assert all(formats)


def test_running_out_of_memory_halves_the_batch_and_changes_nothing() -> None:
    network = convolutional(SIDE)

    def small_memory(x: Tensor) -> Tensor:
        if len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(x)

    x, saliency, target = images(9), maps(9), torch.arange(9) % 5
    path, batch = Perturbation(x, torch.zeros_like(x)), BatchSize(32)
    [values] = curves(wrap(Network(small_memory)), [path], ranks_of(saliency), target, batch)
    assert (batch.images, batch.halved) == (4, 3)
    torch.testing.assert_close(values, scores(network, path, saliency, target), rtol=0, atol=1e-6)


def test_an_image_that_does_not_fit_alone_is_an_error() -> None:
    def no_memory(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    x = images(2)
    with pytest.raises(torch.OutOfMemoryError):
        curves(
            wrap(Network(no_memory)),
            [Perturbation(x, x)],
            ranks_of(maps(2)),
            torch.zeros(2, dtype=torch.int64),
            BatchSize(8),
        )


def test_other_errors_of_the_model_are_not_taken_for_memory() -> None:
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("shape mismatch")

    x = images(1)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        curves(
            wrap(Network(broken)),
            [Perturbation(x, x)],
            ranks_of(maps(1)),
            torch.zeros(1, dtype=torch.int64),
            BatchSize(8),
        )


def test_the_curve_asks_for_no_gradient() -> None:
    x = images(2)
    values = scores(
        convolutional(SIDE), Perturbation(x, x), maps(2), torch.zeros(2, dtype=torch.int64)
    )
    assert not values.requires_grad
    assert values.is_inference()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_images_of_any_channels_and_shape_change_position_by_position(
    kind: Kind, memory_format: torch.memory_format
) -> None:
    """Against a loop: the most salient positions first, a row's length in positions a step, all channels at once."""
    x, network = kind.images(3), corner(kind)
    saliency = kind.images(3)[:, 0] - x.mean(1)
    order = ranks_of(saliency)
    start = x.contiguous(memory_format=memory_format)
    path = Perturbation(start, torch.ones_like(x), output="logit")
    target = torch.tensor([0, 2, 1])
    [found] = curves(wrapped(network, kind), [path], order, target, BatchSize(7))
    assert found.shape == (3, kind.height + 1)
    for i in range(3):
        for step in range(kind.height + 1):
            changed = torch.where(order[i] < step * kind.width, torch.ones(()), x[i])
            expected = network(changed[None])[0, target[i]]
            assert float(found[i, step]) == pytest.approx(float(expected), abs=1e-5)
