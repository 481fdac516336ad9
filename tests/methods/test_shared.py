"""What methods share: packed variants, layers' maps, and other backward passes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from interpbench import (
    Operation,
    blocks,
    run_with_rules,
    target_gradients,
    target_outputs,
    with_backward,
)
from interpbench.core.errors import MethodError
from tests.methods.common import images
from tests.tiny_models import convolutional


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 64))
def test_blocks_cover_all_and_fill_a_batch(count: int, images: int, batch_size: int) -> None:
    parts = list(blocks(count, images, batch_size))
    assert [k for part in parts for k in part] == list(range(count))
    assert all(len(part) * images <= max(batch_size, images) for part in parts)
    assert len({len(part) for part in parts[:-1]}) <= 1


def test_outputs_and_gradients_of_variants_equal_one_image_at_a_time() -> None:
    network, variants, target = (
        convolutional(),
        images(8, 6).view(2, 3, 3, 8, 8),
        torch.tensor([1, 4]),
    )
    logits, chances = (
        target_outputs(network, variants, target, output) for output in ("logit", "probability")
    )
    gradients = target_gradients(network, variants, target)
    for i in range(2):
        for k in range(3):
            leaf = variants[i, k][None].clone().requires_grad_()
            answer = network(leaf)
            torch.testing.assert_close(logits[i, k], answer[0, target[i]])
            torch.testing.assert_close(chances[i, k], answer.softmax(1)[0, target[i]])
            torch.testing.assert_close(
                gradients[i, k], torch.autograd.grad(answer[0, target[i]], leaf)[0][0]
            )


def doubled(operation: Operation) -> Tensor:
    """ReLU whose gradient is twice what arrives, open or not."""
    before = operation.arguments[0]
    return with_backward(operation(before), [before], lambda g: [2 * g])


WAYS = {
    "module": lambda x: nn.ReLU()(x),
    "module in place": lambda x: nn.ReLU(inplace=True)(x),
    "function": F.relu,
    "named": lambda x: F.relu(input=x),
    "in place": lambda x: F.relu(x, True),
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_finds_an_operation_however_it_is_spelled(way: str) -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out = run_with_rules(lambda x: WAYS[way](x * 3), x, {"relu": doubled})
    torch.testing.assert_close(out, (3 * x).relu())
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.full_like(x, 6))


def statement_in_place(x: Tensor) -> Tensor:
    y = x * 2
    y.neg_()  # what it returns is not used
    z = y + 0
    y += 1
    y[:, 0] = 0
    z.mul_(y)
    return torch.cat([z, y], 1)


def test_operations_in_place_do_what_they_do_without_rules() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    ruled, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = run_with_rules(statement_in_place, ruled, {}), statement_in_place(plain)
    torch.testing.assert_close(out, expected)
    gradients = [
        torch.autograd.grad(o.square().sum(), leaf)[0]
        for o, leaf in ((out, ruled), (expected, plain))
    ]
    torch.testing.assert_close(*gradients)


def test_an_operation_without_a_rule_is_named() -> None:
    x = torch.ones(1, 3, requires_grad=True)
    with pytest.raises(MethodError, match="Mine has no rule for the operation 'sin'"):
        run_with_rules(lambda x: x.flatten(1).sin(), x, {}, through={"flatten"}, method="Mine")
    constant = run_with_rules(
        lambda x: x + torch.ones(3).sin(), x, {}, through={"add"}, method="Mine"
    )
    torch.testing.assert_close(
        constant, x + torch.ones(3).sin()
    )  # no gradient flows through that one
