"""Methods with another backward pass than the gradient's: against loops; complete and conserving.

That they equal captum and zennit is tested in `test_conformance`.
"""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench import Operation, run_with_rules, with_backward
from interpbench.core.errors import MethodError
from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.diagnosis.examination import examine
from interpbench.diagnosis.repair import repair
from tests.methods.common import (
    BATCH,
    REGISTRY,
    TARGET,
    close,
    difference,
    images,
    map_of,
    small_model,
)
from tests.tiny_models import Linear, convolutional, wrap

FEW = torch.tensor([1, 0, 4])
LRPS = ["lrp-epsilon", "lrp-z-plus", "lrp-epsilon-plus-flat"]
RULED = ["deconvnet", "rectgrad", "deeplift", "deepshap", *LRPS]


def double(name: str, size: int = 32) -> tuple[Model, Tensor]:
    """In double precision, where no ReLU flips by rounding; batch norms have random parameters."""
    model = small_model(name, size)
    generator = torch.Generator().manual_seed(4)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, std=0.1, generator=generator)
            nn.init.uniform_(norm.running_var, 0.5, 2, generator=generator)
            norm.eps = 0.0
    return model.double(), images(size).double()


def with_modules(model: Model, x: Tensor) -> Model:
    """A copy whose activations are modules of their own, none in place: as captum needs it."""
    single = copy.deepcopy(model).float()
    mended, _, done = repair(single, examine(single, x.float()), x.float())
    assert done
    assert not any(repaired.discarded for repaired in done)
    return mended.double()


def white(model: Model, x: Tensor) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    return ((1 - mean) / std).expand_as(x).to(x.dtype)


def noise(model: Model, x: Tensor, samples: int) -> list[Tensor]:
    """The references of each image, [S,C,H,W]."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.card.mean, model.card.std))
    found = []
    for i in range(len(x)):
        generator = torch.Generator().manual_seed(derive(0, "method", "deepshap", f"image-{i}"))
        rows = [(torch.rand(x.shape[1:], generator=generator) - mean) / std for _ in range(samples)]
        found.append(torch.stack(rows).to(x.dtype))
    return found


@pytest.mark.parametrize(
    "architecture", ["resnet18", "resnet50", "vgg11_bn", "vgg11", "alexnet", "mobilenet_v2"]
)
def test_deeplift_sums_to_the_difference_of_the_logits(architecture: str) -> None:
    model, x = double(architecture)
    total = map_of("deeplift", model, x, reference="white").sum((1, 2)).double()
    expected = (model(x) - model(white(model, x)))[range(BATCH), TARGET]
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-6)
    shap = map_of("deepshap", model, x, samples=2).sum((1, 2)).double()
    means = [model(rows)[:, t].mean() for rows, t in zip(noise(model, x, 2), TARGET, strict=True)]
    torch.testing.assert_close(
        shap, model(x)[range(BATCH), TARGET] - torch.stack(means), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("architecture", ["alexnet", "vgg11_bn"])
@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_captums_deeplift_is_not_complete_where_networks_pool_maxima(architecture: str) -> None:
    model, x = double(architecture)
    captums = REGISTRY.configure("reference", "deeplift.captum")
    found = captums(with_modules(model, x), x.clone(), TARGET).sum((1, 2))
    expected = (model(x) - model(torch.zeros_like(x)))[range(BATCH), TARGET]
    assert not torch.allclose(found, expected, rtol=1e-3)


def test_deeplift_through_overlapping_max_pooling_equals_a_loop_over_windows() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.MaxPool2d(3, stride=2), nn.Flatten(), nn.Linear(3 * 9, 5)).double()
    model, x = wrap(network), images(8).double()
    reference = white(model, x)
    weight = network[2].weight.unflatten(1, (3, 3, 3))
    expected = torch.zeros(BATCH, 8, 8).double()
    for i, channel, row, column in itertools.product(range(BATCH), range(3), range(3), range(3)):
        window = (slice(2 * row, 2 * row + 3), slice(2 * column, 2 * column + 3))
        ours, theirs = x[i, channel][window], reference[i, channel][window]
        slope, higher = weight[FEW[i], channel, row, column], max(ours.max(), theirs.max())
        for values, gain in ((ours, higher - theirs.max()), (theirs, ours.max() - higher)):
            expected[i][window][divmod(int(values.argmax()), 3)] += slope * gain
    close(map_of("deeplift", model, x, FEW, reference="white"), expected.detach().float())


@pytest.mark.parametrize("name", LRPS)
@pytest.mark.parametrize("architecture", ["resnet18", "vgg11", "alexnet", "mobilenet_v2"])
def test_lrp_conserves_the_logit_without_biases(
    name: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = double(architecture)
    for module in model.modules():
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.running_mean)
    monkeypatch.setitem(REGISTRY.get("method", name).call.__globals__, "STABILISER", 1e-30)
    total = (
        map_of(name, model, x, **({} if name == "lrp-z-plus" else {"epsilon": 1e-30}))
        .double()
        .sum((1, 2))
    )
    # z-plus loses what reaches values without a positive contribution, which only sums and ReLU6 give relevance to.
    residual = name != "lrp-epsilon" and architecture in ("resnet18", "mobilenet_v2")
    rtol = 1e-2 if residual else 1e-5
    torch.testing.assert_close(total, model(x)[range(BATCH), TARGET], rtol=rtol, atol=0)


def test_lrp_of_a_batch_norm_before_a_convolution_conserves_the_logit() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3, bias=False), nn.Flatten(),
        nn.Linear(4 * 16, 5, bias=False),
    )  # fmt: skip
    nn.init.uniform_(network[2].running_var)
    model, x = wrap(network).double(), images(8).double()
    total = map_of("lrp-epsilon", model, x, FEW).double().sum((1, 2))
    torch.testing.assert_close(total, model(x)[range(BATCH), FEW], rtol=1e-3, atol=0)


@pytest.mark.parametrize("architecture", ["resnet18", "vgg11_bn", "alexnet"])
def test_lrp_epsilon_tends_to_gradient_x_input(architecture: str) -> None:
    model, x = double(architecture)
    found = map_of("lrp-epsilon", model, x, epsilon=1e-13)
    assert (
        difference(found, map_of("gradient-x-input", model, x)) <= 1e-3
    )  # pooling and sums keep their stabiliser


def test_lrp_epsilon_takes_relevance_from_weak_inputs() -> None:
    model, x = double("vgg11")
    totals = [map_of("lrp-epsilon", model, x, epsilon=e).abs().sum() for e in (1e-6, 1e-2, 1.0)]
    assert totals[0] > totals[1] > totals[2]


def test_lrp_of_a_linear_model_is_its_contributions() -> None:
    weight, x = images(8, 5), images(8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5, bias=False))
    network[1].weight = nn.Parameter(weight.flatten(1))
    model, expected = wrap(network).double(), (x * weight[FEW]).sum(1)
    close(map_of("lrp-epsilon", model, x.double(), FEW), expected)
    close(map_of("deeplift", model, x.double(), FEW), expected)


def test_rectgrad_equals_a_loop_over_layers_and_images() -> None:
    network = convolutional(inplace=False).double()
    model, x = wrap(network), images(8).double()
    actual = map_of("rectgrad", model, x, FEW, percentile=60.0)
    conv1, _, conv2, _, pool, _, linear = network
    for i in range(BATCH):
        first = conv1(x[i : i + 1]).relu()
        second = conv2(first).relu().detach().requires_grad_()
        (relevance,) = torch.autograd.grad(linear(pool(second).flatten(1))[0, FEW[i]], second)
        relevance = kept(second.detach(), relevance, 0.6)
        relevance = F.conv_transpose2d(
            relevance, conv2.weight, stride=2, padding=1, output_padding=1
        )
        relevance = kept(first, relevance, 0.6)
        close(actual[i], F.conv_transpose2d(relevance, conv1.weight, padding=1)[0].sum(0).float())


def kept(activation: Tensor, relevance: Tensor, share: float) -> Tensor:
    products = sorted((activation * relevance).flatten().tolist())
    threshold = products[int(share * (len(products) - 1))]
    return torch.where(activation * relevance > threshold, relevance, 0)


class Spelled(nn.Module):
    """`convolutional()` with its ReLUs in place as functions, twice by one module, and a sum in place."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.twin = convolutional(inplace=False)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        conv1, relu, conv2, _, pool, flat, linear = self.twin
        if self.way == "modules":
            x = relu(conv1(x))
            return linear(flat(pool(nn.ReLU()(conv2(x) + 0.1 * 0))))
        x = conv1(x)
        F.relu(x, inplace=True)  # what it returns is not used
        x = conv2(x)
        y = x.relu_()
        assert y is not x or self.way == "in place"
        x += 0
        return linear(torch.flatten(pool(x), 1))


@pytest.mark.parametrize("name", RULED)
def test_the_spelling_of_an_activation_makes_no_difference(name: str) -> None:
    x = images(8)
    expected = map_of(name, wrap(Spelled("modules")), x, FEW)
    close(map_of(name, wrap(Spelled("in place")), x, FEW), expected)


@pytest.mark.parametrize("name", ["deconvnet", "guided-gradcam", "rectgrad"])
def test_a_model_without_relus_is_refused(name: str) -> None:
    with pytest.raises(MethodError, match="calls no ReLU"):
        map_of(name, small_model("vit_small", 32), images(32))


@pytest.mark.parametrize("name", ["deeplift", "lrp-epsilon", "lrp-z-plus", "lrp-epsilon-plus-flat"])
@pytest.mark.parametrize(
    ("architecture", "operation"), [("vit_small", "layer_norm"), ("mobilenet_v3_small", "mul")]
)
def test_operations_without_a_rule_are_refused(
    name: str, architecture: str, operation: str
) -> None:
    with pytest.raises(MethodError, match=f"{operation}|products"):
        map_of(name, small_model(architecture, 32), images(32))


def test_rectgrad_refuses_a_percentile_that_lets_nothing_through() -> None:
    with pytest.raises(ValueError, match="lets nothing through"):
        map_of("rectgrad", wrap(convolutional()), images(8), FEW, percentile=100)


def test_a_linear_model_needs_no_rules() -> None:
    weight, x = images(8, 5), images(8)
    with pytest.raises(MethodError, match="einsum"):
        map_of("deeplift", wrap(Linear(weight)), x, FEW)


def test_what_works_in_place_and_changes_nothing_is_gone_through_once() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(inplace=True), nn.ReLU(), nn.Dropout())
    model = wrap(network.eval(), 2, 12)
    x = torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2)
    found = REGISTRY.configure("method", "guided-backprop")(model, x, torch.tensor([11]))
    close(found, torch.tensor([[[0.0, 0.0], [0.0, 1.0]]]))


def test_a_rule_may_give_what_it_got_for_what_works_in_place() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    logits = run_with_rules(
        lambda x: (x * 1).relu_() + 1, x, {"relu": lambda operation: operation.arguments[0]}
    )
    assert logits.tolist() == [0.0, 3.0]


def test_a_rule_s_output_is_not_copied_and_what_it_keeps_is_its_own() -> None:
    kept: list[Tensor] = []
    given: list[Tensor] = []

    def rule(operation: Operation) -> Tensor:
        out = operation(*operation.arguments)
        kept.append(out.detach())
        given.append(with_backward(out, [operation.arguments[0]], lambda g: [g * kept[-1]]))
        return given[-1]

    x = torch.tensor([[1.0, -2.0, 3.0]], requires_grad=True)
    logits = run_with_rules(lambda x: x.relu(), x, {"relu": rule})
    assert given[0].data_ptr() == kept[0].data_ptr()
    logits.detach().zero_()
    (gradient,) = torch.autograd.grad(logits.sum(), x)
    assert gradient.tolist() == [[1.0, 0.0, 3.0]]
    with torch.no_grad():
        assert run_with_rules(lambda x: x.relu(), x, {"relu": rule}).requires_grad


def test_elsewhere_with_backward_gives_a_copy() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    rounded = x.round()
    with_backward(rounded, [x], lambda g: [g]).detach().zero_()
    assert rounded.tolist() == [1.0, 2.0]
