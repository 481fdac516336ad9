"""The settings that a ranking is made under, each unlike a metric's own in one thing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpbench.core.errors import ParameterError, unknown_name
from interpbench.files.toml_settings import Settings, load
from interpbench.registry.choosing import choose_plugins
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry

BASE = ""  # the factor of a metric's own setting
TARGET, SEED, IMAGES = "target", "seed", "images"  # factors that need other maps, or images
HALVES = (1, 2)


class Alternatives(Settings):
    """The values that settings are made of.

    Attributes:
        metrics: where nobody names others.
        parameters: name of a metric's parameter -> values.
    """

    metrics: tuple[str, ...]
    parameters: dict[str, tuple[Any, ...]]

    @property
    def factors(self) -> tuple[str, ...]:
        """All that can be chosen otherwise."""
        return (*self.parameters, TARGET, SEED, IMAGES)


@dataclass(frozen=True)
class Setting:
    """One way to score the methods.

    Attributes:
        name: `deletion`, `deletion baseline=blur`, `deletion seed`.
        base: the name of the setting that it differs from in one thing; its own, if in none.
        factor: what it differs in; BASE if in nothing.
        metric: the metric's label in the run.
        run: which run its scores are in: BASE, TARGET or SEED.
        half: 1 or 2, of the run's images; None for all.
    """

    name: str
    base: str
    factor: str
    metric: str
    run: str = BASE
    half: int | None = None


def alternatives() -> Alternatives:
    """The bundled ones."""
    folder = Path(__file__).parent
    return load(Alternatives, "settings", "settings", folder, ParameterError)


def settings_of(
    registry: Registry,
    texts: Sequence[str],
    factors: Collection[str] | None,
    known: Alternatives,
) -> tuple[list[Setting], dict[str, list[str]]]:
    """The settings of metrics, and for each run the labels of the metrics that it has to score.

    Parameters:
        registry: knows the metrics.
        texts: metrics as on the command line.
        factors: what is chosen otherwise; None for all.
        known: the values.

    Raises:
        UnknownNameError: for a metric or factor that there is none of.
        ParameterError: for a metric's wrong value, or if nothing is left to be chosen otherwise.
    """
    wanted = known.factors if factors is None else tuple(factors)
    for factor in wanted:
        if factor not in known.factors:
            raise unknown_name("what could be chosen otherwise:", factor, known.factors)
    settings: list[Setting] = []
    for choice in choose_plugins(registry, "metric", texts).plugins.values():
        settings += _of_metric(choice, wanted, known.parameters)
    if all(setting.factor == BASE for setting in settings):
        raise ParameterError(
            f"Nothing is chosen otherwise: {', '.join(texts)} has none of the parameters "
            f"{', '.join(wanted)}. Vary something else: {', '.join(known.factors)}."
        )
    runs: dict[str, list[str]] = {}
    for setting in settings:
        labels = runs.setdefault(setting.run, [])
        if setting.metric not in labels:
            labels.append(setting.metric)
    return settings, runs


def _of_metric(
    choice: Configured, factors: Collection[str], values: Mapping[str, Sequence[Any]]
) -> Iterator[Setting]:
    label = choice.label
    yield Setting(label, label, BASE, label)
    for factor in factors:
        if factor in (TARGET, SEED):
            yield Setting(f"{label} {factor}", label, factor, label, run=factor)
        elif factor == IMAGES:
            for half in HALVES:
                yield Setting(f"{label} images {half}/2", label, factor, label, half=half)
        elif factor in choice.values:
            for other in _others(choice, factor, values[factor]):
                name = f"{label} {factor}={other.values[factor]}"
                yield Setting(name, label, factor, other.label)


def _others(choice: Configured, factor: str, values: Sequence[Any]) -> Iterator[Configured]:
    """A metric with those other values of a parameter that it takes."""
    for value in values:
        try:
            other = choice.plugin.configure({**choice.values, factor: value})
        except ParameterError:  # its parameter of this name has other values
            continue
        if other.values[factor] != choice.values[factor]:
            yield other
