"""How images become a model's input: who may state it, in which order, and that the pixels are those of torchvision."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from interpbench.core.errors import InterpBenchError, PreparationError, UnknownNameError
from interpbench.core.preparation import Preparation, Stated, settle
from interpbench.core.types import normalise
from interpbench.loading.images import fit
from interpbench.loading.model import load_model
from interpbench.loading.model_card import UnstatedPreparationError
from interpbench.loading.stated import named_preparation, stated_by_user
from interpbench.loading.weights import WeightsCard, save_weights
from tests.command_line import call, refused
from tests.sources import FRUIT, IMAGENET, choose

FOLDER = replace(FRUIT, size=None, mean=None, std=None)
FLAGS = Stated(by="flags", size=20, mean=(0.2,), std=(0.3,))

# Says `dark` below a mean of 0.4 and `light` above it, if it gets pixels in 0..1.
LIGHT = """
import torch
from torch import nn

class Light(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.scale.weight, 1 / 3)
        nn.init.constant_(self.scale.bias, -0.4)

    def forward(self, x):
        z = self.scale(x).mean((2, 3))
        return torch.cat([-z, z], dim=1)

def build():
    return Light()
"""


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A network in a file, and a folder `photos` of what it tells apart."""
    for name, value in (("dark", 60), ("light", 110)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((40 + i, 30, 3), value + i, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "light.py").write_text(LIGHT)
    return tmp_path


def run(folder: Path, *flags: object) -> list[object]:
    return [
        "run", "--dataset", f"imagefolder:{folder / 'photos'}", "--model", f"{folder / 'light.py'}:build",
        "--method", "center,random", "--metric", "deletion", "--images", "4", "--steps", "2", "--device", "cpu",
        "--output", folder / "out", *flags,
    ]  # fmt: skip


# --- who states it


def test_flags_come_before_the_card_the_offer_and_the_data_set(tmp_path: Path) -> None:
    choice = choose("resnet18")
    card = WeightsCard(
        "resnet18", {}, "imagenet-1k", "1", IMAGENET.classes, 32, (0.6,) * 3, (0.7,) * 3
    )
    data = replace(IMAGENET, size=48, mean=(0.8,) * 3, std=(0.9,) * 3)
    state = choice(2, 32).state_dict()
    save_weights(tmp_path / "carded.safetensors", state, card)
    torch.save(state, tmp_path / "two.pth")
    torch.save(choice(1000, 224).state_dict(), tmp_path / "thousand.pth")

    def found(file: str, stated: Stated = Stated()) -> tuple[int, float, str]:
        loaded = load_model(choice, data, weights=str(tmp_path / file), stated=stated)
        preparation = loaded.card.preparation
        return preparation.size, preparation.mean[0], preparation.stated_by

    assert found("carded.safetensors", replace(FLAGS, size=32)) == (32, 0.2, "flags")
    assert found("carded.safetensors") == (32, 0.6, "the weights' card")
    assert found("thousand.pth") == (224, 0.485, "ResNet18_Weights.IMAGENET1K_V1")
    # An offer is for weights with its number of logits: two of ImageNet's classes are fine-tuned.
    assert found("two.pth") == (48, 0.8, "the data set two-of-imagenet")


def test_what_several_state_together_is_said_piece_by_piece() -> None:
    preparation = settle([Stated(by="a", size=32), Stated(by="b", size=64, mean=(0.1,), std=(1,))])
    assert preparation is not None
    assert preparation.stated_by == "size: a; mean and std: b"
    assert (preparation.size, preparation.resize, preparation.mean) == (32, 32, (0.1,) * 3)


def test_who_states_the_size_states_the_resizing() -> None:
    imagenet = named_preparation("imagenet")
    smaller = settle([Stated(by="flags", size=96), imagenet])
    both = settle([Stated(by="flags", size=96, resize=110), imagenet])
    assert smaller is not None
    assert both is not None
    assert (smaller.resize, both.resize) == (96, 110)
    oblong = settle([Stated(by="flags", size=(64, 96)), imagenet])
    assert oblong is not None
    assert (oblong.height, oblong.width, oblong.resize, oblong.size) == (64, 96, None, 64)


@pytest.mark.parametrize("name", ["size", "mean", "std"])
def test_weights_of_ones_own_are_refused_where_nobody_states_it(name: str, tmp_path: Path) -> None:
    choice = choose("resnet18:width=4")
    torch.save(choice(3, 32).state_dict(), tmp_path / "w.pth")
    stated = replace(FLAGS, **{name: None})
    with pytest.raises(UnstatedPreparationError, match=f"nobody states {name}, .*--{name}; or"):
        load_model(choice, FOLDER, weights=str(tmp_path / "w.pth"), stated=stated)
    loaded = load_model(choice, FOLDER, weights=str(tmp_path / "w.pth"), stated=FLAGS)
    assert loaded.card.preparation.stated_by == "flags"
    assert load_model(choice, FOLDER, weights="random").card.preparation.stated_by.startswith("by")


def test_a_users_file_says_it_by_a_variable_or_a_file_beside_it(light: Path) -> None:
    own = light / "light.py"
    with pytest.raises(UnstatedPreparationError):
        load_model(choose(f"{own}:build"), replace(FOLDER, classes=("dark", "light")))
    beside = light / "light.toml"
    beside.write_text('size = [12, 16]\nrange = 255\nmean = 51\nstd = [255]\nchannels = "bgr"\n')
    card = load_model(choose(f"{own}:build"), replace(FOLDER, classes=("dark", "light"))).card
    assert card.preparation.shape == (3, 12, 16)
    assert (card.mean, card.std, card.preparation.channels) == ((0.2,) * 3, (1.0,) * 3, "bgr")
    said = "import interpbench\npretrained = interpbench.Pretrained('mine', size=8, mean=(0.3,), std=(1.0,))\n"
    own.write_text(said + LIGHT)
    card = load_model(choose(f"{own}:build"), replace(FOLDER, classes=("dark", "light"))).card
    assert (card.size, card.mean, card.preparation.stated_by) == (8, (0.3,) * 3, "mine")
    beside.write_text("sise = 3\n")
    with pytest.raises(PreparationError, match=r"light\.toml'.*'sise'. Did you mean 'size'"):
        load_model(choose(f"{own}:build"), replace(FOLDER, classes=("dark", "light")))
    own.write_text("pretrained = 3\n" + LIGHT)
    with pytest.raises(InterpBenchError, match="`pretrained` is a int, expected"):
        choose(f"{own}:build")


def test_what_flags_may_say(tmp_path: Path) -> None:
    stated = stated_by_user("imagenet", mean="0.5", std=[0.1, 0.2, 0.3], size="64x96", resize=0)
    assert (stated.size, stated.resize, stated.mean, stated.std) == (
        (64, 96),
        0,
        (0.5,),
        (0.1, 0.2, 0.3),
    )
    assert stated.by == "--preparation imagenet, --mean, --std, --size, --resize"
    whole = Preparation(height=8, width=8, resize=None, mean=(0.5,), std=(0.5,), channels="grey")
    assert settle([stated_by_user(whole)]) == replace(whole, stated_by="preparation=")
    assert stated_by_user().is_empty
    with pytest.raises(UnknownNameError, match="Did you mean 'imagenet'"):
        stated_by_user("imagnet")
    for flags, message in [
        ({"mean": "123,116,103"}, "not of pixels in 0..1"),
        ({"mean": "a"}, "expected one number, or one a channel"),
        ({"size": "0"}, "expected the side in pixels"),
        ({"size": "1,2,3"}, "HEIGHT,WIDTH"),
        ({"resize": -1}, "expected pixels, or 0"),
    ]:
        with pytest.raises(PreparationError, match=message):
            stated_by_user(**flags)
    with pytest.raises(PreparationError, match=r"std is \(0\.0,\): every number must be above 0"):
        settle([stated_by_user(size=3, mean=0.5, std=0.0)])
    with pytest.raises(PreparationError, match="mean has 2 numbers, but there are 3 channels"):
        settle([Stated(size=3, mean=(0.1, 0.2), std=(1, 1, 1))])
    with pytest.raises(PreparationError, match="cannot be read"):
        stated_by_user(tmp_path / "gone.toml")


# --- the pixels


def photograph(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def prepared(image: Image.Image, preparation: Preparation) -> Tensor:
    return normalise(torch.tensor(fit(np.array(image), preparation))[None], preparation)[0]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("size", "resize"), [((24, 24), 28), ((24, 24), 0), ((16, 40), 0)])
def test_the_input_is_that_of_torchvisions_transforms(
    interpolation: str, size: tuple[int, int], resize: int
) -> None:
    image, mean, std = photograph(61, 83), (0.1, 0.4, 0.7), (0.2, 0.3, 0.5)
    stated = Stated(size=size, resize=resize, interpolation=interpolation, mean=mean, std=std)  # type: ignore[arg-type]
    preparation = settle([stated])
    assert preparation is not None
    wanted = v2.Compose(
        [
            v2.Resize(resize or list(size), interpolation=v2.InterpolationMode(interpolation)),
            v2.CenterCrop(list(size)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )(image)
    torch.testing.assert_close(prepared(image, preparation), torch.as_tensor(wanted))


def test_bgr_in_0_to_255_is_what_caffes_networks_take(tmp_path: Path) -> None:
    file = tmp_path / "caffe.toml"
    file.write_text(
        'size = 20\nchannels = "bgr"\nrange = 255\nmean = [103.939, 116.779, 123.68]\nstd = 1\n'
    )
    preparation = settle([named_preparation(str(file))])
    assert preparation is not None
    image = photograph(20, 20)
    blue_first = np.asarray(image)[..., ::-1].astype(np.float64) - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(
        prepared(image, preparation).numpy(), blue_first.transpose(2, 0, 1), atol=1e-4
    )


def test_grey_is_pils() -> None:
    image = photograph(20, 20)
    preparation = settle([Stated(size=20, mean=(0.0,), std=(1 / 255,), channels="grey")])
    assert preparation is not None
    grey = prepared(image, preparation)
    np.testing.assert_allclose(grey[0].numpy(), np.asarray(image.convert("L")), atol=1e-4)
    colours = torch.tensor(np.array(image))[None].float() / 255
    assert (normalise(colours, preparation)[0] - grey).abs().max() <= 0.51  # without PIL's rounding


def test_a_crop_of_more_than_there_is_is_refused_and_numbers_may_be_single() -> None:
    with pytest.raises(PreparationError, match="brought to 112 pixels, and 128 are cut out"):
        settle([stated_by_user("imagenet", size=128, resize=112)])
    single = settle([Stated(size=8, mean=0.25, std=0.5, channels="grey")])  # type: ignore[arg-type]
    assert single is not None
    assert (single.mean, single.std) == ((0.25,), (0.5,))
    flags = settle([stated_by_user("grey", size="96,64", mean="0.25", std="0.1")])
    assert flags is not None
    assert flags.text.startswith("96x64 (height x width) of all of it (bilinear), grey")


def test_channels_that_cannot_be_made_are_refused() -> None:
    preparation = settle([Stated(size=4, mean=(0.0,) * 5, std=(1.0,) * 5)])
    assert preparation is not None
    assert preparation.channels == "own"
    with pytest.raises(PreparationError, match="images have 3 channels, the model takes 5"):
        normalise(torch.zeros(1, 4, 4, 3), preparation)


# --- as a user sees it


def test_a_run_without_it_says_what_the_usual_ones_give(light: Path) -> None:
    message = refused(*run(light))
    assert "nobody states size, mean and std" in message
    assert "On 6 images the accuracy is 100.0% 0..1, with a crop at 224x224" in message
    assert not (light / "out").exists()


def test_the_doctor_tries_the_usual_ones(light: Path) -> None:
    arguments = ["doctor", f"{light / 'light.py'}:build", "--dataset", f"imagefolder:{light / 'photos'}"]  # fmt: skip
    code, out, _ = call(*arguments, "--device", "cpu")
    rows = [line for line in out.splitlines() if "%" in line]
    assert code == 1
    assert "nobody states the size, mean and std" in out
    assert "100.0%" in rows[0]
    assert "0..1, " in rows[0]
    right = [line for line in rows if "100.0%" in line]
    assert all("mean 0 0 0, std 1 1 1" in line for line in right)
    assert {size for size in (96, 128, 160, 224) for line in right if f"{size}x{size}" in line} == {
        96,
        128,
        160,
        224,
    }
    code, out, _ = call(*arguments, "--device", "cpu", "--size", "24", "--mean", "0", "--std", "1")
    assert code == 0, out
    assert any("(as stated)" in line and "100.0%" in line for line in out.splitlines())


def test_it_is_shown_recorded_and_must_be_the_same_to_resume(light: Path) -> None:
    flags = ["--size", "24", "--mean", "0", "--std", "1"]
    code, out, error = call(*run(light, *flags))
    assert code == 0, out + error
    said = "24x24 from the shorter side at 24 (bilinear), RGB, mean 0 0 0, std 1 1 1"
    assert f"{said}, as stated by --mean, --std, --size" in out
    assert said in (light / "out" / "report.html").read_text(encoding="utf-8")
    info = json.loads((light / "out" / "run.json").read_text(encoding="utf-8"))
    assert list(info["identity"]["preparation"].values()) == [said]
    [model] = info["models"].values()
    assert (model["accuracy"], model["card"]["prepared"]) == (1.0, said)
    other = [*flags[:-1], "0.5"]
    assert "preparation differ" in refused(*run(light, *other, "--resume"))
    assert call(*run(light, *flags, "--resume"))[0] == 0


def test_show_says_it_for_the_weights_that_come_with_a_model() -> None:
    _, out, _ = call("show", "resnet18")
    assert "weights planted-resnet18.safetensors: 64x64 from the shorter side at 64" in out
    assert (
        "IMAGENET1K_V1: 224x224 from the shorter side at 256 (bilinear), or as it is at 224x224, RGB"
        in out
    )
    assert "imagenet" in call("list", "preparations")[1]


def test_explain_reads_files_by_the_range_of_the_data_set_that_is_named(light: Path) -> None:
    """And a run says where images of which white is not stated are nearly black."""
    for name, value in (("dark", 700), ("light", 2900)):  # of 4095: 0.17 and 0.71
        (light / "twelve" / name).mkdir(parents=True)
        pixels = np.full((20, 20), value, dtype=np.uint16)
        pixels[:10] += 200
        Image.fromarray(pixels).save(light / "twelve" / name / "a.png")
    flags = ["--size", "20", "--mean", "0", "--std", "1", "--device", "cpu"]
    model = ["--model", f"{light / 'light.py'}:build", "--method", "occlusion"]
    shown = []
    for number, data in enumerate(
        (
            ["--dataset", f"imagefolder:{light / 'twelve'},range=4095"],
            ["--dataset", "imagefolder:range=4095", "--data-root", light / "twelve"],
            ["--dataset", f"imagefolder:{light / 'twelve'}"],
        )
    ):
        file, output = light / "twelve" / "light" / "a.png", light / f"explained-{number}"
        code, out, error = call("explain", file, *data, *model, *flags, "--output", output)
        assert code == 0, out + error
        shown.append(
            json.loads((output / "explain.json").read_text())["images"][0]["predictions"][0][
                "class"
            ]
        )
    assert shown == ["light", "light", "dark"]
    command = [
        "run",
        "--dataset",
        f"imagefolder:{light / 'twelve'}",
        *model,
        *flags,
        "--metric",
        "deletion",
    ]
    code, out, error = call(
        *command, "--steps", "2", "--ceiling", "none", "--output", light / "dark-run"
    )
    assert code == 0, out + error
    assert "The brightest pixel of these images has 4.7% of what their type can hold" in out


def test_a_file_or_folder_in_the_place_of_a_name_is_recognised(light: Path) -> None:
    torch.save({}, light / "w.pth")
    assert f"--model NAME --weights {light / 'w.pth'}" in refused("doctor", light / "w.pth")
    assert f"imagefolder:{light / 'photos'}" in refused("run", "--dataset", light / "photos")
