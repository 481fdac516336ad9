"""What a network's answers are, and what is read off them: scores and probabilities.

Methods explain scores [B,K]; metrics, curves and people read the probability of a class.

    outputs                 answers                score of a class    its probability
    softmax                 logits                 logit               softmax over the classes
    sigmoid                 logits                 logit               sigmoid
    binary                  one logit z            -z (no), z (yes)    sigmoid
    log-softmax             logarithms             log p               p
    probabilities           softmax applied        log p               p
    sigmoid-probabilities   sigmoid applied        log p / (1 - p)     p

One answer an image with a sigmoid applied is one probability p: its scores are those of its logit.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from interpbench.core.errors import unknown_name

Outputs = Literal[
    "softmax", "sigmoid", "binary", "log-softmax", "probabilities", "sigmoid-probabilities"
]
OUTPUTS: tuple[Outputs, ...] = get_args(Outputs)
LEAST = 1e-12  # probability of which a logarithm is taken
NEAREST = 1e-7  # to 0 or 1, a probability of which a logit is taken; float32 knows none between
OF_LOGARITHM = "methods explain log p, and p is read as the probability"
READ: dict[Outputs, str] = {
    "softmax": "methods explain logits, and their softmax is read as the probability",
    "sigmoid": "methods explain logits, and the sigmoid of each is read as its class's probability",
    "binary": "methods explain -z for the first class and z for the second, of the one logit z, "
    "and the sigmoid of that is read as the probability",
    "log-softmax": OF_LOGARITHM,
    "probabilities": OF_LOGARITHM,
    "sigmoid-probabilities": "methods explain log p / (1 - p), and p is read as the probability",
}


def named_outputs(name: str | None) -> Outputs | None:
    """The outputs of that name; None for None.

    Raises:
        UnknownNameError: if there are none.
    """
    if name is not None and name not in OUTPUTS:
        raise unknown_name("outputs", name, OUTPUTS)
    return name


def scores_of(answers: Tensor, outputs: Outputs, columns: int) -> Tensor:
    """What methods explain, float [B,K]; of one answer an image [B,2].

    Which operations it takes does not depend on the tensor, so that torch.fx can trace it.

    Parameters:
        answers: float [B,columns].
        outputs: what they are.
        columns: K, or 1.

    Example:
        >>> from interpbench.core.outputs import scores_of
        >>> scores_of(torch.tensor([[3.0], [-1.0]]), "binary", columns=1)
        tensor([[-3.,  3.],
                [ 1., -1.]])
    """
    if outputs in ("probabilities", "log-softmax"):
        return answers if outputs == "log-softmax" else answers.clamp_min(LEAST).log()
    if outputs == "sigmoid-probabilities":
        answers = answers.logit(NEAREST)
    if outputs == "softmax" or columns > 1:
        return answers
    # A linear layer, for which every method that gives layers rules has one.
    one = answers.new_ones(1, 1)
    return F.linear(answers, torch.cat([-one, one]))


def probabilities_of(scores: Tensor, outputs: Outputs) -> Tensor:
    """The probability of each class, in 0..1, of scores [B,K]: the same shape.

    Example:
        >>> from interpbench.core.outputs import probabilities_of
        >>> scores = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
        >>> probabilities_of(scores, "softmax")[0, 0], probabilities_of(scores, "sigmoid")[0, 0]
        (tensor(0.2500), tensor(0.5000))
    """
    if outputs == "softmax":
        return scores.softmax(dim=1)
    if outputs in ("log-softmax", "probabilities"):
        return scores.exp()
    return scores.sigmoid()
