"""Each command on images of one and five channels, of 16 bits and floats, and on such as are not square."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from interpbench.results.run_folder import RunFolder
from tests.command_line import call, refused, undrawn
from tests.paths import ROOT
from tests.picture_commands import draw_coarsely, record

INPUTS = ROOT / "tests" / "plugins" / "inputs.py"
KINDS = {
    "five channels, wide": "channels=5,height=16,width=24",
    "one channel, tall": "channels=1,height=24,width=16",
}
OF_SIDES = ["--model", "sides", "--plugin", INPUTS, "--device", "cpu"]
SHOWN = "of 5 channels pictures show the first three as red, green and blue"


def base(kind: str, deep: bool = False) -> list[object]:
    data = f"halves:{kind}" + (",deep=true" if deep else "")
    return ["--dataset", data, "--model", f"sides:{kind}", "--plugin", INPUTS, "--device", "cpu"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_run_scores_and_draws_them(tmp_path: Path, kind: str) -> None:
    methods = [
        "--method",
        "gradcam,occlusion,saliency,random",
        "--metric",
        "deletion,pointing-game",
    ]
    few = ["--images", 4, "--ceiling", 2, "--output", tmp_path / "run"]
    code, out, error = call("run", *base(kind, deep="=1" in kind), *methods, *few)
    assert code == 0, error
    assert (SHOWN in " ".join(out.split())) == ("=5" in kind)
    assert (tmp_path / "run" / "report.html").is_file()
    assert list((tmp_path / "run" / "plots").glob("maps-*.png"))
    tables = RunFolder(tmp_path / "run").tables()
    height, width = (int(part.split("=")[1]) for part in kind.split(",")[1:])
    for example in tables.examples:
        assert (example.image.dtype, example.image.shape) == (np.uint8, (height, width, 3))
        assert {values.shape for values in example.maps.values()} == {(height, width)}
    hits = tables.scores[
        (tables.scores.metric == "pointing-game") & (tables.scores.method == "occlusion")
    ]
    assert hits.value.tolist() == [1.0] * 4  # the patch that the class hangs on
    points = [len(c.mean) for (*_, method), c in tables.curves.items() if method == "random"]
    assert set(points) == {height + 1}  # the width in positions a step


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("command", ["gallery", "sanity", "doctor"])
def test_studies_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, command: str
) -> None:
    draw_coarsely(monkeypatch)
    options = base(kind, deep="=1" in kind)
    if command == "doctor":
        code, out, error = call("doctor", f"sides:{kind}", *options[:2], *options[4:6])
        assert "Healthy" in out
    else:
        extra = ["--only", "all"] if command == "gallery" else ["--images", 2]
        options = [*options, "--method", "gradcam,occlusion", *extra, "--output", tmp_path / "out"]
        code, out, error = call(command, *options)
        assert list((tmp_path / "out").rglob("*.png"))
    assert code == 0, out + error


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Grey images of 12 bits in 16, brighter on one side, and of 8 bits with the same pixels."""
    for label, side in enumerate(("left", "right")):
        (tmp_path / "photos" / side).mkdir(parents=True)
        for i in range(2):
            pixels = np.random.default_rng(2 * label + i).integers(
                0, 100, (16, 24), dtype=np.uint16
            )
            pixels[2:6, 12 * label + 1 : 12 * label + 5] += 150
            Image.fromarray(pixels * 16).save(tmp_path / "photos" / side / f"{i}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(
                tmp_path / "photos" / side / f"{i}-8bit.png"
            )
    return tmp_path / "photos"


def test_sixteen_bits_are_explained_as_eight_are(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stated range of 4080 is 255 · 16: each pair of files has the same pixels."""
    draw_coarsely(monkeypatch)
    options = [*OF_SIDES, "--dataset", "halves", "--method", "random"]
    code, _, error = call(
        "explain", photos, *options, "--range", 4080, "--output", tmp_path / "out"
    )
    assert code == 0, error
    by_file = {
        Path(image["file"]).relative_to(photos).as_posix(): image
        for image in record(tmp_path / "out")["images"]
    }
    assert len(by_file) == 8
    for name, image in by_file.items():
        twin = by_file[name.replace(".png", "-8bit.png").replace("-8bit-8bit", "-8bit")]
        assert image["target"]["class"] == name.split("/")[0]
        assert image["target"]["probability"] == pytest.approx(
            twin["target"]["probability"], abs=1e-6
        )
        assert image["pixels_sha256"] == twin["pixels_sha256"]  # which seeds chance


@undrawn()
def test_a_folder_of_sixteen_bits_is_run(tmp_path: Path, photos: Path) -> None:
    options = [*OF_SIDES, "--method", "random", "--metric", "deletion"]
    data = ["--dataset", f"imagefolder:{photos},range=4080", "--images", 8]
    code, _, error = call("run", *data, *options, "--output", tmp_path / "run")
    assert code == 0, error
    [model] = RunFolder(tmp_path / "run").model_records()
    assert model.accuracy == 1
    data[1] = f"imagefolder:{photos},range=100"
    message = refused("run", *data, *options, "--output", tmp_path / "other")
    assert "left/0.png holds values from" in message
    assert "beyond the range 0..100 that is stated" in message


def test_images_of_other_channels_and_unknown_ranges_are_refused(tmp_path: Path) -> None:
    options = [*OF_SIDES, "--dataset", "halves", "--method", "random"]
    noise = np.random.default_rng(0).random((16, 24, 5), dtype=np.float32)
    tifffile.imwrite(tmp_path / "five.tif", noise, photometric="minisblack", planarconfig="contig")
    message = refused("explain", tmp_path / "five.tif", *options, "--output", tmp_path / "a")
    assert "The images have 5 channels, the model takes 3" in message
    tifffile.imwrite(tmp_path / "unknown.tif", 100 * noise[..., 0])
    message = refused("explain", tmp_path / "unknown.tif", *options, "--output", tmp_path / "b")
    assert "it is not known which value is white" in message
    assert "--range" in message


GREY = """
import torch
from torch import nn
from interpbench import model, Pretrained

@model("grey", pretrained=lambda: Pretrained(source="mine", size=16, mean=(0.5,), std=(0.5,)))
def grey(classes: int, size: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def test_a_network_of_other_channels_than_its_preparation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "grey.py").write_text(GREY, encoding="utf-8")
    options = [
        "--dataset",
        "halves",
        "--model",
        "grey",
        "--plugin",
        INPUTS,
        "--plugin",
        tmp_path / "grey.py",
    ]
    message = refused("run", *options, "--method", "random", "--output", tmp_path / "out")
    assert "Model 'grey' takes images of 1 channels, but the preparation makes 3" in message
    assert "state --preparation grey" in message
