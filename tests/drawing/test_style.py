"""Numbers of axes as they stand in a picture."""

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpbench.drawing.style import logarithmic, style


@pytest.mark.parametrize(
    ("limits", "numbers"),
    [
        ((0.0008, 20), ["0.001", "0.01", "0.1", "1", "10"]),
        ((3, 60), ["5", "10", "20", "50"]),
        ((1, 9), ["1", "2", "5"]),
    ],
)
@pytest.mark.parametrize("which", ["x", "y"])
def test_numbers_of_logarithmic_axes_are_plain(
    which: str, limits: tuple[float, float], numbers: list[str]
) -> None:
    with style():
        figure = Figure()
        FigureCanvasAgg(figure)
        panel: Axes = figure.subplots()
        logarithmic(panel, which)  # type: ignore[arg-type]
        axis = panel.xaxis if which == "x" else panel.yaxis
        (panel.set_xlim if which == "x" else panel.set_ylim)(limits)
        figure.draw_without_rendering()
    low, high = limits
    ticks = [*zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)]
    ticks += [*zip(axis.get_minorticklocs(), axis.get_minorticklabels(), strict=True)]
    shown = {at: text.get_text() for at, text in ticks if low <= at <= high and text.get_text()}
    assert [shown[at] for at in sorted(shown)] == numbers
