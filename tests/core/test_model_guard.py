"""Whatever a plugin leaves behind on a model is undone and reported; a clean plugin is reported for nothing."""

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    Deconvolution,
    DeepLift,
    GradientShap,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn

from interpbench.core.model_guard import Guard
from interpbench.registry.discovery import discover


class Tiny(nn.Sequential):
    """A class of its own, so that a test may patch it."""


def make_tiny() -> Tiny:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ]
    model = Tiny(*layers, nn.Linear(4, 5))
    model.eval().requires_grad_(False)
    return model


@pytest.fixture
def model() -> Tiny:
    return make_tiny()


X = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


def nothing(*arguments: Any) -> None: ...


def enable_grad_of_weights(model: Tiny) -> None:
    model.requires_grad_(True)


def leave_gradients(model: Tiny) -> None:
    model.requires_grad_(True)
    model(X).sum().backward()
    model.requires_grad_(False)


def leave_gradient_hook_on_weight(model: Tiny) -> None:
    model[0].weight.requires_grad_(True)
    model[0].weight.register_hook(lambda grad: grad * 0)
    model[0].weight.requires_grad_(False)


def patch_instance_forward(model: Tiny) -> None:
    model[2].forward = lambda x: x  # type: ignore[method-assign]


def patch_own_class(model: Tiny) -> None:
    type(model).forward = lambda self, x: x  # type: ignore[method-assign]


def patch_torch_class(model: Tiny) -> None:
    nn.ReLU.forward = lambda self, x: x  # type: ignore[method-assign, misc]


def replace_relu(model: Tiny) -> None:
    model[2] = nn.Tanh()


def add_module(model: Tiny) -> None:
    model.add_module("extra", nn.Linear(5, 5))


def delete_module(model: Tiny) -> None:
    del model[2]


def replace_parameter(model: Tiny) -> None:
    model[0].weight = nn.Parameter(torch.zeros_like(model[0].weight))


def change_weight(model: Tiny) -> None:
    with torch.no_grad():
        model[0].weight.mul_(2)


def change_weight_and_raise_its_gradient_flag(model: Tiny) -> None:
    change_weight(model)
    model[0].weight.requires_grad_(True)


def swap_data(model: Tiny) -> None:
    model[0].weight.data = torch.zeros_like(model[0].weight)


def swap_data_for_another_shape(model: Tiny) -> None:
    model[0].weight.data = torch.zeros(1)


def update_batch_norm(model: Tiny) -> None:
    model.train()
    model(X)
    model.eval()


def replace_buffer(model: Tiny) -> None:
    model[1].running_mean = torch.ones(4)


def to_float64(model: Tiny) -> None:
    model.double()


def change_setting(model: Tiny) -> None:
    model[2].inplace = True


LEFT: dict[str, tuple[Callable[[Tiny], object], str]] = {
    "forward hook": (lambda m: m[0].register_forward_hook(nothing), "0: hook left behind"),
    "forward hook with keywords": (
        lambda m: m.register_forward_hook(nothing, with_kwargs=True),
        "hook left behind",
    ),
    "forward pre-hook": (lambda m: m[2].register_forward_pre_hook(nothing), "2: hook left behind"),
    "full backward hook": (
        lambda m: m[2].register_full_backward_hook(nothing),
        "2: hook left behind",
    ),
    "full backward pre-hook": (
        lambda m: m[2].register_full_backward_pre_hook(nothing),
        "2: hook left behind",
    ),
    "old backward hook": (lambda m: m[2].register_backward_hook(nothing), "2: hook left behind"),
    "state dict hook": (
        lambda m: m.register_state_dict_post_hook(nothing),
        "model: hook left behind",
    ),
    "load state dict hook": (
        lambda m: m.register_load_state_dict_post_hook(nothing),
        "model: hook left behind",
    ),
    "gradient hook": (leave_gradient_hook_on_weight, "0.weight: hook left behind"),
    "gradients": (leave_gradients, "0.weight: gradient left behind"),
    "requires_grad": (enable_grad_of_weights, "0.weight: requires_grad changed"),
    "train mode": (lambda m: m.train(), "1: train/eval mode changed"),
    "train mode of one layer": (lambda m: m[1].train(), "1: train/eval mode changed"),
    "instance forward": (patch_instance_forward, "2: attribute 'forward' changed"),
    "own class forward": (patch_own_class, "class Tiny: forward patched"),
    "torch class forward": (patch_torch_class, "class ReLU: forward patched"),
    "replaced submodule": (replace_relu, "model: modules changed"),
    "added submodule": (add_module, "model: modules changed"),
    "deleted submodule": (delete_module, "model: modules changed"),
    "replaced parameter": (replace_parameter, "0: parameters changed"),
    "weight in place": (change_weight, "0.weight: value changed"),
    "weight and flag": (change_weight_and_raise_its_gradient_flag, "0.weight: value changed"),
    "weight's data": (swap_data, "0.weight: value changed"),
    "weight's shape": (swap_data_for_another_shape, "0.weight: value changed"),
    "batch norm in train mode": (update_batch_norm, "1.running_mean: value changed"),
    "replaced buffer": (replace_buffer, "1: buffers changed"),
    "precision": (to_float64, "0.weight: value changed"),
    "setting": (change_setting, "2: attribute 'inplace' changed"),
}


def state(model: nn.Module) -> dict[str, Any]:
    """All that a method could notice of a model, comparable with ==."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "tensors": [
            (n, t.dtype, t.requires_grad, t.grad, t.tolist(), bool(t._backward_hooks))
            for n, t in tensors
        ],
        "modules": [(n, id(m), m.training, sorted(vars(m))) for n, m in model.named_modules()],
        "hooks": [
            (n, k)
            for n, m in model.named_modules()
            for k, v in vars(m).items()
            if "hooks" in k and v
        ],
        "forwards": [(n, type(m).forward) for n, m in model.named_modules()],
        "repr": repr(model),
        "logits": model(X).tolist(),
    }


@pytest.fixture(params=LEFT)
def left(request: pytest.FixtureRequest) -> Iterator[tuple[Callable[[Tiny], object], str]]:
    before = {cls: vars(cls).get("forward") for cls in (Tiny, nn.ReLU)}
    yield LEFT[request.param]
    for cls, forward in before.items():  # only needed where the guard fails
        if vars(cls).get("forward") is not forward:
            del cls.forward
            if forward is not None:
                cls.forward = forward  # type: ignore[method-assign]


def test_what_is_left_behind_is_undone_and_reported(
    model: Tiny, left: tuple[Callable[[Tiny], object], str]
) -> None:
    leave, what = left
    before = state(model)
    guard = Guard(model)
    with guard.watching(0) as report:
        leave(model)
    assert any(what in line for line in report), report
    assert state(model) == before
    with guard.watching(0) as second:
        model(X)
    assert second == []
    assert guard.changed_weights() == []


def test_it_is_also_undone_and_reported_after_an_exception(
    model: Tiny, left: tuple[Callable[[Tiny], object], str]
) -> None:
    leave, what = left
    before = state(model)
    with pytest.raises(RuntimeError, match="halfway"), Guard(model).watching(0) as report:  # noqa: PT012
        leave(model)
        raise RuntimeError("halfway")
    assert any(what in line for line in report), report
    assert state(model) == before


def test_several_leftovers_are_each_reported(model: Tiny) -> None:
    before = state(model)
    with Guard(model).watching(0) as report:
        leave_gradients(model)
        change_weight(model)
        model.train()
        model[0].register_forward_hook(nothing)
        replace_relu(model)
    for what in (
        "0.weight: gradient left",
        "0.weight: value changed",
        "1: train/eval",
        "0: hook left",
        "model: modules",
    ):
        assert any(line.startswith(what) for line in report), (what, report)
    assert len(report) == len(set(report))
    assert state(model) == before


def test_weights_changed_behind_the_version_counter_are_found_and_restored(model: Tiny) -> None:
    before = state(model)
    guard = Guard(model)
    assert guard.changed_weights() == []
    with guard.watching(0):
        model[5].bias.data.add_(1)
        model[1].running_var.data.mul_(2)
    assert guard.changed_weights() == ["5.bias", "1.running_var"]
    assert state(model) == before
    assert guard.changed_weights() == []


def test_hooks_that_were_there_before_stay(model: Tiny) -> None:
    calls: list[str] = []
    first = model[0].register_forward_hook(lambda *a: calls.append("first"))
    with Guard(model).watching(0) as report:
        first.remove()
        model[0].register_forward_hook(lambda *a: calls.append("second"))
    model(X)
    assert calls == ["first"]
    assert report == ["0: hook left behind"]
    first.remove()
    model(X)
    assert calls == ["first"]


SWITCHES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "grad mode": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "default dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "number of threads": (
        torch.get_num_threads,
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    ),
    "anomaly detection": (
        torch.is_anomaly_enabled,
        lambda: torch.autograd.set_detect_anomaly(True),
    ),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        lambda: torch.use_deterministic_algorithms(True),
    ),
    "cudnn.benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
    ),
    "matmul precision": (
        torch.get_float32_matmul_precision,
        lambda: torch.set_float32_matmul_precision("medium"),
    ),
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("fails", [False, True])
def test_global_switches_are_put_back_and_reported(model: Tiny, name: str, fails: bool) -> None:
    read, flip = SWITCHES[name]
    before = read()
    try:
        with Guard(model).watching(0) as report:
            flip()
            assert read() != before
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert report == [f"global {name} changed"]
    assert read() == before


@pytest.mark.parametrize(
    "register",
    [
        nn.modules.module.register_module_forward_hook,
        nn.modules.module.register_module_forward_pre_hook,
        nn.modules.module.register_module_full_backward_hook,
        nn.modules.module.register_module_full_backward_pre_hook,
    ],
)
def test_hooks_on_all_modules_are_undone_and_reported(
    model: Tiny, register: Callable[..., Any]
) -> None:
    calls: list[int] = []
    with Guard(model).watching(0) as report:
        handle = register(lambda *a: calls.append(1))
    try:
        model(X.clone().requires_grad_()).sum().backward()
        assert report == ["global hook left behind"]
        assert calls == []
    finally:
        handle.remove()


def draws() -> tuple[float, float, float]:
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002


def test_a_seed_fixes_all_random_numbers_within(model: Tiny) -> None:
    guard = Guard(model)
    found = []
    for seed in (1, 1, 2, 2**63 - 1):
        with guard.watching(seed):
            found.append(draws())
        draws()  # what happens in between does not matter
    assert found[0] == found[1]
    assert not set(found[1]) & set(found[2])
    assert not set(found[2]) & set(found[3])


def test_the_random_state_outside_is_untouched_and_nothing_is_reported(model: Tiny) -> None:
    def seed_and_draw(inside: Callable[[], object]) -> tuple[float, float, float]:
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        random.seed(5)
        inside()
        return draws()

    def guarded() -> None:
        with Guard(model).watching(0) as report:
            draws()
            torch.manual_seed(9)
        assert report == []

    def failing() -> None:
        with pytest.raises(RuntimeError), Guard(model).watching(0):  # noqa: PT012
            draws()
            raise RuntimeError

    assert seed_and_draw(guarded) == seed_and_draw(failing) == seed_and_draw(lambda: None)


def small_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = discover().configure("model", name, {"width": 4})(10, 32)
    return network.eval().requires_grad_(False)


LAYERS = {"resnet18": "layer4", "vgg11": "features.19", "alexnet": "features.11"}
CLEAN: dict[str, Callable[[nn.Module, nn.Module], Any]] = {
    "saliency": lambda model, layer: Saliency(model),
    "input x gradient": lambda model, layer: InputXGradient(model),
    "integrated gradients": lambda model, layer: IntegratedGradients(model),
    "guided backprop": lambda model, layer: GuidedBackprop(model),
    "deconvolution": lambda model, layer: Deconvolution(model),
    "grad-cam": LayerGradCam,
    "guided grad-cam": GuidedGradCam,
}


def explain(method: Any, x: Tensor) -> None:
    extra: dict[str, Any] = {}
    if isinstance(method, IntegratedGradients):
        extra = {"n_steps": 3}
    elif isinstance(method, Occlusion):
        extra = {"sliding_window_shapes": (3, 16, 16), "strides": (3, 16, 16)}
    elif isinstance(method, GradientShap | DeepLift):
        extra = {"baselines": torch.zeros_like(x)}
    method.attribute(x, target=torch.tensor([1, 2]), **extra)


@pytest.mark.filterwarnings("ignore")  # captum warns that it sets hooks
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("clean", CLEAN)
def test_captum_methods_that_clean_up_are_reported_for_nothing(name: str, clean: str) -> None:
    network = small_network(name)
    guard = Guard(network)
    for _ in range(2):
        with guard.watching(0) as report:
            explain(
                CLEAN[clean](network, network.get_submodule(LAYERS[name])), torch.rand(2, 3, 32, 32)
            )
        assert report == []
    assert guard.changed_weights() == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", [DeepLift, Occlusion, GradientShap])
def test_captum_methods_that_rewire_the_model_clean_up(method: Any) -> None:
    network = small_network("alexnet")
    with Guard(network).watching(0) as report:
        explain(method(network), torch.rand(2, 3, 32, 32))
    assert report == []


def test_what_others_change_between_two_calls_is_not_laid_at_a_methods_door(model: Tiny) -> None:
    guard = Guard(model)
    with guard.watching(0) as first:
        model(X)
    handle = model[2].register_forward_hook(nothing)
    with guard.watching(0) as second:
        assert guard.untouched()
        model[2].inplace = True
        assert not guard.untouched()
    assert (first, second) == ([], ["2: attribute 'inplace' changed"])
    assert list(model[2]._forward_hooks) == [handle.id]
    with guard.watching(0) as third:
        handle.remove()
    assert third == ["2: hook left behind"]


def test_taken_away_or_replaced_modules_are_put_back(
    model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: sys.modules[name] for name in ("json", "torch.nn.functional")}
    monkeypatch.setitem(sys.modules, "another_name", random)  # put at the end, as by an import
    with Guard(model).watching(0) as report:
        del sys.modules["json"]
        sys.modules["torch.nn.functional"] = random
        sys.modules["imported_meanwhile"] = random
    del sys.modules["imported_meanwhile"]
    assert report == ["module json taken away", "module torch taken away"]
    assert {name: sys.modules[name] for name in kept} == kept
