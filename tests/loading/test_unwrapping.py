"""Each kind of module that users bring works in `run`, `explain` and `doctor`, or is refused in one sentence."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import interpbench
from interpbench.core.errors import InterpBenchError, ParameterError, PluginError
from interpbench.core.types import DatasetCard
from interpbench.loading.model import load_model
from interpbench.loading.pretrained import hash_tensors
from tests.command_line import call, undrawn
from tests.paths import TINY
from tests.picture_commands import draw_coarsely, photo
from tests.sources import choose
from tests.user_models import KINDS, SIZE, images, logits_of_plain, write_model

DATA = DatasetCard(
    "tiny", ("nw", "ne", "sw", "se"), "tiny-1", size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3
)
WORKING = [name for name, kind in KINDS.items() if not kind.fails]
FAILING = [name for name, kind in KINDS.items() if kind.fails]
# Unwrapped as a sister is, which alone is explained and examined by default; each of them is run.
SISTERS = {
    "averaged and compiled": "compiled",
    "bfloat16": "half",
    "compiled in place": "compiled",
    "compiled inside": "compiled",
    "double": "half",
    "frozen script": "scripted",
    "scripted and quantised": "statically quantised",
    "dynamically quantised": "statically quantised",
    "traced": "scripted",
}
DIFFERENT = [
    pytest.param(name, marks=pytest.mark.slow) if name in SISTERS else name for name in WORKING
]
CHEAP = {"device": "cpu", "plugin": TINY, "dataset": "tiny"}


def one_line(message: str) -> bool:
    return "\n" not in message.strip() and "Traceback" not in message


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.plain])
def test_what_is_unwrapped_gives_the_logits_of_the_plain_module(name: str, tmp_path: Path) -> None:
    model = load_model(choose(write_model(tmp_path, name)), DATA)
    assert torch.allclose(model(images()), logits_of_plain(KINDS[name], images()), atol=1e-6)
    assert all(tensor.dtype == torch.float32 for tensor in model.parameters())


@pytest.mark.parametrize("name", WORKING)
def test_a_run_explains_and_scores_it(name: str, tmp_path: Path) -> None:
    kind, label = KINDS[name], write_model(tmp_path, name)
    finished = interpbench.run(
        model=label, method="occlusion,center" if kind.blind else "gradient,gradcam,occlusion,center",
        images=3, metric="deletion", steps=4, ceiling="none", plots=False, output=tmp_path / "run", **CHEAP,
    )  # fmt: skip
    said = " ".join(finished.info.notices)
    assert all(notice in said for notice in kind.notices), said
    failed = dict(zip(finished.failed["method"], finished.failed["reason"], strict=True))
    assert set(failed) == ({"gradcam"} if kind.layerless else set()), failed
    assert all(kind.layerless in reason and one_line(reason) for reason in failed.values())


@pytest.mark.parametrize("name", DIFFERENT)
def test_explain_draws_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_coarsely(monkeypatch)
    kind = KINDS[name]
    photo(tmp_path / "photo.png", 1)
    explained = interpbench.explain(
        tmp_path / "photo.png", model=write_model(tmp_path, name), output=tmp_path / "out",
        method="rise:masks=8" if kind.blind else "gradient", **CHEAP,
    )  # fmt: skip
    assert explained.complete
    assert all(notice in " ".join(explained.notes) for notice in kind.notices), explained.notes


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_doctor_examines_it(name: str, tmp_path: Path) -> None:
    report = interpbench.doctor(write_model(tmp_path, name), **CHEAP)
    assert "failure" not in report.diagnosis.kinds
    assert all(notice in " ".join(report.notices) for notice in KINDS[name].notices)
    assert ("no gradient" in report.diagnosis.kinds) == KINDS[name].blind


@pytest.mark.parametrize("name", FAILING)
@undrawn()
def test_what_cannot_be_explained_is_said_in_one_sentence(name: str, tmp_path: Path) -> None:
    label, fails = write_model(tmp_path, name), KINDS[name].fails
    photo(tmp_path / "photo.png", 1)
    flags = ["--device", "cpu", "--plugin", TINY, "--dataset", "tiny"]
    code, out, error = call(
        "run", "--model", label, "--method", "center", "--images", 2, "--metric", "deletion",
        "--output", tmp_path / "run", *flags,
    )  # fmt: skip
    assert code in (1, 2)
    assert fails in " ".join((out + error).split())
    assert "Traceback" not in out + error
    code, out, error = call(
        "explain", tmp_path / "photo.png", "--model", label, "--method", "center",
        "--output", tmp_path / "out", *flags,
    )  # fmt: skip
    assert code == 2
    assert fails in error
    assert "Traceback" not in out + error
    report = interpbench.doctor(label, **CHEAP)
    [failure] = [finding for finding in report.diagnosis.findings if finding.kind == "failure"]
    assert fails in failure.what
    assert one_line(failure.what)
    assert call("doctor", label, *flags)[0] == 1


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.blind])
def test_methods_with_gradients_are_left_out_of_what_has_none(name: str, tmp_path: Path) -> None:
    label = write_model(tmp_path, name)
    with pytest.raises(InterpBenchError, match="'saliency' needs gradients, and none flow through"):
        interpbench.run(
            model=label, method="saliency,center", images=2, plots=False, output=tmp_path / "run", **CHEAP
        )  # fmt: skip


def test_rules_for_operations_are_refused_where_nobody_sees_operations(tmp_path: Path) -> None:
    model = load_model(choose(write_model(tmp_path, "scripted")), DATA)
    with pytest.raises(interpbench.MethodError, match="TorchScript shows none"):
        interpbench.run_with_rules(model, images().requires_grad_(), {}, method="LRP")


def test_layers_of_torchscript_are_refused_by_name_and_in_sanity(tmp_path: Path) -> None:
    label = write_model(tmp_path, "scripted")
    model = load_model(choose(label), DATA)
    for layer in ("script", "script.conv1", None):
        with pytest.raises(
            interpbench.MethodError, match="is TorchScript, in whose layers nobody can look"
        ):
            model.layer(layer)
    with pytest.raises(ParameterError, match="no layer that can be initialised again"):
        interpbench.sanity(
            model=label, method="gradient", images=2, output=tmp_path / "out", **CHEAP
        )


def test_a_hash_takes_in_all_that_a_quantised_network_keeps() -> None:
    static, again, dynamic = (
        KINDS[f"{kind} quantised"].build().state_dict()
        for kind in ("statically", "statically", "dynamically")
    )
    assert hash_tensors(static) == hash_tensors(again) != hash_tensors(dynamic)
    packed = torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)
    states = [
        {"a": (1, torch.ones(2))}, {"a": (2, torch.ones(2))}, {"a": (1, torch.zeros(2))},
        {"a": torch.ones(2).bfloat16()}, {"a": torch.ones(2)}, {"a": packed}, {"a": torch.qint8},
        {"a": None}, {"b": None},
    ]  # fmt: skip
    assert len({hash_tensors(state) for state in states}) == len(states)


def test_a_hash_of_plain_tensors_is_what_it_always_was() -> None:
    digest = hashlib.sha256(
        b"w torch.float32 (2,) " + np.array([1, 2], "<f4").tobytes()
    ).hexdigest()
    assert hash_tensors({"w": torch.tensor([1.0, 2.0])}) == digest


def test_a_build_that_ends_the_program_is_blamed(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("import sys\n\n\ndef build():\n    sys.exit(3)\n")
    with pytest.raises(PluginError, match=r"failed: SystemExit: 3 .*ends.py:5"):
        load_model(choose(f"{tmp_path / 'ends.py'}:build"), DATA)
