"""Which images of a run are its examples: those whose maps are kept for the pictures."""

import math
from collections import defaultdict
from collections.abc import Sequence

FEWEST, MOST = 4, 10  # examples of a run, if it has so many images


def one_a_class(labels: Sequence[int]) -> list[int]:
    """One image of each class; several of each of few classes, of many classes some.

    Within a class and among the classes they are evenly spread over the run's images.

    Parameters:
        labels: of the run's images, in their order.

    Returns:
        The numbers of the images, rising.

    Example:
        >>> from interpbench.running.examples import one_a_class
        >>> one_a_class([5, 5, 5, 7, 7, 9, 3, 3])
        [0, 3, 5, 6]
    """
    of_class = defaultdict[int, list[int]](list)
    for image, label in enumerate(labels):
        of_class[label].append(image)
    each = math.ceil(FEWEST / max(1, len(of_class)))
    one_or_more = [image for images in of_class.values() for image in spread(images, each)]
    return spread(sorted(one_or_more), MOST)


def spread(images: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread: the first alone, or both ends and some between."""
    count = min(len(images), most)
    return [images[round(i * (len(images) - 1) / max(1, count - 1))] for i in range(count)]
