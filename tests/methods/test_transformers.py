"""Attention rollout and attention x gradient: against loops that compute the attention from the weights themselves."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.types import Model
from tests.methods.common import BATCH, REGISTRY, TARGET, close, images, map_of, small_model
from tests.tiny_models import wrap

METHODS = ["attention-rollout", "attention-gradient"]


def torchvisions(size: int = 32) -> Model:
    """With weights large enough that attention is not the same everywhere."""
    model = small_model("vit_small", size)
    with torch.no_grad():
        for block in model.network.encoder.layers:
            block.self_attention.in_proj_weight.mul_(4)
            block.self_attention.in_proj_bias.normal_(generator=torch.Generator().manual_seed(1))
    return model.double()


def timms(name: str = "test_vit", fused: bool = True, **options: object) -> Model:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=10, img_size=64, patch_size=8, **options)
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
            nn.init.normal_(module.qkv.weight, std=0.2)
    return wrap(network, 64, 10).double()


def attention_of(block: nn.Module, tokens: Tensor) -> Tensor:
    """Of torchvision's block, [heads,tokens,tokens] for one image's tokens [tokens,channels]."""
    layer = block.self_attention
    normed = block.ln_1(tokens)
    query, key, _ = (normed @ layer.in_proj_weight.T + layer.in_proj_bias).chunk(3, dim=1)
    width = query.shape[1] // layer.num_heads
    heads = []
    for head in range(layer.num_heads):
        part = slice(head * width, (head + 1) * width)
        heads.append(torch.softmax(query[:, part] @ key[:, part].T / width**0.5, dim=1))
    return torch.stack(heads)


def with_attention(model: Model, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits of one image and the attention of each block, computed step by step, with gradients."""
    network = model.network
    tokens = torch.cat([network.class_token[0], network._process_input(image[None])[0]])
    tokens = (tokens + network.encoder.pos_embedding[0]).detach().requires_grad_()
    found = []
    for block in network.encoder.layers:
        layer = block.self_attention
        found.append(attention_of(block, tokens))
        value = (block.ln_1(tokens) @ layer.in_proj_weight.T + layer.in_proj_bias).chunk(3, dim=1)[
            2
        ]
        mixed = torch.cat(
            [a @ v for a, v in zip(found[-1], value.chunk(layer.num_heads, dim=1), strict=True)], 1
        )
        tokens = tokens + layer.out_proj(mixed)
        tokens = tokens + block.mlp(block.ln_2(tokens))
    return network.heads(network.encoder.ln(tokens)[0]), found


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rollout_equals_a_loop_over_layers(size: int, heads: str) -> None:
    model, x = torchvisions(size), images(size).double()
    actual = REGISTRY.configure("method", "attention-rollout", {"heads": heads})(model, x, TARGET)
    for image, ours in zip(x, actual, strict=True):
        logits, attentions = with_attention(model, image)
        torch.testing.assert_close(logits, model(image[None])[0])
        rollout = torch.eye(65).double()
        for attention in attentions:
            one = {
                "mean": attention.mean(0),
                "max": attention.max(0).values,
                "min": attention.min(0).values,
            }[heads]
            mixed = 0.5 * one.detach() + 0.5 * torch.eye(65)
            rollout = (mixed / mixed.sum(1, keepdim=True)) @ rollout
        close(ours, rollout[0, 1:].view(8, 8))
        assert float(rollout[0].sum()) == pytest.approx(1)


def test_attention_x_gradient_equals_a_loop_over_layers_and_images() -> None:
    model, x = torchvisions(), images(32).double()
    actual = REGISTRY.configure("method", "attention-gradient")(model, x, TARGET)
    for i in range(BATCH):
        logits, attentions = with_attention(model, x[i])
        slopes = torch.autograd.grad(logits[TARGET[i]], attentions)
        relevance = torch.eye(65).double()
        for attention, slope in zip(attentions, slopes, strict=True):
            relevance = relevance + (attention.detach() * slope).clamp(min=0).mean(0) @ relevance
        close(actual[i], relevance[0, 1:].view(8, 8))


@pytest.mark.parametrize("name", METHODS)
def test_fused_and_plain_attention_of_timm_give_the_same_map(name: str) -> None:
    x = images(64).double()
    method = REGISTRY.configure("method", name)
    expected = method(timms(fused=False), x, TARGET)
    assert expected.shape == (BATCH, 8, 8)
    close(method(timms(fused=True), x, TARGET), expected)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_without_a_class_token_averages_its_tokens(name: str) -> None:
    model = timms(class_token=False, global_pool="avg", reg_tokens=0)
    x = images(64).double()
    actual = REGISTRY.configure("method", name)(model, x, TARGET)
    assert actual.shape == (BATCH, 8, 8)
    if name == "attention-rollout":
        torch.testing.assert_close(actual.sum((1, 2)), torch.ones(BATCH).double())


def test_rollout_of_uniform_attention_is_uniform() -> None:
    model, x = small_model("vit_small", 32), images(32)
    with torch.no_grad():
        for block in model.network.encoder.layers:
            block.self_attention.in_proj_weight.zero_()
    actual = REGISTRY.configure("method", "attention-rollout")(model, x, TARGET)
    torch.testing.assert_close(actual, torch.full_like(actual, float(actual[0, 0, 0])))


def test_attention_x_gradient_depends_on_the_target_and_rollout_does_not() -> None:
    model, x = torchvisions(), images(32).double()
    for name, same in (("attention-rollout", True), ("attention-gradient", False)):
        method = REGISTRY.configure("method", name)
        assert torch.equal(method(model, x, TARGET), method(model, x, TARGET.flip(0))) is same


@pytest.fixture(scope="module")
def windowed() -> Model:
    """A transformer whose attention is within windows."""
    torch.manual_seed(0)
    return wrap(REGISTRY.configure("model", "torchvision", {"name": "swin_t"})(10, 64), 64, 10)


@pytest.mark.parametrize("name", METHODS)
def test_other_models_are_refused(name: str, windowed: Model) -> None:
    with pytest.raises(MethodError, match="no attention: this method needs a transformer"):
        map_of(name, small_model("resnet18", 32), images(32))
    with pytest.raises(MethodError, match="attention over windows"):
        map_of(name, windowed, images(64))


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)[:, None]
        mask = torch.ones(tokens.shape[2], tokens.shape[2]).tril().bool()
        return F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask)[:, 0].mean(1)


@pytest.mark.parametrize("name", METHODS)
def test_masked_attention_is_refused(name: str) -> None:
    with pytest.raises(MethodError, match="masks its attention"):
        map_of(name, wrap(Masked(), 8, 3), images(8), torch.tensor([0, 1, 2]))
