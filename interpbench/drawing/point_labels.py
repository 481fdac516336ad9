"""Names beside the points of a plot, kept from covering each other."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties

_DISTANCES = (7, 14, 22, 32, 44, 58)  # points
_ANGLES = (0, 180, 60, 300, 120, 240, 90, 270, 30, 330, 150, 210)
_FONT = FontProperties(size=7.5)


def place_labels(panel: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write each label near its point (x, y in data), joined to it by a line where it is not close.

    Greedy, from the top: of some seventy places around the point the first is taken that covers no
    line of `panel` and no label and lies within the panel, else the one that covers the least. The
    figure must have its final layout.
    """
    renderer = FigureCanvasAgg(panel.get_figure(root=True)).get_renderer()
    frame = np.array([panel.get_window_extent().extents])
    taken = [line.get_window_extent(renderer).padded(2).extents for line in panel.lines]
    for label, point in sorted(points.items(), key=lambda item: -item[1][1]):
        width, height, _ = renderer.get_text_width_height_descent(label, _FONT, False)
        places = _places(
            panel.transData.transform(point), width + 2, height + 2, renderer.points_to_pixels(1)
        )
        outside = (width + 2) * (height + 2) - _shared(places, frame)
        # Rounded, so that of places that are equally good the nearest is taken.
        covered = _shared(places, np.array(taken))
        best = int(np.argmin(np.round(covered + outside, 3)))
        taken.append(places[best])
        _write(panel, label, point, places[best], joined=best >= len(_ANGLES))


def _places(point: np.ndarray, width: float, height: float, pixels: float) -> np.ndarray:
    """Boxes (x0, y0, x1, y1) [P,4] around the point, nearest first.

    Parameters:
        point: x and y in pixels.
        width, height: of a box, in pixels.
        pixels: how many make a point of type.
    """
    boxes = []
    for distance, angle in itertools.product(_DISTANCES, map(math.radians, _ANGLES)):
        x = point[0] + math.cos(angle) * (distance * pixels + width / 2)
        y = point[1] + math.sin(angle) * (distance * pixels + height / 2)
        boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(boxes)


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area [P] that each of `boxes` [P,4] shares with all of `others` [Q,4]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: np.ndarray = np.clip(high - low, 0, None).prod(axis=-1).sum(axis=1)
    return area


def _write(
    panel: Axes, label: str, point: tuple[float, float], box: np.ndarray, joined: bool
) -> None:
    leader = {"arrowstyle": "-", "color": "0.4", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    panel.annotate(
        label,
        xy=point,
        xytext=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
        textcoords="figure pixels",
        ha="center",
        va="center",
        fontproperties=_FONT,
        arrowprops=leader if joined else None,
        in_layout=False,
    )
