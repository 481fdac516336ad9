"""The copy of a model that scores are read off: cheaper forward passes, the same numbers.

Made once a model. Each step is kept only if the logits of real inputs stay the same up to rounding:
batch norms are folded into the convolutions before them, on a CPU convolutions take in what follows
them (see `fused_convolutions`) and those of many channels are computed by tiles (see
`tiled_convolutions`), and where it pays (see `tuning`) torch.compile makes the network instead. A
lower precision is taken only where it is asked for.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from interpbench.core.errors import first_line
from interpbench.core.memory_format import memory_format_of
from interpbench.core.types import Model
from interpbench.fast.fused_convolutions import fuse_convolutions

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = 1e-5  # of the greatest logit
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass
class CopyReport:
    """What was done to make a scoring copy; None where there is nothing to say.

    Attributes:
        copy: why there is none.
        batch_norms: how many were folded into convolutions, or why none.
        convolutions: why they were kept as they are.
        tiled_convolutions, fused_convolutions: how many may be computed by tiles, and take in what
            follows them.
        greatest_difference, greatest_logit: of the proof that the logits stay.
        precision: of the copy, where a lower one was asked for; or why it is not.
    """

    copy: str | None = None
    batch_norms: str | None = None
    convolutions: str | None = None
    tiled_convolutions: int | None = None
    fused_convolutions: int | None = None
    greatest_difference: float | None = None
    greatest_logit: float | None = None
    precision: str | None = None


class Scorer(Model):
    """A model whose passes are cheap, for scores alone: no gradients, no layers by name.

    Attributes:
        report: what was done to it.
    """

    def __init__(self, network: nn.Module, model: Model) -> None:
        super().__init__(network, model.card, model.batch_size)
        self.training = False  # itself alone; its layers are as the model's
        self.report = CopyReport()
        self._traceable = network

    def use(self, network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        """Takes another network, which gives the same logits."""
        self.network = self._traceable = network
        self.dtype, self.fixed_shape = dtype, False

    def use_faster(self, network: nn.Module, *, fixed_shape: bool) -> None:
        """Takes a network that is quicker than the one to use otherwise, but has other layers."""
        self.network, self.fixed_shape = network, fixed_shape

    def traceable(self) -> "Scorer":
        """This one with the network that has the model's layers, and takes batches of any shape."""
        scorer = Scorer(self._traceable, self)
        scorer.dtype, scorer.report = self.dtype, self.report
        return scorer


@dataclass
class _SameLogits:
    """The logits of real inputs, which a cheaper copy must give too.

    Attributes:
        x: the inputs.
        expected: their logits.
        allowed: how much may differ, as a share of the greatest logit.
        greatest_difference: of the last copy that was not refused.
    """

    x: Tensor
    expected: Tensor
    allowed: float = TOLERANCE
    greatest_difference: float = 0.0

    @classmethod
    def of(cls, network: Callable[[Tensor], Tensor], x: Tensor) -> "_SameLogits":
        """By what the network itself gives; in a lower precision, up to its rounding."""
        allowed = TOLERANCE if x.dtype == torch.float32 else torch.finfo(x.dtype).eps
        return cls(x, _logits(network, x), allowed)

    def refuses(self, network: Callable[[Tensor], Tensor]) -> str:
        """How a copy's logits differ; empty if they are equal but for rounding."""
        try:
            difference = _greatest(_logits(network, self.x) - self.expected)
        except Exception as error:
            return f"it fails: {first_line(error)}"
        if not difference <= self.allowed * _greatest(self.expected):
            return f"its logits differ by up to {difference:.2g}"
        self.greatest_difference = difference
        return ""


def prepare(model: Model, x: Tensor, precision: str = "fp32") -> Scorer:
    """The scoring copy of a model.

    Parameters:
        model: in eval mode; is left as it is.
        x: float32 [B,C,H,W], some of the images that are scored, in the memory format that the
            copy is to have.
        precision: `fp32`, `bf16` or `fp16`; the copy's weights and activations are of it.
    """
    try:
        proof = _SameLogits.of(model, x)
        network = copy.deepcopy(model.network).to(memory_format=memory_format_of(x))
    except Exception as error:  # it cannot be copied; or it fails, which shows when it is measured
        scorer = Scorer(model.network, model)
        scorer.report.copy = f"none: {first_line(error)}"
        return scorer
    scorer = Scorer(network, model)
    scorer.report.batch_norms = _fold(scorer, proof)
    if precision == "fp32":
        _fuse(scorer, proof)
    scorer.report.greatest_difference = proof.greatest_difference
    scorer.report.greatest_logit = _greatest(proof.expected)
    if precision != "fp32":
        scorer.report.precision = _lower(scorer, x, precision)
    return scorer


def _fold(scorer: Scorer, proof: _SameLogits) -> str:
    """Folds batch norms into convolutions; says in words how many, or why none."""
    norms = _norms(scorer.network)
    if not norms:
        return "none"
    try:
        memory_format = memory_format_of(proof.x)
        folded = fuse(scorer.network).to(memory_format=memory_format)
        _hold_in_eval_mode(folded)
    except Exception as error:  # torch.fx raises many kinds
        return f"kept: the network cannot be traced ({first_line(error)})"
    why = proof.refuses(folded)
    if why:
        return f"kept: {why} when they are folded"
    scorer.use(folded.requires_grad_(False))
    return f"{norms - _norms(folded)} of {norms} folded"


def _fuse(scorer: Scorer, proof: _SameLogits) -> None:
    """Fuses convolutions with what follows them, and computes them by tiles, on a CPU."""
    if proof.x.device.type != "cpu":
        return
    state = scorer.network.state_dict(keep_vars=True).values()
    shared: dict[int, Any] = {id(tensor): tensor for tensor in state}
    try:
        network, counts = fuse_convolutions(copy.deepcopy(scorer.network, shared))
    except Exception as error:  # a network that cannot be copied twice, for one
        scorer.report.convolutions = f"kept: they cannot be fused ({first_line(error)})"
        return
    _hold_in_eval_mode(network)
    why = proof.refuses(network) if any(counts.values()) else ""
    if why:
        counts = dict.fromkeys(counts, 0)
        scorer.report.convolutions = f"kept: {why} when they are fused or tiled"
    elif any(counts.values()):
        scorer.use_faster(network, fixed_shape=False)
    scorer.report.tiled_convolutions = counts["tiled"]
    scorer.report.fused_convolutions = counts["fused"]


def _hold_in_eval_mode(network: nn.Module) -> None:
    """Puts the modules that torch.fx makes to hold the layers into eval mode, and no layer."""
    for module in network.modules():
        if isinstance(module, fx.GraphModule) or type(module) is nn.Module:
            module.training = False


def _norms(network: nn.Module) -> int:
    """How many batch norms it has."""
    return sum(isinstance(module, NORMS) for module in network.modules())


def _lower(scorer: Scorer, x: Tensor, precision: str) -> str:
    """Brings the network to a lower precision; says in words which it has, and why."""
    dtype = DTYPES[precision]
    try:
        lowered = copy.deepcopy(scorer.traceable().network).to(dtype)
        proof = _SameLogits.of(lowered, x.to(dtype))
    except Exception as error:
        return f"fp32: it does not work in {precision} ({first_line(error)})"
    if not bool(proof.expected.isfinite().all()):
        return f"fp32: its logits are not finite in {precision}"
    scorer.use(lowered, dtype)
    _fuse(scorer, proof)
    return precision


def compiled(scorer: Scorer, x: Tensor) -> str:
    """Gives the scorer a compiled network for batches as `x`, if its logits are the same.

    Batch norms that were not folded are folded by it, on a GPU its passes are CUDA graphs.

    Parameters:
        scorer: gets the network, and from then on takes batches of this shape alone.
        x: float32 [N,C,H,W], a full batch of what is scored.

    Returns:
        Why the scorer keeps its network; empty if it is compiled.
    """
    batch, plain = x.to(scorer.dtype), scorer.traceable().network
    options: dict[str, Any] = {"freezing": True, "triton.cudagraphs": x.device.type == "cuda"}
    network = cast(nn.Module, torch.compile(plain, dynamic=False, options=options))
    try:
        why = _SameLogits.of(plain, batch).refuses(network)
    except Exception as error:
        return first_line(error)
    if not why:
        scorer.use_faster(network, fixed_shape=True)
    return why


@torch.inference_mode()
def _logits(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return network(x).float()


def _greatest(values: Tensor) -> float:
    return float(values.abs().max())
