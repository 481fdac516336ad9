"""Each planted fault is found, where it is and with what it rules out; a sound model is reported for nothing."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import VisionTransformer

import interpbench
from interpbench.core.model_guard import Guard
from interpbench.core.types import Model
from interpbench.diagnosis.examination import Diagnosis, Finding, examine
from interpbench.registry.discovery import discover
from tests import faulty_models as faulty
from tests.command_line import call, refused
from tests.paths import TINY
from tests.tiny_models import wrap
from tests.user_inputs import KINDS, Tokens, wrapped

HOOKS = "methods that hook activations"


def model(network: nn.Module, layer: str | None = faulty.LAYER) -> Model:
    return wrap(network, faulty.SIZE, faulty.CLASSES, target_layer=layer)


def images(count: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(
        count, 3, faulty.SIZE, faulty.SIZE, generator=torch.Generator().manual_seed(seed)
    )


def found(diagnosis: Diagnosis) -> dict[str, Finding]:
    assert len({finding.kind for finding in diagnosis.findings}) == len(diagnosis.findings)
    return {finding.kind: finding for finding in diagnosis.findings}


def test_a_sound_model_is_reported_for_nothing() -> None:
    for x in (None, images(), images(1), images(7)):
        assert examine(model(faulty.Sound()), x).findings == ()


def at(network: type[nn.Module], text: str, owner: str = "model") -> str:
    """A place as the doctor names it: the layer, and file and line of a text in the network's source."""
    lines, first = inspect.getsourcelines(network)
    [number] = [first + i for i, line in enumerate(lines) if text in line]
    return f"{owner} (faulty_models.py:{number})"


# network -> for each kind that is found: the places, a part of what is said, and what it rules out
FAULTS: dict[type[nn.Module], dict[str, tuple[tuple[str, ...], str, str]]] = {
    faulty.InPlace: {
        "overwritten": (("conv2",), "CAM layer's output is overwritten", "CAM methods"),
        "in-place activation": (("relu1", "relu2", "relu3"), "overwrites its input", HOOKS),
    },
    faulty.Functional: {
        "functional activation": (
            (at(faulty.Functional, "F.relu(self.conv1"), at(faulty.Functional, "torch.relu")),
            "no hook",
            HOOKS,
        )
    },
    faulty.FunctionalInPlace: {
        "overwritten": (("conv2",), "CAM layer's output is overwritten", "CAM methods"),
        "in-place activation": (
            (
                at(faulty.FunctionalInPlace, "F.relu_(x)"),
                at(faulty.FunctionalInPlace, "inplace=True"),
            ),
            "overwrites its input",
            HOOKS,
        ),
        "functional activation": (
            (
                at(faulty.FunctionalInPlace, "F.relu_(x)"),
                at(faulty.FunctionalInPlace, "inplace=True"),
            ),
            "no hook",
            HOOKS,
        ),
    },
    faulty.Reused: {
        "overwritten": (("conv2",), "CAM layer's output is overwritten", "CAM methods"),
        "in-place activation": (("relu",), "overwrites its input", HOOKS),
        "reused activation": (("relu",), "called several times", HOOKS),
    },
    faulty.SharedInstance: {"reused activation": (("relu1",), "called several times", HOOKS)},
    faulty.SharedBlock: {"reused activation": (("block.1",), "called several times", HOOKS)},
    faulty.Normed: {
        "train mode": (("norm", "dropout"), "in train mode", "all methods"),
        "chance": (
            (at(faulty.Normed, "self.dropout(", "dropout"),),
            "other logits each time",
            "all methods",
        ),
        "own state": (
            ("norm.num_batches_tracked", "norm.running_mean", "norm.running_var"),
            "writes",
            "all methods",
        ),
    },
    faulty.ForgottenDropout: {
        "chance": ((at(faulty.ForgottenDropout, "F.dropout("),), "each time", "all methods")
    },
    faulty.Noisy: {"chance": ((at(faulty.Noisy, "randn_like"),), "each time", "all methods")},
    faulty.InBatch: {"batch": ((), "depend on the other images", "all methods")},
    faulty.PairsOnly: {
        "batch": ((), "one image alone fails: ValueError: give me two", "all methods")
    },
    faulty.Counting: {"own state": (("calls",), "writes", "all methods")},
    faulty.HiddenInAList: {
        "hidden layer": (("blocks[1]",), "not registered", HOOKS),
        "CAM layer": (("conv2",), "no layer 'conv2'", "CAM methods"),
    },
    faulty.HiddenInALambda: {
        "hidden layer": (("second(conv2)",), "not registered", HOOKS),
        "CAM layer": (("conv2",), "no layer 'conv2'", "CAM methods"),
    },
    faulty.TwiceCalled: {"CAM layer": (("conv2",), "is called 2 times", "CAM methods")},
    faulty.Overwriting: {
        "overwritten": (("conv2",), "CAM layer's output is overwritten", "CAM methods"),
        "in-place activation": (
            (at(faulty.Overwriting, "inplace=True"),),
            "overwrites its input",
            HOOKS,
        ),
        "functional activation": ((at(faulty.Overwriting, "inplace=True"),), "no hook", HOOKS),
    },
    faulty.OverwritesTheImage: {
        "overwritten": (("input",), "image is overwritten", "gradient methods")
    },
    faulty.Softmax: {"output": ((), "softmax is already applied", "all methods")},
    faulty.LogSoftmax: {"output": ((), "logarithms of probabilities", "")},
    faulty.Maps: {
        "output": ((), "a tensor [2, 6, 6, 6], expected is a tensor [2, 5]", "all methods")
    },
    faulty.Dictionary: {"output": ((), "returns a dict", "all methods")},
    faulty.NotANumber: {"output": ((), "NaN", "all methods")},
    faulty.Ignoring: {
        "output": ((), "do not depend on the image", "all methods"),
        "CAM layer": (("conv2",), "is never called", "CAM methods"),
    },
    faulty.Detached: {
        "no gradient": (
            (at(faulty.Detached, "detach()"),),
            "no gradient reaches the image",
            "gradient methods",
        )
    },
    faulty.Rounding: {
        "no gradient": ((at(faulty.Rounding, "torch.round"),), "no gradient", "gradient methods")
    },
    faulty.HalfDetached: {
        "wrong gradient": (
            (at(faulty.HalfDetached, "detach()"),),
            "not the logit's slope",
            "gradient methods",
        )
    },
    faulty.DetachedAside: {},
    faulty.Failing: {"failure": ((), "RuntimeError: no luck today", "all methods")},
    faulty.Cramped: {"failure": ((), "not examined: memory", "")},
}


@pytest.mark.parametrize("network", FAULTS, ids=lambda network: network.__name__)
def test_each_planted_fault_is_found_and_nothing_else(network: type[nn.Module]) -> None:
    findings = found(examine(model(network()), images()))
    expected = FAULTS[network]
    assert findings.keys() == expected.keys()
    for kind, (where, what, rules_out) in expected.items():
        assert findings[kind].where == where
        assert what in findings[kind].what
        assert findings[kind].rules_out == rules_out
        assert findings[kind].advice.endswith(".")


def test_a_block_without_gradient_is_found_by_its_first_line() -> None:
    finding = found(examine(model(faulty.WithoutGrad()), images()))["no gradient"]
    assert finding.rules_out == "gradient methods"
    assert finding.where[0].startswith("conv1 (")


def test_inference_mode_and_a_failure_at_the_second_call_are_findings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (
        found(examine(model(faulty.Inference()), images()))["no gradient"].rules_out
        == "gradient methods"
    )
    monkeypatch.setattr(faulty.Once, "called", False)
    assert (
        "RuntimeError: not again" in found(examine(model(faulty.Once()), images()))["failure"].what
    )


@pytest.mark.parametrize(
    "network", [*FAULTS, faulty.WithoutGrad], ids=lambda network: network.__name__
)
def test_the_model_and_the_random_state_are_left_as_they_were(network: type[nn.Module]) -> None:
    examined = model(network())
    before = {name: tensor.clone() for name, tensor in examined.state_dict().items()}
    modes = [module.training for module in examined.modules()]
    state = torch.get_rng_state()
    with Guard(examined).watching(0) as left:
        examine(examined, images())
    assert [
        line for line in left if "value changed" not in line
    ] == []  # a value that is put back counts as changed
    assert torch.equal(torch.get_rng_state(), state)
    assert modes == [module.training for module in examined.modules()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in examined.state_dict().items())
    assert all(parameter.grad is None for parameter in examined.parameters())


def test_a_sound_model_costs_three_forward_passes_of_two_images() -> None:
    examined, batches = model(faulty.Sound()), []
    examined.network.register_forward_pre_hook(
        lambda module, arguments: batches.append(len(arguments[0]))
    )
    examine(examined, images(9))
    assert sum(batches) == 6


class TestLayers:
    """The card's layer gives maps, or it is said why not and which one does."""

    def layer(
        self, network: nn.Module, name: str | None, size: int = 12, classes: int = 5
    ) -> Finding | None:
        x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        return found(examine(wrap(network, size, classes, target_layer=name), x)).get("CAM layer")

    def test_none(self) -> None:
        finding = self.layer(faulty.Sound(), None)
        assert finding is not None
        assert finding.what == "the card names no layer"
        assert finding.advice == "Name 'relu3': METHOD:layer=relu3."

    def test_called_twice(self) -> None:
        finding = self.layer(faulty.PooledTwice(), "pool")
        assert finding is not None
        assert finding.what == "is called 2 times in a forward pass"
        assert finding.advice == "Name 'conv2': METHOD:layer=conv2."

    def test_dead(self) -> None:
        finding = self.layer(faulty.DeadLayer(), "old")
        assert finding is not None
        assert finding.what == "is never called"

    def test_hidden(self) -> None:
        finding = self.layer(faulty.HiddenInAList(), "blocks.1")
        assert finding is not None
        assert finding.what == "there is no layer 'blocks.1', it is not registered"

    @pytest.mark.parametrize(
        ("layer", "what"),
        [("4", "maps of 1x1"), ("5", "a tensor [2, 8]"), ("2", None), ("3", None), ("-3", "1x1")],
    )
    def test_what_it_gives(self, layer: str, what: str | None) -> None:
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 5),
        )  # fmt: skip
        finding = self.layer(network, layer)
        if what is None:
            assert finding is None
        else:
            assert finding is not None
            assert what in finding.what
            assert finding.advice == "Name '3': METHOD:layer=3."

    def test_tokens(self) -> None:
        torch.manual_seed(0)
        network = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
        nn.init.normal_(network.heads.head.weight)
        diagnosis = examine(
            wrap(network, 32, 5, target_layer="encoder.layers.-1.ln_1"), torch.randn(2, 3, 32, 32)
        )
        finding = found(diagnosis)["token grid"]
        assert finding.what == "17 tokens: a class token and a grid of 4x4"
        assert diagnosis.ruled_out == ["methods for ReLUs"]
        assert diagnosis.healthy

    def test_tokens_over_an_image_that_is_not_square(self) -> None:
        kind = KINDS["wide"]
        diagnosis = examine(wrapped(Tokens(kind, class_token=True), kind), kind.images())
        finding = found(diagnosis)["token grid"]
        assert finding.what == "25 tokens: a class token and a grid of 4x6"


GUIDED = "guided-backprop"


@pytest.mark.parametrize(
    ("scope", "ruled_out"),
    [
        ("", set()),
        ("all methods", {"saliency", "gradcam", "gradcam:layer=x", "occlusion", GUIDED}),
        ("gradient methods", {"saliency", "gradcam", "gradcam:layer=x", GUIDED}),
        ("CAM methods", {"gradcam"}),
        ("methods for ReLUs", {GUIDED}),
        (HOOKS, set()),
    ],
)
def test_methods_are_ruled_out_by_their_traits(scope: Any, ruled_out: set[str]) -> None:
    registry = discover()
    methods = [
        registry.configure("method", name) for name in ("saliency", "gradcam", "occlusion", GUIDED)
    ]
    methods.append(registry.configure("method", "gradcam", {"layer": "x"}))
    finding = Finding("output", (), "", "", scope)
    assert {method.label for method in methods if finding.concerns(method)} == ruled_out
    repaired = Finding("output", (), "", "", scope, repaired=True)
    assert not any(repaired.concerns(method) for method in methods)


def counts(diagnosis: Diagnosis) -> dict[str, int]:
    return {kind: len(finding.where) for kind, finding in found(diagnosis).items()}


# torchvision's networks: side of the image, CAM layer, and how many places of each kind
TORCHVISION: dict[str, tuple[int, str, dict[str, int]]] = {
    "resnet18": (64, "layer4", {"in-place activation": 9, "reused activation": 8}),
    "vgg16": (32, "features.29", {"in-place activation": 15}),
    "alexnet": (96, "features.11", {"in-place activation": 7}),
    "googlenet": (64, "inception5b", {"in-place activation": 57, "functional activation": 57}),
    "densenet121": (
        64,
        "features",
        {"overwritten": 1, "in-place activation": 121, "functional activation": 1},
    ),
    "mobilenet_v2": (64, "features.18", {"in-place activation": 35}),
    "vit_b_16": (32, "encoder.layers.-1.ln_1", {"token grid": 1, "no rectifier": 0}),
}


def torchvision(name: str) -> tuple[Model, Tensor]:
    """One of its networks, with random weights that answer, and two images."""
    size, layer, _ = TORCHVISION[name]
    options: dict[str, Any] = {
        "vit_b_16": {"image_size": size},
        "googlenet": {"init_weights": False},
    }.get(name, {})
    torch.manual_seed(0)
    network = getattr(models, name)(weights=None, num_classes=10, **options)
    if name == "vit_b_16":
        nn.init.normal_(network.heads.head.weight)  # which starts as zero
    return wrap(network, size, 10, target_layer=layer), torch.randn(2, 3, size, size)


# What alexnet is tested for as well, at five times the cost.
CASES_OF_TORCHVISION = [
    pytest.param(n, marks=pytest.mark.slow) if n == "vgg16" else n for n in TORCHVISION
]


@pytest.mark.parametrize("name", CASES_OF_TORCHVISION)
def test_what_is_said_of_torchvisions_networks(name: str) -> None:
    network, x = torchvision(name)
    diagnosis = examine(network, x)
    assert counts(diagnosis) == TORCHVISION[name][2]
    where = {kind: finding.where[0] for kind, finding in found(diagnosis).items() if finding.where}
    if name == "resnet18":
        assert where["reused activation"] == "layer1.0.relu"
    if name == "densenet121":
        assert where["functional activation"].startswith("model (densenet.py:")
        assert where["overwritten"] == "features"
    if name == "googlenet":
        assert where["functional activation"].startswith("conv1 (googlenet.py:")


def doctor(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    return call("doctor", *arguments)[:2]


class TestCommand:
    """`python -m interpbench doctor MODEL`."""

    def plugin(self, folder: Path, network: str) -> list[str]:
        """Arguments for a plugin file that holds a faulty network, which has four classes."""
        file = folder / "faulty.py"
        file.write_text(
            "from torch import nn\nfrom interpbench import model\nfrom tests import faulty_models\n\n\n"
            '@model("faulty", target_layer="conv2")\ndef faulty(classes, size):\n'
            f"    network = faulty_models.{network}()\n"
            "    network.fc = nn.Linear(6 * (size // 4) ** 2, classes)\n    return network\n"
        )
        return [
            "faulty",
            "--dataset",
            "tiny",
            "--plugin",
            str(file),
            "--plugin",
            str(TINY),
            "--device",
            "cpu",
        ]

    @pytest.mark.parametrize(
        ("network", "code", "said"),
        [
            ("Sound", 0, ["Healthy."]),
            (
                "Reused",
                0,
                [
                    "reused activation",
                    "inplace=False (relu)",
                    "modules of their own (model)",
                    "at most 0.",
                    "Healthy once",
                ],
            ),
            (
                "HalfDetached",
                1,
                ["wrong gradient", "Ruled out: gradient methods, such as", "saliency"],
            ),
            (
                "ValueDependent",
                1,
                [
                    "Discarded: activations as modules of their own (model): ",
                    "Ruled out: methods that",
                ],
            ),
        ],
    )
    def test_exit_codes_and_what_is_said(
        self, tmp_path: Path, network: str, code: int, said: list[str]
    ) -> None:
        found, out = doctor(*self.plugin(tmp_path, network), "--weights", "random")
        assert found == code, out
        assert "faulty (random), two images of tiny, [16, 16] pixels" in out
        for text in said:
            assert text in out

    def test_one_call_returns_what_was_found(self, tmp_path: Path) -> None:
        self.plugin(tmp_path, "HalfDetached")
        found = interpbench.doctor(
            "faulty",
            dataset="tiny",
            weights="random",
            plugin=[tmp_path / "faulty.py", TINY],
            device="cpu",
        )
        assert (found.model, found.weights, found.dataset, found.image_size) == (
            "faulty",
            "random",
            "tiny",
            (16, 16),
        )
        assert not found.healthy
        assert "wrong gradient" in found.diagnosis.kinds
        assert list(found.ruled_out) == found.diagnosis.ruled_out == ["gradient methods"]
        assert {"saliency", "gradcam"} <= set(found.ruled_out["gradient methods"])
        assert "center" not in found.ruled_out["gradient methods"]
        (tmp_path / "once").mkdir()
        self.plugin(tmp_path / "once", "Reused")
        mended = interpbench.doctor(
            "faulty",
            dataset="tiny",
            weights="random",
            plugin=[tmp_path / "once" / "faulty.py", TINY],
            device="cpu",
        )
        assert mended.healthy
        assert mended.ruled_out == {}
        assert [repair.what for repair in mended.repairs if not repair.discarded][-1].startswith(
            "activations as modules"
        )

    def test_a_function_in_a_file_is_examined_too(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.py"
        file.write_text(
            "from tests import faulty_models\nfrom torch import nn\n\n\ndef build():\n"
            "    network = faulty_models.Functional()\n    network.fc = nn.Linear(6 * 16, 4)\n    return network\n"
        )
        code, out = doctor(
            f"{file}:build", "--dataset", "tiny", "--plugin", str(TINY), "--device", "cpu"
        )
        assert code == 0, out
        assert "functional activation" in out
        assert "Healthy once repaired." in out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["resnet81"], "Did you mean 'resnet18'"),
            (["resnet18,vgg11"], "Examine one model at a time, not 'resnet18,vgg11'."),
            (["vgg16"], "--weights random"),
            (["resnet18", "--dataset", "plantd"], "Did you mean 'planted'"),
            (["resnet18", "--data-root", "x"], "takes no --data-root"),
        ],
    )
    def test_wrong_usage_is_refused(self, arguments: list[str], message: str) -> None:
        assert message in refused("doctor", *arguments)


class TestRun:
    """A run examines each model; it repairs what would make some method wrong, and says what it cannot repair."""

    def run(self, folder: Path, network: str, **changes: Any) -> interpbench.Run:
        TestCommand().plugin(folder, network)
        return interpbench.run(
            **{
                "dataset": "tiny", "model": "faulty", "method": ["gradient", "gradcam", "center"], "images": 6,
                "metric": "pointing-game", "weights": "random", "plugin": [folder / "faulty.py", TINY],
                "device": "cpu", "output": folder / "run", "plots": False, **changes,
            }
        )  # fmt: skip

    def recorded(self, finished: interpbench.Run) -> dict[str, Any]:
        info: dict[str, Any] = json.loads((finished.folder / "run.json").read_text())
        return info["models"]["tiny faulty"] | {"notices": info["notices"]}

    def test_a_sound_model_is_run_as_it_is(self, tmp_path: Path) -> None:
        info = self.recorded(self.run(tmp_path, "Sound"))
        assert info["findings"] == info["repairs"] == info["notices"] == []

    def test_train_mode_is_repaired_and_recorded(self, tmp_path: Path) -> None:
        finished = self.run(tmp_path, "Normed")
        info = self.recorded(finished)
        assert {f["kind"] for f in info["findings"]} == {"chance", "own state", "train mode"}
        assert all(f["repaired"] for f in info["findings"])
        assert [r["what"] for r in info["repairs"]] == ["put into eval mode"]
        assert info["notices"] == []
        assert len(finished.failed) == 0

    def test_a_cam_layer_that_is_overwritten_is_repaired_and_gives_the_sound_models_scores(
        self, tmp_path: Path
    ) -> None:
        scores = []
        for network in ("Sound", "InPlace", "FunctionalInPlace"):
            (tmp_path / network).mkdir()
            finished = self.run(tmp_path / network, network)
            scores.append(finished.scores["value"].to_numpy())
            assert self.recorded(finished)["notices"] == []
        assert (scores[0] == scores[1]).all()
        assert (scores[0] == scores[2]).all()

    def test_harmless_in_place_and_reused_activations_are_recorded_and_left(
        self, tmp_path: Path
    ) -> None:
        info = self.recorded(self.run(tmp_path, "SharedInstance"))
        assert [(f["kind"], f["repaired"]) for f in info["findings"]] == [
            ("reused activation", False)
        ]
        assert info["repairs"] == info["notices"] == []

    @pytest.mark.parametrize(
        ("network", "methods"),
        [
            ("HalfDetached", "gradient, gradcam."),
            ("InBatch", "gradient, gradcam, center."),
            ("TwiceCalled", "gradcam."),
        ],
    )
    def test_what_rules_a_method_of_the_run_out_is_a_notice(
        self, tmp_path: Path, network: str, methods: str
    ) -> None:
        [notice] = self.recorded(self.run(tmp_path, network))["notices"]
        assert notice.startswith("faulty: ")
        assert f"which rules out {methods}" in notice

    def test_a_notice_is_for_the_methods_that_are_run(self, tmp_path: Path) -> None:
        assert self.recorded(self.run(tmp_path, "HalfDetached", method="center"))["notices"] == []

    def test_a_model_that_fails_still_fails_its_cells_alone(self, tmp_path: Path) -> None:
        finished = self.run(tmp_path, "Failing")
        assert (
            finished.failed["reason"]
            .str.contains("the model itself fails: RuntimeError: no luck")
            .all()
        )
