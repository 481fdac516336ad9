"""Attention of vision transformers, followed from the class token through all layers back to the patches.

A is a layer's attention, [heads, tokens, tokens]. It is read off every call of scaled dot product attention or
`nn.MultiheadAttention`, and of a softmax over a square of tokens, however the model spells it. The map is the row of
the class token, the first one, without the tokens that are no patches; of a model without a class token, which takes
the mean of its tokens, the mean of all rows.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from interpbench import MethodError, Model, as_maps, method


@method(
    "attention-rollout",
    coarse=True,
    class_agnostic=True,
    reference="Abnar, Zuidema, Quantifying Attention Flow in Transformers, ACL 2020",
)
@torch.no_grad()
def attention_rollout(
    model: Model, x: Tensor, target: Tensor, *, heads: Literal["mean", "max", "min"] = "mean"
) -> Tensor:
    """The product over the layers of (A + I) / 2, rows summing to 1, whatever the class: [B,C,H,W] -> [B,h,w].

    Parameters:
        heads: how the heads of a layer become one.

    Raises:
        MethodError: if the model is no transformer of global attention.
    """
    _, layers = _attentions(model, x)
    rollout = _identity(layers[0])
    for attention in layers:
        one = attention.mean(1) if heads == "mean" else getattr(attention, f"a{heads}")(1)
        mixed = (one + _identity(attention)) / 2
        rollout = mixed / mixed.sum(2, keepdim=True) @ rollout
    return _patches(rollout, x)


@method(
    "attention-gradient",
    coarse=True,
    reference="Chefer, Gur, Wolf, Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder "
    "Transformers, ICCV 2021",
)
def attention_gradient(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """R = R + E R over the layers, E the heads' mean of ReLU(A · d logit_target / d A): [B,C,H,W] -> [B,h,w].

    From R = I; the paper's rule for self-attention. One forward and one backward pass.

    Raises:
        MethodError: if the model is no transformer of global attention.
    """
    with torch.enable_grad():
        logits, layers = _attentions(model, x.detach().clone().requires_grad_())
        score = logits.gather(1, target[:, None]).sum()
        slopes = torch.autograd.grad(score, layers)
    relevance = _identity(layers[0])
    for attention, slope in zip(layers, slopes, strict=True):
        relevance = relevance + (attention.detach() * slope).relu().mean(1) @ relevance
    return _patches(relevance, x)


def _identity(attention: Tensor) -> Tensor:
    """I for each image, [B,tokens,tokens]."""
    tokens = attention.shape[-1]
    return torch.eye(tokens, dtype=attention.dtype, device=attention.device).expand(len(attention), -1, -1)


def _patches(flow: Tensor, x: Tensor) -> Tensor:
    """What flows to the patches, [B,h,w] of [B,tokens,tokens]: to the class token, or on average."""
    patches, to_class = (as_maps(row[:, :, None], x.shape[2:])[:, 0] for row in (flow.mean(1), flow[:, 0]))
    return patches if patches[0].numel() == flow.shape[-1] else to_class


def _attentions(model: Model, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits, and each layer's attention [B,heads,tokens,tokens], through which the logits were computed."""
    recorder = _Recorder(len(x))
    with recorder:
        logits = model(x)
    if not recorder.layers or recorder.others or len({layer.shape[-1] for layer in recorder.layers}) > 1:
        found = "attention over windows or of several sizes" if recorder.layers or recorder.others else "no attention"
        raise MethodError(f"the model has {found}: this method needs a transformer whose layers attend to all patches.")
    return logits, recorder.layers


class _Recorder(TorchFunctionMode):
    """Computes attention in steps, so that its weights can be kept and have gradients."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.layers: list[Tensor] = []
        self.others = 0
        self._batch = batch

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "scaled_dot_product_attention":
            return self._dot_product(*args, **kwargs)
        if name == "multi_head_attention_forward":
            return self._multi_head(*args, **kwargs)
        output = func(*args, **kwargs)
        if name in ("softmax", "_softmax") and output.ndim == 4 and output.shape[-1] == output.shape[-2]:
            return self._keep(output)
        return output

    def _keep(self, attention: Tensor) -> Tensor:
        if len(attention) == self._batch:
            self.layers.append(attention)
        else:
            self.others += 1
        return attention

    def _dot_product(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """As `F.scaled_dot_product_attention` says, without dropout, which eval mode does not have."""
        if attn_mask is not None or is_causal or enable_gqa:
            raise MethodError("the model masks its attention or groups its queries, which this method does not follow.")
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        return self._keep(scores.softmax(-1)) @ value

    def _multi_head(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim_to_check: int,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        bias_k: Tensor | None,
        bias_v: Tensor | None,
        add_zero_attn: bool,
        dropout_p: float,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        """As `F.multi_head_attention_forward` says for self-attention [tokens,B,channels]."""
        unusual = (bias_k, bias_v, others.get("key_padding_mask"), others.get("attn_mask"))
        if in_proj_weight is None or add_zero_attn or any(value is not None for value in unusual):
            raise MethodError("the model's attention has masks or added keys, which this method does not follow.")
        weights = in_proj_weight.chunk(3)
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
        parts = [
            F.linear(tokens, w, b).unflatten(2, (num_heads, -1)).permute(1, 2, 0, 3)
            for tokens, w, b in zip((query, key, value), weights, biases, strict=True)
        ]
        mixed = self._dot_product(*parts).permute(2, 0, 1, 3).flatten(2)
        return F.linear(mixed, out_proj_weight, out_proj_bias), None
