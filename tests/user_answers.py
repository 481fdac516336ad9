"""What users' networks return: `ANSWERS` is the table, by which one network returns the same logits in many forms.

For images of 16x16 pixels and four classes; with `classes=1` there is one logit. Another form is another line.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CLASSES, SIZE = 4, 16


class Net(nn.Module):
    """Two convolutions and a head, with the same weights each time; returns its logits in some form."""

    def __init__(self, form: "Form", classes: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(2), nn.Linear(24, classes)
        nn.init.normal_(self.fc.weight, std=1.5)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        maps = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        return self.form(self.fc(self.pool(maps).flatten(1)), maps)


Form = Callable[
    [Tensor, Tensor], Any
]  # what is made of the logits [B,K] and the last maps [B,6,16,16]


class Outputs(NamedTuple):
    """As torchvision's GoogLeNet returns them in train mode."""

    logits: Tensor
    aux_logits2: Tensor | None
    aux_logits1: Tensor | None


@dataclass
class Answer:
    loss: Tensor | None
    prediction: Tensor
    maps: Tensor


class ModelOutput(OrderedDict):
    """As Hugging Face's: a dict whose items are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


ANSWERS: dict[str, Form] = {
    "plain": lambda logits, maps: logits,
    "dict": lambda logits, maps: {"out": logits, "aux": logits.flip(1)},
    "tuple": lambda logits, maps: (logits, maps),
    "tuple of two rows": lambda logits, maps: (maps.mean((2, 3)), logits),
    "nested": lambda logits, maps: [
        {"loss": maps.mean(), "scores": {"logits": logits, "other": -logits}}
    ],
    "named tuple": lambda logits, maps: Outputs(logits, -logits, None),
    "dataclass": lambda logits, maps: Answer(None, logits, maps),
    "Hugging Face": lambda logits, maps: ModelOutput(
        loss=maps.sum(), logits=logits, hidden_states=(maps,)
    ),
    "1x1 maps": lambda logits, maps: logits[:, :, None, None],
    "dict of 1x1 maps": lambda logits, maps: {"logits": logits[:, :, None, None]},
}
REFUSED: dict[str, tuple[Form, str]] = {
    "two alike": (
        lambda logits, maps: (logits, -logits),
        "returns several answers [B,classes] for 2 images, and none is called logits: [0] [2, 4], [1] [2, 4]",
    ),
    "segmentation": (
        lambda logits, maps: {"out": maps},
        "returns maps, ['out'] [2, 6, 16, 16] for 2 images, as for segmentation",
    ),
    "plain segmentation": (lambda logits, maps: maps, "as for segmentation"),
    "no tensor": (lambda logits, maps: {"loss": None}, "returns a dict with no tensor"),
}
# What the answers are, and how they are made of logits; each is what is found where nobody says it.
FOUND: dict[str, Form] = {
    "softmax": lambda logits, maps: logits,
    "log-softmax": lambda logits, maps: logits.log_softmax(1),
    "probabilities": lambda logits, maps: logits.softmax(1),
    "sigmoid-probabilities": lambda logits, maps: logits.sigmoid(),
}
ONE_NUMBER: dict[str, Form] = {
    "[B,1]": lambda logits, maps: logits,
    "[B]": lambda logits, maps: logits[:, 0],
    "squeezed": lambda logits, maps: logits.squeeze(),  # a number for one image
    "in a dict": lambda logits, maps: {"logit": logits},
}
