"""A model on its device that classifies and explains whatever images it is given."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from interpbench.attribution.account import Account
from interpbench.attribution.attribute import Batch
from interpbench.attribution.examined_model import ExaminedModel
from interpbench.attribution.model_and_methods import ModelAndMethods, load_model_and_methods
from interpbench.core.batch_size import BatchSize
from interpbench.core.devices import Computing, exact_arithmetic
from interpbench.core.errors import MethodError, PluginError
from interpbench.core.types import DatasetCard, Model, normalise
from interpbench.registry.choosing import Sources
from interpbench.registry.plugin import blaming
from interpbench.registry.registry import Registry


class Answers(NamedTuple):
    """What a model says of N images.

    Attributes:
        probabilities: float32 [N,classes], on the CPU.
        predicted: int64 [N], the greatest logits, which rounded probabilities may not tell apart.
    """

    probabilities: Tensor
    predicted: Tensor


class Explainer:
    """A model and methods, for images that come from anywhere.

    Attributes:
        explained: the model with its classes, and the methods.
        device: where the model is.
        seed: chance comes from it and from the ids of the images.
        accounts: label -> how the method fares.
        examined: the model; once it has seen images, after an examination.
    """

    def __init__(self, explained: ModelAndMethods, device: torch.device, seed: int) -> None:
        self.explained = explained
        self.device = device
        self.seed = seed
        with blaming(explained.choice):
            self.examined = ExaminedModel(explained.model.to(device))
        size = self.model.batch_size
        self.accounts = {
            label: Account(method, BatchSize(size)) for label, method in explained.methods.items()
        }
        self._batch_size = BatchSize(size)
        self._is_examined = False

    @classmethod
    def load(
        cls,
        registry: Registry,
        model: str,
        methods: Sequence[str],
        data: DatasetCard | str | None,
        sources: Sources,
        computing: Computing,
        seed: int,
    ) -> "Explainer":
        """Of a model and methods as a user names them, see `load_model_and_methods`."""
        explained = load_model_and_methods(registry, model, methods, data, sources, computing, seed)
        return cls(explained, computing.device, seed)

    @property
    def model(self) -> Model:
        """As methods get it."""
        return self.examined.model

    @property
    def failures(self) -> dict[str, str]:
        """label -> why, of the methods that failed."""
        return {
            label: account.failure for label, account in self.accounts.items() if account.failure
        }

    @property
    def notices(self) -> list[str]:
        """What the user should know: which methods cannot be trusted on the model, and why."""
        preparation = self.model.card.preparation
        prepared = (
            f"Images become the input: {preparation.text}, as stated by {preparation.stated_by}."
        )
        found = self.examined.notices(self.explained.methods)
        return [prepared, *self.explained.notices, *found]

    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, as the model's outputs give it, float32 [N,classes] on the CPU.

        The images are uint8 [N,H,W,C].

        Raises:
            PluginError: if the model fails, or its logits are not finite.
        """
        return self.answers(images).probabilities

    def answers(self, images: Tensor) -> "Answers":
        """What the model says of images, uint8 [N,H,W,C].

        Raises:
            PluginError: if the model fails, or its logits are not finite.
        """
        if not self._is_examined:  # from here on the model may be a repaired copy, as in a run
            with exact_arithmetic(), blaming(self.explained.choice):
                x = self.normalised(images[:2])
                self.examined = ExaminedModel.of(self.model, x, self.seed)
            self._is_examined = True
        return self.answers_to(lambda count: map(self.normalised, images.split(count)))

    def answers_to(self, inputs: Callable[[int], Iterable[Tensor]]) -> "Answers":
        """What the model says of inputs that are made as they are needed.

        Parameters:
            inputs: gets how many a forward pass holds, and gives batches of so many, normalised,
                from the first one on each time that it is called.

        Raises:
            PluginError: if the model fails, or its logits are not finite.
        """

        def work(count: int) -> Tensor:
            return torch.cat([self.model(batch).float().cpu() for batch in inputs(count)])

        choice = self.explained.choice
        with exact_arithmetic(), blaming(choice), torch.inference_mode():
            logits = self._batch_size.attempt(work)
        if not bool(logits.isfinite().all()):
            raise PluginError(
                f"The logits of model {choice.label!r} are not all finite: mend its weights."
            )
        logits = logits.clone()  # a tensor of inference mode could not be used elsewhere
        return Answers(self.model.probabilities(logits), logits.argmax(1))

    def maps(
        self, label: str, images: Tensor, target: Tensor, ids: Sequence[str]
    ) -> np.ndarray | None:
        """The method's maps, made as in a run: guarded and seeded.

        Parameters:
            label: of the method.
            images: uint8 [N,H,W,C].
            target: int64 [N], logits.
            ids: of the images; chance is seeded by them.

        Returns:
            float32 [N,H,W], or None if the method fails, or has failed before: see
            `failures`.
        """
        account, guard = self.accounts[label], self.examined.guard
        if account.error or not len(images):
            return None
        batch = Batch(self.normalised(images), target.to(self.device), ids)
        with exact_arithmetic():
            attempt = self.examined.explain(batch, account, self.seed)
        changed = guard.changed_weights()
        if attempt.maps is None:
            return None
        if changed:
            account.fail(
                MethodError(
                    f"changed the model's weights behind its back ({changed[0]}); "
                    "they are restored."
                )
            )
            return None
        saliency: np.ndarray = attempt.maps.saliency.cpu().numpy()
        return saliency

    def normalised(self, images: Tensor) -> Tensor:
        """Images [N,H,W,C], uint8 or float32 in 0..1, as the model's input on its device."""
        return normalise(images.to(self.device), self.model.card.preparation)
