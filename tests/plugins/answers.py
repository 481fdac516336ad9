"""A model that returns what users' models return (`tests/user_answers.py`), and data of two classes or of one."""

import numpy as np
from torch import nn

from interpbench import Dataset, DatasetCard, Pretrained, Sample, dataset, model
from tests.user_answers import ANSWERS, FOUND, ONE_NUMBER, REFUSED, SIZE, Net

FORMS = {**ANSWERS, **FOUND, **ONE_NUMBER, **{name: form for name, (form, _) in REFUSED.items()}}


class Noise:
    """Images of noise, of a few classes."""

    def __init__(self, count: int, classes: tuple[str, ...]) -> None:
        self.card = DatasetCard(
            f"noise-{len(classes)}", classes, "1", SIZE, (0.5,) * 3, (0.25,) * 3
        )
        self.ids = [f"noise-{i:02d}" for i in range(count)]
        self.labels = [i % len(classes) for i in range(count)]

    def __getitem__(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        return Sample(self.ids[index], image, self.labels[index])


@dataset("noise")
def noise(*, count: int = 6, classes: int = 4) -> Dataset:
    """Images of noise: absent, present, and others."""
    return Noise(count, ("absent", "present", "other", "strange")[:classes])


@dataset("only-present")
def only_present(*, count: int = 6) -> Dataset:
    """Images of one class."""
    return Noise(count, ("present",))


def _own(form: str, numbers: int, says: str) -> Pretrained:
    return Pretrained(source="my run", outputs=says or None)  # type: ignore[arg-type]


@model("answers", target_layer="relu2", pretrained=_own)
def answers(
    classes: int, size: int, *, form: str = "plain", numbers: int = 4, says: str = ""
) -> nn.Module:
    """A network with weights that returns its logits in a form."""
    return Net(FORMS[form], numbers)
