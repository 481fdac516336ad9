"""What is measured on this machine is measured once, and a plan that is short is not kept waiting for it."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from interpbench.core.errors import DeviceError
from interpbench.fast import tuning
from interpbench.fast.scoring_copy import Scorer, prepare
from tests.tiny_models import convolutional, wrap

SIDE = 8
MANY = 10**12


@pytest.fixture(autouse=True)
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "interpbench" / "tuning.json"


@pytest.fixture
def scorer() -> Scorer:
    return prepare(wrap(convolutional(SIDE).eval(), SIDE, 5), images())


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def fake_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(scorer: Scorer, x: Tensor) -> str:
        scorer.use_faster(nn.Sequential(scorer.network), fixed_shape=True)
        return ""

    monkeypatch.setattr(tuning, "compiled", compiled)


def times(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> list[int]:
    """Lets a pass of so many images take so long; the sizes that are asked for."""
    asked: list[int] = []

    def time(network: object, batch: Tensor) -> float:
        asked.append(len(batch))
        return seconds.get(len(batch), float(len(batch)))

    monkeypatch.setattr(tuning, "_time", time)
    return asked


def test_the_size_with_the_least_time_an_image_is_taken_and_remembered(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, own_memory: Path
) -> None:
    asked = times(monkeypatch, {4: 4.0, 8: 6.0, 16: 9.0, 32: 20.0, 64: 70.0})
    found = tuning.tune(scorer, images(), MANY, wish="never")
    assert (found.batch_size, found.batch_size_from) == (16, "measured")
    assert asked == [4, 8, 16, 32, 64]
    assert list(json.loads(own_memory.read_text()).values()) == [{"batch_size": 16}]
    times(monkeypatch, {4: 0.1})  # another day, another load
    assert tuning.tune(scorer, images(), MANY, wish="never").batch_size == 16


def test_a_size_that_hardly_gains_is_not_taken(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    times(monkeypatch, {4: 4.0, 8: 7.9, 16: 15.7, 32: 31.3})
    assert tuning.tune(scorer, images(), MANY, wish="never").batch_size == 4


def test_what_does_not_fit_ends_the_search(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def time(network: object, batch: Tensor) -> float:
        if len(batch) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    monkeypatch.setattr(tuning, "_time", time)
    assert tuning.tune(scorer, images(), MANY, wish="never").batch_size == 8


@pytest.mark.parametrize("content", ["", "[]", '{"a": 3}', "{"])
def test_a_damaged_memory_is_no_memory(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, own_memory: Path, content: str
) -> None:
    own_memory.parent.mkdir(parents=True)
    own_memory.write_text(content)
    times(monkeypatch, {4: 4.0, 8: 4.0})
    assert tuning.tune(scorer, images(), MANY, wish="never").batch_size == 8


def test_short_plans_and_sizes_that_are_given_measure_nothing(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = times(monkeypatch, {})
    short = tuning.tune(scorer, images(), passes=10)
    assert (short.batch_size, short.batch_size_from) == (128, "input size")
    assert short.compiled.startswith("no: passes of about 0 s")
    given = tuning.tune(scorer, images(), MANY, given=7, wish="never")
    assert (given.batch_size, given.batch_size_from, given.compiled) == (
        7,
        "given",
        "no: not asked for",
    )
    assert asked == []


def test_a_network_that_is_no_faster_compiled_stays_as_it_is(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scorer.network
    times(monkeypatch, {})
    fake_compiler(monkeypatch)
    found = tuning.tune(scorer, images(), MANY, given=4)
    assert found.compiled == "no: its passes are 1.00 times as fast"
    assert scorer.network is plain
    assert not scorer.fixed_shape
    monkeypatch.setattr(tuning, "compiled", None)  # is not even tried again
    again = tuning.tune(scorer, images(), MANY, given=4)
    assert again.compiled == "no: its passes were 1.00 times as fast when they were measured here"


def test_always_means_always(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, {})
    fake_compiler(monkeypatch)
    found = tuning.tune(scorer, images(), 1, given=4, wish="always")
    assert found.compiled.startswith("yes: in ")
    assert scorer.fixed_shape


def test_always_without_a_compiler_is_an_error_and_auto_says_why(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "compiled", lambda scorer, x: "InductorError: no C++ compiler")
    assert (
        tuning.tune(scorer, images(), MANY, given=4).compiled
        == "no: InductorError: no C++ compiler"
    )
    with pytest.raises(
        DeviceError,
        match=r"cannot be compiled: InductorError: no C\+\+ compiler. Use --compile auto",
    ):
        tuning.tune(scorer, images(), 1, given=4, wish="always")
