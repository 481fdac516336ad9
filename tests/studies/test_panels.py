"""How panels are drawn: colours, pixels, and text that fits and covers nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from interpbench.drawing.fitted_text import Font
from interpbench.drawing.overlay import Look
from interpbench.drawing.style import style
from interpbench.studies.pictures.panels import DPI, Panel, _panel, draw_panel, percent
from tests.paths import ROOT
from tests.picture_commands import overlapping


def test_percentages_never_look_certain_when_they_are_not() -> None:
    given = (0, 0.0001, 0.0099, 0.01, 0.5, 0.99, 0.9999, 1)
    assert [percent(p) for p in given] == ["0%", "<1%", "<1%", "1%", "50%", "99%", ">99%", "100%"]


RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
GREY = IMAGE @ np.array([0.299, 0.587, 0.114]) / 255


@pytest.mark.parametrize(
    "values", [RNG.normal(size=(16, 16)), RNG.random((16, 16))], ids=["signed", "positive"]
)
def test_the_stronger_a_map_the_more_opaque_are_its_colours(values: np.ndarray) -> None:
    level = Look().levels(values)
    signed = values.min() < 0
    colours = colormaps["RdBu_r" if signed else "inferno"](level / 2 + 0.5 if signed else level)[
        ..., :3
    ]
    opacity = (0.2 + 0.6 * np.abs(level))[..., None]
    expected = (1 - opacity) * GREY[..., None] + opacity * colours
    np.testing.assert_allclose(Look().overlay(IMAGE, values, 16), expected, atol=1e-6)


def test_signed_maps_are_centred_at_zero_and_absolute_ones_fold() -> None:
    values = np.linspace(-1, 3, 256).reshape(16, 16)
    levels = Look(signed=True).levels(values)
    assert levels[np.abs(values).argmin() // 16, np.abs(values).argmin() % 16] == pytest.approx(
        0, abs=0.01
    )
    np.testing.assert_array_equal(np.sign(levels), np.sign(values))
    np.testing.assert_allclose(levels, np.clip(values / np.percentile(np.abs(values), 99), -1, 1))
    positive = Look(signed=True).levels(np.abs(values))
    assert positive.min() >= 0
    np.testing.assert_array_equal(Look(signed=False).levels(values), Look().levels(np.abs(values)))
    assert Look(signed=False).levels(values)[0, 0] > Look(signed=False).levels(values)[3, 15]
    assert [Look(signed=s).diverges(np.abs(values)) for s in (True, False, None)] == [
        True,
        False,
        False,
    ]


def test_alpha_is_the_intensity_and_cmap_the_colours() -> None:
    values = RNG.random((16, 16))
    np.testing.assert_allclose(
        Look(alpha=0).overlay(IMAGE, values, 16), np.repeat(GREY[..., None], 3, 2), atol=1e-9
    )
    strongest = np.unravel_index(values.argmax(), values.shape)
    full = Look(alpha=1, cmap="viridis").overlay(IMAGE, values, 16)
    np.testing.assert_allclose(
        full[strongest], [0.993248, 0.906157, 0.143936], atol=1e-5
    )  # viridis ends so
    assert Look(cmap="viridis").colours(True) == Look().colours(True)
    assert Look(cmap="PuOr", signed=True).colours(True) == "PuOr"


def test_images_keep_their_pixels_and_maps_are_smooth() -> None:
    values = RNG.random((16, 16))
    large = Look(alpha=0).overlay(IMAGE, values, 160)
    assert large.shape == (160, 160, 3)
    np.testing.assert_allclose(large[..., 0], np.kron(GREY, np.ones((10, 10))), atol=1e-9)
    flat = np.full((16, 16, 3), 128, dtype=np.uint8)
    steps = np.abs(np.diff(Look(alpha=1).overlay(flat, values, 160), axis=1)).max()
    coarse = np.abs(np.diff(Look(alpha=1).overlay(flat, values, 16), axis=1)).max()
    assert steps < 0.4 * coarse


@pytest.mark.parametrize(
    "text",
    ["short", "occlusion:fill=blur,stride=8,window=16", "x" * 200, "a b  c\nd", "", "网络" * 40],
)
def test_text_fits(text: str) -> None:
    font = Font()
    with style():  # where letters that the font lacks are no warning
        for inches in (0.8, 1.3):
            lines = font.fold(text, inches).split("\n")
            assert len(lines) <= 3
            assert all(font.width(line) <= inches for line in lines)
            assert font.width(font.shorten(text, inches)) <= inches
            assert font.width(font.shorten(text, inches, "end")) <= inches
    assert font.fold("a  b\nc", 9) == "a b c"
    assert font.fold("a,b: 1,000", 9) == "a,b: 1,000"
    assert font.shorten("path/name.png", 0.5, "end").endswith("name.png"[-4:])


def panel(methods: int, name: str = "cat.jpg", label: str = "method") -> Panel:
    maps = {f"{label}-{i}": RNG.normal(size=(16, 16)) for i in range(methods)}
    predictions = [(f"{name}-{i}", 0.5 / (i + 1)) for i in range(5)]
    return Panel(name, IMAGE, predictions, f"{name}-0", maps)


@pytest.mark.parametrize("methods", [1, 2, 3, 7, 12])
@pytest.mark.parametrize(
    ("name", "label"), [("cat.jpg", "gradcam"), ("long-" * 40, "occlusion:window=16,stride=8,fill")]
)
def test_nothing_overlaps_on_a_panel(methods: int, name: str, label: str) -> None:
    with style():
        figure = _panel(
            panel(methods, name, label),
            f"resnet18 trained on {name}; explained: {name}, 50%",
            (Look(),),
        )
        assert overlapping(figure) == []


def test_text_that_overlaps_is_seen() -> None:
    figure = Figure(figsize=(3, 3))
    for x in (0.3, 0.35):
        figure.text(x, 0.5, "much text")
    figure.text(0.99, 0.2, "outside of it")
    assert overlapping(figure) == [("outside of it", "outside"), ("much text", "much text")]


@pytest.mark.parametrize(
    ("methods", "columns", "rows"), [(1, 3, 1), (3, 5, 1), (4, 3, 2), (12, 5, 3)]
)
def test_a_panel_is_as_large_as_its_grid(
    tmp_path: Path, methods: int, columns: int, rows: int
) -> None:
    draw_panel(panel(methods), "line", (Look(),), tmp_path / "a.png")
    width, height = Image.open(tmp_path / "a.png").size
    assert width == pytest.approx(DPI * max(4.7, columns * 1.4 + 0.1), abs=1)
    assert rows * 1.5 * DPI < height < (rows * 1.6 + 1.3) * DPI


@pytest.mark.parametrize("label", ["gradcam", "occlusion:window=16,stride=8,fill"])
def test_several_opacities_are_a_row_for_each_method(label: str) -> None:
    shown = panel(2, label=label)
    with style():
        figure = _panel(shown, "line", [Look(alpha) for alpha in (0.0, 0.5, 1.0)])
        assert overlapping(figure) == []
    heads = [" ".join(axes.get_title().split()) for axes in figure.axes if axes.get_title()]
    assert [head.rpartition(", alpha ")[2] for head in heads] == [
        "image", "predictions", *["0", "0.5", "1"] * 2
    ]  # fmt: skip
    maps = [axes for axes in figure.axes if "alpha" in axes.get_title()]
    places = np.array([axes.get_position().p0 for axes in maps]).reshape(2, 3, 2)
    assert np.allclose(places[0, :, 0], places[1, :, 0])  # the same columns
    assert (np.diff(places[:, :, 0], axis=1) > 0).all()
    assert (places[0, :, 1] > places[1, :, 1]).all()
    # At opacity 0 it is the grey image; the stronger, the further from it.
    drawn = [np.asarray(axes.images[0].get_array()) for axes in maps[:3]]
    distance = [np.abs(colours - drawn[0]).mean() for colours in drawn]
    assert np.allclose(drawn[0], drawn[0][..., :1])
    assert distance[0] == 0 < distance[1] < distance[2]


def test_an_invalid_map_leaves_a_note() -> None:
    maps = {
        "a": None,
        "b": np.full((16, 16), np.nan),
        "c": np.zeros((16, 16)),
        "d": RNG.random((16, 16)),
    }
    with style():
        figure = _panel(Panel("x", IMAGE, [("cat", 1.0)], "cat", maps), "", (Look(),))
    notes = {axes.get_title(): [t.get_text() for t in axes.texts] for axes in figure.axes}
    assert [notes[name] for name in "abcd"] == [
        ["failed"],
        ["NaN or infinite"],
        ["constant map"],
        [],
    ]


def test_drawing_needs_no_torch() -> None:
    modules = "interpbench.studies.pictures.panels, interpbench.studies.pictures.confusion_plot"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
