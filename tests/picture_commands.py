"""The commands that make pictures, called in this process; what they work on, and what they leave behind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from interpbench.loading.weights import WeightsCard, save_weights
from interpbench.studies.pictures import confusion_plot, panels

CLASSES = ("nw", "ne", "sw", "se")
MEAN, STD, GAIN = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), 4.0
CPU = torch.device("cpu")


def draw_coarsely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets files have fewer pixels, where a test looks at what is drawn or at what is written beside it."""
    for module in (panels, confusion_plot):
        monkeypatch.setattr(module, "DPI", 80)


def record(folder: Path, command: str = "explain") -> dict:
    return json.loads((folder / f"{command}.json").read_text(encoding="utf-8"))


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def photo(path: Path, seed: int) -> np.ndarray:
    """Writes noise of 16x16 pixels with one brighter quadrant; its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 150, (16, 16, 3), dtype=np.uint8)
    row, column = divmod(seed % 4, 2)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 30
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def save_quadrants(folder: Path) -> Path:
    """Writes weights of `quadrants`, whose card is all that is known of their data."""
    card = WeightsCard("quadrants", {"gain": GAIN}, "places", "1", CLASSES, 16, MEAN, STD)
    save_weights(
        folder / "quadrants.safetensors", {"0.weight": torch.full((1, 3, 1, 1), GAIN)}, card
    )
    return folder / "quadrants.safetensors"


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other, and texts that leave the figure."""
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    texts = [
        t
        for t in texts
        if t.axes is None or t.axes.axison or t in t.axes.texts or t is t.axes.title
    ]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    outside = [
        (text, "outside")
        for text, b in boxes
        if b.x0 < 0 or b.y0 < 0 or b.x1 > figure.bbox.x1 or b.y1 > figure.bbox.y1
    ]
    return outside + [
        (a, b)
        for i, (a, first) in enumerate(boxes)
        for b, second in boxes[i + 1 :]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]
