"""What every method, metric, model and data set promises: contracts that an author can try.

Those of methods and metrics are tried on three small models that are unlike each other. A method
that refuses a model by a MethodError does not apply there; it has to apply to one of them. Models
are built at two sizes, or at their own; of data sets some samples are looked at.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from interpbench.core.types import Model
from interpbench.registry.plugin import (
    Configured,
    DatasetPlugin,
    Kind,
    MethodPlugin,
    MetricPlugin,
    ModelPlugin,
)
from interpbench.testing import checks, dataset_checks, metric_checks, model_checks
from interpbench.testing.case import Case, NotApplicable
from interpbench.testing.checks import Fault
from interpbench.testing.dataset_case import DatasetCase
from interpbench.testing.metric_case import MetricCase
from interpbench.testing.model_case import cases_of
from interpbench.testing.models import MODELS

if TYPE_CHECKING:
    from interpbench.testing.checks import AnyCase


@dataclass(frozen=True)
class Outcome:
    """How a contract came out.

    Attributes:
        plugin: its name and parameters.
        contract: its name.
        model: on what it was tried: the small model's name, the size of a model, `samples` of a
            data set; empty for what concerns the plugin alone.
        state: passed, failed or not applicable.
        what: what was wrong, or why the contract does not apply.
        remedy: how to mend it.
    """

    plugin: str
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
        return f"{self.plugin}: {self.contract}{where} {self.state}. {self.what}{advice}".rstrip()


@dataclass(frozen=True)
class Contract:
    """One promise of a plugin.

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

    def outcomes(self, cases: "Sequence[AnyCase]") -> list[Outcome]:
        """How it comes out on each model, or for the plugin as a whole."""
        if self.together:
            return [self._outcome(cases[0].choice.label, "", cases)]
        return [self._outcome(case.choice.label, case.name, case) for case in cases]

    def _outcome(self, plugin: str, model: str, subject: object) -> Outcome:
        try:
            fault = self.check(subject)
        except NotApplicable as reason:
            return Outcome(plugin, self.name, model, "not applicable", str(reason))
        if fault is None:
            return Outcome(plugin, self.name, model, "passed")
        return Outcome(plugin, self.name, model, "failed", *fault)


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

METRIC_CONTRACTS = (
    Contract("documentation", checks.documentation, together=True),
    Contract("parameters", checks.parameters, together=True),
    Contract("runs", metric_checks.runs),
    Contract("range", metric_checks.within_range),
    Contract("inputs", metric_checks.inputs),
    Contract("clean model", metric_checks.clean_model),
    Contract("determinism", metric_checks.determinism),
    Contract("neighbours", metric_checks.neighbours),
    Contract("batch", metric_checks.batches),
    Contract("order", metric_checks.order_of_methods),
    Contract("looks", metric_checks.looks, together=True),
)

MODEL_CONTRACTS = (
    Contract("documentation", checks.documentation, together=True),
    Contract("parameters", checks.parameters, together=True),
    Contract("builds", model_checks.builds),
    Contract("logits", model_checks.logits),
    Contract("inputs", model_checks.inputs),
    Contract("determinism", model_checks.determinism),
    Contract("neighbours", model_checks.neighbours),
    Contract("gradients", model_checks.gradients),
    Contract("seeds", model_checks.seeds),
    Contract("weights", model_checks.weights),
    Contract("copies", model_checks.copies),
    Contract("target layer", model_checks.target_layer),
    Contract("preparation", model_checks.preparation, together=True),
)

DATASET_CONTRACTS = (
    Contract("documentation", checks.documentation, together=True),
    Contract("parameters", checks.parameters, together=True),
    Contract("opens", dataset_checks.opens),
    Contract("length", dataset_checks.length),
    Contract("ids", dataset_checks.ids),
    Contract("labels", dataset_checks.labels),
    Contract("images", dataset_checks.images),
    Contract("masks", dataset_checks.masks),
    Contract("again", dataset_checks.again),
    Contract("own images", dataset_checks.own_images),
    Contract("threads", dataset_checks.threads),
    Contract("card", dataset_checks.colours),
    Contract("missing data", dataset_checks.missing, together=True),
)

CONTRACTS_OF: dict[Kind, tuple[Contract, ...]] = {
    "method": CONTRACTS,
    "metric": METRIC_CONTRACTS,
    "model": MODEL_CONTRACTS,
    "dataset": DATASET_CONTRACTS,
}


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


def check_metric(
    metric: Configured | MetricPlugin,
    contracts: Iterable[Contract] = METRIC_CONTRACTS,
    models: Mapping[str, Callable[[], Model]] = MODELS,
) -> list[Outcome]:
    """Tries a metric's contracts, on maps that are gradient x input.

    Parameters:
        metric: a plugin, or one with parameters, as `load_metric` gives it.
        contracts: those to try.
        models: name -> what builds the model, the same each time.

    Returns:
        an outcome for each contract and model, in the order of the contracts.

    Raises:
        ParameterError: if the plugin has a parameter without a default: give it a value.
    """
    configured = metric.configure() if isinstance(metric, MetricPlugin) else metric
    cases = [MetricCase(configured, name, build) for name, build in models.items()]
    return [outcome for contract in contracts for outcome in contract.outcomes(cases)]


def check_model(
    model: Configured | ModelPlugin, contracts: Iterable[Contract] = MODEL_CONTRACTS
) -> list[Outcome]:
    """Tries a model's contracts, on noise: at 64 and 96 pixels, or, with weights, at its own size.

    Parameters:
        model: a plugin, or one with parameters, as `load_plugin("model", ...)` gives it.
        contracts: those to try.

    Returns:
        an outcome for each contract and size, in the order of the contracts.

    Raises:
        ParameterError: if the plugin has a parameter without a default: give it a value.
    """
    cases = cases_of(model.configure() if isinstance(model, ModelPlugin) else model)
    return [outcome for contract in contracts for outcome in contract.outcomes(cases)]


def check_dataset(
    dataset: Configured | DatasetPlugin, contracts: Iterable[Contract] = DATASET_CONTRACTS
) -> list[Outcome]:
    """Tries a data set's contracts, on some of its samples.

    Parameters:
        dataset: a plugin, or one with parameters, as `load_plugin("dataset", ...)` gives it.
        contracts: those to try.

    Returns:
        an outcome for each contract, in their order.

    Raises:
        ParameterError: if the plugin has a parameter without a default: give it a value.
    """
    case = DatasetCase(dataset.configure() if isinstance(dataset, DatasetPlugin) else dataset)
    return [outcome for contract in contracts for outcome in contract.outcomes([case])]
