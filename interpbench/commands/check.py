"""`check`: whether plugins keep what all of their kind promise, and how to mend them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import (
    Names,
    Plugins,
    Quiet,
    interruptible,
    open_console,
    plain,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from rich.table import Table

    from interpbench.testing import CheckedPlugin, Outcome

STATES = {
    "passed": ("passed", "green"),
    "failed": ("FAILED", "bold red"),
    "not applicable": ("-", "dim"),
}


def check(
    what: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A plugin file or folder; or a plugin's name."),
    ],
    method: Annotated[
        Names,
        typer.Option(
            metavar="NAME", help="Only these methods of the file, e.g. mine:samples=5; repeatable."
        ),
    ] = None,
    metric: Annotated[
        Names, typer.Option(metavar="NAME", help="Only these metrics of the file; repeatable.")
    ] = None,
    model: Annotated[
        Names, typer.Option(metavar="NAME", help="Only these models of the file; repeatable.")
    ] = None,
    dataset: Annotated[
        Names,
        typer.Option(
            metavar="NAME", help="Only these data sets of the file, e.g. mine:root=DIR; repeatable."
        ),
    ] = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
) -> None:
    """Try what methods, metrics, models and data sets promise, and say how to mend what is
    broken.

    Exit code 0: all that apply are kept; 1: some are broken; 2: there is no such file or plugin.
    """
    from interpbench import api

    with interruptible(), progress_bar(quiet) as progress:
        checked = api.check(
            what,
            method=method,
            metric=metric,
            model=model,
            dataset=dataset,
            plugin=plugin,
            progress=progress,
        )
    for each in checked:
        _show(each)
    broken = [each.label for each in checked if each.broken]
    if any(each.kind == "method" for each in checked):
        _say_what_was_not_tried()
    _show_verdict(broken, len(checked))
    raise typer.Exit(1 if broken else 0)


def _show(checked: "CheckedPlugin") -> None:
    console, outcomes = open_console(), checked.outcomes
    title = f"{checked.kind} {checked.label} ({checked.origin})"
    console.print(plain(title), style="bold", soft_wrap=True)
    console.print(_table(checked))
    for (contract, remedy), alike in _grouped(
        outcomes, "failed", lambda o: (o.contract, o.remedy)
    ).items():
        console.print(f"\n{contract} FAILED", style="bold red")
        for (what,), places in _grouped(alike, "failed", lambda o: (o.what,)).items():
            models = _models(places)
            say(f"  {models}: {what}" if models else f"  {what}")
        say(f"  To mend it: {remedy}")
    for (reason,), places in _grouped(outcomes, "not applicable", lambda o: (o.what,)).items():
        contracts = {outcome.contract for outcome in places}
        where = contracts.pop() if len(contracts) == 1 else _models(places)
        console.print(plain(f"\nNot applicable ({where}): {reason}"), style="dim", soft_wrap=True)
    console.print()


def _table(checked: "CheckedPlugin") -> "Table":
    """A row for each contract, a column for each model or size, or one for a data set's samples.

    What concerns the plugin alone stands in all columns.
    """
    from rich.table import Table

    from interpbench.testing import CONTRACTS_OF

    outcomes, contracts = checked.outcomes, CONTRACTS_OF[checked.kind]
    models = list(dict.fromkeys(outcome.model for outcome in outcomes if outcome.model))
    table = Table("contract", *models, "promise", box=None, pad_edge=False)
    states = {(outcome.contract, outcome.model): outcome.state for outcome in outcomes}
    for contract in contracts:
        outcome_states = [
            states.get((contract.name, model)) or states[contract.name, ""] for model in models
        ]
        words = [f"[{style}]{word}" for word, style in (STATES[state] for state in outcome_states)]
        table.add_row(contract.name, *words, plain(contract.promise))
    return table


def _grouped(
    outcomes: "Sequence[Outcome]", state: str, key: "Callable[[Outcome], tuple[str, ...]]"
) -> "dict[tuple[str, ...], list[Outcome]]":
    """The outcomes in that state, those of one key together."""
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.state == state:
            groups.setdefault(key(outcome), []).append(outcome)
    return groups


def _models(outcomes: "Sequence[Outcome]") -> str:
    """The models that outcomes are about."""
    return ", ".join(dict.fromkeys(outcome.model for outcome in outcomes if outcome.model))


def _say_what_was_not_tried() -> None:
    from torch import cuda

    if not cuda.is_available():
        open_console().print(
            "There is no CUDA device here: `device` was tried on the CPU alone.", style="dim"
        )


def _show_verdict(broken: Sequence[str], tried: int) -> None:
    if broken:
        say(f"Contracts are broken by {len(broken)} of {tried}: {', '.join(broken)}.")
    else:
        say("All contracts that apply are kept.")
