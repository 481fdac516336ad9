"""`occlude`: probabilities against a loop and a closed form, its film, its table, and what it refuses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import interpbench
from interpbench.core.errors import ParameterError
from interpbench.studies.occlusion import drawing
from interpbench.studies.occlusion.sweep import Window
from interpbench.studies.pictures import panels
from tests.command_line import call, refused
from tests.paths import TINY
from tests.picture_commands import (
    CLASSES,
    GAIN,
    MEAN,
    STD,
    content,
    overlapping,
    photo,
    record,
    save_quadrants,
)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    monkeypatch.setattr(drawing, "DPI", 80)
    monkeypatch.setattr(panels, "DPI", 80)
    weights = save_quadrants(tmp_path)
    return ["--model", "quadrants", "--weights", weights, "--plugin", TINY, "--device", "cpu"]


def probabilities(pixels: np.ndarray) -> np.ndarray:
    """Of `quadrants` [4], with pixels [16,16,3] in 0..255: the softmax of each quadrant's rectified sum."""
    rectified = np.maximum(GAIN * ((pixels / 255 - MEAN) / STD).sum(2), 0)
    logits = rectified.reshape(2, 8, 2, 8).mean((1, 3)).ravel()
    return np.exp(logits) / np.exp(logits).sum()


@pytest.mark.parametrize(
    ("fill", "colour"), [("zero", 255 * np.array(MEAN)), ("white", np.full(3, 255))]
)
def test_probabilities_are_those_of_a_loop_over_the_windows(
    tmp_path: Path, base: list[object], fill: str, colour: np.ndarray
) -> None:
    pixels = photo(tmp_path / "a.png", 1).astype(float)
    out = tmp_path / "out"
    code, text, _ = call(
        "occlude",
        tmp_path / "a.png",
        *base,
        "--window",
        6,
        "--stride",
        4,
        "--fill",
        fill,
        "--output",
        out,
    )
    assert code == 0
    table = pd.read_csv(out / "a.csv")
    whole = probabilities(pixels)
    written = record(out, "occlude")["images"][0]
    assert written["target"] == CLASSES[whole.argmax()]
    assert written["probability"] == pytest.approx(whole.max(), rel=1e-4)
    starts = [0, 4, 8, 12]  # the last window is cut off
    assert table[["row", "column"]].to_numpy().tolist() == [
        [i, j] for i in range(4) for j in range(4)
    ]
    for row in table.itertuples():
        assert (row.top, row.left) == (starts[row.row], starts[row.column])
        assert (row.bottom, row.right) == (min(row.top + 6, 16), min(row.left + 6, 16))
        covered = pixels.copy()
        covered[row.top : row.bottom, row.left : row.right] = colour
        expected = probabilities(covered)
        assert row.probability == pytest.approx(expected[whole.argmax()], rel=1e-4)
        assert row.predicted == CLASSES[expected.argmax()]
        assert row.predicted_probability == pytest.approx(expected.max(), rel=1e-4)
    lowest = table.loc[table["probability"].idxmin()]
    assert written["lowest"] == pytest.approx(lowest["probability"])
    assert written["place"] == [lowest["top"], lowest["left"]]
    assert f"{CLASSES[whole.argmax()]} " in text


def test_the_film_has_a_frame_for_the_image_and_for_each_place(
    tmp_path: Path, base: list[object]
) -> None:
    pixels = photo(tmp_path / "a.png", 2)
    for name in ("x", "y"):
        call("occlude", tmp_path / "a.png", *base, "--window", 8, "--output", tmp_path / name)
    first, second = content(tmp_path / "x"), content(tmp_path / "y")
    assert {"a.png", "a.gif", "a.csv", "occlude.json"} == set(first)
    assert all(first[name] == second[name] for name in ("a.png", "a.gif", "a.csv"))
    with Image.open(tmp_path / "x" / "a.gif") as film:
        assert film.n_frames == 1 + 3 * 3  # windows at 0, 4 and 8
        assert film.info["loop"] == 0
        frame = np.asarray(film.convert("RGB"))[8 : 8 + 224, 8 : 8 + 224][::14, ::14]
        assert np.abs(frame.astype(int) - pixels).mean() < 15  # of 256 colours
        film.seek(5)  # the window at 4,4
        frame = np.asarray(film.convert("RGB"))[8 : 8 + 224, 8 : 8 + 224][::14, ::14]
        assert np.ptp(frame[4:12, 4:12].reshape(-1, 3), axis=0).max() == 0


def test_texts_of_the_strip_do_not_touch(tmp_path: Path) -> None:
    from interpbench.drawing.style import style

    rng = np.random.default_rng(0)
    names = [f"a class with quite a long name, number {i}" for i in range(12)]
    rows = columns = 12
    found = drawing.Sweep(
        list(range(0, 120, 10)),
        list(range(0, 120, 10)),
        Window(20, 10),
        (3, 0.9),
        rng.integers(0, 256, (130, 130, 3), dtype=np.uint8),
        np.zeros((130, 130, 3), dtype=np.uint8),
        rng.random((rows, columns)),
        rng.integers(0, 12, (rows, columns)),
        rng.random((rows, columns)),
    )
    with style():
        assert overlapping(drawing._strip(found, names, ("an image.png", "a line"))) == []


def test_the_call_gives_arrays_and_tables(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    found = interpbench.occlude(
        tmp_path / "a.png", model="quadrants", plugin=TINY, weights=str(save_quadrants(tmp_path)),
        window=8, stride=8, target="se", device="cpu", output=tmp_path / "out",
    )  # fmt: skip
    assert found.probabilities().shape == (2, 2)
    assert found.table()["probability"].min() == pytest.approx(found.images[0].lowest)
    assert "se " in repr(found)
    assert "data:image/png;base64," in found._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "17"], "window=17 does not fit into an image of 16x16"),
        (["--window", "4", "--stride", "5"], "stride=5 with windows of 4 pixels"),
        (["--fill", "gray"], "Unknown fill 'gray'"),
        (["--target", "sx"], "Unknown class 'sx'. Did you mean 's"),
    ],
)
def test_what_makes_no_experiment_is_refused(
    tmp_path: Path, base: list[object], arguments: list[object], message: str
) -> None:
    photo(tmp_path / "a.png", 0)
    assert message in refused("occlude", tmp_path / "a.png", *base, *arguments)


def test_too_many_places_are_refused() -> None:
    with pytest.raises(ParameterError, match="expected at most"):
        Window.of(4, 1, "zero", (224, 224))
