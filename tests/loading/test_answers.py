"""What users' networks return becomes scores: where the answers are, what they are, and which probability is read."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, fx, nn

import interpbench
from interpbench.core.errors import InterpBenchError, OutputsError, PluginError, UnknownNameError
from interpbench.core.outputs import OUTPUTS, Outputs, probabilities_of, scores_of
from interpbench.core.types import DatasetCard, Model
from interpbench.fast.occlusion.occluded_outputs import listening
from interpbench.loading.answers import Expected, Reading, answering, ask, reading_of
from interpbench.loading.model import load_model
from interpbench.loading.weights import WeightsCard, save_weights
from interpbench.registry.discovery import discover
from tests.command_line import call, refused
from tests.paths import TESTS
from tests.user_answers import ANSWERS, FOUND, ONE_NUMBER, REFUSED, SIZE, Net

PLUGIN = TESTS / "plugins" / "answers.py"
REGISTRY = discover([PLUGIN])
METHODS = "gradient-x-input,gradcam,occlusion:window=4,stride=4,center"


def model(
    form: str, numbers: int = 4, says: str = "", *, data: str = "noise", **given: Any
) -> Model:
    """The network with an answer of that form, as a run loads it for a data set."""
    parameters = {"form": form, "numbers": numbers, "says": says}
    name, _, classes = data.partition(":")
    dataset = REGISTRY.configure("dataset", name, {"classes": classes} if classes else {})()
    return load_model(REGISTRY.configure("model", "answers", parameters), dataset.card, **given)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def logits(x: Tensor, numbers: int = 4) -> np.ndarray:
    """What the network's head gives, float64 [N,numbers]."""
    return Net(ANSWERS["plain"], numbers).eval()(x).double().numpy()


def run(folder: Path, text: str, **changes: Any) -> interpbench.Run:
    return interpbench.run(
        **{
            "dataset": "noise", "model": text, "method": METHODS, "metric": "deletion,insertion",
            "ceiling": "none", "images": 6, "plugin": PLUGIN, "device": "cpu", "output": folder, "plots": False,
            **changes,
        }
    )  # fmt: skip


def pixels(count: int = 6) -> Tensor:
    """The images of `noise` as the network gets them."""
    dataset = REGISTRY.configure("dataset", "noise", {})()
    stacked = np.stack([dataset[i].image for i in range(count)])
    return ((torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255) - 0.5) / 0.25


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def starts(finished: interpbench.Run) -> np.ndarray:
    """The first value of each image's deletion curve, in the order of the images, by one method."""
    curves = finished.curves
    chosen = (
        (curves["method"] == "center") & (curves["metric"] == "deletion") & (curves["step"] == 0)
    )
    return curves[chosen].sort_values("sample_id")["value"].to_numpy()


# --- scores and probabilities


ANSWER = np.array([[0.3, -1.2, 2.0], [-0.5, 0.1, 0.0]])
CLOSED: dict[
    Outputs, tuple[np.ndarray, np.ndarray, np.ndarray]
] = {  # answers, scores, probabilities
    "softmax": (ANSWER, ANSWER, softmax(ANSWER)),
    "sigmoid": (ANSWER, ANSWER, sigmoid(ANSWER)),
    "binary": (ANSWER[:, :1], ANSWER[:, :1] * [-1, 1], sigmoid(ANSWER[:, :1] * [-1, 1])),
    "log-softmax": (np.log(softmax(ANSWER)), np.log(softmax(ANSWER)), softmax(ANSWER)),
    "probabilities": (softmax(ANSWER), np.log(softmax(ANSWER)), softmax(ANSWER)),
    "sigmoid-probabilities": (sigmoid(ANSWER), ANSWER, sigmoid(ANSWER)),
}


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_scores_and_probabilities_have_closed_forms(outputs: Outputs) -> None:
    answers, scores, probabilities = (torch.from_numpy(values) for values in CLOSED[outputs])
    found = scores_of(answers, outputs, answers.shape[1])
    torch.testing.assert_close(found, scores)
    torch.testing.assert_close(probabilities_of(found, outputs), probabilities)


def test_certain_probabilities_have_finite_scores_and_are_read_back() -> None:
    certain = torch.tensor([[0.0, 1.0]])
    for outputs in ("probabilities", "sigmoid-probabilities"):
        scores = scores_of(certain, outputs, 2)
        assert scores.isfinite().all()
        torch.testing.assert_close(probabilities_of(scores, outputs), certain, rtol=0, atol=2e-7)


# --- where the answers are


def test_every_form_gives_the_scores_of_the_plain_network_byte_for_byte(tmp_path: Path) -> None:
    models = [f'answers:form="{form}"' for form in ANSWERS]
    finished = run(tmp_path / "run", models, method="gradcam", metric="deletion", images=4, steps=8)
    assert finished.failed.empty
    table = pd.read_csv(tmp_path / "run" / "scores.csv", dtype=str)
    names = dict(zip(ANSWERS, finished.info.identity.weights, strict=True))
    rows = {
        form: table[table["model"] == name].drop(columns="model") for form, name in names.items()
    }
    assert len(rows["plain"]) == 4
    for form, name in names.items():
        assert rows[form].to_csv(index=False) == rows["plain"].to_csv(index=False), form
        said = [n for n in finished.info.notices if n.startswith(f"{name}: Its answers ")]
        assert len(said) == ("1x1" in form) + (form not in ("plain", "1x1 maps"))  # each once
        assert finished.info.models[f"noise-4 {name}"].findings == ()


@pytest.mark.parametrize(
    ("form", "where"),
    [
        ("dict", "['out'] of the dict"),
        ("tuple", "[0] of the tuple"),
        ("tuple of two rows", "[1] of the tuple"),
        ("nested", "[0]['scores']['logits'] of the list"),
        ("named tuple", ".logits of the Outputs"),
        ("dataclass", ".prediction of the Answer"),
        ("Hugging Face", "['logits'] of the ModelOutput"),
        ("1x1 maps", "[B,4,1,1] are flattened"),
    ],
)
def test_it_is_said_where_the_answers_are(form: str, where: str) -> None:
    assert where in " ".join(model(form).notices)


@pytest.mark.parametrize("form", REFUSED)
def test_what_holds_no_answer_or_several_is_refused_in_a_sentence(form: str) -> None:
    message = REFUSED[form][1]
    arguments = ["--model", f'answers:form="{form}"', "--dataset", "noise", "--plugin", PLUGIN]
    assert message in refused("run", *arguments, "--method", "center", "--images", "4")
    with pytest.raises(PluginError, match=r"^Model 'answers:"):
        model(form)


def test_layers_keep_their_names_and_copies_read_the_answers() -> None:
    plain, of_dict = model("plain"), model("dict")
    assert [n for n, _ in plain.network.named_modules()] == [
        n for n, _ in of_dict.network.named_modules()
    ]
    assert of_dict.card.weights_sha256 == plain.card.weights_sha256
    assert of_dict.target_layer is of_dict.network.relu2
    expected = plain(images())
    for network in (
        of_dict.network,
        copy.deepcopy(of_dict).network,
        fx.symbolic_trace(of_dict.network),
    ):
        assert torch.equal(network(images()), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("wrap", ["traced", "fx", "own forward"])
def test_modules_whose_forward_is_none_of_their_class_are_read_as_well(wrap: str) -> None:
    net = Net(ANSWERS["dict"]).eval().requires_grad_(False)
    makers: dict[str, Callable[[], nn.Module]] = {
        "traced": lambda: torch.jit.trace(net, images(), strict=False),
        "fx": lambda: fx.symbolic_trace(net),
        "own forward": lambda: _with_own_forward(net),
    }
    network = makers[wrap]()
    reading = reading_of(network(images(2)), Expected("Model 'm'", 4))
    read = answering(network, reading)
    expected = torch.from_numpy(logits(images())).float()
    torch.testing.assert_close(read(images()), expected)
    torch.testing.assert_close(copy.deepcopy(read)(images()), expected)


def _with_own_forward(net: nn.Module) -> nn.Module:
    forward = net.forward
    net.forward = lambda x: forward(x)
    return net


@pytest.mark.parametrize(("form", "numbers"), [("dict", 4), ("[B,1]", 1)])
def test_occlusion_computes_the_changed_part_alone_of_such_networks_too(
    form: str, numbers: int
) -> None:
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[r, c, r + 8, c + 8] for r in range(0, 96, 8) for c in range(0, 96, 8)])
    target, wrapped = torch.tensor([0, 1]), model(form, numbers, data=f"noise:{max(2, numbers)}")
    with listening() as choices:
        found = interpbench.occluded_outputs(wrapped, x, torch.zeros(3), boxes, target, batch=16)
    assert [choice.plain for choice in choices] == [""]
    for i, (top, left, bottom, right) in enumerate(boxes.tolist()[::29]):
        covered = x.clone()
        covered[:, :, top:bottom, left:right] = 0
        z = logits(covered, numbers)
        z = np.hstack([-z, z]) if numbers == 1 else z
        np.testing.assert_allclose(found[:, 29 * i], z[[0, 1], target], rtol=0, atol=1e-4)


# --- what they are


def test_a_deletion_curve_of_a_sigmoid_net_starts_at_its_probability(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", "answers", outputs="sigmoid")
    assert finished.failed.empty
    z = logits(pixels())
    np.testing.assert_allclose(starts(finished), sigmoid(z).max(1), rtol=0, atol=1e-6)
    assert np.abs(sigmoid(z).max(1) - softmax(z).max(1)).min() > 0.01
    targets = finished.scores.drop_duplicates("sample_id").sort_values("sample_id")["target"]
    assert targets.tolist() == z.argmax(1).tolist()
    info = finished.info
    assert info.models["noise-4 answers"].card.outputs == "sigmoid"
    assert info.identity.outputs == {"answers": "sigmoid"}
    assert any(
        "as --outputs says" in notice and "the sigmoid of each" in notice for notice in info.notices
    )


def test_a_ceiling_reads_the_same_probability_as_the_curves(tmp_path: Path) -> None:
    finished = run(
        tmp_path / "run",
        "answers",
        outputs="sigmoid",
        ceiling=4,
        images=2,
        steps=16,
        metric="deletion",
    )
    assert finished.failed.empty
    chance = finished.scores["value"].mean()
    best = finished.tables.ceilings["value"]
    assert ((best > 0) & (best < chance)).all()


@pytest.mark.parametrize("form", FOUND)
def test_what_answers_are_is_found_said_and_read_right(form: str, tmp_path: Path) -> None:
    finished = run(tmp_path / "run", f"answers:form={form}", method="center,gradient-x-input")
    assert finished.failed.empty
    z = logits(pixels())
    expected = sigmoid(z) if form == "sigmoid-probabilities" else softmax(z)
    np.testing.assert_allclose(starts(finished), expected.max(1), rtol=0, atol=1e-6)
    assert finished.scores["target"].tolist()[:6] == z.argmax(1).tolist()
    [measured] = finished.info.models.values()
    assert measured.card.outputs == form
    assert {finding.kind for finding in measured.findings} <= {"functional activation"}
    said = [f"Its outputs are {form}, since " in notice for notice in finished.info.notices]
    assert any(said) == (form != "softmax")
    assumed = ["taken to be logits of a softmax" in notice for notice in finished.info.notices]
    assert any(assumed) == (form == "softmax")


def test_probabilities_are_explained_by_the_gradient_of_their_logarithm() -> None:
    x = images(2)

    def slope(network: nn.Module) -> Tensor:
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(leaf)[:, 2].sum(), leaf)
        return gradient

    torch.testing.assert_close(
        slope(model("probabilities")), slope(model("log-softmax")), rtol=1e-3, atol=1e-6
    )
    torch.testing.assert_close(
        slope(model("sigmoid-probabilities")), slope(model("plain")), rtol=1e-2, atol=1e-4
    )


class OverwritesItsImage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.5).flatten(1)[:, :4]


class TakesNoGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy().reshape(len(x), -1)[:, :4].copy())


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no luck")


def test_networks_are_asked_in_a_way_that_they_take() -> None:
    for network in (OverwritesItsImage(), TakesNoGradient()):
        returned = ask(network, (3, 4, 4))
        assert reading_of(returned, Expected("Model 'm'", 4)).columns == 4
    with pytest.raises(KeyError, match="no luck"):
        ask(Fails(), (3, 4, 4))


# --- one number an image


@pytest.mark.parametrize("form", ONE_NUMBER)
def test_one_logit_tells_two_classes_apart(form: str, tmp_path: Path) -> None:
    finished = run(
        tmp_path / "run",
        f'answers:form="{form}",numbers=1',
        dataset="noise:classes=2",
        method="center",
        target="label",
    )
    assert finished.failed.empty
    z = logits(pixels(), 1)[:, 0]
    labels = np.arange(6) % 2
    np.testing.assert_allclose(
        starts(finished), sigmoid(np.where(labels == 1, z, -z)), rtol=0, atol=1e-6
    )
    [measured] = finished.info.models.values()
    assert measured.accuracy == np.mean((z > 0) == labels)
    assert (measured.card.outputs, measured.card.classes, measured.card.logit_of_label) == (
        "binary",
        2,
        (0, 1),
    )
    assert any(
        "speaks for 'present', against 'absent'" in notice for notice in finished.info.notices
    )


def test_maps_for_the_two_signs_of_one_logit_are_negatives() -> None:
    single, x = model("[B,1]", 1, data="noise:2"), images()
    for name in ("gradient-x-input", "deeplift", "saliency"):
        method = REGISTRY.configure("method", name, {})
        no, yes = (method(single, x, torch.full((3,), target)) for target in (0, 1))
        assert yes.abs().max() > 0
        torch.testing.assert_close(no, yes if name == "saliency" else -yes)


def test_every_method_that_explains_softmax_logits_explains_one_logit(tmp_path: Path) -> None:
    methods = (
        "gradcam,scorecam,ablationcam,guided-backprop,rectgrad,lrp-epsilon,lrp-z-plus,deeplift,"
        "rise:masks=8,lime:samples=8,kernel-shap:samples=8,smoothgrad:samples=2"
    )
    finished = run(
        tmp_path / "run",
        "answers:form=[B],numbers=1",
        dataset="noise:classes=2",
        method=methods,
        images=2,
        steps=4,
    )
    assert finished.failed["reason"].tolist() == []


def test_a_sigmoid_on_one_number_is_the_probability_of_the_second_class() -> None:
    single = model("sigmoid-probabilities", 1, data="noise:2")
    assert (single.card.outputs, single.card.classes) == ("sigmoid-probabilities", 2)
    p = sigmoid(logits(images(), 1)[:, 0])
    found = single.probabilities(single(images())).numpy()
    np.testing.assert_allclose(found, np.stack([1 - p, p], axis=1), rtol=0, atol=1e-6)


def test_one_class_folder_is_what_one_logit_speaks_for() -> None:
    single = model("[B,1]", 1, data="only-present")
    assert (single.card.classes, single.card.logit_of_label) == (2, (1,))
    assert single.notices[-1] == "Its one logit speaks for 'present', the only class."


def test_one_logit_for_more_classes_is_refused() -> None:
    with pytest.raises(
        InterpBenchError,
        match=r"a single logit, which tells two classes apart, but .* has 4 classes",
    ):
        model("[B,1]", 1)


# --- weights of a file


HEADS = """
from torch import nn
from interpbench import model

@model("head")
def head(classes, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, classes))
"""
PAIR = DatasetCard("pair", ("no", "yes"), "1", 4, (0.5,) * 3, (0.25,) * 3)


def test_a_head_of_one_row_is_built_for_weights_that_have_one(tmp_path: Path) -> None:
    (tmp_path / "head.py").write_text(HEADS)
    head = discover([tmp_path / "head.py"]).configure("model", "head", {})
    state = {"1.weight": torch.randn(1, 48), "1.bias": torch.tensor([5.0])}
    torch.save(state, tmp_path / "one.pth")
    loaded = load_model(head, PAIR, weights=str(tmp_path / "one.pth"))
    assert (loaded.card.outputs, loaded.card.classes, loaded.card.logit_of_label) == (
        "binary",
        2,
        (0, 1),
    )
    assert loaded(torch.zeros(1, 3, 4, 4)).tolist() == [[-5.0, 5.0]]
    assert load_model(head, PAIR, weights="random", outputs="binary")(
        torch.zeros(1, 3, 4, 4)
    ).shape == (1, 2)


def test_the_card_of_weights_says_it_and_the_flag_wins(tmp_path: Path) -> None:
    (tmp_path / "head.py").write_text(HEADS)
    head = discover([tmp_path / "head.py"]).configure("model", "head", {})
    card = WeightsCard(
        "head", {}, "pair", "1", PAIR.classes, 4, (0.5,) * 3, (0.25,) * 3, outputs="sigmoid"
    )
    file = tmp_path / "sigmoid.safetensors"
    save_weights(file, {"1.weight": torch.randn(2, 48), "1.bias": torch.zeros(2)}, card)
    assert load_model(head, PAIR, weights=str(file)).card.outputs == "sigmoid"
    assert load_model(head, PAIR, weights=str(file), outputs="softmax").card.outputs == "softmax"


def test_a_card_that_does_not_say_it_keeps_its_bytes() -> None:
    card = WeightsCard("head", {}, "pair", "1", PAIR.classes, 4, (0.5,) * 3, (0.25,) * 3)
    assert "outputs" not in card.as_json()
    said = WeightsCard(**{**vars(card), "outputs": "binary"})
    assert WeightsCard.from_json(said.as_json()) == said


def test_a_plugin_says_it() -> None:
    loaded = model("plain", says="sigmoid")
    assert loaded.card.outputs == "sigmoid"
    assert "as my run says" in loaded.notices[0]
    assert model("plain", says="sigmoid", outputs="softmax").card.outputs == "softmax"


@pytest.mark.parametrize("place", ["file", "beside"])
def test_a_file_of_a_model_says_it(place: str, tmp_path: Path) -> None:
    source = "from tests.user_answers import ANSWERS, Net\n\ndef build():\n    return Net(ANSWERS['plain'])\n"
    if place == "file":
        source = f"import interpbench\npretrained = interpbench.Pretrained('mine', outputs='sigmoid')\n{source}"
    else:
        (tmp_path / "mine.toml").write_text('outputs = "sigmoid"\n')
    (tmp_path / "mine.py").write_text(source)
    choice = REGISTRY.configure("model", f"{tmp_path / 'mine.py'}:build", {})
    loaded = load_model(choice, REGISTRY.configure("dataset", "noise", {})().card)
    assert loaded.card.outputs == "sigmoid"


# --- what is not so, or not known


@pytest.mark.parametrize(
    ("form", "outputs", "message"),
    [
        ("probabilities", "softmax", "its rows sum to 1. State probabilities with --outputs"),
        ("probabilities", "sigmoid", "its rows sum to 1. State probabilities with --outputs"),
        ("log-softmax", "sigmoid", "the exponentials of its rows sum to 1. State log-softmax"),
        ("plain", "probabilities", "a row sums to"),
        ("plain", "log-softmax", "the exponentials of a row sum to"),
        ("plain", "sigmoid-probabilities", "State sigmoid with --outputs"),
        ("plain", "binary", "it gives 4 numbers an image"),
    ],
)
def test_what_is_stated_and_not_so_is_refused(form: str, outputs: str, message: str) -> None:
    with pytest.raises(OutputsError, match=r"^Model 'answers.* as --outputs says: ") as error:
        model(form, outputs=outputs)
    assert message in str(error.value)


def test_one_number_is_no_softmax() -> None:
    with pytest.raises(
        OutputsError, match=r"one number an image. State binary or sigmoid-probabilities"
    ):
        model("[B,1]", 1, data="noise:2", outputs="softmax")


def test_outputs_that_do_not_exist_are_refused_with_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown outputs 'sigmod'. Did you mean 'sigmoid'"):
        model("plain", outputs="sigmod")


def answers_of(form: Callable[[Tensor], Tensor], columns: int = 3) -> Tensor:
    """Numbers [2,columns] that a function makes of a layer's."""
    torch.manual_seed(0)
    return form(nn.Linear(4, columns)(torch.randn(2, 4)))


def found(answers: Tensor, **changes: Any) -> Reading:
    return reading_of(answers, Expected("Model 'm'", answers.shape[-1], **changes))


@pytest.mark.parametrize("columns", [1, 3])
def test_numbers_in_0_to_1_are_probabilities_only_behind_a_sigmoid(columns: int) -> None:
    logits: Outputs = "binary" if columns == 1 else "softmax"
    cases: list[tuple[Callable[[Tensor], Tensor], Outputs]] = [
        (lambda z: z.sigmoid(), "sigmoid-probabilities"),
        (lambda z: torch.stack([z.sigmoid(), (2 * z).sigmoid()]).mean(0), "sigmoid-probabilities"),
        (lambda z: 0.1 * z + 0.5, logits),  # by chance
        (lambda z: 0.1 * z * z.sigmoid() + 0.5, logits),
    ]
    for form, expected in cases:
        answers = answers_of(form, columns)
        assert ((answers >= 0) & (answers <= 1)).all()
        assert found(answers).outputs == expected


@pytest.mark.parametrize("columns", [1, 3])
def test_what_cannot_be_known_is_asked_for(columns: int) -> None:
    for form in (lambda z: 1 / (1 + (-z).exp()), lambda z: z.sigmoid().detach()):
        with pytest.raises(
            OutputsError,
            match=r"^Model 'm' gives numbers in 0..1, .* --outputs sigmoid-probabilities",
        ):
            found(answers_of(form, columns))
        assert (
            found(answers_of(form, columns), outputs="sigmoid-probabilities").outputs
            == "sigmoid-probabilities"
        )
        assert found(answers_of(form, columns), trained=False).outputs in ("binary", "softmax")


# --- explain and doctor


@pytest.mark.parametrize(
    ("text", "flags", "dataset"),
    [
        ("answers", ["--outputs", "sigmoid"], "noise"),
        ("answers:form=sigmoid-probabilities", [], "noise"),
        ("answers:form=probabilities", [], "noise"),
        ("answers:form=dict", [], "noise"),
        ("answers:form=[B],numbers=1", [], "noise:classes=2"),
    ],
)
def test_explain_and_doctor_say_the_same(
    text: str, flags: list[str], dataset: str, tmp_path: Path
) -> None:
    from PIL import Image

    image = np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    common = ["--dataset", dataset, "--plugin", PLUGIN, "--device", "cpu", *flags]
    output = tmp_path / "out"
    code, out, error = call(
        "explain",
        tmp_path / "a.png",
        "--model",
        text,
        "--method",
        "gradient-x-input",
        *common,
        "--output",
        output,
    )
    assert code == 0, out + error
    record = json.loads((output / "explain.json").read_text())
    x = ((torch.from_numpy(image).permute(2, 0, 1).float() / 255) - 0.5)[None] / 0.25
    if "numbers=1" in text:
        expected = sigmoid(logits(x, 1) * [-1, 1])
    else:
        z = logits(x)
        expected = sigmoid(z) if "sigmoid" in text or flags else softmax(z)
    given = {best["index"]: best["probability"] for best in record["images"][0]["predictions"]}
    np.testing.assert_allclose([given[i] for i in sorted(given)], expected[0], rtol=0, atol=1e-5)
    code, out, error = call("doctor", text, *common)
    assert code == 0, out + error
    assert (
        "Its answers are ['out'] of the dict" in out
        if "dict" in text
        else "Its outputs are " in out
    )
    assert "no logits" not in out


def test_a_prediction_is_the_greatest_logit_where_probabilities_are_rounded_to_one() -> None:
    from interpbench.attribution.explainer import Explainer
    from interpbench.attribution.model_and_methods import ModelAndMethods

    class Certain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[20.0, 30.0, -1.0, 25.0]]).expand(len(x), -1) + 0 * x.sum()

    loaded = model("plain", outputs="sigmoid")
    certain = Model(Certain(), loaded.card, 4).eval()
    choice = REGISTRY.configure("model", "answers", {})
    explainer = Explainer(ModelAndMethods(choice, certain, (), {}), torch.device("cpu"), 0)
    answers = explainer.answers(torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8))
    assert answers.probabilities[0, 0] == answers.probabilities[0, 1] == 1
    assert answers.predicted.tolist() == [1, 1]
