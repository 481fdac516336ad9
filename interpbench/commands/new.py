"""`new`: the file of a plugin to start from, with its test."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from interpbench.commands.shared import open_registry, say
from interpbench.core.errors import ParameterError
from interpbench.registry.plugin import KINDS


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to write: `method`.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What users will type.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; ./NAME.py by default, the test beside it."),
    ] = None,
) -> None:
    """Write a method that works, to be changed into yours, and its test."""
    if kind != "method":
        example = f"; look at plugins/{kind}s/ for examples of a {kind}" if kind in KINDS else ""
        raise ParameterError(f"`new` writes a method, not {kind!r}: new method NAME{example}.")
    from interpbench.registry.new_method import write_method

    written = write_method(name, open_registry(None), output)
    file, test = (shlex.quote(str(path)) for path in (written.plugin, written.test))
    steps = {
        f"check {file}": "does it keep what every method promises?",
        f"run --plugin {file} --method {name},gradcam,random": "is it any good?",
    }
    lines = {f"python -m interpbench {step}": why for step, why in steps.items()}
    lines[f"python -m pytest {test}"] = (
        "the same promises; the test of its numbers is for you to rewrite"
    )
    say(f"Written: {written.plugin} and {written.test}, for now the gradient's magnitude.")
    say("Change it into your method, and then:")
    width = max(map(len, lines))
    for command, why in lines.items():
        say(f"  {command:<{width}}  # {why}")
