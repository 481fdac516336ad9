"""`explain`: its numbers against closed forms, its pictures, its files, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import interpbench
from interpbench.attribution.model_and_methods import load_model_and_methods
from interpbench.core.errors import PreparationError
from interpbench.core.seeding import derive
from interpbench.files.output_folder import distinct, fresh_folder
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.studies.pictures.explain import METHODS, _top
from interpbench.studies.pictures.images import batches
from tests import in_memory
from tests.command_line import call, refused
from tests.paths import TINY
from tests.picture_commands import (
    CLASSES,
    GAIN,
    MEAN,
    STD,
    content,
    draw_coarsely,
    photo,
    record,
    save_quadrants,
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_quadrants(tmp_path)


@pytest.fixture
def base(weights: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    draw_coarsely(monkeypatch)
    return ["--model", "quadrants", "--weights", weights, "--plugin", TINY, "--device", "cpu"]


def closed_form(pixels: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Of `quadrants`: the probabilities [4], and x · d logit_target / dx summed over the channels [16,16]."""
    total = ((pixels / 255 - MEAN) / STD).sum(2)
    rectified = np.maximum(GAIN * total, 0)
    logits = np.array(
        [rectified[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].mean() for r in (0, 1) for c in (0, 1)]
    )
    row, column = divmod(target, 2)
    inside = np.zeros((16, 16), dtype=bool)
    inside[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = True
    return np.exp(logits) / np.exp(logits).sum(), np.where(inside, rectified / 64, 0)


def test_maps_and_probabilities_are_those_of_the_closed_form(
    tmp_path: Path, base: list[object]
) -> None:
    pixels = [photo(tmp_path / "in" / f"{i}.png", i) for i in range(5)]
    code, out, _ = call(
        "explain", tmp_path / "in", *base, "--method", "gradient", "--output", tmp_path / "out"
    )
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
def test_a_target_by_name_or_index_is_what_the_maps_explain(
    tmp_path: Path, base: list[object], target: str
) -> None:
    pixels = photo(tmp_path / "a.png", 0)
    arguments = [*base, "--method", "gradient", "--target", target, "--output", tmp_path / "out"]
    assert call("explain", tmp_path / "a.png", *arguments)[0] == 0
    shown = record(tmp_path / "out")
    np.testing.assert_allclose(
        np.load(tmp_path / "out/maps/a/gradient.npy"), closed_form(pixels, 2)[1], atol=1e-5
    )
    assert shown["target"] == target
    assert (shown["images"][0]["target"]["class"], shown["images"][0]["target"]["index"]) == (
        "sw",
        2,
    )


def test_shipped_weights_give_the_gradient_that_torch_gives(tmp_path: Path) -> None:
    """Against the plain network with the tensors of the file, without any of the package's loading."""
    registry = discover()
    sample = registry.configure("dataset", "planted")()[7]
    Image.fromarray(sample.image).save(tmp_path / "a.png")
    arguments = [
        "--model",
        "resnet18",
        "--dataset",
        "planted",
        "--method",
        "saliency",
        "--output",
        tmp_path / "out",
    ]
    assert call("explain", tmp_path / "a.png", *arguments, "--device", "cpu")[0] == 0
    shown = record(tmp_path / "out")
    network = registry.configure("model", "resnet18", shown["model"]["parameters"])(10, 64)
    tensors = load_file(bundled_folder() / "models" / "weights" / "planted-resnet18.safetensors")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    mean, std = (torch.tensor(shown["model"][key])[:, None, None] for key in ("mean", "std"))
    x = ((torch.from_numpy(sample.image).permute(2, 0, 1) / 255 - mean) / std)[
        None
    ].requires_grad_()
    logits = network.eval()(x)
    logits[0].max().backward()
    best = shown["images"][0]["predictions"][0]
    assert best["probability"] == pytest.approx(float(logits.detach().softmax(1).max()), rel=1e-4)
    expected = x.grad[0].abs().amax(0).numpy()
    np.testing.assert_allclose(
        np.load(tmp_path / "out/maps/a/saliency.npy"), expected, atol=1e-3 * expected.max()
    )


def test_chance_comes_from_the_seed_and_the_pixels_alone(
    tmp_path: Path, base: list[object]
) -> None:
    photo(tmp_path / "a.png", 0)
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    photo(tmp_path / "other.png", 1)
    files = [tmp_path / name for name in ("other.png", "copy.png", "a.png")]
    for seed in (0, 1):
        call(
            "explain",
            *files,
            *base,
            "--method",
            "random",
            "--seed",
            seed,
            "--output",
            tmp_path / str(seed),
        )
    maps = {
        s: {n: np.load(tmp_path / s / f"maps/{n}/random.npy") for n in ("a", "copy", "other")}
        for s in "01"
    }
    pixels = {Path(i["file"]).stem: i["pixels_sha256"] for i in record(tmp_path / "0")["images"]}
    generator = torch.Generator().manual_seed(derive(0, "method", "random", pixels["a"]))
    np.testing.assert_array_equal(maps["0"]["a"], torch.rand(16, 16, generator=generator).numpy())
    np.testing.assert_array_equal(maps["0"]["a"], maps["0"]["copy"])
    assert (maps["0"]["a"] != maps["0"]["other"]).any()
    assert (maps["0"]["a"] != maps["1"]["a"]).any()


def test_twice_gives_the_same_bytes(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "in" / "a.png", 0)
    photo(tmp_path / "in" / "b c.png", 1)
    arguments = [
        "in",
        "--model",
        "quadrants",
        "--weights",
        str(weights),
        "--plugin",
        str(TINY),
        "--device",
        "cpu",
    ]
    arguments += [
        "--methods",
        "gradient,random",
        "--method",
        "center:sigma=0.1",
        "--output",
        "out",
        "--overwrite",
    ]
    found = []
    for _ in range(2):
        code, _, error = call("explain", *arguments)
        assert code == 0, error
        found.append(content(tmp_path / "out"))
    assert found[0] == found[1]
    files = {"a.png", "b-c.png", "explain.json"}
    methods = ("gradient", "random", "center-sigma=0.1")
    assert set(found[0]) == files | {
        f"maps/{name}/{method}.npy" for name in ("a", "b-c") for method in methods
    }
    shown = record(tmp_path / "out")
    assert shown["status"] == "finished"
    assert shown["methods"]["center:sigma=0.1"]["parameters"] == {"sigma": 0.1}
    assert shown["model"]["weights_sha256"]
    assert shown["versions"]["torch"]
    assert (shown["seed"], shown["target"]) == (0, "predicted")


def test_images_of_the_same_name_get_files_of_their_own(tmp_path: Path, base: list[object]) -> None:
    for i, name in enumerate(("x/cat.png", "y/cat.png", "y/CAT.bmp", "cat-2.png")):
        photo(tmp_path / "in" / name, i)
    assert (
        call(
            "explain", tmp_path / "in", *base, "--method", "gradient", "--output", tmp_path / "out"
        )[0]
        == 0
    )
    images = record(tmp_path / "out")["images"]
    assert len({image["panel"].lower() for image in images}) == 4
    for image in images:
        expected = closed_form(np.asarray(Image.open(image["file"])), image["target"]["index"])[1]
        np.testing.assert_allclose(
            np.load(tmp_path / "out" / image["maps"]["gradient"]), expected, atol=1e-5
        )


def test_an_unreadable_image_is_named_and_the_others_are_explained(
    tmp_path: Path, base: list[object]
) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    photo(tmp_path / "good.png", 0)
    arguments = [*base, "--method", "gradient", "--output", tmp_path / "out"]
    code, out, _ = call("explain", tmp_path / "broken.jpg", tmp_path / "good.png", *arguments)
    assert code == 1
    assert "skipped an image that cannot be read" in out
    assert "broken.jpg" in out
    assert (tmp_path / "out" / "good.png").exists()
    assert list(record(tmp_path / "out")["skipped"]) == [str(tmp_path / "broken.jpg")]
    assert (
        call(
            "explain",
            tmp_path / "broken.jpg",
            *base,
            "--method",
            "gradient",
            "--output",
            tmp_path / "no",
        )[0]
        == 1
    )


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
        _, expected = closed_form(
            np.asarray(Image.open(tmp_path / "in" / f"{i}.png")), image["target"]["index"]
        )
        np.testing.assert_allclose(
            np.load(tmp_path / "out" / image["maps"]["gradient"]), expected, atol=1e-5
        )


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
    assert set(content(tmp_path / "out")) == {
        "b.png",
        "maps/b/gradient.npy",
        "explain.json",
        "notes.txt",
    }


def test_a_record_cannot_have_files_outside_of_its_folder_removed(
    tmp_path: Path, base: list[object]
) -> None:
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
    assert "no image" in refused("explain", tmp_path / "absent.png", *base, "--method", "gradient")
    assert "holds no images" in refused(
        "explain", tmp_path / "empty", *base, "--method", "gradient"
    )
    assert "cuda:N" in refused(
        "explain", tmp_path / "a.png", *base, "--method", "gradient", "--device", "gpu"
    )
    rest = ["--weights", weights, "--plugin", TINY, "--method", "gradient"]
    assert "one model at a time" in refused(
        "explain", tmp_path / "a.png", "--model", "quadrants,viewing", *rest
    )
    assert "holds weights of 'quadrants'" in refused(
        "explain", tmp_path / "a.png", "--model", "viewing", *rest
    )
    assert not (tmp_path / "out").exists()


def test_the_target_is_listed_also_where_it_is_improbable() -> None:
    probabilities = torch.tensor([0.05, 0.3, 0.2, 0.25, 0.1, 0.06, 0.04])
    assert _top(probabilities) == [1, 3, 2, 4, 5]
    assert _top(probabilities, 2) == [1, 3, 2, 4, 5]
    assert _top(probabilities, 6) == [1, 3, 2, 4, 6]
    assert _top(probabilities[:2], 0) == [1, 0]


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
    sources = Sources(weights=("random",))
    card = load_model_and_methods(
        registry, "quadrants", ["sobel"], dataset.card, sources
    ).model.card
    for count in (1, 3, 100):
        found = list(batches(dataset, [0, 7, 1, 5, 30], card, count))
        skipped = {name: why for batch in found for name, why in batch.skipped.items()}
        assert [i for batch in found for i in batch.ids] == ["tiny-007", "tiny-005", "tiny-030"]
        assert list(skipped) == ["tiny-000", "tiny-001"]
        images = torch.cat([batch.images for batch in found]).numpy()
        np.testing.assert_array_equal(images, [dataset[i].image for i in (7, 5, 30)])
        np.testing.assert_array_equal(
            torch.cat([b.masks for b in found]), [dataset[i].mask for i in (7, 5, 30)]
        )


def test_tensors_and_a_module_give_the_maps_that_autograd_gives(tmp_path: Path) -> None:
    network, x = in_memory.network(), in_memory.BYTES
    explained = interpbench.explain(
        x, model=network, method=[in_memory.gradient], target="dog", classes=("cat", "dog", "cow"), device="cpu",
        output=tmp_path / "out", **in_memory.KEYWORDS,
    )  # fmt: skip
    mean, std = (torch.tensor(v)[:, None, None] for v in (in_memory.MEAN, in_memory.STD))
    inputs = ((x / 255 - mean) / std).requires_grad_()
    logits = network.eval()(inputs)
    (expected,) = torch.autograd.grad(logits[:, 1].sum(), inputs)
    for i, image in enumerate(explained.images):
        found = np.load(explained.folder / image.maps["gradient"])
        assert np.abs(found - expected[i].abs().amax(0).numpy()).max() < 1e-6
        assert (image.file, image.target.name) == (f"000{i + 1}", "dog")
        assert image.target.probability == pytest.approx(
            float(logits[i].detach().softmax(0)[1]), abs=1e-6
        )


def test_a_module_explains_files_once_their_size_is_stated(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 0)
    asked = {
        "model": in_memory.network(),
        "method": "saliency",
        "device": "cpu",
        **in_memory.KEYWORDS,
    }
    with pytest.raises(PreparationError, match="nobody states size"):
        interpbench.explain(tmp_path / "a.png", **asked)
    explained = interpbench.explain(
        tmp_path / "a.png", size=(16, 24), output=tmp_path / "out", **asked
    )
    assert np.load(explained.folder / explained.images[0].maps["saliency"]).shape == (16, 24)


def test_five_methods_explain_a_photograph_that_is_shipped(
    tmp_path: Path, base: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = call("explain", "cat", "astronaut", *base, "--output", tmp_path / "out")
    assert code == 0, out + error
    [cat, astronaut] = record(tmp_path / "out")["images"]
    assert (cat["file"], cat["panel"], astronaut["panel"]) == ("cat", "cat.png", "astronaut.png")
    assert set(cat["maps"]) == set(METHODS)
    assert len(METHODS) == 5
    assert all(
        f"{found['class']} ({found['probability']:.1%})" in out for found in cat["predictions"]
    )
    Image.new("RGB", (16, 16), "red").save("cat", "PNG")  # a file of that name comes first
    call("explain", "cat", *base, "--method", "gradient", "--output", tmp_path / "own")
    assert record(tmp_path / "own")["images"][0]["pixels_sha256"] != cat["pixels_sha256"]


def test_an_image_that_is_not_there_is_told_what_there_is(base: list[object]) -> None:
    said = refused("explain", "astronot", *base)
    assert "There is no image 'astronot'" in said
    assert "astronaut, cat, coffee, rocket" in said


def test_several_opacities_are_drawn_and_recorded(tmp_path: Path, base: list[object]) -> None:
    photo(tmp_path / "a.png", 0)
    out = tmp_path / "out"
    asked = ["explain", tmp_path / "a.png", *base, "--method", "gradient"]
    code, _, _ = call(*asked, "--alpha", "0.3,0.6,0.9", "--output", out)
    assert code == 0
    assert record(out)["alphas"] == [0.3, 0.6, 0.9]
    call(*asked, "--output", tmp_path / "one")
    assert "alphas" not in record(tmp_path / "one")
    widths = [Image.open(folder / "a.png").size[0] for folder in (out, tmp_path / "one")]
    assert widths[0] > widths[1]
    assert "--alpha 2: expected an opacity" in refused(*asked, "--alpha", "0.5,2")
    assert "several with commas" in refused(*asked, "--alpha", "strong")
