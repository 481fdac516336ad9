"""Why a state dict does not fit a network, as far as names and shapes tell."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass

from torch import Tensor

SHOWN = 3  # names in a message
LATER = "num_batches_tracked"  # which torch 0.4 and older did not keep; no answer depends on it
# What a name tells of the network that the weights are of, if the names do not fit.
KINDS = {
    "adapters (LoRA), without the network that they adapt": r"lora_|adapter",
    "a detector": r"(^|\.)(rpn|roi_heads|bbox_head|anchor_generator|class_embed|box_\w+)\.",
    "a segmentation network": r"(^|\.)(decode_head|aux_classifier|seg_head|segmentation_head)\.",
    "a quantised network": r"_packed_params|zero_point$",
}
# Blocks a stage -> the networks that have them, plain and with bottlenecks.
RESNETS = {
    (2, 2, 2, 2): ("ResNet-18", "ResNet-26"),
    (3, 4, 6, 3): ("ResNet-34", "ResNet-50"),
    (3, 4, 23, 3): ("", "ResNet-101"),
    (3, 8, 36, 3): ("", "ResNet-152"),
}


@dataclass(frozen=True)
class Misfit:
    """How tensors and a network differ.

    Attributes:
        own, given: the network's tensors, and the file's by the network's names.
        in_file: the file's names as they stand there.
        missing, unexpected: names of one that the other has not.
        shapes: name -> the shape in the file and the network's, where they differ.
        types: names whose tensor in the file is of no real numbers, where the network's are floats.
    """

    own: Mapping[str, Tensor]
    given: Mapping[str, Tensor]
    in_file: list[str]
    missing: list[str]
    unexpected: list[str]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    types: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, own: Mapping[str, Tensor], given: Mapping[str, Tensor], in_file: list[str]
    ) -> "Misfit":
        """What differs; a counter of torch may be missing, see `LATER`."""
        missing = [name for name in own if name not in given and not name.endswith(LATER)]
        unexpected = [name for name in given if name not in own]
        pairs = {
            name: (tuple(given[name].shape), tuple(own[name].shape))
            for name in own
            if name in given
        }
        shapes = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        floats = [name for name in pairs if own[name].is_floating_point()]
        types = tuple(name for name in floats if not given[name].is_floating_point())
        return cls(own, given, in_file, missing, unexpected, shapes, types)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes or self.types)

    def message(self, source: str) -> str:
        """The cause, as far as it can be told, and what differs."""
        classes = self._classes()
        if classes:
            name, (given, wanted) = classes
            return (
                f"Weights {source} are for {given} classes, the data set has {wanted} "
                f"({name!r}). Use weights that were trained on this data set, or the data set of "
                "these weights. A folder of images that has some of their classes, or whose "
                'subfolders have other names, says so: imagefolder:root=DIR,classes="a,b,c", all '
                "of the model's classes in their order."
            )
        causes: list[Callable[[], str]] = [self._other_kind, self._strange, self._depth, self._part]
        cause = next(filter(None, (cause() for cause in [*causes, self._width])), "")
        found = "; ".join(self._differences())
        what = f"{cause} ({found})" if cause else found
        return (
            f"Weights {source} do not fit the model: {what}. "
            "Use the architecture, parameters and image size that they were trained with."
        )

    def _classes(self) -> tuple[str, tuple[int, int]] | None:
        """The head of another number of classes, if that is all that differs.

        Nothing takes in what a head gives, so only the first number of its shapes differs, in all
        of its tensors, and is the same for each of several heads.
        """
        if self.missing or self.unexpected or not self.shapes:
            return None
        layers = {_layer(name) for name in self.shapes}
        last = _layer(list(self.own)[-1])
        same = [name for name in self.own if _layer(name) in layers and name not in self.shapes]
        if layers != {last} and any(tensor.ndim for tensor in map(self.own.__getitem__, same)):
            return None
        pairs = {(given[:1], wanted[:1]) for given, wanted in self.shapes.values()}
        rest = all(
            given[1:] == wanted[1:] and given and wanted for given, wanted in self.shapes.values()
        )
        if len(pairs) > 1 or not rest:
            return None
        [((given,), (wanted,))] = pairs
        return next(iter(self.shapes)), (given, wanted)

    def _other_kind(self) -> str:
        for what, pattern in KINDS.items():
            in_file = any(re.search(pattern, name) for name in self.in_file)
            if in_file and not any(re.search(pattern, name) for name in self.own):
                return f"they are of {what}"
        return ""

    def _strange(self) -> str:
        if self.own.keys() & self.given.keys() or not self.given:
            return ""
        return (
            f"none of their names is the model's; they have {_quoted(list(self.given))}, "
            f"the model has {_quoted(list(self.own))}"
        )

    def _depth(self) -> str:
        if not self.unexpected and not self.missing:
            return ""
        name, own = _resnet(self.given), _resnet(self.own)
        if name and name != own:
            return f"they are of a {name}"
        if self.unexpected and not self.missing and not self.shapes:
            return "they are of a deeper network, or one with more parts"
        return ""

    def _part(self) -> str:
        if self.unexpected or self.shapes or not self.missing:
            return ""
        if not self.given:
            return "they hold no tensor"
        parents = dict.fromkeys(map(_layer, self.missing))
        if len(parents) == 1:
            return (
                f"they are of a network without the layer {next(iter(parents))!r}, such as its head"
            )
        return (
            f"they are a part, {len(self.given)} of {len(self.own)} tensors, or of a shallower one"
        )

    def _width(self) -> str:
        factors = Counter(
            a / b
            for given, wanted in self.shapes.values()
            for a, b in zip(given, wanted, strict=False)
            if a != b and b
        )
        if len(self.shapes) < 2 or len(factors) != 1:
            return ""
        return f"they are of another width, {next(iter(factors)):.3g} times the model's"

    def _differences(self) -> Iterator[str]:
        if self.missing:
            yield f"{self.missing[0]!r} is missing{_more(self.missing)}"
        if self.unexpected:
            yield f"{self.unexpected[0]!r} is not in the model{_more(self.unexpected)}"
        if self.shapes:
            name, (given, wanted) = next(iter(self.shapes.items()))
            yield f"{name!r} has shape {given}, the model's has {wanted}{_more(self.shapes)}"
        if self.types:
            kind = str(self.given[self.types[0]].dtype).removeprefix("torch.")
            yield f"{self.types[0]!r} holds {kind}, the model's floats{_more(self.types)}"


def _resnet(tensors: Mapping[str, Tensor]) -> str:
    """Which residual network of torchvision's names it is, if it is one."""
    found = [re.match(r"layer([1-4])\.(\d+)\.conv(\d)", name) for name in tensors]
    blocks = {(int(m[1]), int(m[2])) for m in found if m}
    stages = Counter(stage for stage, _ in blocks)
    plain, bottlenecks = RESNETS.get((stages[1], stages[2], stages[3], stages[4]), ("", ""))
    return bottlenecks if any(m and m[3] == "3" for m in found) else plain


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _more(names: Sized) -> str:
    count = len(names) - 1
    return f", and {count} more" if count else ""


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN]))
