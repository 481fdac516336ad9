"""What the site takes from elsewhere in the repository, and what it makes of the program itself.

Pages and pictures that live outside `docs/` keep their places in the site: `../results/x.svg` in `docs/index.md`, which
is right for whoever reads the file in the repository, is `results/x.svg` there. Where a page says
`<!-- generated: methods -->` stands what the program says of its methods.
"""

import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
TAKEN = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "results/README.md",
    "results/leaderboards/*.csv",
    "results/leaderboards/pictures/*",
    "results/judging/*.csv",
    "results/judging/*.svg",
)
GENERATED = re.compile(r"<!-- generated: (\w+) -->")
TRAITS = ("aspect", "better", "range", "unit", "reference", "licence")

sys.path.insert(0, str(ROOT))  # this checkout's program, whatever is installed


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for pattern in TAKEN:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    for place in ("results/", "CHANGELOG.md", "CONTRIBUTING.md"):
        markdown = markdown.replace(f"../{place}", place)
    return GENERATED.sub(lambda found: generated(found[1]), markdown)


def generated(what: str) -> str:
    """The part of a page that the program itself says."""
    if what == "commands":
        return "\n\n".join(command_lines())
    return "\n\n".join(settings_lines() if what == "settings" else plugin_lines(what))


def command_lines() -> Iterable[str]:
    """Each command with its arguments and options, as `--help` has them."""
    import typer

    from interpbench.commands.app import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["interpbench", name, *command.collect_usage_pieces(context)])
        yield f"## {name}\n\n{' '.join((command.help or '').split())}\n\n```text\n{usage}\n```"
        rows = []
        for parameter in command.params:
            said = parameter.get_help_record(context)
            if said is None:
                said = (parameter.human_readable_name, getattr(parameter, "help", "") or "")
            rows.append(f"| {cell(f'`{said[0]}`')} | {cell(said[1])} |")
        yield "\n".join(["| | |", "|---|---|", *rows])


def plugin_lines(kinds: str) -> Iterable[str]:
    """Each plugin of a kind with its documentation and parameters, as `show` has them."""
    from interpbench.registry.discovery import discover
    from interpbench.registry.plugin import REQUIRED

    for plugin in discover().plugins(kinds.removesuffix("s")):
        text, said = documentation(plugin.doc)
        yield f"## {plugin.name}\n\n{text}"
        if plugin.parameters:
            rows = []
            for parameter in plugin.parameters:
                default = (
                    "required"
                    if parameter.default is REQUIRED
                    else f"`{str(parameter.default).lower()}`"
                )
                cells = (
                    f"`{parameter.name}`",
                    f"`{parameter.type_name}`",
                    default,
                    said.get(parameter.name, ""),
                )
                rows.append(f"| {' | '.join(map(cell, cells))} |")
            yield "\n".join(["| parameter | type | default | |", "|---|---|---|---|", *rows])
        traits = [
            f"{trait}: {value}"
            for trait in TRAITS
            if (value := getattr(plugin, trait, "")) and not callable(value)
        ]
        if traits:
            yield "; ".join(traits)


def documentation(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's text, and what it says of each parameter."""
    from griffe import Docstring, DocstringSectionKind

    said: dict[str, str] = {}
    text = []
    for section in Docstring(inspect.cleandoc(doc)).parse("google", warnings=False):
        if section.kind is DocstringSectionKind.parameters:
            for names in section.value:
                said |= dict.fromkeys(names.name.split(", "), names.description)
        elif section.kind is DocstringSectionKind.text:
            text.append(section.value)
    return "\n\n".join(text), said


def settings_lines() -> Iterable[str]:
    """Suites, protocols, recipes and preparations: the files themselves."""
    from interpbench.commands.catalogue import SETTINGS

    for what, folder in SETTINGS.items():
        yield f"## {what.capitalize()}"
        for path in sorted(folder.glob("*.toml")):
            yield f"### {path.stem}\n\n```toml\n{path.read_text(encoding='utf-8').strip()}\n```"


def cell(text: str) -> str:
    """Text as a table's cell holds it; a bar within code needs no backslash."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)
