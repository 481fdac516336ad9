"""Training that starts from weights: what is taken over, what starts anew, what is refused, and what is recorded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from interpbench import api
from interpbench.core.errors import (
    NoWeightsError,
    ParameterError,
    PreparationError,
    TrainingError,
    WeightsError,
)
from interpbench.core.types import DatasetCard, Pretrained
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import hash_tensors
from interpbench.loading.weights import read_weights, sha256
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry, model
from interpbench.training.data import decode
from interpbench.training.find_lr import find_lr
from interpbench.training.plan import plan_training
from interpbench.training.recipe import Recipe, load_recipe
from interpbench.training.splits import Splits
from interpbench.training.start import Start, find_start, find_trained
from interpbench.training.train import train
from tests.command_line import call, refused
from tests.training.data import Stripes, photographs

MEAN, STD = (0.4, 0.3, 0.2), (0.1, 0.2, 0.3)
# Steps that change nothing, so that what is not drawn anew is as it was.
STILL = Recipe(epochs=1, batch_size=16, validation=0).changed(
    {"lr": 1e-30, "optimiser": {"name": "sgd", "lr": 1e-30, "weight_decay": 0}}
)


def layers(classes: int, width: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )


def trained(classes: int, width: int = 4) -> dict[str, Tensor]:
    """Weights that no seed of a training draws."""
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        return layers(classes, width).state_dict()


def plugin(pretrained: object = None, network: Callable[..., nn.Module] = layers) -> Configured:
    registry = Registry()
    with registry.collecting():

        @model("net", pretrained=pretrained)
        def net(classes, size, *, width: int = 4):
            return network(classes, width)

    return registry.configure("model", "net", {})


def offer(classes: int = 5, digest: str = "abc") -> Pretrained:
    names = tuple(f"class {i}" for i in range(classes))
    load = lambda: (trained(classes), digest)  # noqa: E731
    return Pretrained("library/net", load, size=8, resize=9, mean=MEAN, std=STD, classes=names)


def run(start: Start, path: Path, **more: object) -> dict[str, str]:
    """Trains on two classes, and gives the card's notes."""
    recipe = more.pop("recipe", STILL)
    splits = Splits(Stripes(), Stripes(20))
    return train(start, splits, recipe=recipe, output=path, half=False, **more).notes


def test_the_plugin_s_weights_are_taken_but_for_the_head(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    notes = run(find_start(plugin(lambda width: offer()), "imagenet"), path)
    state, card = read_weights(path)
    assert torch.equal(state["0.weight"], trained(5)["0.weight"])
    assert torch.equal(state["1.weight"], trained(5)["1.weight"])
    assert state["5.weight"].shape == (2, 4)
    afresh, _ = Start(plugin()).build(2, 8, seed=0)
    assert torch.equal(state["5.weight"], afresh.state_dict()["5.weight"])
    assert card is not None
    assert (card.size, card.mean, card.std) == (8, MEAN, STD)
    assert (notes["started_from"], notes["started_from_sha256"]) == ("library/net", "abc")
    assert (notes["started_anew"], notes["normalisation"]) == ("5", "that of library/net")
    # What reads the card prepares images so.
    loaded = load_model(plugin(), Stripes().card, weights=str(path))
    assert (loaded.card.size, loaded.card.mean, loaded.card.std) == (8, MEAN, STD)


def test_a_checkpoint_of_a_wrapped_network_is_a_start_too(tmp_path: Path) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in trained(5).items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "w.pth.tar")
    network, anew = find_start(plugin(), str(tmp_path / "w.pth.tar")).build(2, 8, seed=0)
    assert torch.equal(network.state_dict()["0.weight"], trained(5)["0.weight"])
    assert anew == ("5",)


def test_images_are_normalised_as_for_the_weights_in_training_search_and_test(
    tmp_path: Path,
) -> None:
    seen: dict[bool, list[Tensor]] = {True: [], False: []}

    class Watched(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            seen[self.training].append(x.clone())
            return super().forward(x)

    def watched(classes: int, width: int) -> nn.Module:
        return Watched(*layers(classes, width))

    recipe = STILL.changed({"batch_size": 64, "augmentation": {"flip": False, "crop": 0}})
    start = find_start(plugin(lambda width: offer(), watched), "imagenet")
    run(start, tmp_path / "w.safetensors", recipe=recipe)

    def expected(data: Stripes) -> Tensor:
        pixels = decode(data, 8, lambda done, total: None).images / 255
        return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]

    torch.testing.assert_close(seen[False][0], expected(Stripes(20)))
    find_lr(start, Stripes(), recipe=recipe, steps=3)
    for batch in (seen[True][0], seen[True][-1]):
        trained_on = batch.flatten(1).sum(1).sort().values
        torch.testing.assert_close(trained_on, expected(Stripes()).flatten(1).sum(1).sort().values)


def test_a_size_that_is_asked_for_goes_before_the_weights_own(tmp_path: Path) -> None:
    start = find_start(plugin(offer()), "imagenet")
    run(start, tmp_path / "w.safetensors", recipe=STILL.changed({"size": 12}))
    card = read_weights(tmp_path / "w.safetensors")[1]
    assert card is not None
    assert (card.size, card.mean) == (12, MEAN)


def test_input_that_a_training_cannot_give_is_refused(tmp_path: Path) -> None:
    square, tall = (replace(offer(), size=size) for size in ((12, 12), (24, 12)))
    assert find_start(plugin(square), "imagenet").sized(STILL).size == 12
    start = find_start(plugin(tall), "imagenet")
    with pytest.raises(
        PreparationError, match=r"12x24 pixels, and a training takes square images.*--size"
    ):
        run(start, tmp_path / "w.safetensors")
    run(start, tmp_path / "w.safetensors", recipe=STILL.changed({"size": 12}))
    with pytest.raises(PreparationError, match=r"other channels \(bgr\)"):
        find_start(plugin(replace(offer(), channels="bgr")), "imagenet")
    with pytest.raises(PreparationError, match="than the RGB"):
        find_start(plugin(replace(offer(), mean=(0.5,) * 5)), "imagenet")


def test_where_the_classes_are_as_many_nothing_starts_anew(tmp_path: Path) -> None:
    notes = run(find_start(plugin(offer(2, "")), "imagenet"), tmp_path / "w.safetensors")
    state, _ = read_weights(tmp_path / "w.safetensors")
    assert torch.equal(state["5.weight"], trained(2)["5.weight"])
    assert notes["started_anew"] == "nothing"
    assert notes["started_from_sha256"] == hash_tensors(trained(2))


def test_all_heads_start_anew(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self, classes: int, width: int) -> None:
            super().__init__()
            self.body = layers(width, width)
            self.head, self.head_dist = nn.Linear(width, classes), nn.Linear(width, classes)

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x)
            return self.head(x) + self.head_dist(x)

    torch.save(Two(5, 4).state_dict(), tmp_path / "two.pth")
    start = find_start(plugin(network=Two), str(tmp_path / "two.pth"))
    assert run(start, tmp_path / "w.safetensors")["started_anew"] == "head, head_dist"


def test_a_file_s_card_says_parameters_size_and_normalisation(tmp_path: Path) -> None:
    first = tmp_path / "first.safetensors"
    wide = plugin().plugin.configure({"width": 6})
    train(
        Start(wide),
        Splits(Stripes(), Stripes(20)),
        recipe=STILL.changed({"size": 10}),
        output=first,
    )
    start = find_start(plugin(), str(first))
    assert start.model.values["width"] == 6
    three = Stripes()
    three.card = type(three.card)("three", ("a", "b", "c"), "three-1", mean=MEAN, std=STD)
    path = tmp_path / "second.safetensors"
    card = train(start, Splits(three, three), recipe=STILL, output=path)
    assert (card.size, card.mean, card.std) == (10, (0.5,) * 3, (0.25,) * 3)
    assert card.notes["started_from"] == "first.safetensors"
    assert card.notes["started_from_sha256"] == sha256(first)
    assert card.notes["started_anew"] == "5"
    assert torch.equal(read_weights(path)[0]["0.weight"], read_weights(first)[0]["0.weight"])
    with pytest.raises(WeightsError, match="was trained with"):
        find_start(plugin().plugin.configure({"width": 3}), str(first))


def test_a_bare_file_of_the_plugin_s_kind_is_prepared_as_the_plugin_says(tmp_path: Path) -> None:
    torch.save(trained(5), tmp_path / "five.pth")
    torch.save(trained(3), tmp_path / "three.pth")
    five, three = (
        find_start(plugin(offer()), str(tmp_path / f"{n}.pth")) for n in ("five", "three")
    )
    run(five, tmp_path / "a.safetensors")
    card = read_weights(tmp_path / "a.safetensors")[1]
    assert card is not None
    assert (card.size, card.mean, card.notes["normalisation"]) == (8, MEAN, "that of five.pth")
    heard: list[str] = []
    notes = run(three, tmp_path / "b.safetensors", progress=lambda step: heard.append(step.note))
    card = read_weights(tmp_path / "b.safetensors")[1]
    assert card is not None
    assert (card.size, card.mean, notes["normalisation"]) == (16, (0.5,) * 3, "that of stripes")
    assert any("three.pth does not say how its images were normalised" in note for note in heard)
    assert "Starts from three.pth; layers that start anew: 5." in heard


def broken(**changes: Tensor | None) -> dict[str, Tensor]:
    state = trained(5) | changes
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (trained(5, width=3), r"'0\.weight' has shape \(3, 3, 3, 3\), the model's has \(4, 3, 3, 3\)"),
        (broken(**{"0.bias": None}), r"'0\.bias' is missing"),
        (broken(extra=torch.zeros(1)), "'extra' is not in the model"),
        (broken(**{"5.weight": torch.zeros(5, 7)}), r"'5\.weight' has shape \(5, 7\)"),
        (broken(**{"5.bias": torch.zeros(5, 1)}), r"'5\.bias' has shape \(5, 1\)"),
        (broken(**{"0.bias": torch.full((4,), torch.nan)}), r"NaN or infinite numbers in '0\.bias'"),
    ],
)  # fmt: skip
def test_what_misfits_by_more_than_its_classes_is_refused(
    tmp_path: Path, state: dict[str, Tensor], message: str
) -> None:
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=message):
        run(find_start(plugin(), str(tmp_path / "bad.pth")), tmp_path / "w.safetensors")


def test_where_there_are_no_such_weights_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No ImageNet weights come with model 'net'"):
        find_start(plugin(), "imagenet")
    with pytest.raises(WeightsError, match="is built with its weights, run 7: leave --weights out"):
        find_start(plugin(Pretrained("run 7")), "imagenet")
    with pytest.raises(WeightsError, match="There is no weights' file"):
        find_start(plugin(), str(tmp_path / "gone.pth"))

    def offline() -> tuple[dict[str, Tensor], str]:
        raise OSError("no network")

    with pytest.raises(WeightsError, match=r"could not be downloaded .*no network"):
        find_start(plugin(Pretrained("library/net", offline)), "imagenet")
    with pytest.raises(WeightsError, match="library/net is for 'net' with its default parameters"):
        find_start(plugin(offer()).plugin.configure({"width": 6}), "imagenet")
    assert all(find_start(plugin(), weights).weights is None for weights in ("random", None))


def test_a_training_is_resumed_from_the_same_start_alone(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch_size=16)
    starts = {name: find_start(plugin(offer(digest=name)), "imagenet") for name in ("one", "two")}
    run(starts["one"], tmp_path / "whole.safetensors", recipe=recipe)
    path = tmp_path / "w.safetensors"

    def stop(step: object) -> None:
        if getattr(step, "epoch", None) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(starts["one"], path, recipe=recipe, progress=stop)
    with pytest.raises(TrainingError, match=r"the unfinished training of another start\."):
        run(starts["two"], path, recipe=recipe, resume=True)
    with pytest.raises(TrainingError, match="another recipe and start"):
        run(Start(plugin()), path, recipe=recipe, resume=True)
    run(starts["one"], path, recipe=recipe, resume=True)
    assert sha256(path) == sha256(tmp_path / "whole.safetensors")


def test_what_began_without_weights_is_not_resumed_with_some(tmp_path: Path) -> None:
    def stop(step: object) -> None:
        if getattr(step, "epoch", None) == 2:
            raise KeyboardInterrupt

    path, recipe = tmp_path / "w.safetensors", Recipe(epochs=2, batch_size=16, size=8)
    with pytest.raises(KeyboardInterrupt):
        run(Start(plugin()), path, recipe=recipe, progress=stop)
    with pytest.raises(TrainingError, match=r"another start\."):
        run(find_start(plugin(offer()), "imagenet"), path, recipe=recipe, resume=True)


def test_the_search_for_a_learning_rate_starts_there_too(tmp_path: Path) -> None:
    recipe = Recipe(batch_size=64, size=16, augmentation={"flip": False, "crop": 0})
    far = trained(2) | {"5.bias": torch.tensor([50.0, -50.0])}
    torch.save(far, tmp_path / "far.pth")
    start = find_start(plugin(), str(tmp_path / "far.pth"))
    first, usual = (
        find_lr(s, Stripes(), recipe=recipe, steps=20)[0]["loss"][0]
        for s in (start, Start(plugin()))
    )
    assert usual < 2 < 40 < first


def test_the_recipe_is_the_one_for_weights_unless_another_is_named(tmp_path: Path) -> None:
    torch.save(trained(5), tmp_path / "five.pth")
    file = tmp_path / "net.py"
    file.write_text(
        "from tests.training.test_start import layers\n\n\ndef build(classes, size):\n    return layers(classes)\n"
    )
    arguments = (discover(), f"{file}:build", "planted:count=4")
    sources = Sources(weights=(str(tmp_path / "five.pth"),))
    out = tmp_path / "w.safetensors"
    assert plan_training(*arguments, sources, output=out).recipe == load_recipe("fine-tune")
    assert plan_training(*arguments, sources, recipe="cifar10", output=out).recipe == load_recipe(
        "cifar10"
    )
    assert plan_training(*arguments, output=out).recipe == load_recipe()
    with pytest.raises(ParameterError, match="one file of weights, not 2"):
        plan_training(*arguments, Sources(weights=("a", "b")), output=out)


def test_a_recipe_for_trained_weights_takes_those_that_a_run_would_take(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"

    def planned(model: str, weights: tuple[str, ...] = (), data: str = "planted:count=4"):
        return plan_training(
            discover(), model, data, Sources(weights=weights), recipe="in-domain", output=out
        )

    plan = planned("vgg11_bn")
    shipped = bundled_folder() / "models" / "weights" / "planted-vgg11_bn.safetensors"
    assert plan.recipe == load_recipe("in-domain")
    assert plan.start.weights is not None
    assert plan.start.weights.sha256 == sha256(shipped)
    assert plan.start.model.values["width"] == 8  # as the weights' card says
    network, anew = plan.start.build(10, 64, seed=0)
    expected = load_model(plan.start.model, plan.data.train.card).network.state_dict()
    assert anew == ()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    given = planned("vgg11_bn", (str(shipped),))
    assert given.start.weights is not None
    assert given.start.weights.sha256 == sha256(shipped)
    with pytest.raises(
        ParameterError,
        match="Recipe 'in-domain' is for weights that are trained: leave --weights ran",
    ):
        planned("vgg11_bn", ("random",))
    with pytest.raises(
        NoWeightsError, match="no weights for model 'mobilenet_v2' on data set 'planted'"
    ):
        planned("mobilenet_v2")
    card = plan.data.train.card
    other = DatasetCard(card.name, card.classes[::-1], "1", size=64)
    with pytest.raises(WeightsError, match="stand in another order"):
        find_trained(plan.start.model, other)


def test_train_weights_as_a_user_runs_it(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from interpbench import Pretrained, model\n"
        "from tests.training.test_start import layers, trained\n\n\n"
        "@model('mine', pretrained=Pretrained('mine/v1', lambda: (trained(1000), ''), size=12,\n"
        "                                     mean=(0.4, 0.3, 0.2), std=(0.1, 0.2, 0.3)))\n"
        "def mine(classes, size):\n"
        "    return layers(classes)\n"
    )
    photographs(tmp_path / "photos", ("cat", "cow", "dog"))
    base = [
        "train", "--model", "mine", "--plugin", file, "--dataset", f"imagefolder:root={tmp_path / 'photos'}",
        "--split", "0.2", "--device", "cpu", "--epochs", "1", "--overwrite", "--output", tmp_path / "w.safetensors",
    ]  # fmt: skip
    code, out, error = call(*base, "--weights", "imagenet")
    assert code == 0, error
    assert "Note: Starts from mine/v1; layers that start anew: 5." in out
    card = read_weights(tmp_path / "w.safetensors")[1]
    assert card is not None
    assert (card.size, card.mean, len(card.classes)) == (12, MEAN, 3)
    again = tmp_path / "again.safetensors"
    code, out, error = call(*base[:-1], again, "--weights", tmp_path / "w.safetensors")
    assert code == 0, error
    assert "Starts from w.safetensors; layers that start anew: nothing." in out
    notes = api.train(
        "mine", dataset=f"imagefolder:root={tmp_path / 'photos'}", weights=again, split=0.2, epochs=1, lr=1e-3,
        device="cpu", plugin=file, output=tmp_path / "third.safetensors",
    ).card.notes  # fmt: skip
    assert notes["started_from_sha256"] == sha256(again)
    assert "There is no weights' file gone.pth" in refused(*base, "--weights", "gone.pth")
    assert "holds weights of 'mine', not of 'alexnet'" in refused(
        *base, "--model", "alexnet", "--weights", again
    )
