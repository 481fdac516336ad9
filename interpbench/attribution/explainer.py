"""A model on its device that classifies and explains whatever images it is given."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.attribute import attribute
from interpbench.attribution.model_and_methods import Subject
from interpbench.core.batch_size import BatchSize
from interpbench.core.devices import describe, exact_arithmetic
from interpbench.core.errors import InterpBenchError, MethodError, PluginError
from interpbench.core.model_guard import Guard
from interpbench.core.types import normalise
from interpbench.diagnosis.examination import Finding
from interpbench.diagnosis.repair import sound
from interpbench.files.versions import versions
from interpbench.registry.plugin import Configured, blaming


@dataclass
class Asked:
    """A method, and how it fared.

    Attributes:
        method: with its parameters.
        batch_size: images a forward pass; halved on out-of-memory.
        images, constant, nonfinite: how many maps it was asked for, and how many of them are no answer.
        left_behind: what it left on the model, which was undone.
        error: why it broke down; it is then not asked again.
    """

    method: Configured
    batch_size: BatchSize
    images: int = 0
    constant: int = 0
    nonfinite: int = 0
    left_behind: dict[str, None] = field(default_factory=dict)
    error: str = ""

    @property
    def failure(self) -> str:
        """What went wrong, or nothing."""
        if self.error or not self.nonfinite:
            return self.error
        return f"gave NaN or infinite maps for {self.nonfinite} of {self.images} images"


class Explainer:
    """A model on its device that classifies and explains whatever images it is given.

    Attributes:
        subject: the model with its classes, and the methods.
        model: the model, on the device.
        device: where it is.
        seed: chance comes from it and from the ids of the images.
        asked: label -> the method and how it fared.
        findings: what the first images show to be wrong with the model, once it has seen them.
    """

    def __init__(self, subject: Subject, device: torch.device, seed: int) -> None:
        self.subject = subject
        self.model = subject.model.to(device)
        self.asked = {
            label: Asked(method, BatchSize(self.model.batch_size)) for label, method in subject.methods.items()
        }
        self.device = device
        self.seed = seed
        self.findings: tuple[Finding, ...] | None = None
        self._guard = Guard(self.model)
        self._batch_size = BatchSize(self.model.batch_size)

    @property
    def failures(self) -> dict[str, str]:
        """label -> why, of the methods that failed."""
        return {label: asked.failure for label, asked in self.asked.items() if asked.failure}

    @property
    def notices(self) -> list[str]:
        """What the user should know: which methods cannot be trusted on the model, and why."""
        notices = list(self.subject.notices)
        for finding in self.findings or ():
            methods = [label for label, asked in self.asked.items() if finding.concerns(asked.method)]
            if methods:
                notices.append(f"{finding.what}, which rules out {', '.join(methods)}. {finding.advice}")
        return notices

    def probabilities(self, images: Tensor) -> Tensor:
        """The softmax of the model's logits, float32 [N,classes] on the CPU, for images uint8 [N,size,size,3].

        Raises:
            PluginError: if the model fails, or its logits are not finite.
        """

        def work(count: int) -> Tensor:
            parts = [self.model(self._x(part)).float().softmax(1).cpu() for part in images.split(count)]
            return torch.cat(parts)

        with exact_arithmetic(), blaming(self.subject.choice):
            if self.findings is None:
                self._examine(images[:2])
            with torch.inference_mode():
                probabilities = self._batch_size.attempt(work)
        if not bool(probabilities.isfinite().all()):
            raise PluginError(
                f"The logits of model {self.subject.choice.label!r} are not all finite: mend its weights."
            )
        return probabilities.clone()  # a tensor of inference mode could not be used elsewhere

    def maps(self, label: str, images: Tensor, target: Tensor, ids: Sequence[str]) -> np.ndarray | None:
        """The method's maps, made as in a run: guarded and seeded.

        Args:
            label: of the method.
            images: uint8 [N,size,size,3].
            target: int64 [N], logits.
            ids: of the images; chance is seeded by them.

        Returns:
            float32 [N,size,size], or None if the method fails, or has failed before: see `failures`.
        """
        asked = self.asked[label]
        if asked.error or not len(images):
            return None
        try:
            with exact_arithmetic():
                maps = attribute(
                    asked.method, self.model, self._guard, self._x(images), target.to(self.device), ids=ids,
                    seed=self.seed, batch_size=asked.batch_size, left_behind=asked.left_behind,
                )  # fmt: skip
            if changed := self._guard.changed_weights():
                raise MethodError(f"changed the model's weights behind its back ({changed[0]}); they are restored.")
        except InterpBenchError as error:
            asked.error = str(error)
        except (Exception, SystemExit) as error:  # a plugin may call sys.exit; it fails alone all the same
            asked.error = f"{type(error).__name__}: {error}"
        if asked.error:
            self._guard.changed_weights()
            return None
        asked.images += len(images)
        asked.constant += int(maps.constant.sum())
        asked.nonfinite += int(maps.nonfinite.sum())
        found: np.ndarray = maps.saliency.cpu().numpy()
        return found

    def _examine(self, images: Tensor) -> None:
        """Looks for what makes methods go wrong; from here on the model may be a repaired copy, as in a run."""
        mended, diagnosis, _ = sound(self.model, self._x(images), self.seed, self._guard)
        self.findings = diagnosis.findings
        if mended is not self.model:
            self.model, self._guard = mended, Guard(mended)

    def _x(self, images: Tensor) -> Tensor:
        return normalise(images.to(self.device), self.model.card)


def provenance(explainer: Explainer) -> dict[str, Any]:
    """What a record says of how maps are made: model, weights' hash, methods with parameters, seed, versions."""
    card = explainer.model.card.as_dict()
    return {
        "command": sys.argv,
        "seed": explainer.seed,
        "device": describe(explainer.device),
        "versions": versions(),
        "model": {key: value for key, value in card.items() if key != "logit_of_label"},
        "methods": {
            label: {"parameters": dict(choice.values), "source_hash": choice.plugin.source_hash}
            for label, choice in explainer.subject.methods.items()
        },
    }


def outcome(explainer: Explainer) -> dict[str, Any]:
    """What a record says of how the methods fared."""
    asked = explainer.asked
    return {
        "notices": explainer.notices,
        "findings": [finding.as_dict() for finding in explainer.findings or ()],
        "failures": explainer.failures,
        "constant_maps": {label: method.constant for label, method in asked.items() if method.constant},
        "left_behind": {label: list(method.left_behind) for label, method in asked.items() if method.left_behind},
    }
