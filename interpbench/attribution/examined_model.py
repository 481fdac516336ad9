"""A model, examined before a method sees it.

What would make methods go wrong on it is mended, or reported.
"""

from collections.abc import Mapping

from torch import Tensor

from interpbench.attribution.account import Account
from interpbench.attribution.attribute import Attempt, Batch, attribute
from interpbench.core.model_guard import Guard
from interpbench.core.stand_ins import StandIns
from interpbench.core.types import Model
from interpbench.diagnosis.examination import Finding
from interpbench.diagnosis.repair import Repair, mended_for_a_run
from interpbench.registry.plugin import Configured


class ExaminedModel:
    """A model on its device, and who watches over it.

    Attributes:
        model: as methods get it; a repaired copy where the one given could not be used as it is.
        guard: watches over it.
        stand_ins: who answers for it as long as a method only calls it; None for nobody.
        in_float32: such ones in float32, where those are of a lower precision.
        findings: what is wrong with it.
        repairs: what was mended.
    """

    def __init__(self, model: Model) -> None:
        """The model as it is, not looked at yet."""
        self.model = model
        self.guard = Guard(model)
        self.stand_ins: StandIns | None = None
        self.in_float32: StandIns | None = None
        self.findings: tuple[Finding, ...] = ()
        self.repairs: tuple[Repair, ...] = ()

    @classmethod
    def of(cls, model: Model, x: Tensor, seed: int) -> "ExaminedModel":
        """The model after an examination, see `diagnosis.repair.mended_for_a_run`.

        Parameters:
            model: on its device.
            x: float32 [B,C,S,S], images of which two are used.
            seed: of chance during the examination.
        """
        examined = cls(model)
        mended, diagnosis, repairs = mended_for_a_run(model, x, seed, examined.guard)
        if mended is not model:
            model.to("cpu")  # the copy needs the room
            examined = cls(mended)
        examined.findings, examined.repairs = diagnosis.findings, tuple(repairs)
        return examined

    def explain(
        self, batch: Batch, account: Account, seed: int, *, in_float32: bool = False
    ) -> Attempt:
        """Asks a method for the maps of a batch, and takes down in its account what came of it.

        Parameters:
            batch: the images.
            account: of the method.
            seed: of the run.
            in_float32: whether nobody answers in a lower precision.
        """
        attempt = attribute(
            account.method,
            self.model,
            self.guard,
            batch,
            seed,
            account.batch_size,
            self.in_float32 if in_float32 else self.stand_ins,
        )
        account.note(attempt)
        return attempt

    def notices(self, methods: Mapping[str, Configured]) -> list[str]:
        """Which of some methods (label -> method) cannot be trusted on the model, and why."""
        notices = []
        for finding in self.findings:
            labels = [label for label, method in methods.items() if finding.concerns(method)]
            if labels:
                where = f"{', '.join(finding.where[:3])}: " if finding.where else ""
                notices.append(
                    f"{where}{finding.what}, which rules out {', '.join(labels)}. {finding.advice}"
                )
        return notices
