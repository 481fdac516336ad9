"""`check`: whether methods keep what every method promises, and how to mend what they do not keep."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import Names, Plugins, open_console, open_registry, plain
from interpbench.core.errors import ParameterError, PluginError
from interpbench.registry.plugin import KINDS, Configured
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from interpbench.testing import Outcome

STATES = {"passed": ("passed", "green"), "failed": ("FAILED", "bold red"), "not applicable": ("-", "dim")}


def check(
    what: Annotated[str, typer.Argument(metavar="FILE", help="A plugin file or folder; or a method by its name.")],
    method: Annotated[
        Names, typer.Option(metavar="NAME", help="Only these methods of the file, e.g. mine:samples=5; repeatable.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Try the contracts of methods on three small models, and say how to mend what is broken.

    Exit code 0: all that apply are kept; 1: some are broken; 2: there is no such file or method.
    """
    methods = _chosen(what, method, plugin)
    from interpbench.testing import check_method

    console = open_console()
    broken = []
    for chosen in methods:
        with console.status(f"Checking {chosen.name}"):
            outcomes = check_method(chosen)
        _show(chosen, outcomes, console)
        broken += [chosen.label] * any(outcome.failed for outcome in outcomes)
    _show_verdict(methods, broken, console)
    raise typer.Exit(1 if broken else 0)


def _chosen(what: str, names: Names, plugins: list[Path] | None) -> list[Configured]:
    """The methods to try: of a file, or the one of that name.

    Raises:
        PluginError: if the file is not there or registers no method.
        ParameterError: for a wrong parameter, or --method without a file.
        UnknownNameError: if there is no method of that name.
    """
    if not what.strip(" ,"):
        raise ParameterError("There is nothing to check: give a plugin file, a folder of them, or a method's name.")
    if Path(what).suffix != ".py" and os.sep not in what and not Path(what).is_dir():
        if names:
            raise ParameterError(
                f"--method chooses among the methods of a file, and {what!r} is a name: leave it away."
            )
        registry, specs = open_registry(plugins), parse_specs([what])
        _refuse_name_of_file(specs[0][0], registry)
    else:
        registry = _of_file(Path(what), plugins)
        specs = parse_specs(names) if names else [(name, {}) for name in registry.names("method")]
    return [registry.configure("method", name, values) for name, values in specs]


def _refuse_name_of_file(name: str, registry: Registry) -> None:
    """A method that `new` has just written is known by its file alone."""
    file = Path(f"{name.replace('-', '_')}.py")
    if name not in registry.names("method") and file.is_file():
        raise PluginError(
            f"No method {name!r} is bundled or installed. To check the one in a file, write: check {file}"
        )


def _of_file(path: Path, plugins: list[Path] | None) -> Registry:
    """The plugins of a file or folder alone, once it is certain that they can stand beside all others."""
    from interpbench.registry.discovery import load_path

    if not path.exists():
        raise PluginError(f"There is no {path}. Give a plugin file, a folder of them, or the name of a method.")
    open_registry([*(plugins or ()), path])
    own = Registry()
    load_path(path, own)
    if not own.names("method"):
        others = [f"{kind} {name!r}" for kind in KINDS for name in own.names(kind)]
        raise PluginError(f"{path} registers no method, only {', '.join(others)}; `check` tries methods alone.")
    return own


def _show(method: Configured, outcomes: "list[Outcome]", console: "Console") -> None:
    console.print(plain(f"method {method.label} ({method.plugin.origin})"), style="bold", soft_wrap=True)
    console.print(_table(outcomes))
    for (contract, remedy), alike in _grouped(outcomes, "failed", lambda o: (o.contract, o.remedy)).items():
        console.print(f"\n{contract} FAILED", style="bold red")
        for (what,), places in _grouped(alike, "failed", lambda o: (o.what,)).items():
            models = _models(places)
            console.print(plain(f"  {models}: {what}" if models else f"  {what}"), soft_wrap=True)
        console.print(plain(f"  To mend it: {remedy}"), soft_wrap=True)
    for (reason,), places in _grouped(outcomes, "not applicable", lambda o: (o.what,)).items():
        contracts = {outcome.contract for outcome in places}
        where = contracts.pop() if len(contracts) == 1 else _models(places)
        console.print(plain(f"\nNot applicable ({where}): {reason}"), style="dim", soft_wrap=True)
    console.print()


def _table(outcomes: "list[Outcome]") -> "Table":
    """A row for each contract, a column for each model; what concerns the method alone stands in all of them."""
    from rich.table import Table

    from interpbench.testing import CONTRACTS

    models = list(dict.fromkeys(outcome.model for outcome in outcomes if outcome.model))
    table = Table("contract", *models, "promise", box=None, pad_edge=False)
    states = {(outcome.contract, outcome.model): outcome.state for outcome in outcomes}
    for contract in CONTRACTS:
        found = [states.get((contract.name, model)) or states[contract.name, ""] for model in models]
        words = [f"[{style}]{word}" for word, style in (STATES[state] for state in found)]
        table.add_row(contract.name, *words, plain(contract.promise))
    return table


def _grouped(
    outcomes: "list[Outcome]", state: str, key: "Callable[[Outcome], tuple[str, ...]]"
) -> "dict[tuple[str, ...], list[Outcome]]":
    """The outcomes in that state, those of one key together."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.state == state:
            groups.setdefault(key(outcome), []).append(outcome)
    return groups


def _models(outcomes: "list[Outcome]") -> str:
    """The models that outcomes are about."""
    return ", ".join(dict.fromkeys(outcome.model for outcome in outcomes if outcome.model))


def _show_verdict(methods: list[Configured], broken: list[str], console: "Console") -> None:
    from torch import cuda

    if not cuda.is_available():
        console.print("There is no CUDA device here: `device` was tried on the CPU alone.", style="dim")
    if broken:
        verdict = f"Contracts are broken by {len(broken)} of {len(methods)}: {', '.join(broken)}."
        console.print(plain(verdict), soft_wrap=True)
    else:
        console.print("All contracts that apply are kept.")
