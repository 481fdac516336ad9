"""Class activation maps share a pass, and only where that cannot be told from passes of their own."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from interpbench import activations_and_gradients
from interpbench.attribution.attribute import Batch, attribute
from interpbench.core.batch_size import BatchSize
from interpbench.core.model_guard import Guard
from interpbench.core.shared_passes import Shared
from interpbench.core.types import Model
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import Configured
from tests.tiny_models import convolutional, wrap

SIDE = 16
REGISTRY = discover()
CAMS = ("gradcam", "gradcam-plus-plus", "xgradcam", "layercam", "hirescam", "eigencam")


def counted(model: Model) -> list[int]:
    """The sizes of the model's forward passes."""
    sizes: list[int] = []
    plain = model.network[0]._conv_forward  # no hook, since hooks keep methods from sharing
    model.network[0]._conv_forward = lambda x, *rest: (sizes.append(len(x)), plain(x, *rest))[1]
    return sizes


def subject() -> tuple[Model, Tensor, Tensor]:
    torch.manual_seed(0)
    model = wrap(convolutional(SIDE), SIDE, 5, target_layer="2")
    return model, torch.randn(4, 3, SIDE, SIDE), torch.tensor([0, 1, 2, 1])


def explained(
    method: Configured, model: Model, x: Tensor, target: Tensor, **changes: Any
) -> Tensor:
    batch = Batch(x, target, list("abcd"), changes.get("shared_as"))
    attempt = attribute(
        method, model, Guard(model), batch, 0, changes.get("batch_size", BatchSize(8))
    )
    if attempt.maps is None:
        raise attempt.error
    return attempt.maps.saliency


def test_all_cams_of_a_batch_take_one_pass_and_give_the_same_maps() -> None:
    model, x, target = subject()
    methods = [REGISTRY.configure("method", name) for name in CAMS]
    alone = [explained(method, model, x, target) for method in methods]
    sizes = counted(model)
    together = [explained(method, model, x, target, shared_as="first") for method in methods]
    assert sizes == [4]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)


def test_other_images_targets_names_and_layers_are_computed_anew() -> None:
    model, x, target = subject()
    method = REGISTRY.configure("method", "gradcam")
    sizes = counted(model)
    explained(method, model, x, target, shared_as=0)
    explained(method, model, x, target.flip(0), shared_as=1)
    explained(
        REGISTRY.configure("method", "gradcam", {"layer": "0"}), model, x, target, shared_as=0
    )
    assert len(sizes) == 3
    explained(
        method, model, x, target, shared_as=0, batch_size=BatchSize(3)
    )  # other parts of the same batch
    assert sizes[3:] == [3, 1]


CASES = ("a copy", "changed in place", "another target", "hook", "torch mode", "not handed out")


class Mode(TorchFunctionMode):
    """Changes nothing; but who can know?"""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def handed(model: Model, x: Tensor, target: Tensor) -> None:
    model.shared.hand_out(x, target, "name")
    activations_and_gradients(model, None, x, target)


@pytest.mark.parametrize("case", CASES)
def test_only_untouched_inputs_on_an_untouched_model_share(case: str) -> None:
    model, x, target = subject()
    handed(model, x, target)
    sizes = counted(model)
    activations_and_gradients(model, None, x, target)
    assert sizes == []
    if case == "a copy":
        activations_and_gradients(model, None, x.clone(), target)
    elif case == "changed in place":
        x[0] = 0
        activations_and_gradients(model, None, x, target)
    elif case == "another target":
        activations_and_gradients(model, None, x, target.flip(0))
    elif case == "hook":
        model.network[1].register_forward_hook(lambda module, inputs, output: output * 2)
        activations_and_gradients(model, None, x, target)
    elif case == "torch mode":
        with Mode():
            activations_and_gradients(model, None, x, target)
    else:
        model.shared.take_back(sound=True)
        activations_and_gradients(model, None, x, target)
    assert sizes == [4]


def test_what_an_unsound_call_computed_is_not_kept() -> None:
    model, x, target = subject()
    handed(model, x, target)
    model.shared.take_back(sound=False)
    sizes = counted(model)
    handed(model, x, target)
    assert sizes == [4]
    model.shared.take_back(sound=True)
    model.shared.forget()
    handed(model, x, target)
    assert sizes == [4, 4]


def test_a_caller_may_change_what_it_got() -> None:
    model, x, target = subject()
    model.shared.hand_out(x, target, "name")
    first, _ = activations_and_gradients(model, None, x, target)
    expected = first.clone()
    first.zero_()
    assert torch.equal(activations_and_gradients(model, None, x, target)[0], expected)


def test_what_is_kept_stays_within_the_budget() -> None:
    shared = Shared(budget=100 * 4)
    model, x, target = subject()
    made = []
    for name in range(5):
        shared.hand_out(x, target, name)
        for _ in range(2):
            shared.once("k", model, x, target, lambda: (made.append(0) or torch.zeros(40),))
        shared.take_back(sound=True)
    assert len(made) == 1 + 1 + 2 * 3  # two fit
