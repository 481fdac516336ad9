"""What a metric may ask for: outputs, chance, what is shared among methods, the method again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import interpbench
from interpbench.core.batch_size import BatchSize
from interpbench.core.errors import MethodError, ParameterError
from interpbench.results.run_folder import RunFolder
from interpbench.scoring.explanation import Explanation, Inputs, Reader
from interpbench.scoring.perturbation import Perturbation
from interpbench.scoring.shared_results import SharedResults
from tests.tiny_models import convolutional, wrap

SIDE, COUNT = 8, 5


def explanation(batch: int = 16, shared: SharedResults | None = None) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(COUNT, 3, SIDE, SIDE, generator=generator)
    saliency = torch.randn(COUNT, SIDE, SIDE, generator=generator)
    ids = tuple(f"image-{i}" for i in range(COUNT))
    model = wrap(convolutional(SIDE), SIDE)
    subject = Explanation(
        model=model,
        x=x,
        target=torch.arange(COUNT) % 5,
        label=torch.arange(COUNT) % 5,
        mask=None,
        ids=ids,
        saliency=saliency,
        rank=torch.zeros(COUNT, SIDE, SIDE, dtype=torch.int32),
        reader=Reader(model, BatchSize(batch), shared or SharedResults()),
    )
    object.__setattr__(subject, "rank", subject.ranked(saliency))
    return subject


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 16, 100])
@pytest.mark.parametrize("output", ["probability", "logit"])
def test_outputs_are_the_models_whatever_the_batch_size(batch: int, output: str) -> None:
    subject = explanation(batch)
    scales = [0.0, 0.5, 1.0, 2.0]
    found = subject.outputs((scale * subject.x for scale in scales), output)  # type: ignore[arg-type]
    assert found.shape == (COUNT, 4)
    for k, scale in enumerate(scales):
        with torch.no_grad():
            logits = subject.model.network(scale * subject.x)
        values = logits.softmax(1) if output == "probability" else logits
        expected = values[torch.arange(COUNT), subject.target]
        torch.testing.assert_close(found[:, k], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(subject.output(output), found[:, 2], rtol=0, atol=1e-5)  # type: ignore[arg-type]


def test_forward_passes_are_full() -> None:
    subject = explanation(4)
    sizes: list[int] = []
    subject.model.network.register_forward_pre_hook(lambda m, inputs: sizes.append(len(inputs[0])))
    subject.outputs(subject.x for _ in range(3))
    assert sizes == [4, 4, 4, 3]


def test_memory_that_runs_out_halves_the_passes() -> None:
    class Small(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2:
                raise torch.OutOfMemoryError
            return x.mean((2, 3))

    subject, model = explanation(), wrap(Small(), SIDE)
    reader = Reader(model, BatchSize(16))
    subject = replace(subject, model=model, target=subject.target % 3, reader=reader)
    found = subject.outputs([subject.x, 2 * subject.x], "logit")
    means = subject.x.mean((2, 3))[torch.arange(COUNT), subject.target]
    torch.testing.assert_close(found, torch.stack([means, 2 * means], 1))
    assert subject.reader is not None
    assert subject.reader.batch_size.images == 2


def test_a_wrong_shape_and_nothing_at_all_are_told() -> None:
    with pytest.raises(ValueError, match=r"perturbed batch is \[1, 3, 8, 8\]; expected \[5"):
        explanation().outputs([torch.zeros(1, 3, SIDE, SIDE)])
    with pytest.raises(ValueError, match="no perturbed images"):
        explanation().outputs([])


CALLS: list[tuple[str, ...]] = []


def _noted(inputs: Inputs, *, factor: float) -> tuple[Tensor, Tensor]:
    assert not hasattr(inputs, "saliency")
    CALLS.append(inputs.ids)
    return inputs.x * factor, inputs.x > 0


def test_what_depends_on_no_map_is_computed_once_and_is_safe_from_its_users() -> None:
    CALLS.clear()
    shared = SharedResults()
    one, other = explanation(shared=shared), explanation(shared=shared)
    first, truths = one.shared(_noted, factor=2.0)
    first.zero_()
    again, same = other.shared(_noted, factor=2.0)
    torch.testing.assert_close(again, 2 * one.x)
    assert torch.equal(same, truths)
    assert torch.equal(same, one.x > 0)
    assert len(CALLS) == 1
    one.shared(_noted, factor=3.0)
    assert len(CALLS) == 2
    assert (shared.computed, shared.given) == (3, 2)  # and the ties of the ranks


def test_beyond_the_budget_it_is_computed_again() -> None:
    CALLS.clear()
    subject = explanation(shared=SharedResults(budget=100))
    for _ in range(2):
        subject.shared(_noted, factor=2.0)
    assert len(CALLS) == 2


def test_a_function_that_may_have_seen_a_map_is_refused() -> None:
    subject = explanation()
    with pytest.raises(ParameterError, match="inner function can see the map"):
        subject.shared(lambda inputs: inputs.x * subject.saliency[:, None])


def test_chance_is_each_images_own() -> None:
    subject = explanation()
    one = [torch.rand(3, generator=g) for g in subject.generators("noise")]
    reverse = replace(subject.without_maps(), ids=subject.ids[::-1])
    other = [torch.rand(3, generator=g) for g in reverse.generators("noise")]
    assert all(torch.equal(a, b) for a, b in zip(one, other[::-1], strict=True))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], torch.rand(3, generator=subject.generators("else")[0]))


def test_least_first_is_the_reverse_and_signs_are_taken_as_said() -> None:
    subject = explanation()
    path = Perturbation(subject.x, torch.zeros_like(subject.x))
    flat = subject.saliency.flatten(1)
    for sign, values in (("signed", flat), ("absolute", flat.abs())):
        most, least = (
            subject.order(Perturbation(path.start, path.end, first=first, sign=sign)).flatten(1)  # type: ignore[arg-type]
            for first in ("most", "least")
        )
        assert torch.equal(most.argsort(1), values.argsort(1, descending=True))
        assert torch.equal(least, SIDE * SIDE - 1 - most)
    positive = subject.order(Perturbation(path.start, path.end, sign="positive")).flatten(1)
    first = (flat > 0).sum(1)
    for i, count in enumerate(first.tolist()):
        assert flat[i][positive[i] < count].min() > 0
        assert flat[i][positive[i] >= count].max() <= 0


def test_an_order_of_its_own_changes_parts_together() -> None:
    subject = explanation()
    halves = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.int64)
    halves[:, 4:] = 1
    path = Perturbation(
        subject.x, torch.zeros_like(subject.x), output="logit", rank=halves, points=[0, 1, 2]
    )
    lower = subject.x.clone()
    lower[:, :, :4] = 0
    expected = subject.outputs([subject.x, lower, torch.zeros_like(lower)], "logit")
    torch.testing.assert_close(subject.along(path), expected, rtol=0, atol=1e-5)


def test_without_a_method_nothing_can_be_explained_again() -> None:
    with pytest.raises(MethodError, match="maps have none"):
        explanation().explain(torch.zeros(1))


def test_a_method_is_asked_once_for_the_same_inputs() -> None:
    asked: list[Tensor] = []

    def explain(x: Tensor, target: Tensor) -> Tensor:
        asked.append(x)
        return x.sum(1) + target[:, None, None]

    subject = replace(explanation(), explainer=explain)
    first = subject.explain(subject.x)
    first.zero_()  # the caller's own
    again = subject.explain(subject.x.clone())
    torch.testing.assert_close(again, explain(subject.x, subject.target), rtol=0, atol=0)
    assert len(asked) == 2  # the first, and the one just above
    other = subject.explain(subject.x, subject.target + 1)
    torch.testing.assert_close(other, again + 1, rtol=0, atol=1e-6)
    assert subject.explain(subject.x[..., :4]).shape == again[..., :4].shape
    assert len(asked) == 4
    replace(subject, explainer=lambda x, target: explain(-x, target)).explain(subject.x)
    assert len(asked) == 5  # another method's explanation remembers nothing of this one's


def again(explanation: Explanation) -> Tensor:
    """1 if the method gives the same map again, and another one for the negative."""
    same = explanation.explain(explanation.x)
    other = explanation.explain(-explanation.x)
    equal = (same == explanation.saliency).flatten(1).all(1)
    return (equal & (other != same).flatten(1).any(1)).double()


def noise_shared(explanation: Explanation) -> Tensor:
    """The drop under noise, which no map decides."""
    return explanation.shared(_noise_drop)


def _noise_drop(inputs: Inputs) -> Tensor:
    CALLS.append(inputs.ids)
    noise = [torch.randn(inputs.x.shape[1:], generator=g) for g in inputs.generators("noise")]
    return inputs.output() - inputs.outputs([inputs.x + torch.stack(noise)])[:, 0]


def test_a_run_asks_methods_again_and_shares_what_no_method_decides(tmp_path: Path) -> None:
    CALLS.clear()
    run = interpbench.run(
        model="resnet18",
        dataset="planted",
        method=["gradcam", "smoothgrad:samples=4", "random"],
        metric={
            "again": (again, "higher"),
            "again-too": (again, "higher"),  # asks for the same maps
            "noise-shared": (noise_shared, "lower"),
        },
        images=6,
        device="cpu",
        output=tmp_path / "run",
        plots=False,
    )
    scores = run.scores.pivot_table(index="sample_id", columns=["metric", "method"], values="value")
    assert set(scores["again"].columns) == {"gradcam", "random", "smoothgrad:samples=4"}
    assert np.all(scores["again"][["gradcam", "smoothgrad:samples=4"]] == 1)
    assert np.all(scores["again"]["random"] == 0)  # the same image by its id: the same chance
    drops = scores["noise-shared"].to_numpy()
    assert (drops == drops[:, :1]).all()
    assert len(CALLS) == 1
    counted = {cell.method: cell.explained_again for cell in RunFolder(run.folder).cell_records()}
    assert counted == {"gradcam": 12, "random": 12, "smoothgrad:samples=4": 12}


def test_another_model_is_explained_and_asked_once_for_the_same_inputs() -> None:
    asked: list[interpbench.Model | None] = []

    def explain(x: Tensor, target: Tensor, *, model: interpbench.Model | None = None) -> Tensor:
        asked.append(model)
        return x.sum(1) * (1 if model is None else model.network(x)[:, :1, None])

    subject = replace(explanation(), explainer=explain)
    other = wrap(convolutional(SIDE, seed=1), SIDE)
    found = [subject.explain(subject.x, model=model) for model in (None, other, other, None)]
    assert asked == [None, other]
    assert torch.equal(found[1], found[2])
    assert torch.equal(found[0], found[3])
    assert not torch.equal(found[0], found[1])
    subject.explain(subject.x, model=subject.model)  # is the model that was explained
    assert len(asked) == 2


def scaled(model: interpbench.Model, reference: Tensor, seed: int, *, factor: float) -> Tensor:
    CALLS.append((factor,))
    return factor * reference.sum((1, 2, 3)) + seed


def test_what_follows_from_the_model_is_computed_once() -> None:
    CALLS.clear()
    reference = torch.ones(2, 3, SIDE, SIDE)
    shared = SharedResults()
    subject = explanation(shared=shared)
    reader = Reader(subject.model, BatchSize(16), shared, lambda: reference)
    for ids in (subject.ids, tuple(f"another-{i}" for i in range(COUNT))):
        batch = replace(subject, ids=ids, seed=7, reader=reader)
        assert batch.of_model(scaled, factor=2.0).tolist() == [2 * 192 + 7] * 2
        assert batch.of_model(scaled, factor=1.0).tolist() == [192 + 7] * 2
    assert CALLS == [(2.0,), (1.0,)]
    with pytest.raises(ParameterError, match="stands in a module"):
        batch.of_model(lambda model, reference, seed: 0)
    with pytest.raises(ParameterError, match="reference images"):
        subject.of_model(scaled, factor=3.0)


def test_a_model_that_is_kept_counts_as_what_its_tensors_take() -> None:
    model = wrap(convolutional(SIDE), SIDE)
    size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    for budget, made in ((size, 1), (size - 1, 2)):
        shared = SharedResults(budget)
        for _ in range(2):
            assert shared.once("copy", lambda: model) is model
        assert shared.computed == made


def new_weights(explanation: Explanation) -> Tensor:
    """How much the map changes with the weights."""
    copied = explanation.of_model(copy_of)
    maps = explanation.explain(explanation.x, model=copied)
    change = (maps - explanation.saliency).flatten(1).norm(dim=1)
    return change / explanation.saliency.flatten(1).norm(dim=1)


def copy_of(model: interpbench.Model, reference: Tensor, seed: int) -> interpbench.Model:
    CALLS.append(tuple(reference.shape))
    return interpbench.randomised(model, reference, seed)


def sly(model: interpbench.Model, x: Tensor, target: Tensor) -> Tensor:
    """Explains the model as it is, and spoils copies of it without a trace."""
    if not ORIGINALS:
        ORIGINALS.append(model)
    if model is not ORIGINALS[0]:
        model.network.fc.weight.data.zero_()
    return x.abs().sum(1)


ORIGINALS: list[interpbench.Model] = []


def run_with_new_weights(folder: Path, **settings: object) -> interpbench.Run:
    CALLS.clear()
    ORIGINALS.clear()
    return interpbench.run(
        **{"model": "resnet18", "dataset": "planted", "metric": {"new": (new_weights, "higher")}}
        | {"images": 6, "device": "cpu", "plots": False, "batch_size": 4}
        | settings,
        output=folder,
    )


def test_a_run_explains_a_randomised_copy_made_once_for_all_methods(tmp_path: Path) -> None:
    methods = ["gradcam", "layercam:layer=layer1", "lrp-epsilon", "occlusion:window=16", "sobel"]
    run = run_with_new_weights(tmp_path / "run", method=methods)
    assert run.failed.empty, run.failed["reason"].tolist()
    assert CALLS == [(32, 3, 64, 64)]
    found = run.scores.pivot_table(index="sample_id", columns="method", values="value")
    assert (found.drop(columns="sobel") > 0.1).all().all()
    assert (found["sobel"] == 0).all()
    counted = {cell.explained_again for cell in RunFolder(run.folder).cell_records()}
    assert counted == {6}
    alone = run_with_new_weights(tmp_path / "alone", method="gradcam", images=2)
    both = run.scores.merge(alone.scores, on=["sample_id", "method"])
    assert len(both) == 2
    np.testing.assert_allclose(both["value_x"], both["value_y"], rtol=1e-4)


def test_a_method_that_changes_the_copy_fails_alone(tmp_path: Path) -> None:
    run = run_with_new_weights(tmp_path / "sly", method=[sly, "gradcam"])
    [reason] = run.failed["reason"]
    assert "changed the model's weights behind its back (network.fc.weight)" in reason
    sound = run_with_new_weights(tmp_path / "sound", method="gradcam")
    first, second = (each.scores.query("method == 'gradcam'") for each in (run, sound))
    assert first["value"].tolist() == second["value"].tolist()
