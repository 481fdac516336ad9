"""The command line: the program, its commands and its exit codes.

Exit codes: 0 all done, 1 some cell failed, 2 wrong usage or input, 130 interrupted.
"""

import logging
import sys
from typing import Annotated

import typer

from interpbench.commands.advise import advise
from interpbench.commands.catalogue import list_, show
from interpbench.commands.check import check
from interpbench.commands.completion import complete_names
from interpbench.commands.conformance import conformance
from interpbench.commands.doctor import doctor
from interpbench.commands.judge import judge
from interpbench.commands.new import new
from interpbench.commands.occlude import occlude
from interpbench.commands.pictures import explain, gallery
from interpbench.commands.publish import leaderboard, publish, verify
from interpbench.commands.run import merge, report, run
from interpbench.commands.sanity import sanity
from interpbench.commands.shared import Interrupted, open_console, plain
from interpbench.commands.stability import stability
from interpbench.commands.train import train
from interpbench.commands.visualise import visualise
from interpbench.core.errors import InterpBenchError
from interpbench.core.text import shown

app = typer.Typer(
    name="interpbench",
    help=(
        "Benchmarks interpretability methods for image classifiers: "
        "attribution, scores, tables, plots."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    run,
    merge,
    report,
    publish,
    leaderboard,
    verify,
    explain,
    gallery,
    occlude,
    visualise,
    show,
    train,
    doctor,
    new,
    check,
    conformance,
    sanity,
    stability,
    advise,
    judge,
)
for command in COMMANDS:
    app.command()(command)
app.command("list")(list_)
app.command("visualize", hidden=True)(visualise)
complete_names(app)


def main() -> None:
    """Runs the program; what is the user's to mend is one message on stderr."""
    # torch remarks where it compiles that a machine has CUDA's compiler and no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    # Shells complete the program, not `python -m`, whichever of the two is asked.
    about_shells = any(argument.endswith("-completion") for argument in sys.argv[1:2])
    try:
        app(prog_name=app.info.name if about_shells else None)
    except InterpBenchError as error:
        open_console(stderr=True).print("[bold red]Error:[/]", plain(error), soft_wrap=True)
        sys.exit(2)
    except OSError as error:  # of the disk, or of a path: no fault of the program
        name = "" if error.filename is None else f" {shown(str(error.filename))}"
        message = f"{error.strerror or error}:{name or ' while files were read or written'}."
        open_console(stderr=True).print("[bold red]Error:[/]", plain(message), soft_wrap=True)
        sys.exit(2)
    except MemoryError:
        message = (
            "The memory ran out. Give smaller images, a smaller --batch-size, or fewer of them."
        )
        open_console(stderr=True).print("[bold red]Error:[/]", message, soft_wrap=True)
        sys.exit(2)
    except Interrupted as interrupted:
        open_console(stderr=True).print(plain(interrupted), soft_wrap=True)
        sys.exit(130)


@app.callback(invoke_without_command=True)
def program(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from interpbench.files.versions import __version__

        print(f"interpbench {__version__}")
        raise typer.Exit
