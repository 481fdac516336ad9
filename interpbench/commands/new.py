"""`new`: the file of a plugin to start from, with its test."""

import shlex
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from interpbench.commands.shared import open_registry, say
from interpbench.core.errors import ParameterError
from interpbench.registry.plugin import KINDS, Kind


class _Start(NamedTuple):
    """What is written first of a kind, in words, and how one tries it, with its name."""

    now: str
    tried: str
    asks: str = "is it any good?"


STARTS: dict[Kind, _Start] = {
    "method": _Start("the gradient's magnitude", "--method {name},gradcam,random"),
    "model": _Start(
        "three convolutions",
        "--model {name} --weights random --method gradcam,random",
        "can methods explain it?",
    ),
    "dataset": _Start(
        "coloured squares on noise",
        "--dataset {name} --model resnet18 --weights random --method gradcam,random",
        "can models be explained on it?",
    ),
    "metric": _Start(
        "a correlation over the cells of a grid", "--metric {name} --method gradcam,random"
    ),
}


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="What to write: `method`, `model`, `dataset` or `metric`."
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What users will type.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; ./NAME.py by default, the test beside it."),
    ] = None,
) -> None:
    """Write a plugin that works, to be changed into yours, and its test."""
    from interpbench.registry.new_plugin import write_plugin

    known = next((each for each in KINDS if each == kind), None)
    if known is None:
        raise ParameterError(
            f"`new` writes a {', a '.join(KINDS[:-1])} or a {KINDS[-1]}, not {kind!r}: new method "
            "NAME."
        )
    written, start = write_plugin(known, name, open_registry(None), output), STARTS[known]
    file, test = (shlex.quote(str(path)) for path in (written.plugin, written.test))
    steps = {
        f"check {file}": f"does it keep what every {known} promises?",
        f"run --plugin {file} {start.tried.format(name=name)}": start.asks,
    }
    lines = {f"python -m interpbench {step}": why for step, why in steps.items()}
    lines[f"python -m pytest {test}"] = (
        "the same promises; the test of its numbers is for you to rewrite"
    )
    say(f"Written: {written.plugin} and {written.test}, for now {start.now}.")
    say(f"Change it into your {known}, and then:")
    width = max(map(len, lines))
    for command, why in lines.items():
        say(f"  {command:<{width}}  # {why}")
