"""`planted`: pictures whose evidence is known exactly.

A sample is an object, planted at a random place, size and rotation into a crop of a photograph. Its class is its
shape *and* its texture (5 x 2); its colours and its place say nothing. Two or three distractors lie around it, each
with the shape or the texture of a class but never both. The object is painted last, so its mask is exactly where the
class can be read.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt
from skimage import data

from interpbench import Dataset, DatasetCard, Sample, dataset

Split = Literal["train", "test"]
Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]

SIZE = 64
COUNTS: dict[Split, int] = {"train": 20_000, "test": 2_000}
REVISION = "planted-1"  # another string whenever any pixel changes: weights and results record it
LICENCE = "BSD-3-Clause; backgrounds: scikit-image's photographs, CC0 or with no known copyright restrictions"
# scikit-image ships these inside its wheel, so they need no network; PNG only, as JPEG decoders differ in a few bits.
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "immunohistochemistry",
)  # fmt: skip
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE] + 0.5  # pixel centres


@dataset("planted", licence=LICENCE)
def planted(*, split: Split = "test", count: PositiveInt | None = None, seed: NonNegativeInt = 0) -> Dataset:
    """Textured shapes in photographs, with the exact mask of the evidence (64x64, ten classes, generated).

    Any sample is drawn from (seed, split, index) alone: neither the others nor `count` change it.

    Args:
        split: `train` and `test` share no sample.
        count: how many samples; by default 20000 to train on and 2000 to test on.
        seed: another seed gives other samples of the same kind, whose ids and revision name it.
    """
    return Planted(split, count or COUNTS[split], seed)


class Planted:
    """The samples of one split, each drawn when it is asked for."""

    def __init__(self, split: Split, count: int, seed: int) -> None:
        self.card = DatasetCard(
            name="planted",
            classes=CLASSES,
            revision=REVISION if seed == 0 else f"{REVISION}-seed-{seed}",
            size=SIZE,
            mean=(0.51, 0.45, 0.43),
            std=(0.22, 0.21, 0.23),
            has_masks=True,
            licence=LICENCE,
        )
        of_seed = "" if seed == 0 else f"seed-{seed}-"
        self.ids = [f"planted-{split}-{of_seed}{i:06d}" for i in range(count)]
        self.labels = [i % len(CLASSES) for i in range(count)]
        self._entropy = (seed, list(COUNTS).index(split))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """The sample: image uint8 [64,64,3], mask bool [64,64]."""
        index = range(len(self))[index]
        rng = np.random.default_rng((*self._entropy, index))
        scene, thing, mask = layers(rng, self.labels[index])
        return Sample(self.ids[index], np.where(mask[..., None], thing, scene), self.labels[index], mask)


def layers(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scene without the object and object without the scene, both uint8 [64,64,3], and the object's mask [64,64]."""
    shape, texture = divmod(label, len(TEXTURES))
    outline, scale = SHAPES[list(SHAPES)[shape]]
    radius = rng.uniform(12, 17.5) * scale
    centre = rng.uniform(radius + 1, SIZE - radius - 1, 2)
    mask = _cut(rng, outline, centre, radius)
    thing = _paint(rng, TEXTURES[list(TEXTURES)[texture]])
    scene = _background(rng)
    for _ in range(rng.integers(2, 4)):
        _distract(rng, scene, centre, radius)
    grain = rng.integers(-8, 9, scene.shape)
    return _uint8(scene + grain), _uint8(thing + grain), mask


def _distract(rng: np.random.Generator, scene: np.ndarray, keep: np.ndarray, distance: float) -> None:
    """Paints one thing of no class into the scene, off the circle (`keep`, `distance`) where there is room."""
    outline = list(OUTLINES.values())[rng.integers(len(OUTLINES))]
    of_class = any(outline is shape for shape, _ in SHAPES.values())
    fills = [_plain, _speckle] if of_class else [_speckle, *TEXTURES.values()]
    radius = rng.uniform(7, 12)
    places = rng.uniform(radius / 2, SIZE - radius / 2, (16, 2))
    gaps = np.hypot(*(places - keep).T) - distance - radius
    free = gaps > 1
    place = places[np.argmax(free) if free.any() else np.argmax(gaps)]
    mask = _cut(rng, outline, place, radius)
    scene[mask] = _paint(rng, fills[rng.integers(len(fills))])[mask]


def _cut(rng: np.random.Generator, outline: Outline, centre: np.ndarray, radius: float) -> np.ndarray:
    """The pixels [64,64] whose centres lie in the outline, turned by a random angle."""
    x, y = _turned(rng, centre)
    return outline(x / radius, y / radius)


def _paint(rng: np.random.Generator, fill: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
    """A canvas [64,64,3] of the fill in a random dark and a random bright colour, of random contrast."""
    dark, bright = rng.uniform(0, 110, 3), rng.uniform(145, 255, 3)
    fade = rng.uniform(0, 0.25) * (bright - dark)
    dark, bright = dark + fade, bright - fade
    return dark + fill(rng)[..., None] * (bright - dark)


def _background(rng: np.random.Generator) -> np.ndarray:
    """A random crop [64,64,3] of a photograph, turned, flipped, and changed in tint, contrast and brightness."""
    photographs = _photographs()
    photograph = photographs[rng.integers(len(photographs))]
    top, left = rng.integers(0, np.array(photograph.shape[:2]) - SIZE + 1)
    crop = np.rot90(photograph[top : top + SIZE, left : left + SIZE], int(rng.integers(4)))
    crop = crop[:, :: rng.choice([-1, 1])].astype(float)
    mean = crop.mean((0, 1))
    return (crop - mean) * rng.uniform(0.5, 1.2) + (mean + rng.uniform(-30, 30)) * rng.uniform(0.75, 1.25, 3)


@cache
def _photographs() -> list[np.ndarray]:
    """Every photograph, uint8 [H,W,3], at full size and reduced to a half and a quarter."""
    reduced = []
    for name in PHOTOGRAPHS:
        photograph = getattr(data, name)()
        if photograph.ndim == 2:
            photograph = np.repeat(photograph[..., None], 3, axis=2)
        for factor in (1, 2, 4):
            height, width = (side // factor for side in photograph.shape[:2])
            blocks = photograph[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
            reduced.append(blocks.mean((1, 3)).astype(np.uint8))
    return reduced


def _turned(rng: np.random.Generator, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [64,64] of the pixels in a frame at `centre`, turned by a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = ROWS - centre[0], COLUMNS - centre[1]
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


# Outlines: whether a point lies in the shape, which fits the unit circle.


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x**2 + y**2 <= 1


def _star(points: int, inner: float) -> Outline:
    """A star with its tips on the unit circle and its notches at radius `inner`; a regular polygon if that is
    cos(pi / points), since the notches then lie on the straight edges."""
    notch = inner * np.exp(1j * np.pi / points)
    normal = 1j * (1 - notch)

    def outline(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        sector = 2 * np.pi / points
        angle = np.abs((np.arctan2(y, x) + sector / 2) % sector - sector / 2)  # folded onto one edge
        along = np.hypot(x, y) * (np.cos(angle) * normal.real + np.sin(angle) * normal.imag)
        return along <= normal.real

    return outline


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return (np.minimum(x, y) <= 0.32) & (np.maximum(x, y) <= 0.94)


def _bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.abs(x) <= 0.96) & (np.abs(y) <= 0.28)


def _ellipse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x**2 + (y / 0.5) ** 2 <= 1


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _disc(x, y) & ((x - 0.6) ** 2 + y**2 > 0.6)


# Fills: how bright [64,64] each pixel is, from 0 (dark colour) to 1 (bright colour).


def _stripes(rng: np.random.Generator) -> np.ndarray:
    x, _ = _turned(rng, rng.uniform(0, SIZE, 2))
    return _waves(np.sin(2 * np.pi * x / rng.uniform(5, 8)))


def _checks(rng: np.random.Generator) -> np.ndarray:
    x, y = _turned(rng, rng.uniform(0, SIZE, 2))
    period = rng.uniform(6, 9)
    return _waves(np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period))


def _waves(height: np.ndarray) -> np.ndarray:
    """Waves in -1..1 as two flat tones with a soft edge between them."""
    return np.clip(2 * height + 0.5, 0, 1)


def _speckle(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2, (SIZE // 2, SIZE // 2)).repeat(2, 0).repeat(2, 1).astype(float)


def _plain(rng: np.random.Generator) -> np.ndarray:
    return np.full((SIZE, SIZE), rng.uniform())


# Each shape with the factor on its radius that makes it look as large as the others.
SHAPES: dict[str, tuple[Outline, float]] = {
    "disc": (_disc, 0.85),
    "square": (_star(4, np.cos(np.pi / 4)), 0.95),
    "triangle": (_star(3, np.cos(np.pi / 3)), 1.1),
    "star": (_star(5, 0.45), 1.1),
    "cross": (_cross, 1.0),
}
TEXTURES = {"striped": _stripes, "checked": _checks}
OUTLINES: dict[str, Outline] = {name: outline for name, (outline, _) in SHAPES.items()} | {
    "bar": _bar,
    "ellipse": _ellipse,
    "crescent": _crescent,
}
CLASSES = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)
