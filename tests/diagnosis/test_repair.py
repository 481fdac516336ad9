"""What is repaired answers as before, keeps its names, and gives methods that hook activations what they need."""

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
from captum.attr import LRP, Deconvolution, DeepLift, GuidedBackprop
from torch import Tensor, nn

from interpbench.core.types import Model
from interpbench.diagnosis.examination import examine
from interpbench.diagnosis.own_activations import with_own_activations
from interpbench.diagnosis.repair import NEEDED_IN_A_RUN, Repair, mended_for_a_run, repair
from tests import faulty_models as faulty
from tests.diagnosis.test_examination import CASES_OF_TORCHVISION, HOOKS, images, model, torchvision
from tests.slow_cases import with_slow

HOOKED = (
    faulty.InPlace,
    faulty.Functional,
    faulty.FunctionalInPlace,
    faulty.Reused,
    faulty.SharedInstance,
    faulty.Overwriting,
)


def repaired(faulty_model: Model, x: Tensor | None = None) -> tuple[Model, list[str], list[Repair]]:
    """A repaired copy, what is still ruled out, and what was done."""
    mended, after, done = repair(faulty_model, examine(faulty_model, x), x)
    return mended, after.ruled_out, done


def twin(network: nn.Module) -> nn.Module:
    """The sound network with the same weights."""
    same = faulty.Sound()
    same.load_state_dict(network.state_dict())
    return same.eval().requires_grad_(False)


@pytest.mark.parametrize("network", HOOKED, ids=lambda network: network.__name__)
def test_activations_are_repaired_with_equal_answers(network: type[nn.Module]) -> None:
    original = model(network())
    before = original.network.state_dict().copy()
    mended, ruled_out, done = repaired(original, images())
    assert ruled_out == []
    assert [r.discarded for r in done] == [""] * len(done) != []
    assert [r.difference for r in done] == [0.0] * len(done)
    assert examine(mended, images()).findings == ()
    for x in (images(5, seed=9), -3 * images(1, seed=4)):
        assert torch.equal(mended(x), original(x))
    after = mended.network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {n for n, _ in original.network.named_modules()} <= {
        n for n, _ in mended.network.named_modules()
    }
    assert isinstance(mended.target_layer, nn.Conv2d)


# Where captum, called on the faulty network itself, raises or gives other maps.
MISLED = {
    faulty.Functional: {DeepLift, GuidedBackprop, Deconvolution, LRP},
    faulty.FunctionalInPlace: {DeepLift, GuidedBackprop, Deconvolution, LRP},
    faulty.Overwriting: {DeepLift, Deconvolution, LRP},
    faulty.Reused: {DeepLift},
    faulty.SharedInstance: {DeepLift},
    faulty.InPlace: set(),
}


@pytest.mark.parametrize("network", HOOKED, ids=lambda network: network.__name__)
@pytest.mark.parametrize("method", [DeepLift, GuidedBackprop, Deconvolution, LRP])
def test_captums_methods_are_right_on_the_copy(method: Any, network: type[nn.Module]) -> None:
    faulty_network = network().eval().requires_grad_(False)
    mended, _, _ = repaired(model(copy.deepcopy(faulty_network)), images())
    x, target = images(3, seed=5), torch.tensor([0, 3, 1])

    def explain(explained: nn.Module) -> Tensor:
        with warnings.catch_warnings():  # captum warns that it sets hooks
            warnings.simplefilter("ignore")
            maps: Tensor = method(explained).attribute(x.clone().requires_grad_(), target=target)
        return maps.detach()

    expected = explain(twin(faulty_network))
    torch.testing.assert_close(explain(mended.network), expected, rtol=1e-5, atol=1e-7)
    try:
        misled = not torch.allclose(explain(faulty_network), expected, rtol=1e-3, atol=1e-6)
    except RuntimeError:
        misled = True
    assert misled == (method in MISLED[network])


def test_a_hook_reads_right_on_the_copy() -> None:
    def outputs(network: nn.Module) -> Tensor:
        kept: list[Tensor] = []
        handle = network.get_submodule("conv2").register_forward_hook(
            lambda module, x, output: kept.append(output)
        )
        network(images())
        handle.remove()
        return kept[0]

    original = model(faulty.InPlace())
    mended, _, _ = repaired(original, images())
    expected = outputs(faulty.Sound().eval())
    torch.testing.assert_close(outputs(mended.network), expected)
    assert not torch.allclose(outputs(original.network), expected)


def test_layers_that_are_told_what_to_do_by_arguments_are_rewritten_for_them() -> None:
    original = model(faulty.Told(), "blocks.1.conv2")
    mended, ruled_out, [done] = repaired(original, images())
    assert done == Repair("activations as modules of their own", ("blocks.0", "blocks.1"), 0.0)
    assert ruled_out == []
    assert [len(list(block.children())) for block in mended.network.blocks] == [2, 3]
    assert torch.equal(mended(images(5)), original(images(5)))


@pytest.mark.parametrize(
    "network", [faulty.Functional, faulty.Reused], ids=lambda network: network.__name__
)
def test_the_copy_can_be_copied_saved_moved_and_loaded(network: type[nn.Module]) -> None:
    original = model(network())
    mended, _, _ = repaired(original, images())
    x = images(4, seed=6)
    for other in (
        copy.deepcopy(mended),
        pickle.loads(pickle.dumps(mended)),
        copy.deepcopy(mended).to(memory_format=torch.channels_last),
        copy.deepcopy(mended).double().float(),
    ):
        torch.testing.assert_close(other(x), original(x))
        assert list(other.network.state_dict()) == list(original.network.state_dict())
        assert isinstance(other.target_layer, nn.Conv2d)
        assert examine(other, x).findings == ()
    torch.manual_seed(1)
    fresh = {
        name: torch.randn_like(tensor) for name, tensor in original.network.state_dict().items()
    }
    mended.network.load_state_dict(fresh)
    original.network.load_state_dict(fresh)
    assert torch.equal(mended(x), original(x))


def test_the_users_model_is_not_touched() -> None:
    for network in (*HOOKED, faulty.Normed):
        original = model(network())
        before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
        layers = [(name, module, dict(vars(module))) for name, module in original.named_modules()]
        mended, _, _ = repaired(original, images())
        assert mended is not original
        assert all(
            torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items()
        )
        now = dict(original.named_modules())
        for name, module, attributes in layers:
            assert now[name] is module
            assert vars(module).keys() == attributes.keys()
            assert all(vars(module)[key] is value for key, value in attributes.items())
        shared = {tensor.data_ptr() for tensor in original.state_dict().values() if tensor.numel()}
        assert not shared & {
            tensor.data_ptr() for tensor in mended.state_dict().values() if tensor.numel()
        }


def test_train_mode_is_repaired_even_where_eval_is_overridden() -> None:
    original = model(faulty.Normed())
    mended, ruled_out, [done] = repaired(original, images())
    assert ruled_out == []
    assert done.what == "put into eval mode"
    assert set(done.where) == {"norm", "dropout"}
    assert done.difference is not None
    assert done.difference > 0.01  # as it must: that it answers differently was the fault
    norm, x = original.network.get_submodule("norm"), images(3)
    expected = original.network.fc(torch.nn.functional.avg_pool2d(
        torch.nn.functional.batch_norm(
            faulty.Sound.features(original.network, x), norm.running_mean, norm.running_var, norm.weight, norm.bias
        ), 2).flatten(1)
    )  # fmt: skip
    torch.testing.assert_close(mended(x), expected)


REFUSED = {
    # network: what rules out what, and why the repair was discarded
    faulty.Alias: (HOOKS, "inplace=False", "relu2", "the logits would change by up to"),
    faulty.NoGradInside: (
        HOOKS,
        "activations as modules of their own",
        "model",
        "the gradients would change",
    ),
    faulty.Uncopyable: (
        HOOKS,
        "inplace=False",
        "relu1",
        "RuntimeError: Only Tensors created explicitly",
    ),
    faulty.ValueDependent: (
        HOOKS,
        "activations as modules of their own",
        "model",
        "TypeError: float()",
    ),
}


@pytest.mark.parametrize("network", REFUSED, ids=lambda network: network.__name__)
def test_a_repair_that_changes_the_answers_is_discarded_and_said_so(
    network: type[nn.Module],
) -> None:
    scope, what, where, why = REFUSED[network]
    original = model(network())
    mended, ruled_out, done = repaired(original, images())
    [refused] = [r for r in done if r.discarded]
    assert (refused.what, refused.where[0], refused.difference) == (what, where, None)
    assert refused.discarded.startswith(why), refused.discarded
    assert scope in ruled_out
    assert torch.equal(mended(images(4)), original(images(4)))


def test_of_several_repairs_only_the_wrong_one_is_discarded() -> None:
    class Mixed(faulty.Alias):
        def __init__(self) -> None:
            super().__init__()
            self.relu3 = nn.ReLU(inplace=True)
            self.relu4 = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu4(super().forward(x))

    mended, after, done = repair(*examined(model(Mixed())), images())
    assert {r.where: bool(r.discarded) for r in done} == {
        ("relu3", "relu4"): False,
        ("relu2",): True,
    }
    states = {f.where: f.repaired for f in after.findings if f.kind == "in-place activation"}
    assert states == {("relu3", "relu4"): True, ("relu2",): False}
    assert mended.network.get_submodule("relu2").inplace


def examined(original: Model) -> Any:
    return original, examine(original, images())


@pytest.mark.parametrize(
    "network",
    [
        faulty.ForgottenDropout, faulty.InBatch, faulty.HiddenInAList, faulty.Softmax, faulty.Detached,
        faulty.HalfDetached, faulty.SharedBlock, faulty.Counting, faulty.Failing, faulty.Dictionary,
    ],
    ids=lambda network: network.__name__,
)  # fmt: skip
def test_what_cannot_be_repaired_stays_ruled_out(network: type[nn.Module]) -> None:
    original = model(network())
    diagnosis = examine(original, images())
    _, after, _ = repair(original, diagnosis, images())
    assert [f for f in after.findings if f.kind != "CAM layer"] == [
        f for f in diagnosis.findings if f.kind != "CAM layer"
    ]
    assert after.ruled_out != []


@pytest.mark.parametrize(
    "network", [faulty.DeadLayer, faulty.HiddenInAList], ids=lambda network: network.__name__
)
def test_another_cam_layer_is_named_on_the_copy(network: type[nn.Module]) -> None:
    layer = "old" if network is faulty.DeadLayer else "blocks.1"
    original = model(network(), layer)
    mended, after, done = repair(original, examine(original, images()), images())
    assert done == [Repair("named as the CAM layer", ("relu3",), 0.0)]
    assert mended.card.target_layer == "relu3"
    assert original.card.target_layer == layer
    assert "CAM methods" not in after.ruled_out


class ChanceAndReuse(nn.Module):
    """A ReLU that is called twice, which is repaired, and dropout that is left on, which is not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.relu, self.fc = nn.ReLU(), nn.Linear(6, faulty.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.second(self.relu(self.first(x)))).mean((2, 3))
        return self.fc(nn.functional.dropout(x, 0.5))


def test_what_the_copy_still_has_under_another_name_is_not_called_repaired() -> None:
    original = model(ChanceAndReuse(), "second")
    _, diagnosis, _ = repair(original, examine(original, images()), images())
    state = {finding.kind: finding.repaired for finding in diagnosis.findings}
    assert (state["chance"], state["reused activation"]) == (False, True)
    assert not diagnosis.healthy


class TestRewriting:
    """The graph of one layer's forward."""

    class Block(nn.Module):
        """Parameters, constants, defaults, layers that are not called, and a name that is taken."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])
            self.auxiliary = nn.Linear(2, 2)
            self.gain = nn.Parameter(torch.tensor([1.0, -2.0, 0.5])[:, None, None])
            self.register_buffer("shift", torch.ones(1), persistent=False)
            self.relu = "a name"

        def forward(self, x: Tensor, scale: float = 2.0, skip: Tensor | None = None) -> Tensor:
            for layer in self.layers:
                x = torch.relu(layer(x) * self.gain + self.shift)
            x = nn.functional.hardtanh(x, -0.5, 1.5) + nn.functional.leaky_relu(
                x, negative_slope=0.3
            )
            x = x * torch.tensor([1.0, 2.0, 3.0])[:, None, None].to(x.device)
            return x * scale if skip is None else x + skip

    def block(self) -> nn.Module:
        torch.manual_seed(0)
        return self.Block().eval().requires_grad_(False)

    def test_every_activation_becomes_a_module_with_its_arguments(self) -> None:
        original = self.block()
        rewritten = with_own_activations(copy.deepcopy(original))
        x = images(2)
        assert torch.equal(rewritten(x), original(x))
        assert torch.equal(rewritten(x, scale=2.0), original(x, scale=2.0))
        added = {
            name: str(module)
            for name, module in rewritten.named_children()
            if name not in ("layers", "auxiliary")
        }
        assert added == {
            "relu_1": "ReLU()",
            "relu_2": "ReLU()",
            "hardtanh": "Hardtanh(min_val=-0.5, max_val=1.5)",
            "leaky_relu": "LeakyReLU(negative_slope=0.3)",
        }

    def test_the_last_call_keeps_the_name(self) -> None:
        """It is the one whose output a hook on the module had in the end."""
        original = faulty.Reused().eval()
        outputs: list[list[Tensor]] = []
        for network in (original, with_own_activations(copy.deepcopy(original))):
            kept: list[Tensor] = []
            network.relu.register_forward_hook(
                lambda module, x, output, kept=kept: kept.append(output.clone())
            )
            network(images())
            outputs.append(kept)
        assert [len(kept) for kept in outputs] == [3, 1]
        assert torch.equal(outputs[0][2], outputs[1][0])

    def test_all_layers_and_keys_stay_in_their_order(self) -> None:
        original = self.block()
        rewritten = with_own_activations(copy.deepcopy(original))
        for other in (rewritten, copy.deepcopy(rewritten), pickle.loads(pickle.dumps(rewritten))):
            assert list(other.state_dict()) == list(original.state_dict())
            assert [name for name, _ in other.named_children()][-2:] == ["layers", "auxiliary"]
            assert isinstance(other.layers, nn.ModuleList)
            assert torch.equal(other(images()), original(images()))

    def test_after_unpickling_a_copy_other_layers_can_be_traced(self) -> None:
        pickle.loads(pickle.dumps(with_own_activations(self.block())))
        assert torch.equal(with_own_activations(self.block())(images()), self.block()(images()))

    def test_another_value_for_what_was_fixed_is_refused(self) -> None:
        rewritten = with_own_activations(self.block())
        for changed in ({"scale": 3.0}, {"skip": images()}):
            with pytest.raises(AssertionError, match="specialized"):
                rewritten(images(), **changed)

    def test_hooks_stay(self) -> None:
        original, calls = self.block(), []
        original.layers[1].register_forward_hook(lambda *arguments: calls.append("layer"))
        original.register_forward_hook(lambda *arguments: calls.append("block"))
        with_own_activations(original)(images())
        assert calls == ["layer", "block"]

    def test_a_forward_that_is_patched_on_is_refused(self) -> None:
        block = self.block()
        block.forward = lambda x: x  # type: ignore[method-assign]
        with pytest.raises(ValueError, match="patched onto the instance"):
            with_own_activations(block)


class TestRun:
    """What a run repairs: only what would make a method wrong on the model as it is."""

    def test_a_sound_model_is_returned_itself(self) -> None:
        original = model(faulty.Sound())
        mended, diagnosis, done = mended_for_a_run(original, images())
        assert mended is original
        assert diagnosis.findings == ()
        assert done == []

    @pytest.mark.parametrize(
        "network", [faulty.SharedInstance, faulty.Functional, faulty.DeadLayer]
    )
    def test_what_harms_no_method_stays(self, network: type[nn.Module]) -> None:
        original = model(network(), "conv2" if network is not faulty.DeadLayer else "old")
        mended, diagnosis, done = mended_for_a_run(original, images())
        assert mended is original
        assert diagnosis.findings != ()
        assert done == []

    @pytest.mark.parametrize("network", [faulty.Normed, faulty.InPlace, faulty.FunctionalInPlace])
    def test_what_harms_is_repaired(self, network: type[nn.Module]) -> None:
        original = model(network())
        mended, diagnosis, done = mended_for_a_run(original, images())
        assert mended is not original
        assert all(finding.repaired for finding in diagnosis.findings)
        assert done != []
        assert not NEEDED_IN_A_RUN & examine(mended, images()).kinds


@pytest.mark.parametrize("name", with_slow(CASES_OF_TORCHVISION, ("densenet121", "vit_b_16")))
def test_torchvisions_networks_are_repaired_with_equal_answers(name: str) -> None:
    original, x = torchvision(name)
    mended, ruled_out, done = repaired(original, x)
    assert ruled_out == (["methods for ReLUs"] if name == "vit_b_16" else [])
    assert all(r.difference == 0 and not r.discarded for r in done)
    other = torch.randn(3, *x.shape[1:], generator=torch.Generator().manual_seed(8))
    assert torch.equal(mended(other), original(other))
    assert list(mended.network.state_dict()) == list(original.network.state_dict())
    assert {n for n, _ in original.network.named_modules()} <= {
        n for n, _ in mended.network.named_modules()
    }
    shapes = []
    mended.target_layer.register_forward_hook(
        lambda module, arguments, output: shapes.append(tuple(output.shape))
    )
    mended(x)
    assert len(shapes) == 1


def test_deeplift_works_on_a_repaired_resnet_and_adds_up() -> None:
    """Completeness (Shrikumar et al. 2017): the attributions add up to the difference of the logits."""
    original, x = torchvision("resnet18")
    mended, _, _ = repaired(original, x)
    target, baseline = torch.tensor([1, 7]), torch.zeros_like(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="used more than once"):
            DeepLift(original.network).attribute(x.clone(), baseline, target=target)
        maps = DeepLift(mended.network).attribute(x.clone(), baseline, target=target)
    difference = (original(x) - original(baseline)).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(maps.detach().sum((1, 2, 3)), difference, rtol=1e-3, atol=1e-4)
