"""Labels of points: none touches another or a point or leaves its panel, and no leader runs through one."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from interpbench.drawing.point_labels import place_labels
from interpbench.drawing.style import style


def panel_of(points: dict[str, tuple[float, float]], size: tuple[float, float] = (5, 4)) -> Axes:
    """A panel with a marker and an interval for each point."""
    figure = Figure(figsize=size)
    panel = figure.subplots()
    for x, y in points.values():
        panel.plot(x, y, "o", markersize=6)
        panel.plot([x, x], [y - 0.05, y + 0.05])
    panel.margins(0.18)
    figure.draw_without_rendering()
    return panel


def boxes_of(panel: Axes) -> dict[str, Bbox]:
    """Where the letters of each label are, in pixels, without its leader."""
    figure = panel.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    return {text.get_text(): Text.get_window_extent(text) for text in panel.texts}


def check(panel: Axes, points: dict[str, tuple[float, float]], left_out: list[str]) -> None:
    """All that is promised, along leaders point by point, which is slow and obvious."""
    boxes = boxes_of(panel)
    assert set(boxes) == set(points) - set(left_out)
    frame = panel.get_window_extent()
    for box in boxes.values():
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1  # noqa: PT018
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1  # noqa: PT018
        for point in points.values():
            assert not box.contains(*panel.transData.transform(point))
    for one, other in combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    for text in panel.texts:
        if text.arrow_patch is None:
            continue
        own = boxes[text.get_text()]
        start = panel.transData.transform(points[text.get_text()])
        end = np.array([own.x0 + own.x1, own.y0 + own.y1]) / 2
        along = start + np.linspace(0, 1, 400)[:, None] * (end - start)
        for label, box in boxes.items():
            if label != text.get_text():
                inside = (along > box.min).all(1) & (along < box.max).all(1)
                assert not inside.any(), (text.get_text(), label)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 15),
    clusters=st.integers(1, 4),
    letters=st.integers(1, 24),
)
def test_labels_and_leaders_keep_clear_of_labels(
    seed: int, count: int, clusters: int, letters: int
) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.random((clusters, 2))
    places = centres[rng.integers(clusters, size=count)] + rng.normal(0, 0.03, (count, 2))
    points = {f"{i:x<{letters}}": (float(x), float(y)) for i, (x, y) in enumerate(places)}
    with style():
        panel = panel_of(points)
        check(panel, points, place_labels(panel, points))


def test_names_of_nine_methods_all_find_room_and_few_numbers_fail() -> None:
    """How often there is no room, on data as runs have them: methods in three groups of speed."""
    failed = {9: 0, 40: 0}
    for seed in range(2):
        rng = np.random.default_rng(seed)
        for count, letters in ((9, 20), (40, 2)):
            speed = rng.choice([0.0, 1.0, 2.5], count) + rng.normal(0, 0.15, count)
            labels = [f"{i:0{letters}}" for i in range(count)]
            points = dict(
                zip(labels, zip(speed, rng.normal(0, 0.2, count), strict=True), strict=True)
            )
            with style():
                panel = panel_of(points, (4.4, 7.0) if count == 40 else (4.4, 3.6))
                failed[count] += len(place_labels(panel, points))
    assert failed[9] == 0
    assert failed[40] <= 1


def test_a_label_for_which_there_is_no_room_is_not_written() -> None:
    points = {"a": (0.0, 0.0), "b" * 300: (1.0, 1.0)}
    with style():
        panel = panel_of(points)
        assert place_labels(panel, points) == ["b" * 300]
    assert [text.get_text() for text in panel.texts] == ["a"]


@pytest.mark.parametrize("dpi", [72, 300])
def test_labels_stay_where_they_are_at_another_resolution(dpi: int) -> None:
    points = {f"method-{i}": (float(i % 3), 0.1 * i) for i in range(9)}
    with style():
        panel = panel_of(points)
        assert place_labels(panel, points) == []
        before = {label: box.extents / panel.figure.dpi for label, box in boxes_of(panel).items()}
        panel.figure.set_dpi(dpi)
        panel.figure.draw_without_rendering()
        after = {label: box.extents / dpi for label, box in boxes_of(panel).items()}
    for label, box in before.items():
        np.testing.assert_allclose(after[label], box, atol=0.03)  # inches; letters are hinted
