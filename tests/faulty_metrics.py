"""Metrics that each break a promise of metrics, and which they break."""

import itertools

import torch
from torch import Tensor

from interpbench import Explanation, Inputs, Perturbation, metric
from interpbench.registry.registry import Registry

FAULTY = Registry()
# Name -> contract -> what is said.
BREAKS: dict[str, dict[str, str]] = {
    "undocumented": {"documentation": "no docstring"},
    "misannotated": {"parameters": "would be refused"},
    "raises": {"runs": "ValueError: no"},
    "misshapen": {"runs": "returned [3, 1]; expected a tensor [3]"},
    "out-of-range": {"range": "and its range is 0 to 1"},
    "writing": {"inputs": "It wrote into saliency"},
    "hooked": {"clean model": "hook left behind"},
    "counting": {
        "determinism": "other scores",
        "neighbours": "others",
        "batch": "others",
        "order": "others",
    },
    "by-the-batch": {"neighbours": "Alone, images get other scores"},
    "by-the-pass": {"batch": "With one image a forward pass"},
    "peeping": {"order": "After other maps"},
    "blind": {"looks": "all get the same scores"},
}
_calls = itertools.count(1)
_seen: list[Tensor] = []


def _mean(explanation: Explanation) -> Tensor:
    """The mean of what is positive, squeezed into 0..1."""
    return explanation.saliency.clamp(min=0).mean((1, 2)).tanh()


def _peep(inputs: Inputs) -> Tensor:
    return _seen[-1].clone()


with FAULTY.collecting():

    @metric("undocumented", better="higher", reference="none")
    def undocumented(explanation: Explanation) -> Tensor:
        return _mean(explanation)

    @metric("misannotated", better="higher", reference="none")
    def misannotated(explanation: Explanation, *, steps: int = None) -> Tensor:  # type: ignore[assignment]  # noqa: RUF013
        """A score."""
        return _mean(explanation)

    @metric("raises", better="higher", reference="none")
    def raises(explanation: Explanation) -> Tensor:
        """A score."""
        raise ValueError("no")

    @metric("misshapen", better="higher", reference="none")
    def misshapen(explanation: Explanation) -> Tensor:
        """A score."""
        return _mean(explanation)[:, None]

    @metric("out-of-range", better="higher", reference="none")
    def out_of_range(explanation: Explanation) -> Tensor:
        """A score."""
        return _mean(explanation) - 2

    @metric("writing", better="higher", reference="none")
    def writing(explanation: Explanation) -> Tensor:
        """A score."""
        explanation.saliency.mul_(2)
        return _mean(explanation)

    @metric("hooked", better="higher", reference="none")
    def hooked(explanation: Explanation) -> Tensor:
        """A score."""
        explanation.model.network.register_forward_hook(lambda *_: None)
        return _mean(explanation)

    @metric("counting", better="higher", range=(0, float("inf")), reference="none")
    def counting(explanation: Explanation) -> Tensor:
        """A score."""
        return _mean(explanation) * next(_calls)

    @metric("by-the-batch", better="higher", range=(0, float("inf")), reference="none")
    def by_the_batch(explanation: Explanation) -> Tensor:
        """A score."""
        return _mean(explanation) / explanation.saliency.abs().max()

    @metric("by-the-pass", better="higher", range=(0, float("inf")), reference="none")
    def by_the_pass(explanation: Explanation) -> Tensor:
        """A score."""
        assert explanation.reader is not None
        return _mean(explanation) * explanation.reader.batch_size.images

    @metric("peeping", better="higher", reference="none")
    def peeping(explanation: Explanation) -> Tensor:
        """A score."""
        _seen.append(explanation.saliency[:, 0, 0].tanh().abs())
        return explanation.shared(_peep)

    @metric("blind", better="higher", reference="none")
    def blind(explanation: Explanation) -> Tensor:
        """A score."""
        return torch.zeros(len(explanation.ids))


SOUND = Registry()
with SOUND.collecting():

    @metric("cautious", better="higher", range=(-1, 1), reference="unpublished")
    def cautious(explanation: Explanation) -> Tensor:
        """How alike the maps of an image and of its double are; none where a map is positive nowhere."""
        other = explanation.explain(2 * explanation.x)
        alike = torch.cosine_similarity(other.flatten(1), explanation.saliency.flatten(1))
        return alike.where((explanation.saliency > 0).flatten(1).any(1), torch.nan)

    @metric("least-first", better="higher", curve=True, reference="unpublished")
    def least_first(explanation: Explanation) -> Perturbation:
        """The area where the least salient positions are removed first."""
        return Perturbation(explanation.x, torch.zeros_like(explanation.x), steps=4, first="least")
