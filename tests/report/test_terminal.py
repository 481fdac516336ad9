"""The terminal report, as plain text at several widths."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from interpbench.report.terminal import print_report
from interpbench.report.verdict.evidence import of_run
from interpbench.report.verdict.verdict import verdict
from interpbench.results.finished_run import Run
from interpbench.results.leaderboard import conclude
from interpbench.results.run_info import RunInfo
from interpbench.results.tables import RunTables
from tests.synthetic_tables import EMPTY_SCORES, METRICS, board_of, concluded, synthetic_tables


def shown(width: int = 120, color: bool = False, **choices: Any) -> str:
    """The report of the synthetic tables of these choices."""
    return report(*concluded(**choices), width=width, color=color)


def report(
    tables: RunTables, conclusions: dict[str, pd.DataFrame], width: int = 120, color: bool = False
) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="truecolor" if color else None,
    )
    print_report(Run(Path("run"), RunInfo(), tables, conclusions), console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_every_score_is_there_whole_and_no_line_is_too_long(width: int) -> None:
    choices: dict[str, Any] = {"failed": ("sobel",), "constant": {"center": 3}}
    text = shown(width, **choices)
    assert max(map(len, text.splitlines())) <= width
    for row in board_of(**choices).query("n > 0").itertuples():
        assert f"{row.mean:.3f}" in text
        assert f"[{row.low:.3f}, {row.high:.3f}]" in text


@pytest.mark.parametrize(("width", "tables_printed"), [(200, 1), (120, 1), (100, 1), (84, 2)])
def test_metrics_are_split_only_where_they_must_be(width: int, tables_printed: int) -> None:
    text = shown(width, failed=("sobel",), constant={"center": 3})
    assert len(re.findall(r"^\s*method", text, re.MULTILINE)) == tables_printed


def test_a_wide_console_has_mean_and_interval_on_one_line() -> None:
    assert re.search(r"gradcam +\d(?:–\d)? +0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] +-?\d+%", shown(200))


def test_each_score_has_its_rank_and_its_share() -> None:
    text = shown(220)
    board = board_of()
    for method, rows in board.groupby("method"):
        line = next(line for line in text.splitlines() if line.startswith(method))
        scores = [
            board.loc[board["metric"] == metric].set_index("method").loc[method]
            for metric in METRICS
        ]
        places = [
            f"{score['rank']}"
            if score["rank"] == score["rank_to"]
            else f"{score['rank']}–{score['rank_to']}"
            for score in scores
        ]
        assert re.findall(r"(\d(?:–\d)?) +(\d\.\d{3}) \[", line) == [
            (place, f"{score['mean']:.3f}") for place, score in zip(places, scores, strict=True)
        ]
        assert re.findall(r"-?\d+%", line) == [
            f"{share:.0%}" for share in [s["share"] for s in scores] if share == share
        ]
        assert len(rows) == 4
    [line] = [line for line in text.splitlines() if line.startswith("ceiling")]
    assert re.findall(r"\d\.\d{3}", line) == [
        f"{board.loc[board['metric'] == m, 'ceiling'].iloc[0]:.3f}"
        for m in ("deletion", "insertion")
    ]


def test_without_a_ceiling_no_share_is_spoken_of() -> None:
    text = shown(ceiling=False, methods=("gradcam", "random"))
    assert "%" not in text.replace("5 %", "").replace("95 %", "").replace("97.5%", "")
    assert "share of the achievable" not in text


def test_what_a_map_costs_stands_beside_its_scores_with_its_rank() -> None:
    tables, conclusions = concluded(methods=("gradcam", "random", "saliency"))
    timings = tables.timings.assign(
        attribution_seconds=[24 * 0.2, 24 * 0.0015, 24 * 0.02],
        peak_memory=pd.Series([2_500_000, None, 150_000_000], dtype=object),
    )
    text = report(replace(tables, timings=timings), conclusions, 200)
    costs = {"gradcam": "3 200 +1 2.5", "random": "1 1.5 +–", "saliency": "2 20.0 +2 150"}
    for method, cost in costs.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{method} "))
        assert re.search(rf"{cost}\s*$", line), line
    assert "MB" not in shown(200, methods=("gradcam", "random", "saliency"))


def test_heading_says_what_the_model_is() -> None:
    shipped = shown()
    assert (
        "resnet18 on planted, weights shipped, accuracy 97.5% on 2,000 images, 24 images explained"
        in shipped
    )
    assert "RANDOM" not in shipped
    assert "resnet18 on planted, RANDOM WEIGHTS, accuracy" in shown(
        weights="random", methods=("gradcam",), metrics=("deletion",)
    )


def test_columns_say_which_direction_is_better() -> None:
    text = shown(200)
    assert "deletion ↓ lower" in text
    assert "insertion ↑ higher" in text


def test_what_leads_is_bold_and_a_control_never() -> None:
    choices: dict[str, Any] = {"methods": ("gradcam", "random", "saliency"), "images": 60}
    board = board_of(**choices)
    best = board[(board["rank"] == 1) & (board["role"] == "method")]
    assert len(best) >= len(METRICS)
    bold = re.findall(r"\x1b\[1m[\d–]+ +(\d\.\d{3})", shown(220, color=True, **choices))
    assert sorted(bold) == sorted(f"{mean:.3f}" for mean in best["mean"])
    assert (board_of().query("rank == 1")["role"] == "control").any()
    assert not re.findall(r"\x1b\[1m[\d–]+ +\d\.\d{3}", shown(220, color=True))


def test_the_verdict_comes_last_and_its_first_line_stands_out() -> None:
    tables, conclusions = concluded()
    found = verdict(of_run(Run(Path("run"), RunInfo(), tables, conclusions)))
    text = report(tables, conclusions, width=1000)
    lines = text.splitlines()
    [first] = [i for i, line in enumerate(lines) if line == found.lines[0]]
    printed = [line.replace("\u202f", " ") for line in found.lines]
    assert lines[first : first + len(printed)] == printed
    assert all(line.startswith(("Note: ", "Good: ")) for line in lines[first + len(found.lines) :])
    assert "\x1b[1;31mNo method was shown to be better" in shown(300, color=True)


def test_failures_are_counted_in_the_table_and_explained_below() -> None:
    text = shown(200, failed=("sobel",), constant={"center": 3})
    assert re.search(r"center .* 3 constant", text)
    assert re.search(r"sobel .* failed: RuntimeError: sobel m…", text)
    assert "sobel: RuntimeError: sobel met a layer that it does not know" in text


def test_each_metric_has_a_line_with_its_protocol() -> None:
    tables = synthetic_tables()
    metrics = {
        name: info.model_copy(update={"summary": "What it is."})
        for name, info in tables.metrics.items()
    }
    text = report(replace(tables, metrics=metrics), concluded()[1])
    for name, info in metrics.items():
        assert re.search(
            rf"{name} . {info.better} is better, .*protocol {info.protocol}\. What it is\.", text
        )


def test_one_image_has_no_interval() -> None:
    text = shown(images=1, metrics=("deletion",))
    assert not re.search(r"\bnan\b", text)
    assert "[" not in text.split("in [0, 1]")[1]


def test_markup_and_control_characters_are_shown_as_text() -> None:
    text = shown(200, methods=("[red]x[/red]", "\x1b[31mred", "[/]"))
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


def test_a_run_without_cells_says_so() -> None:
    tables = synthetic_tables(methods=("gradcam",))
    empty = replace(tables, scores=EMPTY_SCORES, cells=tables.cells.iloc[:0])
    assert report(empty, conclude(empty)).startswith("Nothing was scored.")
