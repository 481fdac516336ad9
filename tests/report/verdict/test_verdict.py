"""The same run says the same in the terminal, on its page, in Markdown, LaTeX and notebooks."""

import html
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from interpbench.publish.latex_tables import latex
from interpbench.publish.leaderboard_view import grids, markdown
from interpbench.report.page.render import page
from interpbench.report.run import Run
from interpbench.report.terminal import print_report
from interpbench.report.verdict.evidence import controls_of, of_run
from interpbench.report.verdict.findings import leading
from interpbench.report.verdict.verdict import verdict
from interpbench.results.run_info import RunInfo
from tests.report.page.pages import INFO
from tests.synthetic_tables import concluded

FEW = ("gradcam", "random", "saliency")
RUNS: dict[str, dict[str, Any]] = {
    "a clear winner": {"methods": FEW, "images": 60, "metrics": ("deletion",)},
    "a control ahead": {"methods": (*FEW, "center"), "images": 30, "metrics": ("deletion",)},
    "failures": {"methods": FEW, "failed": ("saliency",), "constant": {"gradcam": 3}, "metrics": ("deletion",)},
    "ten images": {"images": 10, "metrics": ("deletion",), "ceiling": False},
    "one image": {"images": 1, "methods": FEW, "metrics": ("deletion",), "ceiling": False},
    "one method": {"methods": ("gradcam",), "metrics": ("deletion",), "ceiling": False},
    "no control": {"methods": ("gradcam", "saliency"), "metrics": ("deletion",), "ceiling": False},
    "nothing scored": {"methods": FEW, "failed": FEW, "metrics": ("deletion",), "ceiling": False},
    "several models": {"methods": FEW, "models": ("a", "b"), "metrics": ("deletion",), "ceiling": False},
}  # fmt: skip


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Run:
    tables, conclusions = concluded(**RUNS[request.param])
    return Run(Path("run"), RunInfo.model_validate(INFO), tables, conclusions)


def in_the_terminal(run: Run, color: bool = False) -> str:
    colors: Any = {"force_terminal": True, "color_system": "truecolor"} if color else {}
    console = Console(file=io.StringIO(), width=10_000, **colors)
    print_report(run, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def as_text(markup: str) -> str:
    """HTML without its tags and what they hold."""
    markup = re.sub(r"<(style|script).*?</\1>", "", markup, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def test_every_place_has_the_headline_and_all_cautions(run: Run) -> None:
    found = verdict(of_run(run))
    tables = grids(run.leaderboard)
    note = [found.headline, found.lede, *(one.text for one in found.cautions)]
    all_of_it = [*note, found.shown, *(metric.sentence for metric in found.answer.metrics)]
    places = {
        "terminal": (in_the_terminal(run), all_of_it),
        "page": (as_text(page(of_run(run))), all_of_it),
        "notebook": (as_text(run._repr_html_()), all_of_it),
        "print": (repr(run), all_of_it),
        "Markdown": (re.sub(r"\\(.)", r"\1", markdown(tables, found.lines)), all_of_it),
        "LaTeX": (as_typeset(latex(tables, found.note)), note),
    }
    for place, (text, said) in places.items():
        for sentence in said:
            assert plain(sentence) in plain(text), place


def as_typeset(source: str) -> str:
    """LaTeX's text without its commands for characters."""
    return (
        re.sub(r"\\([&%$#_{}])", r"\1", source.replace(r"\,", " "))
        .replace("--", "–")
        .replace(r"$\pm$", "±")
    )


def plain(text: str) -> str:
    return text.replace("\u202f", " ")


def test_every_place_sets_the_same_in_bold_and_never_a_control(run: Run) -> None:
    row = r'class="num rank first".*?class="num mean"[^>]*>([\d.]+)'
    bold = {
        "terminal": re.findall(r"\x1b\[1m[\d–]+ +(\d\.\d{3})", in_the_terminal(run, color=True)),
        "page": re.findall(row, page(of_run(run)), re.DOTALL),
        "notebook": re.findall(r"<td><b>[\d–]+ (\d\.\d{3})", run._repr_html_()),
        "Markdown": re.findall(r"\*\*[\d–]+ (\d\.\d{3})", markdown(grids(run.leaderboard))),
        "LaTeX": re.findall(r"\\textbf\{(\d\.\d{3})\}", latex(grids(run.leaderboard))),
    }
    board = run.leaderboard
    leads = board[leading(board, controls_of(board))]
    assert not (leads["role"] == "control").any()
    for place, means in bold.items():
        assert sorted(means) == sorted(f"{mean:.3f}" for mean in leads["mean"]), place


def test_what_is_serious_is_the_headline_and_the_answer_follows() -> None:
    tables, conclusions = concluded(**RUNS["a clear winner"])
    unfinished = RunInfo.model_validate(INFO | {"status": "running"})
    fair, found = (
        verdict(of_run(Run(Path("run"), info, tables, conclusions)))
        for info in (RunInfo.model_validate(INFO), unfinished)
    )
    assert fair.headline == fair.answer.headline
    assert found.headline == "The run is not finished"
    assert found.lede == f"{fair.headline}. {fair.lede}"
    assert found.lines[0] == "The run is not finished."
    assert f"Serious: {found.cautions[0].text}" in found.lines


def test_shown_is_what_is_significant_at_the_level_of_the_run() -> None:
    tables, conclusions = concluded(**RUNS["a clear winner"])
    looked_at_thrice = replace(tables, level=0.05 / 3)
    for level, run_tables in (("5 %", tables), ("1.7 %", looked_at_thrice)):
        found = verdict(of_run(Run(Path("run"), RunInfo(), run_tables, conclusions)))
        assert found.shown.startswith(f"Shown: significant at {level} on the same images")


def test_nothing_is_called_equal_or_no_better(run: Run) -> None:
    """What was not shown to be better is never said to be no better."""
    wrong = (
        r"nothing is better|no method is better|is not better|equally good|cannot be told apart|1="
    )
    for sentence in verdict(of_run(run)).lines:
        assert not re.search(wrong, sentence)
