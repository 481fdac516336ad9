"""Methods equal the implementations of other libraries, on every architecture; one that does not is found."""

import dataclasses
import json
import math
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image

from interpbench import api
from interpbench.core.errors import ParameterError
from interpbench.core.progress import Progress
from interpbench.files.csv_files import read_csv
from interpbench.registry.choosing import choose_plugins
from interpbench.registry.discovery import discover
from interpbench.registry.registry import Registry
from interpbench.studies.conformance import comparing, study, tables
from interpbench.studies.conformance.comparing import compare, libraries
from interpbench.studies.conformance.methods import MethodCase
from interpbench.studies.conformance.methods import deviation_of_maps as deviation
from interpbench.studies.conformance.models_on_noise import (
    ModelOnNoise,
    build_model_on_noise,
    default_models,
)
from tests.command_line import call

THREADS = torch.get_num_threads()
REGISTRY = discover()
REFERENCES = {reference.name: reference for reference in REGISTRY.plugins("reference")}
ALEXNET, VGG, RESNET, MOBILENET, VIT = default_models()
SLOW = [VGG, MOBILENET, "vgg11:width=8", "resnet50:width=4", "resnet18:width=8,norm=group"]
MODELS = [ALEXNET, RESNET, VIT, *(pytest.param(model, marks=pytest.mark.slow) for model in SLOW)]
DIFFERENT = {
    "full-gradient.grad-cam",
    "integrated-gradients.saliency",
    "integrated-gradients.zennit",
}
RECTIFIERS = {
    "deconvnet.captum", "deconvnet.zennit", "deeplift.captum", "deepshap.captum", "guided-backprop.captum",
    "guided-backprop.grad-cam", "guided-backprop.zennit", "guided-gradcam.captum",
}  # fmt: skip
LRP = {
    "lrp-epsilon.captum",
    "lrp-epsilon.zennit",
    "lrp-epsilon-plus-flat.zennit",
    "lrp-z-plus.zennit",
}
# The pairs that are not compared, and no others: a reference that breaks must not pass for one that does not apply.
NOT_COMPARABLE = {
    ALEXNET: DIFFERENT,
    VGG: DIFFERENT,
    RESNET: DIFFERENT | {"lrp-epsilon.captum"},
    MOBILENET: DIFFERENT | RECTIFIERS | LRP | {"ablationcam.grad-cam", "scorecam.grad-cam"},
    VIT: DIFFERENT
    | RECTIFIERS
    | LRP
    | {"ablationcam.grad-cam", "gradcam.captum", "gradcam-plus-plus.grad-cam"},
}


COLUMNS = [
    "method", "library", "library_version", "model", "images", "deviation", "tolerance", "status", "why"
]  # fmt: skip


@cache
def subject(model: str) -> ModelOnNoise:
    [choice] = choose_plugins(REGISTRY, "model", [model]).plugins.values()
    return build_model_on_noise(choice)


def case(model: str, registry: Registry = REGISTRY) -> MethodCase:
    return MethodCase(registry, subject(model))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", REFERENCES)
def test_a_method_equals_its_reference(name: str, model: str) -> None:
    [row] = compare([REFERENCES[name]], case(model)).itertuples()
    assert row.status != "differs", f"{row.deviation:.1e} > {row.tolerance:.0e}"
    assert "failed" not in row.why
    if model in NOT_COMPARABLE:
        assert (row.status == "not comparable") == (name in NOT_COMPARABLE[model]), row.why


def test_every_library_is_used_and_most_methods_have_one() -> None:
    assert {"captum", "grad-cam", "saliency", "zennit"} == {
        library.name for library in libraries([*REFERENCES.values()])
    }
    compared = {reference.ours for reference in REFERENCES.values()}
    assert compared <= set(REGISTRY.names("method"))
    assert len(compared) >= 29


def test_a_reference_says_what_it_is_and_where_it_differs() -> None:
    for reference in REFERENCES.values():
        assert reference.doc
        assert reference.tolerance is None or reference.tolerance > 0
        assert reference.why or (reference.tolerance or 1) <= 1e-9, reference.name


def test_the_subject_is_the_same_each_time_and_has_a_target_for_each_image() -> None:
    [choice] = choose_plugins(REGISTRY, "model", [VIT]).plugins.values()
    first, second = subject(VIT), build_model_on_noise(choice)
    assert torch.equal(first.x, second.x)
    assert first.x.dtype == torch.float64
    assert len(set(first.target.tolist())) == len(first.x) == 3
    assert torch.equal(first.model(first.x), second.model(second.x))
    other = build_model_on_noise(choice, images=5, seed=1)
    assert other.x.shape == (5, 3, 32, 32)
    assert not torch.equal(other.x[0], first.x[0])
    assert torch.get_num_threads() == THREADS


values = st.floats(-1e3, 1e3)


@given(
    st.lists(st.lists(values, min_size=4, max_size=4), min_size=1, max_size=3), st.floats(1e-6, 1e6)
)
def test_a_deviation_is_a_share(rows: list[list[float]], factor: float) -> None:
    theirs = torch.tensor(rows, dtype=torch.float64).view(-1, 2, 2)
    assert deviation(theirs, theirs) == 0
    if bool((theirs.abs().amax((1, 2)) > 0).all()):
        assert deviation(factor * theirs, theirs) == pytest.approx(
            abs(factor - 1), rel=0.06, abs=1e-12
        )


def test_the_deviation_is_the_worst_images() -> None:
    theirs = torch.tensor([[[1.0, -4.0]], [[100.0, 0.0]]])
    assert deviation(theirs + torch.tensor([[[0.0, 1.0]], [[5.0, 0.0]]]), theirs) == 0.25
    zero = torch.zeros(1, 2, 2)
    assert deviation(zero, zero) == 0
    assert deviation(zero + 1, zero) == math.inf
    assert math.isnan(deviation(zero * math.nan, zero + 1))
    with pytest.raises(
        ValueError, match=r"its maps are \[1, 2, 2\], those of the reference \[1, 1, 2\]"
    ):
        deviation(zero, zero[:, :1])


def perturbed(name: str, change: float) -> Registry:
    """The registry with a method whose maps are off by a share."""
    registry = REGISTRY.copy()
    plugin = registry.get("method", name)
    call = plugin.call
    wrong = dataclasses.replace(
        plugin, call=lambda *arguments, **named: call(*arguments, **named) * (1 + change)
    )
    registry._plugins["method"][name] = wrong
    return registry


@pytest.mark.parametrize(
    "name", ["gradcam.grad-cam", "gradcam.saliency", "saliency.zennit", "lrp-epsilon.zennit"]
)
def test_a_method_that_is_wrong_by_a_little_differs(name: str) -> None:
    reference = REFERENCES[name]
    for change, status in ((reference.tolerance / 3, "ok"), (3 * reference.tolerance, "differs")):
        registry = perturbed(reference.ours, change)
        [row] = compare([reference], case(ALEXNET, registry)).itertuples()
        assert row.status == status
        assert row.deviation == pytest.approx(change, rel=0.5)


def test_a_method_that_breaks_differs_and_a_reference_that_breaks_is_not_comparable() -> None:
    def broken(*arguments: object, **named: object) -> torch.Tensor:
        raise ZeroDivisionError("by nought")

    registry = REGISTRY.copy()
    registry._plugins["method"]["saliency"] = dataclasses.replace(
        registry.get("method", "saliency"), call=broken
    )
    reference = REFERENCES["saliency.zennit"]
    [row] = compare([reference], case(ALEXNET, registry)).itertuples()
    assert (row.status, row.why) == ("differs", "saliency failed: ZeroDivisionError: by nought")
    [row] = compare([dataclasses.replace(reference, call=broken)], case(ALEXNET)).itertuples()
    assert (row.status, row.why) == (
        "not comparable",
        "zennit failed: ZeroDivisionError: by nought",
    )


def test_references_leave_the_subjects_model_as_it_was() -> None:
    one = subject(ALEXNET)
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    compare(
        [r for r in REFERENCES.values() if r.on or r.own_activations], MethodCase(REGISTRY, one)
    )
    assert {
        n: torch.equal(t, before[n]) for n, t in one.model.state_dict().items()
    } == dict.fromkeys(before, True)
    assert all(getattr(m, "inplace", True) for m in one.model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in one.model.modules())


MINE = '''
from interpbench import method, reference

@method("mine")
def mine(model, x, target, *, power: float = 1.0):
    """The image's magnitude. [B,C,H,W] -> [B,H,W]."""
    return x.abs().amax(1) ** power

@reference("mine", library="captum", tolerance=1e-9, why="They say it is {factor} times as much.")
def theirs(model, x, target, *, power: float = 2.0):
    """By hand."""
    return {factor} * x.abs().amax(1) ** power
'''


def conformance(*arguments: str) -> tuple[int, str]:
    """Exit code of the command and what is printed."""
    return interpbench("conformance", *arguments)


def interpbench(*arguments: str) -> tuple[int, str]:
    """Exit code and what is printed."""
    code, out, errors = call(*arguments)
    return code, out + errors


def test_one_call_returns_what_it_writes(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE.replace("{factor}", "1.001"))
    found = api.conformance(
        method=["mine", "saliency"],
        model=ALEXNET,
        images=2,
        seed=1,
        plugin=file,
        output=tmp_path / "out",
    )
    assert found.folder == tmp_path / "out"
    assert not found.holds
    assert found.differing[["method", "library"]].to_numpy().tolist() == [["mine", "captum"]]
    assert set(found.deviations["method"]) == {"mine", "saliency"}
    assert (
        found.deviations["deviation"].tolist()
        == read_csv(found.folder / "deviations.csv", TYPES)["deviation"].tolist()
    )
    assert {library.name for library in found.libraries} == set(found.deviations["library"])
    record = json.loads((found.folder / "conformance.json").read_text())
    assert list(record.items()) == [
        ("schema_version", 1),
        ("status", "finished"),
        ("models", [ALEXNET]),
        ("images", 2),
        ("seed", 1),
        ("files", ["deviations.csv", "deviations.png"]),
    ]
    with pytest.raises(ParameterError, match="on 1 to 10 images, each with another target, not 11"):
        api.conformance(images=11)


def test_progress_is_told_of_every_image_of_every_pair(tmp_path: Path) -> None:
    class Told(Progress):
        total = done = 0

        def begin(self, total: int) -> None:
            self.total = total

        def advance(self, what: str, images: int = 0) -> None:
            assert what.startswith("saliency from ")
            self.done += images

    told = Told()
    found = api.conformance(
        method="saliency", model=[ALEXNET, VIT], images=2, output=tmp_path / "out", progress=told
    )
    assert told.done == told.total == 2 * len(found.deviations)


def test_all_methods_are_those_that_have_a_reference() -> None:
    assert study._names(REGISTRY, "reference", ["all"]) == study._names(REGISTRY, "reference", None)


TYPES = {
    column: "float64"
    if column in ("deviation", "tolerance")
    else "int64"
    if column == "images"
    else "str"
    for column in COLUMNS
}


class TestCommand:
    """`python -m interpbench conformance`."""

    def test_it_writes_a_table_and_a_picture_the_same_each_time(self, tmp_path: Path) -> None:
        asked = (
            "--method",
            "saliency,gradcam-plus-plus",
            "--method",
            "lrp-epsilon",
            "--model",
            f"{ALEXNET},{VIT}",
        )
        for folder in ("first", "second"):
            code, said = conformance(*asked, "--images", "2", "--output", str(tmp_path / folder))
            assert code == 0
        assert "│ lrp-epsilon       │ zennit" in said
        assert (
            "not comparable on vit_small: gradcam-plus-plus (grad-cam): where a layer has negative outputs"
            in said
        )
        first, second = (
            (tmp_path / f / "deviations.csv").read_bytes() for f in ("first", "second")
        )
        assert first == second
        found = read_csv(tmp_path / "first" / "deviations.csv", TYPES)
        assert list(found.columns) == COLUMNS
        assert len(found) == 2 * 6
        assert set(found["images"]) == {2}
        assert found["model"].nunique() == 2
        assert (
            found.loc[found["status"] == "ok", "deviation"]
            <= found["tolerance"][found["status"] == "ok"]
        ).all()
        assert image.imread(tmp_path / "first" / "deviations.png").shape[0] > 200

    @pytest.mark.parametrize(("factor", "code"), [(1, 0), (1.001, 1)])
    def test_ones_own_method_with_its_reference(
        self, tmp_path: Path, factor: float, code: int
    ) -> None:
        file = tmp_path / "mine.py"
        file.write_text(MINE.replace("{factor}", str(factor)))
        asked = (
            "--plugin",
            str(file),
            "--method",
            "mine",
            "--model",
            ALEXNET,
            "--output",
            str(tmp_path / "out"),
        )
        exit_code, said = conformance(*asked)
        assert exit_code == code
        wrong = "differs: mine from captum on alexnet:width=8: 1.0e-03 is more than 1e-09. They say it is 1.001 times"
        assert (wrong in said) == bool(code)
        assert read_csv(tmp_path / "out" / "deviations.csv", TYPES)["status"].tolist() == [
            ["ok", "differs"][code]
        ]
        again, said = conformance(*asked)
        assert again == 2
        assert "is not empty" in said
        assert conformance(*asked, "--overwrite", "--compact")[1].startswith(
            "mine: captum 0\n" if code == 0 else "mine: captum 1.0e-03 differs\n"
        )

    def test_a_library_that_is_missing_is_said_and_where_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = comparing._version
        monkeypatch.setattr(
            comparing,
            "_version",
            lambda name: None if name in ("zennit", "grad-cam") else real(name),
        )
        code, said = conformance(
            "--method", "saliency,gradcam", "--model", ALEXNET, "--output", str(tmp_path / "out")
        )
        assert code == 0
        assert (
            "Not installed: zennit, with which saliency would be compared. Get it with `pip install zennit`"
            in said
        )
        assert "Not installed: grad-cam, with which gradcam would be compared." in said
        found = read_csv(tmp_path / "out" / "deviations.csv", TYPES)
        assert set(found["library"]) == {"captum", "saliency"}
        code, said = conformance(
            "--method", "xgradcam", "--model", ALEXNET, "--output", str(tmp_path / "none")
        )
        assert code == 2
        assert "There is nothing to compare with. Not installed: grad-cam" in said
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            (["--method", "gradcm"], "Unknown method 'gradcm'. Did you mean 'gradcam'"),
            (
                ["--method", "random"],
                "No library's implementation is declared for 'random'. Methods that have one: abl",
            ),
            (["--method", "occlusion:window=4"], "write --method occlusion alone"),
            (["--model", "resnet19"], "Unknown model 'resnet19'. Did you mean 'resnet18'"),
            (["--model", "vit_small:width=129"], "multiple of 64"),
            (["--images", "11"], "less than or equal to 10"),
        ],
    )
    def test_wrong_input_is_refused_before_anything_is_written(
        self, tmp_path: Path, asked: list[str], message: str
    ) -> None:
        code, said = conformance(*asked, "--output", str(tmp_path / "out"))
        assert code == 2
        assert message in said
        assert not (tmp_path / "out").exists()

    def test_a_model_with_weights_of_its_own_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.py"
        file.write_text("from torch import nn\n\ndef build():\n    return nn.Flatten()\n")
        code, said = conformance("--model", f"{file}:build", "--output", str(tmp_path / "out"))
        assert code == 2
        assert "it is a black box, or brings weights of its own" in said


def test_show_says_what_a_method_is_compared_with_and_which_it_follows(tmp_path: Path) -> None:
    code, said = interpbench("show", "eigencam")
    assert code == 0
    assert (
        "compared with grad-cam (EigenCAM), within 2e-06. pytorch-grad-cam centres the maps, where the paper"
        in said
    )
    assert (
        "compared with zennit (IntegratedGradients from zeros"
        in interpbench("show", "integrated-gradients")[1]
    )
    assert "compared with" not in interpbench("show", "random")[1]
    file = tmp_path / "mine.py"
    file.write_text(MINE.replace("{factor}", "2"))
    assert (
        "compared with captum (By hand), within 1e-09. They say"
        in interpbench("show", "mine", "--plugin", str(file))[1]
    )


def test_a_line_for_each_method_has_its_greatest_deviation_from_each_library() -> None:
    rows = [
        ("a", "x", "1", "m:w=1", 3, 1e-9, 1e-8, "ok", ""),
        ("a", "x", "1", "n", 3, 2e-9, 1e-8, "ok", ""),
        ("a", "y", "1", "m:w=1", 3, 0.5, math.nan, "not comparable", "another method"),
        ("a", "z", "1", "m:w=1", 3, math.nan, 1e-8, "not comparable", "no rule"),
        ("b", "x", "1", "m:w=1", 3, 0.0, 1e-8, "ok", ""),
        ("b", "x", "1", "n", 3, 0.25, 1e-8, "differs", "a sum"),
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    assert list(tables.as_lines(frame)) == [
        "a: x 2.0e-09, y (5.0e-01), z -",
        "b: x 2.5e-01 differs",
    ]
    assert list(tables.reasons(frame)) == [
        "differs: b from x on n: 2.5e-01 is more than 1e-08. a sum",
        "not comparable on m: a (y): another method",
        "not comparable on m: a (z): no rule",
    ]
    labels = ["r:a=1", "r:a=2", "v:b=1", "timm:x,b=1"]
    assert list(comparing.short_names(labels).values()) == ["r:a=1", "r:a=2", "v", "timm:x"]
