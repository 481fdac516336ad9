"""What does a map cost? Counted in images that pass the model: the same on every machine, unlike seconds.

None of these asks what a map is worth: one that asks the model for nothing is the cheapest. Milliseconds and memory of
each method are in a run's `cost.csv`.
"""

from torch import Tensor

from interpbench import Explanation, metric

ALL = (0.0, float("inf"))


@metric("forward-passes", better="lower", range=ALL, unit="passes an image", reference="unpublished", aspect="cost")
def forward_passes(explanation: Explanation) -> Tensor:
    """How many images the method sends through the model for a map.

    Lower is better, from 0 of a method that asks the model for nothing. Each image is explained once more, alone: what
    methods that share passes save in a run, and what a batch has in common, counts for each. Passes on the way to a
    gradient count, and a window that is computed in part counts as a pass. A pass costs the same whatever the method;
    what else it does is in the milliseconds.
    """
    return explanation.passes[:, 0].double()


@metric("backward-passes", better="lower", range=ALL, unit="passes an image", reference="unpublished", aspect="cost")
def backward_passes(explanation: Explanation) -> Tensor:
    """For how many images the method asks the model for a gradient for a map.

    Lower is better, from 0 of a black box. Counted as `forward-passes` are, and for both together. One that ends at a
    layer, as those of class activation maps do, counts as one that goes on to the image; each costs about two forward
    passes.
    """
    return explanation.passes[:, 1].double()
