"""`new`: the file of a plugin to start from, with its test."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from interpbench.commands.shared import open_registry, say
from interpbench.core.errors import ParameterError
from interpbench.registry.plugin import KINDS


def new(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="What to write: `method` or `metric`.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What users will type.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; ./NAME.py by default, the test beside it."),
    ] = None,
) -> None:
    """Write a method or a metric that works, to be changed into yours, and its test."""
    from interpbench.registry.new_plugin import WRITTEN, write_plugin

    known = next((each for each in WRITTEN if each == kind), None)
    if known is None:
        example = f"; look at plugins/{kind}s/ for examples of a {kind}" if kind in KINDS else ""
        raise ParameterError(
            f"`new` writes a {' or a '.join(WRITTEN)}, not {kind!r}: new method NAME{example}."
        )
    written = write_plugin(known, name, open_registry(None), output)
    file, test = (shlex.quote(str(path)) for path in (written.plugin, written.test))
    is_method = known == "method"
    tried = f"--method {name}" if is_method else f"--metric {name} --method gradcam"
    steps = {
        f"check {file}": f"does it keep what every {known} promises?",
        f"run --plugin {file} {tried},{'gradcam,' if is_method else ''}random": "is it any good?",
    }
    lines = {f"python -m interpbench {step}": why for step, why in steps.items()}
    lines[f"python -m pytest {test}"] = (
        "the same promises; the test of its numbers is for you to rewrite"
    )
    now = "the gradient's magnitude" if is_method else "a correlation over the cells of a grid"
    say(f"Written: {written.plugin} and {written.test}, for now {now}.")
    say(f"Change it into your {known}, and then:")
    width = max(map(len, lines))
    for command, why in lines.items():
        say(f"  {command:<{width}}  # {why}")
