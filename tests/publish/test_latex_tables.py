"""Tables for LaTeX: read back by a small parser, every number, and compiled where there is a TeX."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from interpbench.publish.boards import read_board
from interpbench.publish.latex_tables import latex
from interpbench.publish.leaderboard_view import grids
from interpbench.results.finished_run import Run
from tests.command_line import call
from tests.synthetic_tables import board_of

METHODS = ("gradcam", "occlusion:stride=8,window=16", "random", "saliency")
NASTY = "a|b_c*<script>&%$#{}~^\\"
DOCUMENT = r"""
\documentclass[10pt,twocolumn]{article}
\usepackage[letterpaper,textwidth=6.75in,columnsep=0.25in]{geometry}
\usepackage{booktabs}
\begin{document}
%s
%s
\end{document}
"""


def braced(text: str, command: str) -> str:
    """What stands in the braces after a command; braces are balanced."""
    start = text.index(f"\\{command}{{") + len(command) + 2
    depth, end = 1, start
    while depth:
        if text[end] in "{}" and text[end - 1] != "\\":
            depth += 1 if text[end] == "{" else -1
        end += 1
    return text[start : end - 1]


def tables(text: str) -> list[str]:
    """The floats."""
    return [
        found[0] for found in re.finditer(r"\\begin\{(table\*?)\}.*?\\end\{\1\}", text, re.DOTALL)
    ]


def cells(table: str) -> dict[tuple[str, str, str], str]:
    """(method, metric, column) -> what stands there, marks taken off."""
    found = {}
    for tabular in re.findall(r"\\begin\{tabular\}\{\w+\}(.*?)\\end\{tabular\}", table, re.DOTALL):
        lines = [line for line in tabular.split("\\\\") if "&" in line]
        split = [
            [cell.strip().split("\n")[-1] for cell in re.split(r"(?<!\\)&", line)] for line in lines
        ]
        spans = [
            re.findall(r"\\multicolumn\{(\d)\}\{c\}\{(\S+) ", cell)[0] for cell in split[0][1:]
        ]
        metrics = [metric for count, metric in spans for _ in range(int(count))]
        assert len({len(line) for line in split[1:]}) == 1
        for line in split[2:]:
            method, *values = (re.sub(r"\\text(?:bf|it)\{(.*)\}", r"\1", cell) for cell in line)
            for metric, column, value in zip(metrics, split[1][1:], values, strict=True):
                found[method, metric, column] = value
    return found


def test_every_number_stands_in_a_column_of_its_own() -> None:
    board = board_of(models=("alexnet", "resnet18"), methods=METHODS)
    found = tables(latex(grids(board)))
    assert len(found) == 2
    for table, model in zip(found, ("alexnet", "resnet18"), strict=True):
        read = cells(table)
        rows = board[board["model"] == model]
        assert len(read) == 3 * len(rows)
        for row in rows.itertuples():
            at = (row.method, row.metric)
            assert read[*at, "mean"] == f"{row.mean:.3f}"
            assert read[*at, r"95\,\% interval"] == f"[{row.low:.3f}, {row.high:.3f}]"
            assert read[*at, "group"] == row.letters


def test_minus_signs_are_true_ones_and_zero_has_none() -> None:
    board = board_of(methods=METHODS, metrics=("deletion",))
    board = board.assign(mean=[-1.5, -0.0004, 0.0, 2.0], low=-2.0, high=-0.0001)
    read = cells(tables(latex(grids(board)))[0])
    means = [value for (_, _, column), value in read.items() if column == "mean"]
    assert means == ["$-$1.500", "0.000", "0.000", "2.000"]
    assert {value for (*_, column), value in read.items() if "interval" in column} == {
        "[$-$2.000, 0.000]"
    }


def test_places_stand_where_there_are_no_letters_and_nothing_where_there_are_neither() -> None:
    board = board_of(methods=METHODS, metrics=("deletion",)).assign(letters="")
    [table] = tables(latex(grids(board)))
    places = [value for (*_, column), value in cells(table).items() if column == "places"]
    assert places == [
        f"{row.rank}" if row.rank == row.rank_to else f"{row.rank}--{row.rank_to}"
        for row in board.itertuples()
    ]
    assert "first and last that the data leave" in table
    board[["rank", "rank_to"]] = pd.NA
    [table] = tables(latex(grids(board)))
    assert {column for *_, column in cells(table)} == {"mean", r"95\,\% interval"}
    assert "Holm" not in table


def test_the_caption_of_a_run_says_what_was_measured_and_when(finished: Run, results: Path) -> None:
    texts = {
        source: latex(grids(read_board(path)))
        for source, path in (
            ("folder", finished.folder),
            ("published", results / "leaderboards" / "few.csv"),
        )
    }
    for text in texts.values():
        caption = " ".join(braced(text, "caption").split())
        assert caption.startswith("alexnet (accuracy ")
        assert "on planted, planted-1: mean over 4 images" in caption
        assert (
            f"deletion:steps=6: protocol {finished.info.metrics['deletion:steps=6'].protocol}"
            in caption
        )
        assert (
            f"InterpBench {finished.info.versions['interpbench']}, {finished.info.finished[:10]}."
            in caption
        )
        assert "with a letter in common, are not told apart" in caption
    assert "(baseline: zero, first: most, output: probability, sign: signed, steps: 6)" in " ".join(
        texts["folder"].split()
    )
    assert "Explained is the class predicted for the untouched image." in texts["folder"]


def test_labels_are_safe_and_none_stands_twice() -> None:
    names = ("net:a/b", "net:a?b", "网络")
    text = latex(
        grids(board_of(models=names, methods=("gradcam", "random"), metrics=("deletion",)))
    )
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert labels == ["tab:planted-net-a-b", "tab:planted-net-a-b-2", "tab:planted"]


def test_what_means_something_is_escaped() -> None:
    board = board_of(methods=("gradcam", "random", "saliency"), metrics=("deletion",))
    text = latex(grids(board.replace({"method": {"gradcam": NASTY, "saliency": "[1ex]"}})))
    assert r"a\textbar{}b\_c*\textless{}script\textgreater{}\&\%\$\#\{\}\textasciitilde{}" in text
    assert "\n{}[1ex] &" in text  # else the line above would end in an argument
    assert r"$\downarrow$" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX is installed")
def test_tex_sets_the_tables_of_a_paper_without_a_word(tmp_path: Path) -> None:
    board = board_of(models=("alexnet", "resnet18"), methods=METHODS)
    board = board.replace({"method": {"gradcam": NASTY, "saliency": "[red]", "random": "*x"}})
    text = latex(grids(board))
    references = " ".join(rf"\ref{{{label}}}" for label in re.findall(r"\\label\{(.*)\}", text))
    (tmp_path / "paper.tex").write_text(DOCUMENT % (references, text), encoding="utf-8")
    for _ in range(2):  # the second time it knows the labels
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
    complaints = re.findall(r"^(?:Overfull|LaTeX Warning).*", done.stdout, re.MULTILINE)
    assert complaints == []


@pytest.mark.parametrize(("metrics", "float_"), [(1, "table"), (2, "table*")])
def test_one_metric_takes_one_column(metrics: int, float_: str) -> None:
    board = board_of(methods=METHODS, metrics=("deletion", "insertion")[:metrics])
    [table] = tables(latex(grids(board)))
    assert table.startswith(rf"\begin{{{float_}}}[htbp]")


def test_a_table_of_a_run_s_folder_as_a_user_makes_it(finished: Run, tmp_path: Path) -> None:
    code, _, error = call(
        "leaderboard", finished.folder, "--format", "latex", "--metric", "deletion*", "--output", tmp_path / "a.tex",
    )  # fmt: skip
    assert code == 0, error
    text = (tmp_path / "a.tex").read_text()
    assert text.count(r"\begin{table}") == 2
    assert {metric for table in tables(text) for _, metric, _ in cells(table)} == {
        "deletion:steps=6"
    }
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
