"""`list` and `show`: what plugins and suites there are."""

from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import Plugins, open_console, open_registry, plain
from interpbench.errors import unknown_name
from interpbench.plugin import KINDS, REQUIRED, Kind, Plugin
from interpbench.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console


def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="methods, models, datasets, metrics, suites.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """List what there is."""
    from rich.table import Table

    kinds = [f"{k}s" for k in KINDS]
    if kind is not None and kind.removesuffix("s") + "s" not in [*kinds, "suites"]:
        raise unknown_name("kind", kind, [*kinds, "suites"])
    wanted = [kind.removesuffix("s") + "s"] if kind else [*kinds, "suites"]
    registry = open_registry(plugin) if wanted != ["suites"] else Registry()
    console = open_console()
    for name in wanted:
        table = Table(title=name, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
        for item, what in _items(name, registry):
            table.add_row(plain(item), plain(what))
        console.print(table)
        console.print()


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin or suite.")],
    plugin: Plugins = None,
) -> None:
    """Show a plugin's documentation, parameters, reference and origin, or a suite's content."""
    from interpbench.suite import FOLDER, suite_names

    registry = open_registry(plugin)
    found = [registry.get(kind, name) for kind in KINDS if name in registry.names(kind)]
    suites = [name] if name in suite_names() else []
    if not found and not suites:
        raise unknown_name("name", name, [n for kind in KINDS for n in registry.names(kind)] + suite_names())
    console = open_console()
    for item in found:
        _show_plugin(item, console)
    for suite in suites:
        console.print(f"[bold]suite {suite}[/]\n")
        console.print(plain((FOLDER / f"{suite}.toml").read_text(encoding="utf-8")))


def _show_plugin(plugin: Plugin, console: "Console") -> None:
    from rich.table import Table

    console.print(plain(f"{plugin.kind} {plugin.name}"), style="bold")
    console.print()
    console.print(plain(plugin.doc or "(no documentation)"))
    console.print()
    if plugin.parameters:
        table = Table("parameter", "type", "default", box=None, pad_edge=False)
        for parameter in plugin.parameters:
            default = "required" if parameter.default is REQUIRED else str(parameter.default).lower()
            table.add_row(parameter.name, plain(parameter.type_name), plain(default))
        console.print(table)
        console.print()
    for what in ("reference", "licence", "origin"):
        if getattr(plugin, what):
            console.print(plain(f"{what}: {getattr(plugin, what)}"), soft_wrap=True)
    console.print()


def _items(name: str, registry: Registry) -> list[tuple[str, str]]:
    from interpbench.suite import load_suite, suite_names

    if name == "suites":
        return [(s, load_suite(s).description) for s in suite_names()]
    kind: Kind = next(k for k in KINDS if name == f"{k}s")
    return [(p.name, p.summary) for p in registry.plugins(kind)]
