"""A fixed question to a model, whose answer must stay the same to the last bit.

One image and one map: the model's logits, their gradient, the map's rank, and what the scoring copy
answers on the way to a blank image. Whatever changes numbers, whether or not anybody has thought of
it, changes the answer.
"""

import torch
from torch import Tensor

from interpbench.attribution.attribute import Maps
from interpbench.core.batch_size import BatchSize
from interpbench.core.time_spent import phase_as_a_whole
from interpbench.running.prepared_model import PreparedModel
from interpbench.scoring.curves import outputs
from interpbench.scoring.perturbation import Perturbation

TOLERANCE = 1e-5  # of the greatest value, on a device whose sums have no fixed order


class Canary:
    """The answer of a model before any cell, and asking it again."""

    def __init__(self, prepared: PreparedModel) -> None:
        self._prepared = prepared
        self._has_gradient = prepared.model.gradients
        try:
            self._expected = self._ask()
        except Exception:  # a model that says nothing of its input
            self._has_gradient = False
            self._expected = self._ask()
        # A model that answers otherwise each time can be asked nothing.
        again = self._ask()
        self._expected = {
            name: answer
            for name, answer in self._expected.items()
            if self._is_same(again[name], answer)
        }

    def wrong(self) -> str:
        """What is no longer as it was; empty if all is."""
        try:
            answers = self._ask()
        except KeyboardInterrupt:
            raise
        except BaseException:  # of whatever kind: a patched function may raise anything
            return "forward pass"
        for name, expected in self._expected.items():
            if not self._is_same(answers[name], expected):
                return name
        return ""

    def _ask(self) -> dict[str, Tensor]:
        prepared, first = self._prepared, slice(0, 1)
        watching = prepared.examined.guard.watching(prepared.plan.suite.seed)
        with phase_as_a_whole("canary"), watching:
            batch = prepared.probe.batch(first, gradients=True)
            x = batch.x.detach().clone().requires_grad_(self._has_gradient)
            with torch.set_grad_enabled(self._has_gradient):
                logits = prepared.model(x)
                answers = {"logits": logits.detach()}
                if self._has_gradient:
                    (answers["gradient"],) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
            map_ = Maps.of_search(batch.x.abs().sum(1))
            explanation, _ = prepared.probe.explanation(map_, batch, first)
            path = Perturbation(explanation.x, torch.zeros_like(explanation.x))
            ranks = explanation.rank
            half = ranks[0].numel() // 2
            [answers["scores"]] = outputs(
                prepared.scorer,
                [path],
                [[half]],
                ranks,
                batch.target,
                BatchSize(prepared.batch_size),
            )
        return {"ranks": ranks.cpu(), **{name: a.cpu() for name, a in answers.items()}}

    def _is_same(self, answer: Tensor, expected: Tensor) -> bool:
        if answer.device != expected.device or answer.dtype != expected.dtype:
            return False
        if self._prepared.plan.computing.device.type == "cpu":
            return torch.equal(answer, expected)
        greatest = float(expected.abs().max())
        return torch.allclose(answer, expected, rtol=0, atol=TOLERANCE * greatest, equal_nan=True)
