"""Which pictures there are, that they are pictures, the same each time, and that odd tables draw as well."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from interpbench.core.errors import UnknownNameError
from interpbench.drawing import style as drawing_style
from interpbench.drawing.style import Page, style
from interpbench.report import plots
from interpbench.report.curves_plot import curves_plot, parts_early
from interpbench.report.interval_plot import shares_plot
from interpbench.report.map_grid import map_grid
from interpbench.report.plots import draw, draw_for_readme
from interpbench.report.rank_diagram import critical_differences
from interpbench.report.scene import Scene
from interpbench.report.time_plot import time_plot
from interpbench.results.comparison import mean_ranks
from interpbench.results.leaderboard import leaderboard
from interpbench.results.tables import RunTables
from tests.paths import ROOT
from tests.synthetic_tables import concluded, synthetic_tables

THREE = ("gradcam", "random", "sobel")


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of fewer pixels show the same."""
    monkeypatch.setattr(drawing_style, "DPI", 75)


def names(tables: RunTables, folder: Path) -> list[str]:
    """Draws, checks each file, and gives their names."""
    files = draw(tables, leaderboard(tables), folder)
    assert sorted(files) == sorted(folder.iterdir())
    for file in files:
        pixels = imread(file)
        assert min(pixels.shape[:2]) > 100
        assert pixels[..., :3].std() > 0.02
    return [file.name for file in files]


def test_every_picture_of_a_run(tmp_path: Path) -> None:
    tables = synthetic_tables(
        models=("alexnet", "vgg11"), methods=THREE, failed=("random",), constant={"sobel": 2}
    )
    assert names(tables, tmp_path / "new" / "plots") == [
        "curves-planted-alexnet.png",
        "maps-planted-alexnet.png",
        "curves-planted-vgg11.png",
        "maps-planted-vgg11.png",
        "scores-planted.png",
        "shares-planted.png",
        "quality-time-planted.png",
        "critical-difference.png",
    ]


def test_the_same_bytes_each_time_and_the_settings_of_the_caller_are_left_alone(
    tmp_path: Path,
) -> None:
    before = dict(mpl.rcParams)
    tables, found = concluded(methods=THREE, metrics=("deletion",))
    first, second = (
        draw(tables, found["leaderboard"], tmp_path / name, ("png", "pdf", "svg"))
        for name in ("first", "second")
    )
    assert dict(mpl.rcParams) == before
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_one_method_one_image_one_metric_and_no_mask(tmp_path: Path) -> None:
    tables = synthetic_tables(
        methods=("gradcam",), metrics=("deletion",), images=1, examples=1, masks=False
    )
    assert names(tables, tmp_path) == [
        "curves-planted-resnet18.png",
        "maps-planted-resnet18.png",
        "scores-planted.png",
        "quality-time-planted.png",
    ]


def test_a_run_without_curves_has_no_picture_of_them(tmp_path: Path) -> None:
    tables = synthetic_tables(methods=THREE, metrics=("pointing-game", "energy-inside"))
    assert names(tables, tmp_path) == [
        "maps-planted-resnet18.png",
        "scores-planted.png",
        "quality-time-planted.png",
    ]


def test_a_run_in_which_all_failed_draws_its_images_only(tmp_path: Path) -> None:
    assert names(synthetic_tables(methods=THREE, failed=THREE), tmp_path) == [
        "maps-planted-resnet18.png"
    ]


def test_a_run_without_times_or_examples(tmp_path: Path) -> None:
    tables = synthetic_tables(methods=THREE)
    tables = replace(tables, timings=tables.timings.iloc[:0], examples=[])
    assert names(tables, tmp_path) == [
        "curves-planted-resnet18.png",
        "scores-planted.png",
        "shares-planted.png",
    ]


def test_a_model_that_lacks_a_metric_and_a_method(tmp_path: Path) -> None:
    tables = synthetic_tables(models=("alexnet", "vgg11"), methods=THREE)
    gone = (tables.scores["model"] == "vgg11") & (
        (tables.scores["metric"] == "deletion") | (tables.scores["method"] == "sobel")
    )
    cells = tables.cells[(tables.cells["model"] != "vgg11") | (tables.cells["method"] != "sobel")]
    tables = replace(tables, scores=tables.scores[~gone], cells=cells)
    assert len(names(tables, tmp_path)) == 8


def test_labels_of_any_kind(tmp_path: Path) -> None:
    tables = synthetic_tables(
        dataset="imagefolder:root=../data/cats & dogs",
        models=("net:a/b", "net:a?b"),
        methods=("$\\frac{", "_hidden", "[red]" + "long," * 30, "网络"),
        metrics=("deletion", "pointing-game"),
    )
    found = names(tables, tmp_path)
    assert found[0] == "curves-imagefolder-root=..-data-cats-dogs-net-a-b.png"
    assert found[2] == "curves-imagefolder-root=..-data-cats-dogs-net-a-b-2.png"
    assert len(found) == 7


def bars(figure: Figure) -> list[list[float]]:
    """From where to where the bars of the only panel lead."""
    [panel] = figure.axes
    return [list(line.get_xdata()) for line in panel.lines if line.get_linewidth() == 3]


@pytest.mark.parametrize("models", [4, 5])
def test_bars_join_methods_only_where_there_are_models_enough_to_test(models: int) -> None:
    tables = synthetic_tables(models="abcdef"[:models], methods=THREE, metrics=("deletion",))
    noise = np.random.default_rng(0).random(len(tables.scores))
    board = leaderboard(replace(tables, scores=tables.scores.assign(value=noise)))
    figure = critical_differences(board, {"deletion": "deletion"})
    assert figure is not None
    ranks = mean_ranks(board)["mean_rank"]
    assert bars(figure) == ([] if models == 4 else [[ranks.min(), ranks.max()]])
    title = " ".join(figure.axes[0].get_title().split())
    assert ("too few models for a test" in title) == (models == 4)
    assert ("Friedman p = " in title) == (models == 5)


@pytest.mark.slow
def test_ranks_are_drawn_the_same_whatever_the_order_of_sets(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.synthetic_tables import synthetic_tables\n"
        "from interpbench.results.leaderboard import leaderboard\n"
        "from interpbench.report.rank_diagram import critical_differences\n"
        "tables = synthetic_tables(models='abcdef', images=6, metrics=('deletion',), examples=0, ceiling=False)\n"
        "board = leaderboard(tables)\n"
        "figure = critical_differences(board, {'deletion': 'deletion'})\n"
        "figure.savefig(sys.argv[1], metadata={'Software': None})\n"
    )
    root = ROOT
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / f"{seed}.png"],
            env=environment,
            cwd=root,
            check=True,
        )
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_shares_stand_between_floor_and_ceiling_and_more_is_better() -> None:
    tables, found = concluded(models=("alexnet", "vgg11"), methods=THREE)
    figure = shares_plot(Scene(tables, found["leaderboard"]), "planted")
    assert figure is not None
    assert [panel.get_title() for panel in figure.axes] == ["deletion", "insertion"]
    board = found["leaderboard"].query("metric == 'deletion'")
    order = board.groupby("method")["share"].mean().sort_values(ascending=False)
    panel = figure.axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == list(order.index)
    ends = [line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == "--"]
    assert ends == [0, 1]
    low, high = panel.get_xlim()
    seen = board["share"].between(low, high)
    assert points_of(panel) == {round(share, 9) for share in board.loc[seen, "share"]}
    assert set(board.loc[~seen, "role"]) == {"control"}
    assert len(panel.texts) == (~seen).sum()


def points_of(panel: Axes) -> set[float]:
    """Where the markers of a panel stand along its axis."""
    return {
        round(float(x), 9)
        for line in panel.lines
        if line.get_marker() != "None"
        for x in line.get_xdata()
    }


def test_controls_beyond_the_methods_shares_are_arrows_at_the_end_of_the_axis() -> None:
    tables, found = concluded(models=("alexnet", "vgg11"), methods=THREE)
    board = found["leaderboard"].copy()
    share = {"gradcam": 0.4, "random": -3.1, "sobel": 2.4}
    for column, more in (("share", 0.0), ("share_low", -0.2), ("share_high", 0.2)):
        board[column] = board["method"].map(share) + more
    figure = shares_plot(Scene(tables, board), "planted")
    assert figure is not None
    for panel in figure.axes:
        low, high = panel.get_xlim()
        assert -0.1 < low < 0
        assert 1 < high < 1.1
        assert points_of(panel) == {0.4}
        texts = {(text.get_text(), text.xy[0], text.get_ha()) for text in panel.texts}
        assert texts == {("−310%", 0, "left"), ("240%", 1, "right")}
        lanes = [label.get_text() for label in panel.get_yticklabels()]
        assert lanes == ["sobel", "gradcam", "random"]
        assert {(lanes[round(text.xy[1])], text.get_text()) for text in panel.texts} == {
            ("random", "−310%"), ("sobel", "240%"),
        }  # fmt: skip


def falls(*middles: float) -> pd.DataFrame:
    """Curves that fall at these shares of positions, on a picture 64 positions wide."""
    fraction = np.arange(65) / 64
    curves = {m: 1 / (1 + (fraction / middle) ** 4) for m, middle in enumerate(middles)}
    return pd.DataFrame(curves, index=fraction)


def test_the_axis_is_logarithmic_where_lines_part_among_the_first_positions() -> None:
    assert parts_early(falls(0.03, 0.05, 0.08))
    assert not parts_early(falls(0.2, 0.4, 0.6))
    assert not parts_early(falls(0.03))
    constant = pd.DataFrame({"a": 0.0, "b": 1.0}, index=np.arange(65) / 64)
    assert not parts_early(constant)  # as far apart on both
    # By hand: apart by 1 up to 1/4 of the positions, so 1/4 of a linear axis and half of 1/16 .. 1.
    halves = pd.DataFrame(
        {"a": 0.0, "b": 1.0 * (np.arange(4097) <= 1024)}, index=np.arange(4097) / 4096
    )
    assert parts_early(halves.loc[1 / 16 :])


@pytest.mark.parametrize(("early", "scale"), [(True, "log"), (False, "linear")])
def test_curves_are_drawn_on_the_axis_that_parts_them(early: bool, scale: str) -> None:
    tables, found = concluded(methods=(*THREE, "saliency"), metrics=("deletion",), steps=32)
    if early:  # all that happens is over after a tenth of the positions
        steps = np.minimum(10 * np.arange(33), 32)
        early_ones = {k: replace(v, mean=v.mean[steps]) for k, v in tables.curves.items()}
        tables = replace(tables, curves=early_ones)
    figure = curves_plot(Scene(tables, found["leaderboard"]), "planted", "resnet18")
    assert figure is not None
    [panel] = figure.axes
    assert panel.get_xscale() == scale
    assert panel.get_xlim() == ((1 / 32, 1) if early else (0, 1))
    assert ("logarithmic" in panel.get_xlabel()) == early


@pytest.mark.parametrize(
    ("columns", "inches"), [(1, 3.25), pytest.param(2, 6.75, marks=pytest.mark.slow)]
)
def test_pictures_for_a_paper(tmp_path: Path, columns: int, inches: float) -> None:
    tables, found = small()
    files = draw(tables, found["leaderboard"], tmp_path, ("pdf", "svg"), Page(columns))
    assert len(files) == 2 * 8
    for file in files:
        if file.suffix == ".pdf":
            content = file.read_bytes()
            assert b"/CIDFontType2" in content or b"/TrueType" in content
            assert b"/Type3" not in content
            [(width, _)] = re.findall(rb"/MediaBox \[ 0 0 (\S+) (\S+) \]", content)
            assert float(width) / 72 == pytest.approx(inches)
        else:
            text = file.read_text()
            assert float(re.findall(r'width="([\d.]+)pt"', text)[0]) / 72 == pytest.approx(inches)
            assert re.search(r">[^<]*gradcam[^<]*</text>", text)  # as text


def small() -> tuple[RunTables, dict[str, pd.DataFrame]]:
    """A run that has every kind of picture."""
    return concluded(models=("alexnet", "vgg11"), methods=THREE, metrics=("deletion",))


@pytest.mark.parametrize("columns", [None, 1, 2])
def test_no_letters_leave_the_picture(columns: int | None) -> None:
    tables, found = small()
    scene = Scene(tables, found["leaderboard"], Page(columns))
    with style(scene.page):
        for (kind, *_), make in plots._figures(scene):
            figure = make()
            assert figure is not None
            renderer = figure._get_renderer()
            figure.draw(renderer)
            frame = figure.bbox.padded(1)
            # Numbers below an axis may belong to ticks beyond its ends, which are not drawn.
            numbers = {t for panel in figure.axes for t in panel.get_xticklabels(which="both")}
            for text in figure.findobj(Text):
                if text.get_visible() and text.get_text() and text not in numbers:
                    box = Text.get_window_extent(text, renderer)
                    inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
                    assert inside, (kind, text.get_text(), box.extents, frame.extents)


def test_unknown_formats_are_named(tmp_path: Path) -> None:
    tables, found = concluded(methods=THREE)
    with pytest.raises(UnknownNameError, match="Unknown format 'gif'"):
        draw(tables, found["leaderboard"], tmp_path, ("png", "gif"))
    assert list(tmp_path.iterdir()) == []


def test_invalid_maps_leave_a_note_in_their_place() -> None:
    example = synthetic_tables(methods=THREE).examples[0]
    side = example.image.shape[0]
    maps = {
        "flat": np.zeros((side, side), dtype=np.float32),
        "nan": np.full((side, side), np.nan, dtype=np.float32),
        "signed": np.linspace(-1, 1, side * side, dtype=np.float32).reshape(side, side),
    }
    figure = map_grid([replace(example, maps=maps), replace(example, maps={})], "title")
    notes = [text.get_text() for panel in figure.axes for text in panel.texts]
    assert notes.count("no valid\nmap") == 1 + 3


def test_classes_differ_in_more_than_colour() -> None:
    example = synthetic_tables(methods=THREE).examples[0]
    for predicted, mark in ((example.true_class, "✓"), ("another", "✗")):
        figure = map_grid([replace(example, predicted_class=predicted)], "title")
        texts = [" ".join(text.get_text().split()) for text in figure.axes[0].texts[-2:]]
        assert texts == [f"true: {example.true_class}", f"{mark} predicted: {predicted}"]


def crowded(count: int) -> RunTables:
    """A run whose methods, most of them as quick as one another, crowd on the plot of quality against time."""
    methods = tuple(f"method-with-a-long-name-{i:02d}" for i in range(count))
    tables = synthetic_tables(methods=methods, metrics=("deletion",), examples=0)
    rng = np.random.default_rng(2)
    speed = dict(
        zip(
            methods,
            rng.choice([0.3, 3, 4, 80], count) * np.exp(rng.normal(0, 0.15, count)),
            strict=True,
        )
    )
    seconds = [24e-3 * speed[method] for method in tables.timings["method"]]
    return replace(tables, timings=tables.timings.assign(attribution_seconds=seconds))


@pytest.mark.parametrize("count", [12, 13, 30])
def test_methods_that_crowd_are_numbered_and_listed(count: int) -> None:
    tables = crowded(count)
    board = leaderboard(tables)
    with style():
        figure = time_plot(Scene(tables, board), "planted")
    assert figure is not None
    [panel] = figure.axes
    written = [text.get_text() for text in panel.texts]
    best_first = board.sort_values("mean")["method"].tolist()
    if count <= 12:
        assert sorted(written) == sorted(best_first)
        assert panel.get_legend() is None
        return
    assert sorted(map(int, written)) == list(range(1, count + 1))
    listed = [text.get_text().split() for text in panel.get_legend().get_texts()]
    assert [(int(number), method) for number, _, method in listed] == list(enumerate(best_first, 1))
    figure.draw_without_rendering()
    boxes = [
        Text.get_window_extent(text) for text in (*panel.texts, *panel.get_legend().get_texts())
    ]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    points = dict(board.set_index("method")["mean"])
    for text in panel.texts:
        assert text.xy[1] == points[best_first[int(text.get_text()) - 1]]


def test_a_readmes_picture_stands_on_both_grounds_and_brings_its_letters(tmp_path: Path) -> None:
    tables = synthetic_tables(models=("alexnet", "vgg11"), methods=THREE)
    files = draw_for_readme(tables, leaderboard(tables), tmp_path)
    [(dataset, (light, dark))] = files.items()
    assert [file.name for file in (light, dark)] == [
        f"readme-{dataset}-light.svg",
        f"readme-{dataset}-dark.svg",
    ]
    texts = [file.read_text() for file in (light, dark)]
    assert all("<text" not in text and "<image" not in text for text in texts)
    assert ["#0d1117" in text for text in texts] == [False, True]
    again = draw_for_readme(tables, leaderboard(tables), tmp_path / "again")[dataset]
    assert [file.read_text() for file in again] == texts
