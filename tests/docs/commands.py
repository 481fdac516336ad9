"""The commands of the documentation, held against the program: options, values, names of plugins and settings."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from interpbench.commands.app import app
from interpbench.commands.catalogue import SETTINGS
from interpbench.files import toml_settings
from interpbench.registry.choosing import Sources, choose_dataset, choose_plugins
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import KINDS
from interpbench.registry.registry import Registry
from interpbench.suite.suite import load_suite
from tests.paths import ROOT

OURS = re.compile(r"^(?:\S*python3? -m interpbench|(?:\S*/)?interpbench)(?: |$)")
GIVEN = {"$SLURM_ARRAY_TASK_ID": "3", "$HEAD": "127.0.0.1"}  # variables that a cluster sets
OTHERS = (
    ".venv/bin/pre-commit",
    ".venv/bin/ruff",
    ".venv/bin/mypy",
    "docker",
)  # what contributors call besides
OF_THE_PROGRAM = ("--version", "--help", "--install-completion", "--show-completion")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_GROUP: Any = typer.main.get_command(app)


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of each command, without comments; `python -m interpbench` is one word, `interpbench`."""
    for line in text.replace("\\\n", " ").replace(" && ", "\n").splitlines():
        for variable, value in GIVEN.items():
            line = line.replace(variable, value)
        line = line.partition(" -- ")[2] if line.startswith("ray ") else line
        words = shlex.split(OURS.sub("interpbench ", line), comments=True)
        if words:
            yield words


def check_command(words: list[str]) -> None:
    """Holds a command against the program, in the folder where it would run.

    Raises:
        ValueError: if there is no such program.
        Exception: whatever the command line or the registry says of it.
    """
    if words[0] == "interpbench":
        check_ours(words[1:])
    elif Path(words[0]).name == "pip" and words[1] == "install":
        index = words.index("--index-url") if "--index-url" in words else len(words)
        for what in [*words[2:index], *words[index + 2 :]]:
            check_requirement(what)
    elif is_script(words):
        compile(Path(words[1]).read_text(encoding="utf-8"), words[1], "exec")
    elif words[0] not in OTHERS and words[1:3] not in (["-m", "pytest"], ["-m", "venv"]):
        raise ValueError(f"{' '.join(words)}: nobody knows how to check this.")


def is_script(words: list[str]) -> bool:
    """Whether a command runs a file of the page: `python make_it.py`."""
    return words[0] == "python" and len(words) == 2 and words[1].endswith(".py")


def check_requirement(what: str) -> None:
    """An extra that is installed must be one of the project's."""
    asked = re.fullmatch(r"(?:\.|interpbench)\[([\w,-]+)\]", what)
    if asked:
        assert set(asked[1].split(",")) <= set(PROJECT["optional-dependencies"]), what
    else:
        needed = {re.split(r"[<>=]", each)[0] for each in PROJECT["dependencies"]}
        assert what in {".", "-e", "pre-commit", *needed}, what


def check_ours(arguments: list[str]) -> None:
    """A command of ours: its options and values are parsed, and each name looked up."""
    if len(arguments) == 1 and arguments[0].startswith("--"):
        assert arguments[0] in OF_THE_PROGRAM, arguments[0]
        return
    name, *rest = arguments
    command = _GROUP.commands[name]
    given = command.make_context(name, list(rest)).params
    registry = discover(given.get("plugin") or ())
    for kind in ("method", "metric", "model"):
        check_plugins(registry, kind, given.get(kind), name)
    if given.get("dataset") and name != "leaderboard":
        root, download = given.get("data_root"), bool(given.get("download"))
        choose_dataset(registry, as_text(given["dataset"]), Sources(root, download))
    if given.get("suite"):
        load_suite(given["suite"])
    if given.get("recipe") and not str(given["recipe"]).endswith(".toml"):
        assert given["recipe"] in toml_settings.names(SETTINGS["recipes"]), given["recipe"]
    if name == "show":
        check_shown(registry, given["name"])


def as_text(names: Any) -> str:
    return names if isinstance(names, str) else ",".join(map(str, names))


def check_plugins(registry: Registry, kind: Any, names: Any, command: str) -> None:
    """The methods, metrics or models that a command names are there, and take such parameters."""
    if not names or command == "leaderboard":  # where they are patterns of names
        return
    choose_plugins(registry, kind, [names] if isinstance(names, str) else list(map(str, names)))


def check_shown(registry: Registry, name: str) -> None:
    known = {each for kind in KINDS for each in registry.names(kind)}
    known |= {each for folder in SETTINGS.values() for each in toml_settings.names(folder)}
    assert name in known, name
