"""`list` and `show`: what plugins, suites and recipes there are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import Plugins, open_console, open_registry, plain, say
from interpbench.core.errors import unknown_name
from interpbench.registry.plugin import (
    KINDS,
    REFERENCES,
    REQUIRED,
    Kind,
    MetricPlugin,
    ModelPlugin,
    Plugin,
    ReferencePlugin,
)
from interpbench.registry.registry import Registry

if TYPE_CHECKING:
    from rich.console import Console

PACKAGE = Path(__file__).parent.parent
SETTINGS = {
    "suites": PACKAGE / "suite" / "bundled",
    "protocols": PACKAGE / "registry" / "protocols",
    "recipes": PACKAGE / "training" / "recipes",
    "preparations": PACKAGE / "loading" / "preparations",
}


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="methods, models, datasets, metrics, suites, protocols, recipes, preparations.",
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """List what there is."""
    from rich.table import Table

    plugins = [f"{k}s" for k in KINDS]
    kinds = [*plugins, *SETTINGS]
    wanted = [kind.removesuffix("s") + "s"] if kind else kinds
    if wanted[0] not in kinds:
        raise unknown_name("kind", str(kind), kinds)
    registry = open_registry(plugin) if wanted[0] in plugins else Registry()
    console = open_console()
    for name in wanted:
        table = Table(
            title=name,
            title_justify="left",
            title_style="bold",
            box=None,
            show_header=False,
            pad_edge=False,
        )
        for item, what in _items(name, registry):
            table.add_row(plain(item), plain(what))
        console.print(table)
        console.print()


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin, suite or recipe.")],
    plugin: Plugins = None,
) -> None:
    """Show a plugin's documentation, parameters, reference and origin, or the content of a suite or
    recipe.
    """
    from interpbench.files import toml_settings as settings

    registry = open_registry(plugin)
    plugins = [registry.get(kind, name) for kind in KINDS if name in registry.names(kind)]
    files = [what for what, folder in SETTINGS.items() if name in settings.names(folder)]
    if not plugins and not files:
        names = [n for kind in KINDS for n in registry.names(kind)]
        raise unknown_name(
            "name", name, [*names, *(n for f in SETTINGS.values() for n in settings.names(f))]
        )
    console = open_console()
    references = [r for kind in REFERENCES for r in registry.plugins(kind)]
    for item in plugins:
        _show_plugin(item, console)
        _show_references([r for r in references if (r.of, r.ours) == (item.kind, name)])
    for what in files:
        console.print(f"[bold]{what.removesuffix('s')} {name}[/]\n")
        console.print(plain((SETTINGS[what] / f"{name}.toml").read_text(encoding="utf-8")))


def _show_plugin(plugin: Plugin, console: "Console") -> None:
    from rich.table import Table

    aspect = f" ({plugin.aspect})" if isinstance(plugin, MetricPlugin) else ""
    console.print(plain(f"{plugin.kind} {plugin.name}{aspect}"), style="bold")
    console.print()
    console.print(plain(plugin.doc or "(no documentation)"))
    console.print()
    if plugin.parameters:
        table = Table("parameter", "type", "default", box=None, pad_edge=False)
        for parameter in plugin.parameters:
            default = (
                "required" if parameter.default is REQUIRED else str(parameter.default).lower()
            )
            table.add_row(parameter.name, plain(parameter.type_name), plain(default))
        console.print(table)
        console.print()
    if isinstance(plugin, ModelPlugin):
        _show_preparations(plugin)
    for what in ("reference", "licence", "origin"):
        if getattr(plugin, what):
            say(f"{what}: {getattr(plugin, what)}")
    console.print()


def _show_preparations(plugin: ModelPlugin) -> None:
    """How images become the model's input, by the weights that come with it."""
    from interpbench.core.preparation import settle
    from interpbench.loading.chosen_weights import shipped_cards
    from interpbench.loading.pretrained import offered

    if plugin.required:
        return
    choice = plugin.configure()
    said = [(path.name, card.stated) for path, card in shipped_cards(choice)]
    offer = offered(choice)
    if offer is not None:
        said.append((offer.source, offer.stated))
    for name, stated in said:
        preparation = settle([stated])
        say(f"weights {name}: {preparation.text if preparation else 'no preparation stated'}")


def _show_references(references: list[ReferencePlugin]) -> None:
    """The other libraries that have the plugin, and what they do differently."""
    for reference in references:
        another = reference.tolerance is None
        within = f"another {reference.of}" if another else f"within {reference.tolerance:.0e}"
        what = (
            f"{reference.library} ({reference.summary.removesuffix('.')}), {within}. "
            f"{reference.why}"
        )
        say(f"compared with {what}".strip())
    if references:
        say("")


def _items(name: str, registry: Registry) -> list[tuple[str, str]]:
    from interpbench.files import toml_settings as settings

    if name in SETTINGS:
        folder = SETTINGS[name]
        return [
            (item, settings.describe(folder / f"{item}.toml")) for item in settings.names(folder)
        ]
    kind: Kind = next(k for k in KINDS if name == f"{k}s")
    return [(p.name, p.summary) for p in registry.plugins(kind)]
