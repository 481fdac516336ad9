"""The example images with their maps, in data URIs.

Image, map and outline are layers of their own.
"""

import io
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from interpbench.drawing.overlay import DIVERGING, SEQUENTIAL, Look
from interpbench.report.verdict.evidence import Evidence
from interpbench.results.tables import Example

_SIDE = 224  # pixels of an image's longer side at most
_MAP_SIDE = 112
_LOSSLESS = 96  # images up to this side are kept pixel by pixel
_COLOURS = 64  # of a map


@dataclass(frozen=True)
class Picture:
    """An image that several models may have explained.

    Attributes:
        width, height: in its own pixels; outlines are in these units.
        uri: the image.
        outline: SVG path along the border of the true evidence, or "".
        smooth: whether it was scaled down, so that its pixels need not be shown.
    """

    sample_id: str
    width: int
    height: int
    uri: str
    outline: str
    smooth: bool


@dataclass(frozen=True)
class Tile:
    """A method's map of an image: a data URI, and its score by each metric.

    The URI is "" where there is no valid map.
    """

    method: str
    uri: str
    signed: bool
    scores: dict[str, float]


@dataclass(frozen=True)
class Shown:
    """An image that a model was asked about; `picture` is its index in the gallery."""

    dataset: str
    model: str
    sample_id: str
    picture: int
    true_class: str
    predicted_class: str
    tiles: tuple[Tile, ...]

    @property
    def correct(self) -> bool:
        return self.true_class in ("", self.predicted_class)


@dataclass(frozen=True)
class ExamplePictures:
    """Pictures, and who was shown which.

    `masks` says whether any has its true evidence outlined.
    """

    pictures: tuple[Picture, ...]
    shown: tuple[Shown, ...]

    @property
    def masks(self) -> bool:
        return any(picture.outline for picture in self.pictures)

    @property
    def signed(self) -> bool:
        return any(tile.signed for shown in self.shown for tile in shown.tiles)


def gallery(evidence: Evidence) -> ExamplePictures:
    """The examples that a run kept; nothing where there is only a CSV."""
    if evidence.tables is None:
        return ExamplePictures((), ())
    pictures: dict[tuple[object, ...], Picture] = {}
    scores = _scores(evidence)
    shown = []
    for example in evidence.tables.examples:
        key = (example.sample_id, example.image.shape, example.image.tobytes())
        pictures.setdefault(key, _picture(example))
        tiles = tuple(_tile(evidence, example, method, scores) for method in evidence.methods)
        place = list(pictures).index(key)
        shown.append(
            Shown(
                example.dataset,
                example.model,
                example.sample_id,
                place,
                example.true_class,
                example.predicted_class,
                tiles,
            )
        )
    return ExamplePictures(tuple(pictures.values()), tuple(shown))


def _scores(evidence: Evidence) -> dict[tuple[str, str, str, str], dict[str, float]]:
    """(dataset, model, sample, method) -> metric -> score, of the examples."""
    assert evidence.tables is not None
    scores = evidence.tables.scores
    shown = list({example.sample_id for example in evidence.tables.examples})
    scores = scores[scores["sample_id"].isin(shown)].dropna(subset=["value"])
    by_map: dict[tuple[str, str, str, str], dict[str, float]] = {}
    columns = ["dataset", "model", "sample_id", "method", "metric", "value"]
    for *key, metric, value in scores[columns].itertuples(index=False):
        by_map.setdefault((key[0], key[1], key[2], key[3]), {})[metric] = round(float(value), 6)
    return by_map


def _tile(
    evidence: Evidence,
    example: Example,
    method: str,
    scores: dict[tuple[str, str, str, str], dict[str, float]],
) -> Tile:
    values = example.maps.get(method)
    by_metric = scores.get((example.dataset, example.model, example.sample_id, method), {})
    if values is None or not np.isfinite(values).all() or values.min() == values.max():
        return Tile(method, "", False, by_metric)
    levels = Look().levels(values)
    return Tile(method, _map_uri(levels), bool(levels.min() < 0), by_metric)


def _picture(example: Example) -> Picture:
    height, width = example.image.shape[:2]
    image = Image.fromarray(example.image)
    smooth = max(width, height) > _LOSSLESS
    if smooth:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    uri = _uri(image, "WEBP", quality=82, method=4) if smooth else _uri(image, "PNG", optimize=True)
    outline = "" if example.mask is None else outline_path(example.mask)
    return Picture(example.sample_id, width, height, uri, outline, smooth)


def _map_uri(drawn: np.ndarray) -> str:
    """A map's levels, -1..1 or 0..1, as a PNG with a palette; the stronger, the more opaque."""
    diverges = bool(drawn.min() < 0)
    position = (drawn + 1) / 2 if diverges else drawn
    image = Image.fromarray(np.rint(position * (_COLOURS - 1)).astype(np.uint8))
    image.thumbnail((_MAP_SIDE, _MAP_SIDE), Image.Resampling.BOX)
    along = np.linspace(0, 1, _COLOURS)
    colours = mpl.colormaps[DIVERGING if diverges else SEQUENTIAL](along)
    strength = np.abs(2 * along - 1) if diverges else along
    image.putpalette((255 * colours[:, :3]).round().astype(np.uint8).tobytes(), "RGB")
    opacity = (255 * (0.25 + 0.75 * strength)).round().astype(np.uint8).tobytes()
    return _uri(image, "PNG", optimize=True, transparency=opacity)


def _uri(image: Image.Image, format: str, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, format, **options)
    return f"data:image/{format.lower()};base64,{b64encode(file.getvalue()).decode()}"


def outline_path(mask: np.ndarray) -> str:
    """The border between true and false pixels of a mask [H,W], as SVG path in pixels."""
    inside = np.pad(mask.astype(bool), 1)
    across = [f"M{c - 1} {r}h1" for r, c in np.argwhere(inside[:-1] != inside[1:]).tolist()]
    down = [f"M{c} {r - 1}v1" for r, c in np.argwhere(inside[:, :-1] != inside[:, 1:]).tolist()]
    return "".join([*across, *down])
