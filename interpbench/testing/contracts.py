"""What every method promises: contracts that an author can try.

Each is tried on three small models that are unlike each other. A method that refuses a model by a
MethodError does not apply there; it has to apply to one of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from interpbench.core.types import Model
from interpbench.registry.plugin import Configured, MethodPlugin
from interpbench.testing import checks
from interpbench.testing.case import Case, NotApplicable
from interpbench.testing.checks import Fault
from interpbench.testing.models import MODELS


@dataclass(frozen=True)
class Outcome:
    """How a contract came out.

    Attributes:
        method: its name and parameters.
        contract: its name.
        model: the small model's name; empty for what concerns the method alone.
        state: passed, failed or not applicable.
        what: what was wrong, or why the contract does not apply.
        remedy: how to mend it.
    """

    method: str
    contract: str
    model: str
    state: Literal["passed", "failed", "not applicable"]
    what: str = ""
    remedy: str = ""

    @property
    def failed(self) -> bool:
        """Whether the promise is broken."""
        return self.state == "failed"

    def __str__(self) -> str:
        where = f" on {self.model}" if self.model else ""
        advice = f" To mend it: {self.remedy}" if self.remedy else ""
        return f"{self.method}: {self.contract}{where} {self.state}. {self.what}{advice}".rstrip()


@dataclass(frozen=True)
class Contract:
    """One promise of a method.

    Attributes:
        name: as it stands in tables.
        check: gives what is wrong, or None; raises NotApplicable. Looks at one case, or at all of
            them together.
        together: whether it looks at all cases together.
    """

    name: str
    check: Callable[..., Fault | None]
    together: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def promise(self) -> str:
        """What is promised, in a sentence."""
        paragraph = (self.check.__doc__ or "").partition("\n\n")[0]
        return " ".join(paragraph.split())

    def outcomes(self, cases: Sequence[Case]) -> list[Outcome]:
        """How it comes out on each model, or for the method as a whole."""
        if self.together:
            return [self._outcome(cases[0].method.label, "", cases)]
        return [self._outcome(case.method.label, case.name, case) for case in cases]

    def _outcome(self, method: str, model: str, subject: Case | Sequence[Case]) -> Outcome:
        try:
            fault = self.check(subject)
        except NotApplicable as reason:
            return Outcome(method, self.name, model, "not applicable", str(reason))
        if fault is None:
            return Outcome(method, self.name, model, "passed")
        return Outcome(method, self.name, model, "failed", *fault)


CONTRACTS = (
    Contract("documentation", checks.documentation, together=True),
    Contract("parameters", checks.parameters, together=True),
    Contract("applies", checks.applies, together=True),
    Contract("runs", checks.runs),
    Contract("shape", checks.shape),
    Contract("dtype", checks.dtype),
    Contract("device", checks.device),
    Contract("values", checks.values),
    Contract("inputs", checks.inputs),
    Contract("clean model", checks.clean_model),
    Contract("exceptions", checks.exceptions),
    Contract("determinism", checks.determinism),
    Contract("batch", checks.batches),
    Contract("target", checks.targets),
    Contract("memory", checks.memory),
    Contract("black box", checks.black_box),
)


def check_method(
    method: Configured | MethodPlugin,
    contracts: Iterable[Contract] = CONTRACTS,
    models: Mapping[str, Callable[[], Model]] = MODELS,
) -> list[Outcome]:
    """Tries a method's contracts.

    Parameters:
        method: a plugin, or one with parameters, as `load_method` gives it.
        contracts: those to try.
        models: name -> what builds the model, the same each time; others than the bundled ones for
            a method that is made for another kind of network.

    Returns:
        an outcome for each contract and model, in the order of the contracts.

    Raises:
        ParameterError: if the plugin has a parameter without a default: give it a value.
    """
    configured = method.configure() if isinstance(method, MethodPlugin) else method
    cases = [Case(configured, name, build) for name, build in models.items()]
    return [outcome for contract in contracts for outcome in contract.outcomes(cases)]
