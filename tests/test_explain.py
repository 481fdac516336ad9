"""`explain`: its numbers against closed forms, its pictures, its files, and what it refuses."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import ResNet18_Weights

from interpbench import explaining
from interpbench.cli import main
from interpbench.discovery import bundled_folder, discover
from interpbench.picture_folder import distinct, fresh_folder
from interpbench.pictures import _top
from interpbench.plot_overlay import Look
from interpbench.plot_panels import DPI, Panel, _panel, draw_panel, percent
from interpbench.plot_style import style
from interpbench.plot_text import Font
from interpbench.seeding import derive
from interpbench.subject import find_class, load_subject
from interpbench.weights import WeightsCard, save_weights

TINY = Path(__file__).parent / "plugins" / "tiny.py"
CLASSES = ("nw", "ne", "sw", "se")
MEAN, STD, GAIN = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), 4.0
CPU = torch.device("cpu")


def call(*arguments: object) -> tuple[int, str, str]:
    """A command in this process: exit code, what it prints, and its errors on one line."""
    out, error = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        patch.setattr(sys, "argv", ["interpbench", *map(str, arguments)])
        patch.setenv("COLUMNS", "1000")
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return code, out.getvalue(), " ".join(error.getvalue().split())


def refused(*arguments: object) -> str:
    """The message of a command that must be refused."""
    code, out, error = call(*arguments)
    assert code == 2, out + error
    assert "Traceback" not in error
    return error


def record(folder: Path, command: str = "explain") -> dict:
    return json.loads((folder / f"{command}.json").read_text(encoding="utf-8"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def photo(path: Path, seed: int) -> np.ndarray:
    """Writes noise of 16x16 pixels with one brighter quadrant; its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 150, (16, 16, 3), dtype=np.uint8)
    row, column = divmod(seed % 4, 2)
    pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 30
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of `quadrants`, whose card is all that is known of their data."""
    card = WeightsCard("quadrants", {"gain": GAIN}, "places", "1", CLASSES, 16, MEAN, STD)
    save_weights(tmp_path / "quadrants.safetensors", {"0.weight": torch.full((1, 3, 1, 1), GAIN)}, card)
    return tmp_path / "quadrants.safetensors"


@pytest.fixture
def base(weights: Path) -> list[object]:
    return ["--model", "quadrants", "--weights", weights, "--plugin", TINY, "--device", "cpu"]


def closed_form(pixels: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Of `quadrants`: the probabilities [4], and x · d logit_target / dx summed over the channels [16,16]."""
    total = ((pixels / 255 - MEAN) / STD).sum(2)
    rectified = np.maximum(GAIN * total, 0)
    logits = np.array([rectified[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].mean() for r in (0, 1) for c in (0, 1)])
    row, column = divmod(target, 2)
    inside = np.zeros((16, 16), dtype=bool)
    inside[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = True
    return np.exp(logits) / np.exp(logits).sum(), np.where(inside, rectified / 64, 0)


def test_maps_and_probabilities_are_those_of_the_closed_form(tmp_path: Path, base: list[object]) -> None:
    pixels = [photo(tmp_path / "in" / f"{i}.png", i) for i in range(5)]
    code, out, _ = call("explain", tmp_path / "in", *base, "--method", "gradient", "--output", tmp_path / "out")
    assert code == 0
    images = record(tmp_path / "out")["images"]
    assert len(images) == 5
    predicted = set()
    for image, shown in zip(pixels, images, strict=True):
        best = shown["predictions"][0]
        probabilities, expected = closed_form(image, best["index"])
        assert probabilities.argmax() == best["index"]
        assert best["class"] == CLASSES[best["index"]]
        predicted.add(best["index"])
        given = {p["index"]: p["probability"] for p in shown["predictions"]}
        np.testing.assert_allclose([given[i] for i in range(4)], probabilities, rtol=1e-4)
        assert shown["target"] == best
        found = np.load(tmp_path / "out" / shown["maps"]["gradient"])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert expected.max() > 0.1
        assert f"{shown['file']}: {best['class']} ({best['probability']:.1%})" in out
    assert len(predicted) > 1


@pytest.mark.parametrize("target", ["sw", "2"])
def test_a_target_by_name_or_index_is_what_the_maps_explain(tmp_path: Path, base: list[object], target: str) -> None:
    pixels = photo(tmp_path / "a.png", 0)
    arguments = [*base, "--method", "gradient", "--target", target, "--output", tmp_path / "out"]
    assert call("explain", tmp_path / "a.png", *arguments)[0] == 0
    shown = record(tmp_path / "out")
    np.testing.assert_allclose(np.load(tmp_path / "out/maps/a/gradient.npy"), closed_form(pixels, 2)[1], atol=1e-5)
    assert shown["target"] == target
    assert (shown["images"][0]["target"]["class"], shown["images"][0]["target"]["index"]) == ("sw", 2)


def test_shipped_weights_give_the_gradient_that_torch_gives(tmp_path: Path) -> None:
    """Against the plain network with the tensors of the file, without any of the package's loading."""
    registry = discover()
    sample = registry.configure("dataset", "planted")()[7]
    Image.fromarray(sample.image).save(tmp_path / "a.png")
    arguments = ["--model", "resnet18", "--dataset", "planted", "--method", "saliency", "--output", tmp_path / "out"]
    assert call("explain", tmp_path / "a.png", *arguments, "--device", "cpu")[0] == 0
    shown = record(tmp_path / "out")
    network = registry.configure("model", "resnet18", shown["model"]["parameters"])(10, 64)
    tensors = load_file(bundled_folder() / "models" / "weights" / "planted-resnet18.safetensors")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    mean, std = (torch.tensor(shown["model"][key])[:, None, None] for key in ("mean", "std"))
    x = ((torch.from_numpy(sample.image).permute(2, 0, 1) / 255 - mean) / std)[None].requires_grad_()
    logits = network.eval()(x)
    logits[0].max().backward()
    best = shown["images"][0]["predictions"][0]
    assert best["probability"] == pytest.approx(float(logits.detach().softmax(1).max()), rel=1e-4)
    expected = x.grad[0].abs().amax(0).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out/maps/a/saliency.npy"), expected, atol=1e-3 * expected.max())


def test_chance_comes_from_the_seed_and_the_pixels_alone(tmp_path: Path, base: list[object]) -> None:
    photo(tmp_path / "a.png", 0)
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    photo(tmp_path / "other.png", 1)
    files = [tmp_path / name for name in ("other.png", "copy.png", "a.png")]
    for seed in (0, 1):
        call("explain", *files, *base, "--method", "random", "--seed", seed, "--output", tmp_path / str(seed))
    maps = {s: {n: np.load(tmp_path / s / f"maps/{n}/random.npy") for n in ("a", "copy", "other")} for s in "01"}
    pixels = {Path(i["file"]).stem: i["pixels_sha256"] for i in record(tmp_path / "0")["images"]}
    generator = torch.Generator().manual_seed(derive(0, "method", "random", pixels["a"]))
    np.testing.assert_array_equal(maps["0"]["a"], torch.rand(16, 16, generator=generator).numpy())
    np.testing.assert_array_equal(maps["0"]["a"], maps["0"]["copy"])
    assert (maps["0"]["a"] != maps["0"]["other"]).any()
    assert (maps["0"]["a"] != maps["1"]["a"]).any()


def test_as_a_user_runs_it_twice_with_the_same_bytes(tmp_path: Path, weights: Path) -> None:
    photo(tmp_path / "in" / "a.png", 0)
    photo(tmp_path / "in" / "b c.png", 1)
    arguments = ["in", "--model", "quadrants", "--weights", str(weights), "--plugin", str(TINY), "--device", "cpu"]
    arguments += ["--methods", "gradient,random", "--method", "center:sigma=0.1", "--output", "out", "--overwrite"]
    found = []
    for _ in range(2):
        command = [sys.executable, "-m", "interpbench", "explain", *arguments]
        environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        found.append(content(tmp_path / "out"))
    assert found[0] == found[1]
    files = {"a.png", "b-c.png", "explain.json"}
    methods = ("gradient", "random", "center-sigma=0.1")
    assert set(found[0]) == files | {f"maps/{name}/{method}.npy" for name in ("a", "b-c") for method in methods}
    shown = record(tmp_path / "out")
    assert shown["status"] == "finished"
    assert shown["methods"]["center:sigma=0.1"]["parameters"] == {"sigma": 0.1}
    assert shown["model"]["weights_sha256"]
    assert shown["versions"]["torch"]
    assert (shown["seed"], shown["target"]) == (0, "predicted")


def test_images_of_the_same_name_get_files_of_their_own(tmp_path: Path, base: list[object]) -> None:
    for i, name in enumerate(("x/cat.png", "y/cat.png", "y/CAT.bmp", "cat-2.png")):
        photo(tmp_path / "in" / name, i)
    assert call("explain", tmp_path / "in", *base, "--method", "gradient", "--output", tmp_path / "out")[0] == 0
    images = record(tmp_path / "out")["images"]
    assert len({image["panel"].lower() for image in images}) == 4
    for image in images:
        expected = closed_form(np.asarray(Image.open(image["file"])), image["target"]["index"])[1]
        np.testing.assert_allclose(np.load(tmp_path / "out" / image["maps"]["gradient"]), expected, atol=1e-5)


def test_an_unreadable_image_is_named_and_the_others_are_explained(tmp_path: Path, base: list[object]) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    photo(tmp_path / "good.png", 0)
    arguments = [*base, "--method", "gradient", "--output", tmp_path / "out"]
    code, out, _ = call("explain", tmp_path / "broken.jpg", tmp_path / "good.png", *arguments)
    assert code == 1
    assert "skipped an image that cannot be read" in out
    assert "broken.jpg" in out
    assert (tmp_path / "out" / "good.png").exists()
    assert list(record(tmp_path / "out")["skipped"]) == [str(tmp_path / "broken.jpg")]
    assert call("explain", tmp_path / "broken.jpg", *base, "--method", "gradient", "--output", tmp_path / "no")[0] == 1


def test_a_method_that_fails_fails_alone(tmp_path: Path, base: list[object]) -> None:
    for i in range(3):
        photo(tmp_path / "in" / f"{i}.png", i)
    bad = "raises,exits,nan,wrong-shape,sneaky,constant"
    arguments = [*base, "--method", f"{bad},gradient", "--output", tmp_path / "out"]
    code, out, _ = call("explain", tmp_path / "in", *arguments)
    assert code == 1
    shown = record(tmp_path / "out")
    assert set(shown["failures"]) == {"raises", "exits", "nan", "wrong-shape", "sneaky"}
    assert shown["constant_maps"] == {"constant": 3}
    assert shown["left_behind"].keys() == {"raises"}
    assert "this method is [red]broken[/]" in out
    for i, image in enumerate(shown["images"]):
        assert image["maps"].keys() == {"nan", "constant", "gradient"}
        _, expected = closed_form(np.asarray(Image.open(tmp_path / "in" / f"{i}.png")), image["target"]["index"])
        np.testing.assert_allclose(np.load(tmp_path / "out" / image["maps"]["gradient"]), expected, atol=1e-5)


def test_only_its_own_files_are_replaced(tmp_path: Path, base: list[object]) -> None:
    photo(tmp_path / "a.png", 0)
    photo(tmp_path / "b.png", 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_text("mine")
    output = [*base, "--method", "gradient", "--output"]
    assert "is not empty" in refused("explain", tmp_path / "a.png", *output, tmp_path / "other")
    assert "nothing is overwritten" in refused(
        "explain", tmp_path / "a.png", *output, tmp_path / "other", "--overwrite"
    )
    assert (tmp_path / "other" / "a.png").read_text() == "mine"
    assert call("explain", tmp_path / "a.png", *output, tmp_path / "out")[0] == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "--overwrite" in refused("explain", tmp_path / "b.png", *output, tmp_path / "out")
    assert call("explain", tmp_path / "b.png", *output, tmp_path / "out", "--overwrite")[0] == 0
    assert set(content(tmp_path / "out")) == {"b.png", "maps/b/gradient.npy", "explain.json", "notes.txt"}


def test_a_record_cannot_have_files_outside_of_its_folder_removed(tmp_path: Path, base: list[object]) -> None:
    photo(tmp_path / "a.png", 0)
    (tmp_path / "out").mkdir()
    files = ["../a.png", str(tmp_path / "a.png")]
    (tmp_path / "out" / "explain.json").write_text(json.dumps({"files": files}))
    arguments = [*base, "--method", "gradient", "--output", tmp_path / "out", "--overwrite"]
    assert call("explain", tmp_path / "a.png", *arguments)[0] == 0
    assert (tmp_path / "a.png").exists()


def test_wrong_input_is_one_message(tmp_path: Path, base: list[object], weights: Path) -> None:
    photo(tmp_path / "a.png", 0)
    (tmp_path / "empty").mkdir()
    good = ["explain", tmp_path / "a.png", *base, "--output", tmp_path / "out"]
    assert "Did you mean 'gradient'" in refused(*good, "--method", "gradiant")
    message = refused(*good, "--method", "gradient", "--target", "NV")
    assert "Unknown class 'NV'. Did you mean 'nw'" in message
    assert "index from 0 to 3" in message
    assert "Unknown class '4'" in refused(*good, "--method", "gradient", "--target", "4")
    assert "Did you mean 'viridis'" in refused(*good, "--method", "gradient", "--cmap", "virids")
    assert "--alpha" in refused(*good, "--method", "gradient", "--alpha", "1.5")
    assert "--method" in refused(*good)
    assert "no image" in refused("explain", tmp_path / "absent.png", *base, "--method", "gradient")
    assert "holds no images" in refused("explain", tmp_path / "empty", *base, "--method", "gradient")
    assert "cuda:N" in refused("explain", tmp_path / "a.png", *base, "--method", "gradient", "--device", "gpu")
    rest = ["--weights", weights, "--plugin", TINY, "--method", "gradient"]
    assert "one model at a time" in refused("explain", tmp_path / "a.png", "--model", "quadrants,viewing", *rest)
    assert "holds weights of 'quadrants'" in refused("explain", tmp_path / "a.png", "--model", "viewing", *rest)
    assert not (tmp_path / "out").exists()


def test_weights_without_a_card_need_the_name_of_their_data(tmp_path: Path, base: list[object]) -> None:
    photo(tmp_path / "a.png", 0)
    torch.save({"0.weight": torch.full((1, 3, 1, 1), GAIN)}, tmp_path / "bare.pth")
    arguments = ["explain", tmp_path / "a.png", "--model", "quadrants", "--weights", tmp_path / "bare.pth"]
    arguments += ["--plugin", TINY, "--method", "gradient", "--device", "cpu", "--output", tmp_path / "out"]
    assert "no card" in refused(*arguments)
    assert call(*arguments, "--dataset", "tiny")[0] == 0
    assert record(tmp_path / "out")["model"]["dataset"] == "tiny"


def shipping(folder: Path, *datasets: str) -> Path:
    """A plugin of a model that ships weights for some data sets, whose classes bear the data set's name."""
    folder.mkdir()
    plugin = folder / "mine.py"
    plugin.write_text(
        "import torch\nfrom interpbench import model\n\n\n@model('mine')\ndef mine(classes, size):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * size * size, classes))\n"
    )
    for name in datasets:
        state = {"1.weight": torch.zeros(2, 48), "1.bias": torch.tensor([0.0, 1.0])}
        card = WeightsCard("mine", {}, name, "1", (f"{name}-a", f"{name}-b"), 4, MEAN, STD)
        save_weights(folder / "weights" / f"{name}-mine.safetensors", state, card)
    return plugin


def test_the_only_shipped_weights_are_the_default_and_several_are_asked_for(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    rest = ["--model", "mine", "--method", "sobel", "--device", "cpu", "--output", tmp_path / "out", "--overwrite"]
    one = shipping(tmp_path / "one", "fish")
    assert call("explain", tmp_path / "a.png", *rest, "--plugin", one)[0] == 0
    assert record(tmp_path / "out")["images"][0]["predictions"][0]["class"] == "fish-b"
    two = shipping(tmp_path / "two", "birds", "fish")
    message = refused("explain", tmp_path / "a.png", *rest, "--plugin", two)
    assert "weights for birds, fish" in message
    assert "--dataset" in message
    assert call("explain", tmp_path / "a.png", *rest, "--plugin", two, "--dataset", "birds")[0] == 0
    assert record(tmp_path / "out")["images"][0]["predictions"][0]["class"] == "birds-b"
    none = shipping(tmp_path / "none")
    assert "No weights are shipped" in refused("explain", tmp_path / "a.png", *rest, "--plugin", none)
    of_imagenet = refused("explain", tmp_path / "a.png", *rest, "--plugin", none, "--dataset", "imagenet-1k")
    assert "no weights for model 'mine' on data set 'imagenet-1k'" in of_imagenet


def test_torchvisions_weights_come_with_the_names_of_imagenet() -> None:
    subject = load_subject(
        discover(), "resnet18", ["sobel"], dataset="imagenet-1k", weights="random", device=CPU
    )  # fmt: skip
    assert subject.classes == tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    assert subject.classes[281] == "tabby"
    assert subject.model.card.size == 224


def test_a_model_without_gradients_is_explained_by_black_boxes(tmp_path: Path, weights: Path) -> None:
    photo(tmp_path / "a.png", 0)
    black = tmp_path / "black.py"
    black.write_text(
        "import torch\nfrom interpbench import model\n\n\n@model('black', gradients=False)\ndef black(classes, size):\n"
        "    return torch.nn.Sequential(torch.nn.AvgPool2d(size), torch.nn.Flatten(), torch.nn.Linear(3, classes))\n"
    )
    arguments = ["explain", tmp_path / "a.png", "--model", "black", "--weights", "random", "--dataset", "tiny"]
    arguments += ["--plugin", TINY, "--plugin", black, "--device", "cpu", "--output", tmp_path / "out", "--method"]
    assert "Method 'saliency' needs gradients" in refused(*arguments, "saliency,sobel")
    assert call(*arguments, "sobel,center")[0] == 0


def test_random_weights_are_said_to_be_random(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    arguments = [
        "--model",
        "quadrants",
        "--weights",
        "random",
        "--dataset",
        "tiny",
        "--plugin",
        TINY,
        "--method",
        "sobel",
    ]
    assert call("explain", tmp_path / "a.png", *arguments, "--device", "cpu", "--output", tmp_path / "out")[0] == 0
    assert record(tmp_path / "out")["model"]["weights"] == "random"


def test_a_class_is_found_by_name_before_index() -> None:
    assert find_class("1", ["0", "2", "1"]) == 2
    assert find_class("b", ["a", "b"]) == 1
    assert find_class("0", ["a", "b"]) == 0
    with pytest.raises(Exception, match="Give an index: 1, 3"):
        find_class("b", ["a", "b", "c", "b"])
    names = [f"class-{i}" for i in range(1000)]
    with pytest.raises(Exception, match="Did you mean 'class-77'") as raised:
        find_class("Class-77", names)
    assert len(str(raised.value)) < 600


def test_the_target_is_listed_also_where_it_is_improbable() -> None:
    probabilities = torch.tensor([0.05, 0.3, 0.2, 0.25, 0.1, 0.06, 0.04])
    assert _top(probabilities) == [1, 3, 2, 4, 5]
    assert _top(probabilities, 2) == [1, 3, 2, 4, 5]
    assert _top(probabilities, 6) == [1, 3, 2, 4, 6]
    assert _top(probabilities[:2], 0) == [1, 0]


def test_percentages_never_look_certain_when_they_are_not() -> None:
    given = (0, 0.0001, 0.0099, 0.01, 0.5, 0.99, 0.9999, 1)
    assert [percent(p) for p in given] == ["0%", "<1%", "<1%", "1%", "50%", "99%", ">99%", "100%"]


def test_file_names_are_safe_and_distinct() -> None:
    names = distinct(["a", "A", "a-2", "../x", "", "ü b", "a:b,c=1", "x" * 300])
    assert names == ["a", "A-2", "a-2-2", "x", "unnamed", "ü-b", "a-b,c=1", "x" * 80]


def test_the_default_folder_is_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fresh_folder("explain", "net:a/b") == Path("results/explain/net-a-b-1")
    Path("results/explain/net-a-b-1").mkdir(parents=True)
    assert fresh_folder("explain", "net:a/b") == Path("results/explain/net-a-b-2")


def test_batches_are_the_images_in_order_whatever_their_size(base: list[object]) -> None:
    registry = discover([TINY])
    dataset = registry.configure("dataset", "tiny", {"broken": "2"})()
    card = load_subject(registry, "quadrants", ["sobel"], dataset.card, weights="random", device=CPU).model.card
    for count in (1, 3, 100):
        skipped: dict[str, str] = {}
        found = list(explaining.batches(dataset, [0, 7, 1, 5, 30], card, count, skipped))
        assert [i for batch in found for i in batch.ids] == ["tiny-007", "tiny-005", "tiny-030"]
        assert list(skipped) == ["tiny-000", "tiny-001"]
        images = torch.cat([batch.images for batch in found]).numpy()
        np.testing.assert_array_equal(images, [dataset[i].image for i in (7, 5, 30)])
        np.testing.assert_array_equal(torch.cat([b.masks for b in found]), [dataset[i].mask for i in (7, 5, 30)])


RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
GREY = IMAGE @ np.array([0.299, 0.587, 0.114]) / 255


@pytest.mark.parametrize("values", [RNG.normal(size=(16, 16)), RNG.random((16, 16))], ids=["signed", "positive"])
def test_the_stronger_a_map_the_more_opaque_are_its_colours(values: np.ndarray) -> None:
    level = Look().levels(values)
    signed = values.min() < 0
    colours = colormaps["RdBu_r" if signed else "inferno"](level / 2 + 0.5 if signed else level)[..., :3]
    opacity = (0.2 + 0.6 * np.abs(level))[..., None]
    expected = (1 - opacity) * GREY[..., None] + opacity * colours
    np.testing.assert_allclose(Look().overlay(IMAGE, values, 16), expected, atol=1e-6)


def test_signed_maps_are_centred_at_zero_and_absolute_ones_fold() -> None:
    values = np.linspace(-1, 3, 256).reshape(16, 16)
    levels = Look(signed=True).levels(values)
    assert levels[np.abs(values).argmin() // 16, np.abs(values).argmin() % 16] == pytest.approx(0, abs=0.01)
    np.testing.assert_array_equal(np.sign(levels), np.sign(values))
    np.testing.assert_allclose(levels, np.clip(values / np.percentile(np.abs(values), 99), -1, 1))
    positive = Look(signed=True).levels(np.abs(values))
    assert positive.min() >= 0
    np.testing.assert_array_equal(Look(signed=False).levels(values), Look().levels(np.abs(values)))
    assert Look(signed=False).levels(values)[0, 0] > Look(signed=False).levels(values)[3, 15]
    assert [Look(signed=s).diverges(np.abs(values)) for s in (True, False, None)] == [True, False, False]


def test_alpha_is_the_intensity_and_cmap_the_colours() -> None:
    values = RNG.random((16, 16))
    np.testing.assert_allclose(Look(alpha=0).overlay(IMAGE, values, 16), np.repeat(GREY[..., None], 3, 2), atol=1e-9)
    strongest = np.unravel_index(values.argmax(), values.shape)
    full = Look(alpha=1, cmap="viridis").overlay(IMAGE, values, 16)
    np.testing.assert_allclose(full[strongest], [0.993248, 0.906157, 0.143936], atol=1e-5)  # viridis ends so
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
    "text", ["short", "occlusion:fill=blur,stride=8,window=16", "x" * 200, "a b  c\nd", "", "网络" * 40]
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


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other, and texts that leave the figure."""
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
    texts = [t for t in texts if t.axes is None or t.axes.axison or t in t.axes.texts or t is t.axes.title]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    outside = [
        (text, "outside") for text, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > figure.bbox.x1 or b.y1 > figure.bbox.y1
    ]
    return outside + [
        (a, b)
        for i, (a, first) in enumerate(boxes)
        for b, second in boxes[i + 1 :]
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1
        and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]


@pytest.mark.parametrize("methods", [1, 2, 3, 7, 12])
@pytest.mark.parametrize(
    ("name", "label"), [("cat.jpg", "gradcam"), ("long-" * 40, "occlusion:window=16,stride=8,fill")]
)
def test_nothing_overlaps_on_a_panel(methods: int, name: str, label: str) -> None:
    with style():
        figure = _panel(panel(methods, name, label), f"resnet18 trained on {name}; explained: {name}, 50%", Look())
        assert overlapping(figure) == []


def test_text_that_overlaps_is_seen() -> None:
    figure = Figure(figsize=(3, 3))
    for x in (0.3, 0.35):
        figure.text(x, 0.5, "much text")
    figure.text(0.99, 0.2, "outside of it")
    assert overlapping(figure) == [("outside of it", "outside"), ("much text", "much text")]


@pytest.mark.parametrize(("methods", "columns", "rows"), [(1, 3, 1), (3, 5, 1), (4, 3, 2), (12, 5, 3)])
def test_a_panel_is_as_large_as_its_grid(tmp_path: Path, methods: int, columns: int, rows: int) -> None:
    draw_panel(panel(methods), "line", Look(), tmp_path / "a.png")
    width, height = Image.open(tmp_path / "a.png").size
    assert width == pytest.approx(DPI * max(4.7, columns * 1.4 + 0.1), abs=1)
    assert rows * 1.5 * DPI < height < (rows * 1.6 + 1.3) * DPI


def test_an_invalid_map_leaves_a_note() -> None:
    maps = {"a": None, "b": np.full((16, 16), np.nan), "c": np.zeros((16, 16)), "d": RNG.random((16, 16))}
    with style():
        figure = _panel(Panel("x", IMAGE, [("cat", 1.0)], "cat", maps), "", Look())
    notes = {axes.get_title(): [t.get_text() for t in axes.texts] for axes in figure.axes}
    assert [notes[name] for name in "abcd"] == [["failed"], ["NaN or infinite"], ["constant map"], []]


def test_drawing_needs_no_torch() -> None:
    code = "import sys, interpbench.plot_panels, interpbench.plot_confusion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0
