"""What makes two scores comparable: a canonical text and its hash, in every row of scores.

"Deletion AUC" is not one metric: baseline, step, order, ties, end points and output differ between
papers, and the scores with them. Tables refuse to mix protocols whose hashes differ.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from interpbench.registry.plugin import Configured

Target = Literal["predicted", "label"]

MAP_RULES = {
    "ties": "one seeded random permutation per image, the same for every method",
    "resize": "bilinear, align_corners=False, to the image's size",
}
CURVE_RULES = {
    **MAP_RULES,
    "features": "pixel positions, all channels together",
    "order": "most salient first",
    "end points": "both, steps + 1 values",
    "auc": "(sum - first/2 - last/2) / steps",
}
SIGN = "negatives last"
SIGNS = {"signed": "as they are", "absolute": "by magnitude", "positive": "negatives as none"}


@dataclass(frozen=True)
class Protocol:
    """The definition of one score."""

    text: str

    @property
    def hash(self) -> str:
        """The first 12 hexadecimal digits of the text's sha256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


def sign_of(text: str) -> str:
    """How a protocol takes the negative values of maps, in words; "" of one that is not known.

    By its parameter `sign`. One without takes maps as they are; along a path, as RISE's, negative
    values count as small, and come last.

    Parameters:
        text: of the protocol.
    """
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    sign = fields.get("parameter sign", "signed")
    if sign == "signed" and "order" in fields:
        return "negatives first" if fields.get("parameter first") == "least" else SIGN
    return SIGNS.get(sign, sign) if text else ""


def protocol_of(metric: Configured, target: Target) -> Protocol:
    """The protocol of a metric with its parameters: one `field: value` a line, sorted."""
    fields = dict(CURVE_RULES if metric.plugin.curve else MAP_RULES)
    fields["metric"] = metric.name
    fields["target"] = {
        "predicted": "the class predicted for the untouched image",
        "label": "the true class",
    }[target]
    for name, value in metric.values.items():
        fields[f"parameter {name}"] = str(value)
    if metric.plugin.curve and metric.values.get("first") == "least":
        fields["order"] = "least salient first"
    if metric.plugin.curve and "steps" in metric.values and metric.values["steps"] is None:
        fields["parameter steps"] = "image width in positions a step"
    return Protocol("\n".join(f"{name}: {value}" for name, value in sorted(fields.items())) + "\n")
