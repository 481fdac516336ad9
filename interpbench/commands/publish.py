"""`publish`, `leaderboard` and `verify`: write, read and check leaderboards."""

import enum
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interpbench.commands.shared import (
    DataRoot,
    Device,
    Download,
    Names,
    Plugins,
    open_console,
    plain,
)
from interpbench.core.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.text import Text

    from interpbench.publish.leaderboard_view import Grid, GridEntry
    from interpbench.publish.rescoring import Verification
    from interpbench.report.verdict.verdict import Verdict
    from interpbench.results.finished_run import Run

Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where submissions and leaderboards lie.")
]
RESULTS = Path("results")
SHOWN = 10  # scores that do not agree, in the terminal


class Format(enum.StrEnum):
    """How a leaderboard is written."""

    table = "table"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    by: Annotated[
        str | None, typer.Option(metavar="WHO", help="Your name; git's user.name by default.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the submission; made of your name.")
    ] = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="A line on what it is.")] = "",
    suite: Annotated[
        str | None, typer.Option(metavar="FILE", help="The suite, where it is not a bundled one.")
    ] = None,
    results: Results = RESULTS,
    declare_failures: Annotated[
        bool,
        typer.Option(
            "--declare-failures", help="Failed cells are meant to be there; each keeps its reason."
        ),
    ] = False,
    supersede: Annotated[
        bool,
        typer.Option("--supersede", help="Take the place of your earlier submission of this name."),
    ] = False,
) -> None:
    """Put a finished run on its suite's leaderboard: DIR/<suite>/<name>/ and
    DIR/leaderboards/<suite>.csv.
    """
    from interpbench.publish.publishing import publish as publish_run
    from interpbench.results.finished_run import load_run
    from interpbench.suite.suite import load_suite

    publication = publish_run(
        load_run(run),
        _git_name() if by is None else by,
        name=name,
        comment=comment,
        results=results,
        supersede=supersede,
        declare_failures=declare_failures,
        suite=load_suite(suite) if suite else None,
    )
    messages = {
        "published": f"Published {publication.folder}.",
        "unchanged": f"{publication.folder} is published already; nothing changed.",
        "superseded": (
            f"Published {publication.folder}; it supersedes your earlier submission of this name, "
            "and says so."
        ),
    }
    console = open_console()
    console.print(plain(messages[publication.what]), soft_wrap=True)
    console.print(plain(f"Leaderboard: {publication.leaderboard}"), soft_wrap=True)


def leaderboard(
    board: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[CSV|RUN]...",
            help="Leaderboards, or folders of runs; all in DIR/leaderboards by default.",
        ),
    ] = None,
    dataset: Annotated[
        Names, typer.Option(metavar="D", help="Only these, as `cifar*`; repeatable.")
    ] = None,
    model: Annotated[Names, typer.Option(metavar="M", help="Only these; repeatable.")] = None,
    method: Annotated[Names, typer.Option(metavar="M", help="Only these; repeatable.")] = None,
    metric: Annotated[Names, typer.Option(metavar="M", help="Only these; repeatable.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="e.g. share; -share for the greatest first."),
    ] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.table,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to a file.")] = None,
    results: Results = RESULTS,
    check: Annotated[
        bool, typer.Option("--check", help="Check every published file; exit code 1 if one is bad.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write all leaderboards again from submissions.")
    ] = False,
) -> None:
    """Show, filter, sort and merge leaderboards, as tables for Markdown and LaTeX too; check what
    is published.
    """
    if check or rebuild:
        if board or dataset or model or method or metric or sort or output:
            raise ParameterError(
                "--check and --rebuild look at everything in --results: "
                "give nothing else with them."
            )
        _check_or_rebuild(results, rebuild)
        return
    from interpbench.publish import boards
    from interpbench.results.finished_run import load_run

    paths = board or sorted((results / "leaderboards").glob("*.csv"))
    if not paths:
        raise ParameterError(
            f"There is no leaderboard in {results / 'leaderboards'}. Give a CSV, or --results DIR."
        )
    runs = {path: load_run(path) for path in dict.fromkeys(paths) if path.is_dir()}
    patterns_of_columns = {"dataset": dataset, "model": model, "method": method, "metric": metric}
    shown = boards.merge(
        boards.select(
            boards.read_boards(paths, runs),
            {key: patterns or [] for key, patterns in patterns_of_columns.items()},
        )
    )
    whole = len(paths) == 1 and not any(patterns_of_columns.values())
    if sort:
        shown = boards.sort(shown, sort)
    _write(shown, next(iter(runs.values()), None) if whole else None, format, output)


def verify(
    submission: Annotated[
        Path, typer.Argument(metavar="SUBMISSION", help="A folder that `publish` wrote.")
    ],
    part: Annotated[
        float, typer.Option(metavar="P", help="Share of the images to score again.")
    ] = 0.05,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Chooses them; a new one each time by default.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(metavar="FILE", help="The suite, where it is not a bundled one.")
    ] = None,
    device: Device = "auto",
    data_root: DataRoot = None,
    download: Download = False,
    weights: Annotated[
        Names, typer.Option(metavar="W", help="FILE; MODEL=FILE where there are several models.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Score a random part of a submission again and compare.
    Exit code 0: it holds, 1: it does not.
    """
    from interpbench.publish.rescoring import verify as verify_submission
    from interpbench.registry.choosing import Sources

    console = open_console()
    with console.status("Loading") as status:
        verification = verify_submission(
            submission, part=part, seed=seed, suite=suite, device=device, plugin=plugin or (),
            sources=Sources(data_root, download, tuple(weights or ())),
            progress=lambda what: status.update(plain(f"Scored {what}")),
        )  # fmt: skip
    _print_verification(verification, console)
    raise typer.Exit(0 if verification.holds else 1)


def _check_or_rebuild(results: Path, rebuild: bool) -> None:
    from interpbench.publish.hearsay import hearsay
    from interpbench.publish.integrity import check
    from interpbench.publish.suite_leaderboard import suites, write_leaderboard

    console = open_console()
    if not results.is_dir():
        raise ParameterError(
            f"There is no folder {results}. Name the one with submissions with --results."
        )
    for suite in suites(results) if rebuild else ():
        console.print(plain(f"Wrote {write_leaderboard(results, suite)}"), soft_wrap=True)
    faults_of = check(results)
    for name, faults in faults_of.items():
        console.print(plain(f"{'bad ' if faults else 'good'}  {name}"), soft_wrap=True)
        for fault in faults:
            console.print(plain(f"      {fault}"), soft_wrap=True)
    console.print(plain(hearsay()), soft_wrap=True)
    if not faults_of:
        console.print(plain(f"Nothing is published in {results}."), soft_wrap=True)
    raise typer.Exit(1 if any(faults_of.values()) else 0)


def _write(board: "pd.DataFrame", run: "Run | None", format: Format, output: Path | None) -> None:
    """Writes a leaderboard, with the verdict on it, or on the `run` that it is the whole of."""
    import tempfile

    from interpbench.files.csv_files import write_csv
    from interpbench.publish.boards import file_columns
    from interpbench.publish.latex_tables import latex
    from interpbench.publish.leaderboard_view import grids, markdown
    from interpbench.report.verdict.legend import legend

    if format is Format.table and output is None:
        _print_grids(grids(board), legend(board), _verdict(board, run))
        return
    if format is Format.csv:
        with tempfile.TemporaryDirectory() as folder:
            write_csv(board[file_columns(board)], Path(folder) / "board.csv")
            text = (Path(folder) / "board.csv").read_text(encoding="utf-8")
    else:
        found = _verdict(board, run)
        text = (
            latex(grids(board), found.note)
            if format is Format.latex
            else markdown(grids(board), found.lines)
        )
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ParameterError(
            f"Cannot write {output}: {error.strerror}. Give another --output."
        ) from error


def _verdict(board: "pd.DataFrame", run: "Run | None") -> "Verdict":
    from interpbench.registry.declared import Aspects
    from interpbench.report.verdict.evidence import of_board, of_run
    from interpbench.report.verdict.verdict import verdict

    return verdict(of_board(board, aspects=Aspects()) if run is None else of_run(run))


def _print_grids(grids: "list[Grid]", legend: str, verdict: "Verdict") -> None:
    from rich.table import Table
    from rich.text import Text

    from interpbench.report.terminal import print_verdict

    console = open_console()
    console.print(plain(legend))
    for grid in grids:
        table = Table(
            title=Text(grid.title),
            title_justify="left",
            title_style="bold",
            box=None,
            pad_edge=False,
        )
        table.add_column("method")
        for metric in grid.metrics:
            table.add_column(Text(metric.header), justify="left")
        for row in grid.rows:
            table.add_row(Text(row.label), *map(_entry, row.entries))
        console.print(table)
        for note in grid.notes:
            console.print(plain(note))
        console.print()
    print_verdict(verdict, console)


def _entry(entry: "GridEntry | None") -> "Text":
    from rich.text import Text

    if entry is None:
        return Text("–")
    return Text(entry.text, "bold" if entry.leads else "")


def _print_verification(verification: "Verification", console: "Console") -> None:
    from interpbench.publish.hearsay import hearsay

    record = verification.submission.record
    console.print(
        plain(
            f"{record.suite.name}/{record.name} by {record.by}, {record.finished:%Y-%m-%d}, on "
            f"{record.device} in {record.precision}; here on {verification.device}."
        ),
        soft_wrap=True,
    )
    for fault in verification.faults:
        console.print(plain(f"Wrong: {fault}"), soft_wrap=True)
    compared, (images, whole) = verification.compared, verification.images
    differing = compared[~compared["agrees"]]
    greatest = compared["difference"].max()
    console.print(
        plain(
            f"{len(compared) - len(differing)} of {len(compared)} scores agree, of {images} of "
            f"{whole} images (seed {verification.seed}); the greatest difference is "
            f"{greatest:.2g}."
        ),
        soft_wrap=True,
    )
    for row in differing.head(SHOWN).itertuples():
        console.print(
            plain(
                f"Wrong: {row.metric} of {row.method} on {row.model}, {row.sample_id}: published "
                f"{row.published:.6g}, found {row.found:.6g}, allowed {row.tolerance:.2g}: "
                f"{row.wrong}"
            ),
            soft_wrap=True,
        )
    if len(differing) > SHOWN:
        console.print(plain(f"and {len(differing) - SHOWN} more."))
    console.print(plain(hearsay()), soft_wrap=True)
    verdict = "It holds." if verification.holds else "It does not hold."
    console.print(plain(verdict))


def _git_name() -> str:
    try:
        done = subprocess.run(
            ["git", "config", "user.name"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done is None or not done.stdout.strip():
        raise ParameterError("Who publishes it? Give your name with --by.")
    return done.stdout.strip()
