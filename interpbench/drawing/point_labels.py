"""Names beside the points of a plot, kept from covering each other."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties

from interpbench.drawing.style import SMALL

_DISTANCES = (7, 14, 22, 32, 44, 58)  # points
_ANGLES = (0, 180, 60, 300, 120, 240, 90, 270, 30, 330, 150, 210)
_FAR = 20  # places a side of a panel that are tried where there is none near the point
_FONT = FontProperties(size=SMALL)
_MARKER = 3.5  # points from a point that no label comes closer to
# What of a place is bad, in points of distance: a box that lies on what is drawn, which is then not
# seen, and a leader that runs through another's point, or crosses another leader.
_COVERING, _THROUGH, _CROSSING = 500, 60, 60
# And a box to which another's point is nearer; it gets a leader too, so that nobody errs.
_ASTRAY = 40


@dataclass(frozen=True)
class _Place:
    """Where a label is written, and whether a line joins it to its point."""

    box: np.ndarray
    joined: bool


@dataclass
class _Taken:
    """What stands in a panel already, in pixels.

    Attributes:
        drawn: boxes (x0, y0, x1, y1) [N,4] of its lines and markers.
        points: x and y [M,2] of all that get a label.
        boxes, leaders: of the labels that have a place; a leader is (x, y, x, y).
    """

    drawn: np.ndarray
    points: np.ndarray
    boxes: list[np.ndarray] = field(default_factory=list)
    leaders: list[np.ndarray] = field(default_factory=list)


def place_labels(panel: Axes, points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Write each label near its point (x, y in data), joined to it by a line where it is not close.

    No label touches another or any point, or lies outside `panel`, and no line runs through another
    label. Of the
    places that are left, a label gets the one that covers the least of what is drawn and is
    nearest. They are placed one after the other, in several orders if need be; those for which
    there is no room are not written.

    Parameters:
        panel: of a figure that has its final layout.
        points: label -> its point.

    Returns:
        the labels for which there is no room.
    """
    renderer = FigureCanvasAgg(panel.get_figure(root=True)).get_renderer()
    sizes = {label: _size(renderer, label) for label in points}
    pixels = {label: panel.transData.transform(point) for label, point in points.items()}
    drawn = [line.get_window_extent(renderer).padded(2).extents for line in panel.lines]
    frame, point = np.array(panel.get_window_extent().extents), renderer.points_to_pixels(1)
    best: dict[str, _Place] = {}
    for order in _orders(pixels):
        found: dict[str, _Place] = {}
        taken = _Taken(np.array(drawn).reshape(-1, 4), np.array(list(pixels.values())))
        for label in order:
            place = _place(pixels[label], sizes[label], frame, point, taken)
            if place is not None:
                found[label] = place
        if len(found) > len(best):
            best = found
        if len(best) == len(points):
            break
    for label, place in best.items():
        offset = (_centre(place.box) - pixels[label]) / point
        _write(panel, label, points[label], offset, joined=place.joined)
    return [label for label in points if label not in best]


def _size(renderer: RendererAgg, label: str) -> np.ndarray:
    """Width and height in pixels that a label takes, with a little room around it.

    A line is as high as its highest and lowest letters, whether the label has them or not.
    """
    sizes = [renderer.get_text_width_height_descent(text, _FONT, False) for text in (label, "lp")]
    return np.array([sizes[0][0], max(height for _, height, _ in sizes)]) + 3


def _orders(pixels: Mapping[str, np.ndarray]) -> list[list[str]]:
    """In which labels may be placed: from above, below, left, right."""
    return [
        sorted(pixels, key=lambda label: sign * pixels[label][axis])
        for axis, sign in ((1, -1), (1, 1), (0, 1), (0, -1))
    ]


def _place(
    point: np.ndarray, size: np.ndarray, frame: np.ndarray, scale: float, taken: _Taken
) -> _Place | None:
    """The best place for a label, which is then taken; None if there is none.

    Parameters:
        point: x and y in pixels.
        size: width and height of the label, in pixels.
        frame: of the panel: x0, y0, x1, y1 in pixels.
        scale: how many pixels make a point of type.
        taken: what stands there.
    """
    boxes = np.concatenate([_near(point, size, scale), _anywhere(size, frame)])
    nearest = _distance(boxes, taken.points).min(1)
    astray = _distance(boxes, point[None])[:, 0] >= nearest + scale
    joined = astray | (np.arange(len(boxes)) >= len(_ANGLES))
    leaders = np.concatenate([np.broadcast_to(point, (len(boxes), 2)), _centre(boxes)], axis=1)
    others = np.array(taken.boxes).reshape(-1, 4)
    lines = np.array(taken.leaders).reshape(-1, 4)
    inside = (boxes[:, :2] >= frame[:2]).all(1) & (boxes[:, 2:] <= frame[2:]).all(1)
    free = (
        inside
        & (nearest > _MARKER * scale)
        & (_shared(boxes, others) == 0)
        & ~_cross(lines, boxes).any(0)
    )
    free &= ~(joined & _cross(leaders, others).any(1))
    if not free.any():
        return None
    # Its own point is drawn too, and every leader runs through it.
    points = taken.drawn[~_cross(np.array([[*point, *point]]), taken.drawn)[0]]
    cost = np.hypot(*(_centre(boxes) - point).T) / scale
    cost += _ASTRAY * astray
    cost += _COVERING * _shared(boxes, taken.drawn) / size.prod()
    cost += joined * _THROUGH * _cross(leaders, points).sum(1)
    cost += joined * _CROSSING * _meet(leaders, lines).sum(1)
    best = int(np.argmin(np.where(free, np.round(cost, 3), np.inf)))
    taken.boxes.append(boxes[best])
    if joined[best]:
        taken.leaders.append(leaders[best])
    return _Place(boxes[best], bool(joined[best]))


def _near(point: np.ndarray, size: np.ndarray, scale: float) -> np.ndarray:
    """Boxes [P,4] around the point; the first, as many as there are angles, touch it nearly."""
    ways = itertools.product(_DISTANCES, map(math.radians, _ANGLES))
    centres = [
        point + (distance * scale + size / 2) * (math.cos(angle), math.sin(angle))
        for distance, angle in ways
    ]
    return _boxes(np.array(centres), size)


def _anywhere(size: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Boxes [P,4] all over the panel; none if the label is wider or higher than that."""
    low, high = frame[:2] + size / 2, frame[2:] - size / 2
    if (low > high).any():
        return np.empty((0, 4))
    axes = [np.linspace(low[i], high[i], _FAR) for i in range(2)]
    return _boxes(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2), size)


def _boxes(centres: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.concatenate([centres - size / 2, centres + size / 2], axis=1)


def _centre(boxes: np.ndarray) -> np.ndarray:
    """Of boxes [...,4]: x and y [...,2]."""
    centre: np.ndarray = (boxes[..., :2] + boxes[..., 2:]) / 2
    return centre


def _distance(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """From each of `boxes` [P,4] to each of `points` [Q,2]: [P,Q]; 0 within."""
    out = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:]).clip(0)
    distance: np.ndarray = np.hypot(out[..., 0], out[..., 1])
    return distance


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area [P] that each of `boxes` [P,4] shares with all of `others` [Q,4]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: np.ndarray = np.clip(high - low, 0, None).prod(axis=-1).sum(axis=1)
    return area


def _cross(lines: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether each of `lines` [P,4] runs through each of `boxes` [Q,4]: bool [P,Q].

    A line is in a box between the greatest of the shares of its way at which it enters the box's
    span of x and that of y, and the least of those at which it leaves them.
    """
    start, way = lines[:, None, :2], (lines[:, 2:] - lines[:, :2])[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(boxes[None, :, :2] - start) / way, (boxes[None, :, 2:] - start) / way])
    within = (start >= boxes[None, :, :2]) & (start <= boxes[None, :, 2:])
    enter = np.where(way == 0, np.where(within, -np.inf, np.inf), ends.min(axis=0))
    leave = np.where(way == 0, np.where(within, np.inf, -np.inf), ends.max(axis=0))
    through: np.ndarray = np.maximum(enter.max(axis=-1), 0) <= np.minimum(leave.min(axis=-1), 1)
    return through


def _meet(lines: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of `lines` [P,4] crosses each of `others` [Q,4]: bool [P,Q]."""

    def sides(ends: np.ndarray, of: np.ndarray) -> np.ndarray:
        """On which sides of the lines `of` [A,4] both ends of `ends` [B,4] lie: [A,B,2]."""
        way = of[:, 2:] - of[:, :2]
        both = ends.reshape(1, -1, 2, 2) - of[:, None, None, :2]
        side: np.ndarray = (
            way[:, None, None, 0] * both[..., 1] - way[:, None, None, 1] * both[..., 0]
        )
        return side

    theirs, ours = sides(others, lines), sides(lines, others)
    crossing: np.ndarray = (theirs.prod(-1) < 0) & (ours.prod(-1) < 0).T
    return crossing


def _write(
    panel: Axes, label: str, point: tuple[float, float], offset: np.ndarray, joined: bool
) -> None:
    """The label, its middle so many points of type from the point."""
    leader = {"arrowstyle": "-", "color": "0.4", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    panel.annotate(
        label,
        xy=point,
        xytext=tuple(offset),
        textcoords="offset points",
        ha="center",
        va="center",
        fontproperties=_FONT,
        arrowprops=leader if joined else None,
        in_layout=False,
    )
